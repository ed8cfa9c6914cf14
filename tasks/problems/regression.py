"""Problems that predict a number, or a number with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.errors import JudgementError, SpecError
from tasks.metrics.base import Metric
from tasks.metrics.regression import quantile_metrics, regression_metrics
from tasks.problems.tabular import Tabular

if TYPE_CHECKING:
    import pandas as pd

    from tasks.metrics.base import Floats, Ints


ALWAYS = ("mean_absolute_error", "root_mean_squared_error", "median_absolute_error", "r2")
ON_DEMAND = ("mean_absolute_percentage_error", "mean_poisson_deviance")
"""Metrics that suit only some targets: reported where one is the primary metric."""
OF_INTERVALS = ("mean_pinball_loss", "interval_coverage", "interval_width")


@dataclass(frozen=True)
class Regression(Tabular):
    """Value of a numeric column.

    Attributes:
        target: Column of the clean rows; rows without a value are not labelled.
        metric: Primary metric: mean_absolute_error, root_mean_squared_error,
            median_absolute_error, r2, mean_absolute_percentage_error, mean_poisson_deviance, with
            quantiles also mean_pinball_loss, or one of ``metrics``. None is mean_pinball_loss with
            quantiles, else mean_absolute_error.
        unit: What a row is, plural, for the report.
        key: Columns of the clean rows, known ahead, by which the app looks a row up; needed where
            the spec names ``requests``.
        quantiles: Levels that are predicted, ascending, 0.5 among them, such as
            ``(0.1, 0.5, 0.9)``. ``predict`` then returns one column for each
            (``tasks.problems.quantiles.QuantileRegressors``); metrics of a point are those of the
            median.
        metrics: Custom metrics.
    """

    target: str
    metric: str | None = None
    unit: str = "rows"
    key: tuple[str, ...] = ()
    quantiles: tuple[float, ...] = ()
    metrics: tuple[Metric, ...] = ()
    answer_column = "prediction"

    @property
    def method(self) -> str:
        return "predict"

    @property
    def score_columns(self) -> tuple[str, ...]:
        """``prediction`` for the median and ``prediction_10`` for the level of 0.1."""
        if not self.quantiles:
            return (self.answer_column,)
        percents = [f"{100 * level:g}".replace(".", "_") for level in self.quantiles]
        return tuple("prediction" if p == "50" else f"prediction_{p}" for p in percents)

    @property
    def primary(self) -> str:
        return self.metric or ("mean_pinball_loss" if self.quantiles else "mean_absolute_error")

    @property
    def built_in(self) -> tuple[str, ...]:
        return (*OF_INTERVALS, *ALWAYS) if self.quantiles else ALWAYS

    def faults(self, known_ahead: Sequence[str] = ()) -> list[str]:
        found = []
        levels = self.quantiles if isinstance(self.quantiles, tuple) else (None,)
        numbers = all(isinstance(level, float) and 0 < level < 1 for level in levels)
        rising = numbers and all(a < b for a, b in pairwise(levels))
        if levels and not (rising and len(levels) > 1 and 0.5 in levels):
            found.append(
                f"quantiles: found {self.quantiles!r}, allowed two levels or more between 0 and 1, "
                "ascending, 0.5 among them"
            )
            return found
        allowed = (*ALWAYS, *ON_DEMAND, *(OF_INTERVALS[:1] if self.quantiles else ()))
        return found + self._faults(allowed, known_ahead)

    def encode(self, labels: pd.Series[Any]) -> pd.Series[Any]:
        """As float64."""
        return labels.astype("float64")

    def score(self, estimator: Any, inputs: pd.DataFrame) -> Floats:
        """Shape (rows,), or (rows, levels)."""
        found = np.asarray(estimator.predict(inputs), dtype=np.float64)
        levels = len(self.quantiles)
        if levels and found.shape != (len(inputs), levels):
            raise ValueError(
                f"predict returned shape {found.shape}, expected ({len(inputs)}, {levels}), one "
                "column for each quantile of the problem. "
                "tasks.problems.quantiles.QuantileRegressors builds such an estimator from one "
                "for a single level"
            )
        return found

    def baseline_scores(self, train: pd.DataFrame, holdout: pd.DataFrame) -> Floats:
        """The median, or the quantiles, of the training examples for every row."""
        if self.quantiles:
            levels = np.quantile(train["target"].to_numpy(), self.quantiles)
            return np.tile(levels, (len(holdout), 1))
        return np.full(len(holdout), float(train["target"].median()))

    def check_examples(self, examples: pd.DataFrame) -> None:
        target = examples["target"].to_numpy()
        if not np.isfinite(target).all():
            raise JudgementError(f"the holdout has labels of {self.target} that are not finite")
        if (target == target[0]).all():
            raise JudgementError(f"the holdout has only one value of {self.target}: {target[0]:g}")
        if self.primary == "mean_poisson_deviance" and (target < 0).any():
            raise JudgementError(
                f"the holdout has labels of {self.target} below 0, down to {target.min():g}; "
                "mean_poisson_deviance needs values from 0 on. Choose another metric"
            )

    def score_fault(self, score: Floats) -> str:
        if self.primary == "mean_poisson_deviance" and (self.middle(score) <= 0).any():
            broken = int((self.middle(score) <= 0).sum())
            return (
                f"{broken:,} of {len(score):,} scores are not above 0, as mean_poisson_deviance "
                "requires"
            )
        crossed = int((np.diff(score, axis=1) < 0).any(axis=1).sum()) if self.quantiles else 0
        return (
            (f"the quantiles of {crossed:,} of {len(score):,} rows are not ascending")
            if crossed
            else ""
        )

    def calibration(self, examples: pd.DataFrame, score: Floats) -> tuple[float, float] | None:
        """For quantiles: the share of labels the outer interval should hold, and the share it
        held."""
        if not self.quantiles:
            return None
        target = examples["target"].to_numpy()
        inside = (score[:, 0] <= target) & (target <= score[:, -1])
        return self.quantiles[-1] - self.quantiles[0], float(inside.mean())

    def outcomes(self, examples: pd.DataFrame) -> list[npt.NDArray[Any]]:
        """Whether each label is above the labels' median."""
        target = examples["target"].to_numpy()
        few = len(np.unique(target)) <= 2
        return [target == target.max() if few else target > np.median(target)]

    def middle(self, score: Floats) -> Floats:
        """The predicted number; the median where there are quantiles."""
        return score[:, self.quantiles.index(0.5)] if self.quantiles else score

    def _fault_of(self, labels: pd.Series[Any]) -> str:
        import pandas as pd

        if not pd.api.types.is_numeric_dtype(labels) and len(labels):
            raise SpecError(
                f"problem.target: found {self.target!r} of type {labels.dtype}, such as "
                f"{labels.iloc[0]!r}; expected numbers. Convert it in clean"
            )
        broken = int((~np.isfinite(labels.to_numpy(dtype=np.float64))).sum())
        if not broken:
            return ""
        return (
            f"target {self.target!r}: found {broken:,} of {len(labels):,} values infinite, "
            "expected finite ones. Exclude such rows with bounds in the contract"
        )

    def _measure(
        self,
        target: npt.NDArray[Any],
        score: Floats,
        day: Ints,
        counts: Floats,
        names: Sequence[str],
    ) -> dict[str, Floats]:
        if self.quantiles:
            return quantile_metrics(target, score, self.quantiles, day, counts, names)
        return regression_metrics(target, score, day, counts, names)
