"""Nights in a row, step by step and without a server: the anchor beside a line of champions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.monitoring import live_days
from tasks.promotion.anchor import ANCHOR, YEARLY
from tasks.promotion.checks import Status
from tasks.registry import anchors, versions
from tasks.registry.client import open_registry
from tasks.spec.loading import load_spec
from tasks.steps import (
    judge,
    monitor,
    predict,
    prepare,
    release,
    report,
    rollback,
    shadow,
    train,
    waiting,
)
from tasks.steps.state import Cleaned, Incumbent, Night
from tasks.store.files import write_json
from tasks.training import fit
from tests.nights import MLFLOW_WARNINGS, nth_day, write_model, write_more

pytestmark = [
    pytest.mark.usefixtures("registry_home"),
    *(pytest.mark.filterwarnings(words) for words in MLFLOW_WARNINGS),
]
ALONE = (
    ('        "constant": DummyClassifier(),\n', ""),
    ('        "tree": DecisionTreeClassifier(max_depth=3, random_state=0),\n', ""),
)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pictures, no processes, no server."""
    monkeypatch.setattr(judge, "_draw", lambda *_: {})
    monkeypatch.setattr(report, "_draw", lambda *_: {})
    monkeypatch.setattr(release, "check_packages", lambda made, **_: [() for _ in made])
    monkeypatch.setattr(rollback, "check_again", lambda *_, **__: ())
    monkeypatch.setattr(predict, "_started", lambda: datetime(2026, 3, 1, tzinfo=UTC))
    for step in (report, rollback):
        monkeypatch.setattr(step, "show_page", lambda *_: None)
    for step in (monitor, predict, report, rollback):
        monkeypatch.setattr(step, "announce", lambda *_: None)
    for name in ("prove_version", "restore_champion"):
        monkeypatch.setattr(rollback, name, getattr(rollback, name).fn)


def opened(model: Path, as_of: date) -> tuple[Night, Cleaned]:
    """A night and its clean days."""
    spec = load_spec(str(model))
    days = dict(spec.source.list_days(as_of))
    night = Night(str(model), spec.name, as_of, days, key=f"night of {as_of}")
    return night, prepare.clean_days.fn(night)


def live_through(model: Path, as_of: date) -> dict[str, Any]:
    """One night, as ``flows/retrain.py`` tells it; its report."""
    night, clean = opened(model, as_of)
    live = monitor.grade_predictions.fn(night, clean)
    examples = prepare.extract_features.fn(night, clean)
    made = [train.fit_candidate.fn(night, examples, name) for name in examples.candidates]
    champion = judge.score_champion.fn(night, examples)
    judged = judge.judge_night.fn(night, examples, made, champion)
    judged, version = shadow.follow_shadow.fn(night, clean, live, judged)
    run = release.log_night.fn(night, clean, examples, judged)
    if version is None and judged.verdict.status.registers:
        shipped = train.refit_challenger.fn(night, examples, judged)
        version = release.register_version.fn(night, examples, judged, shipped, run)
        judged = release.check_version.fn(night, examples, judged, shipped, version)
        begin = {
            Status.PROMOTED: lambda: release.promote_version.fn(night, version, judged),
            Status.SHADOW: lambda: waiting.begin_shadow.fn(night, judged, version),
        }
        judged = begin[judged.verdict.status]()
    shown = predict.publish_predictions.fn(night, predict.predict_ahead.fn(night, clean))
    found: dict[str, Any] = report.publish_report.fn(
        night, clean, examples, judged, run, version, live, None, shown
    )
    return found


def anchor() -> anchors.Anchor | None:
    return anchors.read_anchor(open_registry(), "toy")


def scored(model: Path, number: int) -> Incumbent:
    """Champion and anchors as a night would score them."""
    night, clean = opened(model, nth_day(number))
    found: Incumbent = judge.score_champion.fn(night, prepare.extract_features.fn(night, clean))
    return found


def forge(number: int, version: str, value: float) -> None:
    """A graded day of a poor version beside the anchor."""
    metric = "average_precision"
    found = {
        "day": str(nth_day(number)),
        "version": version,
        "candidate": "logistic",
        "previous_version": str(int(version) - 1),
        "anchor_version": "1",
        "promised": None,
        "fingerprint": "",
        "asked": 200,
        "labelled": 200,
        "unasked": 0,
        "metrics": {metric: value},
        "previous": {metric: value},
        "anchor": {metric: 0.84 + number % 3 / 1000},
        "slices": {},
    }
    write_json(live_days.live_folder("toy") / f"{nth_day(number)}.json", found)


@pytest.mark.long
def test_a_bad_line_goes_back_to_the_anchor_which_costs_one_night_where_it_is_broken(
    tmp_path: Path,
) -> None:
    """No two graded days have the same champion and predecessor."""
    write_more(tmp_path / "days", 1, 44)
    model = write_model(tmp_path / "toy.py", tmp_path / "days", *ALONE)
    assert live_through(model, nth_day(34))["verdict"] == "PROMOTED"
    assert anchor() is None
    second, third = (live_through(model, nth_day(number)) for number in (35, 36))
    assert [night["anchor"]["version"] for night in (second, third)] == ["1", "1"]
    assert set(third["anchor"]["gains"]) == {"logistic", "champion", "baseline"}
    assert any(check["name"] == "anchor" and check["passed"] for check in third["checks"])
    first = anchors.Anchor("1", nth_day(35), nth_day(35))
    assert anchor() == first

    client = open_registry()
    digest = client.get_model_version("toy", "1").tags["twin_sha256"]
    client.set_model_version_tag("toy", "1", "twin_sha256", "altered")
    kept = live_through(model, nth_day(37))
    assert kept["verdict"] == "KEPT"
    assert kept["reasons"][0].startswith("The anchor, version 1, cannot be scored: ")
    assert "Nothing is promoted tonight" in kept["reasons"][0]
    assert anchor() == replace(first, failing=nth_day(37))
    (graded,) = kept["live"]
    assert (graded["version"], graded["anchor_version"]) == ("3", "1")
    assert graded["anchor"].keys() == graded["metrics"].keys()
    client.set_model_version_tag("toy", "1", "twin_sha256", digest)

    yearly = replace(first, version="2", since=first.as_of)
    anchors.write_anchor(client, "toy", yearly, anchors.YEARLY)
    both = scored(model, 37).anchors
    assert {name: each.anchor.version for name, each in both.items()} == {ANCHOR: "1", YEARLY: "2"}
    assert len({len(fit.read_scores(str(each.scores))) for each in both.values()}) == 1
    digest = client.get_model_version("toy", "2").tags["twin_sha256"]
    client.set_model_version_tag("toy", "2", "twin_sha256", "altered")
    fault = scored(model, 37).anchors[YEARLY].fault
    assert fault is not None
    assert fault.startswith("The yearly anchor, version 2, cannot be scored: ")
    assert fault.endswith("if it fails again, the anchor takes its place.")
    assert YEARLY not in scored(model, 38).anchors
    assert anchors.read_anchor(client, "toy", anchors.YEARLY) == anchors.Anchor(
        "1", nth_day(38), nth_day(38)
    )
    client.set_model_version_tag("toy", "2", "twin_sha256", digest)

    for number in range(38, 44):
        forge(number, str(number - 35), 0.70)
    night, clean = opened(model, nth_day(44))
    live = monitor.grade_predictions.fn(night, clean)
    assert live.worse
    assert not (live.loss and live.loss.revert)  # of its pair there is one day
    live = monitor.revert_champion.fn(night, live)
    assert versions.read_alias(client, "toy", "champion") == "1"
    assert live.reverted is not None
    assert "graded days of the line of versions " in live.reverted
    assert "against the anchor, version 1, on the same rows" in live.reverted
    after = monitor.grade_predictions.fn(night, clean)
    assert (after.line, after.worse) == (None, False)  # a new line begins
