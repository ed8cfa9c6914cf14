"""The metric of a day without labels, against simulated days whose labels are known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from tasks.monitoring import estimated_performance
from tasks.monitoring.estimated_performance import estimate
from tasks.problems import Classification, Multiclass, Regression

RANDOM = np.random.default_rng(0)
TRUTH = {
    "average_precision": average_precision_score,
    "roc_auc": roc_auc_score,
    "brier": brier_score_loss,
    "log_loss": log_loss,
}


def test_calibrated_probabilities_tell_what_the_labels_will() -> None:
    random, inside = np.random.default_rng(7), []
    for (metric, measured), shape in itertools.product(TRUTH.items(), [(1, 5), (4, 6)]):
        problem, errors = Classification("late", metric=metric, key=("number",)), []
        for day in range(25):
            score = random.beta(*shape, size=300)
            label = random.random(300) < score
            found = estimate(problem, score, day)
            assert found is not None
            real = float(measured(label, score))
            inside.append(found["low"] <= real <= found["high"])
            errors.append(found["value"] - real)
        assert abs(np.mean(errors)) <= 3 * np.std(errors) / np.sqrt(len(errors))
    assert 0.83 <= np.mean(inside) <= 0.96  # 0.9 are expected


def test_probabilities_that_are_not_calibrated_mislead_it() -> None:
    problem = Classification("late", metric="brier", key=("number",))
    score = RANDOM.beta(2, 2, size=4000)
    label = RANDOM.random(4000) < 0.5
    found = estimate(problem, score, 0)
    assert found is not None
    assert brier_score_loss(label, score) > found["high"] + 0.05


def test_a_long_day_is_estimated_from_some_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Classification("late", key=("number",))
    score = RANDOM.beta(1, 5, size=4000)
    whole = estimate(problem, score, 0)
    monkeypatch.setattr(estimated_performance, "ROWS", 1000)
    part = estimate(problem, score, 0)
    assert whole is not None and part is not None
    assert part["value"] == pytest.approx(whole["value"], abs=0.03)
    assert part["high"] - part["low"] > whole["high"] - whole["low"]


@pytest.mark.parametrize(
    ("problem", "score"),
    [
        (Regression("delay"), np.array([0.2, 0.4])),
        (Multiclass("kind", classes=("a", "b", "c")), np.full((2, 3), 1 / 3)),
        (Classification("late"), np.array([])),
        (Classification("late"), np.array([0.2, np.nan])),
        (Classification("late", metric="roc_auc"), np.zeros(9)),
    ],
)
def test_what_cannot_be_estimated_is_not(problem: object, score: np.ndarray) -> None:
    assert estimate(problem, score, 0) is None  # type: ignore[arg-type]
