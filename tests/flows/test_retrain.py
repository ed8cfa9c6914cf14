"""The main job from end to end: nights of the toy model on a real registry."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest

from tasks.reporting.archive import report_folder
from tasks.spec import Gate
from tests import nights
from tests.nights import (
    champion_of,
    end_command,
    nth_day,
    run_command,
    run_night,
    start_command,
    type_command,
    versions_of,
    without_times,
    write_model,
    write_more,
)
from tests.sequences import ONE_RECIPE

pytestmark = [
    pytest.mark.usefixtures("warm_processes"),
    *(pytest.mark.filterwarnings(text) for text in nights.MLFLOW_WARNINGS),
]
DOORS = {
    "model": str,
    "as_of": str,
    "verdict": str,
    "looks": dict,
    "reasons": list,
    "challenger": {"version", "run_id", "candidate"},
    "champion": {"version"},
    "metrics": {"challenger", "baseline"},
    "rows": {"in", "accepted", "quarantined", "duplicates"},
    "days": {"new", "reused", "rejected"},
    "seconds": {"clean", "features", "fit", "judge", "register", "total"},
    "links": dict,
}
DELAYED = ("candidates={", 'candidates={\n        "slow": Slow(),')
SLOW = (
    "toy = ModelSpec(",
    """
class Slow(DummyClassifier):
    def fit(self, X, y):
        import time

        time.sleep(1)
        return super().fit(X, y)


toy = ModelSpec(""",
)


@dataclass(frozen=True)
class Place:
    """A model, its days and its state directory."""

    model: Path
    days: Path
    home: Path


def make_place(folder: Path, count: int, empty_registry: Path) -> Place:
    home, days = folder / "home", folder / "days"
    home.mkdir()
    shutil.copyfile(empty_registry, home / "mlflow.db")
    write_more(days, 1, count)
    return Place(write_model(folder / "toy.py", days), days, home)


@pytest.fixture(scope="module")
def first(
    tmp_path_factory: pytest.TempPathFactory, empty_registry: Path, warm_processes: None
) -> tuple[Place, dict[str, Any]]:
    """A first night, run by the command, and its report; the night after has its data too."""
    place = make_place(tmp_path_factory.mktemp("first"), 40, empty_registry)
    ended = type_command(place.home, place.model, "--json")
    assert (ended.code, ended.err) == (0, "")
    return place, ended.report


@pytest.fixture
def place(first: tuple[Place, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Place:
    """The state after the first night; tests run in their order and build on each other."""
    monkeypatch.setenv("NIGHTLY_HOME", str(first[0].home))
    return first[0]


def test_the_report_has_every_door(first: tuple[Place, dict[str, Any]]) -> None:
    place, report = first
    for name, expected in DOORS.items():
        found = report[name]
        if isinstance(expected, set):
            assert expected <= set(found), name
        else:
            assert isinstance(found, expected), name
    assert (report["model"], report["as_of"]) == ("toy", str(nth_day(40)))
    assert report["verdict"] == "PROMOTED"
    assert report["rows"] == {"in": 8000, "accepted": 8000, "quarantined": 0, "duplicates": 0}
    assert report["days"] == {"new": 40, "reused": 0, "rejected": 0}
    for figures in report["metrics"].values():
        for estimate in figures.values():
            assert estimate["low"] <= estimate["value"] <= estimate["high"]
    folder = place.home / "reports" / "toy" / str(nth_day(40))
    assert json.loads((folder / "report.json").read_text()) == report
    assert "PROMOTED" in (folder / "report.md").read_text()


def test_the_champion_is_the_version_just_made(
    place: Place, first: tuple[Place, dict[str, Any]]
) -> None:
    import mlflow

    report = first[1]
    assert versions_of() == ["1"]
    assert champion_of() == report["challenger"]["version"] == report["champion"]["version"] == "1"
    assert report["challenger"]["candidate"] == "logistic"
    mlflow.set_tracking_uri(f"sqlite:///{place.home / 'mlflow.db'}")
    version = mlflow.MlflowClient().get_model_version_by_alias("toy", "champion")
    assert version.run_id == report["challenger"]["run_id"]
    loaded = mlflow.pyfunc.load_model("models:/toy@champion")
    assert loaded.metadata.get_input_schema().input_names() == ["size", "shop", "usual"]
    assert loaded.metadata.saved_input_example_info is not None
    asked = pd.DataFrame({"size": [-2.0, 2.0], "shop": [0, 1], "usual": [0.5, 0.5]})
    unlikely, likely = loaded.predict(asked)[:, 1]
    assert unlikely < 0.2
    assert likely > 0.8


def test_the_registry_keeps_the_whole_night(
    place: Place, first: tuple[Place, dict[str, Any]]
) -> None:
    from tasks.registry.client import open_registry

    client, report = open_registry(), first[1]
    run = client.get_run(report["challenger"]["run_id"])
    assert run.info.status == "FINISHED"
    tags, metrics = run.data.tags, run.data.metrics
    assert tags["verdict"] == "PROMOTED"
    assert len(tags["git_commit"].removesuffix("-dirty")) in (0, 40)
    assert len(tags["prefect.flow_run_id"]) == 36
    assert run.data.params["holdout"] == f"{nth_day(34)} to {nth_day(40)}"
    ours = report["metrics"]["challenger"]["average_precision"]
    assert metrics["average_precision"] == ours["value"]
    assert metrics["average_precision_low"] == ours["low"]
    assert metrics["average_precision_high"] == ours["high"]
    assert metrics["rows_accepted"] == 8000
    assert len(run.inputs.dataset_inputs) == 1
    children = client.search_runs(
        [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    )
    assert {child.info.run_name for child in children} == {"constant", "logistic", "tree"}
    assert all("average_precision" in child.data.metrics for child in children)
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"report.json", "report.md", "candidates.png", "calibration.png", "twin"} <= files


def test_prefect_keeps_the_report(place: Place, first: tuple[Place, dict[str, Any]]) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        ArtifactFilter,
        ArtifactFilterFlowRunId,
        ArtifactFilterKey,
    )

    from tasks.registry.client import open_registry

    logged = open_registry().get_run(first[1]["challenger"]["run_id"])
    run_id = UUID(logged.data.tags["prefect.flow_run_id"])
    ours = ArtifactFilter(
        key=ArtifactFilterKey(any_=["report-toy"]),
        flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]),
    )
    with get_client(sync_client=True) as client:
        (found,) = client.read_artifacts(artifact_filter=ours)
        assert str(found.description).endswith("PROMOTED")
        assert "Version 1 is the champion." in str(found.data)
        run = client.read_flow_run(run_id)
    assert (run.state_name, run.name) == ("Completed", f"toy · {nth_day(40)} · PROMOTED")
    assert "PROMOTED" in run.tags


def test_the_same_night_again_runs_nothing(
    place: Place, first: tuple[Place, dict[str, Any]]
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):  # a run would fail
        ended = run_command(place.home, place.model)
    assert ended.code == 0
    assert "no step was run" in ended.out
    assert "PROMOTED" in ended.out
    assert versions_of() == ["1"]
    assert run_night(place.model) == first[1]


def test_a_backfill_reports_and_promotes_nothing(place: Place) -> None:
    report = run_night(place.model, nth_day(35))
    assert report["verdict"] == "KEPT"
    assert "backfill" in report["reasons"][0]
    assert "made as of" in report["reasons"][0]
    assert report["metrics"]["challenger"]
    assert (champion_of(), versions_of()) == ("1", ["1"])


def test_the_next_night_prepares_one_day_and_scores_the_champion_now(
    place: Place, first: tuple[Place, dict[str, Any]]
) -> None:
    write_more(place.days, 41, 41)
    report = run_night(place.model)
    assert report["as_of"] == str(nth_day(41))
    assert report["days"] == {"new": 1, "reused": 40, "rejected": 0}
    assert report["challenger"]["candidate"] == "logistic"
    assert set(report["looks"]) == {"constant", "tree"}
    assert report["looks"]["constant"]["e_value"] < 1 < report["looks"]["constant"]["needed"]
    ours, theirs = (
        report["metrics"][name]["average_precision"] for name in ("challenger", "champion")
    )
    assert theirs != first[1]["metrics"]["challenger"]["average_precision"]
    assert ours["value"] == pytest.approx(theirs["value"], abs=0.02)
    promoted = report["verdict"] == "PROMOTED"
    assert champion_of() == ("2" if promoted else "1")
    assert run_night(place.model) == report


@pytest.mark.long
def test_a_harmed_store_is_made_again(place: Place) -> None:
    before = run_night(place.model)
    for kind in ("models", "examples", "clean"):
        for file in (place.home / "store" / kind).iterdir():
            if file.suffix == ".skops":
                file.unlink()
            elif file.suffix == ".arrow":
                content = bytearray(file.read_bytes())
                content[len(content) // 2] ^= 1
                file.write_bytes(content)
    shutil.rmtree(place.home / "decisions")
    versions = versions_of()
    after = run_night(place.model)
    assert without_times(after) == without_times(before)
    assert versions_of() == versions
    assert after["days"]["new"] == 41


def test_an_altered_twin_keeps_the_champion_and_recipes_without_a_chance_are_left_out(
    place: Place,
) -> None:
    from tasks.registry.client import open_registry

    champion = champion_of()
    file = report_folder("toy", nth_day(41)) / "report.json"
    before = json.loads(file.read_text())
    for contest in before["contests"]["running"]:
        assert contest["recipe"] in {"constant", "tree"}
        contest["capital"]["days"] = 14
    file.write_text(json.dumps(before))
    for file in (place.home / "artifacts").rglob("twin/model.skops"):
        file.write_bytes(file.read_bytes()[:-1])
    write_more(place.days, 42, 42)
    report = run_night(place.model)
    assert report["verdict"] == "KEPT"
    assert f"The champion, version {champion}, cannot be scored" in report["reasons"][0]
    assert "was altered" in report["reasons"][0]
    assert champion_of() == champion
    assert set(report["candidates"]) == {"logistic"}
    assert {name: found["due"] for name, found in report["left_out"].items()} == dict.fromkeys(
        ("constant", "tree"), str(nth_day(44))
    )
    assert report["reasons"][-1].startswith("Not fitted tonight, because no new day could prove")
    run = open_registry().get_run(report["challenger"]["run_id"])
    assert run.data.tags["left_out"] == "constant, tree"
    assert report["contests"]["running"] == before["contests"]["running"]


def test_changed_content_and_code_are_seen(place: Place) -> None:
    from tasks.reporting.decisions import recall

    now = pd.Timestamp("2026-11-01", tz="UTC").to_pydatetime()
    assert recall(str(place.model), None, now) is not None
    day = place.days / f"{nth_day(20)}.parquet"
    whole = day.read_bytes()
    pd.read_parquet(day).head(199).to_parquet(day, index=False)
    assert recall(str(place.model), None, now) is None
    day.write_bytes(whole)
    assert recall(str(place.model), None, now) is not None


@pytest.mark.long
def test_two_processes_make_one_version(tmp_path: Path, empty_registry: Path) -> None:
    place = make_place(tmp_path, 30, empty_registry)
    write_model(place.model, place.days, SLOW, DELAYED)
    both = [start_command(place.home, place.model, "--json") for _ in range(2)]
    one, other = (end_command(process) for process in both)
    assert (one.code, other.code) == (0, 0), one.err + other.err
    assert one.report == other.report
    assert one.report["verdict"] == "PROMOTED"
    assert (champion_of(), versions_of()) == ("1", ["1"])


@pytest.mark.long
def test_a_changed_parameter_is_another_night(
    tmp_path: Path, empty_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_place(tmp_path, 30, empty_registry)
    monkeypatch.setenv("NIGHTLY_HOME", str(place.home))
    before = run_night(write_model(place.model, place.days, *ONE_RECIPE))
    shorter = ("holdout=days(7)", "holdout=days(6)")
    after = run_night(write_model(tmp_path / "shorter.py", place.days, *ONE_RECIPE, shorter))
    assert before["split"]["holdout_days"] == 7
    assert after["split"]["holdout_days"] == 6
    assert any("code has changed since version 1" in reason for reason in after["reasons"])


def test_a_recipe_too_large_to_ship_does_not_keep_the_next_best_out(
    tmp_path: Path, empty_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forest that is better than all others and larger than the gate allows."""
    from tasks.promotion import gate
    from tasks.steps import judge

    def first_is_large(sizes: dict[str, float], bounds: Gate) -> dict[str, str]:
        return gate.too_large(sizes | {"logistic": 250.0}, bounds)

    place = make_place(tmp_path, 30, empty_registry)
    monkeypatch.setenv("NIGHTLY_HOME", str(place.home))
    monkeypatch.setattr(judge, "too_large", first_is_large)
    report = run_night(place.model)
    assert (report["verdict"], report["challenger"]["candidate"]) == ("PROMOTED", "tree")
    told = "logistic is passed over: The model alone has 250.0 MB, bound 100 MB."
    assert told in report["reasons"]
    assert champion_of() == "1"


def test_a_version_that_fails_its_check_is_not_promoted(
    tmp_path: Path, empty_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make_place(tmp_path, 30, empty_registry)
    monkeypatch.setenv("NIGHTLY_HOME", str(place.home))
    small = ("Gate(min_units=100,", "Gate(size_mb=0.02, min_units=100,")
    report = run_night(write_model(place.model, place.days, *ONE_RECIPE, small))
    assert report["verdict"] == "KEPT"
    told = r"Version 1 is not promoted: size\. 0\.\d MB, bound 0\.02 MB"
    assert re.match(told, report["reasons"][0]), report["reasons"]
    assert report["champion"]["version"] is None
    assert report["challenger"]["version"] == "1"
    assert (champion_of(), versions_of()) == (None, ["1"])
    assert run_night(place.model)["verdict"] == "KEPT"
    assert versions_of() == ["1"]
