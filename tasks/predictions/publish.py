"""Publish the predictions of one night for the app, as a Parquet file and as a SQL table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks import settings
from tasks.predictions.sql_table import replace_table, table_name
from tasks.store import files

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Predictions:
    """The predictions of a night for the app.

    Attributes:
        day: The day they are for.
        version: Version that made them; None where there is no champion.
        rows: How many rows.
        fault: Why they must not be published; None where they may.
        stays: As-of date of the predictions the app reads instead, if any.
        current: Whether the app reads these now.
        failed: Whether running the same night again may succeed.
        candidate: Candidate of the version.
        promised: Prediction interval of the live metric of a day (``prediction_interval``).
    """

    day: date
    version: str | None = None
    rows: int = 0
    fault: str | None = None
    stays: str | None = None
    current: bool = False
    failed: bool = False
    candidate: str | None = None
    promised: dict[str, float] | None = None


def to_json(made: Predictions) -> dict[str, Any]:
    """Plain JSON types, for the report."""
    return {**vars(made), "day": made.day.isoformat()}


CURRENT = "current.parquet"
INPUTS = "inputs.parquet"
KEPT = 90
"""Nights whose predictions are kept on disk, because labels may arrive late."""


def stamped(predictions: pd.DataFrame, day: date, version: str, made_at: datetime) -> pd.DataFrame:
    """The predictions with columns for the day, the version and the time they were made.

    Args:
        predictions: From ``Problem.answers``.
        day: The day they are for; they were made as of the day before.
        version: Version of the model that gave them.
        made_at: When, UTC.
    """
    return predictions.assign(
        day=day,
        as_of=day - timedelta(days=1),
        version=version,
        made_at=made_at.replace(tzinfo=None),
    )


def forget_old(model: str) -> None:
    """Remove the predictions of all nights but the newest ``KEPT``."""
    for record in sorted(folder_of(model).glob("????-??-??.json"))[:-KEPT]:
        for old in folder_of(model).glob(f"{record.stem}.*"):
            old.unlink(missing_ok=True)


def fault_of(
    predictions: pd.DataFrame, keys: Sequence[str], column: str, before: int | None, least: float
) -> str | None:
    """Why these predictions must not be published, as a sentence; None where they may.

    Args:
        predictions: What would be published.
        keys: Columns by which the app looks a prediction up.
        column: The score.
        before: Rows published the last time, if ever.
        least: Share of these below which the predictions are too few.
    """
    scores = predictions[column].to_numpy(dtype=np.float64)
    broken = int((~np.isfinite(scores)).sum())
    if not len(predictions):
        return "there are no predictions"
    if broken:
        return f"{broken:,} of {len(scores):,} are not finite"
    if len(scores) > 1 and (scores == scores[0]).all():
        return f"all {len(scores):,} are the same, {scores[0]:g}"
    if before and len(predictions) < least * before:
        return (
            f"{len(predictions):,} rows, but {before:,} the last time; expected at least {least:.0%} "
            "of that"
        )
    twice = int(predictions.duplicated(list(keys)).sum())
    return f"{twice:,} rows have the same {', '.join(keys)} as another" if twice else None


def folder_of(model: str) -> Path:
    """Folder of a model's predictions."""
    return settings.home() / "predictions" / model


def last_published(model: str) -> dict[str, Any] | None:
    """The record of what the app reads now: ``as_of``, ``day``, ``version``, ``rows``."""
    records = sorted(folder_of(model).glob("????-??-??.json"))
    return dict(files.read_json(records[-1])) if records else None


def publish(
    model: str, as_of: date, predictions: pd.DataFrame, keys: Sequence[str], url: str | None
) -> None:
    """Publish the predictions of one night: the table first, then the link to the file.

    Args:
        model: Name of the model.
        as_of: Its night.
        predictions: The predictions, already in the file of that night.
        keys: Columns by which the app looks a prediction up.
        url: Database that keeps a table of them, if any.

    Raises:
        PublishError: Where the database cannot be reached or the table has other columns.
        StoreError: Where the disk is full or read-only.
    """
    if url:
        replace_table(url, table_name(model), predictions, keys)
    files.point_to(folder_of(model) / CURRENT, f"{as_of}.parquet")
