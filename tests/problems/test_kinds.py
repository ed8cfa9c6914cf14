"""Every kind of problem goes through whole nights: several classes, intervals, ratings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks import settings
from tasks.predictions import publish
from tasks.store.files import read_json
from tests import nights
from tests.nights import champion_of, nth_day, run_night, write_model, write_more

pytestmark = [
    pytest.mark.usefixtures("warm_processes"),
    *(pytest.mark.filterwarnings(text) for text in nights.MLFLOW_WARNINGS),
]
BINARY = 'Classification(target="bought", metric="average_precision", key=("number",))'
IMPORT = "from tasks.problems import Classification"
SPEC = "toy = ModelSpec("
CANDIDATES = """{
        "constant": DummyClassifier(),
        "logistic": LogisticRegression(),
        "tree": DecisionTreeClassifier(max_depth=3, random_state=0),
    }"""
CHOICE = """
def clean(rows: pd.DataFrame) -> pd.DataFrame:
    large = np.where(rows["size"] > 0.5, "large", "small")
    return rows.assign(choice=np.where(rows["bought"] == 1, large, "none"))


def luck(examples: pd.DataFrame, score: np.ndarray) -> np.ndarray:
    return score[np.arange(len(examples)), examples["target"]]


def size_band(examples: pd.DataFrame) -> pd.Series:
    return (examples["size"] > 0).map({True: "big", False: "little"})


"""


def published(name: str = "toy") -> pd.DataFrame:
    return pd.read_parquet(publish.folder_of(name) / publish.CURRENT)


def graded(number: int, name: str = "toy") -> dict[str, Any]:
    found: dict[str, Any] = read_json(settings.home() / "live" / name / f"{nth_day(number)}.json")
    return found


@pytest.mark.long
def test_several_classes_are_judged_published_and_graded(
    registry_home: Path, tmp_path: Path
) -> None:
    write_more(tmp_path / "days", 1, 30)
    model = write_model(
        tmp_path / "toy.py",
        tmp_path / "days",
        (IMPORT, "from tasks.problems import Metric, Multiclass"),
        (CANDIDATES, '{"logistic": LogisticRegression()}'),
        (SPEC, f"{CHOICE}{SPEC}"),
        (
            BINARY,
            'Multiclass("choice", ("none", "small", "large"), key=("number",), '
            'metrics=(Metric("luck", luck),))',
        ),
        ('slices=("shop",)', 'slices=("shop", size_band),\n    clean=clean'),
        ("feature_auc=0.95", "feature_auc=0.99"),
    )
    report = run_night(model)
    assert report["verdict"] == "PROMOTED", report["reasons"]
    measured = report["metrics"]["challenger"]
    assert measured["log_loss"]["value"] < 0.8 < report["metrics"]["baseline"]["log_loss"]["value"]
    assert {"accuracy", "f1_macro", "roc_auc", "calibration_error", "luck"} <= set(measured)
    shown = published()
    each = shown[["probability_none", "probability_small", "probability_large"]]
    assert (each.sum(axis=1) - 1).abs().max() < 1e-6
    assert (each.max(axis=1) == shown["probability"]).all()
    assert (each.idxmax(axis=1) == "probability_" + shown["prediction"].astype(str)).all()

    write_more(tmp_path / "days", 31, 31)
    again = run_night(model)
    assert again["verdict"] in ("PROMOTED", "KEPT")
    assert "champion" in again["metrics"], again["reasons"]
    assert any("slices" in check["name"] and check["passed"] for check in again["checks"])
    live = graded(31)
    assert live["labelled"] == 200
    assert live["metrics"]["log_loss"] < 1
    assert live["metrics"]["luck"] > 0.4
    assert {"size_band big", "shop a"} <= set(live["slices"])
    assert live["calibration"]["predicted"] == pytest.approx(
        live["calibration"]["observed"], abs=0.15
    )


SPENT = """
def clean(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(spent=10 + 5 * rows["size"] + 4 * rows["bought"])


"""


@pytest.mark.long
def test_an_interval_is_judged_published_and_shown(registry_home: Path, tmp_path: Path) -> None:
    write_more(tmp_path / "days", 1, 30)
    boosted = "HistGradientBoostingRegressor(loss='quantile', max_iter=20, random_state=0)"
    model = write_model(
        tmp_path / "toy.py",
        tmp_path / "days",
        (
            IMPORT,
            "from sklearn.ensemble import HistGradientBoostingRegressor\n"
            "from tasks.problems import Regression\n"
            "from tasks.problems.conformal import ConformalQuantiles\n"
            "from tasks.problems.quantiles import QuantileRegressors",
        ),
        (SPEC, f"{SPENT}{SPEC}"),
        (BINARY, 'Regression("spent", quantiles=(0.1, 0.5, 0.9), key=("number",))'),
        (CANDIDATES, f'{{"boosted": ConformalQuantiles(QuantileRegressors({boosted}))}}'),
        ("    holdout=days(7),", "    holdout=days(7),\n    clean=clean,"),
        ("feature_auc=0.95", "feature_auc=0.999"),
    )
    report = run_night(model)
    assert report["verdict"] == "PROMOTED", report["reasons"]
    measured, trivial = report["metrics"]["challenger"], report["metrics"]["baseline"]
    assert report["metric"] == "mean_pinball_loss"
    assert measured["mean_pinball_loss"]["value"] < trivial["mean_pinball_loss"]["value"] / 2
    assert 0.7 < measured["interval_coverage"]["value"] < 0.95
    assert measured["interval_width"]["value"] < trivial["interval_width"]["value"]
    assert champion_of() == "1"
    shown = published()
    assert {"prediction_10", "prediction", "prediction_90"} < set(shown)
    assert (shown["prediction_10"] <= shown["prediction"]).all()
    assert report["coverage"] is None, "no day is graded yet"
    assert (shown["prediction"] <= shown["prediction_90"]).all()
    drawn = {file.stem for file in (settings.home() / "reports" / "toy").rglob("*.png")}
    assert {"predicted_against_actual", "coverage"} <= drawn


RATED = """
import pandas as pd
import pandera.pandas as pa
from sklearn.ensemble import HistGradientBoostingClassifier

from tasks.problems import Recommendation
from tasks.recommend import CandidateRanker, RankBy, candidates_of
from tasks.sources import ParquetDays
from tasks.spec import Gate, ModelSpec, days


class Ratings(pa.DataFrameModel):
    user: int
    film: int
    stars: float = pa.Field(ge=0.5, le=5)


def features(asked: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    return candidates_of(asked, history, "user", "film", rating="stars", liked=4, repeats=False)


films = ModelSpec(
    name="films",
    question="Which film will each user like next?",
    source=ParquetDays(FOLDER),
    contract=Ratings,
    problem=Recommendation("user", "film", "popularity", rating="stars", liked=4, unit="evenings"),
    known_ahead=("user",),
    features=features,
    lookback=days(40),
    candidates={
        "popularity": RankBy("popularity"),
        "neighbours": RankBy("neighbours"),
        "ranker": CandidateRanker(HistGradientBoostingClassifier(max_iter=30, random_state=0)),
    },
    holdout=days(21),
    gate=Gate(min_units=10, resamples=200, feature_auc=0.99),
)
"""


def write_ratings(folder: Path, count: int) -> None:
    """Users of two tastes, few a day, each film once; on many days nobody is there."""
    folder.mkdir()
    random = np.random.default_rng(4)
    other = [np.arange(40) % 2 != user % 2 for user in range(100)]
    unseen = {user: np.argsort(random.random(40) + 0.8 * other[user]) for user in range(100)}
    for number in range(1, count + 1):
        rows = []
        for user in random.choice(100, random.integers(1, 9) if number % 3 else 0, replace=False):
            evening, unseen[user] = unseen[user][:4], unseen[user][4:]
            rows += [(user, film, 5.0 if film % 2 == user % 2 else 1.5) for film in evening]
        if rows:
            frame = pd.DataFrame(rows, columns=["user", "film", "stars"])
            frame.to_parquet(folder / f"{nth_day(number)}.parquet", index=False)


@pytest.mark.long
def test_ratings_are_learned_from_days_with_few_users(registry_home: Path, tmp_path: Path) -> None:
    write_ratings(tmp_path / "days", 130)
    model = tmp_path / "films.py"
    model.write_text(RATED.replace("FOLDER", repr(str(tmp_path / "days"))))
    report = run_night(model)
    assert report["verdict"] == "PROMOTED", report["reasons"]
    measured, trivial = report["metrics"]["challenger"], report["metrics"]["baseline"]
    assert measured["ndcg_10"]["value"] > trivial["ndcg_10"]["value"] + 0.02
    shown = published("films")
    files = sorted((tmp_path / "days").glob("*.parquet"))
    seen = pd.concat(pd.read_parquet(f) for f in files if f.stem > f"{nth_day(90)}")
    known = shown[shown["user"].notna()]
    assert known.merge(seen, on=["user", "film"]).empty
    assert known["user"].nunique() == seen["user"].nunique() > 50
    assert shown["user"].isna().any()
