"""What a version predicts beside the champion, in files of its own, and how both did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import JudgementError
from tasks.evaluation.evaluate import evaluate
from tasks.predictions import publish
from tasks.store import frames

if TYPE_CHECKING:
    from tasks.evaluation.estimates import Evaluation
    from tasks.spec.model_spec import ModelSpec


SHADOW, CHAMPION = "shadow", "champion"
"""Names of the two in a comparison."""


def file_of(model: str, as_of: str) -> Path:
    """The file with what a version predicted in the shadow on a night, if one did."""
    return publish.folder_of(model) / f"{as_of}.{publish.SHADOW}"


def count_nights(model: str, version: str, until: date) -> int:
    """On how many nights a version has predicted in the shadow.

    Args:
        model: Name of the model.
        version: The version.
        until: Nights up to this as-of date count.
    """
    files = publish.folder_of(model).glob(f"????-??-??.{publish.SHADOW}")
    own = (file for file in files if _version_of(file) == version)
    return sum(file.name[:10] <= until.isoformat() for file in own)


def graded_days(
    records: Sequence[Mapping[str, Any]], version: str, champion: str | None, metric: str
) -> list[Mapping[str, Any]]:
    """Graded days on which both a champion and a version in its shadow have the metric.

    Args:
        records: Graded days (``live_days.past_days``).
        version: The version in the shadow.
        champion: The champion beside it.
        metric: The primary metric.
    """
    return [
        day
        for day in records
        if (day["version"], day.get("shadow_version")) == (champion, version)
        and metric in day["metrics"]
        and metric in day["shadow"]
    ]


def compare(
    spec: ModelSpec, graded: Sequence[Mapping[str, Any]], happened: Mapping[date, frames.Ref]
) -> Evaluation | None:
    """The version in the shadow and the champion on the same graded rows, with their interval.

    Args:
        spec: The model.
        graded: From ``graded_days``.
        happened: Clean rows by day; a day without them, or without both predictions, does not
            count.

    Returns:
        ``shadow`` and ``champion`` as a night's holdout is evaluated, by the primary metric; None
        where the days do not allow it.
    """
    import numpy as np
    import pandas as pd

    problem, matched = spec.problem, []
    for record in graded:
        day, as_of = date.fromisoformat(record["day"]), record["as_of"]
        shown, dark = publish.folder_of(spec.name) / f"{as_of}.parquet", file_of(spec.name, as_of)
        if day in happened and shown.is_file() and dark.is_file():
            answered = {CHAMPION: pd.read_parquet(shown), SHADOW: pd.read_parquet(dark)}
            examples, scores, _ = problem.match(answered, frames.read_days([happened[day]]))
            matched.append((examples, scores))
    if not matched:
        return None
    scores = {n: np.concatenate([each[n] for _, each in matched]) for n in (SHADOW, CHAMPION)}
    try:
        return evaluate(
            problem,
            pd.concat([examples for examples, _ in matched], ignore_index=True),
            scores,
            resamples=spec.gate.resamples,
            confidence=spec.gate.confidence,
            seed=spec.seed,
            names=(problem.primary,),
        )
    except JudgementError:
        return None


def _version_of(file: Path) -> str | None:
    from pyarrow import parquet

    named = parquet.read_table(file, columns=["version"])["version"]
    return str(named[0]) if len(named) else None
