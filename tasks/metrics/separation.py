"""How well one column alone tells two groups apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


VALUES = 5_000_000
"""Values that are ranked at once: bounds the memory of a wide table."""


def best_separations(truths: np.ndarray, numbers: pd.DataFrame) -> dict[str, float]:
    """How well each column separates the rows by the outcome that it separates best.

    Args:
        truths: Yes/no outcomes, shape (rows, outcomes).
        numbers: Columns of numbers or flags.
    """
    names = list(numbers.columns)
    size = max(1, VALUES // max(len(numbers), 1))
    found: dict[str, float] = {}
    for some in (names[first : first + size] for first in range(0, len(names), size)):
        values = numbers[some].to_numpy(dtype=np.float64, na_value=np.nan)
        best = separations(truths, values).max(axis=0)
        found.update(zip(map(str, some), best.tolist(), strict=True))
    return found


def separations(truths: np.ndarray, values: np.ndarray) -> np.ndarray:
    """How well each column separates each outcome: by its values, or by being present at all.

    Each is the area under the ROC curve in the better direction. Example of the second: a storm
    category that only hurricanes get separates them by being present, whatever its values.

    Args:
        truths: Yes/no outcomes, shape (rows, outcomes).
        values: Shape (rows, columns), not finite where a value is missing.

    Returns:
        Areas from 0.5 to 1, shape (outcomes, columns); 0.5 where there is only one outcome.
    """
    yes, there = truths.astype(np.float64), np.isfinite(values)
    positive, known = yes.T @ there, there.sum(axis=0)
    sums = [
        _rank_sums(truths[some], column[some])
        for some, column in zip(there.T, values.T, strict=True)
    ]
    wins = np.reshape(sums, positive.T.shape).T - positive * (positive + 1) / 2
    area = _ratio(wins, positive * (known - positive), 0.5)
    every = yes.sum(axis=0)[:, None]
    present = _ratio(positive, every, 0.0) - _ratio(known - positive, len(yes) - every, 0.0)
    both = (every > 0) & (every < len(yes))
    alone = np.where(both, 0.5 + np.abs(present) / 2, 0.5)
    best: np.ndarray = np.maximum.reduce([area, 1 - area, alone])
    return best


def _rank_sums(truths: np.ndarray, column: np.ndarray) -> list[float]:
    """Each outcome's sum of ranks, counted from 1; equal values share the mean of theirs."""
    ordered = np.sort(column)

    def rank_sum(part: np.ndarray) -> float:
        ends = [np.searchsorted(ordered, part, side).sum() for side in ("left", "right")]
        return float(sum(ends) + len(part)) / 2

    return [rank_sum(np.sort(column[yes])) for yes in truths.astype(bool).T]


def _ratio(part: np.ndarray, whole: np.ndarray, otherwise: float) -> np.ndarray:
    found = np.full(part.shape, otherwise)
    np.divide(part, whole, out=found, where=whole > 0)
    return found
