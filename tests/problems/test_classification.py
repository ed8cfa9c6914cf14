"""One class of two or of several: labels, scores, answers and what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from tasks.evaluation.evaluate import evaluate
from tasks.metrics import JudgementError, Metric
from tasks.problems import Classification, Multiclass
from tasks.spec import SpecError

COLOUR = Multiclass("colour", ("red", "green", "blue"), key=("number",))
LATE = Classification("late", key=("number",), threshold=0.4)
SETTINGS = {"resamples": 100, "confidence": 0.9, "seed": 1}


def rows(**columns: object) -> pd.DataFrame:
    count = len(next(iter(columns.values())))  # type: ignore[arg-type]
    return pd.DataFrame({"number": range(count), "day": pd.Timestamp("2026-01-05"), **columns})


def examples_of(days: int = 6, count: int = 60, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "day": np.repeat(pd.date_range("2026-01-01", periods=days), count),
            "x": random.normal(size=days * count),
            "target": random.integers(0, 3, days * count).astype(np.int8),
        }
    )


@pytest.mark.parametrize("kind", [object, "string", "category"])
def test_classes_are_learned_as_their_places(kind: object) -> None:
    labels = pd.Series(["blue", None, "red", "green"], dtype=kind)  # type: ignore[call-overload]
    made = COLOUR.label(pd.DataFrame({"x": range(4)}), rows(colour=labels))
    assert made["target"].tolist() == [2, 0, 1]
    assert made["target"].dtype == np.int8
    assert list(COLOUR.inputs(made)) == ["x"]


def test_whole_numbers_are_classes_also_where_some_are_missing() -> None:
    stars = Multiclass("stars", (1, 2, 5))
    made = stars.label(pd.DataFrame({"x": range(3)}), rows(stars=[5.0, np.nan, 1.0]))
    assert made["target"].tolist() == [2, 0]


def test_a_class_the_estimator_never_met_has_no_chance() -> None:
    inputs = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
    fitted = LogisticRegression().fit(inputs, [0, 0, 2, 2])
    scores = COLOUR.score(fitted, inputs)
    assert scores.shape == (4, 3)
    assert (scores[:, 1] == 0).all()
    np.testing.assert_array_equal(scores[:, [0, 2]], fitted.predict_proba(inputs))
    assert COLOUR.score_fault(scores) == ""
    assert "4 of 4 rows" in COLOUR.score_fault(scores / 2)


def test_the_answer_is_the_likeliest_class_and_the_chance_of_each() -> None:
    asked = rows(x=[0.0, 1.0])
    scores = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])
    shown = COLOUR.answers(asked, asked[["x"]], scores)
    assert shown["prediction"].tolist() == ["green", "red"]
    assert shown["probability"].tolist() == [0.5, 0.6]
    assert shown["probability_blue"].tolist() == [0.3, 0.3]
    examples, said, counts = COLOUR.match({"champion": shown}, rows(colour=["green", "blue"]))
    assert examples["target"].tolist() == [1, 2]
    np.testing.assert_array_equal(said["champion"], scores)
    assert counts == {"asked": 2, "labelled": 2, "unasked": 0}


def test_classes_are_evaluated_against_their_shares() -> None:
    examples = examples_of()
    fitted = RandomForestClassifier(10, random_state=0).fit(examples[["x"]], examples["target"])
    scores = {
        "forest": COLOUR.score(fitted, examples[["x"]]),
        "baseline": COLOUR.baseline_scores(examples, examples),
    }
    found = evaluate(COLOUR, examples, scores, **SETTINGS)  # type: ignore[arg-type]
    assert found.difference("forest", "baseline").absolute.low > 0
    assert set(found.metrics["forest"]) == set(COLOUR.metric_names)
    assert COLOUR.calibration(examples, scores["baseline"]) == pytest.approx((0.36, 0.36), abs=0.03)
    assert len(COLOUR.outcomes(examples)) == 3


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (Multiclass("c", ("a",)), "classes: found ('a',), allowed a tuple of 2 to 100"),
        (Multiclass("c", ("a", "a")), "classes: found ('a', 'a')"),
        (Multiclass("c", (1, "1")), "classes: found (1, '1')"),
        (Multiclass("c", (0.5, 1.5)), "classes: found (0.5, 1.5)"),  # type: ignore[arg-type]
        (Multiclass("c", "ab"), "classes: found 'ab'"),  # type: ignore[arg-type]
        (Multiclass("c", ("a", "b"), metric="brier"), "metric: found 'brier', allowed log_loss"),
        (Classification("c", metric="f1"), "metric: found 'f1'"),
        (Classification("c", threshold=1.5), "threshold: found 1.5, allowed None or 0 to 1"),
        (Classification("c", metric="gain"), "metric: found 'gain'"),
        (Classification("c", metrics=(Metric("brier", abs),)), "metrics: found the name 'brier'"),  # type: ignore[arg-type]
        (Classification("c", metrics=("gain",)), "metrics: found 'gain', allowed a tuple"),  # type: ignore[arg-type]
        (Classification("c", metrics=(Metric("Gain!", abs),)), "found the name 'Gain!'"),  # type: ignore[arg-type]
    ],
)
def test_each_fault_says_what_is_allowed(problem: Classification, words: str) -> None:
    (found,) = problem.faults()
    assert words in found


def test_a_decision_may_be_judged_by_and_is_shown() -> None:
    assert Classification("c", metric="f1", threshold=0.2).faults() == []
    asked = rows(x=[0.0, 1.0, 2.0])
    shown = LATE.answers(asked, asked[["x"]], np.array([0.39, 0.4, 0.9]))
    assert shown["decision"].tolist() == [0, 1, 1]


def test_labels_of_another_kind_are_refused_with_what_to_do() -> None:
    with pytest.raises(SpecError, match="found no, yes; expected 0 and 1"):
        LATE.label(pd.DataFrame({"x": [1, 2]}), rows(late=["yes", "no"]))
    assert LATE.label_fault(rows(late=[True, False])) == ""
    assert "found 0.0, 2.0; expected 0 and 1" in LATE.label_fault(rows(late=[0.0, 2.0]))
    assert "found 'pink' in 1 of 2 rows" in COLOUR.label_fault(rows(colour=["red", "pink"]))
    with pytest.raises(SpecError, match="found 'late', but the clean rows have no such"):
        LATE.label_fault(rows(x=[1.0]))


def test_features_must_not_hold_the_outcome() -> None:
    with pytest.raises(SpecError, match="found the column 'late', which is the outcome's name"):
        LATE.label(pd.DataFrame({"late": [1, 2]}), rows(late=[0, 1]))


def test_what_teaches_or_judges_nothing_says_so() -> None:
    one = pd.DataFrame({"target": [1, 1]})
    assert LATE.training_fault(one).startswith("the training days have only one class: 2 of 2 rows")
    assert "all 2 rows have colour = 'green'" in COLOUR.training_fault(one)
    with pytest.raises(JudgementError, match="the holdout has only one class"):
        COLOUR.check_examples(one)
    with pytest.raises(JudgementError, match="1 rows of class 'blue', which no training day has"):
        COLOUR.check_split(pd.DataFrame({"target": [0, 1]}), pd.DataFrame({"target": [0, 2]}))


def test_days_without_a_positive_leave_the_rest_judged() -> None:
    examples = examples_of(days=10)
    late = np.zeros(len(examples), dtype=np.int8)
    late[[5, 70, 130, 200, 260]] = 1  # five positives on five of ten days
    examples = examples.assign(target=late)
    score = {"a": np.linspace(0.1, 0.9, len(late)), "b": np.full(len(late), 0.01)}
    steady = Classification("late", metric="log_loss")
    assert evaluate(steady, examples, score, **SETTINGS).primary("a").finite()  # type: ignore[arg-type]
    few = examples[examples["day"] <= "2026-01-03"].assign(target=0)
    few.iloc[7, 2] = 1
    short = {name: values[: len(few)] for name, values in score.items()}
    with pytest.raises(JudgementError, match="Use a longer holdout"):
        evaluate(Classification("late"), few, short, **SETTINGS)  # type: ignore[arg-type]


def test_a_metric_of_ones_own_may_decide() -> None:
    def gain(examples: pd.DataFrame, score: np.ndarray) -> pd.Series:
        return (score > 0.4) * (examples["target"] * 10.0 - 3.0)

    problem = Classification("late", metric="gain", metrics=(Metric("gain", gain),))
    assert problem.faults() == []
    assert problem.primary == problem.metric_names[0] == "gain"
    examples = examples_of().assign(target=lambda frame: (frame["target"] == 0).astype(np.int8))
    scores = {"a": examples["target"] * 0.9, "b": np.full(len(examples), 0.5)}
    found = evaluate(problem, examples, scores, **SETTINGS)  # type: ignore[arg-type]
    assert found.primary("a").value == pytest.approx((examples["target"] * 7.0).mean())
    assert found.difference("a", "b").absolute.low > 0
    less = Metric("gain", gain, greater_is_better=False)
    worse = evaluate(
        Classification("late", metric="gain", metrics=(less,)), examples, scores, **SETTINGS
    )  # type: ignore[arg-type]
    assert worse.difference("a", "b").absolute.high < 0


def test_a_shape_that_does_not_fit_is_refused() -> None:
    odd = SimpleNamespace(classes_=[0, 1], predict_proba=lambda inputs: np.ones((len(inputs), 1)))
    with pytest.raises(ValueError, match=r"returned shape \(2, 1\), expected \(2, 2\)"):
        COLOUR.score(odd, pd.DataFrame({"x": [1, 2]}))
