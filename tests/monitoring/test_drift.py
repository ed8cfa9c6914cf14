"""Drift by the size of the change: what swings each week is quiet, what breaks is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.monitoring import drift
from tasks.monitoring.drift import (
    Shift,
    check_drift,
    count_rows,
    measure_drift,
    psi,
    to_lines,
)
from tests.samples import samples

NEWEST = date(2026, 11, 22)


def weeks(count: int = 8, rows: int = 700, seed: int = 0) -> pd.DataFrame:
    """Weeks of ordinary rows: a measure, one that swings, a key, and one that is often missing."""
    random = np.random.default_rng(seed)
    parts = []
    for age in range(7 * count):
        level = 3 * np.sin(age / 7)
        part = pd.DataFrame(
            {
                "size": random.normal(5, 1, rows // 7),
                "season": random.normal(level, 1, rows // 7),
                "carrier": random.choice(["AA", "DL", "UA"], rows // 7),
                "wind": np.where(random.random(rows // 7) < 0.3, np.nan, random.random(rows // 7)),
            }
        )
        parts.append(part.assign(day=pd.Timestamp(NEWEST - timedelta(days=age))))
    return pd.concat(parts, ignore_index=True)


def newest(rows: pd.DataFrame) -> pd.Series:
    return rows["day"] > pd.Timestamp(NEWEST - timedelta(days=7))


def test_ordinary_weeks_raise_no_alarm_and_a_season_is_known_to_swing() -> None:
    found = {shift.column: shift for shift in measure_drift(weeks(), NEWEST, 0)}
    assert not any(shift.alarming for shift in found.values())
    assert found["season"].psi > 0.25
    assert found["size"].psi < 0.1


@pytest.mark.parametrize(
    ("column", "broken"),
    [
        ("size", lambda rows: rows["size"] * 1.6),
        ("size", lambda rows: rows["size"] * 0),
        ("size", lambda rows: rows["size"].where(rows.index % 2 == 0)),
        ("carrier", lambda rows: rows["carrier"].replace("UA", "U2")),
        ("wind", lambda rows: rows["wind"].fillna(0)),
    ],
)
def test_what_breaks_is_told_first(column: str, broken: object) -> None:
    rows = weeks()
    rows[column] = rows[column].where(~newest(rows), broken(rows))  # type: ignore[operator]
    worst, *others = measure_drift(rows, NEWEST, 0)
    assert (worst.column, worst.alarming) == (column, True)
    assert not any(shift.alarming for shift in others)


def test_shares_say_what_happened() -> None:
    rows = weeks()
    now = newest(rows)
    rows["carrier"] = rows["carrier"].where(~now, rows["carrier"].replace("UA", "U2"))
    rows["wind"] = rows["wind"].where(~now)
    found = {shift.column: shift for shift in measure_drift(rows, NEWEST, 0)}
    assert found["carrier"].new == pytest.approx(1 / 3, abs=0.06)
    assert found["carrier"].vanished == pytest.approx(1 / 3, abs=0.06)
    assert found["wind"].missing == pytest.approx(0.7, abs=0.06)
    assert found["size"].new == found["size"].vanished == 0


def test_it_does_not_grow_with_the_rows() -> None:
    small, large = (measure_drift(weeks(rows=n), NEWEST, 0) for n in (1_400, 28_000))
    sizes = [{shift.column: shift.psi for shift in found} for found in (small, large)]
    assert sizes[1]["size"] <= sizes[0]["size"] + 0.01
    assert sizes[1]["season"] == pytest.approx(sizes[0]["season"], rel=0.2)


def test_fewer_than_three_weeks_say_nothing() -> None:
    assert measure_drift(weeks(2), NEWEST, 0) == []
    assert check_drift([], 1.0).passed


@pytest.mark.parametrize(
    "values",
    [
        np.nan,
        0.0,
        [np.inf, -np.inf],
        ["a", None],
        [True, False],
        pd.array([1, None], dtype="Int64"),
        pd.Categorical(["x", "y"]),
    ],
)
def test_whatever_a_column_holds_it_is_measured(values: object) -> None:
    rows = weeks(4)[["day"]]
    many = np.arange(len(rows)) % 2
    column = values if np.isscalar(values) else pd.Series(values)[many].reset_index(drop=True)
    (found,) = measure_drift(rows.assign(odd=column), NEWEST, 0)
    assert found.psi == pytest.approx(0, abs=0.01)


STAMPS = weeks()["day"]


@pytest.mark.parametrize(
    "values",
    [
        STAMPS,
        STAMPS.dt.tz_localize("Europe/Berlin"),
        STAMPS.dt.strftime("%Y-%m-%d"),
        STAMPS.dt.strftime("%Y-%m-%d").where(STAMPS.dt.day > 3),
        STAMPS.dt.date,
        STAMPS.dt.strftime("%d-%m-%Y"),
    ],
    ids=["dates", "zoned", "texts", "gaps", "objects", "day first"],
)
def test_dates_are_always_new_and_not_compared(values: pd.Series) -> None:
    assert measure_drift(weeks()[["day"]].assign(due=values), NEWEST, 0) == []


def test_of_times_the_hour_of_the_day_is_compared() -> None:
    hours = pd.to_timedelta(np.arange(len(STAMPS)) % 5 + 8, "h")
    rows = weeks()[["day"]].assign(due=STAMPS + hours, text=(STAMPS + hours).astype(str))
    found = measure_drift(rows, NEWEST, 0)
    assert [shift.column for shift in found] == ["due", "text"]
    assert not any(shift.alarming for shift in found)
    late = rows["due"] + pd.Timedelta(hours=9)
    worst, *_ = measure_drift(rows.assign(due=rows["due"].where(~newest(rows), late)), NEWEST, 0)
    assert (worst.column, worst.alarming) == ("due", True)


def test_texts_that_are_only_like_dates_now_and_then_are_texts() -> None:
    mixed = STAMPS.dt.strftime("%Y-%m-%d").where(STAMPS.dt.day > 3, "n/a")
    (found,) = measure_drift(weeks()[["day"]].assign(due=mixed), NEWEST, 0)
    assert found.column == "due"


@given(st.integers(0, 9))
@settings(max_examples=samples(10))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    rows = weeks(4, 140)
    mixed = rows.sample(frac=1, random_state=seed).reset_index(drop=True)
    found = [
        {shift.column: shift.psi for shift in measure_drift(each, NEWEST, 0)}
        for each in (rows, mixed)
    ]
    assert found[0] == pytest.approx(found[1])


@given(st.lists(st.integers(0, 1000), min_size=2, max_size=12), st.integers(1, 50))
@settings(max_examples=samples(80))
def test_the_index_is_nought_for_equal_shares_and_symmetric(counts: list[int], times: int) -> None:
    assert psi(counts, np.multiply(counts, times)) == pytest.approx(0, abs=1e-9)
    assert psi(counts, counts[::-1]) == pytest.approx(psi(counts[::-1], counts))
    assert psi(counts, counts[::-1]) >= 0


def test_only_what_is_past_the_limit_and_unusual_holds_the_night() -> None:
    rows = weeks()
    rows.loc[newest(rows), "size"] = 0
    shifts = measure_drift(rows, NEWEST, 0)
    check = check_drift(shifts, 2.0)
    assert not check.passed
    assert check.detail.startswith("size drifted most: index ")
    assert check.detail.endswith(
        "bound 2. Where that is right, approve the version, or name the column in drift_ignored."
    )
    assert check_drift(shifts, None).passed
    assert check_drift(shifts, 1e6).passed
    assert "| **size** |" in to_lines(shifts, 10)[2]
    assert len(to_lines(shifts, 2)) == 4


@pytest.mark.parametrize(
    ("rows", "odd"), [(104, False), (67, True), (68, False), (162, False), (163, True)]
)
def test_rows_are_compared_with_the_same_weekday(rows: int, odd: bool) -> None:
    counts = {NEWEST - timedelta(days=age): 500 for age in range(60)}
    counts |= {NEWEST - timedelta(weeks=back): 100 + back for back in range(1, 9)}
    found = count_rows({**counts, NEWEST: rows}, NEWEST)
    assert found is not None
    assert (found["odd"], found["low"], found["high"]) == (odd, 101, 108)


def test_rows_without_a_past_say_nothing() -> None:
    assert count_rows({NEWEST: 5}, NEWEST) is None


def test_a_stuck_column_is_not_hidden_by_one_that_always_drifts() -> None:
    """The largest shift is usual for its column; a smaller one is far beyond anything before."""
    trending = Shift("trend", psi=9.0, usual=8.0, missing=0.0, new=0.0, vanished=0.0)
    stuck = Shift("sensor", psi=4.0, usual=0.1, missing=0.0, new=0.0, vanished=0.0)
    found = check_drift([trending, stuck], 2.0)
    assert not found.passed
    assert found.detail == (
        "sensor drifted far more than usual: index 4.00, earlier weeks at most 0.10; bound 2. "
        "Where that is right, approve the version, or name the column in drift_ignored."
    )
    assert not check_drift([stuck, trending], 2.0).passed
    assert check_drift([trending], 2.0).passed
    more = replace(stuck, column="other", psi=3.0)
    assert "as 1 more columns did" in check_drift([trending, stuck, more], 2.0).detail


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(1).integers(0, 90, 900).astype(str),
        np.random.default_rng(2).choice(["a", None, "b"], 900),
        np.random.default_rng(3).choice([0.5, np.nan, 2.0], 900),
        np.random.default_rng(4).choice([True, False], 900),
        pd.Categorical(np.random.default_rng(5).choice(["x", None, "y"], 900)),
        pd.array(np.random.default_rng(6).choice([1, None, 2], 900), dtype="Int64"),
        np.random.default_rng(7).choice(np.array([1, "1", True, None], dtype=object), 900),
    ],
)
def test_categories_are_the_values_as_texts_and_rare_ones_are_pooled(values: Any) -> None:
    column = pd.Series(values)
    text = column.astype(str).where(column.notna(), "(missing)")
    common = text.value_counts().index[:50]
    expected, names = pd.factorize(text.where(text.isin(common), "(rare)"))
    code, missing, found = drift._binned(column, np.zeros(900, dtype=np.int64))
    assert (code == expected).all()
    assert (missing == column.isna()).all()
    assert len(found) == len(names)
