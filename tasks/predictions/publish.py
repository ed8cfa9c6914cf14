"""Publish the predictions of one night for the app, as a Parquet file and as a SQL table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks import settings
from tasks.predictions.sql_table import PublishError, replace_table, table_name
from tasks.registry import seals
from tasks.shown import counted
from tasks.spec.loading import file_of
from tasks.store import files

if TYPE_CHECKING:
    import pandas as pd


SAME = 10
"""Fewest predictions that are not all the same by chance."""


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
        code: Digest of the code that made it.
        promised: Prediction interval of the live metric of a day (``prediction_interval``).
        moved: Input to its mean absolute effect on these rows, the largest first, where they are
            explained.
        moved_before: The same, the mean of the last nights that were explained.
        own: Partitions of a fleet whose own champions predicted.
        failed_parts: Partitions whose champions could not predict, each with the reason.
    """

    day: date
    version: str | None = None
    rows: int = 0
    fault: str | None = None
    stays: str | None = None
    current: bool = False
    failed: bool = False
    candidate: str | None = None
    code: str | None = None
    promised: dict[str, float] | None = None
    moved: dict[str, float] | None = None
    moved_before: dict[str, float] | None = None
    own: int = 0
    failed_parts: dict[str, str] = field(default_factory=dict)


def to_json(made: Predictions) -> dict[str, Any]:
    """Plain JSON types, for the report."""
    return {**vars(made), "day": made.day.isoformat()}


CURRENT = "current.parquet"
NEXT = "next"
"""Folder of predictions that are made and not published."""
INPUTS = "inputs.parquet"
SHADOW = "shadow.parquet"
"""After the as-of date: what a version that waits predicts beside the champion."""
KEPT = 90
"""Nights whose predictions are kept on disk beyond those whose labels are not final yet."""


def stamped(
    predictions: pd.DataFrame,
    day: date,
    version: str,
    made_at: datetime,
    as_of: date | None = None,
) -> pd.DataFrame:
    """The predictions with columns for the day, the version and the time they were made.

    Args:
        predictions: From ``Problem.answers``.
        day: The day they are for.
        version: Version of the model that gave them.
        made_at: When, UTC.
        as_of: The last day whose data they were made of; None for the day before.
    """
    return predictions.assign(
        day=day,
        as_of=as_of or day - timedelta(days=1),
        version=version,
        made_at=made_at.replace(tzinfo=None),
    )


def why_not_now(as_of: date, last: Mapping[str, Any] | None, usable: bool) -> str | None:
    """Why a night makes no predictions for the app, in words; None where it does.

    Args:
        as_of: The night.
        last: The record of what the app reads now, if anything.
        usable: Whether the data of the as-of date can be used.
    """
    if last and last["as_of"] > as_of.isoformat():
        return f"this is a backfill, those of {last['as_of']} are newer"
    return None if usable else f"the data of {as_of} cannot be used"


def keep(
    model: str,
    as_of: date,
    rows: pd.DataFrame,
    inputs: pd.DataFrame | None,
    previous: pd.DataFrame | None,
    anchor: pd.DataFrame | None = None,
    shadow: pd.DataFrame | None = None,
) -> None:
    """Keep a night's predictions on disk, beside those that the app reads until ``publish``.

    Args:
        model: Name of the model.
        as_of: Its night.
        rows: The champion's predictions, from ``stamped``.
        inputs: What they were made of, for single requests; None leaves none, as none is better
            than those of another version.
        previous: What the champion's predecessor predicts for the same requests, if anything.
        anchor: What the anchor predicts for them, if anything.
        shadow: What a version that waits predicts for them, if anything. The app never reads it.
    """
    folder, names = folder_of(model) / NEXT, _names(as_of)
    for left in folder.glob("*"):  # of a night that was cut off before it published
        if left.name not in names:
            left.unlink()
    for name, frame in zip(names, (rows, inputs, previous, anchor, shadow), strict=True):
        if frame is None:
            (folder / name).unlink(missing_ok=True)
        else:
            files.write_parquet(folder / name, frame)


def recent_predictions(model: str, column: str, nights: int, most: int, seed: int) -> pd.DataFrame:
    """What the app was shown in the last nights: ``prediction`` and the ``day`` it is for; a draw.

    Args:
        model: Name of the model.
        column: The score; nights that have none are of a problem before this one.
        nights: How many nights.
        most: Rows drawn of each.
        seed: Seed of the draw.
    """
    import pandas as pd
    from pyarrow import parquet

    parts = []
    for file in sorted(folder_of(model).glob("????-??-??.parquet"))[-nights:]:
        names = parquet.read_schema(file).names
        if column in names and "day" in names:
            rows = pd.read_parquet(file, columns=[column, "day"])
            parts.append(rows.sample(min(len(rows), most), random_state=seed))
    shown = pd.concat(parts) if parts else pd.DataFrame({"day": [], column: []})
    return shown.rename(columns={column: "prediction"}).astype({"day": "datetime64[s]"})


def moved_before(model: str, as_of: date, nights: int = 28) -> dict[str, float] | None:
    """Mean of what moved the published rows of the nights before; None where none was explained.

    Args:
        model: Name of the model.
        as_of: The night that compares.
        nights: How many of those before it, at most.
    """
    files_before = sorted(folder_of(model).glob("????-??-??.json"))
    known = [file for file in files_before if file.stem < as_of.isoformat()][-nights:]
    found = [moved for file in known if (moved := files.read_json(file).get("moved"))]
    names = dict.fromkeys(name for moved in found for name in moved)
    return {
        name: sum(moved.get(name, 0.0) for moved in found) / len(found) for name in names
    } or None


def forget_old(model: str, label_delay: timedelta) -> None:
    """Remove the predictions of all nights but the newest ``KEPT`` whose labels may be final."""
    for record in sorted(folder_of(model).glob("????-??-??.json"))[: -KEPT - label_delay.days]:
        for old in folder_of(model).glob(f"{record.stem}.*"):
            files.remove(old)


def fault_of(
    predictions: pd.DataFrame,
    keys: Sequence[str],
    column: str,
    before: int | None,
    least: float,
    *,
    naive: bool = False,
) -> str | None:
    """Why these predictions must not be published, as a sentence; None where they may.

    Args:
        predictions: What would be published.
        keys: Columns by which the app looks a prediction up.
        column: The score.
        before: Rows published the last time, if ever.
        least: Share of these below which the predictions are too few.
        naive: Whether they are the baseline's, which may forecast one number for a whole day.
    """
    if absent := [name for name in (*keys, column) if name not in predictions]:
        return (
            f"they have no column {absent[0]!r}, because the champion was made when the model's "
            "problem was another"
        )
    scores = predictions[column].to_numpy(dtype=np.float64)
    broken = int((~np.isfinite(scores)).sum())
    if not len(predictions):
        return "there are no predictions"
    if broken:
        return f"{broken:,} of {len(scores):,} are not finite"
    if not naive and len(scores) >= SAME and (scores == scores[0]).all():
        return f"all {len(scores):,} are the same, {scores[0]:g}"
    if before and len(predictions) < least * before:
        return (
            f"{counted(len(predictions), 'row')}, but {before:,} the last time; expected at least "
            f"{least:.0%} of that (least_answers)"
        )
    twice = int(predictions.duplicated(list(keys)).sum())
    return f"{twice:,} rows have the same {', '.join(keys)} as another" if twice else None


def folder_of(model: str) -> Path:
    """Folder of a model's predictions."""
    return settings.predictions_folder() / model


def last_published(model: str) -> dict[str, Any] | None:
    """The record of what the app reads now: ``as_of``, ``day``, ``version``, ``rows``.

    ``model`` names the model's file where it is now, if it was moved together with the state or the
    project. Where machines share their state it is the model's name in the registry, unless a night
    with the key has signed it: who could write the shared state could name any file, and it is run.
    """
    records = sorted(folder_of(model).glob("????-??-??.json"))
    if not records:
        return None
    record = dict(files.read_json(records[-1]))
    beside, seal = record.pop("beside", ()), record.pop("seal", "")
    if settings.state_url():
        wanted = seals.published_seal(model, str(record.get("model", "")), beside)
        if not seals.is_signed(seal, wanted):
            record["model"], beside = model, ()
    file, partition = file_of(record.get("model", ""))
    moved = [(place / name).resolve() for place, name in zip(_places(), beside, strict=False)]
    if file and not file.is_file() and (there := [each for each in moved if each.is_file()]):
        record["model"] = f"{there[0]}{partition}"
    return record


def _places() -> tuple[Path, Path]:
    """What a model's file may be moved with."""
    return settings.home(), settings.PROJECT


def shows(fleet: str, partition: str, champions: Mapping[str, tuple[str, str]]) -> bool:
    """Whether the app reads of each partition the rows of its champion, or the common model's.

    Args:
        fleet: Name of the fleet.
        partition: Its partition column.
        champions: Partition to model and version of its champion, where it has one.
    """
    import pandas as pd
    from pyarrow import parquet

    file, named = folder_of(fleet) / CURRENT, [partition, "model", "version"]
    if not file.is_file() or not {*named} <= {*parquet.read_schema(file).names}:
        return False
    made = pd.read_parquet(file, columns=named).drop_duplicates()
    return all(
        champions.get(str(value), (fleet, version)) == (model, version)
        for value, model, version in made.itertuples(index=False)
    )


def read_record(file: Path) -> dict[str, Any]:
    """The record of a night, true to the predictions that stand beside it.

    Where the disk failed after they were put there and before their record was written, the record
    is still that of another version. Then the version is theirs, and what that one was expected to
    reach is not known.

    Args:
        file: The record.
    """
    from pyarrow import parquet

    record, answers = dict(files.read_json(file)), file.with_suffix(".parquet")
    if not answers.is_file():
        return record
    with parquet.ParquetFile(answers) as kept:
        if "version" not in kept.schema_arrow.names:
            return record
        named = kept.read(columns=["version"])["version"]
    if not len(named) or str(named[0]) == str(record["version"]):
        return record
    return {**record, "version": str(named[0]), "candidate": None, "promised": None}


def publish(
    model: str, as_of: date, keys: Sequence[str], url: str | None, record: Mapping[str, Any]
) -> None:
    """Put what ``keep`` kept of a night before the app: table, files, pointer and record.

    Where the table cannot be replaced, all of them stay as they are.

    Args:
        model: Name of the model.
        as_of: Its night.
        keys: Columns by which the app looks a prediction up.
        url: Database that keeps a table of them, if any.
        record: What ``last_published`` gives from now on.

    Raises:
        PublishError: Where the database cannot be reached, or the table has other columns or is
            that of another model.
        StoreError: Where the disk is full or read-only.
    """
    import pandas as pd

    folder = folder_of(model)
    made, *others = _names(as_of)
    waiting = folder / NEXT / made
    if url:
        _check_own_table(model)
        rows = pd.read_parquet(waiting if waiting.is_file() else folder / made)
        replace_table(url, table_name(model), rows, keys)
    _share(folder, waiting, folder / NEXT / INPUTS, folder / made, folder / INPUTS)
    if waiting.is_file():
        for name in (*others, made):  # the last one says that all are there
            files.move(folder / NEXT / name, folder / name)
    files.point_to(folder / CURRENT, made)
    file, _ = file_of(record.get("model", ""))
    beside = [os.path.relpath(file, place) for place in _places()] if file else []
    signed = {}
    if named := record.get("model"):
        signed = {"seal": seals.published_seal(model, named, beside)}
    files.write_json(folder / f"{as_of}.json", {**record, "beside": beside, **signed})
    _share(folder / f"{as_of}.json")


def _share(*places: Path) -> None:
    """Let the app's account read these, and enter the folder of all models."""
    settings.check_readers()
    mode, group = settings.readers()
    if mode == 0o600 and group is None:
        return
    for place in (settings.predictions_folder(), *places):
        files.share(place, mode, group)


def _check_own_table(model: str) -> None:
    """Check that no other model publishes in the table of this one: a-b and a_b have the same."""
    table = table_name(model)
    for record in folder_of(model).parent.glob(f"*/{CURRENT}"):
        other = record.parent.name
        if other != model and table_name(other) == table:
            raise PublishError(
                f"The models {other} and {model} would both publish in the table {table}, and each "
                "would replace the rows of the other. Give one of them another name= in its spec; "
                f"where it is gone for good, delete {record.parent}."
            )


def _names(as_of: date) -> tuple[str, ...]:
    """Files of a night: the predictions, their inputs, and those of other versions."""
    return (
        f"{as_of}.parquet",
        INPUTS,
        f"{as_of}.previous.parquet",
        f"{as_of}.anchor.parquet",
        f"{as_of}.{SHADOW}",
    )
