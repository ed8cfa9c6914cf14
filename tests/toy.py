"""A small model on a folder of Parquet days, for tests of the night."""

import os
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from tasks.problems import Classification
from tasks.sources import ParquetDays
from tasks.spec import Gate, ModelSpec, days

FIRST, COUNT = date(2026, 1, 1), 40


class ToyContract(pa.DataFrameModel):
    number: int = pa.Field(ge=0)
    size: float = pa.Field(ge=-20, le=20)
    shop: str = pa.Field(isin=["a", "b"])
    bought: int = pa.Field(isin=[0, 1])


def features(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    usual = history.groupby("shop")["bought"].mean()
    return day[["size", "shop"]].assign(
        usual=day["shop"].map(usual).astype("float64").fillna(0.5),
        shop=(day["shop"] == "a").astype("int64"),
    )


def requests(as_of: date) -> pd.DataFrame:
    """The visitors announced for the next day."""
    return make_day(as_of + timedelta(days=1))[["number", "size", "shop"]]


def make_day(day: date, rows: int = 200) -> pd.DataFrame:
    """The rows of one day; the label follows ``size``."""
    random = np.random.default_rng(day.toordinal())
    size = random.normal(size=rows)
    return pd.DataFrame(
        {
            "number": np.arange(rows) + 1000 * day.toordinal(),
            "size": size,
            "shop": np.where(random.random(rows) < 0.5, "a", "b"),
            "bought": (size + random.normal(size=rows) > 0).astype("int64"),
        }
    )


def write_day(folder: Path, day: date, rows: int = 200, **changes: object) -> None:
    """Write one day, with some columns replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    made = make_day(day, rows).assign(**changes)
    made.to_parquet(folder / f"{day}.parquet", index=False)


def write_days(folder: Path, count: int = COUNT) -> None:
    """Write ``count`` days from ``FIRST`` on."""
    for offset in range(count):
        write_day(folder, FIRST + timedelta(days=offset))


toy = ModelSpec(
    name="toy",
    question="Will this visitor buy?",
    source=ParquetDays(os.environ.get("TOY_DAYS", "toy-days")),
    contract=ToyContract,
    problem=Classification(target="bought", metric="average_precision", key=("number",)),
    known_ahead=("number", "size", "shop"),
    features=features,
    requests=requests,
    lookback=days(7),
    candidates={
        "constant": DummyClassifier(),
        "logistic": LogisticRegression(),
        "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
    },
    holdout=days(7),
    slices=("shop",),
    gate=Gate(min_units=100, resamples=200, feature_auc=0.95),
)
