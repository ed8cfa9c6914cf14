"""What the columns of a CSV source are: one type over all of its files, kept once it is found."""

from __future__ import annotations

import hashlib
import logging
import math
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from tasks import settings
from tasks.sources.base import SourceError, SourceOutageError
from tasks.sources.csv_reader import kinds_of
from tasks.sources.tables import with_columns
from tasks.store.files import read_json, write_json
from tasks.store.locks import lock

log = logging.getLogger("nightly")

LOSSLESS = {
    ("int64", "uint64"),
    ("int64", "double"),
    ("uint64", "double"),
    ("date32[day]", "timestamp[s]"),
    ("date32[day]", "timestamp[ns]"),
    ("timestamp[s]", "timestamp[ns]"),
}
"""From which type to which a column may go when a file needs it: every value stays what it is."""
AFTERWARDS = LOSSLESS | {
    ("timestamp[ms]", "timestamp[ns]"),
    ("int64", "string"),
    ("uint64", "string"),
}
"""The same of a part of a file that was split earlier; codes that were read as numbers are text."""


TEXT = ["string"]
Look: TypeAlias = "Callable[[Path, Callable[[str], object]], Sequence[Any]]"


@dataclass
class _Kept:
    """What is known of a source.

    Attributes:
        columns: Column to the types that all of its values have, by name, the narrowest first.
        seen: Identities of the files that were looked at, of those that are still there.
    """

    columns: dict[str, list[str]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)


def kinds(
    source: str, files: Mapping[str, tuple[str, Look]], told: Callable[[str], object]
) -> dict[str, Any]:
    """The type of each column over all files of a source, whichever of them are read.

    A column has the narrowest type that all values have of the files that are there when it is
    first read. A later file can only widen it where that changes no value; one that does not fit
    is refused by name when it is read. It is looked at once, and again when it changes: all of it,
    unless each of its columns is told, or is text already and stays so whatever comes.

    Args:
        source: All that decides how its files are read.
        files: Identity of each file that is there to its name in messages, and to a function that
            reads it as texts, or gives nothing where all of its columns are left out. It gets a
            folder for what need not be in memory, and what is left out.
        told: Whether the type of a column is told and need not be found.

    Returns:
        Column to Arrow type.
    """
    place = _place(source)
    kept = _load(place)
    if not set(files) <= set(kept.seen):
        with lock("columns", wait=math.inf):
            kept = _load(place)
            known, first_text = set(kept.columns), dict[str, str]()
            closed = {name for name in known if kept.columns[name] == TEXT}
            for identity in [each for each in files if each not in kept.seen]:
                what, read = files[identity]
                found = _look(read, lambda name: name in closed or told(name))
                if found is None:
                    continue
                for name, fitting in found.items():
                    if fitting == TEXT == kept.columns.get(name):
                        closed.add(name)  # in two files, so that none is odd
                    _join(kept, (name, fitting), what, known, first_text)
                kept.seen.append(identity)
            for name, what in first_text.items():
                log.warning("columns   %s is text in every file, not only in %s", name, what)
            kept.seen = [identity for identity in kept.seen if identity in files]
            write_json(place, {"columns": kept.columns, "seen": kept.seen})
    arrow = _arrow_types()
    return {name: arrow[fitting[0]] for name, fitting in kept.columns.items()}


def narrower(kind: Any) -> list[Any]:
    """The types in which a day of a column may be stored, the narrowest first; itself is last.

    ``as_kept`` gives such a day back in the type of the column.
    """
    import pyarrow as pa

    small = [each for name, each in _arrow_types().items() if (name, str(kind)) in LOSSLESS]
    return list(dict.fromkeys([pa.null(), *small, kind]))


def as_kept(part: Any, kinds: Mapping[str, Any], names: Collection[str]) -> Any:
    """A stored part of a larger file, split before a later file widened some of these columns."""
    import pyarrow as pa

    made = {}
    for place, (name, column) in enumerate(zip(part.column_names, part.columns, strict=True)):
        kind = _stored(kinds[name]) if name in names and name in kinds else column.type
        if column.null_count == len(column):
            made[place] = pa.chunked_array([pa.nulls(len(column), kind)])
        elif column.type != kind and (str(column.type), str(kind)) in AFTERWARDS:
            made[place] = column.cast(kind)
    return with_columns(part, made)


def _join(
    kept: _Kept,
    column: tuple[str, list[str]],
    what: str,
    known: set[str],
    first_text: dict[str, str],
) -> None:
    """Narrow what a column may be by what it is in one more file."""
    name, fitting = column
    before = kept.columns.get(name, fitting)
    both = [kind for kind in before if kind in fitting]
    old, new = before[0], both[0]
    if name in known and old not in (new, "null") and (old, new) not in LOSSLESS:
        return
    if name in known and old != new:
        log.warning("columns   %s is %s from now on, was %s: so it is in %s", name, new, old, what)
    if name not in known and new == "string" and {old, fitting[0]} - {"string", "null"}:
        first_text.setdefault(name, what)
    kept.columns[name] = both


def _look(read: Look, left_out: Callable[[str], object]) -> dict[str, list[str]] | None:
    """What each column of a file may be; None for a file that cannot be read now."""
    with tempfile.TemporaryDirectory() as spare:
        try:
            texts = read(Path(spare), left_out)
        except SourceOutageError:
            raise
        except SourceError:
            return None
        names = [name for name in texts[0].column_names if not left_out(name)] if texts else []
        return {name: [str(kind) for kind in kinds_of(texts, name)] for name in names}


def _stored(kind: Any) -> Any:
    """A type as Parquet gives it back; dates are times, because another day may have some."""
    import pyarrow as pa

    if pa.types.is_null(kind):
        return pa.int64()
    whole = (pa.date32(), pa.timestamp("s"))
    return (
        pa.timestamp("ms") if kind in whole else pa.time32("ms") if kind == pa.time32("s") else kind
    )


def _place(source: str) -> Path:
    return settings.home() / "columns" / f"{hashlib.sha256(source.encode()).hexdigest()[:24]}.json"


def _load(place: Path) -> _Kept:
    try:
        found = read_json(place)
    except (FileNotFoundError, ValueError):
        return _Kept()
    return _Kept(found["columns"], found["seen"])


def _arrow_types() -> dict[str, Any]:
    import pyarrow as pa

    found = (
        *(pa.null(), pa.int64(), pa.uint64(), pa.bool_(), pa.date32(), pa.time32("s")),
        *(pa.timestamp("s"), pa.timestamp("ns"), pa.float64(), pa.string()),
    )
    return {str(kind): kind for kind in found}
