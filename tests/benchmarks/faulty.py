"""The example models with faulty recipes beside the honest one: evidence for the gate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, clone

from deployments import flights as air
from deployments import groceries as shop


class Faulty(ClassifierMixin, BaseEstimator):
    """The estimator, spoilt in one way while it learns.

    Attributes:
        estimator: The honest recipe.
        fault: ``quarter``: learns from a quarter of the rows; ``flipped``: a tenth of the labels
            is wrong; ``join``: for half of the rows the joined columns are missing, also when it
            predicts; ``again``: learns from rows drawn with replacement, another draw for each
            seed: no better and no worse than itself with another seed.
        joined: Columns that the half-broken join leaves at their median.
        seed: Seed of the draws.
    """

    def __init__(
        self, estimator: Any, fault: str, joined: tuple[str, ...] = (), seed: int = 0
    ) -> None:
        self.estimator = estimator
        self.fault = fault
        self.joined = joined
        self.seed = seed

    def fit(self, X: pd.DataFrame, y: np.ndarray) -> Faulty:
        """Fit the honest recipe on spoilt examples."""
        random = np.random.default_rng([self.seed, len(X)])
        rows = np.arange(len(X))
        if self.fault == "quarter":
            rows = np.flatnonzero(random.random(len(X)) < 0.25)
        if self.fault == "again":
            rows = np.sort(random.integers(len(X), size=len(X)))
        if self.fault == "flipped":
            y = np.where(random.random(len(y)) < 0.1, 1 - y, y)
        self.medians_ = X[list(self.joined)].median().to_numpy()
        self.estimator_ = clone(self.estimator).fit(self._broken(X).iloc[rows], y[rows])
        self.classes_ = self.estimator_.classes_
        return self

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        """Probabilities of the recipe as it was fitted."""
        found: np.ndarray = self.estimator_.predict_proba(self._broken(X))
        return found

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        """The likelier class."""
        found: np.ndarray = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return found

    def _broken(self, X: pd.DataFrame) -> pd.DataFrame:
        if not self.joined:
            return X
        lost = np.random.default_rng([self.seed, len(X)]).random(len(X)) < 0.5
        spoilt = X.copy()
        for name, median in zip(self.joined, self.medians_, strict=True):
            values = spoilt[name].to_numpy()
            spoilt[name] = np.where(lost, median, values).astype(values.dtype)
        return spoilt


def faulty_recipes(estimator: Any, joined: tuple[str, ...]) -> dict[str, Faulty]:
    """The four faults and two equal twins of one recipe."""
    return {
        "quarter": Faulty(estimator, "quarter"),
        "flipped": Faulty(estimator, "flipped"),
        "join": Faulty(estimator, "join", joined),
        "again_1": Faulty(estimator, "again", seed=1),
        "again_2": Faulty(estimator, "again", seed=2),
    }


def flight_features(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Those of the flights."""
    return air.features(day, history)


def grocery_features(requests: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Those of the groceries."""
    return shop.features(requests, history)


flights = replace(
    air.flights,
    features=flight_features,
    candidates={
        "boosting": air.boosting,
        "logistic": air.logistic,
        **faulty_recipes(air.boosting, tuple(air.HISTORY)),
    },
)
groceries = replace(
    shop.groceries,
    features=grocery_features,
    candidates={
        **{name: shop.groceries.candidates[name] for name in ("ranker", "frequency", "tifu_knn")},
        **faulty_recipes(
            shop.groceries.candidates["ranker"], ("frequency", "frequency_share", "frequency_rank")
        ),
    },
)
