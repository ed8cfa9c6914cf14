"""Intervals that hold on rows that nothing was fitted on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin

from tasks.problems.conformal import ConformalQuantiles, shifts
from tasks.store import models
from tasks.store.trusted_types import TRUSTED_TYPES
from tests import pages

LEVELS = (0.1, 0.5, 0.9)


class TooSure(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Quantiles that are half a unit around nought, whatever the rows."""

    def fit(self, X: pd.DataFrame, y: np.ndarray) -> TooSure:
        self.rows_ = len(X)
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return np.tile([-0.5, 0.0, 0.5], (len(X), 1))


def two_markets(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows of a calm market and of one that varies five times as much."""
    random = np.random.default_rng(seed)
    market = pd.Categorical(np.where(random.random(rows) < 0.5, "calm", "wild"))
    spread = np.where(market == "wild", 5.0, 1.0)
    return pd.DataFrame({"market": market}), random.normal(0, spread)


def covered(fitted: ConformalQuantiles, x: pd.DataFrame, y: np.ndarray) -> pd.Series:
    found = fitted.predict(x)
    inside = (found[:, 0] <= y) & (y <= found[:, 2])
    return pd.Series(inside).groupby(x["market"].to_numpy()).mean()


def test_shifts_are_those_counted_by_hand() -> None:
    """Nine targets 1 to 9: of ten places the ninth is 9 and, from below, the first is 1."""
    target = np.array([3.0, 9.0, 1.0, 7.0, 5.0, 2.0, 8.0, 4.0, 6.0])
    predicted = np.tile([4.0, 5.0, 6.0], (9, 1))
    np.testing.assert_array_equal(shifts(target, predicted, LEVELS), [1 - 4, 0, 9 - 6])
    np.testing.assert_array_equal(shifts(target, predicted, (0.2, 0.5, 0.7)), [2 - 4, 0, 7 - 6])


def test_an_interval_that_is_too_narrow_is_widened_until_it_holds() -> None:
    x, y = two_markets(6000, seed=1)
    fitted = ConformalQuantiles(TooSure()).fit(x, y)
    assert fitted.estimator_.rows_ == 6000, "the estimator that predicts has seen every row"
    later = two_markets(6000, seed=2)
    raw = TooSure().fit(x, y).predict(later[0])
    assert ((raw[:, 0] <= later[1]) & (later[1] <= raw[:, 2])).mean() < 0.3
    share = covered(fitted, *later)
    assert share.mean() == pytest.approx(0.8, abs=0.03)
    assert share["wild"] < 0.7 < 0.9 < share["calm"], "one shift for all holds for neither"


def test_each_group_holds_by_itself_and_a_new_one_has_the_shifts_of_all() -> None:
    fitted = ConformalQuantiles(TooSure(), by=("market",)).fit(*two_markets(6000, seed=1))
    share = covered(fitted, *two_markets(6000, seed=2))
    np.testing.assert_allclose(share, 0.8, atol=0.04)
    alone = ConformalQuantiles(TooSure()).fit(*two_markets(6000, seed=1))
    new = pd.DataFrame({"market": pd.Categorical(["new"])})
    np.testing.assert_array_equal(fitted.predict(new), alone.predict(new))
    few = ConformalQuantiles(TooSure(), by=("market",)).fit(*two_markets(300, seed=1))
    assert list(few.shifts_) == [""]


def test_a_season_is_not_taken_for_the_whole_year() -> None:
    """Four fifths of the rows vary five times as much as the newest: calibrated on the newest
    alone, the interval would hold half of what it should on a year like this one."""
    random = np.random.default_rng(4)
    spread = np.where(np.arange(8000) < 6400, 5.0, 1.0)
    x, y = pd.DataFrame({"market": ["calm"] * 8000}), random.normal(0, spread)
    fitted = ConformalQuantiles(TooSure()).fit(x, y)
    assert covered(fitted, x, random.normal(0, spread))["calm"] == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"levels": (0.0005, 0.5, 0.9995)}, "found 1,000 rows, expected 1,999 or more"),
        ({"by": ("shop",)}, "by: found 'shop'"),
    ],
)
def test_what_cannot_be_calibrated_is_said(changed: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ConformalQuantiles(TooSure(), **changed).fit(*two_markets(1000, seed=1))  # type: ignore[arg-type]


def test_it_is_stored_without_pickle(home: Path) -> None:
    x, y = two_markets(3000, seed=1)
    fitted = ConformalQuantiles(TooSure(), by=("market",)).fit(x, y)
    own = [f"tests.problems.test_conformal.{TooSure.__name__}"]
    trusted = [*TRUSTED_TYPES, "tasks.problems.conformal.ConformalQuantiles", *own]
    models.write_model("models", "key", fitted, trusted)
    again = models.read_model("models", "key", trusted)
    np.testing.assert_array_equal(again.predict(x), fitted.predict(x))


def test_the_example_of_the_page_fits_and_holds() -> None:
    made: dict[str, Any] = {}
    exec(pages.blocks("deployments/SERVING.md", "python")[0], made)
    boosted = made["candidates"]["boosted"]
    boosted.estimator.estimator.set_params(max_iter=20, categorical_features="from_dtype")
    share = covered(boosted.fit(*two_markets(4000, seed=1)), *two_markets(4000, seed=2))
    np.testing.assert_allclose(share, 0.8, atol=0.05)
