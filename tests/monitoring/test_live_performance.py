"""Live days laid beside labels, and reverts that need days, not rows."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.monitoring.live_performance import (
    compare,
    compare_line,
    grade_day,
    is_behind,
    line_of,
    newest_code,
    proven_version,
    to_text,
)
from tasks.problems import Classification, Recommendation, Regression
from tasks.spec import Revert
from tests.samples import samples

POLICY = Revert()
LATE = Classification("late", metric="roc_auc", key=("number",))


def _days(*pairs: tuple[float, float]) -> list[dict[str, Any]]:
    return [{"metrics": {"m": ours}, "previous": {"m": before}} for ours, before in pairs]


def test_a_champion_that_is_worse_each_day_goes_back_once_patience_is_over() -> None:
    bad = [(0.20, 0.30), (0.21, 0.32), (0.19, 0.28), (0.22, 0.33)]
    verdicts = [compare(_days(*bad[:count]), "m", True, POLICY) for count in range(1, 5)]
    assert [found is not None and found.revert for found in verdicts] == [False, False, True, True]
    assert verdicts[-1] is not None
    assert verdicts[-1].relative == pytest.approx(-0.333, abs=0.01)


def test_less_may_be_better() -> None:
    errors = _days((0.30, 0.20), (0.32, 0.21), (0.28, 0.19))
    worse, better = (compare(errors, "m", greater, POLICY) for greater in (False, True))
    assert worse is not None and worse.revert
    assert better is not None and not better.revert


def test_one_bad_day_is_no_reason() -> None:
    found = compare(_days((0.1, 0.3), (0.3, 0.3), (0.31, 0.3), (0.3, 0.29)), "m", True, POLICY)
    assert found is not None and not found.revert


def test_a_loss_too_small_to_matter_is_no_reason() -> None:
    found = compare(_days(*[(0.300, 0.301)] * 9), "m", True, POLICY)
    assert found is not None and found.high < 0 and not found.revert


def test_a_day_without_the_metric_tells_nothing() -> None:
    assert compare([{"metrics": {}, "previous": {"m": 0.3}}], "m", True, POLICY) is None


@given(
    st.lists(st.tuples(st.floats(0.1, 0.5), st.floats(0.1, 0.5)), min_size=3, max_size=12),
    st.floats(0, 0.1),
)
@settings(max_examples=samples(150))
def test_a_better_champion_is_never_reverted_for_it(
    pairs: list[tuple[float, float]], gain: float
) -> None:
    """The decision is monotone: raising every day's figure turns no stay into a revert."""
    before = compare(_days(*pairs), "m", True, POLICY)
    after = compare(_days(*[(a + gain, b) for a, b in pairs]), "m", True, POLICY)
    assert before is not None and after is not None
    assert before.revert or not after.revert


def test_honest_champions_are_seldom_reverted() -> None:
    """Two that differ in nothing but noise, looked at on each of sixty nights."""
    random = np.random.default_rng(1)
    taken = 0
    for _ in range(200):
        day = random.normal(0.3, 0.05, 60)
        pairs = np.c_[day + random.normal(0, 0.01, 60), day + random.normal(0, 0.01, 60)]
        looks = (compare(_days(*map(tuple, pairs[:n])), "m", True, POLICY) for n in range(3, 61))
        taken += any(found is not None and found.revert for found in looks)
    assert taken / 200 < 0.05


def _happened(rows: int = 120, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "day": pd.Timestamp("2026-01-05"),
            "number": np.arange(rows),
            "origin": np.where(np.arange(rows) < 100, "JFK", "LGA"),
            "late": random.integers(0, 2, rows).astype(float),
        }
    )


def _answers(happened: pd.DataFrame, weight: float) -> pd.DataFrame:
    noise = np.random.default_rng(5).random(len(happened))
    said = weight * happened["late"].to_numpy() + (1 - weight) * noise
    return happened[["number", "origin"]].assign(probability=said)


def test_a_day_is_told_by_metric_slice_and_calibration() -> None:
    happened = _happened()
    answered = {"champion": _answers(happened, 1.0), "previous": _answers(happened, 0.0)}
    found = grade_day(LATE, answered, happened, ("origin",))
    assert (found["asked"], found["labelled"], found["unasked"]) == (120, 120, 0)
    assert found["metrics"]["roc_auc"] == 1.0
    assert found["previous"]["roc_auc"] < 0.7
    assert found["slices"] == {"origin JFK": 1.0}  # twenty flights from LGA say nothing
    assert found["calibration"]["observed"] == pytest.approx(happened["late"].mean())


OF_ROWS = {"log_loss", "brier", "calibration_error"}


@pytest.mark.parametrize(("late", "defined"), [(0.0, OF_ROWS), (1.0, OF_ROWS), (np.nan, set())])
def test_a_day_of_one_class_or_without_labels_has_the_metrics_that_it_defines(
    late: float, defined: set[str]
) -> None:
    happened = _happened().assign(late=late)
    found = grade_day(LATE, {"champion": _answers(_happened(), 0.5)}, happened)
    assert set(found["metrics"]) == defined


@pytest.mark.parametrize("count", [1, 3])
def test_a_day_of_one_row_or_of_equal_numbers_is_graded(count: int) -> None:
    """A table with one row a day has no other days."""
    problem = Regression("load", key=("number",))
    rows = pd.DataFrame({"day": pd.Timestamp("2026-01-05"), "number": range(count)})
    said = {"champion": rows.assign(prediction=7.0), "previous": rows.assign(prediction=9.0)}
    found = grade_day(problem, said, rows.assign(load=5.0))
    assert found["metrics"]["mean_absolute_error"] == 2.0
    assert found["previous"]["mean_absolute_error"] == 4.0
    assert "r2" not in found["metrics"]


def test_a_list_of_which_nothing_was_bought_counts_as_zero() -> None:
    problem = Recommendation("user", "item", "popularity", repeat="count")
    day = pd.Timestamp("2026-01-05")
    happened = pd.DataFrame({"day": day, "user": [1, 1], "item": [10, 11]})
    shown = pd.DataFrame(
        {
            "user": pd.array([1, 1], dtype="Int64"),
            "place": [1, 2],
            "item": [98, 99],
            "score": [0.9, 0.8],
            "kind": "discovery",
        }
    )
    assert grade_day(problem, {"champion": shown}, happened)["metrics"] == {
        "ndcg_10": 0.0,
        "recall_20": 0.0,
    }


def test_a_predecessor_that_answered_other_rows_is_not_compared() -> None:
    happened = _happened()
    answered = {
        "champion": _answers(happened, 0.5),
        "previous": _answers(happened, 0.5).head(50),
    }
    found = grade_day(LATE, answered, happened)
    assert "roc_auc" in found["metrics"]
    assert found["previous"] == {}


def test_a_basket_is_graded_by_what_was_shown() -> None:
    problem = Recommendation("user", "item", "popularity", repeat="count")
    happened = pd.DataFrame(
        {"day": pd.Timestamp("2026-01-05"), "user": [1, 1, 2], "item": [10, 11, 12]}
    )
    shown = pd.DataFrame(
        {
            "user": pd.array([1, 1, None, None], dtype="Int64"),
            "place": [1, 2, 1, 2],
            "item": [10, 99, 12, 98],
            "score": [0.9, 0.8, 0.7, 0.6],
            "kind": ["repeat", "discovery", "popular", "popular"],
        }
    )
    found = grade_day(problem, {"champion": shown}, happened)
    assert (found["asked"], found["labelled"], found["unasked"]) == (1, 1, 1)
    assert found["metrics"]["recall_20"] == pytest.approx((0.5 + 1.0) / 2)
    assert set(found["metrics"]) == {"ndcg_10", "recall_20"}


def test_a_graded_day_reads_as_a_sentence() -> None:
    record = {
        "day": "2026-11-22",
        "metrics": {"m": 0.2214},
        "promised": {"value": 0.23, "low": 0.2, "high": 0.26},
        "previous": {"m": 0.21},
        "previous_version": "2",
        "asked": 2470,
        "labelled": 412,
    }
    assert to_text(record, "m", "NDCG@10") == (
        "2026-11-22: NDCG@10 0.221, inside the prediction interval 0.200 to 0.260; "
        "version 2 had 0.210 (412 of 2,470 predictions have a label)"
    )
    outside = {**record, "metrics": {"m": 0.1}, "previous": {}}
    assert "OUTSIDE the prediction interval" in to_text(outside, "m", "NDCG@10")
    assert "NDCG@10 is undefined" in to_text({**record, "metrics": {}}, "m", "NDCG@10")


def _line(*figures: tuple[str, float, float]) -> list[dict[str, Any]]:
    """Graded days: version that was champion, its figure, and the anchor's."""
    return [
        {
            "day": f"2026-03-{number:02}",
            "version": version,
            "anchor_version": "1",
            "metrics": {"m": ours},
            "previous": {},
            "anchor": {"m": anchor},
            "promised": {"value": 0.3, "low": 0.2, "high": 0.4},
        }
        for number, (version, ours, anchor) in enumerate(figures, 1)
    ]


BAD = [(str(n), 0.30 - 0.05 - n % 3 / 1000, 0.30) for n in range(2, 10)]
"""Another champion on each day, all of them a sixth worse than the anchor."""


def test_a_line_that_is_worse_goes_back_although_each_day_has_another_champion() -> None:
    looks = [compare_line(_line(*BAD[:count]), "m", True, POLICY) for count in range(1, 9)]
    assert [found is not None and found.revert for found in looks] == [False] * 4 + [True] * 4
    assert compare_line(_line(*BAD[:2]), "m", False, POLICY) is not None
    assert compare_line([], "m", True, POLICY) is None


def test_a_line_that_turns_bad_goes_back_whatever_it_was_before() -> None:
    good = [(str(n), 0.33 + n % 4 / 100, 0.30) for n in range(2, 22)]
    line = _line(*good, *BAD)
    before, after = (compare_line(line[:n], "m", True, POLICY) for n in (21, 28))
    assert before is not None and not before.revert
    assert after is not None and after.revert and after.days < 10


def _edited(line: list[dict[str, Any]], since: int, code: str) -> list[dict[str, Any]]:
    """Days from the number on are of champions that other code made."""
    made = [code if number >= since else "old" for number in range(len(line))]
    return [{**day, "candidate": "tree", "code": c} for day, c in zip(line, made, strict=True)]


def test_other_code_is_compared_from_its_first_day_and_far_sooner_than_a_line() -> None:
    ours = [0.30 - 0.03 * (n >= 16) + 0.035 * (-1) ** n for n in range(36)]
    line = _line(*[(str(n), each, 0.30) for n, each in enumerate(ours, 2)])
    same = compare_line(_edited(line, 36, ""), "m", True, POLICY, ("tree", "old"))
    other = compare_line(_edited(line, 16, "new"), "m", True, POLICY, ("tree", "old"))
    assert same is not None and not same.revert
    assert other is not None and other.revert
    assert (other.days, other.confidence) == (20, POLICY.confidence)


def test_the_newest_code_is_new_where_the_one_before_it_or_the_anchor_has_another() -> None:
    line = _edited(_line(*BAD), 5, "new")
    assert newest_code(line, ("tree", "old")) == line[5:]
    assert newest_code(line[:5], ("tree", "old")) == []
    assert newest_code(line[:5], ("tree", "older")) == line[:5]
    assert newest_code(line[:5], ("forest", "old")) == line[:5]
    assert newest_code(_line(*BAD), ("tree", "old")) == []  # days of an earlier Nightly
    assert newest_code(line[:5], None) == []
    assert newest_code([], ("tree", "old")) == []


def test_a_line_is_behind_long_before_it_is_sure_enough_to_be_reverted() -> None:
    behind = _line(*[(str(n), 0.30 - 0.02 + n % 5 / 60 - 0.03, 0.30) for n in range(2, 14)])
    level = _line(*[(str(n), 0.30 - 0.004 + n % 2 / 1000, 0.30) for n in range(2, 14)])
    assert is_behind(behind, "m", True, POLICY)
    assert not is_behind(level, "m", True, POLICY)  # clearly worse, but by little
    assert not is_behind(behind[:2], "m", True, POLICY)
    assert not is_behind([], "m", True, POLICY)


def test_of_a_line_are_days_of_this_anchor_that_nobody_took_back() -> None:
    days = [*_line(*BAD), {"day": "2026-03-20", "version": "9", "metrics": {}, "previous": {}}]
    days[3]["anchor_version"] = "0"
    kept = line_of(days, "1", date(2026, 3, 2), {"4"})
    assert [day["version"] for day in kept] == ["6", "7", "8", "9"]


def test_a_line_is_proven_by_four_weeks_that_are_clearly_better() -> None:
    good = _line(*[(str(n), 0.33 + n % 4 / 100, 0.30) for n in range(2, 30)])
    assert proven_version(good, "m", True) == "29"
    good[-1]["promised"] = {"value": 0.5, "low": 0.45, "high": 0.6}
    assert proven_version(good, "m", True) == "28"  # the last one that kept its promise
    assert proven_version(good, "m", False) is None
    assert proven_version(good[1:], "m", True) is None


def test_honest_lines_are_seldom_reverted_in_a_year() -> None:
    random, years = np.random.default_rng(2), 20
    taken = 0
    for _ in range(years):
        day, own = random.normal(0.3, 0.05, 365), random.normal(0, 0.01, (2, 365))
        line = [
            {"metrics": {"m": a}, "anchor": {"m": b}}
            for a, b in zip(day + own[0], day + own[1], strict=True)
        ]
        looks = (
            compare_line(line[max(0, n - 60) : n], "m", True, POLICY) for n in range(5, 365, 5)
        )
        taken += any(found is not None and found.revert for found in looks)
    assert taken / years <= 0.05
