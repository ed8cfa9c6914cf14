"""What the start says of the columns it found."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pandas as pd
import pytest

from tasks.scaffold.decide import (
    fewest_rows,
    later_warnings,
    repeat_warning,
    strong_warnings,
    time_warnings,
)
from tasks.scaffold.profiling import Column
from tests.scaffold.test_render_spec import plan_of

NAMES = ["aim", "at", "id", "number", "whole", "flag", "later", "text"]
DAYS = pd.Series(pd.to_datetime(["2026-11-21", "2026-11-22"]))


def test_of_a_strong_text_nobody_is_told_that_a_night_would_ask() -> None:
    number, text = strong_warnings(plan_of(NAMES, strong=(("number", 0.91), ("text", 0.9))))
    assert number.startswith("number alone has an AUC of 0.91; above 0.80 a night asks a person.")
    assert number.endswith("name it in the gate: strong_features=('number',).")
    assert text == (
        "text alone has an AUC of 0.90; a night tests numbers only, and not this text. Check that "
        "it is known before the day begins."
    )


def test_all_strong_inputs_are_named_at_once_and_of_very_many_how_many_more() -> None:
    (both,) = strong_warnings(plan_of(NAMES, strong=(("number", 0.91), ("whole", 0.84))))
    assert both == (
        "number 0.91, whole 0.84 alone have such an AUC; above 0.80 a night asks a person. Check "
        "that each is known before the day begins, and then name it in the gate: "
        "strong_features=('number', 'whole')."
    )
    many = tuple((f"x{number}", 0.9) for number in range(3_000))
    (said,) = strong_warnings(plan_of(NAMES, strong=many))
    assert "x29 0.90 and 2,970 more alone have" in said
    assert len(said) < 1_000


def test_of_very_many_columns_known_only_later_each_is_counted() -> None:
    late = [Column(f"x{number}", "number", "later", "its name") for number in range(3_000)]
    said = later_warnings(late)
    assert len(said) == 9
    assert said[0].startswith("Known only later? x0: its name. It is not used as input.")
    assert said[-1].startswith("Known only later? 2,992 more")
    assert sum(map(len, said)) < 2_000


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (DAYS, False),
        (DAYS.astype("str"), False),
        (pd.Series([date(2026, 11, 21), date(2026, 11, 22)]), False),
        (pd.Series(["21/11/2026", "22/11/2026"]), False),
        (DAYS + pd.Timedelta(hours=8), True),
        (pd.Series(["2026-11-21 00:00:00", "2026-11-22 08:00:00"]), True),
    ],
)
def test_of_time_zones_only_those_with_times_of_day_are_told(times: Any, told: bool) -> None:
    at = Column("at", "time", "time")
    rows = pd.DataFrame({"at": times})
    assert bool(time_warnings([at], rows, "at", "UTC")) is told
    assert not time_warnings([at], rows, "at", "UTC", zoned=True)
    assert not time_warnings([replace(at, zone="UTC")], rows, "at", "UTC")


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.33, "33% of the rows repeat"), (0.004, "0.4% of the rows repeat"), (0.0, "No row repeats")],
)
def test_what_repeated_rows_decide_is_told(share: float, said: str) -> None:
    words = repeat_warning(share)
    assert words.startswith(said)
    assert ("may be recommended again" in words) is (share > 0.05)


def test_the_fewest_rows_of_a_day_are_beside_those_of_the_day_before() -> None:
    even = DAYS.repeat(9)
    assert fewest_rows(even) == 1
    assert fewest_rows(even[:-6]) == pytest.approx(1 / 3)
    assert fewest_rows(DAYS[:1]) == 1
