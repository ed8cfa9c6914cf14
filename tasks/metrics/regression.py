"""Metrics of numbers and of intervals under a bootstrap of whole days."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tasks.metrics.base import daily_mean

if TYPE_CHECKING:
    from tasks.metrics.base import Floats, Ints


def regression_metrics(
    target: npt.ArrayLike, score: Floats, day: Ints, counts: Floats, names: Sequence[str]
) -> dict[str, Floats]:
    """Metrics of a numeric target, one value per row of ``counts``.

    Names: mean_absolute_error, root_mean_squared_error, median_absolute_error, r2,
    mean_absolute_percentage_error, mean_poisson_deviance; all equal scikit-learn's on the drawn
    rows. Shapes as in ``metrics.binary_metrics``; ``counts`` whole numbers.
    """
    truth = np.asarray(target, dtype=np.float64)
    error = np.abs(truth - score)
    measured: dict[str, Floats] = {}
    for name in names:
        if name == "mean_absolute_error":
            measured[name] = daily_mean(error, day, counts)
        elif name == "root_mean_squared_error":
            measured[name] = np.sqrt(daily_mean(error**2, day, counts))
        elif name == "median_absolute_error":
            measured[name] = _median(error, day, counts)
        elif name == "r2":
            centred = truth - truth.mean()
            mean = daily_mean(centred, day, counts)
            spread = daily_mean(centred**2, day, counts) - mean**2
            with np.errstate(divide="ignore", invalid="ignore"):
                measured[name] = 1 - daily_mean(error**2, day, counts) / spread
        elif name == "mean_absolute_percentage_error":
            size = np.maximum(np.abs(truth), np.finfo(np.float64).eps)
            measured[name] = daily_mean(error / size, day, counts)
        elif name == "mean_poisson_deviance":
            from scipy.special import xlogy

            loss = 2 * (xlogy(truth, truth / score) - truth + score)
            measured[name] = daily_mean(loss, day, counts)
        else:
            raise ValueError(f"unknown metric {name!r}")
    return measured


def quantile_metrics(
    target: npt.ArrayLike,
    score: Floats,
    levels: Sequence[float],
    day: Ints,
    counts: Floats,
    names: Sequence[str],
) -> dict[str, Floats]:
    """Metrics of predicted quantiles, one value per row of ``counts``.

    Names: mean_pinball_loss, averaged over the levels; interval_coverage and interval_width,
    between the lowest and the highest of them; and those of ``regression_metrics``, of the median.

    Args:
        target: Shape (rows,).
        score: Shape (rows, levels).
        levels: Ascending, 0.5 among them.
        day: Shape (rows,), codes 0 to days - 1.
        counts: Shape (resamples, days), whole numbers.
        names: Metrics wanted.
    """
    truth = np.asarray(target, dtype=np.float64)
    low, high, middle = score[:, 0], score[:, -1], score[:, list(levels).index(0.5)]
    measured: dict[str, Floats] = {}
    for name in names:
        if name == "mean_pinball_loss":
            gap, level = truth[:, None] - score, np.asarray(levels)
            loss = np.maximum(level * gap, (level - 1) * gap).mean(axis=1)
            measured[name] = daily_mean(loss, day, counts)
        elif name == "interval_coverage":
            inside = ((low <= truth) & (truth <= high)).astype(np.float64)
            measured[name] = daily_mean(inside, day, counts)
        elif name == "interval_width":
            measured[name] = daily_mean(high - low, day, counts)
        else:
            measured |= regression_metrics(truth, middle, day, counts, [name])
    return measured


def _median(values: Floats, day: Ints, counts: Floats) -> Floats:
    order = np.argsort(values)
    ordered, day = values[order], day[order]
    seen = np.zeros((len(day), counts.shape[1]), dtype=np.int32)
    seen[np.arange(len(day)), day] = 1
    np.cumsum(seen, axis=0, out=seen)
    drawn = counts @ seen[-1]

    def at(rank: Floats) -> Floats:
        low = np.zeros(len(counts), dtype=np.int64)
        high = np.full(len(counts), len(day) - 1)
        while (low < high).any():
            middle = (low + high) // 2
            reached = np.einsum("bd,bd->b", seen[middle], counts) >= rank
            high = np.where(reached, middle, high)
            low = np.where(reached, low, np.minimum(middle + 1, high))
        return ordered[low]

    median = (at(np.ceil(drawn / 2)) + at(np.floor(drawn / 2) + 1)) / 2
    return np.where(drawn > 0, median, np.nan)
