"""The peers' work as a model file: how late a flight will arrive, from plan and weather.

``DELAYS_DAYS`` names the folder of daily files that ``peers.py`` writes.
"""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import pandera.pandas as pa
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from tasks.problems import Regression
from tasks.sources import ParquetDays
from tasks.spec import EXPANDING, Gate, ModelSpec, days

WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"]
WEATHER += ["precip", "pressure", "visib"]
PLAN = ["month", "hour", "minute", "distance"]
NAMES = ["carrier", "origin", "dest"]
NUMBERS = [*PLAN, "weekday", *WEATHER]


class Arrivals(pa.DataFrameModel):
    """A flight; one that did not arrive has no delay."""

    arr_delay: float = pa.Field(nullable=True)

    class Config:
        coerce = True


def arrived(rows: pd.DataFrame) -> pd.DataFrame:
    """Flights that arrived."""
    return rows[rows["arr_delay"].notna()].reset_index(drop=True)


def features(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Plan, weather and weekday of each flight."""
    return day[[*PLAN, *WEATHER, *NAMES]].assign(weekday=day["day"].dt.dayofweek)


def boosting() -> HistGradientBoostingRegressor:
    """The boosting of the work, for three first columns that are categories."""
    return HistGradientBoostingRegressor(
        categorical_features=[0, 1, 2],
        max_iter=200,
        learning_rate=0.1,
        max_leaf_nodes=31,
        early_stopping=False,
        random_state=0,
    )


spec = ModelSpec(
    name="delays",
    question="How late will this flight arrive?",
    source=ParquetDays(os.environ.get("DELAYS_DAYS", "delays-days")),
    contract=Arrivals,
    problem=Regression(target="arr_delay", metric="root_mean_squared_error"),
    known_ahead=(*PLAN, *WEATHER, *NAMES),
    clean=arrived,
    features=features,
    lookback=days(1),
    candidates={
        "boosting": make_pipeline(
            make_column_transformer(
                (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan), NAMES),
                remainder="passthrough",
            ),
            boosting(),
        ),
        "ridge": make_pipeline(
            make_column_transformer(
                (make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
                (OneHotEncoder(handle_unknown="ignore"), NAMES),
            ),
            Ridge(),
        ),
        "mean": DummyRegressor(),
    },
    window=EXPANDING,
    holdout=days(14),
    gate=Gate(feature_auc=1.0, surprise=1000.0),
)
