"""What can be searched, and how many draws a budget affords."""

from __future__ import annotations

import dataclasses
import importlib.util
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tasks.spec import SpecError, days
from tasks.spec.tuned import Tuned
from tasks.training.search import (
    DRAWS,
    draws_of,
    plain_parameters,
    rounds_of,
    search_by_halving,
    search_with_optuna,
)
from tests.toy import toy

SEARCH = {"C": scipy.stats.loguniform(1e-3, 1e3), "fit_intercept": [True, False]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": {}}, "candidates['c'].search: found {}, allowed a dict of parameter to values"),
        ({"search": {"D": [1]}}, "search: found 'D', allowed parameters of the estimator such as"),
        ({"search": {"C": 3}}, "search['C']: found 3, allowed a list of numbers, texts"),
        ({"search": {"C": [object]}}, "allowed a list of numbers, texts, True, False or None"),
        ({"budget": 0}, "budget: found 0, allowed 1 to 86400 seconds"),
        ({"budget": True}, "budget: found True, allowed 1 to 86400 seconds"),
        ({"every": timedelta(hours=5)}, "every: found 5:00:00, allowed days(n), n at least 1"),
        ({"method": "grid"}, "method: found 'grid', allowed 'halving' or 'optuna'"),
        ({"estimator": LogisticRegression}, "allowed an instance of a scikit-learn estimator"),
    ],
)
def test_a_wrong_search_is_a_fault_of_the_spec(changes: dict[str, Any], message: str) -> None:
    tuned = dataclasses.replace(Tuned(LogisticRegression(), SEARCH), **changes)
    with pytest.raises(SpecError) as found:
        dataclasses.replace(toy, candidates={"c": tuned})
    assert message in str(found.value)


def test_parameters_inside_a_pipeline_are_found() -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression())
    assert Tuned(model, {"logisticregression__C": [0.1, 1.0]}, every=days(1)).faults() == []


def test_a_missing_optuna_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    tuned = Tuned(LogisticRegression(), SEARCH, method="optuna")
    assert tuned.faults() == []
    assert "pip install -e '.[tune]', or use method='halving'" in tuned.missing()
    assert Tuned(LogisticRegression(), SEARCH).missing() == ""


def near_three(chosen: dict[str, Any]) -> float:
    return -abs(np.log10(chosen["C"]) - 0.5) - chosen["fit_intercept"]


def test_optuna_finds_what_is_good_the_same_each_time() -> None:
    seen: list[list[dict[str, Any]]] = [[], []]
    for tried in seen:

        def measure(chosen: dict[str, Any], tried: list[dict[str, Any]] = tried) -> float:
            tried.append(chosen)
            return near_three(chosen)

        search_with_optuna(Tuned(None, SEARCH, budget=1.5, method="optuna"), measure, seed=1)
    common = min(map(len, seen))
    assert common >= 10
    assert seen[0][:common] == seen[1][:common]
    best = max(seen[0], key=near_three)
    assert 0.3 < best["C"] < 30 and best["fit_intercept"] is False
    assert all(1e-3 <= chosen["C"] <= 1e3 for chosen in seen[0])


def test_halving_learns_of_earlier_rows_only_and_of_more_each_round() -> None:
    x = np.arange(270.0).reshape(-1, 1)
    y = (np.arange(270) % 2).astype("int64")
    seen: list[Any] = []

    class Noted(LogisticRegression):
        def fit(self, X: Any, y: Any) -> Any:
            self.rows_ = X[:, 0]
            return super().fit(X, y)

    def score(fitted: Any) -> float:
        seen.append(fitted.rows_)
        return -abs(float(np.log10(fitted.C)))

    tuned = Tuned(Noted(), {"C": scipy.stats.loguniform(1e-3, 1e3)})
    search_by_halving(tuned, (x, y), 240, score, draws=9, seed=0)
    assert max(rows.max() for rows in seen) < 240
    assert [len(rows) for rows in seen] == [26] * 9 + [80] * 3 + [240]


@given(st.floats(1, 86_400), st.floats(0, 10_000))
def test_draws_and_rounds_stay_within_bounds(budget: float, once: float) -> None:
    draws = draws_of(budget, once)
    assert DRAWS[0] <= draws <= DRAWS[1]
    assert 2 <= rounds_of(draws) <= 3


def test_parameters_are_kept_as_plain_types_in_order() -> None:
    found = plain_parameters({"b": np.float64(0.5), "a": np.int64(3), "c": "text", "d": None})
    assert list(found.items()) == [("a", 3), ("b", 0.5), ("c", "text"), ("d", None)]
    assert [type(value) for value in found.values()] == [int, float, str, type(None)]
