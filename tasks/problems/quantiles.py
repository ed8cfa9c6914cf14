"""Several quantiles from an estimator that predicts one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, RegressorMixin, clone

NAMES = ("quantile", "quantile_alpha", "alpha")
"""Parameter names that libraries use for the quantile level."""


class QuantileRegressors(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """One clone of an estimator for each level, with predictions that never cross.

    The estimator, such as ``HistGradientBoostingRegressor(loss="quantile")`` or a pipeline that
    ends in one, has a parameter for its level. Crossing predictions of a row are sorted
    (Chernozhukov, Fernandez-Val, Galichon: Quantile and Probability Curves without Crossing,
    Econometrica 2010), which never makes them worse.

    Attributes:
        estimator: Regressor for one level.
        levels: Ascending, those of ``Regression(quantiles=...)``.
    """

    def __init__(self, estimator: Any, levels: tuple[float, ...] = (0.1, 0.5, 0.9)) -> None:
        self.estimator = estimator
        self.levels = levels

    def fit(self, X: Any, y: npt.NDArray[Any]) -> QuantileRegressors:  # noqa: N803
        """Fit a clone for each level.

        Raises:
            ValueError: Where the estimator has no parameter for a level, or another loss.
        """
        name = level_parameter(self.estimator)
        self.estimators_ = [
            clone(self.estimator).set_params(**{name: level}).fit(X, y) for level in self.levels
        ]
        return self

    def predict(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        """Shape (rows, levels), ascending in each row."""
        each = [np.asarray(fitted.predict(X), dtype=np.float64) for fitted in self.estimators_]
        found: npt.NDArray[np.float64] = np.sort(np.column_stack(each), axis=1)
        return found


def level_parameter(estimator: Any) -> str:
    """Name of the parameter that holds an estimator's level, also deep in a pipeline.

    Raises:
        ValueError: Where there is none, or several, or the loss is not a quantile loss.
    """
    settings = estimator.get_params()
    for name in NAMES:
        found = [n for n in settings if n == name or n.endswith(f"__{name}")]
        if len(found) > 1:
            raise ValueError(
                f"found the parameters {', '.join(found)}, expected one parameter for the level"
            )
        if found:
            prefix = found[0].removesuffix(name)
            given = [settings.get(f"{prefix}{loss}") for loss in ("loss", "objective")]
            losses = [str(loss) for loss in given if loss is not None]
            if any("quantile" not in loss for loss in losses) or (name == "alpha" and not losses):
                raise ValueError(
                    f"found the loss {', '.join(losses) or 'unknown'} in "
                    f"{type(estimator).__name__}, expected a quantile loss"
                )
            return str(found[0])
    raise ValueError(
        f"found no parameter {', '.join(NAMES)} in {type(estimator).__name__}, expected an "
        'estimator for one level such as HistGradientBoostingRegressor(loss="quantile")'
    )
