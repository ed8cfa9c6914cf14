"""A rollback proves the earlier version, moves the alias, and keeps the bad one out for good."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests import nights, warm
from tests.nights import (
    PROJECT,
    champion_of,
    command_environment,
    nth_day,
    run_night,
    write_model,
    write_more,
)

pytestmark = [
    pytest.mark.usefixtures("warm_processes"),
    *(pytest.mark.filterwarnings(text) for text in nights.MLFLOW_WARNINGS),
]
ASKED = pd.DataFrame({"size": [-2.0, 0.3, 2.0], "shop": [0, 1, 1], "usual": [0.5, 0.4, 0.6]})


@pytest.fixture(scope="module")
def two_nights(
    tmp_path_factory: pytest.TempPathFactory, empty_registry: Path, warm_processes: None
) -> tuple[Path, list[Any]]:
    """Two promotions, and what the champion answered after each."""
    place = tmp_path_factory.mktemp("two")
    (place / "home").mkdir()
    shutil.copyfile(empty_registry, place / "home" / "mlflow.db")
    write_more(place / "days", 1, 31)
    model = write_model(place / "toy.py", place / "days")
    answers = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTLY_HOME", str(place / "home"))
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.delenv(name, raising=False)
        for number in (30, 31):
            assert run_night(model, nth_day(number))["verdict"] == "PROMOTED"
            answers.append(predictions())
    return place, answers


@pytest.fixture
def place(two_nights: tuple[Path, list[Any]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state after two promotions; tests run in their order and build on each other."""
    monkeypatch.setenv("NIGHTLY_HOME", str(two_nights[0] / "home"))
    return two_nights[0]


def predictions() -> Any:
    """What an app gets from the champion."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{Path(os.environ['NIGHTLY_HOME']) / 'mlflow.db'}")
    return mlflow.pyfunc.load_model("models:/toy@champion").predict(ASKED)


COMMAND = [sys.executable, "-W", "ignore", str(PROJECT / "flows" / "rollback.py")]


def roll_back(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return warm.run([*COMMAND, *arguments], place, command_environment(place / "home"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "toy", "--to", "2"], "toy: version 2 is already the champion."),
        (["--model", "toy", "--to", "9"], "There is no version 9 of toy"),
        (["--model", "toys"], "toys has no champion to roll back."),
        (["--model", "To y"], "--model: found 'To y'"),
        (["--model", "toy", "--to", "0"], "--to: found 0"),
    ],
)
def test_a_wrong_call_changes_nothing(place: Path, arguments: list[str], message: str) -> None:
    ended = roll_back(place, *arguments)
    assert ended.returncode == 2, ended.stderr
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert champion_of() == "2"


def test_the_champion_before_is_back_and_answers_as_it_did(
    place: Path, two_nights: tuple[Path, list[Any]]
) -> None:
    from tasks.registry import client

    ended = subprocess.run(
        [*COMMAND, "--model", "toy", "--why", "late answers"],
        env=command_environment(place / "home"),
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert ended.stdout.startswith("Version 1 of toy is the champion again")
    assert champion_of() == "1"
    assert np.array_equal(predictions(), two_nights[1][0])
    aliases = client.open_registry().get_registered_model("toy").aliases
    assert {name: str(v) for name, v in aliases.items()} == {"champion": "1"}


def test_no_night_promotes_the_same_thing_again(place: Path) -> None:
    report = run_night(place / "toy.py", nth_day(31))
    assert report["verdict"] == "KEPT"
    assert report["reasons"][0] == (
        "Version 2, made from the same code and the same data, was rolled back: late answers"
    )
    assert champion_of() == "1"
    write_more(place / "days", 32, 32)
    report = run_night(place / "toy.py", nth_day(32))
    assert "rolled back" not in " ".join(report["reasons"])
    assert report["champion"]["version"] == champion_of()


def test_any_version_by_number(place: Path, two_nights: tuple[Path, list[Any]]) -> None:
    ended = roll_back(place, "--model", "toy", "--to", "2")
    assert ended.returncode == 0, ended.stderr
    assert champion_of() == "2"
    assert np.array_equal(predictions(), two_nights[1][1])


def alter(package: Path) -> None:
    file = package / "model.skops"
    file.write_bytes(file.read_bytes()[:-1])


def ask_for_pickle(package: Path) -> None:
    file = package / "MLmodel"
    file.write_text(file.read_text().replace("skops", "cloudpickle"))


def remove(package: Path) -> None:
    shutil.rmtree(package)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (alter, "unaltered files. A file of the package was altered"),
        (ask_for_pickle, "unaltered files. A file of the package was altered"),
        (remove, "Version 1 of toy cannot be downloaded"),
    ],
)
def test_a_version_that_is_not_what_it_was_is_no_way_back(
    place: Path, harm: Any, message: str, tmp_path: Path
) -> None:
    from tasks.registry.client import open_registry

    client = open_registry()
    source = client.get_model_version("toy", "1").source
    logged = client.get_logged_model(source.removeprefix("models:/"))
    package = Path(logged.artifact_location.removeprefix("file://"))
    shutil.copytree(package, tmp_path / "whole")
    harm(package)
    ended = roll_back(place, "--model", "toy", "--to", "1")
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(tmp_path / "whole", package)
    assert ended.returncode == 2, ended.stderr
    assert message in ended.stderr
    assert champion_of() == "2"
