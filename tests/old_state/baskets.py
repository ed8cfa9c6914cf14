"""A user's model of what is bought next: the old state's champion was made of this file."""

from pathlib import Path

import pandas as pd
import pandera.pandas as pa
from sklearn.ensemble import HistGradientBoostingClassifier

from tasks.problems import Recommendation
from tasks.recommend import CandidateRanker, candidates_of
from tasks.sources import ParquetDays
from tasks.spec import Gate, ModelSpec, days

FOLDER = Path(__file__).parent / "baskets-days"


class Baskets(pa.DataFrameModel):
    user: int
    item: int


def features(asked: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    return candidates_of(asked, history, "user", "item", count=20)


baskets = ModelSpec(
    name="baskets",
    question="What will each user buy next?",
    source=ParquetDays(str(FOLDER)),
    contract=Baskets,
    problem=Recommendation("user", "item", "popularity", repeat="count"),
    known_ahead=("user",),
    features=features,
    lookback=days(10),
    candidates={"ranker": CandidateRanker(HistGradientBoostingClassifier(max_iter=10))},
    holdout=days(7),
    gate=Gate(min_units=50, resamples=200, feature_auc=0.99),
)
