"""A held night is taken up by a look when its data come: once, and without a word before."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tasks.steps.ending import outcome_of
from tests import nights
from tests.nights import champion_of, nth_day, versions_of, write_model, write_more
from tests.sequences import ONE_RECIPE

pytestmark = [
    pytest.mark.usefixtures("warm_processes"),
    *(pytest.mark.filterwarnings(text) for text in nights.MLFLOW_WARNINGS),
]


def held(model: Path, as_of: date) -> bool:
    from flows.retrain import retrain
    from tasks.steps.config import RetrainConfig

    config = RetrainConfig(model=str(model), as_of=as_of)
    return bool(outcome_of(retrain(config, return_state=True)) == "HELD")


def look(model: Path) -> Any:
    from flows.retrain import retrain
    from tasks.steps.config import RetrainConfig

    return retrain(RetrainConfig(model=str(model), look=True), return_state=True)


def test_data_that_come_in_the_morning_are_taken_without_a_person(
    registry_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    monkeypatch.setattr("tasks.steps.report.announce", lambda *told: events.extend(told[2]))
    monkeypatch.setattr("tasks.steps.predict.announce", lambda *told: events.extend(told[2]))
    write_more(tmp_path / "days", 1, 30)
    model = write_model(tmp_path / "toy.py", tmp_path / "days", *ONE_RECIPE)
    assert outcome_of(look(model)) == "NOTHING TO DO"
    assert held(model, nth_day(31))
    assert events == ["nightly.night.held"]
    for _ in range(2):
        idle = look(model)
        assert (outcome_of(idle), idle.type.value) == ("NOTHING TO DO", "COMPLETED")
    assert held(model, nth_day(31))
    assert (events, versions_of()) == (["nightly.night.held"], [])
    write_more(tmp_path / "days", 31, 31)
    taken = look(model)
    assert (outcome_of(taken), taken.result()["as_of"]) == ("PROMOTED", str(nth_day(31)))
    assert (champion_of(), versions_of()) == ("1", ["1"])
    assert events == ["nightly.night.held", "nightly.night.promoted"]
    for _ in range(2):
        assert outcome_of(look(model)) == "NOTHING TO DO"
    assert (champion_of(), versions_of(), len(events)) == ("1", ["1"], 2)
