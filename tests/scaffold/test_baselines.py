"""The start names the naive forecast that a forecaster would: the best of those that apply."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.scaffold.baselines import Baseline, choose_baseline
from tasks.scaffold.profiling import describe_columns, read_target


def table(days: int = 84, hours: int = 1, shops: int = 12) -> pd.DataFrame:
    """One row a day, hour and shop."""
    index = pd.MultiIndex.from_product(
        [pd.date_range("2026-01-05", periods=days), range(hours), [f"s{n}" for n in range(shops)]],
        names=["day", "hour", "shop"],
    )
    rows = index.to_frame(index=False)
    rows["at"] = rows["day"] + pd.to_timedelta(rows.pop("hour"), "h")
    random = np.random.default_rng(0)
    return rows.assign(shop=rows["shop"].astype("str"), noise=random.normal(size=len(rows)))


def weekly(rows: pd.DataFrame, hours: bool = False) -> Any:
    """A pattern of weekdays, or of weekdays and hours, anew for each."""
    place = rows["day"].dt.day_of_week + (10 * rows["at"].dt.hour if hours else 0)
    return place.map(dict(enumerate(np.random.default_rng(3).normal(0, 50, 300))))


def walk(rows: pd.DataFrame) -> Any:
    """A random walk of each shop."""
    steps = 10 * rows["noise"]
    return steps.groupby(rows["shop"]).cumsum()


def shop(rows: pd.DataFrame) -> Any:
    return rows["shop"].str[1:].astype("float64") * 100


def chosen(rows: pd.DataFrame, time: str | None = None, **more: Any) -> Baseline | None:
    columns = describe_columns(rows, "y", time)
    read = read_target(rows, next(c for c in columns if c.name == "y"))
    given = {"timezone": "UTC", "delay": 0, "lookback": 28} | more
    return choose_baseline(columns, rows, "y", read, time=time, **given)


ONE, MANY = table(shops=1), table()
HOURLY = table(days=35, hours=24, shops=1)
KEYED = ("usual", ("shop",), False)


@pytest.mark.parametrize(
    ("rows", "label", "expected"),
    [
        (MANY, shop(MANY) + MANY["noise"], KEYED),
        (MANY, walk(MANY) + shop(MANY), ("last_value", ("shop",), False)),
        (ONE, weekly(ONE) + ONE["noise"], ("last_week", (), False)),
        (MANY, weekly(MANY) + shop(MANY) + MANY["noise"], ("last_week", ("shop",), False)),
        (HOURLY, weekly(HOURLY, hours=True) + HOURLY["noise"], ("last_week", (), True)),
        (MANY, MANY["noise"], None),
        (MANY, (shop(MANY) + 300 * MANY["noise"] > 500).astype("int64"), KEYED),
        (MANY, np.where(MANY["noise"] > 2, "c", MANY["shop"]), KEYED),
    ],
    ids=["key", "walk", "week", "week of each", "hour", "noise", "rate of each", "classes of each"],
)  # fmt: skip
def test_the_best_naive_forecast_is_named(
    rows: pd.DataFrame, label: Any, expected: tuple[Any, ...] | None
) -> None:
    found = chosen(rows.assign(y=label), "at" if rows is HOURLY else None)
    assert (found and (found.how, found.by, found.timed)) == expected


def test_what_is_not_final_is_not_used() -> None:
    rows = MANY.assign(y=walk(MANY) + shop(MANY))
    at_once, late = chosen(rows), chosen(rows, delay=7, lookback=35)
    assert at_once is not None
    assert late is not None
    error = [float(one.told.split()[3]) for one in (at_once, late)]
    assert error[1] > 1.5 * error[0]


def test_without_a_history_only_what_training_days_say_is_named() -> None:
    found = chosen(MANY.assign(y=walk(MANY) + shop(MANY)), lookback=0)
    assert found is None or found.how == "usual"
    assert chosen(MANY.head(6).assign(y=[1.5, 2.5, 3.5, 4.5, 5.5, 6.5])) is None
