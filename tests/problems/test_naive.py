"""Naive forecasts: each is what its name says, and knows no label that is not final."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from tasks.problems.naive import (
    ColumnForecast,
    ColumnRate,
    KeyMedian,
    KeyRates,
    last_value,
    last_week,
    recent_mean,
)
from tasks.store.models import build_model, model_content

SHOPS = ("a", "b")


def history(days: int = 21, closed: str | None = None, open_days: int = 0) -> pd.DataFrame:
    """Shop a sells the number of the day at 8 and ten more at 9; shop b a hundred more."""
    rows = [
        (day, day + pd.Timedelta(hours=hour), shop, 1.0 * place + 10 * (hour == 9) + 100 * number)
        for place, day in enumerate(pd.date_range("2026-03-02", periods=days))
        for number, shop in enumerate(SHOPS)
        for hour in (8, 9)
        if not (shop == closed and place == days - 1)
    ]
    found = pd.DataFrame(rows, columns=["day", "at", "shop", "sold"])
    late = found["day"] > found["day"].max() - pd.Timedelta(days=open_days)
    return found.assign(sold=found["sold"].where(~late))


def asked(shops: tuple[str, ...] = ("b", "a", "new"), hour: int = 9) -> pd.DataFrame:
    day = pd.Timestamp("2026-03-23")
    return pd.DataFrame(
        {"day": day, "at": day + pd.Timedelta(hours=hour), "shop": list(shops)},
        index=[7 + place for place in range(len(shops))],
    )


Naive = Callable[..., "pd.Series[Any]"]
NAN = float("nan")


@pytest.mark.parametrize(
    ("how", "past", "by", "time", "expected"),
    [
        (last_value, {}, ("shop",), None, [125, 25, NAN]),
        (last_value, {}, ("shop",), "at", [130, 30, NAN]),
        (last_value, {}, (), None, [75, 75, 75]),
        (last_value, {"closed": "a"}, ("shop",), None, [125, 24, NAN]),
        (last_value, {"open_days": 3}, ("shop",), None, [122, 22, NAN]),
        (last_week, {}, ("shop",), None, [119, 19, NAN]),
        (last_week, {"open_days": 7}, ("shop",), "at", [117, 17, NAN]),
        (last_week, {"days": 5}, ("shop",), None, [105, 5, NAN]),
        (recent_mean, {"length": 2}, ("shop",), None, [124.5, 24.5, NAN]),
        (recent_mean, {"length": 2, "open_days": 4}, ("shop",), "at", [125.5, 25.5, NAN]),
    ],
)
def test_each_looks_back_as_its_name_says(
    how: Naive, past: dict[str, Any], by: tuple[str, ...], time: str | None, expected: list[float]
) -> None:
    more = {"length": past["length"]} if "length" in past else {}
    rows = history(**{name: value for name, value in past.items() if name != "length"})
    found = how(asked(), rows, "sold", by, time, **more)
    assert found.index.tolist() == [7, 8, 9]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("how", [last_value, last_week, recent_mean])
def test_without_a_past_or_without_requests_there_is_no_value(how: Naive) -> None:
    none = history().head(0)
    assert how(asked(), none, "sold", ("shop",)).isna().all()
    assert how(asked(()), history(), "sold", ("shop",), "at").empty


def test_a_column_is_predicted_as_it_is_and_filled_with_what_is_usual() -> None:
    inputs = pd.DataFrame({"last_week": [3.0, None, 5.0], "x": 1})
    found = ColumnForecast("last_week").fit(inputs, np.array([1, 2, 9])).predict(inputs)
    assert found.tolist() == [3, 2, 5]
    rate = ColumnRate("last_week").fit(inputs, np.array([0, 0, 1]))
    shares = inputs.assign(last_week=[0.25, None, 1.5])
    assert rate.predict_proba(shares)[:, 1] == pytest.approx([0.25, 1 / 3, 1])
    assert rate.predict(shares).tolist() == [0, 0, 1]
    with pytest.raises(KeyError, match="gone"):
        ColumnForecast("gone").fit(inputs, np.array([1, 2, 9]))


KEYED = pd.DataFrame({"shop": ["a", "a", "b", "b"], "size": [1, 1, 2, 3]})


def test_a_key_has_its_own_median_also_where_a_gap_made_it_a_float() -> None:
    fitted = KeyMedian(("shop", "size")).fit(KEYED, np.array([1.0, 3.0, 10.0, 20.0]))
    later = pd.DataFrame({"shop": ["a", "b", "b", "c"], "size": [1.0, 3.0, np.nan, 1.0]})
    assert fitted.predict(KEYED).tolist() == [2, 2, 10, 20]
    assert fitted.predict(later).tolist() == [2, 20, 6.5, 6.5]


def test_a_key_has_its_own_shares_drawn_to_those_of_all() -> None:
    fitted = KeyRates(("shop",), strength=2).fit(KEYED, np.array([2, 2, 0, 2]))
    assert fitted.classes_.tolist() == [0, 2]
    found = fitted.predict_proba(pd.DataFrame({"shop": ["a", "b", "new"]}))
    np.testing.assert_allclose(found, [[0.125, 0.875], [0.375, 0.625], [0.25, 0.75]])
    assert fitted.predict(KEYED).tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("estimator", [KeyMedian(("shop", "size")), KeyRates(("shop", "size"))])
def test_they_are_stored_without_pickle(estimator: Any) -> None:
    fitted = clone(estimator).fit(KEYED, np.array([0, 1, 1, 0]))
    trusted = [f"{type(fitted).__module__}.{type(fitted).__name__}"]
    kept = build_model(model_content(fitted, trusted), trusted, "a test")
    method = "predict_proba" if hasattr(fitted, "predict_proba") else "predict"
    np.testing.assert_array_equal(getattr(kept, method)(KEYED), getattr(fitted, method)(KEYED))
