"""Which recipes a night leaves out: decided by what earlier nights have recorded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.features.split import Split
from tasks.promotion.betting import Capital, bet
from tasks.promotion.contests import Contest, Contests
from tasks.reporting.archive import report_folder
from tasks.spec import Calendar
from tasks.spec.fingerprint import digest
from tasks.spec.loading import load_spec
from tasks.steps import fleet, train
from tasks.steps.state import Examples, Night
from tests.nights import TOY, nth_day

MODEL = str(TOY)
DAYS = tuple(map(nth_day, range(1, 42)))
EXAMPLES = Examples(
    {}, Split(DAYS[:20], DAYS[-7:], DAYS), (), ("constant", "logistic", "tree"), 0.0, 0.0
)
NIGHT = Night(MODEL, "toy", nth_day(41), dict.fromkeys(DAYS, ""), "key")
CALM, DRIFTED = (SimpleNamespace(shifts=(SimpleNamespace(alarming=far),)) for far in (False, True))


def keep(number: int, through: int, version: str = "3") -> None:
    """The report of the night ``number``: both others far behind the champion's recipe."""
    weak = bet(Capital(), [-0.1] * 20)
    running = [Contest(n, "logistic", 0.25, nth_day(through), weak) for n in ("constant", "tree")]
    contests = Contests(nth_day(10), digest(load_spec(MODEL)), 1, tuple(running))
    champion = {"version": version, "candidate": "logistic", "since": None}
    report = {"as_of": str(nth_day(number)), "champion": champion, "contests": contests.to_json()}
    folder = report_folder("toy", nth_day(number))
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(report))


@pytest.fixture
def asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Version 3 is the champion before tonight; what the registry was asked."""
    found: list[Any] = []

    def read(*_: Any, before_night: str) -> Any:
        found.append(before_night)
        return SimpleNamespace(version="3")

    monkeypatch.setattr(train, "open_registry", lambda: None)
    monkeypatch.setattr(train.versions, "read_champion", read)
    return found


def fitted(drift: Any = CALM) -> tuple[str, ...]:
    return train.leave_out.fn(NIGHT, EXAMPLES, drift).candidates


def test_a_night_leaves_out_what_it_could_not_promote_and_the_same_again(asked: list[Any]) -> None:
    assert fitted() == EXAMPLES.candidates
    keep(40, through=39)
    found = train.leave_out.fn(NIGHT, EXAMPLES, CALM)  # type: ignore[arg-type]
    assert (found.candidates, set(found.left_out)) == (("logistic",), {"constant", "tree"})
    assert found.left_out["tree"].due == nth_day(42)
    keep(41, through=41)  # tonight's own report, as after a kill or with a revised day
    assert train.leave_out.fn(NIGHT, EXAMPLES, CALM) == found  # type: ignore[arg-type]
    assert set(asked) == {"key"}
    backfill = replace(NIGHT, backfill="later nights are decided", key="another")
    assert train.leave_out.fn(backfill, EXAMPLES, CALM) == found  # type: ignore[arg-type]
    assert set(asked) == {"key"}


def test_all_are_fitted_where_inputs_drifted_or_the_champion_is_another(asked: list[Any]) -> None:
    keep(40, through=39, version="4")  # a person or a revert has put version 3 back since
    assert fitted() == EXAMPLES.candidates
    report_folder("toy", nth_day(40)).joinpath("report.json").unlink()
    keep(39, through=39)
    assert fitted() == ("logistic",)
    assert fitted(DRIFTED) == EXAMPLES.candidates
    drifted = train.leave_out.fn(NIGHT, EXAMPLES, DRIFTED)  # type: ignore[arg-type]
    assert train.find_left_out(NIGHT, drifted) == {}  # as the partitions of a fleet ask


def test_a_partition_leaves_out_its_own(asked: list[Any]) -> None:
    keep(40, through=39)
    common = EXAMPLES.without(train.find_left_out(NIGHT, EXAMPLES))
    every = ("tree", "logistic", "constant")
    plain = fleet.Plan("north", "toy.north", 0.5)
    assert fleet._examples_of(common, plain, {}, every).candidates == every
    own = fleet.Plan("north", "toy.north", 0.5, left_out={"tree": common.left_out["tree"]})
    assert fleet._examples_of(common, own, {}, every).candidates == every[1:]


@pytest.mark.parametrize(("came", "late"), [(["error", {}], []), (["error"], ["constant", "tree"])])
def test_where_no_fit_succeeds_those_left_out_are_fitted_after_all(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, came: Sequence[Any], late: list[str]
) -> None:
    keep(40, through=39)
    examples = train.leave_out.fn(NIGHT, EXAMPLES, CALM)  # type: ignore[arg-type]
    future = {"raise_on_failure": False}

    def submit(_night: Any, _examples: Any, name: str) -> Any:
        return SimpleNamespace(result=lambda **given: name if given == future else None)

    monkeypatch.setattr(train, "fit_candidate", SimpleNamespace(submit=submit))
    fits: Any = [SimpleNamespace(result=lambda one=one, **_: one) for one in came]
    assert train.collect_fits(NIGHT, examples, fits) == [*came, *late]


def test_the_next_fit_is_told_by_the_models_calendar(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(40, through=39)
    open_on = Calendar(holidays=(nth_day(42), nth_day(43)))
    spec = replace(load_spec(MODEL), calendar=open_on)
    monkeypatch.setattr(train, "load_spec", lambda _: spec)
    monkeypatch.setattr(train, "digest", lambda _: digest(load_spec(MODEL)))
    found = train.leave_out.fn(NIGHT, EXAMPLES, CALM).left_out["tree"]  # type: ignore[arg-type]
    assert found.due == nth_day(44)
