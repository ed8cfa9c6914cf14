"""Several quantiles out of an estimator for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import QuantileRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tasks.problems.quantiles import QuantileRegressors, level_parameter
from tasks.store import models
from tasks.store.trusted_types import TRUSTED_TYPES

HIST = HistGradientBoostingRegressor(loss="quantile", max_iter=30, random_state=0)


def test_levels_hold_their_share_and_never_cross() -> None:
    random = np.random.default_rng(0)
    x = random.uniform(0, 3, (1500, 1))
    y = x[:, 0] + random.normal(0, 0.2 + x[:, 0])
    fitted = clone(QuantileRegressors(HIST, levels=(0.1, 0.5, 0.9))).fit(x[:1000], y[:1000])
    found = fitted.predict(x[1000:])
    assert found.shape == (500, 3)
    assert (np.diff(found, axis=1) >= 0).all()
    below = (y[1000:, None] <= found).mean(axis=0)
    np.testing.assert_allclose(below, [0.1, 0.5, 0.9], atol=0.07)


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (HIST, "quantile"),
        (QuantileRegressor(), "quantile"),
        (GradientBoostingRegressor(loss="quantile"), "alpha"),
        (make_pipeline(StandardScaler(), HIST), "histgradientboostingregressor__quantile"),
    ],
)
def test_the_parameter_of_the_level_is_found(estimator: Any, name: str) -> None:
    assert level_parameter(estimator) == name


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (HistGradientBoostingRegressor(), "found the loss squared_error"),
        (Ridge(), "found the loss unknown in Ridge"),
        (StandardScaler(), "found no parameter quantile, quantile_alpha, alpha in StandardScaler"),
    ],
)
def test_an_estimator_of_something_else_is_refused(estimator: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        QuantileRegressors(estimator).fit(np.zeros((2, 1)), np.zeros(2))


def test_it_is_stored_without_pickle(home: Path) -> None:
    x = np.linspace(0, 1, 80)[:, None]
    fitted = QuantileRegressors(HIST).fit(x, x[:, 0])
    trusted = [*TRUSTED_TYPES, "tasks.problems.quantiles.QuantileRegressors"]
    models.write_model("models", "key", fitted, trusted)
    again = models.read_model("models", "key", trusted)
    np.testing.assert_array_equal(again.predict(x), fitted.predict(x))
