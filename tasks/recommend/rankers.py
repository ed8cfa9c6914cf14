"""Estimators that rank items for a user from features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, clone

if TYPE_CHECKING:
    import pandas as pd


class CandidateRanker(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Train on all bought item candidates and a sample of the others.

    The sample is not weighted up, which would only add noise to the order; instead the odds are
    multiplied by the share of unbought item candidates kept, which corrects the level (King, Zeng,
    Logistic Regression in Rare Events Data, Political Analysis 2001).

    Attributes:
        estimator: Classifier with ``predict_proba`` over a float matrix.
        negatives: How many unbought item candidates are kept for each bought one.
        seed: Seed of the sample.
    """

    def __init__(self, estimator: Any, negatives: float = 5.0, seed: int = 0) -> None:
        self.estimator = estimator
        self.negatives = negatives
        self.seed = seed

    def fit(self, X: pd.DataFrame, y: npt.NDArray[Any]) -> CandidateRanker:  # noqa: N803
        """Sample, then fit a clone of the estimator."""
        bought = np.asarray(y) > 0
        rest = np.flatnonzero(~bought)
        wanted = min(len(rest), int(self.negatives * bought.sum()))
        sample = np.random.default_rng(self.seed).choice(rest, wanted, replace=False)
        kept = np.sort(np.concatenate([np.flatnonzero(bought), sample]))
        self.share_ = wanted / len(rest) if wanted else 1.0
        self.classes_ = np.array([0, 1])
        self.columns_ = np.asarray(X.columns, dtype=str)
        self.estimator_ = clone(self.estimator).fit(
            X.iloc[kept].to_numpy(dtype=np.float32), bought[kept].astype(np.int64)
        )
        return self

    def predict_proba(self, X: pd.DataFrame) -> npt.NDArray[np.float64]:  # noqa: N803
        """Probability that each item candidate is bought, second column."""
        values = X[list(self.columns_)].to_numpy(dtype=np.float32)
        chance = self.estimator_.predict_proba(values)[:, 1]
        chance = chance * self.share_ / (chance * self.share_ + 1 - chance)
        return np.column_stack([1 - chance, chance])

    def predict(self, X: pd.DataFrame) -> npt.NDArray[np.int64]:  # noqa: N803
        """1 where the probability of buying is at least one half."""
        return (self.predict_proba(X)[:, 1] > 0.5).astype(np.int64)


class RankBy(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Rank item candidates by one feature column; there is no training."""

    def __init__(self, column: str) -> None:
        self.column = column

    def fit(self, X: pd.DataFrame, y: npt.NDArray[Any]) -> RankBy:  # noqa: N803
        """Check that the column is there.

        Raises:
            ValueError: Where it is not; names the columns found.
        """
        if self.column not in X:
            raise ValueError(
                f"RankBy: found no column {self.column!r}; expected one of {', '.join(X.columns)}"
            )
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: pd.DataFrame) -> npt.NDArray[np.float64]:  # noqa: N803
        """Scores mapped into 0 to 1 in the column's order; they are not probabilities."""
        value = X[self.column].to_numpy(dtype=np.float64)
        score = 0.5 + 0.5 * value / (1.0 + np.abs(value))
        return np.column_stack([1 - score, score])

    def predict(self, X: pd.DataFrame) -> npt.NDArray[np.int64]:  # noqa: N803
        """1 where the mapped score is above a half."""
        return (self.predict_proba(X)[:, 1] > 0.5).astype(np.int64)
