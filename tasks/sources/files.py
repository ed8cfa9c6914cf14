"""Days in files: one file a day, or larger files split into days by a column of times."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tasks.sources import partitions
from tasks.sources.base import SourceError, SourceSettingsError, check_clock, shift_of
from tasks.sources.csv_reader import check_csv_settings, check_types, read_csv
from tasks.sources.locations import check_path, list_files
from tasks.sources.tables import check_names, check_time, join_days, local_times, no_rows, with_day

if TYPE_CHECKING:
    import pandas as pd

    from tasks.sources.locations import File


MAGIC = b"PAR1"


@dataclass(frozen=True)
class _FileDays:
    """What Parquet and CSV sources have in common.

    Attributes:
        path: Folder or file; a relative path starts at the project's root. Or an fsspec URL, such
            as ``s3://bucket/folder``; its package, such as s3fs, has to be installed.
        time: Column of times by which larger files are split into days; None for a folder of one
            file a day.
        day_start: When a day of larger files begins, ``HH:MM``.
        timezone: Time zone of their days. Times without a zone are local times of this zone.
    """

    path: str
    time: str | None = None
    day_start: str = "00:00"
    timezone: str = "UTC"

    _kind: ClassVar[str]
    _ending: ClassVar[str]

    def __post_init__(self) -> None:
        kind = type(self).__name__
        check_path(kind, self.path)
        check_clock(kind, self.day_start, self.timezone)
        if self.time is not None and not (isinstance(self.time, str) and self.time):
            raise SourceSettingsError(
                f"{kind}: found time={self.time!r}; expected the name of a column."
            )
        if self.time is None and self.day_start != "00:00":
            raise SourceSettingsError(
                f"{kind}: found day_start={self.day_start!r} without time=; expected both or "
                "neither. Without time=, a file's name says which day it holds, and day_start= "
                "has no effect."
            )

    def list_days(self, until: date) -> dict[date, str]:
        """Days up to ``until`` with a fingerprint, ascending.

        The fingerprint is the SHA-256 of the day's file; for a remote file, of the checksum that
        its store reports; for larger files, of the day's rows. A larger file is split again only
        when its size or modification time changed. Names that begin with a dot or an underscore, or
        end with ``.tmp`` or ``.part``, are files still being written and skipped.

        Raises:
            SourceError: Where there is no file, a file name is not a day, or a file is incomplete.
        """
        if self.time:
            parts = self._cut_days()
            found = {day: _together(files) for day, files in parts.items() if day <= until}
        else:
            files = self._day_files()
            found = {day: self._fingerprint(file) for day, file in files.items() if day <= until}
        return dict(sorted(found.items()))

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        """Rows of these days, one below the other; a day of no row adds none.

        A stored index is left out; dates come as ``datetime64``, and so do the times of ``time``,
        as local times of ``timezone`` without a zone.

        Raises:
            ColumnsError: Where a column's type differs from that of the first day that has rows.
            SourceError: Where a file is missing or broken.
        """
        if not days:
            return no_rows()
        parts = self._read_cut(days) if self.time else self._read_files(days)
        return self._join([(what, with_day(table, day, what)) for day, what, table in parts])

    def _join(self, tables: Sequence[tuple[str, Any]]) -> pd.DataFrame:
        return join_days(tables)

    def _read(self, file: Path, what: str) -> Any:
        raise NotImplementedError

    def _check_whole(self, content: bytes, what: str) -> None:
        raise NotImplementedError

    def _recipe(self) -> str:
        known = {name: value for name, value in vars(self).items() if value != {}}
        fields = [f"{name}={value}" for name, value in sorted(known.items())]
        return "\n".join([type(self).__name__, *fields])

    def _day_files(self) -> dict[date, File]:
        expected = f"a folder of one {self._kind} file a day"
        files: dict[date, File] = {}
        for name, file in list_files(self.path, expected).items():
            day = self._day_of(name)
            if file is None:
                raise SourceError(
                    f"{self.path}/{name}: found a folder; expected one {self._kind} file for {day}."
                )
            if day in files:
                raise SourceError(
                    f"{self.path}: found {files[day].name} and {name}; expected one file for "
                    f"{day}. Keep one of them."
                )
            files[day] = file
        if not files:
            raise SourceError(
                f"{self.path}: found no file of a day; expected files such as "
                f"2026-11-21{self._ending}. Put one {self._kind} file a day there."
            )
        return files

    def _day_of(self, name: str) -> date:
        named = re.fullmatch(
            rf"(?:day=)?(\d{{4}}-\d{{2}}-\d{{2}}){re.escape(self._ending)}(\.gz)?", name
        )
        try:
            return date.fromisoformat(named[1] if named else "")
        except ValueError:
            alone = self._is(name)
            where = self.path if alone else f"{self.path}/{name}"
            kind = SourceSettingsError if alone else SourceError
            raise kind(
                f"{where}: found a file name that is not a day; expected one such as "
                f"2026-11-21{self._ending}. Rename it, or move it out of the folder. For files of "
                "many days, name their column of times with time=."
            ) from None

    def _is(self, name: str) -> bool:
        """Whether the path names one file, not a folder."""
        return self.path == name or self.path.endswith(f"/{name}")

    def _fingerprint(self, file: File) -> str:
        if file.system:
            return file.identity
        content = file.content()
        self._check_whole(content, file.path)
        return hashlib.sha256(content).hexdigest()

    def _read_files(self, days: Sequence[date]) -> list[tuple[date, str, Any]]:
        files = self._day_files()
        absent = [day for day in days if day not in files]
        if absent:
            raise SourceError(
                f"{self.path}: found no file for {absent[0]}; expected "
                f"{absent[0]}{self._ending}. Deliver it."
            )
        with tempfile.TemporaryDirectory() as folder:
            return [
                (day, files[day].path, self._read_one(files[day], Path(folder))) for day in days
            ]

    def _read_one(self, file: File, folder: Path) -> Any:
        with file.local(folder) as local:
            table = self._read(local, file.path)
        check_names(table.column_names, file.path)
        return table

    def _cut_days(self) -> dict[date, list[Path]]:
        """Day to its parts, one for each larger file that has rows of that day."""
        found: dict[date, list[Path]] = {}
        files = list_files(self.path, f"a {self._kind} file, or a folder of them")
        if not files:
            raise SourceError(f"{self.path}: found no file; expected one of {self._kind}.")
        for name, file in files.items():
            if file is None or not (self._ending in name or self._is(name)):
                raise SourceError(
                    f"{self.path}/{name}: found {'a file' if file else 'a folder'} of that name; "
                    f"expected only files such as orders{self._ending}. Move it out of the folder."
                )
            for part in self._cut(file).glob("day=*.parquet"):
                found.setdefault(date.fromisoformat(part.stem[4:]), []).append(part)
        return found

    def _cut(self, file: File) -> Path:
        stem = re.sub(r"[^\w-]", "_", file.name.partition(".")[0])[:60]
        prefix = f"{stem}-{_short(file.path, self._recipe())}-"

        def make(folder: Path) -> None:
            table = self._read_one(file, folder)
            what, time = file.path, str(self.time)
            check_time(table.column_names, time, what)
            if not len(table):
                raise SourceError(f"{what}: found no row below the header; expected rows.")
            times = local_times(table[time], what, time, self.timezone)
            column = table.column_names.index(time)
            table = table.set_column(column, time, _as_arrow(times))
            partitions.write_days(table, times, shift_of(self.day_start), folder)

        place = partitions.made_once(f"{prefix}{_short(file.identity)}", file.path, make)
        partitions.forget_older(place, prefix)
        return place

    def _read_cut(self, days: Sequence[date]) -> list[tuple[date, str, Any]]:
        found = self._cut_days()
        absent = [day for day in days if day not in found]
        if absent:
            raise SourceError(
                f"{self.path}: found no row of {absent[0]}; expected rows of that day, which was "
                "listed before."
            )
        return [(day, str(part), _read_part(part)) for day in days for part in found[day]]


@dataclass(frozen=True)
class ParquetDays(_FileDays):
    """Parquet: a folder with one file a day, ``2026-11-21.parquet`` or ``day=2026-11-21.parquet``.

    With ``time``, one larger file or a folder of them, split into days by that column.

    Attributes:
        path: Folder or file; a relative path starts at the project's root. Or an fsspec URL, such
            as ``s3://bucket/folder``; its package, such as s3fs, has to be installed.
        time: Column of times by which larger files are split into days.
        day_start: When a day of larger files begins, ``HH:MM``.
        timezone: Time zone of their days. Times without a zone are local times of this zone.
    """

    _kind = "Parquet"
    _ending = ".parquet"

    def _read(self, file: Path, what: str) -> Any:
        return _read_parquet(file, what)

    def _check_whole(self, content: bytes, what: str) -> None:
        if len(content) < 12 or not (content.startswith(MAGIC) and content.endswith(MAGIC)):
            raise _broken(what, f"{len(content):,} bytes that do not begin and end with PAR1")


@dataclass(frozen=True)
class CsvDays(_FileDays):
    """CSV, gzipped or not: a folder with one file a day, ``2026-11-21.csv`` or ``….csv.gz``.

    With ``time``, one larger file or a folder of them, split into days by that column. The first
    row is the header. Empty cells are missing, and so are NA, NaN, NULL and the like unless quoted.
    A column has the type that ``types`` or else the model's contract names; where they name none,
    it is found by looking at all values of a file, and joined over days. A number that begins with
    a zero, such as ``00042``, is a code and stays text.

    Attributes:
        path: As for ``ParquetDays``.
        time: Column of times by which larger files are split into days.
        day_start: When a day of larger files begins, ``HH:MM``.
        timezone: Time zone of their days. Times without a zone are local times of this zone.
        delimiter: The character between two values.
        encoding: Encoding of the text.
        types: Columns to ``"str"``, ``"int"``, ``"float"``, ``"bool"`` or ``"time"``, such as
            ``{"zip": "str"}``; a value that is none of its type is left to the contract.
        declared: The same from the model's contract; its spec fills it in.
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    types: Mapping[str, str] = field(default_factory=dict, hash=False)
    declared: Mapping[str, str] = field(default_factory=dict, hash=False)

    _kind = "CSV"
    _ending = ".csv"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_csv_settings(self.delimiter, self.encoding)
        check_types(self.types)

    def with_types(self, declared: Mapping[str, str]) -> CsvDays:
        """The same days, their columns read as a contract declares them."""
        return replace(self, declared=dict(declared))

    def _read(self, file: Path, what: str) -> Any:
        types = {**self.declared, **self.types}
        table = read_csv(file, what, self.delimiter, self.encoding, types)
        if absent := [name for name in self.types if name not in table.column_names]:
            raise SourceSettingsError(
                f"{what}: found no column {absent[0]!r}, which types= names; expected one of "
                f"{', '.join(table.column_names)}. Correct types= in the model's source."
            )
        return table

    def _join(self, tables: Sequence[tuple[str, Any]]) -> pd.DataFrame:
        return join_days(tables, texts={**self.declared, **self.types})

    def _check_whole(self, content: bytes, what: str) -> None:
        if not content:
            raise SourceError(
                f"{what}: found 0 bytes; expected a complete CSV file. It is still being written "
                "or was truncated: deliver it again, under a name that begins with _ until it is "
                "complete."
            )


def _read_parquet(file: Path, what: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            return opened.read(use_threads=False)
    except (OSError, pa.ArrowException) as error:
        said = str(error).splitlines()[0].rstrip(".")
        raise _broken(what, f"nothing that can be read ({said})") from error


def _as_arrow(times: pd.Series[Any]) -> Any:
    import pyarrow as pa

    return pa.array(times)


def _broken(what: str, found: str) -> SourceError:
    return SourceError(
        f"{what}: found {found}; expected a complete Parquet file. It is still being written or "
        "was truncated: deliver it again, under a name that begins with _ until it is complete."
    )


def _read_part(part: Path) -> Any:
    try:
        return _read_parquet(part, str(part))
    except SourceError as error:
        raise SourceError(
            f"{error} This part was split from a larger file: delete {part.parent}, and the "
            "next night makes it again."
        ) from error


def _together(parts: Sequence[Path]) -> str:
    """One digest of the rows of a day, independent of the names of their files."""
    marks = sorted(hashlib.sha256(part.read_bytes()).hexdigest() for part in parts)
    return marks[0] if len(marks) == 1 else hashlib.sha256("\n".join(marks).encode()).hexdigest()


def _short(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
