"""How well a day's predictions should do, before its labels come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.metrics.classification import binary_metrics
from tasks.problems.classification import Classification

if TYPE_CHECKING:
    from tasks.metrics.base import Floats
    from tasks.problems.base import Problem


ESTIMATED = ("average_precision", "roc_auc", "log_loss", "brier", "precision", "recall", "f1")
"""Metrics that follow from probabilities alone."""
DRAWS, ROWS = 100, 20_000
"""Draws of a day's labels, and most rows of a day that are used."""


def can_estimate(problem: Problem) -> bool:
    """Whether it predicts the probabilities of two classes, and its metric follows from them."""
    return isinstance(problem, Classification) and problem.primary in ESTIMATED


def estimate(problem: Problem, score: Floats, seed: int) -> dict[str, float] | None:
    """The primary metric that a day's predictions should have, from their probabilities alone.

    Labels are drawn many times with the predicted probabilities, and the metric is measured on
    each draw: confidence-based performance estimation (CBPE), as NannyML describes it. It holds
    where the probabilities are calibrated. It sees that a day is harder, and not that what the
    labels follow has changed: for that there are graded days.

    Args:
        problem: What is predicted; only two classes and a built-in metric can be estimated.
        score: The predicted probabilities.
        seed: Seed of the draws.

    Returns:
        ``value`` (the mean), and the 5 % and 95 % quantiles over draws as ``low`` and ``high``;
        None where the metric cannot be estimated.
    """
    if not can_estimate(problem) or not len(score) or not np.isfinite(score).all():
        return None
    random = np.random.default_rng(seed)
    used = score if len(score) <= ROWS else random.choice(score, ROWS, replace=False)
    day, once = np.zeros(len(used), dtype=np.int64), np.ones((1, 1))
    threshold = (isinstance(problem, Classification) and problem.threshold) or 0.5
    drawn = [
        binary_metrics(
            random.random(len(used)) < used, used, day, once, [problem.primary], threshold
        )
        for _ in range(DRAWS)
    ]
    found = np.asarray([float(each[problem.primary][0]) for each in drawn])
    found = found[np.isfinite(found)]
    if not len(found):
        return None
    low, high = np.quantile(found, [0.05, 0.95])
    return {"value": float(found.mean()), "low": float(low), "high": float(high)}
