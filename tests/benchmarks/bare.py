"""The work of one night as one bare script: no Prefect, no store, no memory, no care for a crash.

    python tests/benchmarks/bare.py --model flights --as-of 2026-11-21

It uses what the data scientist owns anyway (the model file: contract, clean, features, candidates,
problem, gate) and the libraries; nothing of the night's own reading, checking, preparing, storing
and registering. The year is read in one go from the package's files, without cutting it into days
on disk; the next night does all of it again.

Lean, the default, takes the care that few scripts take: the requirements and the signature are
handed to ``log_model``, and one thread is used. ``--usual`` leaves all of that out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from tasks.evaluation.estimates import Evaluation
    from tasks.spec import ModelSpec

LIBRARIES = ("numpy", "pandas", "scikit-learn", "scipy", "skops")


def main() -> None:
    """Do the night's work for a model and an as-of date; print its figures as JSON."""
    parser = argparse.ArgumentParser(description="A night's work as a bare script.")
    parser.add_argument("--model", choices=("flights", "groceries"), default="flights")
    parser.add_argument("--as-of", type=date.fromisoformat, required=True, metavar="YYYY-MM-DD")
    parser.add_argument("--usual", action="store_true", help="without the care of a lean script")
    asked = parser.parse_args()
    if not asked.usual:
        os.environ["OMP_NUM_THREADS"] = "1"  # read by the libraries when they are imported
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        found = run(asked.model, asked.as_of, Path(folder), usual=asked.usual)
    json.dump(found, sys.stdout, indent=1)


def run(model: str, as_of: date, folder: Path, *, usual: bool) -> dict[str, Any]:
    """Read, check, clean, extract, fit, evaluate, refit, log and register.

    Args:
        model: Name of the model file.
        as_of: Last day whose data may be used.
        folder: Where MLflow keeps its database and artifacts.
        usual: Whether ``log_model`` is left to infer what it was not told.

    Returns:
        Winner, rows, each scorer's metrics, and the seconds of each step.
    """
    spent: dict[str, float] = {}
    with timed(spent, "import"):
        import mlflow.sklearn  # noqa: F401
        from sklearn.base import clone

        from tasks.spec.loading import load_spec

        spec = load_spec(model)
    with timed(spent, "read"):
        raw = read_year(spec, as_of)
    with timed(spent, "clean"):
        rows = accept(spec, raw)
        rows = spec.clean(rows) if spec.clean else rows
    with timed(spent, "features"):
        split = split_days(spec, rows, as_of)
        examples = extract(spec, rows, sorted({*split.train, *split.holdout, *split.refit}))
        learned, holdout, recent = (
            known_by_night(spec, rows, examples[examples["day"].isin(days)])
            for days in (split.train, split.holdout, split.refit)
        )
    with timed(spent, "fit"):
        problem, target = spec.problem, learned["target"].to_numpy()
        inputs, unseen = problem.inputs(learned), problem.inputs(holdout)
        scores = {
            name: problem.score(clone(estimator).fit(inputs, target), unseen)
            for name, estimator in spec.candidates.items()
        }
    with timed(spent, "evaluate"):
        scores["baseline"] = problem.baseline_scores(learned, holdout)
        figures = judge(spec, holdout, scores)
        sign = 1 if figures.greater_is_better else -1
        best = max(spec.candidates, key=lambda name: sign * figures.primary(name).value)
    with timed(spent, "refit"):
        shipped = clone(spec.candidates[best])
        shipped.fit(problem.inputs(recent), recent["target"].to_numpy())
    with timed(spent, "database"):
        experiment = open_mlflow(spec, folder)
    with timed(spent, "log"):
        log(spec, shipped, problem.inputs(holdout.head(5)), best, figures, experiment, usual=usual)
    return {
        "best": best,
        "rows": {"in": len(raw), "examples": len(examples), "fitted": len(learned)},
        "metrics": {
            name: {metric: estimate.value for metric, estimate in measured.items()}
            for name, measured in figures.metrics.items()
        },
        "seconds": spent,
    }


@contextmanager
def timed(spent: dict[str, float], step: str) -> Iterator[None]:
    """Note the seconds of a step."""
    started = time.perf_counter()
    yield
    spent[step] = round(time.perf_counter() - started, 2)


@dataclass(frozen=True, eq=False)
class InMemory:
    """Days of one frame, for a replay onto today's calendar.

    Attributes:
        rows: Raw rows, ascending by their first column ``day``.
    """

    rows: pd.DataFrame

    def list_days(self, until: date) -> dict[date, str]:
        """Every day of the frame up to ``until``."""
        listed = [stamp.date() for stamp in self.rows["day"].drop_duplicates()]
        return dict.fromkeys((day for day in listed if day <= until), "")

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        """The rows of these days, in this order of days."""
        import numpy as np

        stamps = self.rows["day"].to_numpy(dtype="datetime64[s]")
        wanted = np.array(days, dtype="datetime64[s]")
        edges = zip(
            np.searchsorted(stamps, wanted, side="left"),
            np.searchsorted(stamps, wanted, side="right"),
            strict=True,
        )
        places = np.concatenate([np.arange(start, stop) for start, stop in edges])
        return self.rows.take(places).reset_index(drop=True)


def read_year(spec: ModelSpec, as_of: date) -> pd.DataFrame:
    """All raw rows up to the as-of date in one go, on today's calendar, ascending by ``day``."""
    import importlib

    import pandas as pd

    from tasks.sources import PackageDays, Replay

    source = spec.source
    if not isinstance(source, Replay) or not isinstance(source.source, PackageDays):
        raise SystemExit(f"{spec.name}: expected a replay of package data, found {source}")
    package = source.source
    module, _, function = package.load.partition(":")
    raw: pd.DataFrame = getattr(importlib.import_module(module), function)()
    hours, minutes = map(int, package.day_start.split(":"))
    local = raw[package.time].dt.tz_localize(None) - pd.Timedelta(hours=hours, minutes=minutes)
    raw.insert(0, "day", local.dt.floor("D").astype("datetime64[s]"))
    year = InMemory(raw.sort_values("day", kind="stable", ignore_index=True))
    replay = replace(source, source=year)
    return replay.read_days(list(replay.list_days(as_of)))


def accept(spec: ModelSpec, raw: pd.DataFrame) -> pd.DataFrame:
    """The rows that fit the contract, as it types them, none of them twice.

    Raises:
        SystemExit: Where more rows break it than the spec allows.
    """
    from pandera.errors import SchemaErrors

    rows = raw.drop_duplicates(ignore_index=True)
    schema = spec.contract.to_schema()
    try:
        return schema.validate(rows, lazy=True)
    except SchemaErrors as error:
        broken = error.failure_cases["index"].dropna().unique()
    if len(broken) > spec.quarantine_limit * len(rows):
        raise SystemExit(f"{len(broken):,} of {len(rows):,} rows break the contract")
    return schema.validate(rows.drop(index=broken), lazy=True).reset_index(drop=True)


@dataclass(frozen=True)
class Split:
    """Days that teach, days that judge, days the shipped model learns from."""

    train: list[pd.Timestamp]
    holdout: list[pd.Timestamp]
    refit: list[pd.Timestamp]


def split_days(spec: ModelSpec, rows: pd.DataFrame, as_of: date) -> Split:
    """Split by time as the spec says: the last ``holdout`` judges, the window before it teaches."""
    import pandas as pd

    day = timedelta(days=1)
    listed = list(rows["day"].drop_duplicates())
    last = pd.Timestamp(as_of) - spec.label_delay
    matured = [stamp for stamp in listed if listed[0] + spec.lookback <= stamp <= last]
    judged_from = matured[-1] - spec.holdout + day
    earlier = [stamp for stamp in matured if stamp < judged_from - spec.label_delay]
    length = spec.window - spec.holdout - spec.label_delay

    def window(days: list[pd.Timestamp]) -> list[pd.Timestamp]:
        return [stamp for stamp in days if days[-1] - stamp < length]

    holdout = [stamp for stamp in matured if stamp >= judged_from]
    return Split(window(earlier), holdout, window(matured))


def known_by_night(spec: ModelSpec, rows: pd.DataFrame, examples: pd.DataFrame) -> pd.DataFrame:
    """The examples without those of the last day whose labels come after its night."""
    import numpy as np

    from tasks.features.examples import labelled

    keep = np.ones(len(examples), dtype=bool)
    if (target := spec.problem.target_column) is not None:
        newest = examples["day"].iloc[-1]
        today = rows[rows["day"] == newest]
        night = (newest + spec.label_delay).date()
        known = labelled(spec, today, {newest.date(): night})[today[target].notna()]
        keep[examples["day"] == newest] = known
    return examples[keep].reset_index(drop=True)


def extract(spec: ModelSpec, rows: pd.DataFrame, wanted: Sequence[pd.Timestamp]) -> pd.DataFrame:
    """Examples of the wanted days, each from what was known before it began."""
    import numpy as np
    import pandas as pd

    from tasks.features.scoring import history_of

    stamps = rows["day"].to_numpy(dtype="datetime64[s]")
    made = []
    for day in wanted:
        edges = np.array([day, day + timedelta(days=1)], dtype="datetime64[s]")
        start, stop = np.searchsorted(stamps, edges)
        today = rows.iloc[start:stop].reset_index(drop=True)
        history = history_of(spec, rows, pd.Timestamp(day))
        requests = spec.problem.requests(today, spec.known_ahead)
        made.append(spec.problem.label(spec.features(requests, history), today))
    return pd.concat(made, ignore_index=True)


def judge(spec: ModelSpec, holdout: pd.DataFrame, scores: dict[str, Any]) -> Evaluation:
    """Every metric of every scorer with an interval by whole days, and paired differences."""
    from tasks.evaluation.evaluate import evaluate

    return evaluate(
        spec.problem,
        holdout,
        scores,
        resamples=spec.gate.resamples,
        confidence=spec.gate.confidence,
        seed=spec.seed,
    )


def open_mlflow(spec: ModelSpec, folder: Path) -> str:
    """An experiment in a fresh SQLite database of MLflow.

    A script that keeps its database pays most of this once, not every night: the seconds are noted
    apart so that they can be taken off.
    """
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    return str(mlflow.create_experiment(spec.name, artifact_location=folder.as_uri()))


def log(
    spec: ModelSpec,
    shipped: Any,
    sample: pd.DataFrame,
    best: str,
    figures: Evaluation,
    experiment: str,
    *,
    usual: bool,
) -> None:
    """Log one run to MLflow, and register the model."""
    import mlflow
    from mlflow.models import infer_signature

    care: dict[str, Any] = {}
    if not usual:
        from importlib.metadata import version

        care["pip_requirements"] = [f"{name}=={version(name)}" for name in LIBRARIES]
        care["signature"] = infer_signature(sample, shipped.predict_proba(sample))
        care["pyfunc_predict_fn"] = "predict_proba"
    with mlflow.start_run(experiment_id=experiment):
        mlflow.log_params({"model": spec.name, "candidate": best, "window": spec.window.days})
        mlflow.log_metrics(
            {
                f"{name}_{metric}{end}": value
                for name, measured in figures.metrics.items()
                for metric, estimate in measured.items()
                for end, value in (
                    ("", estimate.value),
                    ("_low", estimate.low),
                    ("_high", estimate.high),
                )
            }
        )
        mlflow.sklearn.log_model(
            shipped,
            name="model",
            registered_model_name=spec.name,
            serialization_format="skops",
            skops_trusted_types=types_of(shipped),
            **care,
        )


def types_of(estimator: Any) -> list[str]:
    """The types that one's own estimator holds beyond those skops knows."""
    import skops.io

    return list(skops.io.get_untrusted_types(data=skops.io.dumps(estimator)))


if __name__ == "__main__":
    main()
