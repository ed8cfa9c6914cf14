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
from prefect.client.schemas.objects import State

import flows.rollback as flow_file
from tasks import settings
from tasks.predictions import publish
from tasks.steps.ending import outcome_of
from tasks.store import files
from tests import nights, warm
from tests.nights import (
    PROJECT,
    champion_of,
    command_environment,
    copy_home,
    nth_day,
    run_night,
    write_model,
    write_more,
)
from tests.sequences import ONE_RECIPE

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
    model = write_model(place / "toy.py", place / "days", *ONE_RECIPE)
    answers = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTLY_HOME", str(place / "home"))
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.delenv(name, raising=False)
        for number in (30, 31):
            assert run_night(model, nth_day(number))["verdict"] == "PROMOTED"
            answers.append(predictions())
    copied = f"copy_home(Path({str(place / 'home')!r}), Path({str(place / 'after')!r}))"
    imports = "from pathlib import Path; from tests.nights import copy_home"
    # a process of its own: to close a database's file drops the locks that this one has on it
    ended = warm.run([sys.executable, "-c", f"{imports}; {copied}"], PROJECT)
    assert ended.returncode == 0, ended.stderr
    return place, answers


@pytest.fixture
def place(two_nights: tuple[Path, list[Any]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state after two promotions; tests run in their order and build on each other."""
    monkeypatch.setenv("NIGHTLY_HOME", str(two_nights[0] / "home"))
    return two_nights[0]


@pytest.fixture
def after(two_nights: tuple[Path, list[Any]], home: Path) -> Path:
    """The model file, on a copy of the state after two promotions."""
    copy_home(two_nights[0] / "after", home)
    return two_nights[0] / "toy.py"


def app() -> pd.DataFrame:
    """What the app reads."""
    return pd.read_parquet(publish.folder_of("toy") / publish.CURRENT)


def page() -> str:
    """The page of nights."""
    return (settings.home() / "reports" / "toy" / "history.html").read_text()


def run_rollback(**config: Any) -> State:
    from flows.rollback import rollback
    from tasks.steps.config import RollbackConfig

    ended: Any = rollback(RollbackConfig(model="toy", **config), return_state=True)
    assert outcome_of(ended) == "ROLLED BACK", ended.message
    return ended


def retire_champion() -> None:
    from flows.rollback import rollback
    from tasks.steps.config import RollbackConfig

    config = RollbackConfig(model="toy", retire=True, why="late answers")
    ended: Any = rollback(config, return_state=True)
    assert ended.is_completed(), ended.message


def predictions() -> Any:
    """What an app gets from the champion."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{Path(os.environ['NIGHTLY_HOME']) / 'mlflow.db'}")
    return mlflow.pyfunc.load_model("models:/toy@champion").predict(ASKED)


def champion_says(inputs: pd.DataFrame) -> Any:
    """Probabilities of the champion."""
    import mlflow

    mlflow.set_tracking_uri(settings.tracking_uri())
    return mlflow.pyfunc.load_model("models:/toy@champion").predict(inputs)[:, 1]


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


def test_the_app_and_the_page_are_of_the_restored_version_at_once(
    after: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {*app()["version"]} == {"2"}
    assert "version 2 (logistic)" in page()
    with monkeypatch.context() as patch:
        patch.setattr(flow_file, "publish_after_rollback", lambda _: 1 / 0)
        with pytest.raises(AssertionError, match="ZeroDivisionError"):
            run_rollback(why="late answers")
    assert (champion_of(), {*app()["version"]}) == ("1", {"2"}), "cut off in between"
    with monkeypatch.context() as patch:
        patch.setattr("tasks.steps.rollback.end_run", lambda *_: 1 / 0)
        with pytest.raises(AssertionError, match="ZeroDivisionError"):
            run_rollback(why="late answers")
    assert {*app()["version"]} == {"1"}, "cut off before Prefect has recorded the end"
    ended = run_rollback(why="late answers")  # the same again ends it, and goes back no further
    found = app()
    assert ({*found["version"]}, {*found["as_of"]}) == ({"1"}, {nth_day(31)})
    asked = pd.read_parquet(publish.folder_of("toy") / publish.INPUTS)[list(ASKED)]
    assert np.array_equal(found["probability"], champion_says(asked))
    assert publish.last_published("toy")["version"] == "1"  # type: ignore[index]
    assert not list((settings.home() / "rollbacks").iterdir()), "it is over"
    day = nth_day(32)
    assert f"The app reads 200 predictions for {day} by version 1 now." in str(ended.message)
    assert "version 1 (logistic) is the champion" in page()
    held = f"its recipe (logistic) and code are held through {nth_day(38)}"
    assert f"version 2 was rolled back: late answers; {held}" in page()
    assert f"Its recipe (logistic) and code are held through {nth_day(38)}" in str(ended.message)
    assert "version 2 (logistic)" not in page()


@pytest.mark.long
def test_the_night_after_a_champion_was_retired_promotes_a_new_one_and_the_app_reads_it(
    after: Path, tmp_path: Path
) -> None:
    write_more(tmp_path / "days", 1, 32)
    model = write_model(tmp_path / "toy.py", tmp_path / "days", *ONE_RECIPE)
    before = app()
    retire_champion()
    pd.testing.assert_frame_equal(app(), before)
    report = run_night(model, nth_day(32))
    assert report["verdict"] == "PROMOTED", report["reasons"]
    assert "no worse than what was retired" in {check["name"] for check in report["checks"]}
    assert champion_of() == "3"
    found = app()
    assert ({*found["version"]}, {*found["day"]}) == ({"3"}, {nth_day(33)})
    asked = pd.read_parquet(publish.folder_of("toy") / publish.INPUTS)[list(ASKED)]
    assert np.array_equal(found["probability"], champion_says(asked))


@pytest.mark.long
@pytest.mark.parametrize("how", ["rolled back", "retired"])
def test_a_version_that_is_put_back_is_a_champion_like_any_other(
    after: Path, tmp_path: Path, how: str
) -> None:
    """It was withdrawn by mistake: nothing of it, and nothing of the other, is held."""
    from tasks.registry import holds, versions
    from tasks.registry.client import open_registry

    write_more(tmp_path / "days", 1, 32)
    model = write_model(tmp_path / "toy.py", tmp_path / "days", *ONE_RECIPE)
    if how == "retired":
        retire_champion()
    else:
        run_rollback(why="late answers")
    ended = run_rollback(to=2, why="the app was late, not the answers")
    assert "will not be promoted again" not in str(ended.message)
    assert "held" not in str(ended.message)
    client = open_registry()
    assert (champion_of(), {*app()["version"]}) == ("2", {"2"})
    assert versions.read_alias(client, "toy", "previous") == "1"
    assert versions.read_withdrawn(client, "toy") == {}
    assert holds.read_holds(client, "toy") == []
    assert "version 2 was" not in page()
    told = client.get_model_version("toy", "2").tags["put_back"]
    assert told == f"the app was late, not the answers (it was {how}: late answers)"
    report = run_night(model, nth_day(32))
    assert (report["verdict"], champion_of()) == ("PROMOTED", "3"), report["reasons"]


def test_the_same_night_after_its_version_was_retired_makes_a_new_one(after: Path) -> None:
    from tasks.registry import versions
    from tasks.registry.client import open_registry

    before = app()
    retire_champion()
    report = run_night(after, nth_day(31))
    assert (report["verdict"], champion_of()) == ("PROMOTED", "3"), report["reasons"]
    withdrawn = versions.read_withdrawn(open_registry(), "toy")
    assert withdrawn == {"2": "late answers"}, "the retired version stays retired"
    assert {*app()["version"]} == {"3"}
    run_rollback(to=2, why="it was not at fault")
    pd.testing.assert_frame_equal(app().drop(columns="made_at"), before.drop(columns="made_at"))
    report = run_night(after, nth_day(31))
    assert (report["champion"]["version"], champion_of()) == ("2", "2"), report["reasons"]
    assert {*app()["version"]} == {"2"}
    withdrawn = versions.read_withdrawn(open_registry(), "toy")
    assert withdrawn == {"3": "it was not at fault"}, "what was rolled back stays so"


def lose_source(model: Path, place: Path) -> None:
    model.write_text(model.read_text().replace(f"{place}/days", f"{place}/nowhere"))


def lose_file(model: Path, _place: Path) -> None:
    model.unlink()


@pytest.mark.parametrize(
    ("harm", "fault"),
    [
        (lose_source, "nowhere"),
        (lose_file, "not found from"),
    ],
)
def test_where_nothing_can_be_published_the_rollback_stands_and_says_so(
    after: Path,
    tmp_path: Path,
    harm: Any,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    said: dict[str, str] = {}
    monkeypatch.setattr("tasks.steps.predict.announce", lambda *told: said.update(told[2]))
    moved = tmp_path / "my toy.py"
    moved.write_text(after.read_text())
    harm(moved, after.parent)
    record = publish.folder_of("toy") / f"{nth_day(31)}.json"
    files.write_json(record, files.read_json(record) | {"model": str(moved), "beside": []})
    ended = run_rollback()
    assert champion_of() == "1"
    message = str(ended.message)
    assert "The app still reads the predictions of version 2, which was withdrawn" in message
    assert fault in message
    named = f"'{moved}'" if moved.is_file() else "PATH_OF_THE_MODEL_FILE"
    assert f"python flows/predict.py --model {named}" in message
    (told,) = (record for record in caplog.records if "nothing is published" in record.message)
    assert not told.exc_info
    assert {*app()["version"]} == {"2"}
    assert fault in said["nightly.predictions.refused"]
    assert "version 1 (logistic) is the champion" in page()


def test_a_table_that_cannot_be_replaced_leaves_the_app_one_whole_night(
    after: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, table and record are of one version, here the withdrawn one."""
    monkeypatch.setattr("tasks.steps.predict.publish_predictions.retries", 0)
    monkeypatch.setenv("NIGHTLY_PREDICTIONS_URL", f"sqlite:///{tmp_path}/none/app.db")
    ended = run_rollback()
    assert "The app still reads the predictions of version 2" in str(ended.message)
    assert {*app()["version"]} == {"2"}
    assert publish.last_published("toy")["version"] == "2"  # type: ignore[index]


@pytest.mark.long
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


@pytest.mark.long
def test_no_night_promotes_the_same_thing_again(place: Path) -> None:
    report = run_night(place / "toy.py", nth_day(31))
    assert report["verdict"] == "KEPT"
    assert report["reasons"][0] == (
        "Version 2, made from the same code and the same data, was rolled back: late answers"
    )
    assert champion_of() == "1"
    write_more(place / "days", 32, 32)
    model = place / "toy.py"
    report = run_night(model, nth_day(32))
    assert (report["verdict"], champion_of()) == ("KEPT", "1")
    assert report["reasons"][0] == (
        "Version 2 was rolled back: late answers. Its recipe (logistic) and code are held through "
        f"{nth_day(38)}; to release them: python flows/rollback.py --model toy --release."
    )


@pytest.mark.long
def test_a_person_releases_what_is_held(place: Path) -> None:
    ended = roll_back(place, "--model", "toy", "--release", "--why", "the source was at fault")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == (
        "Released: nights may promote logistic of toy again from the same code. "
        "Why: the source was at fault\n"
    )
    report = run_night(place / "toy.py", nth_day(32))
    assert (report["verdict"], champion_of()) == ("PROMOTED", "3")
    ended = roll_back(place, "--model", "toy", "--release")
    assert (ended.returncode, "No recipe of toy is held." in ended.stderr) == (2, True)


@pytest.mark.long
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


@pytest.mark.long
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
