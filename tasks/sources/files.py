"""Days in files: one file a day, or larger files split into days by a column of times."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from tasks.sources import csv_columns, partitions
from tasks.sources.base import SourceError, SourceSettingsError, check_clock, shift_of
from tasks.sources.csv_reader import (
    SOME,
    check_csv_settings,
    check_types,
    day_to_types,
    first_values,
    in_seconds,
    read_names,
    read_texts,
    to_types,
    type_of,
)
from tasks.sources.locations import check_path, list_files
from tasks.sources.tables import (
    OWN_DAY,
    check_names,
    check_time,
    join_days,
    local_times,
    no_rows,
    with_day,
    with_offset,
)
from tasks.store.files import disk_fault

if TYPE_CHECKING:
    import pandas as pd

    from tasks.sources.locations import File


Reader: TypeAlias = "Callable[[File, Path, Path | None], list[Any]]"
"""Reads a file from a local path, with a folder for what need not be in memory."""
MAGIC = b"PAR1"
PARTITION = re.compile(r"\w+=(.+)")
"""Name of a folder in the layout of Hive, ``day=2026-11-21``."""


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
        time_format: How texts in ``time`` are written where that is not ISO 8601, such as
            ``"%d-%m-%Y"``.
    """

    path: str
    time: str | None = None
    day_start: str = "00:00"
    timezone: str = "UTC"
    time_format: str | None = field(default=None, kw_only=True)

    _kind: ClassVar[str]
    _ending: ClassVar[str]
    _packed: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        kind = type(self).__name__
        check_path(kind, self.path)
        check_clock(kind, self.day_start, self.timezone)
        if self.time is not None and not (isinstance(self.time, str) and self.time):
            raise SourceSettingsError(
                f"{kind}: found time={self.time!r}; expected the name of a column."
            )
        form = self.time_format
        if form is not None and not (self.time and isinstance(form, str) and "%" in form):
            raise SourceSettingsError(
                f"{kind}: found time_format={form!r}; expected, beside time=, how its texts are "
                "written, such as '%d-%m-%Y' or '%d.%m.%Y %H:%M'."
            )
        if self.time is None and self.day_start != "00:00":
            raise SourceSettingsError(
                f"{kind}: found day_start={self.day_start!r} without time=; expected both or "
                "neither. Without time=, a file's name says which day it holds, and day_start= "
                "has no effect."
            )

    def list_days(self, until: date) -> dict[date, str]:
        """Days up to ``until`` with a fingerprint, ascending.

        The fingerprint is the SHA-256 of the day's file or files; for a remote file, of the
        checksum that its store reports; for larger files, of the day's rows. A larger file is split
        again only when its size or the time of its last change differs. Which names are skipped,
        ``tasks.sources.locations.list_files`` says.

        Raises:
            SourceError: Where there is no file, a file name is not a day, or a file is incomplete.
        """
        if self.time:
            parts = self._cut_days(self._larger_files())
            found = {day: _together(files) for day, files in parts.items() if day <= until}
        else:
            files = self._day_files()
            found = {day: self._fingerprint(parts) for day, parts in files.items() if day <= until}
        return dict(sorted(found.items()))

    def names_zone(self) -> bool:
        """Whether the first times of the newest larger file name a time zone.

        Raises:
            SourceError: Where the file cannot be read.
        """
        import pandas as pd

        if self.time is None:
            return False
        file = self._larger_files()[-1]
        with tempfile.TemporaryDirectory() as folder, file.local(Path(folder)) as local:
            times = pd.Series(self._first_times(local, file.shown)).dropna()
        return isinstance(times.dtype, pd.DatetimeTZDtype) or bool(
            len(times) and times.dtype == "str" and with_offset(times).all()
        )

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
        return self._join([(what, table) for _, what, table in self._read(days)])

    def own_columns(self, days: Sequence[date]) -> dict[date, set[str]]:
        """Columns of the rows of each of these days, as read alone. Raises as ``read_days``."""
        found: dict[date, set[str]] = {day: set() for day in days}
        for day, _, table in self._read(days):
            found[day] |= {*table.column_names}
        return found

    def _read(self, days: Sequence[date]) -> list[tuple[date, str, Any]]:
        parts = self._read_cut(days) if self.time else self._read_files(days)
        return [(day, what, with_day(table, day, what)) for day, what, table in parts]

    def _join(self, tables: Sequence[tuple[str, Any]]) -> pd.DataFrame:
        return join_days(tables)

    def _reader(self, files: Sequence[File]) -> Reader:
        """What reads one of these files, as tables of one schema."""
        raise NotImplementedError

    def _timed_reader(self, files: Sequence[File]) -> Reader:
        """The same of a larger file; ``_day_types`` gives the rows of a day their types."""
        return self._reader(files)

    def _day_types(self, files: Sequence[File]) -> Callable[[Any], Any]:  # noqa: ARG002
        return lambda rows: rows

    def _as_other_parts(self, parts: Sequence[Any], files: Sequence[File]) -> Sequence[Any]:  # noqa: ARG002
        """Parts of larger files in the types that they have in all of these files."""
        return parts

    def _first_times(self, local: Path, what: str) -> Any:
        """Some values of ``time`` in a file, as they are there."""
        raise NotImplementedError

    def _check_whole(self, content: bytes, what: str) -> None:
        raise NotImplementedError

    def _recipe(self) -> str:
        known = {name: value for name, value in vars(self).items() if value != {}}
        if self.time_format is None:  # as before there was one
            del known["time_format"]
        fields = [f"{name}={value}" for name, value in sorted(known.items())]
        return "\n".join([type(self).__name__, *fields])

    def _day_files(self) -> dict[date, list[File]]:
        """Day to its file, or to the files of its folder in the layout of Hive."""
        expected = f"a folder of one {self._kind} file a day"
        files: dict[date, list[File]] = {}
        for name, file in list_files(self.path, expected).items():
            day = self._day_of(name) if file else self._day_of_folder(name)
            if day in files:
                raise SourceError(
                    f"{self.path}: found {files[day][0].name} and {name}; "
                    f"expected one file for {day}, or one folder. Keep one of them."
                )
            if parts := [file] if file else self._parts_of(f"{self.path}/{name}"):
                files[day] = parts
        if not files:
            raise SourceError(
                f"{self.path}: found no file of a day; expected files such as "
                f"2026-11-21{self._ending}. Put one {self._kind} file a day there."
            )
        return files

    def _day_of_folder(self, name: str) -> date:
        partition = PARTITION.fullmatch(name)
        try:
            return date.fromisoformat(partition[1] if partition else "")
        except ValueError:
            raise SourceSettingsError(
                f"{self.path}/{name}: found a folder that is not a day; expected "
                f"2026-11-21{self._ending}, or a folder day=2026-11-21 of such files. For files of "
                "many days, name their column of times with time=."
            ) from None

    def _parts_of(self, folder: str) -> list[File]:
        """The files of a partition; none where it was begun and not finished."""
        files = list_files(folder, f"{self._kind} files")
        parts = [file for name, file in files.items() if file and self._is_data(name)]
        if odd := [name for name, file in files.items() if not (file and self._is_data(name))]:
            raise SourceError(
                f"{folder}/{odd[0]}: expected only files such as part-0{self._ending} in this "
                "folder. Move it out."
            )
        return parts

    def _is_data(self, name: str) -> bool:
        return name.endswith(tuple(self._ending + packed for packed in ("", *self._packed)))

    def _day_of(self, name: str) -> date:
        endings = "|".join(re.escape(self._ending + packed) for packed in ("", *self._packed))
        named = re.fullmatch(rf"(?:day=)?(\d{{4}}-\d{{2}}-\d{{2}})(?:{endings})", name)
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
        return self.path == name or self.path.partition("?")[0].endswith(f"/{name}")

    def _fingerprint(self, parts: Sequence[File]) -> str:
        """One mark of the content of a day's files, independent of their names."""
        marks = sorted(map(self._mark, parts))
        return (
            marks[0] if len(marks) == 1 else hashlib.sha256("\n".join(marks).encode()).hexdigest()
        )

    def _mark(self, file: File) -> str:
        if file.system:
            return file.identity
        content = file.content()
        self._check_whole(content, file.shown)
        return hashlib.sha256(content).hexdigest()

    def _read_files(self, days: Sequence[date]) -> list[tuple[date, str, Any]]:
        files = self._day_files()
        absent = [day for day in days if day not in files]
        if absent:
            raise SourceError(
                f"{self.path}: found no file for {absent[0]}; expected "
                f"{absent[0]}{self._ending}. Deliver it."
            )
        read = self._reader([part for parts in files.values() for part in parts])
        with tempfile.TemporaryDirectory() as folder:
            return [
                (day, part.shown, _read_one(part, read, Path(folder)))
                for day in days
                for part in files[day]
            ]

    def _cut_days(self, files: Sequence[File]) -> dict[date, list[Path]]:
        """Day to its parts, one for each larger file that has rows of that day."""
        found: dict[date, list[Path]] = {}
        read, typed = self._timed_reader(files), self._day_types(files)
        for file in files:
            for part in self._cut(file, read, typed).glob("day=*.parquet"):
                found.setdefault(date.fromisoformat(part.stem[4:]), []).append(part)
        return found

    def _larger_files(self) -> list[File]:
        files = list_files(self.path, f"a {self._kind} file, or a folder of them")
        if not files:
            raise SourceError(f"{self.path}: found no file; expected one of {self._kind}.")
        found: list[File] = []
        for name, file in files.items():
            if file is None and PARTITION.fullmatch(name):
                found += self._parts_of(f"{self.path}/{name}")
            elif file is None or not (self._is_data(name) or self._is(name)):
                raise SourceError(
                    f"{self.path}/{name}: found {'a file' if file else 'a folder'} of that name; "
                    f"expected only files such as orders{self._ending}, or folders such as "
                    "day=2026-11-21 of them. Move it out of the folder."
                )
            else:
                found.append(file)
        return found

    def _cut(self, file: File, read: Reader, typed: Callable[[Any], Any]) -> Path:
        stem = re.sub(r"[^\w-]", "_", file.name.partition(".")[0])[:60]
        prefix = f"{stem}-{_short(file.shown, self._recipe())}-"

        def make(folder: Path) -> None:
            with (
                tempfile.TemporaryDirectory(dir=folder) as spare,
                file.local(Path(spare)) as local,
            ):
                parts = read(file, local, Path(spare))
                what, time = file.shown, str(self.time)
                check_names(parts[0].column_names, what)
                check_time(parts[0].column_names, time, what)
                if not any(map(len, parts)):
                    raise SourceError(f"{what}: found no row below the header; expected rows.")
                times = local_times(
                    _column(parts, time), what, time, self.timezone, self.time_format
                )
                timed = [_with_times(part, time, some) for part, some in _shared(parts, times)]
                partitions.write_days(timed, times, shift_of(self.day_start), folder, typed)

        place = partitions.made_once(f"{prefix}{_short(file.identity)}", file.shown, make)
        partitions.forget_older(place, prefix)
        return place

    def _read_cut(self, days: Sequence[date]) -> list[tuple[date, str, Any]]:
        files = self._larger_files()
        found = self._cut_days(files)
        absent = [day for day in days if day not in found]
        if absent:
            raise SourceError(
                f"{self.path}: found no row of {absent[0]}; expected rows of that day, which was "
                "listed before."
            )
        places = [(day, part) for day in days for part in found[day]]
        parts = self._as_other_parts([_read_part(part) for _, part in places], files)
        return [(day, str(p), table) for (day, p), table in zip(places, parts, strict=True)]


@dataclass(frozen=True)
class ParquetDays(_FileDays):
    """Parquet: a folder with one file a day, ``2026-11-21.parquet`` or ``day=2026-11-21.parquet``.

    A day may be a folder of several files, ``day=2026-11-21/part-0.parquet``. A column ``day`` that
    is no date, such as the day of a month, is ``day_`` in the rows. With ``time``, one
    larger file or a folder of them, split into days by that column.

    Attributes:
        path: Folder or file; a relative path starts at the project's root. Or an fsspec URL, such
            as ``s3://bucket/folder``; its package, such as s3fs, has to be installed.
        time: Column of times by which larger files are split into days.
        day_start: When a day of larger files begins, ``HH:MM``.
        timezone: Time zone of their days. Times without a zone are local times of this zone.
        time_format: How texts in ``time`` are written where that is not ISO 8601, such as
            ``"%d-%m-%Y"``.
    """

    _kind = "Parquet"
    _ending = ".parquet"

    def _reader(self, files: Sequence[File]) -> Reader:  # noqa: ARG002
        return lambda file, local, _: [_read_parquet(local, file.shown)]

    def _first_times(self, local: Path, what: str) -> Any:
        table = _read_parquet(local, what, [str(self.time)])
        return table.column(0).slice(0, SOME).to_pandas()

    def _check_whole(self, content: bytes, what: str) -> None:
        if len(content) < 12 or not (content.startswith(MAGIC) and content.endswith(MAGIC)):
            raise _broken(what, f"{len(content):,} bytes that do not begin and end with PAR1")


@dataclass(frozen=True)
class CsvDays(_FileDays):
    """CSV: a folder with one file a day, ``2026-11-21.csv``, or a folder ``day=2026-11-21`` each.

    It may be packed: ``.csv.gz``, ``.csv.bz2``, ``.csv.xz`` or ``.csv.zst``. With ``time``, one
    larger file or a folder of them, split into days by that column.

    The first row is the header. Empty cells are missing, and so are NA, NaN, NULL and the like
    unless quoted, and in a file of one column an empty line. A column has the type that ``types``
    or else the model's contract names. Where they name none, it is the narrowest that all values
    have of all files that are there when the source is first read, and it is kept: a later file may
    only widen it where that changes no value, and one that does not fit is refused by file, row and
    value. A number that begins with a zero, such as ``00042``, is a code and stays text. A column
    ``day`` that is no date, such as the day of a month, is ``day_`` in the rows.

    Attributes:
        path: As for ``ParquetDays``.
        time: Column of times by which larger files are split into days.
        day_start: When a day of larger files begins, ``HH:MM``.
        timezone: Time zone of their days. Times without a zone are local times of this zone.
        time_format: How texts in ``time`` are written where that is not ISO 8601, such as
            ``"%d-%m-%Y"``.
        delimiter: The character between two values.
        encoding: Encoding of the text.
        types: Columns to ``"str"``, ``"int"``, ``"float"``, ``"comma"`` (a number with a decimal
            comma, such as 1.234,50), ``"bool"`` or ``"time"``, such as ``{"zip": "str"}``; a value
            that is none of its type is left to the contract.
        declared: The same from the model's contract; its spec fills it in.
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    types: Mapping[str, str] = field(default_factory=dict, hash=False)
    declared: Mapping[str, str] = field(default_factory=dict, hash=False)

    _kind = "CSV"
    _ending = ".csv"
    _packed = (".gz", ".bz2", ".xz", ".zst")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_csv_settings(self.delimiter, self.encoding)
        check_types(self.types)

    def with_types(self, declared: Mapping[str, str]) -> CsvDays:
        """The same days, their columns read as a contract declares them."""
        return replace(self, declared=dict(declared))

    def _reader(self, files: Sequence[File], only: str | None = None) -> Reader:
        types, kinds = self._types(), dict[str, Any]()

        def read(file: File, local: Path, spare: Path | None) -> list[Any]:
            texts = read_texts(local, file.shown, self.delimiter, self.encoding, spare)
            names = texts[0].column_names
            if absent := [name for name in self.types if name not in (*names, OWN_DAY)]:
                raise SourceSettingsError(
                    f"{file.shown}: found no column {absent[0]!r}, which types= names; expected "
                    f"one of {', '.join(names)}. Correct types= in the model's source."
                )
            untold = {name for name in names if not type_of(name, types)}
            if untold - {*kinds}:
                kinds.update(self._kinds(files, {file: texts}))
            if untold - {*kinds}:
                raise SourceError(
                    f"{file.shown}: changed while the files were looked at; expected a complete "
                    "file. Run the night again."
                )
            return to_types(texts, file.shown, types, kinds, spare, only)

        return read

    def _timed_reader(self, files: Sequence[File]) -> Reader:
        return self._reader(files, self.time)

    def _day_types(self, files: Sequence[File]) -> Callable[[Any], Any]:
        types, within = self._types(), dict[str, list[Any]]()

        def typed(rows: Any) -> Any:
            untold = {name for name in rows.column_names if not type_of(name, types)}
            if untold - {self.time, *within}:
                kinds = self._kinds(files, {})
                within.update({name: csv_columns.narrower(kinds[name]) for name in kinds})
            rows = day_to_types(rows, types, within)
            place = rows.column_names.index(str(self.time))
            return rows.set_column(place, rows.field(place).name, in_seconds(rows.column(place)))

        return typed

    def _types(self) -> dict[str, str]:
        types = {**self.declared, **self.types}
        if OWN_DAY in types:
            types.setdefault("day", types[OWN_DAY])
        return types

    def _kinds(self, files: Sequence[File], read: Mapping[File, Sequence[Any]]) -> dict[str, Any]:
        """The Arrow type of each column over all of these files; some of them are read already."""

        def look(file: File, spare: Path, left_out: Callable[[str], object]) -> Sequence[Any]:
            if file in read:
                return read[file]
            with file.local(spare) as local:
                names = read_names(local, self.delimiter, self.encoding)
                if names and all(map(left_out, names)):
                    return []
                return read_texts(local, file.shown, self.delimiter, self.encoding, spare)

        types = self._types()
        return csv_columns.kinds(
            self._recipe(),
            {f"{each.name} {each.identity}": (each.path, partial(look, each)) for each in files},
            lambda name: type_of(name, types),
        )

    def _as_other_parts(self, parts: Sequence[Any], files: Sequence[File]) -> Sequence[Any]:
        names = dict.fromkeys(name for part in parts for name in part.column_names)
        types = self._types()
        found = {name for name in names if not type_of(name, types)}
        kinds = self._kinds(files, {}) if found else {}
        return [csv_columns.as_kept(part, kinds, found) for part in parts]

    def _join(self, tables: Sequence[tuple[str, Any]]) -> pd.DataFrame:
        types = {**self.declared, **self.types}
        names = {name for _, table in tables for name in table.column_names}
        return join_days(tables, texts={name for name in names if type_of(name, types)})

    def _first_times(self, local: Path, what: str) -> Any:  # noqa: ARG002
        return first_values(local, str(self.time), self.delimiter, self.encoding)

    def _check_whole(self, content: bytes, what: str) -> None:
        if not content:
            raise SourceError(
                f"{what}: found 0 bytes; expected a complete CSV file. It is still being written "
                "or was truncated: deliver it again, under a name that begins with _ until it is "
                "complete."
            )


def _read_one(file: File, read: Reader, folder: Path) -> Any:
    import pyarrow as pa

    with file.local(folder) as local:
        table = pa.concat_tables(read(file, local, None))
    check_names(table.column_names, file.shown)
    return table


def _read_parquet(file: Path, what: str, columns: list[str] | None = None) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            named = opened.schema_arrow
            if (kept := _of_any_length(named)) == named:
                return opened.read(columns, use_threads=False)
        with pq.ParquetFile(file, metadata=_without_arrow_types(file)) as opened:
            table = opened.read(columns, use_threads=False)
            return table.cast(pa.schema([kept.field(name) for name in table.column_names]))
    except (OSError, pa.ArrowException) as error:
        said = str(error).splitlines()[0].rstrip(".")
        broken = _broken(what, f"nothing that can be read ({said})")
        raise disk_fault(f"{what}: cannot be read", error) or broken from error


def _of_any_length(schema: Any) -> Any:
    """The schema with lists of any length for those of a fixed one.

    Arrow cannot read a fixed one from a file where a list is missing.
    """
    import pyarrow as pa

    def loose(kind: Any) -> Any:
        if pa.types.is_struct(kind):
            return pa.struct([field.with_type(loose(field.type)) for field in kind])
        if pa.types.is_map(kind):
            return pa.map_(loose(kind.key_type), loose(kind.item_type))
        item = kind.value_field if _is_list(kind) else None
        if item is None:
            return kind
        large = pa.types.is_large_list(kind)
        return (pa.large_list if large else pa.list_)(item.with_type(loose(item.type)))

    fields = [field.with_type(loose(field.type)) for field in schema]
    return pa.schema(fields, metadata=schema.metadata)


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    return any(
        is_one(kind) for is_one in (types.is_list, types.is_large_list, types.is_fixed_size_list)
    )


def _without_arrow_types(file: Path) -> Any:
    """The metadata of a Parquet file, without the types that Arrow notes beside Parquet's own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with file.open("rb") as opened:
        opened.seek(-8, os.SEEK_END)
        length = int.from_bytes(opened.read(4), "little")
        opened.seek(-8 - length, os.SEEK_END)
        footer = opened.read().replace(b"ARROW:schema", b"arrow:schema")
    return pq.read_metadata(pa.BufferReader(b"PAR1" + footer))


def _column(parts: Sequence[Any], name: str) -> Any:
    """One column of all parts of a table."""
    import pyarrow as pa

    return pa.chunked_array([chunk for part in parts for chunk in part.column(name).chunks])


def _shared(parts: Sequence[Any], times: pd.Series[Any]) -> Iterator[tuple[Any, pd.Series[Any]]]:
    """Each part with the times of its rows."""
    start = 0
    for part in parts:
        yield part, times.iloc[start : start + len(part)]
        start += len(part)


def _with_times(part: Any, name: str, times: pd.Series[Any]) -> Any:
    import pyarrow as pa

    column = pa.array(times, from_pandas=True)
    return part.set_column(part.column_names.index(name), name, column)


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
