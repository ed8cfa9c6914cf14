"""Contests of recipes over a year: each day counts once, and all share one error."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from tasks.promotion.betting import bet, e_values
from tasks.promotion.contests import Contests, count_days, needed, proofs, share_of

FIRST = date(2026, 1, 1)
RANDOM = np.random.default_rng(0)
VALUES = {name: RANDOM.normal(0.4, 0.02, 800) for name in ("old", "a", "b", "c")}
VALUES["good"] = VALUES["old"] + RANDOM.normal(0.02, 0.005, 800)


def night(number: int, *names: str, width: int = 14) -> dict[str, dict[str, float]]:
    """The holdout of a night: the days up to and with day ``number``."""
    chosen = range(number - width + 1, number + 1)
    return {
        name: {(FIRST + timedelta(days=d)).isoformat(): float(VALUES[name][d]) for d in chosen}
        for name in ("old", *names)
    }


def follow(
    nights: Any, *names: str, before: Contests | None = None, **given: Any
) -> Contests | None:
    state, asked = before, {"against": "old", "opponent": "old", "greater": True} | given
    for number in nights:
        state = count_days(state, night(number, *names), recipes=("old", *names), **asked)
    return state


def capital(state: Contests | None, name: str) -> Any:
    assert state is not None
    return next(found.capital for found in state.running if found.recipe == name)


def test_each_day_counts_once_though_holdouts_overlap_and_nights_are_missed() -> None:
    state = follow([20, 21, 21, 22, 30, 31], "a")
    days = VALUES["a"][7:32] - VALUES["old"][7:32]
    assert capital(state, "a").days == 25
    assert capital(state, "a").e_value == pytest.approx(e_values(days)[-1])


def test_less_is_better_where_the_metric_says_so() -> None:
    lower = capital(follow([20], "a", greater=False), "a")
    assert lower == pytest.approx(bet(lower.__class__(), VALUES["old"][7:21] - VALUES["a"][7:21]))


@pytest.mark.parametrize("plan", [[1], [4], [8], [1, 1, 1], [3, 2, 5, 1]])
def test_the_shares_of_a_year_sum_to_less_than_one_whenever_recipes_are_added(
    plan: list[int],
) -> None:
    state: Contests | None = None
    names = [f"r{number}" for number in range(sum(plan))]
    for at in range(len(plan)):
        there = names[: sum(plan[: at + 1])]
        daily = {name: night(20 + at)["old"] for name in ("old", *there)}
        state = count_days(state, daily, recipes=there, against="old", opponent="old", greater=True)
    assert state is not None
    shares = [found.share for found in state.running]
    assert len(shares) == len(names)
    assert sum(shares) == pytest.approx(1 - 1 / (len(plan) + 1))
    assert shares[0] == share_of(1, plan[0])


def test_a_recipe_added_in_the_year_leaves_the_others_as_they_are() -> None:
    alone = follow(range(20, 60), "a")
    state = follow(range(40, 60), "a", "b", before=follow(range(20, 40), "a"))
    assert capital(state, "a") == capital(alone, "a")
    assert capital(state, "b").days == 33
    found = proofs(state, "old", 0.95)
    assert found["a"].needed == pytest.approx(40)
    assert found["b"].needed == pytest.approx(120)


def test_other_code_begins_anew_and_pays_for_it() -> None:
    before = follow(range(20, 60), "good", code="one")
    state = follow([60], "good", before=before, code="two")
    assert state is not None
    assert capital(state, "good").days == 14
    assert [found.share for found in state.running] == [1 / 6]
    again = follow([61], "good", before=state, code="one")
    assert again is not None
    assert (again.begun, again.running[0].share) == (3, 1 / 12)


def test_another_champion_begins_anew_and_the_contest_before_it_can_go_on() -> None:
    state = follow(range(20, 30), "a", "b")
    other = follow([30, 31], "a", "b", before=state, against="a", opponent="a")
    assert set(proofs(other, "a", 0.95)) == {"old", "b"}
    back = follow([32], "a", "b", before=other)
    assert back is not None
    assert (back.begun, capital(back, "b").days) == (2, 14 + 9 + 3)


def test_after_a_year_everything_begins_anew() -> None:
    state = follow([14, 378], "a")
    assert state is not None
    assert (state.begun, capital(state, "a").days) == (1, 28)
    state = follow([379], "a", before=state)
    assert state is not None
    assert (state.since, state.begun) == (FIRST + timedelta(days=379), 1)
    assert capital(state, "a").days == 14


def test_what_may_not_be_promoted_begins_no_contest_and_costs_nothing() -> None:
    daily = night(20, "a", "b")
    state = count_days(
        None, daily, recipes=("a", "lost"), against="old", opponent="old", greater=True
    )
    assert [(found.recipe, found.share) for found in state.running] == [("a", 0.5)]
    later = count_days(
        state, night(21, "b"), recipes=(), against="old", opponent="old", greater=True
    )
    assert later.running == state.running  # a was not fitted: its days wait
    assert follow([22], "a", before=later) == follow([20, 22], "a")


def test_a_better_recipe_is_proven_and_one_that_is_not_is_not() -> None:
    found = proofs(follow(range(14, 45), "good", "a", "b", "c"), "old", 0.95)
    assert found["good"].passed
    assert not any(found[name].passed for name in ("a", "b", "c"))
    assert needed(0.5, 0.95) == pytest.approx(40)
    assert proofs(None, "old", 0.95) == {}


def test_the_state_of_a_year_survives_json() -> None:
    state = follow(range(20, 60), "a", "b", code="one")
    assert state is not None
    assert Contests.from_json(json.loads(json.dumps(state.to_json()))) == state
    fresh = Contests(FIRST)
    assert Contests.from_json(fresh.to_json()) == fresh
