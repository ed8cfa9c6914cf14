"""Slices are columns or functions, and what cannot be one says so."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation.evaluate import evaluate_slices
from tasks.features.scoring import answer_batch
from tasks.monitoring.live_performance import grade_day
from tasks.problems import Classification, Recommendation
from tasks.problems.base import Problem
from tasks.problems.columns import slice_name, slice_values
from tasks.spec import SpecError

EXAMPLES = pd.DataFrame(
    {
        "day": pd.date_range("2026-01-01", periods=4).repeat(60),
        "age": [20, 40, 60] * 80,
        "target": [0, 1] * 120,
    },
    index=range(7, 247),
)


def age_band(examples: pd.DataFrame) -> pd.Series:
    return (examples["age"] // 30).map({0: "young", 1: "middle", 2: "old"})


def broken(examples: pd.DataFrame) -> pd.Series:
    return examples["nothing"]


def short(examples: pd.DataFrame) -> pd.Series:
    return examples["age"].head(2)


def test_a_function_is_a_slice_under_its_own_name() -> None:
    assert slice_name(age_band) == "age_band"
    assert slice_values(EXAMPLES, age_band).tolist()[:3] == ["young", "middle", "old"]
    score = EXAMPLES["target"] * 0.6 + 0.2
    found = evaluate_slices(
        Classification("late", metric="log_loss"),
        EXAMPLES,
        score,
        score * 0.9,
        ("age", age_band),
        resamples=100,
        confidence=0.9,
        seed=1,
        min_units=50,
    )
    assert {(each.column, each.group) for each in found} == {
        *(("age", str(age)) for age in (20, 40, 60)),
        *(("age_band", name) for name in ("young", "middle", "old")),
    }
    assert all(each.units == 80 and each.relative is not None for each in found)


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (broken, "function broken raised KeyError: 'nothing'; the columns it gets are day, age"),
        (short, "function short returned 2 values for 240 rows"),
        ("shop", "column 'shop' is not among the features; found day, age, target"),
    ],
)
def test_a_slice_that_cannot_be_told_says_why(by: object, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        slice_values(EXAMPLES, by)  # type: ignore[arg-type]


def test_of_a_recommendation_a_function_describes_the_user() -> None:
    problem = Recommendation("user", "item", "popularity")
    examples = pd.DataFrame(
        {
            "day": EXAMPLES["day"].iloc[0],
            "user": [1, 1, 2],
            "item": [5, 6, 5],
            "age": [20, None, 60],
        }
    )
    assert problem.slice_values(examples, age_band).tolist() == ["young", "young", "old"]
    with pytest.raises(SpecError, match="column 'item' differs within one user's item candidates"):
        problem.slice_values(examples, "item")


def test_live_days_are_told_by_the_slices_they_have_columns_for() -> None:
    happened = pd.DataFrame(
        {
            "day": "2026-01-05",
            "number": range(200),
            "age": [20, 20, 60, 60] * 50,
            "late": [0, 1] * 100,
        }
    )
    shown = happened[["number"]].assign(probability=0.3 + 0.4 * happened["late"])
    late = Classification("late", metric="log_loss", key=("number",))
    found = grade_day(late, {"champion": shown}, happened, (age_band, broken, "shop"))
    assert set(found["slices"]) == {"age_band young", "age_band old"}


@pytest.mark.parametrize(
    ("problem", "names"),
    [
        (Classification("late", key=("number",)), ["target", "relevant"]),
        (Recommendation("user", "item", "often"), ["item", "often", "target", "relevant"]),
    ],
)
def test_features_may_have_the_names_of_our_columns(problem: Problem, names: list[str]) -> None:
    """An estimator gets them under their own names, in training and for the app."""
    rows = pd.DataFrame({"day": pd.Timestamp("2026-01-05"), "number": [1, 2], "late": [0, 1]})
    rows = rows.assign(user=[1, 2], item=[5, 6])
    made = rows[["user", "item"]].assign(often=[3, 4], target=["x", "y"], relevant=[7.5, 8.5])
    made = made[[*({"user"} & {problem.user_column}), *names]]
    examples = problem.label(made, rows)
    inputs = problem.inputs(examples)
    assert set(examples["target"]) <= {0, 1}
    assert examples["day"].nunique() == 1
    asked = [name for name in names if name != "item"]
    pd.testing.assert_frame_equal(inputs, made[asked])
    assert problem.slice_values(examples, "target").tolist() == ["x", "y"]
    seen = []

    def chances(given: pd.DataFrame) -> np.ndarray:
        seen.append(given)
        return np.full((len(given), 2), 0.5)

    spec = SimpleNamespace(problem=problem, features=lambda *_: made)
    _, kept = answer_batch(spec, SimpleNamespace(predict_proba=chances), rows, rows)
    pd.testing.assert_frame_equal(seen[0], made[asked])
    assert kept["target"].tolist() == ["x", "y"]
