"""Where the metric of one day to come should fall, from the days that were held out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

FEWEST = 3
"""Fewest days for an interval."""


def prediction_interval(
    daily: Sequence[float],
    confidence: float,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> dict[str, float] | None:
    """Where the primary metric of one day to come should fall, from the days of the holdout.

    It is the interval of one more draw from a normal distribution: mean +- t * s *
    sqrt(1 + 1/n) (Hahn and Meeker, Statistical Intervals, 1991, section 4.3), on the logarithm
    where all days are above zero, as such metrics vary by a factor. The gate's own interval is that
    of a mean over many days; a single day is outside it on most ordinary nights.

    Args:
        daily: The metric on each day; NaN where a day leaves it undefined.
        confidence: Two-sided level.
        within: The least and the largest value that the metric can have; no interval reaches
            beyond them.

    Returns:
        ``value`` (the mean), ``low`` and ``high``; None below three days.
    """
    from scipy import stats

    found = np.asarray([value for value in daily if math.isfinite(value)], dtype=np.float64)
    if len(found) < FEWEST:
        return None
    scaled = np.log(found) if (found > 0).all() else found
    reach = float(stats.t.ppf((1 + confidence) / 2, len(found) - 1)) * float(scaled.std(ddof=1))
    reach *= math.sqrt(1 + 1 / len(found))
    ends = np.asarray([scaled.mean() - reach, scaled.mean() + reach])
    low, high = np.exp(ends) if (found > 0).all() else ends
    least, most = within
    return {
        "value": float(found.mean()),
        "low": max(float(low), least),
        "high": min(float(high), most),
    }
