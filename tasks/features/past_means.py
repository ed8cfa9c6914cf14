"""Decayed, smoothed means of a key over earlier days."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Keys = npt.NDArray[np.int64]


def decay(age: npt.NDArray[np.number], half_life: float) -> Floats:
    """Weight of a row by its age: 1 now, one half after ``half_life``, in the unit of ``age``."""
    weight: Floats = np.exp2(-np.asarray(age, dtype=np.float64) / half_life)
    return weight


class PastMeans:
    """Means of past rows by key, for the keys of today.

    Built once a day and key; each mean then costs two passes over the matching rows.

    Args:
        past: Key of each past row, shape (rows,).
        now: Key of each row asked for, shape (asked,).
    """

    def __init__(self, past: Keys, now: Keys) -> None:
        import pandas as pd

        self._known, self._where = np.unique(now, return_inverse=True)
        place = pd.Index(self._known).get_indexer(pd.Index(past))  # three times as fast as a search
        self.rows = np.flatnonzero(place >= 0)
        self._place = place[self.rows]

    def total(self, weight: Floats) -> Floats:
        """Sum of the weights of a key's past rows, for each row asked for.

        Args:
            weight: Weight of each past row, shape (rows,).
        """
        sums = np.bincount(self._place, weight[self.rows], minlength=len(self._known))
        return np.asarray(sums[self._where], dtype=np.float64)

    def mean(self, value: Floats, weight: Floats, prior: float, strength: float) -> Floats:
        """Weighted mean of a key's past values, shrunk towards ``prior`` where there are few.

        Args:
            value: Value of each past row; where it is missing, such as a label that is not final,
                or its weight is 0, the row does not count.
            weight: Weight of each past row.
            prior: Value for a key never seen.
            strength: Weight of the prior, in rows.
        """
        missing = np.isnan(value)
        if missing.any():
            value, weight = np.where(missing, 0.0, value), np.where(missing, 0.0, weight)
        sums = self.total(value * weight)
        found: Floats = (sums + strength * prior) / (self.total(weight) + strength)
        return found
