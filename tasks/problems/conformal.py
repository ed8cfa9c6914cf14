"""Quantiles that hold the share they name on days to come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin, clone

if TYPE_CHECKING:
    import pandas as pd

    from tasks.metrics.base import Floats


FEWEST = 200
"""Fewest calibration rows for which a group gets shifts of its own."""
SEPARATOR = " · "


class ConformalQuantiles(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Quantiles of an estimator, each moved until it holds on rows that it was not fitted on.

    Split-conformal, with each tail by itself (Romano, Patterson, Candès: Conformalized Quantile
    Regression, NeurIPS 2019, theorem 2). A first clone is fitted without the newest ``share`` of
    the training rows, and its quantiles of those rows say by how much each level has to move; a
    second clone is fitted on all rows, and predicts with these shifts. A fit takes twice as long.
    The holdout is not touched, so that it shows whether the interval holds. The median stays.

    The guarantee is for rows that are like those of the calibration. Where the world moves,
    coverage moves with it; it is graded on live days, with an alarm.

    Attributes:
        estimator: Regressor whose ``predict`` has a column for each level, such as
            ``QuantileRegressors``.
        levels: Ascending, those of ``Regression(quantiles=...)``.
        share: Share of the training rows, the newest, that the levels are calibrated on.
        by: Input columns whose groups, such as the spec's slices, each get shifts of their own;
            a group with fewer than 200 calibration rows has those of all rows.
    """

    def __init__(
        self,
        estimator: Any,
        levels: tuple[float, ...] = (0.1, 0.5, 0.9),
        share: float = 0.2,
        by: tuple[str, ...] = (),
    ) -> None:
        self.estimator = estimator
        self.levels = levels
        self.share = share
        self.by = by

    def fit(self, X: Any, y: npt.NDArray[Any]) -> ConformalQuantiles:  # noqa: N803
        """Fit twice: to calibrate, and on all rows; rows are in the order of time.

        Raises:
            ValueError: Where ``share`` is none, there are too few rows for the levels, or the
                inputs lack a column of ``by``.
        """
        if not 0 < self.share < 1:
            raise ValueError(f"share: found {self.share!r}, expected a number between 0 and 1")
        target = np.asarray(y, dtype=np.float64)
        first = len(target) - round(self.share * len(target))
        needed = math.ceil(1 / min(min(level, 1 - level) for level in self.levels)) - 1
        if first < 1 or len(target) - first < needed:
            raise ValueError(
                f"found {len(target) - first:,} rows to calibrate on and {first:,} to fit, "
                f"expected {needed:,} or more to calibrate the levels {self.levels}"
            )
        early = clone(self.estimator).fit(_rows(X, slice(None, first)), y[:first])
        late = _rows(X, slice(first, None))
        found, held_out = np.asarray(early.predict(late), dtype=np.float64), target[first:]
        self.shifts_ = {"": shifts(held_out, found, self.levels).tolist()}
        groups = self._groups(late)
        for group in np.unique(groups) if self.by else ():
            own = groups == group
            if own.sum() >= max(FEWEST, needed):
                moved = shifts(held_out[own], found[own], self.levels)
                self.shifts_[str(group)] = moved.tolist()
        self.estimator_ = clone(self.estimator).fit(X, y)
        return self

    def predict(self, X: Any) -> Floats:  # noqa: N803
        """Shape (rows, levels), ascending in each row."""
        found = np.asarray(self.estimator_.predict(X), dtype=np.float64)
        known = self.shifts_
        moved = np.array([known.get(group, known[""]) for group in self._groups(X)])
        return np.sort(found + moved.reshape(found.shape), axis=1)

    def _groups(self, inputs: pd.DataFrame) -> npt.NDArray[Any]:
        if not self.by:
            return np.full(len(inputs), "")
        if missing := [name for name in self.by if name not in inputs]:
            raise ValueError(f"by: found {missing[0]!r}, expected columns of the inputs")
        texts = inputs[list(self.by)].astype("string").fillna("")
        return texts.agg(SEPARATOR.join, axis=1).to_numpy(dtype=str)


def shifts(target: Floats, predicted: Floats, levels: Sequence[float]) -> Floats:
    """By how much each level has to move to hold its share of rows like these.

    Above the median the shift is the ceil((n + 1) level)-th smallest of target - prediction, below
    it is the same from the other end, and 0 at the median.

    Args:
        target: Shape (n,).
        predicted: Shape (n, levels), by an estimator that has not seen these rows.
        levels: Ascending.
    """
    count, found = len(target), np.zeros(len(levels))
    for n, level in enumerate(levels):
        ordered = np.sort(target - predicted[:, n])
        upper = min(count, math.ceil((count + 1) * max(level, 1 - level) - 1e-9))
        if level != 0.5:
            found[n] = ordered[upper - 1] if level > 0.5 else ordered[count - upper]
    return found


def _rows(inputs: Any, part: slice) -> Any:
    return inputs.iloc[part] if hasattr(inputs, "iloc") else inputs[part]
