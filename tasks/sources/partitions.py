"""Large tables split into days, once, under the state directory."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tasks import settings
from tasks.sources.base import SourceError
from tasks.store.files import FAILED, DiskError, unwritable
from tasks.store.locks import lock

if TYPE_CHECKING:
    import pandas as pd


DAY = 24 * 3600.0
SPARE = ".spare"
"""Folder of what is written only while days are split."""


def made_once(name: str, what: str, make: Callable[[Path], None]) -> Path:
    """A folder under the state directory, made if it does not exist: completely or not at all.

    Args:
        name: Name of the folder; it encodes everything that decides its content.
        what: Whose days it holds, for messages.
        make: Fills an empty folder.

    Raises:
        DiskError: Where the disk is full or fails.
        SourceError: Where the folder cannot be written for another reason.
    """
    place = settings.home() / "data" / name
    if place.is_dir():
        _note_use(place)
        return place
    with lock("data", wait=math.inf):
        if not place.is_dir():
            half_made = place.parent / f".{place.name}"
            try:
                for leftover in place.parent.glob(".*/"):
                    shutil.rmtree(leftover)
                half_made.mkdir(mode=0o700, parents=True)
                make(half_made)
                half_made.rename(place)
            except BaseException as error:
                shutil.rmtree(half_made, ignore_errors=True)
                if not isinstance(error, OSError):
                    raise
                kind = DiskError if error.errno in FAILED else SourceError
                raise kind(f"The days of {what}: {unwritable(place, error)}") from error
    return place


def _note_use(place: Path) -> None:
    """Let the clean-up know, once a day, that the folder is in use."""
    with suppress(OSError):  # a read-only disk, or removed meanwhile
        if time.time() - place.stat().st_mtime > DAY:
            os.utime(place)


def forget_older(place: Path, prefix: str) -> None:
    """Remove older folders of this prefix except one, which another night may still read."""
    found = [other for other in place.parent.glob(f"{prefix}*/") if other != place]
    for old in sorted(found, key=lambda other: other.stat().st_mtime)[:-1]:
        shutil.rmtree(old, ignore_errors=True)


def write_days(
    parts: Sequence[Any],
    times: pd.Series[Any],
    shift: timedelta,
    folder: Path,
    typed: Callable[[Any], Any] = lambda rows: rows,
) -> None:
    """Write the rows of each day as ``day=2026-11-21.parquet``, in their order.

    A file depends only on the rows of its day: its bytes are the same whatever other days do.

    Args:
        parts: Arrow tables of all rows, of one schema.
        times: Local time of each row, without a zone.
        shift: How long after midnight a day begins.
        folder: An empty folder.
        typed: Gives the rows of one day their types.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    stamps = (times - shift).to_numpy().astype("datetime64[D]")
    found: dict[Any, list[Any]] = {}
    first = 0
    for part in parts:
        own = stamps[first : first + len(part)]
        first += len(part)
        rows = part.replace_schema_metadata()
        order = np.argsort(own, kind="stable")
        if not (own[:-1] <= own[1:]).all():
            rows = rows.take(pa.array(order))
            rows = spilled(rows, folder / SPARE) if len(parts) > 1 else rows
        unique, starts = np.unique(own[order], return_index=True)
        for day, start, stop in zip(unique, starts, [*starts[1:], len(rows)], strict=True):
            found.setdefault(day, []).append(rows.slice(start, stop - start))
    for day in sorted(found):
        pq.write_table(
            _with_plain_texts(_alone(typed(pa.concat_tables(found.pop(day))))),
            folder / f"day={day}.parquet",
            compression="lz4",
            write_statistics=False,
        )
    shutil.rmtree(folder / SPARE, ignore_errors=True)


def spilled(table: Any, folder: Path) -> Any:
    """The same table, its rows in a file of this folder and no longer in memory."""
    import pyarrow as pa

    folder.mkdir(exist_ok=True)
    file = folder / f"{uuid4().hex}.arrow"
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def _alone(rows: Any) -> Any:
    """The rows in one chunk, with only the categories that occur in them."""
    import pyarrow as pa

    rows = rows.combine_chunks()
    for place, field in enumerate(rows.schema):
        if pa.types.is_dictionary(field.type) and not field.type.ordered:
            used = rows.column(place).cast(field.type.value_type).dictionary_encode()
            rows = rows.set_column(place, field.name, used)
    return rows


def _with_plain_texts(rows: Any) -> Any:
    """Text columns with 32-bit offsets, so that every writer version gives the same bytes."""
    import pyarrow as pa

    if rows.nbytes >= 2**31:  # more than short offsets can count
        return rows
    kinds = {pa.large_string(): pa.string(), pa.large_binary(): pa.binary()}
    if not any(field.type in kinds for field in rows.schema):
        return rows
    plain = [field.with_type(kinds.get(field.type, field.type)) for field in rows.schema]
    return rows.cast(pa.schema(plain))
