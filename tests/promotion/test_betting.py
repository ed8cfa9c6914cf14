"""A bet that may be looked at every day: fair where nothing is better, and it grows where it is."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from tasks.promotion.betting import ALIKE, BETS, Capital, bet, e_values
from tests.samples import samples


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (0.01, 5, 0.2, 0.2, 1e-9, 3, 40)])
def test_over_all_signs_each_bet_is_exactly_fair_but_for_the_discount(
    sizes: tuple[float, ...],
) -> None:
    signs = np.array(list(itertools.product((-1, 1), repeat=len(sizes))))
    ends = np.array([bet(Capital(), list(days)).logs for days in signs * np.array(sizes)])
    assert np.exp(ALIKE * ends).mean(axis=0) == pytest.approx(1, rel=1e-12)
    assert (e_values(signs * np.array(sizes)).mean(axis=0) <= 1).all()


@pytest.mark.parametrize("mean", [0.0, -0.3, -2.0])
@pytest.mark.parametrize("before", [0.0, 1.0, 30.0])
def test_a_day_that_is_no_better_does_not_raise_the_capital_on_average(
    mean: float, before: float
) -> None:
    """Against numerical integration over a normal day."""
    start = Capital(3 if before else 0, before)

    def of(x: float) -> float:
        return bet(start, [x]).e_value * float(stats.norm.pdf(x, mean))

    halves = ((mean - 9, 0), (0, 9))
    assert sum(integrate.quad(of, *half)[0] for half in halves) <= 1 + 1e-7


@pytest.mark.parametrize("correlation", [0.0, 1 / 3])
def test_looked_at_every_day_of_a_year_few_fair_bets_grow_twentyfold(correlation: float) -> None:
    random = np.random.default_rng(1)
    days = random.standard_t(4, size=(2000, 365))
    for day in range(1, 365):
        days[:, day] += correlation * days[:, day - 1]
    crossed = (e_values(days * np.exp(random.normal(size=365))).max(axis=1) >= 20).mean()
    assert crossed <= 0.05


def test_a_better_scorer_is_found_within_weeks() -> None:
    days = np.random.default_rng(2).normal(1.0, 1, size=(500, 43))
    assert (e_values(days).max(axis=1) >= 20).mean() >= 0.9


@settings(max_examples=samples(30))
@given(
    st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=1, max_size=20),
    st.integers(0, 20),
    st.floats(1e-3, 1e3),
)
def test_nights_one_by_one_or_all_at_once_and_in_any_unit_are_the_same(
    days: list[float], cut: int, unit: float
) -> None:
    days = [round(day, 3) for day in days]
    stepwise = bet(bet(Capital(), days[:cut]), days[cut:])
    assert stepwise.e_value == pytest.approx(e_values(np.array(days))[-1])
    assert stepwise.e_value == pytest.approx(bet(Capital(), [unit * d for d in days]).e_value)
    assert stepwise.days == len(days)


def test_days_without_a_difference_change_nothing() -> None:
    assert bet(Capital(), [math.nan, math.inf]) == Capital()
    assert bet(Capital(), [0.0, 0.0]).e_value == 1
    assert len(Capital().logs) == len(BETS)
    assert Capital().e_value == 1


def test_one_extreme_day_changes_little() -> None:
    before = bet(Capital(), [0.1, -0.1, 0.1])
    most = 2 ** (1 / ALIKE)
    assert before.e_value < bet(before, [1e9]).e_value <= most * before.e_value
