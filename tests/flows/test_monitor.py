"""Past answers are graded once their labels are final, and a bad champion goes back by itself."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.monitor import monitor
from flows.predict import predict
from tasks import settings
from tasks.monitoring import live_days
from tasks.predictions import publish
from tasks.steps.config import RetrainConfig
from tasks.steps.ending import outcome_of
from tasks.store import files
from tests.nights import (
    MLFLOW_WARNINGS,
    champion_of,
    copy_home,
    nth_day,
    run_night,
    write_model,
    write_more,
)
from tests.sequences import ONE_RECIPE
from tests.toy import write_day

pytestmark = [
    pytest.mark.usefixtures("warm_processes", "registry_home"),
    *(pytest.mark.filterwarnings(words) for words in MLFLOW_WARNINGS),
]

SPOILT = (
    ('"logistic": LogisticRegression(),', '"logistic": DecisionTreeClassifier(max_depth=1),'),
    (
        "gate=Gate(min_units=100,",
        "gate=Gate(min_units=100, tolerance=1.0, anchor_tolerance=1.0, slice_tolerance=1.0,",
    ),
    ('        "tree": DecisionTreeClassifier(max_depth=3, random_state=0),\n', ""),
)
"""A worse recipe under the name of the good one, and a gate that lets it pass."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_more(tmp_path / "days", 1, 40)
    return tmp_path


@pytest.fixture
def model(folder: Path) -> Path:
    return write_model(folder / "toy.py", folder / "days", *ONE_RECIPE)


def run(flow: Any, model: Path, as_of: date) -> Any:
    return flow(RetrainConfig(model=str(model), as_of=as_of), return_state=True)


def app_reads() -> tuple[str, date]:
    """Version and as-of date of the predictions the app reads."""
    found = pd.read_parquet(publish.folder_of("toy") / publish.CURRENT)
    ((version, as_of),) = {*zip(found["version"], found["as_of"], strict=True)}
    return version, as_of


def record(day: date) -> dict[str, Any]:
    found: dict[str, Any] = files.read_json(settings.home() / "live" / "toy" / f"{day}.json")
    return found


def test_a_night_grades_the_answers_of_the_night_before(model: Path) -> None:
    first = run_night(model, nth_day(38))
    assert (first["live"], first["live_lines"]) == ([], [])
    second = run_night(model, nth_day(39))
    (graded,) = second["live"]
    assert graded == record(nth_day(39))
    assert (graded["day"], graded["version"]) == (str(nth_day(39)), "1")
    assert (graded["asked"], graded["labelled"], graded["unasked"]) == (200, 200, 0)
    assert graded["promised"] == first["promised"]
    assert 0.7 < graded["metrics"]["average_precision"] < 1
    assert "average precision 0." in second["live_lines"][0]
    page = Path(second["links"]["history"]).read_text()
    assert "inside the prediction interval" in page
    assert str(nth_day(39)) in page
    third = run_night(model, nth_day(40))
    (graded,) = third["live"]
    assert graded["previous_version"] == "1"
    assert set(graded["previous"]) == set(graded["metrics"])


def test_a_day_is_graded_once_and_again_where_its_labels_changed(model: Path, folder: Path) -> None:
    run_night(model, nth_day(38))
    assert outcome_of(run(monitor, model, nth_day(39))) == "GRADED"
    before = record(nth_day(39))
    place = settings.home() / "live" / "toy" / f"{nth_day(39)}.json"
    written = place.stat().st_mtime_ns
    run(monitor, model, nth_day(39))
    assert place.stat().st_mtime_ns == written
    write_day(folder / "days", nth_day(39), bought=1)
    run(monitor, model, nth_day(39))
    after = record(nth_day(39))["metrics"]
    assert "average_precision" in before["metrics"]
    assert "average_precision" not in after
    assert after["log_loss"] > before["metrics"]["log_loss"], "a day of one class"


def test_labels_that_are_not_final_are_waited_for(model: Path, folder: Path) -> None:
    slow = write_model(
        folder / "slow.py",
        folder / "days",
        *ONE_RECIPE,
        ("holdout=days(7)", "holdout=days(7), label_delay=days(2)"),
    )
    run_night(slow, nth_day(37))
    assert "There is no day with final labels" in run(monitor, slow, nth_day(39)).message
    assert "average precision" in run(monitor, slow, nth_day(40)).message


@pytest.fixture(scope="module")
def three_bad_days(
    tmp_path_factory: pytest.TempPathFactory, empty_registry: Path, warm_processes: None
) -> Path:
    """A champion that took over from a better one three graded days ago."""
    place = tmp_path_factory.mktemp("bad")
    (place / "home").mkdir()
    shutil.copyfile(empty_registry, place / "home" / "mlflow.db")
    write_more(place / "days", 1, 41)
    good = write_model(place / "toy.py", place / "days", *ONE_RECIPE)
    spoilt = write_model(place / "spoilt.py", place / "days", *SPOILT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTLY_HOME", str(place / "home"))
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.delenv(name, raising=False)
        assert run_night(good, nth_day(35))["verdict"] == "PROMOTED"
        assert run_night(spoilt, nth_day(36))["verdict"] == "PROMOTED"
        assert champion_of() == "2"
        for number in (37, 38, 39):
            assert outcome_of(run(monitor, spoilt, nth_day(number))) == "GRADED"
            assert outcome_of(run(predict, spoilt, nth_day(number))) == "PUBLISHED"
    return place


@pytest.fixture
def spoilt(three_bad_days: Path, home: Path) -> Path:
    """The model file of the bad champion, on a copy of that state."""
    copy_home(three_bad_days / "home", home)
    return three_bad_days / "spoilt.py"


def test_a_bad_champion_is_reverted_within_days(
    spoilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: dict[str, str] = {}
    monkeypatch.setattr(
        "tasks.steps.rollback.announce", lambda _model, _as_of, events: said.update(events)
    )
    ended = run(monitor, spoilt, nth_day(40))
    assert outcome_of(ended) == "REVERTED"
    assert champion_of() == "1"
    assert app_reads() == ("1", nth_day(40))
    assert f"The app reads 200 predictions for {nth_day(41)} by version 1 now." in ended.message
    page = (settings.home() / "reports" / "toy" / "history.html").read_text()
    assert "version 1 (logistic) is the champion" in page
    assert "version 2 was rolled back: 4 graded days" in page
    index = (settings.home() / "reports" / "index.html").read_text()
    assert "version 1 <small>since the newest night</small>" in index
    assert "4 graded days of version 2: average precision -" in said["nightly.champion.rolled-back"]
    assert f"code are held through {nth_day(47)}" in said["nightly.champion.rolled-back"]
    report = run_night(spoilt, nth_day(41))
    assert (report["verdict"], champion_of()) == ("KEPT", "1")
    assert report["reasons"][0].startswith("Version 2 was rolled back: 4 graded days")
    assert f"are held through {nth_day(47)}" in report["reasons"][0]


@pytest.mark.long
def test_a_revert_that_was_cut_off_is_ended_and_published(
    spoilt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.registry.client import open_registry

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as cut:
        cut.setattr("mlflow.MlflowClient.delete_registered_model_tag", kill)
        with pytest.raises(Killed):
            run(monitor, spoilt, nth_day(40))
    assert (champion_of(), app_reads()[0]) == ("1", "2")
    ended = run(monitor, spoilt, nth_day(40))
    assert outcome_of(ended) == "GRADED"
    assert (champion_of(), app_reads()[0]) == ("1", "1")
    assert "predictions for" in ended.message
    assert "by version 1 now." in ended.message
    assert "nightly.change" not in open_registry().get_registered_model("toy").tags


@pytest.mark.long
def test_a_night_that_reverts_publishes_with_the_restored_version(spoilt: Path) -> None:
    report = run_night(spoilt, nth_day(40))
    assert "Version 2 was reverted" in report["reverted"]
    assert app_reads() == (report["champion"]["version"], nth_day(40))
    assert report["predictions"]["version"] == report["champion"]["version"] == "1"
    assert f"are held through {nth_day(47)}" in report["reverted"]
    assert f"are held through {nth_day(47)}" in report["reasons"][0]
    other = run_night(spoilt.with_name("toy.py"), nth_day(41))
    assert other["verdict"] == "PROMOTED"  # an edit is not held


@pytest.mark.long
def test_a_bad_line_goes_back_to_the_anchor_although_each_night_promotes(folder: Path) -> None:
    """No two graded days have the same champion and predecessor."""
    write_more(folder / "days", 41, 42)
    good = write_model(folder / "toy.py", folder / "days", *ONE_RECIPE)
    eager = (
        *SPOILT,
        ("import Gate, ModelSpec, days", "import Gate, ModelSpec, Revert, days"),
        ("    slices=(", "    revert=Revert(confidence=0.8),\n    slices=("),
    )
    spoilt = write_model(folder / "spoilt.py", folder / "days", *eager)
    assert run_night(good, nth_day(35))["verdict"] == "PROMOTED"
    nights = [run_night(spoilt, nth_day(number)) for number in range(36, 39)]
    assert [night["verdict"] for night in nights] == ["PROMOTED"] * 3
    assert [night["anchor"]["version"] for night in nights] == ["1"] * 3
    back = next(n for day in (39, 40, 41) if (n := run_night(spoilt, nth_day(day)))["reverted"])
    assert champion_of() == "1"
    assert back["verdict"] == "KEPT"  # its recipe and code are held
    assert "3 graded days of the line of versions 2 to 4 (3 champions): " in back["reverted"]
    assert "against the anchor, version 1, on the same rows" in back["reverted"]
    assert app_reads() == ("1", date.fromisoformat(back["as_of"]))


def test_where_the_predecessor_is_unfit_the_champion_stays(spoilt: Path, home: Path) -> None:
    for file in home.rglob("model.skops"):  # of every version, the predecessor's too
        file.write_bytes(file.read_bytes()[:-10])
    ended = run(monitor, spoilt, nth_day(40))
    assert outcome_of(ended) == "GRADED"
    assert "Version 2 should be reverted" in ended.message
    assert champion_of() == "2"


def kept(home: Path) -> dict[str, Any]:
    """All that nights, people and the app look at, but for what a backfill writes beside."""
    from tasks.registry.client import open_registry

    client = open_registry()
    experiment = client.get_experiment_by_name("toy")
    assert experiment
    found: dict[str, Any] = {
        str(file.relative_to(home)): file.read_bytes()
        for room in ("reports", "decisions", "live", "predictions", "artifacts")
        for file in (home / room).rglob("*")
        if file.is_file() and file.parent.name != "backfill"
    }
    found["aliases"] = client.get_registered_model("toy").aliases
    found["nights"] = dict(experiment.tags)
    found["versions"] = [dict(v.tags) for v in client.search_model_versions("name = 'toy'")]
    found["runs"] = {
        run.info.run_id: (run.info.status, dict(run.data.tags))
        for run in client.search_runs([experiment.experiment_id])
    }
    return found


def test_a_backfill_reads_reports_beside_and_changes_nothing(
    spoilt: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The night of day 41 has been judged; up to day 40 the champion looks bad."""
    said: list[str] = []
    for step in ("monitor", "predict", "report", "rollback"):
        monkeypatch.setattr(f"tasks.steps.{step}.announce", lambda *told: said.extend(told[2]))
    reports = home / "reports" / "toy"
    newest = files.read_json(reports / str(nth_day(36)) / "report.json")
    assert newest["verdict"] == "PROMOTED"
    later = newest | {"as_of": str(nth_day(41)), "verdict": "KEPT"}
    files.write_json(reports / str(nth_day(41)) / "report.json", later)
    before = kept(home)

    ended = run(monitor, spoilt, nth_day(40))
    assert (outcome_of(ended), champion_of()) == ("BACKFILL", "2")
    assert ended.message.startswith(
        f"BACKFILL. This night is a backfill: the night of {nth_day(41)} was"
    )
    assert outcome_of(run(predict, spoilt, nth_day(40))) == "REFUSED"
    report = run_night(spoilt.with_name("toy.py"), nth_day(36))
    assert (report["verdict"], report["reasons"][0][:24]) == ("KEPT", "This night is a backfill")
    assert kept(home) == before
    assert said == []
    beside = reports / str(nth_day(36)) / "backfill"
    assert files.read_json(beside / "report.json") == report
    assert "backfill" in (beside / "report.md").read_text()
    assert report["links"]["report"] == str(beside / "report.md")
    assert report["links"]["history"] == str(reports / "history.html")


def test_live_lines_count_the_promises_kept() -> None:
    from tests.toy import toy

    def day(number: int, value: float) -> dict[str, Any]:
        return {
            "day": str(nth_day(number)),
            "metrics": {"average_precision": value},
            "previous": {},
            "promised": {"value": 0.8, "low": 0.7, "high": 0.9},
            "asked": 10,
            "labelled": 9,
        }

    live = live_days.Live(days=(day(1, 0.8), day(2, 0.2), day(3, 0.85)))
    assert live_days.lines(live, toy) == [
        "2026-01-03: average precision 0.850, inside the prediction interval 0.700 to 0.900 "
        "(9 of 10 predictions have a label)",
        "inside the prediction interval on 2 of the last 3 graded days",
    ]
