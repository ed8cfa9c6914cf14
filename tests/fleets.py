"""A small fleet on a folder of Parquet days, for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

MODEL = """
import pandas as pd
import pandera.pandas as pa
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression

from tasks.problems import Classification
from tasks.sources import ParquetDays
from tasks.spec import Gate, ModelSpec, days


class Rows(pa.DataFrameModel):
    number: int = pa.Field(ge=0)
    size: float = pa.Field(ge=-20, le=20)
    shop: str
    bought: int = pa.Field(isin=[0, 1])


def features(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    usual = history.groupby("shop")["bought"].mean()
    return day[["size"]].assign(usual=day["shop"].map(usual).astype("float64").fillna(0.5))


def requests(as_of):
    every = pd.read_parquet(f"FOLDER/{as_of}.parquet")
    return every[["number", "size", "shop"]]


fleet = ModelSpec(
    name="shops",
    question="Will this visitor buy?",
    source=ParquetDays("FOLDER"),
    contract=Rows,
    problem=Classification(target="bought", metric="average_precision", key=("number",)),
    known_ahead=("number", "size", "shop"),
    features=features,
    requests=requests,
    lookback=days(7),
    candidates={"constant": DummyClassifier(), "logistic": LogisticRegression()},
    holdout=days(7),
    gate=Gate(min_units=100, resamples=200, feature_auc=0.95, surprise=100.0),
    drift_limit=None,
    partition="shop",
)
"""


def write_fleet(file: Path, folder: Path, *changes: tuple[str, str]) -> Path:
    """The fleet's model file on the days of ``folder``, with some of its text replaced."""
    text = MODEL.replace("FOLDER", str(folder))
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    file.write_text(text)
    return file


def write_shops(
    folder: Path,
    day: date,
    rows: Mapping[str, int],
    *,
    broken: Mapping[str, int] | None = None,
) -> None:
    """Write one day.

    Args:
        folder: Where the days lie.
        day: The day.
        rows: Shop to its number of rows.
        broken: Shop to how many of its rows break the contract.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(day.toordinal())
    shop = np.repeat(list(rows), list(rows.values()))
    size = random.normal(size=len(shop))
    frame = pd.DataFrame(
        {
            "number": np.arange(len(shop)) + 100_000 * day.toordinal(),
            "size": size,
            "shop": shop,
            "bought": (size + random.normal(size=len(shop)) > 0).astype("int64"),
        }
    )
    for name, count in (broken or {}).items():
        frame.loc[frame.index[frame["shop"] == name][:count], "size"] = 99.0
    frame = frame.sample(frac=1, random_state=0)
    frame.to_parquet(folder / f"{day}.parquet", index=False)
