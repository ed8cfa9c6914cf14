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


FEWEST, STRETCHES = 200, 20
"""Fewest rows for which a group gets shifts of its own; stretches of time that the folds share."""
SEPARATOR = " · "


class ConformalQuantiles(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Quantiles of an estimator, each moved until it holds on rows that it was not fitted on.

    Conformalized quantile regression with each tail by itself (Romano, Patterson, Candès, NeurIPS
    2019, theorem 2), over two folds (Vovk, Cross-conformal predictors, 2015): the training rows are
    cut into 20 stretches of time, a clone fitted on every other one says by how much each level
    has to move on the rest, and the other way round. A third clone is fitted on all rows and
    predicts with these shifts, so a fit takes twice as long. The stretches are spread over the
    whole window, because a calibration on its newest part takes the season for the year. The
    holdout is not touched, so that it shows whether the interval holds. The median stays.

    It holds for rows that are like those of the window. Where the world moves, coverage moves with
    it; it is graded on live days, with an alarm.

    Attributes:
        estimator: Regressor whose ``predict`` has a column for each level, such as
            ``QuantileRegressors``.
        levels: Ascending, those of ``Regression(quantiles=...)``.
        by: Input columns whose groups, such as the spec's slices, each get shifts of their own;
            a group with fewer than 200 rows has those of all rows.
    """

    def __init__(
        self,
        estimator: Any,
        levels: tuple[float, ...] = (0.1, 0.5, 0.9),
        by: tuple[str, ...] = (),
    ) -> None:
        self.estimator = estimator
        self.levels = levels
        self.by = by

    def fit(self, X: Any, y: npt.NDArray[Any]) -> ConformalQuantiles:  # noqa: N803
        """Fit on either fold, to calibrate, and on all rows; rows are in the order of time.

        Raises:
            ValueError: Where there are too few rows for the levels, or the inputs lack a column of
                ``by``.
        """
        target = np.asarray(y, dtype=np.float64)
        count = len(target)
        rarest = min(min(level, 1 - level) for level in self.levels)
        needed = max(math.ceil(1 / rarest - 1e-6) - 1, 4)
        if count < needed:
            raise ValueError(
                f"found {count:,} rows, expected {needed:,} or more to calibrate the levels "
                f"{self.levels}"
            )
        groups, stretch = self._groups(X), np.arange(count) * STRETCHES // count
        fold = stretch % 2 if count >= STRETCHES else np.arange(count) % 2
        unseen = np.empty((count, len(self.levels)))
        for held_out in (fold == 0, fold == 1):
            part = clone(self.estimator).fit(_rows(X, ~held_out), y[~held_out])
            unseen[held_out] = part.predict(_rows(X, held_out))
        self.shifts_ = {"": shifts(target, unseen, self.levels).tolist()}
        for group in np.unique(groups) if self.by else ():
            own = groups == group
            if own.sum() >= max(FEWEST, needed):
                moved = shifts(target[own], unseen[own], self.levels)
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


def _rows(inputs: Any, part: npt.NDArray[np.bool_]) -> Any:
    return inputs.iloc[part] if hasattr(inputs, "iloc") else inputs[part]
