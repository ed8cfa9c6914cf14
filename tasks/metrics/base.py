"""Metrics under a bootstrap of whole days: every figure with an interval, every difference paired.

A resample is a row of day counts, so each metric is a function of ``counts`` (resamples x days)
and costs far less than scoring the drawn rows again: sums per day and one matrix product where the
metric is a mean, one sort where it is a ranking. Here: what all metrics share, and the metrics of
classes; those of numbers are in ``tasks.metrics.regression``, of rankings in
``tasks.metrics.ranking``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tasks.errors import JudgementError

if TYPE_CHECKING:
    import pandas as pd


Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
BLOCK_CELLS = 250_000


@dataclass(frozen=True)
class Metric:
    """A custom metric: the mean of one number per row.

    Attributes:
        name: Lower-case letters, digits and _.
        function: ``function(examples, score)`` returns one number for each row, NaN where a row
            does not count. ``examples`` holds the features, ``day`` and ``target``; ``score`` has
            shape (rows,), or (rows, classes or levels). Of a recommendation the numbers of one user
            and day are added up, and ``examples`` has the ``place`` of each item, 1 for the best.
        greater_is_better: Orientation.
    """

    name: str
    function: Callable[[pd.DataFrame, Floats], npt.ArrayLike]
    greater_is_better: bool = True

    def of_rows(self, examples: pd.DataFrame, score: Floats) -> Floats:
        """One number for each row.

        Raises:
            JudgementError: Where the function raises, or returns anything else.
        """
        try:
            values = np.asarray(self.function(examples, score), dtype=np.float64)
        except Exception as error:
            raise JudgementError(
                f"metric {self.name}: its function raised {type(error).__name__}: {error}"
            ) from error
        if values.shape != (len(examples),):
            raise JudgementError(
                f"metric {self.name}: its function returned shape {values.shape} for "
                f"{len(examples):,} rows, expected ({len(examples)},): one number per row"
            )
        if np.isinf(values).any():
            raise JudgementError(
                f"metric {self.name}: its function returned infinite numbers, expected finite "
                "ones or NaN"
            )
        return values


@dataclass(frozen=True)
class BuiltIn:
    """What is to be known of a metric of this project.

    Attributes:
        name: As a problem reports it; ``K`` stands for a number of places.
        title: Its name for people.
        greater_is_better: Orientation.
        at_most_one: Whether no value is above 1.
        at_least_zero: Whether no value is below 0.
    """

    name: str
    title: str
    greater_is_better: bool
    at_most_one: bool = True
    at_least_zero: bool = True


METRICS = {
    metric.name: metric
    for metric in (
        BuiltIn("average_precision", "average precision", greater_is_better=True),
        BuiltIn("roc_auc", "ROC AUC", greater_is_better=True),
        BuiltIn("log_loss", "log loss", greater_is_better=False, at_most_one=False),
        BuiltIn("brier", "Brier score", greater_is_better=False, at_most_one=False),
        BuiltIn("calibration_error", "calibration error", greater_is_better=False),
        BuiltIn("precision", "precision", greater_is_better=True),
        BuiltIn("recall", "recall", greater_is_better=True),
        BuiltIn("f1", "F1", greater_is_better=True),
        BuiltIn("share_flagged", "share flagged", greater_is_better=True),
        BuiltIn("accuracy", "accuracy", greater_is_better=True),
        BuiltIn("balanced_accuracy", "balanced accuracy", greater_is_better=True),
        BuiltIn("f1_macro", "F1 macro", greater_is_better=True),
        BuiltIn(
            "mean_absolute_error", "mean absolute error", greater_is_better=False, at_most_one=False
        ),
        BuiltIn(
            "root_mean_squared_error",
            "root mean squared error",
            greater_is_better=False,
            at_most_one=False,
        ),
        BuiltIn(
            "median_absolute_error",
            "median absolute error",
            greater_is_better=False,
            at_most_one=False,
        ),
        BuiltIn("r2", "R²", greater_is_better=True, at_least_zero=False),
        BuiltIn(
            "mean_absolute_percentage_error",
            "mean absolute percentage error",
            greater_is_better=False,
            at_most_one=False,
        ),
        BuiltIn(
            "mean_poisson_deviance",
            "mean poisson deviance",
            greater_is_better=False,
            at_most_one=False,
        ),
        BuiltIn(
            "mean_pinball_loss", "mean pinball loss", greater_is_better=False, at_most_one=False
        ),
        BuiltIn("interval_coverage", "interval coverage", greater_is_better=True),
        BuiltIn("interval_width", "interval width", greater_is_better=False, at_most_one=False),
        BuiltIn("ndcg_K", "NDCG@K", greater_is_better=True),
        BuiltIn("ndcg_K_among_repeats", "NDCG@K among repeats", greater_is_better=True),
        BuiltIn("ndcg_K_among_discoveries", "NDCG@K among discoveries", greater_is_better=True),
        BuiltIn("recall_K", "recall@K", greater_is_better=True),
        BuiltIn("recall_K_from_repeats", "recall@K from repeats", greater_is_better=True),
        BuiltIn("recall_K_from_discoveries", "recall@K from discoveries", greater_is_better=True),
    )
}
"""Every metric that a problem reports, custom metrics apart."""


def title(metric: str) -> str:
    """Name of a metric for people: ``ndcg_10`` gives ``NDCG@10``; of a custom one its words."""
    general, places = _without_places(metric)
    if general in METRICS:
        return METRICS[general].title.replace("@K", f"@{places}")
    return metric.replace("_", " ")


def greater_is_better(metric: str, own: Sequence[Metric] = ()) -> bool:
    """Orientation of a metric.

    Args:
        metric: Its name.
        own: Custom metrics, which say it themselves.

    Raises:
        ValueError: Where the metric is neither among them nor in ``METRICS``.
    """
    told = {each.name: each.greater_is_better for each in own}
    if metric in told:
        return told[metric]
    general, _ = _without_places(metric)
    if general not in METRICS:
        raise ValueError(
            f"unknown metric {metric!r}: known are {', '.join([*told, *METRICS])}; a new one needs "
            "a row in METRICS"
        )
    return METRICS[general].greater_is_better


def range_of(metric: str) -> tuple[float, float]:
    """The least and the largest value that a metric can have: a custom one has no bounds."""
    general, _ = _without_places(metric)
    known = METRICS.get(general)
    least = 0.0 if known and known.at_least_zero else -math.inf
    return least, 1.0 if known and known.at_most_one else math.inf


def _without_places(metric: str) -> tuple[str, str]:
    """``ndcg_10`` gives ``ndcg_K`` and ``10``."""
    places = re.search(r"_(\d+)(?=_|$)", metric)
    if places is None:
        return metric, ""
    return f"{metric[: places.start()]}_K{metric[places.end() :]}", places[1]


def daily_mean(values: Floats, day: Ints, counts: Floats) -> Floats:
    """Mean over the drawn rows, one value per row of ``counts``; NaN leaves a row out.

    Args:
        values: Shape (rows,).
        day: Shape (rows,), codes 0 to days - 1.
        counts: Shape (resamples, days), non-negative.
    """
    known = ~np.isnan(values)
    days = counts.shape[1]
    sums = counts @ np.bincount(day[known], values[known], days)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums / (counts @ np.bincount(day[known], minlength=days)))
