"""How well one column alone tells two groups apart."""

from __future__ import annotations

import numpy as np


def separation(truth: np.ndarray, value: np.ndarray) -> float:
    """How well a value alone separates: by its size where there is one, or by being there at all.

    Each is the area under the ROC curve in the better direction; a category of storms that only
    hurricanes are given has nothing to separate among its values, and tells all by being there.
    """
    there = np.isfinite(value)
    return max(_area(truth[there], value[there]), _area(truth, there))


def _area(truth: np.ndarray, value: np.ndarray) -> float:
    """Area under the ROC curve in the better direction; 0.5 where one outcome is all there is."""
    from scipy.stats import rankdata

    positive = int(truth.sum())
    negative = len(truth) - positive
    if not positive or not negative:
        return 0.5
    wins = float(rankdata(value)[truth].sum()) - positive * (positive + 1) / 2
    area = wins / (positive * negative)
    return max(area, 1 - area)
