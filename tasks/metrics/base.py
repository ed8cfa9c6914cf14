"""Metrics under a bootstrap of whole days: every figure with an interval, every difference paired.

A resample is a row of day counts, so each metric is a function of ``counts`` (resamples x days)
and costs far less than scoring the drawn rows again: sums per day and one matrix product where the
metric is a mean, one sort where it is a ranking. Here: what all metrics share, and the metrics of
classes; those of numbers are in ``tasks.metrics.regression``, of rankings in
``tasks.metrics.ranking``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tasks.errors import JudgementError

if TYPE_CHECKING:
    import pandas as pd


Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
LESS_IS_BETTER = frozenset(
    {
        "log_loss",
        "brier",
        "calibration_error",
        "mean_absolute_error",
        "root_mean_squared_error",
        "median_absolute_error",
        "mean_absolute_percentage_error",
        "mean_poisson_deviance",
        "mean_pinball_loss",
        "interval_width",
    }
)
BLOCK_CELLS = 250_000


@dataclass(frozen=True)
class Metric:
    """A custom metric: the mean of one number per row.

    Attributes:
        name: Small letters, digits and _.
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


def title(metric: str) -> str:
    """Name of a metric for people: ``ndcg_10`` gives ``NDCG@10``."""
    spelled = {"ndcg": "NDCG", "roc_auc": "ROC AUC", "brier": "Brier score", "r2": "R²"}
    spelled |= {"f1": "F1"}
    text = re.sub("|".join(rf"\b{name}(?![a-z])" for name in spelled), _spell(spelled), metric)
    return re.sub(r"_(\d+)", r"@\1", text).replace("_", " ")


def greater_is_better(metric: str) -> bool:
    """Orientation of a built-in metric."""
    return metric not in LESS_IS_BETTER


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


def _spell(spelled: dict[str, str]) -> Callable[[re.Match[str]], str]:
    return lambda found: spelled[found[0]]
