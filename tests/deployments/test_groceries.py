"""The grocery model's own file: contract, clean rows, features as of the morning."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pandas as pd
import pytest

from deployments.groceries import GroceryContract, clean, features, groceries
from tasks.features.contract import accept_rows
from tasks.features.examples import build_examples

DAY = pd.Timestamp("2026-03-02").as_unit("s")


def raw_rows(count: int = 60, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    product = random.integers(1, 30, count)
    return pd.DataFrame(
        {
            "day": DAY,
            "household_id": random.integers(1, 8, count),
            "store_id": random.integers(1, 4, count),
            "basket_id": np.arange(1, count + 1),
            "product_id": product,
            "quantity": random.integers(1, 4, count),
            "sales_value": random.random(count) * 9,
            "retail_disc": random.random(count),
            "coupon_disc": 0.0,
            "coupon_match_disc": 0.0,
            "transaction_timestamp": DAY + pd.Timedelta(hours=12),
            "department": "GROCERY",
            "product_category": [f"category {p % 5}" for p in product],
            "product_type": [f"type {p % 9}" for p in product],
        }
    )


def clean_history(
    households: int, products: int, days: int, lines: int, seed: int = 0
) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    product = np.minimum(random.zipf(1.3, lines), products).astype(np.int32)
    frame = pd.DataFrame(
        {
            "day": DAY - pd.to_timedelta(random.integers(1, days, lines), unit="D"),
            "household_id": random.integers(1, households + 1, lines).astype(np.int32),
            "product_id": product,
            "store_id": random.integers(1, 9, lines).astype(np.int32),
            "category": product % 50,
            "kind": product % 400,
            "quantity": random.integers(1, 4, lines).astype(np.int32),
            "value": random.random(lines).astype(np.float32),
            "discount": random.random(lines).astype(np.float32),
        }
    )
    keys = ["day", "household_id", "product_id"]
    return frame.drop_duplicates(keys).sort_values(keys).reset_index(drop=True)


def requests_of(*households: int) -> pd.DataFrame:
    return pd.DataFrame({"day": DAY, "household_id": np.array(households, dtype=np.int32)})


def test_contract_quarantines_the_dirt_that_is_no_purchase() -> None:
    raw = raw_rows()
    raw.loc[3, "quantity"] = 0
    raw.loc[5, ["department", "product_category", "product_type"]] = None
    raw.loc[7, "sales_value"] = -1.0
    raw.loc[9, ["product_category", "product_type"]] = None
    found = accept_rows(raw, GroceryContract)
    assert sorted(found.quarantine["basket_id"]) == [4, 6, 8]
    assert len(found.rows) == 57


def test_clean_leaves_out_fuel_and_slips_and_sums_a_day() -> None:
    raw = pd.concat([raw_rows(), raw_rows().head(4)], ignore_index=True)
    raw.loc[0, ["department", "quantity"]] = ["FUEL", 9_000]
    raw.loc[1, "product_category"] = "COUPON/MISC ITEMS"
    rows = clean(raw)
    kept = raw.drop(index=[0, 1])
    assert not rows.duplicated(["day", "household_id", "product_id"]).any()
    assert rows["quantity"].sum() == kept["quantity"].sum()
    assert rows["value"].sum() == pytest.approx(kept["sales_value"].sum(), rel=1e-5)
    assert rows.columns[0] == "day"
    assert rows.groupby("product_id")["category"].nunique().max() == 1


def test_nothing_of_the_day_or_after_reaches_the_features() -> None:
    history = clean_history(20, 60, 90, 2500)
    day = clean(raw_rows())
    other = day.assign(product_id=day["product_id"] + 1000, quantity=99)
    made = build_examples(groceries, day, history).drop(columns=["target", "relevant"])
    again = build_examples(groceries, other, history).drop(columns=["target", "relevant"])
    pd.testing.assert_frame_equal(made, again)
    late = pd.concat([history, day], ignore_index=True)
    with pytest.raises(ValueError, match="includes the day itself"):
        build_examples(groceries, day, late)


def test_features_are_the_same_twice_and_leave_the_inputs_alone() -> None:
    history, requests = clean_history(20, 60, 90, 2500), requests_of(3, 1, 20)
    before = history.copy(deep=True)
    first, second = features(requests, history), features(requests, history)
    pd.testing.assert_frame_equal(first, second)
    pd.testing.assert_frame_equal(history, before)
    inputs = first.drop(columns=["household_id", "product_id"])
    assert (inputs.dtypes == np.float32).all()
    assert not np.isinf(inputs.to_numpy()).any()
    assert not first.duplicated(["household_id", "product_id"]).any()
    assert groceries.problem.baseline in first
    assert groceries.problem.repeat in first


def test_a_household_gets_the_same_whoever_else_is_asked_for() -> None:
    history = clean_history(20, 60, 90, 2500)
    alone = features(requests_of(3), history)
    among = features(requests_of(1, 3, 20), history)
    mine = among[among["household_id"] == 3]
    keys = ["product_id", "count", "frequency", "due", "category_days_since", "popularity_7d"]
    pd.testing.assert_frame_equal(
        alone[keys].sort_values("product_id", ignore_index=True),
        mine[keys].sort_values("product_id", ignore_index=True),
    )


def test_an_unknown_household_gets_what_is_popular() -> None:
    history = clean_history(20, 60, 90, 2500)
    found = features(requests_of(3, 777), history)
    stranger = found[found["household_id"] == 777]
    popular = history[history["day"] >= DAY - pd.Timedelta(days=7)]["product_id"].value_counts()
    assert set(popular.index[:10]) <= set(stranger["product_id"])
    assert (stranger["count"] == 0).all()


def test_every_household_at_once_stays_in_memory() -> None:
    history = clean_history(2_500, 20_000, 294, 400_000)
    tracemalloc.start()
    found = features(requests_of(*range(1, 2_501)), history)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["household_id"].nunique() == 2_500
    assert peak < 1.5e9
