"""The peers' work as one bare script, with the care that few scripts take.

    python tests/benchmarks/delays_bare.py --as-of 2013-12-16

It reads all days in one go, fits three candidates, evaluates them on the last 14 days, logs each to
MLflow with its model, and registers the best: the champion where it beats the champion on the same
days. ``DELAYS_DAYS`` names the folder of daily files, ``DELAYS_HOME`` that of MLflow's database.
"""

from __future__ import annotations

import argparse
import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
import pandas as pd
import pyarrow.dataset
import sklearn
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

MODEL = "bare-delays"
WEATHER = ["temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"]
WEATHER += ["precip", "pressure", "visib"]
PLAN = ["month", "hour", "minute", "distance"]
NAMES = ["carrier", "origin", "dest"]
NUMBERS = [*PLAN, "weekday", *WEATHER]
INPUTS = [*NUMBERS, *NAMES]


def main() -> None:
    """Do the work for an as-of date and print what it found as JSON."""
    parser = argparse.ArgumentParser(description="The peers' work as a bare script.")
    parser.add_argument("--as-of", type=date.fromisoformat, required=True, metavar="YYYY-MM-DD")
    asked = parser.parse_args()
    rows = prepare(read(Path(os.environ["DELAYS_DAYS"]), asked.as_of))
    held = rows["date"] > rows["date"].max() - pd.Timedelta(days=14)
    learned, holdout = rows[~held], rows[held]
    open_mlflow(Path(os.environ["DELAYS_HOME"]))
    metrics: dict[str, dict[str, float]] = {}
    stored: dict[str, str] = {}
    for name, estimator in candidates().items():
        fitted = estimator.fit(learned[INPUTS], learned["arr_delay"])
        metrics[name] = measure(fitted, holdout)
        stored[name] = log(name, fitted, learned.head(100), metrics[name], asked.as_of)
    best = min(metrics, key=lambda name: metrics[name]["root_mean_squared_error"])
    promoted = register(stored[best], metrics[best], holdout)
    verdict = "PROMOTED" if promoted else "KEPT"
    print(json.dumps({"best": best, "metrics": metrics, "verdict": verdict}))


def read(folder: Path, as_of: date) -> pd.DataFrame:
    """Every day up to the as-of date as one frame."""
    files = sorted(str(file) for file in folder.glob("*.parquet") if file.stem <= f"{as_of}")
    return pyarrow.dataset.dataset(files).to_table().to_pandas()


def prepare(rows: pd.DataFrame) -> pd.DataFrame:
    """Flights that arrived, with the inputs of the candidates."""
    rows = rows[rows["arr_delay"].notna()].reset_index(drop=True)
    day = pd.to_datetime(rows[["year", "month", "day"]])
    made = rows[[*PLAN, *WEATHER]].assign(weekday=day.dt.dayofweek, date=day)
    return made.assign(
        arr_delay=rows["arr_delay"], **{name: rows[name].astype("category") for name in NAMES}
    )


def candidates() -> dict[str, Any]:
    """The three to fit."""
    scaled = (make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS)
    encoded = (OneHotEncoder(handle_unknown="ignore"), NAMES)
    return {
        "boosting": HistGradientBoostingRegressor(
            categorical_features="from_dtype",
            max_iter=200,
            learning_rate=0.1,
            max_leaf_nodes=31,
            early_stopping=False,
            random_state=0,
        ),
        "ridge": make_pipeline(make_column_transformer(scaled, encoded), Ridge()),
        "mean": DummyRegressor(),
    }


def measure(model: Any, holdout: pd.DataFrame) -> dict[str, float]:
    """Metrics on the holdout."""
    found, actual = model.predict(holdout[INPUTS]), holdout["arr_delay"]
    return {
        "mean_absolute_error": float(mean_absolute_error(actual, found)),
        "root_mean_squared_error": float(root_mean_squared_error(actual, found)),
        "r2": float(r2_score(actual, found)),
    }


def open_mlflow(home: Path) -> None:
    """MLflow on a SQLite database, with an experiment."""
    mlflow.set_tracking_uri(f"sqlite:///{home / 'mlflow.db'}")
    if mlflow.get_experiment_by_name(MODEL) is None:
        mlflow.create_experiment(MODEL, artifact_location=(home / "artifacts").as_uri())
    mlflow.set_experiment(MODEL)


def log(name: str, model: Any, sample: pd.DataFrame, metrics: dict[str, float], as_of: date) -> str:
    """Log a run with its model; address of the model."""
    shown = sample[INPUTS].astype(dict.fromkeys(NAMES, str))
    with mlflow.start_run(run_name=f"{name} {as_of}"):
        mlflow.log_params({"candidate": name, "as_of": f"{as_of}"})
        mlflow.log_metrics(metrics)
        info = mlflow.sklearn.log_model(
            model,
            name="model",
            serialization_format="cloudpickle",
            signature=infer_signature(shown, model.predict(sample[INPUTS])),
            pip_requirements=[f"scikit-learn=={sklearn.__version__}"],
        )
    return str(info.model_uri)


def register(address: str, found: dict[str, float], holdout: pd.DataFrame) -> bool:
    """Register a model; make it the champion where it beats the one there is."""
    try:
        champion = mlflow.sklearn.load_model(f"models:/{MODEL}@champion")
    except MlflowException:
        better = True
    else:
        metric = "root_mean_squared_error"
        better = found[metric] < measure(champion, holdout)[metric] - 1e-9
    version = mlflow.register_model(address, MODEL).version
    if better:
        mlflow.MlflowClient().set_registered_model_alias(MODEL, "champion", version)
    return better


if __name__ == "__main__":
    main()
