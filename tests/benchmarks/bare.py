"""The work of a night as one bare script: no Prefect, no memory, no care for a killed run.

It uses the data scientist's own code (the model file) and the libraries, reads the year in one go,
and does all of it again each time. ``--usual`` leaves out what few scripts take care of: the
requirements handed to ``log_model`` and the one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from tasks.spec import ModelSpec

LIBRARIES = ("numpy", "pandas", "scikit-learn", "scipy", "skops")


def main() -> None:
    """Run the script for a model and an as-of date; print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="flights")
    parser.add_argument("--as-of", type=date.fromisoformat, required=True)
    parser.add_argument("--usual", action="store_true")
    asked = parser.parse_args()
    if not asked.usual:
        os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with tempfile.TemporaryDirectory() as folder:
        found = run(asked.model, asked.as_of, Path(folder), usual=asked.usual)
    json.dump(found, sys.stdout, indent=1)


def run(model: str, as_of: date, folder: Path, *, usual: bool) -> dict[str, float]:
    """Load, clean, extract features, fit, evaluate, refit, log and register."""
    from sklearn.base import clone

    from tasks.evaluate import evaluate
    from tasks.spec import load_spec

    spec = load_spec(model)
    rows = load_clean(spec, as_of)
    examples = extract(spec, rows)
    holdout_from = str(as_of - spec.holdout + timedelta(days=1))
    late = examples["day"] >= holdout_from
    window = examples["day"].drop_duplicates().iloc[-min(spec.window.days, 400) :]
    learned = examples[~late & examples["day"].isin(window)]
    holdout = examples[late].reset_index(drop=True)

    fitted = {
        name: clone(estimator).fit(spec.problem.inputs(learned), learned["target"].to_numpy())
        for name, estimator in spec.candidates.items()
    }
    scores = {
        name: spec.problem.score(estimator, spec.problem.inputs(holdout))
        for name, estimator in fitted.items()
    }
    scores["baseline"] = spec.problem.baseline_scores(learned, holdout)
    figures = evaluate(
        spec.problem,
        holdout,
        scores,
        resamples=spec.gate.resamples,
        confidence=spec.gate.confidence,
        seed=spec.seed,
    )
    sign = 1 if figures.greater_is_better else -1
    best = max(fitted, key=lambda name: sign * figures.primary(name).value)
    recent = examples[examples["day"].isin(window)]
    shipped = clone(spec.candidates[best]).fit(
        spec.problem.inputs(recent), recent["target"].to_numpy()
    )
    metrics = {
        f"{name}_{metric}": estimate.value
        for name, measured in figures.metrics.items()
        for metric, estimate in measured.items()
    }
    log(model, shipped, spec.problem.inputs(holdout.head(5)), best, metrics, folder, usual=usual)
    return metrics


def load_clean(spec: ModelSpec, as_of: date) -> pd.DataFrame:
    """The year's rows in one go, those that break the contract left out, cleaned."""
    from pandera.errors import SchemaErrors

    raw = spec.source.read_days([day for day in spec.source.list_days(as_of) if day <= as_of])
    try:
        spec.contract.validate(raw, lazy=True)
    except SchemaErrors as error:
        raw = raw.drop(index=error.failure_cases["index"].dropna().unique()).reset_index(drop=True)
    return spec.clean(raw) if spec.clean else raw


def extract(spec: ModelSpec, rows: pd.DataFrame) -> pd.DataFrame:
    """Examples of every day that the night needs, each from its own past."""
    import numpy as np
    import pandas as pd

    stamps = rows["day"].to_numpy(dtype="datetime64[s]")
    listed = np.unique(stamps)
    warm = listed[listed >= listed[0] + np.timedelta64(spec.lookback.days, "D")]
    made = []
    for day in warm[-min(spec.window.days, 400) :]:
        past = day - np.timedelta64(spec.lookback.days, "D")
        first, start, stop = np.searchsorted(stamps, [past, day, day + np.timedelta64(1, "D")])
        today = rows.iloc[start:stop].reset_index(drop=True)
        history = rows.iloc[first:start].reset_index(drop=True)
        requests = spec.problem.requests(today, spec.known_ahead)
        made.append(spec.problem.label(spec.features(requests, history), today))
    return pd.concat(made, ignore_index=True)


def log(
    model: str,
    shipped: Any,
    sample: pd.DataFrame,
    best: str,
    metrics: dict[str, float],
    folder: Path,
    *,
    usual: bool,
) -> None:
    """Log the run to MLflow on SQLite and register the model."""
    from importlib.metadata import version

    import mlflow
    from mlflow.models import infer_signature

    from tasks.spec import load_spec
    from tasks.train import trusted_types

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = mlflow.create_experiment(model, artifact_location=folder.as_uri())
    care: dict[str, Any] = {}
    if not usual:
        care["pip_requirements"] = [f"{name}=={version(name)}" for name in LIBRARIES]
        care["signature"] = infer_signature(sample, shipped.predict(sample))
    with mlflow.start_run(experiment_id=experiment):
        mlflow.log_params({"candidate": best})
        mlflow.log_metrics(metrics)
        mlflow.sklearn.log_model(
            shipped,
            name="model",
            input_example=sample,
            registered_model_name=model,
            skops_trusted_types=trusted_types(load_spec(model)),
            **care,
        )


if __name__ == "__main__":
    main()
