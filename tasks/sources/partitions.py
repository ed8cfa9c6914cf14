"""Large tables split into days, once, under the state directory."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import settings
from tasks.sources.base import SourceError
from tasks.store.locks import lock

if TYPE_CHECKING:
    import pandas as pd


def made_once(name: str, what: str, make: Callable[[Path], None]) -> Path:
    """A folder under the state directory, made if it does not exist: completely or not at all.

    Args:
        name: Name of the folder; it encodes everything that decides its content.
        what: Whose days it holds, for messages.
        make: Fills an empty folder.

    Raises:
        SourceError: Where the disk is full or read-only.
    """
    place = settings.home() / "data" / name
    if place.is_dir():
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
            except OSError as error:
                raise SourceError(
                    f"{place}: the days of {what} cannot be written: {error.strerror or error}."
                    " Make room, or set NIGHTLY_HOME to a directory that you may write."
                ) from error
    return place


def forget_older(place: Path, prefix: str) -> None:
    """Remove older folders of this prefix except one, which another night may still read."""
    found = [other for other in place.parent.glob(f"{prefix}*/") if other != place]
    for old in sorted(found, key=lambda other: other.stat().st_mtime)[:-1]:
        shutil.rmtree(old, ignore_errors=True)


def write_days(table: Any, times: pd.Series[Any], shift: timedelta, folder: Path) -> None:
    """Write the rows of each day as ``day=2026-11-21.parquet``, in their order.

    A file depends only on the rows of its day: its bytes are the same whatever other days do.

    Args:
        table: Arrow table of all rows.
        times: Local time of each row, without a zone.
        shift: How long after midnight a day begins.
        folder: An empty folder.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    stamps = (times - shift).to_numpy().astype("datetime64[D]")
    order = np.argsort(stamps, kind="stable")
    rows = table.replace_schema_metadata()
    if not (stamps[:-1] <= stamps[1:]).all():
        rows = rows.take(pa.array(order))
    unique, starts = np.unique(stamps[order], return_index=True)
    for day, start, stop in zip(unique, starts, [*starts[1:], len(rows)], strict=True):
        pq.write_table(
            _with_plain_texts(_alone(rows.slice(start, stop - start))),
            folder / f"day={day}.parquet",
            compression="lz4",
            write_statistics=False,
        )


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
    plain = [field.with_type(kinds.get(field.type, field.type)) for field in rows.schema]
    return rows.cast(pa.schema(plain))
