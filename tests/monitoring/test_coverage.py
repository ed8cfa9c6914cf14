"""Live coverage of prediction intervals, and when it is an alarm."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.monitoring.coverage import live_coverage
from tasks.monitoring.live_performance import grade_day
from tasks.problems import Regression

SPENT = Regression("spent", quantiles=(0.1, 0.5, 0.9), key=("number",))


def days(shares: np.ndarray | list[float], level: float = 0.8) -> list[dict[str, Any]]:
    return [
        {
            "day": str(date(2026, 11, 1) + timedelta(days=n)),
            "metrics": {"interval_coverage": float(share)},
            "calibration": {"predicted": level, "observed": float(share)},
        }
        for n, share in enumerate(shares)
    ]


def test_a_level_that_is_held_is_told_and_is_no_alarm() -> None:
    found = live_coverage(days([0.78, 0.83, 0.8, 0.76, 0.82, 0.79, 0.81]))
    assert found is not None and not found.off
    assert (found.level, found.days, round(found.share, 3)) == (0.8, 7, 0.799)
    told = "prediction intervals held 79.9% of the labels on 7 graded days, nominal 80.0%"
    assert str(found) == told


@pytest.mark.parametrize(
    ("shares", "off"),
    [
        ([0.6, 0.62, 0.58, 0.61, 0.6, 0.59], False),  # six days are too few
        ([0.6, 0.62, 0.58, 0.61, 0.6, 0.59, 0.6], True),
        ([0.74, 0.76, 0.75, 0.74, 0.76, 0.75, 0.75], False),  # sure, and too little to matter
        ([0.3, 0.95, 0.4, 0.9, 0.2, 0.85, 0.9], False),  # too much, and not sure
        ([0.99, 0.98, 0.97, 0.99] * 6, False),  # too wide is told later than too narrow
        ([0.99, 0.98, 0.97, 0.99] * 7, True),
        ([0.8] * 28 + [0.55, 0.6] * 14, True),  # only the newest days count
    ],
)
def test_an_alarm_needs_days_certainty_and_size(shares: list[float], off: bool) -> None:
    found = live_coverage(days(shares))
    assert found is not None and found.off is off
    assert ("OFF ITS LEVEL" in str(found)) is off


def test_what_promises_no_interval_has_no_coverage() -> None:
    other = [*days([0.8]), {"day": "2026-11-09", "metrics": {"roc_auc": 0.7}}]
    assert live_coverage(other[1:]) is None
    assert live_coverage([]) is None
    changed = days([0.2] * 9, level=0.5) + days([0.9, 0.9], level=0.9)
    found = live_coverage(changed)
    assert found is not None and (found.level, found.days) == (0.9, 2)


def test_honest_intervals_are_seldom_an_alarm_and_narrow_ones_soon() -> None:
    """Days whose chance of a miss varies by half; 40 years at the level, 40 at twice the misses."""
    random = np.random.default_rng(0)

    def alarms(level: float) -> int:
        chance = np.clip(level + random.normal(0, 0.08, (40, 90)), 0, 1)
        shares = random.binomial(200, chance) / 200
        return sum(
            any((f := live_coverage(days(year[:end]))) and f.off for end in range(7, 91, 3))
            for year in shares
        )

    assert alarms(0.8) <= 1
    assert alarms(0.6) == 40


def test_each_slice_is_graded_with_its_own_coverage() -> None:
    random = np.random.default_rng(0)
    numbers = np.arange(400)
    wild = numbers % 2 == 1
    spent = random.normal(0, np.where(wild, 4.0, 1.0))
    happened = pd.DataFrame(
        {"number": numbers, "market": np.where(wild, "wild", "calm"), "spent": spent, "day": "d"}
    )
    answers = happened[["number"]].assign(prediction_10=-1.28, prediction=0.0, prediction_90=1.28)
    record = grade_day(SPENT, {"champion": answers}, happened, slices=("market",))
    shares = record["slice_coverage"]
    assert shares["market calm"] > 0.7 > 0.4 > shares["market wild"]
    found = live_coverage([{"day": str(n), **record} for n in range(7)])
    assert found is not None and f"least in market wild, {shares['market wild']:.1%}" in str(found)
