"""Lengths of time that fit a history, whatever it is: a night can always be split by them."""

from __future__ import annotations

from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.features.split import split_days
from tasks.scaffold.profiling import InferError
from tasks.scaffold.windows import FEWEST_DAYS, choose_ranking_windows, choose_windows
from tasks.spec import EXPANDING

FIRST = date(2026, 1, 1)


def history(count: int, step: int = 1) -> list[date]:
    return [FIRST + timedelta(days=step * number) for number in range(count)]


def split(listed: list[date], found: Any, delay: int = 0) -> Any:
    spec: Any = SimpleNamespace(
        name="any",
        lookback=timedelta(days=found.lookback),
        holdout=timedelta(days=found.holdout),
        label_delay=timedelta(days=delay),
        window=timedelta(days=found.window) if found.window else EXPANDING,
        calendar=None,
    )
    return split_days(spec, listed, listed[-1])


def test_a_long_dense_history_gets_the_house_lengths() -> None:
    listed = history(365)
    found = choose_windows(listed, dict.fromkeys(listed, 500))
    assert (found.lookback, found.holdout, found.window) == (28, 14, None)
    assert (found.min_days, found.min_units) == (7, 200)


def test_one_row_a_day_is_judged_on_more_days_and_fewer_rows() -> None:
    listed = history(365)
    found = choose_windows(listed, dict.fromkeys(listed, 1))
    assert found.holdout > 100
    assert 10 <= found.min_units <= found.holdout // 2


def test_a_rare_class_is_judged_on_more_days() -> None:
    listed = history(365)
    rows = dict.fromkeys(listed, 50)
    assert choose_windows(listed, rows, rare=0.01).holdout >= 40
    assert choose_windows(listed, rows, rare=0.4).holdout == 14


def test_many_rows_close_the_window_behind_them() -> None:
    listed = history(365)
    found = choose_windows(listed, dict.fromkeys(listed, 20_000))
    assert found.window is not None
    assert 50 < found.window < 120


def test_a_history_too_short_says_how_many_days_are_needed() -> None:
    with pytest.raises(InferError, match="has 9 days; expected at least 10"):
        choose_windows(history(9), {})
    with pytest.raises(InferError, match="has 30 days, 3 of them with final labels"):
        choose_windows(history(30), {}, delay=27)


@given(
    st.sets(st.integers(0, 1500), min_size=FEWEST_DAYS, max_size=120),
    st.integers(1, 3_000),
    st.integers(0, 20),
    st.sampled_from([0, 28, 48]),
)
def test_a_night_can_be_split_by_them(
    places: set[int], rows: int, delay: int, lookback: int
) -> None:
    listed = [FIRST + timedelta(days=place) for place in sorted(places)]
    try:
        found = choose_windows(
            listed, dict.fromkeys(listed, rows), delay=delay, wanted_lookback=lookback
        )
    except InferError:
        return
    parts = split(listed, found, delay)
    assert parts.train
    assert len(parts.holdout) >= 1
    assert found.min_units <= max(10, rows * len(parts.holdout))


@given(st.sets(st.integers(0, 800), min_size=FEWEST_DAYS, max_size=300), st.integers(1, 500))
def test_a_recommendations_night_can_be_split_by_them(places: set[int], users: int) -> None:
    listed = [FIRST + timedelta(days=place) for place in sorted(places)]
    found = choose_ranking_windows(listed, dict.fromkeys(listed, users), 3.0 * users)
    assert split(listed, found).train


def test_a_recommendation_looks_far_back_and_learns_of_enough_users() -> None:
    dense = choose_ranking_windows(history(365), dict.fromkeys(history(365), 300), 4_000.0)
    assert dense.lookback > 150
    assert dense.window == 14 + 42
    sparse = choose_ranking_windows(history(3_000), dict.fromkeys(history(3_000), 2), 25.0)
    assert sparse.lookback > 1_000
    assert sparse.window is not None
    assert sparse.window > sparse.holdout + 300
