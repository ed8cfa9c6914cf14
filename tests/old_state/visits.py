"""A user's model of yes or no: the old state's champions were made of this file."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from tasks.features.past_means import PastMeans
from tasks.metrics import Metric
from tasks.problems import Classification
from tasks.sources import ParquetDays
from tasks.spec import Gate, ModelSpec, days

FOLDER = Path(__file__).parent / "visits-days"


class Visits(pa.DataFrameModel):
    number: int = pa.Field(ge=0)
    size: float = pa.Field(ge=-20, le=20)
    shop: str = pa.Field(isin=["a", "b"])
    bought: int = pa.Field(isin=[0, 1])


def features(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    past, now = ((rows["shop"] == "a").to_numpy(dtype="int64") for rows in (history, day))
    bought = history["bought"].to_numpy(dtype="float64")
    usual = PastMeans(past, now).mean(bought, np.ones(len(past)), 0.5, 10)
    return day[["size"]].assign(shop=now, usual=usual)


def requests(as_of: date) -> pd.DataFrame:
    """The visitors announced for the next day."""
    coming = pd.read_parquet(FOLDER.with_name("announced") / f"{as_of + timedelta(days=1)}.parquet")
    return coming[["number", "size", "shop"]]


def error(examples: pd.DataFrame, score: np.ndarray) -> np.ndarray:
    return np.abs(examples["target"].to_numpy() - score)


visits = ModelSpec(
    name="visits",
    question="Will this visitor buy?",
    source=ParquetDays(str(FOLDER)),
    contract=Visits,
    problem=Classification(
        target="bought",
        metric="average_precision",
        key=("number",),
        metrics=(Metric("error", error, greater_is_better=False),),
    ),
    known_ahead=("number", "size", "shop"),
    features=features,
    requests=requests,
    lookback=days(7),
    candidates={
        "logistic": LogisticRegression(),
        "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
    },
    holdout=days(7),
    slices=("shop",),
    gate=Gate(min_units=100, resamples=200, tolerance=0.1, feature_auc=0.95),
)
