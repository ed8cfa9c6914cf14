"""A version that waits is promoted by a person or withdrawn, and nothing else happens meanwhile."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from prefect.client.schemas.objects import State

from tasks import settings
from tasks.predictions import publish
from tasks.steps.ending import outcome_of
from tests import nights, warm
from tests.nights import (
    PROJECT,
    champion_of,
    command_environment,
    nth_day,
    run_night,
    versions_of,
    write_model,
    write_more,
)
from tests.sequences import ONE_RECIPE

pytestmark = [
    pytest.mark.usefixtures("warm_processes"),
    *(pytest.mark.filterwarnings(text) for text in nights.MLFLOW_WARNINGS),
]
COMMAND = [sys.executable, "-W", "ignore", str(PROJECT / "flows" / "approve.py")]


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, empty_registry: Path, warm_processes: None
) -> Path:
    """The days, and a model whose gate asks a person."""
    place = tmp_path_factory.mktemp("asking")
    (place / "home").mkdir()
    shutil.copyfile(empty_registry, place / "home" / "mlflow.db")
    write_more(place / "days", 1, 30)
    asks = ("gate=Gate(", "gate=Gate(approve=True, ")
    write_model(place / "toy.py", place / "days", *ONE_RECIPE, asks)
    return place


@pytest.fixture
def place(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One state for all tests of this file, which build on each other in their order."""
    monkeypatch.setenv("NIGHTLY_HOME", str(made / "home"))
    return made


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a decision announces."""
    events: dict[str, str] = {}
    monkeypatch.setattr("tasks.steps.approve.announce", lambda *told: events.update(told[2]))
    return events


def decide(**config: Any) -> State:
    from flows.approve import approve
    from tasks.steps.config import ApproveConfig

    asked = {"model": "toy", "by": "Ada", "why": "the gain is real"} | config
    ended: Any = approve(ApproveConfig(**asked), return_state=True)
    return ended


def refusal(**config: Any) -> str:
    """Why nothing could be decided."""
    from tasks.steps.approve import ApprovalError

    error = decide(**config).result(raise_on_failure=False)
    assert isinstance(error, ApprovalError)
    return str(error)


def night(place: Path, number: int) -> dict[str, Any]:
    write_more(place / "days", number, number)
    return run_night(place / "toy.py", nth_day(number))


def app() -> set[str]:
    """Versions whose predictions the app reads."""
    return {*pd.read_parquet(publish.folder_of("toy") / publish.CURRENT)["version"]}


def report(number: int) -> dict[str, Any]:
    file = settings.home() / "reports" / "toy" / str(nth_day(number)) / "report.json"
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def page() -> str:
    return (settings.home() / "reports" / "toy" / "history.html").read_text()


def test_the_first_champion_waits_and_a_person_makes_it(place: Path, heard: dict[str, str]) -> None:
    assert refusal() == "No version of toy waits for a person."
    found = run_night(place / "toy.py", nth_day(30))
    assert (found["verdict"], champion_of(), versions_of()) == ("WAITING", None, ["1"])
    assert found["reasons"][0] == (
        "Version 1 waits for a person. It passed every check; the gate asks a person to approve it."
    )
    assert "python flows/approve.py --model toy --by NAME --why REASON" in found["reasons"][1]
    assert found["waiting"] == {"version": "1", "against": None, "decision": None}
    ended = decide()
    assert (outcome_of(ended), champion_of(), app()) == ("APPROVED", "1", {"1"})
    on = report(30)["waiting"]["decision"].pop("on")
    told = f"approved by Ada on {on}: the gain is real"
    assert str(ended.message).startswith(f"APPROVED. Version 1 of toy is the champion: {told}.")
    assert "The app reads 200 predictions" in str(ended.message)
    assert report(30)["waiting"]["decision"] | {"on": on} == {
        "outcome": "APPROVED", "by": "Ada", "why": "the gain is real", "on": on,
    }  # fmt: skip
    assert told in heard["nightly.version.approved"]
    assert f"version 1 was {told}" in page()
    markdown = settings.home() / "reports" / "toy" / str(nth_day(30)) / "report.md"
    assert f"**Version 1 was {told}.**" in markdown.read_text()
    assert "![" in markdown.read_text()


def test_the_same_again_changes_nothing_nor_does_the_night(place: Path) -> None:
    ended = decide()
    assert (outcome_of(ended), champion_of(), app()) == ("APPROVED", "1", {"1"})
    assert "Version 1 was approved by Ada" in refusal(refuse=True)
    found = run_night(place / "toy.py", nth_day(30))
    assert (found["verdict"], found["reasons"][0][:30]) == (
        "PROMOTED",
        "Version 1 was approved by Ada ",
    )
    assert (champion_of(), versions_of()) == ("1", ["1"])


def test_a_newer_version_takes_the_place_of_one_that_waits(place: Path) -> None:
    assert night(place, 31)["verdict"] == "WAITING"
    assert night(place, 32)["verdict"] == "WAITING"
    assert (champion_of(), app(), versions_of()) == ("1", {"1"}, ["1", "2", "3"])
    closed = report(31)["waiting"]["decision"]
    assert (closed["outcome"], closed["by"], closed["on"]) == (
        "SUPERSEDED", "version 3", str(nth_day(32)),
    )  # fmt: skip
    assert f"Version 2 was superseded by version 3 on {nth_day(32)}" in page()
    assert "Version 2 of toy does not wait: version 3 does." in refusal(version=2)
    assert champion_of() == "1"


def test_the_command_a_person_types(place: Path) -> None:
    def typed(*arguments: str) -> Any:
        command = [*COMMAND, "--model", "toy", *arguments]
        return warm.run(command, place, command_environment(place / "home"))

    ended = typed("--by", "Ada")
    assert (ended.returncode, "--why" in ended.stderr) == (2, True)
    ended = typed("--by", "Ada", "--why", "fine", "--version", "2")
    assert ended.returncode == 2, ended.stdout
    assert "Traceback" not in ended.stderr
    assert "The champion is unchanged." in ended.stderr
    ended = typed("--by", "Ada", "--why", "fine", "--version", "3")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("Version 3 of toy is the champion: approved by Ada on ")
    assert (champion_of(), app()) == ("3", {"3"})


@pytest.mark.long
def test_what_is_refused_is_held_and_the_champion_stays(place: Path, heard: dict[str, str]) -> None:
    assert night(place, 33)["verdict"] == "WAITING"
    ended = decide(refuse=True, why="a leak")
    assert (outcome_of(ended), champion_of(), app()) == ("REFUSED", "3", {"3"})
    until = nth_day(33) + timedelta(days=7)
    held = f"Its recipe (logistic) and code are held through {until}"
    assert held in str(ended.message)
    assert "nightly.version.refused" in heard
    assert report(33)["waiting"]["decision"]["outcome"] == "REFUSED"
    assert outcome_of(decide(refuse=True, why="a leak")) == "REFUSED"
    again = run_night(place / "toy.py", nth_day(33))
    assert (again["verdict"], champion_of()) == ("KEPT", "3")
    assert again["reasons"][0].startswith("Version 4")
    assert "was refused: a leak" in again["reasons"][0]
    found = night(place, 34)
    assert (found["verdict"], champion_of()) == ("KEPT", "3")
    assert found["reasons"][0].startswith("Version 4 was refused: a leak. Its recipe (logistic)")


@pytest.mark.long
def test_a_champion_that_has_changed_since_is_not_replaced(place: Path) -> None:
    from flows.rollback import rollback
    from tasks.steps.config import RollbackConfig

    rollback(RollbackConfig(model="toy", release=True, why="the source was at fault"))
    assert night(place, 35)["verdict"] == "WAITING"
    rollback(RollbackConfig(model="toy", why="late answers"))
    assert champion_of() == "1"
    assert "was judged against version 3, but version 1 is the champion now" in refusal()
    assert (champion_of(), app()) == ("1", {"1"})
    assert outcome_of(decide(refuse=True)) == "REFUSED"


@pytest.mark.long
def test_an_approval_that_could_not_publish_stands_and_the_next_night_publishes_it_even_held(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.retrain import retrain
    from flows.rollback import rollback
    from tasks.steps.config import RetrainConfig, RollbackConfig

    def fails(*_: Any) -> None:
        raise publish.PublishError("the database is down")

    rollback(RollbackConfig(model="toy", release=True, why="it was fine"))
    assert night(place, 36)["verdict"] == "WAITING"
    with monkeypatch.context() as patch:
        patch.setattr(publish, "publish", fails)
        ended = decide()
    assert (outcome_of(ended), champion_of(), app()) == ("APPROVED", "6", {"1"})
    assert "The app still reads the predictions of version 1: " in str(ended.message)
    assert "the database is down" in str(ended.message)
    assert report(36)["waiting"]["decision"]["outcome"] == "APPROVED"
    before = report(36)
    config = RetrainConfig(model=str(place / "toy.py"), as_of=nth_day(39))
    assert outcome_of(retrain(config, return_state=True)) == "HELD"
    assert (champion_of(), app(), report(36)) == ("6", {"6"}, before), "as of night 36"
    rows = pd.read_parquet(publish.folder_of("toy") / publish.CURRENT)
    assert {*rows["as_of"].astype(str)} == {str(nth_day(36))}
    assert night(place, 37)["verdict"] == "WAITING"
    assert (champion_of(), app()) == ("6", {"6"})
    rows = pd.read_parquet(publish.folder_of("toy") / publish.CURRENT)
    assert {*rows["as_of"].astype(str)} == {str(nth_day(37))}


@pytest.mark.long
def test_a_version_is_carried_to_another_place_where_a_person_approves_it(
    place: Path,
    empty_registry: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from deployments import transfer
    from tasks.registry import aliases, client

    def said(*arguments: str, code: int = 0) -> str:
        assert transfer.main(arguments) == code
        found = capsys.readouterr()
        return found.out or found.err

    def go_to(home: Path) -> None:
        monkeypatch.setenv("NIGHTLY_HOME", str(home))
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # MLflow sets them
            monkeypatch.delenv(name, raising=False)

    file = place / "toy.tar"
    digest = said("--model", "toy", "--pack", str(file)).split()[-1]
    other = place / "other"
    other.mkdir()
    shutil.copyfile(empty_registry, other / "mlflow.db")
    go_to(other)
    assert "was packed with another key" in said("--unpack", str(file), code=2)
    altered = place / "altered.tar"
    altered.write_bytes(file.read_bytes().replace(b"logistic", b"logistik", 1))
    assert "is expected" in said("--unpack", str(altered), "--sha256", digest, code=2)
    assert versions_of() == []
    for _ in range(2):
        brought = said("--unpack", str(file), "--sha256", digest)
        assert f"toy: version 1 is registered, made as of {nth_day(36)}" in brought
        assert "there is no champion yet" in brought
    assert (champion_of(), versions_of()) == (None, ["1"])
    ended = decide(why="proven on the laptop")
    assert (outcome_of(ended), champion_of()) == ("APPROVED", "1")
    assert "already" in said("--unpack", str(file), "--sha256", digest)
    found = run_night(place / "toy.py", nth_day(37))
    assert (found["verdict"], found["champion"]["version"], app()) == ("WAITING", "1", {"1"})
    back = said("--model", "toy", "--pack", str(file)).split()[-1]
    go_to(place / "home")
    assert "version 6 is the champion already" in said("--unpack", str(file), "--sha256", back)
    there = versions_of()
    assert aliases.give_up(client.open_registry(), "toy", "late answers", None) == "6"
    told = said("--unpack", str(file), "--sha256", back, code=2)
    assert "Version 6 of toy was withdrawn here: late answers" in told
    assert (champion_of(), versions_of()) == (None, there)
