"""Recipes that tonight cannot promote are not fitted tonight, and no evidence is lost by it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import VotingClassifier

from tasks.promotion.betting import Capital, bet, e_values, most
from tasks.promotion.contests import YEAR, Contest, Contests, count_days, proofs
from tasks.promotion.left_out import LeftOut, leave_out, told, wait_of
from tasks.spec import days
from tests.toy import toy

FIRST = date(2026, 1, 1)
NAMES = ("logistic", "constant", "tree")
WEAK = bet(Capital(), [-0.1] * 21)
SPEC = replace(toy, holdout=days(14))


def nth(number: int) -> date:
    return FIRST + timedelta(days=number)


def held_out(newest: int, width: int = 14) -> list[date]:
    return [nth(day) for day in range(newest - width + 1, newest + 1)]


def contests(**given: Any) -> Contests:
    """Two others against ``logistic``, both weak, counted through day 20."""
    found = {"capital": WEAK, "through": nth(20)} | given
    running = tuple(Contest(name, "logistic", 0.25, **found) for name in NAMES[1:])
    return Contests(FIRST, "code", 1, running)


def left(newest: int, before: Contests | None, **given: Any) -> set[str]:
    return set(out(newest, before, **given))


def out(newest: int, before: Contests | None, **given: Any) -> dict[str, LeftOut]:
    asked = {"recipe": "logistic", "code": "code", "held_out": held_out(newest)} | given
    night_in = {"night_in": lambda nights: nth(newest + nights)}
    return leave_out(asked.pop("spec", SPEC), before, **asked | night_in)


def test_a_recipe_without_a_chance_is_left_out_until_a_week_of_days_waits() -> None:
    found = [left(newest, contests()) for newest in range(20, 29)]
    assert found == [{"constant", "tree"}] * 7 + [set()] * 2
    one = out(22, contests())["tree"]
    assert (one.against, one.waiting, one.due, one.proof.days) == ("logistic", 2, nth(27), 21)


@pytest.mark.parametrize(
    ("before", "given"),
    [
        (None, {}),
        (contests(), {"recipe": None}),
        (contests(), {"recipe": "forest"}),
        (contests(), {"code": "edited"}),
        (contests(capital=bet(Capital(), [-0.1] * 13)), {}),
        (contests(capital=bet(Capital(), [0.1] * 21)), {}),
        (contests(through=None), {}),
        (replace(contests(), since=nth(22) - YEAR), {}),
    ],
    ids=["new", "no champion", "another", "edited", "few days", "ahead", "not counted", "year"],
)
def test_all_others_are_fitted(before: Contests | None, given: dict[str, Any]) -> None:
    assert left(22, before, **given) == set()


def test_what_the_night_needs_anyway_is_fitted() -> None:
    assert left(22, contests(), spec=replace(SPEC, baseline="constant")) == {"tree"}
    one, other = SPEC.candidates["constant"], SPEC.candidates["tree"]
    vote = VotingClassifier([("a", one), ("b", other)])
    voted = replace(SPEC, candidates={**SPEC.candidates, "vote": vote})
    assert left(22, contests(), spec=voted) == set()
    running = (*contests().running, Contest("vote", "logistic", 0.25, nth(20), WEAK))
    assert left(22, replace(contests(), running=running), spec=voted) == {
        "constant",
        "tree",
        "vote",
    }


def test_a_gate_that_asks_for_little_evidence_leaves_nothing_out_that_could_reach_it() -> None:
    loose = replace(SPEC, gate=replace(SPEC.gate, recipe_confidence=0.5))
    near = replace(contests(capital=bet(Capital(), [-0.1, 0.1] * 8)))
    near = replace(near, running=(replace(near.running[0], share=1.0),))
    assert left(22, near) == {"constant"}
    assert [left(newest, near, spec=loose) for newest in (21, 26)] == [{"constant"}, set()]
    assert left(26, near, spec=loose, share=0.1) == {"constant"}


@pytest.mark.parametrize(("holdout", "nights"), [(1, 1), (3, 1), (7, 3), (14, 7), (60, 7)])
def test_half_of_the_holdout_is_left_for_missed_nights(holdout: int, nights: int) -> None:
    assert wait_of(holdout) == nights


def follow(
    nights: Iterable[int], gains: Mapping[str, np.ndarray], width: int, *, every: bool
) -> list[Contests]:
    """The contests after each night, fitting ``every`` recipe or only those that are due."""
    spec, found = replace(SPEC, holdout=days(width)), list[Contests]()
    state: Contests | None = None
    for newest in nights:
        held = held_out(newest, width)
        rest = set() if every else left(newest, state, spec=spec, code="", held_out=held)
        fitted = [name for name in NAMES if name not in rest]
        daily = {
            name: {day.isoformat(): float(gains[name][(day - FIRST).days]) for day in held}
            for name in fitted
        }
        state = count_days(
            state, daily, recipes=fitted, against="logistic", opponent="logistic", greater=True
        )
        found.append(state)
    return found


@pytest.mark.parametrize("width", [7, 14])
@pytest.mark.parametrize("drift", [-0.3, 0.0, 0.5])
def test_every_day_counts_and_a_promotion_comes_on_the_same_night(width: int, drift: float) -> None:
    fits = 0
    for seed in range(3):
        draw = np.random.default_rng([seed, width])
        steps = draw.choice([1, 1, 1, 2, 3], size=60)  # nights that were missed among them
        nights = (width + np.cumsum(steps)).tolist()
        gains = {name: draw.standard_t(3, 400) for name in NAMES}
        gains["logistic"] = gains["logistic"] * 0.0
        gains["tree"][150:] += drift
        daily = follow(nights, gains, width, every=True)
        rarely = follow(nights, gains, width, every=False)
        before: Contests | None = None
        for newest, mine, theirs in zip(nights, rarely, daily, strict=True):
            shown = {one.recipe: one for one in mine.running}
            for one in theirs.running:
                found = shown[one.recipe]
                if found.through == one.through:  # fitted tonight: all days, once each
                    fits += 1
                    assert found.capital.days == one.capital.days
                    assert found.capital.e_value == pytest.approx(one.capital.e_value)
                else:
                    assert found.through is not None
                    assert 0 < (nth(newest) - found.through).days <= 7 + 2
            sure = [
                {name for name, proof in proofs(state, "logistic", 0.95).items() if proof.passed}
                for state in (theirs, mine)
            ]
            tonight = {name for name in sure[1] if shown[name].through == nth(newest)}
            assert tonight == sure[0]
            before = mine
        assert before is not None
    assert fits < 3 * 60 * 2


def test_the_most_that_days_can_make_of_a_capital() -> None:
    after = e_values(np.array([1e-9] * 3 + [1.0] * 4))
    assert after[-1] <= most(Capital(), 7) == pytest.approx(2**3.5)
    assert most(WEAK, 2) == pytest.approx(2 * WEAK.e_value)


def test_what_is_left_out_is_told_with_the_reason_and_the_next_fit() -> None:
    evidence = f"evidence {WEAK.e_value:.2g} over 21 days, 80 is needed"
    assert told({}) == []
    assert told(out(22, contests())) == [
        "Not fitted tonight, because no new day could prove them better than logistic: constant "
        f"({evidence}), tree ({evidence}). Fitted next for 2026-01-28, or at once after an edit, "
        "with drift, or where a person or a revert has changed the champion."
    ]
