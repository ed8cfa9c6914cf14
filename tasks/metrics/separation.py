"""How well one column alone tells two groups apart."""

from __future__ import annotations

import numpy as np


def separation(truth: np.ndarray, value: np.ndarray) -> float:
    """How well one column separates the outcomes: by its values, or by being present at all.

    Each is the area under the ROC curve in the better direction. Example of the second: a storm
    category that only hurricanes get separates them by being present, whatever its values.
    """
    there = np.isfinite(value)
    return max(_area(truth[there], value[there]), _area(truth, there))


def _area(truth: np.ndarray, value: np.ndarray) -> float:
    """Area under the ROC curve in the better direction; 0.5 where there is only one outcome."""
    from scipy.stats import rankdata

    positive = int(truth.sum())
    negative = len(truth) - positive
    if not positive or not negative:
        return 0.5
    wins = float(rankdata(value)[truth].sum()) - positive * (positive + 1) / 2
    area = wins / (positive * negative)
    return max(area, 1 - area)
