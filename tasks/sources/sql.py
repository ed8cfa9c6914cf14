"""Days in a SQL database: listed with a cheap fingerprint; only new days are read."""

from __future__ import annotations

import functools
import hashlib
import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from tasks.sources.base import (
    ColumnsError,
    SourceError,
    SourceSettingsError,
    check_clock,
    shift_of,
    shortened,
)
from tasks.sources.locations import check_secrets
from tasks.sources.sql_connection import connected
from tasks.sources.tables import (
    alike,
    check_joined,
    check_names,
    check_time,
    local_times,
    no_rows,
    to_frame,
    with_days,
)

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection, CursorResult, Select
    from sqlalchemy.sql import ColumnElement, FromClause


ROWS_AT_ONCE = 20_000
ZONED, TIMES = 1184, (1082, 1114, 1184)
"""PostgreSQL's numbers of timestamptz, and of all types that are times."""
NUMERIC = 1700
DOCUMENTS = (114, 3802)
OWN_TYPES = 16_384
"""From here on PostgreSQL numbers types that a user made, such as an enum; they come as text."""
MOST_EXACT = 2**53
"""The largest whole number up to which floats hold every one."""
ALIAS = "source_rows"
MOST_ARGUMENTS = 100
"""Name of a function registered in SQLite."""


@dataclass(frozen=True)
class SqlDays:
    """A table or query of PostgreSQL or SQLite, split into days by a column of times.

    A day's fingerprint is the number of its rows and the newest value of ``changed``; no other
    change is noticed, so that column must grow with every row written. Without ``changed`` the
    fingerprint is the number of rows and the sum of a hash of each whole row: it notices any
    change, but the database reads every row each night.

    Attributes:
        url: SQLAlchemy URL. ``${NAME}`` in it is taken from the environment when it is used, and a
            password must be given that way. A relative SQLite file starts at the project's root.
        table: Name of a table or view, ``name`` or ``schema.name``.
        query: A SELECT statement, instead of a table.
        time: Column of times; with an index on it a night reads only new days. PostgreSQL: date,
            timestamp or timestamptz. SQLite: ISO 8601 text.
        changed: Column that grows whenever a row is written, such as ``updated_at``.
        day_start: When a day begins, ``HH:MM``.
        timezone: Time zone of the days. Times without a zone are local times of this zone.
    """

    url: str
    table: str | None = None
    query: str | None = None
    time: str = ""
    changed: str | None = None
    day_start: str = "00:00"
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        check_clock("SqlDays", self.day_start, self.timezone)
        for name in ("url", "time"):
            if not (isinstance(getattr(self, name), str) and getattr(self, name)):
                raise SourceSettingsError(
                    f"SqlDays: found {name}={getattr(self, name)!r}; expected "
                    + ("an SQLAlchemy URL." if name == "url" else "the name of a column.")
                )
        check_secrets("SqlDays", self.url)
        given = [name for name in (self.table, self.query) if name is not None]
        if len(given) != 1 or not (isinstance(given[0], str) and given[0].strip()):
            raise SourceSettingsError(
                f"SqlDays: found table={self.table!r} and query={self.query!r}; expected exactly "
                "one of them."
            )

    def names_zone(self) -> bool:
        """Whether ``time`` is PostgreSQL's timestamptz: its times are moments of any time zone."""
        with connected(self.url) as connection:
            return self._kind(connection) == ZONED

    def list_days(self, until: date) -> dict[date, str]:
        """Days up to ``until`` with their fingerprint, ascending; one query of the database.

        Raises:
            SourceSettingsError: Where address, login, table or a column are wrong.
            SourceOutageError: Where the database does not answer or is locked.
            SourceError: Where a row has no time.
        """

        with connected(self.url) as connection:
            found = connection.execute(self._listing(connection, self._kind(connection))).all()
            self._check_times(connection, found)
        days = {_as_date(row[0]): f"{row[0]} {row[1]} {row[2]}" for row in found}
        return {
            day: hashlib.sha256(mark.encode()).hexdigest()
            for day, mark in sorted(days.items())
            if day <= until
        }

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        """Rows of these days by time, read in portions; the database reads only these rows.

        Times of ``time`` come as local times of ``timezone`` without a zone, documents as JSON
        text, exact decimals as floats, or as whole numbers where their type has no decimals. The
        ``infinity`` of PostgreSQL is the last moment of the year 9999, ``-infinity`` the first of
        the year 1.

        Raises:
            ColumnsError: Where a column has values of types that cannot be joined.
            SourceError: As ``list_days`` does.
        """
        import pyarrow as pa

        if not days:
            return no_rows()
        parts = []
        with connected(self.url) as connection:
            kind = self._kind(connection)
            label = _free_name("nightly_day", _names(self._no_rows(connection)))
            for first, last in _runs(days):
                asked = self._reading(connection, kind, first, last, label)
                options = connection.execution_options(yield_per=ROWS_AT_ONCE)
                with options.execute(asked) as streamed:
                    names = _names(streamed)
                    check_names(names[1:], self._what())
                    kinds = _arrow_types(streamed) if kind is not None else {}
                    parts += [self._as_table(names, kinds, rows) for rows in streamed.partitions()]
            if kind is None and parts:
                parts = self._as_whole_columns(connection, alike(parts))
        if not parts:
            raise SourceError(
                f"{self._what()}: found no row of {days[0]}; expected rows of that day. They were "
                "deleted after the days were listed: run the night again."
            )
        try:
            parts = parts if kind is None else alike(parts)
            check_joined(parts)
            whole = pa.concat_tables(parts, promote_options="permissive")
        except pa.ArrowException as error:
            raise ColumnsError(
                f"{self._what()}: found types that cannot be joined: {error}. Use one type in the "
                "database, or CAST the column in query=."
            ) from error
        parts.clear()
        times = local_times(whole[self.time], self._what(), self.time, self.timezone)
        place = whole.column_names.index(self.time)
        whole = whole.set_column(place, self.time, pa.array(times))
        return to_frame(with_days(whole, self._what()))

    def _as_whole_columns(self, connection: Connection, parts: Sequence[Any]) -> list[Any]:
        """Rows of SQLite, where each value has its own type, in the types of all rows.

        Raises:
            ColumnsError: Where fractions are in a column with whole numbers that no float holds.
        """
        import pyarrow as pa

        asked = [
            name
            for name in parts[0].column_names[1:]
            if any(_is_open(part.column(name).type) for part in parts)
        ]
        kinds = self._stored_types(connection, asked) if asked else {}
        found = list(parts)
        for name, target in kinds.items():
            for at, part in enumerate(found):
                place, column = part.column_names.index(name), part.column(name)
                try:
                    found[at] = part.set_column(place, name, column.cast(target))
                except pa.ArrowException as error:
                    raise ColumnsError(
                        f"{self._what()}: found whole numbers and fractions in column {name!r} "
                        f"that no one type holds: {error}. CAST the column in query=."
                    ) from error
        return found

    def _stored_types(self, connection: Connection, names: Sequence[str]) -> dict[str, Any]:
        """The Arrow type that holds all values of columns, where there is one."""
        import pyarrow as pa
        import sqlalchemy as sql

        found: dict[str, Any] = {}
        for part in [names[n : n + MOST_ARGUMENTS] for n in range(0, len(names), MOST_ARGUMENTS)]:
            tests = [test for name in part for test in _stored(sql.column(name))]
            row = connection.execute(sql.select(*tests).select_from(self._source())).one()
            for at, name in enumerate(part):
                whole, real, broken, text, blob = map(bool, row[5 * at : 5 * at + 5])
                if (whole or real) + text + blob == 1:
                    number = pa.float64() if broken or not whole else pa.int64()
                    found[name] = pa.string() if text else pa.binary() if blob else number
        return found

    def _what(self) -> str:
        return f"{self.url} {self.table or 'query'}"

    def _source(self) -> FromClause:
        import sqlalchemy as sql

        if self.query is not None:
            text = self.query.strip().rstrip(";").replace(":", "\\:")
            return sql.text(f"{text}\n").columns().subquery(ALIAS)
        schema, _, name = str(self.table).rpartition(".")
        return sql.table(name, schema=schema or None).alias(ALIAS)

    def _no_rows(self, connection: Connection) -> CursorResult[Any]:
        """A query of every column and no row: it tells the columns and their types."""
        import sqlalchemy as sql

        every: Select[Any] = sql.select(sql.literal_column("*")).select_from(self._source())
        return connection.execute(every.limit(0))

    def _kind(self, connection: Connection) -> int | None:
        """PostgreSQL's type number of ``time``, None for SQLite; checks the columns."""
        found = self._no_rows(connection)
        names = _names(found)
        check_time(names, self.time, self._what())
        if self.changed is not None and self.changed not in names:
            raise SourceSettingsError(
                f"{self._what()}: found no column {self.changed!r}; expected one of "
                f"{', '.join(names)}. Correct changed= in the model's source."
            )
        description = found.cursor.description if found.cursor else []
        kind = description[names.index(self.time)][1]
        found.close()
        if connection.dialect.name == "postgresql" and kind not in TIMES:
            raise SourceSettingsError(
                f"{self._what()}: found no date or time in {self.time!r}; expected date, timestamp "
                "or timestamptz. Convert it in query=, such as "
                f"SELECT *, CAST({self.time} AS timestamp) AS at FROM …"
            )
        return kind if isinstance(kind, int) else None

    def _day(self, connection: Connection, kind: int | None) -> ColumnElement[Any]:
        """The day of a row: the date of its local time, less the start of the day."""
        import sqlalchemy as sql

        shift = shift_of(self.day_start)
        column: ColumnElement[Any] = sql.column(self.time)
        if connection.dialect.name == "sqlite":
            minutes = f"-{shift // timedelta(minutes=1)} minutes"
            is_text = sql.func.typeof(column) == "text"
            return sql.case((is_text, sql.func.date(column, minutes)))
        if kind == ZONED:
            column = sql.func.timezone(self.timezone, column)
        return sql.cast(column - sql.literal(shift, sql.Interval()), sql.Date())

    def _listing(self, connection: Connection, kind: int | None) -> Select[Any]:
        """Day, rows, newest change or sum of hashes, rows with a time, rows with an offset."""
        import sqlalchemy as sql

        sqlite = connection.dialect.name == "sqlite"
        column: ColumnElement[Any] = sql.column(self.time)
        mark: ColumnElement[Any]
        if self.changed is not None:
            mark = sql.column(self.changed)
        elif sqlite:
            mark = self._row_hash(connection)
        else:
            whole_row: ColumnElement[Any] = sql.literal_column(
                f"{ALIAS}.*"
            )  # also where a column has this name
            mark = sql.func.hashtextextended(sql.cast(whole_row, sql.Text()), 0)
        offset = sql.or_(column.op("GLOB")("*Z"), column.op("GLOB")("*[+-]??:??"))
        rows = (
            sql.select(
                self._day(connection, kind).label("day"),
                mark.label("mark"),
                column.label("at"),
                (sql.cast(offset, sql.Integer()) if sqlite else sql.literal(0)).label("offset_"),
            )
            .select_from(self._source())
            .subquery("days")
        )
        whole = sql.func.max(rows.c.mark) if self.changed else sql.func.sum(rows.c.mark)
        return sql.select(
            rows.c.day,
            sql.func.count(),
            whole,
            sql.func.count(rows.c.at),
            sql.func.max(rows.c["offset_"]),
        ).group_by(rows.c.day)

    def _row_hash(self, connection: Connection) -> ColumnElement[Any]:
        """Register the hash of whole rows that SQLite lacks."""
        import sqlalchemy as sql

        raw: Any = connection.connection.driver_connection
        raw.create_function("nightly_hash", -1, _hash_row, deterministic=True)
        names = _names(self._no_rows(connection))
        columns: list[ColumnElement[Any]] = [sql.column(name) for name in names]
        parts = [columns[n : n + MOST_ARGUMENTS] for n in range(0, len(columns), MOST_ARGUMENTS)]
        hashes = [sql.func.nightly_hash(*part) for part in parts]
        return functools.reduce(operator.add, hashes)

    def _check_times(self, connection: Connection, found: Sequence[Any]) -> None:
        missing = sum(row[1] - row[3] for row in found)
        wrong = sum(row[3] for row in found if row[0] is None)
        endless = sum(row[3] for row in found if not _is_day(row[0]))
        if missing:
            raise SourceError(
                f"{self._what()}: found {missing:,} rows without {self.time!r}; expected a time "
                f"in every row. Leave these rows out with query='SELECT … WHERE {self.time} IS "
                "NOT NULL'."
            )
        if endless:
            raise SourceError(
                f"{self._what()}: found {endless:,} rows whose {self.time!r} is infinite, or not "
                "of a year from 1 to 9999; expected times. Leave these rows out in query=."
            )
        if wrong:
            import sqlalchemy as sql

            day = self._day(connection, None)
            asked: Select[Any] = sql.select(sql.column(self.time)).select_from(self._source())
            first = connection.execute(asked.where(day.is_(None)).limit(1)).scalar()
            raise SourceError(
                f"{self._what()}: found {wrong:,} rows whose {self.time!r} is not a time, such as "
                f"{shortened(first)}; expected text such as 2026-11-21 10:00:00. Convert it in "
                "query=."
            )
        if self.timezone != "UTC" and any(row[4] for row in found):
            raise SourceSettingsError(
                f"{self._what()}: found times with an offset from UTC in {self.time!r}, which "
                f"SQLite cannot convert to {self.timezone}; expected local times. Convert them in "
                "query=, or set timezone='UTC'."
            )

    def _reading(
        self, connection: Connection, kind: int | None, first: date, last: date, label: str
    ) -> Select[Any]:
        """Query of the rows between two days by time, day first; it uses an index on time."""
        import sqlalchemy as sql

        column: ColumnElement[Any] = sql.column(self.time)
        day = self._day(connection, kind)
        low, high = self._bounds(connection, kind, first, last)
        text = connection.dialect.name == "sqlite"
        edges: list[Any] = [str(first), str(last)] if text else [first, last]
        return (
            sql.select(day.label(label), sql.literal_column(f"{ALIAS}.*"))
            .select_from(self._source())
            .where(column >= low, column < high, day.between(*edges))
            .order_by(column)
        )

    def _bounds(self, connection: Connection, kind: int | None, first: date, last: date) -> Any:
        """Times between which all rows of these days are, in the type of the column."""
        after = last + timedelta(days=1)
        if connection.dialect.name == "sqlite":  # as text, whatever stands between date and time
            return str(first - timedelta(days=1)), str(after + timedelta(days=2))
        shift = shift_of(self.day_start)
        starts = [datetime.combine(day, time()) + shift for day in (first, after)]
        if kind != ZONED:
            return starts[0], starts[1]
        zone = ZoneInfo(self.timezone)
        low, high = ([s.replace(tzinfo=zone, fold=fold) for fold in (0, 1)] for s in starts)
        return min(s.astimezone(UTC) for s in low), max(s.astimezone(UTC) for s in high)

    def _as_table(self, names: Sequence[str], kinds: Mapping[str, Any], rows: Sequence[Any]) -> Any:
        import pyarrow as pa

        columns = {}
        for name, values in zip(names, zip(*rows, strict=True), strict=True):
            try:
                columns[name] = _as_array(values, kinds.get(name))
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                raise ColumnsError(
                    f"{self._what()}: found values in column {name!r} that do not form one "
                    f"column: {str(error).splitlines()[0]}; expected numbers, text or times, all "
                    "of one type that holds them. Convert them in query= with CAST."
                ) from error
        return pa.table(columns)


def _is_open(kind: Any) -> bool:
    """Whether rows with such a column may have another type beside other rows of the table."""
    import pyarrow as pa

    return any(
        is_one(kind) for is_one in (pa.types.is_null, pa.types.is_integer, pa.types.is_floating)
    )


def _stored(column: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    """Whether a column of SQLite has whole numbers, others, fractions, texts and bytes."""
    import sqlalchemy as sql

    kind = sql.func.typeof(column)
    is_real = kind == "real"
    broken = sql.and_(is_real, column != sql.cast(column, sql.Integer()))
    tests = [kind == "integer", is_real, broken, kind == "text", kind == "blob"]
    return [sql.func.max(test) for test in tests]


def _names(found: CursorResult[Any]) -> list[str]:
    """Names of the columns as the database reports them: SQLAlchemy knows only ``*``."""
    return [column[0] for column in found.cursor.description] if found.cursor else []


def _free_name(name: str, taken: Sequence[str]) -> str:
    """The name, longer where a column has it."""
    known = {column.lower() for column in taken}
    while name in known:
        name += "_"
    return name


def _runs(days: Sequence[date]) -> Iterator[tuple[date, date]]:
    """First and last of each run of days that follow each other."""
    ordered = sorted(set(days))
    edges = [b for a, b in pairwise(ordered) if b - a > timedelta(days=1)]
    for first in [ordered[0], *edges]:
        last = first
        while last + timedelta(days=1) in ordered:
            last += timedelta(days=1)
        yield first, last


def _is_day(day: Any) -> bool:
    """Whether this is no mark of PostgreSQL for before or after all days."""
    known = day is None or not isinstance(day, str) or bool(re.match(r"\d{4}-\d\d-\d\d$", day))
    return known and day not in (date.min, date.max)


def _as_date(day: Any) -> date:
    return day if isinstance(day, date) else date.fromisoformat(day)


def _arrow_types(found: CursorResult[Any]) -> dict[str, Any]:
    """Types of PostgreSQL's columns that do not hang on which of their rows are read.

    Of documents the function that makes their text.
    """
    import pyarrow as pa

    plain: dict[int, Any] = {
        **dict.fromkeys(DOCUMENTS, _as_json),
        **dict.fromkeys((20, 21, 23), pa.int64()),
        **dict.fromkeys((700, 701, NUMERIC), pa.float64()),
        **dict.fromkeys((18, 19, 25, 600, 790, 1042, 1043, 1560, 1562, 2950), pa.string()),
        26: pa.int64(),
        16: pa.bool_(),
        17: pa.binary(),
        1082: pa.date32(),
        1083: pa.time64("us"),
        1114: pa.timestamp("us"),
        ZONED: pa.timestamp("us", "UTC"),
        1186: pa.duration("us"),
    }
    kinds: dict[str, Any] = {}
    for column in found.cursor.description if found.cursor else []:
        number: Any = column[1]
        kinds[column[0]] = plain.get(number, pa.string() if number >= OWN_TYPES else None)
        if number == NUMERIC and column[5] == 0:
            kinds[column[0]] = pa.int64()
    return kinds


def _as_array(values: Sequence[Any], kind: Any) -> Any:
    """Values of one column in Arrow, of a type if the database says it; documents as text."""
    import pyarrow as pa

    if kind is _as_json:  # also single numbers and texts, for a document may be any of them
        values = [None if value is None else _as_json(value) for value in values]
        kind = pa.string()
    first = next((value for value in values if value is not None), None)
    plain: dict[type, Callable[[Any], object]] = {
        Decimal: _as_int if kind is not None and pa.types.is_integer(kind) else _as_float,
        UUID: str,
        dict: _as_json,
        memoryview: bytes,
    }
    if kind is None and isinstance(first, str | bytes) and {str, bytes} <= {*map(type, values)}:
        raise TypeError("text and bytes")
    convert = next((into for each, into in plain.items() if isinstance(first, each)), None)
    if convert:
        values = [None if value is None else convert(value) for value in values]
    return pa.array(values, kind)


def _as_int(value: Decimal) -> int | None:
    return None if value.is_nan() else int(value)


def _as_float(value: Decimal) -> float:
    """An exact decimal as a float. Raises ValueError where digits before the point would change."""
    found = float(value)
    if abs(found) > MOST_EXACT and value.is_finite() and int(value) != int(found):
        raise ValueError(f"{value} is no float")
    return found


def _as_json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _hash_row(*values: object) -> int:
    """A hash below 2**32, so that the sum over a day never grows too large for SQLite."""
    digest = hashlib.blake2b(repr(values).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big")
