"""Requests hold nothing known later, labels are honest, and every fault of a setting is named."""

import re
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from tasks.metrics import JudgementError
from tasks.problems import Classification, Multiclass, Problem, Recommendation, Regression
from tasks.settings import PROJECT

LATE = Classification("late")
DELAY = Regression("delay")
COLOUR = Multiclass("colour", ("red", "green"))
RANGE = Regression("delay", quantiles=(0.1, 0.5, 0.9))
STARS = Recommendation("user", "item", "popularity", rating="stars", liked=4)
BASKET = Recommendation("user", "item", "popularity", repeat="bought_before")


def _flights() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "day": pd.to_datetime(["2013-01-05"] * 4).astype("datetime64[s]"),
            "carrier": ["AA", "DL", "AA", "UA"],
            "late": pd.array([True, False, None, True], dtype="boolean"),
            "delay": [30.0, -2.0, None, 16.0],
        }
    )


def _purchases() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "day": pd.to_datetime(["2017-01-05"] * 5).astype("datetime64[s]"),
            "user": [7, 7, 7, 3, 3],
            "item": ["milk", "milk", "eggs", "tea", "milk"],
            "price": 1.0,
        }
    )


def _candidates() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user": [3, 3, 7, 7],
            "item": ["milk", "eggs", "eggs", "bread"],
            "popularity": [9, 5, 5, 2],
            "bought_before": [1, 0, 0, 1],
        },
        index=[4, 8, 15, 16],
    )


def test_every_problem_keeps_the_protocol():
    problems: list[Problem] = [LATE, DELAY, BASKET, COLOUR, RANGE, STARS]
    for problem in problems:
        assert problem.faults() == []
        assert problem.primary == problem.metric_names[0]
        assert len(set(problem.metric_names)) == len(problem.metric_names)
        assert hash(problem) == hash(problem)
        for name in vars(Problem):
            assert name.startswith("_") or hasattr(problem, name)
    assert get_type_hints(Classification)["metric"] is str


@pytest.mark.parametrize(
    ("problem", "user", "target", "classes"),
    [
        (LATE, None, "late", False),
        (DELAY, None, "delay", False),
        (RANGE, None, "delay", False),
        (COLOUR, None, "colour", True),
        (BASKET, "user", None, False),
    ],
)
def test_a_problem_says_which_columns_it_is_about(
    problem: Problem, user: str | None, target: str | None, classes: bool
) -> None:
    assert (problem.user_column, problem.target_column) == (user, target)
    assert problem.scores_classes is classes


def test_nobody_looks_for_a_field_of_one_kind_of_problem() -> None:
    """But the files that run beside older versions' own code, and say why."""
    asks = re.compile(r"(has|get)attr\((\w+\.)?problem,")
    files = (PROJECT / "tasks").rglob("*.py")
    found = {file.name for file in files if asks.search(file.read_text())}
    assert found == {"scoring.py", "alignment.py"}


@pytest.mark.parametrize(
    ("problem", "known_ahead", "words"),
    [
        (Classification("late", metric="f1"), (), ["metric: found 'f1'", "average_precision"]),
        (Classification(""), (), ["target: found ''"]),
        (Classification("late"), ("late",), ["target: found 'late' among known_ahead"]),
        (Regression("x", metric="ndcg"), (), ["metric: found 'ndcg'", "r2"]),
        (Recommendation("u", "u", "p"), (), ["item: found 'u'"]),
        (Recommendation("u", "i", "target"), (), ["baseline: found 'target'"]),
        (Recommendation("u", "i", "p", k=0), (), ["k: found 0", "1 to 1000"]),
        (Recommendation("u", "i", "p", repeat=""), (), ["repeat: found ''"]),
        (Recommendation("u", "i", "p"), ("i",), ["item: found 'i' among known_ahead"]),
        (Recommendation("u", "i", "p", metric="auc", k=True), (), ["metric:", "k: found True"]),
    ],
)
def test_each_fault_names_field_value_and_what_is_allowed(problem, known_ahead, words):
    faults = "\n".join(problem.faults(known_ahead))
    for word in words:
        assert word in faults


def test_requests_hold_only_what_is_known_ahead():
    assert list(LATE.requests(_flights(), ("carrier",))) == ["day", "carrier"]
    asked = BASKET.requests(_purchases(), ())
    assert list(asked) == ["day", "user"]
    assert asked["user"].tolist() == [3, 7]


def test_tabular_labels_drop_rows_without_one_and_keep_inputs_apart():
    rows = _flights()
    before = rows.copy()
    features = pd.DataFrame({"seats": [1.0, 2.0, 3.0, 4.0]})
    examples = LATE.label(features, rows)
    assert examples["target"].tolist() == [1, 0, 1]
    assert examples["target"].dtype == np.int8
    assert list(LATE.inputs(examples)) == ["seats"]
    assert examples["seats"].tolist() == [1.0, 2.0, 4.0]
    assert DELAY.label(features, rows)["target"].tolist() == [30.0, -2.0, 16.0]
    pd.testing.assert_frame_equal(rows, before)


def test_tabular_labels_refuse_what_does_not_fit():
    rows = _flights()
    features = pd.DataFrame({"seats": [1.0, 2.0, 3.0, 4.0]})
    with pytest.raises(ValueError, match="3 rows for 4 requests"):
        LATE.label(features.iloc[:3], rows)
    with pytest.raises(ValueError, match="a different index"):
        LATE.label(features.iloc[::-1], rows)
    with pytest.raises(ValueError, match="expected 0 and 1"):
        Classification("delay").label(features, rows)
    with pytest.raises(ValueError, match="infinite"):
        DELAY.label(features, rows.assign(delay=np.inf))


def test_recommendation_labels_count_items_outside_the_candidates():
    examples = BASKET.label(_candidates(), _purchases())
    assert examples["target"].tolist() == [1, 0, 1, 0]
    assert examples["relevant"].tolist() == [2, 2, 2, 2]
    assert examples["day"].dtype == "datetime64[s]"
    assert examples.index.tolist() == [0, 1, 2, 3]
    assert list(BASKET.inputs(examples)) == ["popularity", "bought_before"]
    assert BASKET.count_units(examples) == 2
    assert BASKET.baseline_scores(examples, examples).tolist() == [9, 5, 5, 2]


def test_recommendation_labels_refuse_what_would_flatter_or_break():
    candidates, bought = _candidates(), _purchases()
    with pytest.raises(ValueError, match="1 of 2 users have no item candidates"):
        BASKET.label(candidates[candidates["user"] == 3], bought)
    with pytest.raises(ValueError, match="2 item candidates are repeated"):
        BASKET.label(pd.concat([candidates, candidates.iloc[:2]]), bought)
    with pytest.raises(ValueError, match="1 users who are not in the requests"):
        BASKET.label(pd.concat([candidates, candidates.iloc[:1].assign(user=9)]), bought)
    with pytest.raises(ValueError, match="item are missing"):
        BASKET.label(candidates.drop(columns="item"), bought)
    with pytest.raises(ValueError, match="one day"):
        BASKET.label(candidates, bought.assign(day=pd.date_range("2017-01-01", periods=5)))
    assert len(BASKET.label(candidates.iloc[:0], bought)) == 0


def test_scores_and_baselines():
    inputs = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
    examples = inputs.assign(target=[0, 0, 1, 1])
    fitted = LogisticRegression().fit(inputs, examples["target"])
    np.testing.assert_array_equal(LATE.score(fitted, inputs), fitted.predict_proba(inputs)[:, 1])
    line = LinearRegression().fit(inputs, examples["target"])
    np.testing.assert_array_equal(DELAY.score(line, inputs), line.predict(inputs))
    assert LATE.baseline_scores(examples.iloc[1:], examples) == pytest.approx([2 / 3] * 4)
    assert (
        DELAY.baseline_scores(examples.assign(target=[1, 2, 9, 90]), inputs).tolist() == [5.5] * 4
    )

    class OneClass:
        def predict_proba(self, given: Any) -> Any:
            return np.ones((len(given), 1))

    with pytest.raises(ValueError, match="both classes"):
        LATE.score(OneClass(), inputs)


def test_missing_columns_and_unlabelled_holdouts_say_so():
    examples = BASKET.label(_candidates(), _purchases())
    with pytest.raises(ValueError, match="'popularity' is not among"):
        BASKET.baseline_scores(examples, examples.drop(columns="popularity"))
    with pytest.raises(JudgementError, match="none of the 4 item candidates"):
        BASKET.check_examples(examples.assign(target=0))
    with pytest.raises(JudgementError, match="one class"):
        LATE.check_examples(pd.DataFrame({"target": [1, 1]}))
