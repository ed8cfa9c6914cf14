"""What every source shares: local times, checks of columns, and days joined to one frame."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from tasks.shown import NAMED_COLUMNS, few
from tasks.sources.base import ColumnsError, SourceError, SourceSettingsError, shortened
from tasks.store.arrow_blocks import nullable_types, with_whole_numbers

if TYPE_CHECKING:
    import pandas as pd


INDEX_COLUMN = re.compile(r"__index_level_\d+__")
OWN_DAY = "day_"
"""Name that a table's own column ``day`` has, where it is no date."""
OFFSET = re.compile(r"(Z|[+-]\d\d(:?\d\d)?)$")
"""The end of a time that carries an offset from UTC."""


def local_times(
    column: Any, what: str, name: str, timezone: str, form: str | None = None
) -> pd.Series[Any]:
    """The times of an Arrow column as local times of ``timezone``, without a zone.

    Times without a zone are local already and stay as they are, also in the hour that is doubled or
    left out when the clocks change. Text is read as ISO 8601.

    Args:
        column: Dates, timestamps or text.
        what: Where the column is from, for messages.
        name: Its name.
        timezone: Time zone of the days.
        form: How texts and whole numbers are written, as ``strptime`` has it; None for ISO 8601.

    Raises:
        SourceSettingsError: Where the column holds no time at all.
        SourceError: Where values are missing or not a time; says how many, and shows the first.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = kind.value_type
    if form and pa.types.is_integer(kind):
        column, kind = column.cast(pa.string()), pa.string()
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    known = (pa.types.is_timestamp, pa.types.is_date, pa.types.is_null)
    if not (text or any(is_one(kind) for is_one in known)):
        raise SourceSettingsError(
            f"{what}: found {kind} in the time column {name!r}; expected dates or times. "
            "Name another column, or write times such as 2026-11-21 10:00:00."
        )
    if column.null_count:
        row = column.is_null().index(True).as_py() + 1
        raise SourceError(
            f"{what}: found {column.null_count:,} of {len(column):,} rows without {name!r}, first "
            f"row {row:,}; expected a time in every row. Leave these rows out, or fill in their "
            "times."
        )
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("s"))
    times = column.to_pandas()
    times = _parsed(times, what, name, form) if text else times
    if len(times) and not 1 < times.dt.year.min() <= times.dt.year.max() < 9999:
        raise SourceError(
            f"{what}: found times from {times.min()} to {times.max()} in {name!r}; expected years "
            "of four digits. Correct them."
        )
    if times.dt.tz is None:
        return times
    local: pd.Series[Any] = times.dt.tz_convert(timezone).dt.tz_localize(None)
    return local


def _parsed(text: pd.Series[Any], what: str, name: str, form: str | None) -> pd.Series[Any]:
    import pandas as pd

    if form:
        times = pd.to_datetime(text, format=form, errors="coerce", utc="%z" in form)
        return _all_times(times, text, what, name, f"times written as time_format={form!r} says")
    zoned = with_offset(text)
    if zoned.any() and not zoned.all():
        row = int(zoned.ne(zoned.iloc[0]).to_numpy().argmax())
        raise SourceError(
            f"{what}: found {text.iloc[0]!r} and, in row {row + 1:,}, {text.iloc[row]!r} in "
            f"{name!r}; expected an offset from UTC in every time or in none. Write all times the "
            "same way."
        )
    times = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=bool(zoned.any()))
    return _all_times(
        times,
        text,
        what,
        name,
        "times such as 2026-11-21 10:00:00, or a source that says how they are written, such as "
        "time_format='%d-%m-%Y'",
    )


def _all_times(
    times: pd.Series[Any], text: pd.Series[Any], what: str, name: str, expected: str
) -> pd.Series[Any]:
    wrong = times.isna().to_numpy()
    if wrong.any():
        row = int(wrong.argmax())
        raise (SourceSettingsError if wrong.all() else SourceError)(
            f"{what}: found {int(wrong.sum()):,} of {len(text):,} rows whose {name!r} is not a "
            f"time, first {shortened(text.iloc[row])} in row {row + 1:,}; expected {expected}. "
            "Correct them, or name another column."
        )
    return times


def with_offset(text: pd.Series[Any]) -> pd.Series[bool]:
    """Which written times say how far they are from UTC."""
    zoned = text.str.contains(OFFSET.pattern.replace("(", "(?:"), regex=True, na=False)
    zoned &= text.str.contains(":", regex=False, na=False)  # 2026-11-21 ends as an offset would
    return zoned.astype(bool)


def check_names(names: Sequence[str], what: str) -> None:
    """Raise SourceError where a column has no name, or two have the same."""
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise SourceError(
            f"{what}: found {names.count(twice[0])} columns {twice[0]!r}; expected each name once. "
            "Rename one of them."
        )
    if "" in names:
        raise SourceError(
            f"{what}: found no name for column {names.index('') + 1}; expected a name for every "
            "column. Name this column."
        )


def check_time(names: Sequence[str], time: str, what: str) -> None:
    """Raise SourceSettingsError where there is no such column."""
    if time not in names:
        raise SourceSettingsError(
            f"{what}: found no column {time!r} for the time; expected one of "
            f"{few(names, NAMED_COLUMNS)}. Correct time= in the model's source."
        )


def with_day(table: Any, day: date, what: str) -> Any:
    """The rows of one day as an Arrow table with the reserved column ``day`` in front.

    A stored index is left out. A column ``day`` of the table itself is ``OWN_DAY``, such as the day
    of a month; one of dates has to be the day.
    """
    import pyarrow as pa

    stamps = pa.repeat(pa.scalar(day, pa.date32()).cast(pa.timestamp("s")), len(table))
    names = [name for name in table.column_names if INDEX_COLUMN.fullmatch(name)]
    table = own_day_aside(table)
    if "day" in table.column_names:
        if not _is_day(table.column("day"), day):
            raise SourceError(
                f"{what}: found a column 'day' that is not {day} in every row; the name is "
                "reserved. Rename the column."
            )
        names.append("day")
    if names:
        table = table.drop_columns(names)
    return table.add_column(0, "day", stamps)


def with_days(table: Any, what: str) -> Any:
    """``with_day`` for a table of many days, whose first column is the day of each row."""
    import pyarrow as pa

    stamps = table.column(0).cast(pa.date32()).cast(pa.timestamp("s"))
    rows = own_day_aside(table.remove_column(0))
    if "day" in rows.column_names:
        if not _is_same(rows.column("day"), stamps):
            raise SourceError(
                f"{what}: found a column 'day' that is not the day of its row; the name is "
                "reserved. Rename the column, in a database by a query: SELECT day AS other, ..."
            )
        rows = rows.drop_columns(["day"])
    return rows.add_column(0, "day", stamps)


def own_day_aside(table: Any) -> Any:
    """The table with its own column ``day`` under another name, unless it holds dates."""
    import pyarrow as pa

    if "day" not in table.column_names or _holds_dates(table.column("day")):
        return table
    taken, own = set(table.column_names), OWN_DAY
    while own in taken:
        own += "_"
    if pa.types.is_null(table.column("day").type):
        return table.drop_columns(["day"])
    return table.rename_columns([own if name == "day" else name for name in table.column_names])


def _holds_dates(column: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_temporal(column.type) and not pa.types.is_time(column.type):
        return True
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return False
    try:
        column.cast(pa.timestamp("us"))
    except pa.ArrowException:
        return False
    return True


def join_days(
    tables: Sequence[tuple[str, Any]], texts: Collection[str] | None = None
) -> pd.DataFrame:
    """Days one below the other as one frame; a day of no row adds none.

    A column that only some of the days have has missing values in the rows of the others. The
    contract decides which columns are required.

    Args:
        tables: Name and Arrow table of each day, from ``with_day``; at least one.
        texts: Where all were read from text, columns whose numbers, flags and times may be joined
            with words: which of them are none, the contract says. Codes of digits alone are
            joined in any column.

    Raises:
        ColumnsError: Where a column's type differs from that of the first day that has rows, and
            cannot be joined with it.
    """
    import pyarrow as pa

    filled = [(what, table) for what, table in tables if len(table)] or list(tables[:1])
    names, found = [what for what, _ in filled], alike([table for _, table in filled], texts)
    expected, first = found[0].schema, names[0]
    for what, table in zip(names[1:], found[1:], strict=True):
        if not table.schema.equals(expected):
            expected = _joined_columns(what, table, expected, first, texts is not None)
    try:
        return to_frame(pa.concat_tables(found, promote_options="permissive"))
    except pa.ArrowException:
        raise _unjoined(names, found) from None


def to_frame(table: Any) -> pd.DataFrame:
    """An Arrow table as a frame; no pandas metadata is believed.

    Dates come as ``datetime64``, whole numbers and truth values as pandas' nullable types, so that
    a type says nothing of the gaps that some days have and others have not.
    """
    table = with_columns(table, {p: t for p, c in enumerate(table.columns) if (t := _keys(c))})
    frame: pd.DataFrame = table.to_pandas(
        ignore_metadata=True, date_as_object=False, types_mapper=nullable_types().get
    )
    return with_whole_numbers(frame, table)


def _keys(column: Any) -> Any:
    """Keys (UUID) as their texts, which is what a database gives; None for other columns."""
    import pyarrow as pa

    if getattr(column.type, "extension_name", "") != "arrow.uuid":
        return None
    return pa.chunked_array([[k if k is None else str(k) for k in column.to_pylist()]], pa.string())


def alike(tables: Sequence[Any], texts: Collection[str] | None = None) -> list[Any]:
    """The tables with types that can be joined without a value being changed.

    A column in which all is missing takes the type of the others. Floats that are all whole become
    whole numbers where others are: as floats, long ids would lose their last digits. Numbers that
    were read from text become text again, as ``join_days`` says of ``texts``.
    """
    import pyarrow as pa

    places: dict[str, dict[int, int]] = {}
    for number, table in enumerate(tables):
        for place, name in enumerate(table.column_names):
            places.setdefault(name, {})[number] = place
    made: dict[int, dict[int, Any]] = {number: {} for number in range(len(tables))}
    for name, having in places.items():
        columns = {number: tables[number].column(place) for number, place in having.items()}
        if len({column.type for column in columns.values()}) == 1:
            continue
        known = {p: c for p, c in columns.items() if c.null_count < len(c)}
        joined = (
            {p: pa.chunked_array([pa.nulls(len(c))]) for p, c in columns.items()} if known else {}
        )
        known = _as_whole_numbers(_as_floats(_without_views(_without_categories(known))))
        joined |= known if texts is None else _as_texts(known, words=name in texts)
        for number, column in joined.items():
            made[number][having[number]] = column
    return [with_columns(table, made[number]) for number, table in enumerate(tables)]


def with_columns(table: Any, made: Mapping[int, Any]) -> Any:
    """The table with other columns in these places; one by one each would copy the schema."""
    import pyarrow as pa

    if not made:
        return table
    fields, columns = list(table.schema), table.columns
    for place, column in made.items():
        fields[place], columns[place] = pa.field(fields[place].name, column.type), column
    return pa.table(columns, schema=pa.schema(fields, table.schema.metadata))


def _without_categories(columns: dict[int, Any]) -> dict[int, Any]:
    """Columns of categories as their values, where others have plain ones."""
    import pyarrow as pa

    coded = {place for place, c in columns.items() if pa.types.is_dictionary(c.type)}
    if len(coded) == len(columns):
        return columns
    return {p: c.cast(c.type.value_type) if p in coded else c for p, c in columns.items()}


def _without_views(columns: dict[int, Any]) -> dict[int, Any]:
    """Views of texts, which some programs write, as texts."""
    import pyarrow as pa

    views = {place for place, c in columns.items() if pa.types.is_string_view(c.type)}
    return {p: c.cast(pa.string()) if p in views else c for p, c in columns.items()}


def _as_floats(columns: dict[int, Any]) -> dict[int, Any]:
    """Columns of exact numbers as floats, where others are and each is read back from its float."""
    import pyarrow as pa

    exact = {p: c for p, c in columns.items() if pa.types.is_decimal(c.type)}
    if not (exact and any(pa.types.is_floating(c.type) for c in columns.values())):
        return columns
    floats = {p: c.cast(pa.float64()) for p, c in exact.items()}
    try:
        kept = all(floats[p].cast(c.type).equals(c) for p, c in exact.items())
    except pa.ArrowException:  # not even the size of the type
        kept = False
    return columns | floats if kept else columns


def _as_texts(columns: dict[int, Any], *, words: bool) -> dict[int, Any]:
    """Columns of numbers as text, where others have codes of digits, or any words."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = {place for place, c in columns.items() if pa.types.is_string(c.type)}
    types = pa.types
    numbers = [types.is_integer]
    numbers += [types.is_floating, types.is_boolean, types.is_timestamp] if words else []
    others = [c.type for place, c in columns.items() if place not in known]
    if not (known and others and all(any(is_one(kind) for is_one in numbers) for kind in others)):
        return columns
    if not words and not all(
        pc.all(pc.match_substring_regex(columns[p], r"^\d+$")).as_py() for p in known
    ):
        return columns
    return {place: column.cast(pa.string()) for place, column in columns.items()}


def _as_whole_numbers(columns: dict[int, Any]) -> dict[int, Any]:
    """Columns of floats as whole numbers, where others are and none would be changed."""
    import pyarrow as pa

    floats = {p for p, c in columns.items() if pa.types.is_floating(c.type)}
    whole = {p for p, c in columns.items() if pa.types.is_integer(c.type)}
    if not (floats and whole):
        return columns
    try:
        cast = {p: columns[p].cast(pa.float64()).cast(pa.int64()) for p in floats}
    except pa.ArrowException:
        return columns
    return columns | cast


def no_rows() -> pd.DataFrame:
    """The frame of no day: only the column ``day``."""
    import pandas as pd

    return pd.DataFrame({"day": pd.Series(dtype="datetime64[s]")})


def _is_day(column: Any, day: date) -> bool:
    import pyarrow as pa

    try:
        unique = column.cast(pa.date32()).unique().to_pylist()
    except pa.ArrowException:
        return False
    return unique in ([], [day])


def _is_same(column: Any, stamps: Any) -> bool:
    import pyarrow as pa

    try:
        return bool(column.cast(pa.date32()).cast(pa.timestamp("s")).equals(stamps))
    except pa.ArrowException:
        return False


def check_joined(tables: Sequence[Any]) -> None:
    """Raise ArrowException where a column of tables has types that cannot be joined as they are."""
    first = tables[0].schema
    for table in tables[1:]:
        for one, other in zip(first, table.schema, strict=True):
            if not one.equals(other):
                _check_joined(one, other)


def _check_joined(one: Any, other: Any) -> None:
    """Raise ArrowException where no type holds both, and where Arrow's would change values."""
    import pyarrow as pa

    types, kinds = pa.types, (one.type, other.type)
    texts = (types.is_string, types.is_large_string)
    bytes_ = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary)

    def has(tests: Sequence[Callable[[Any], bool]]) -> bool:
        return any(is_one(kind) for is_one in tests for kind in kinds)

    for these, those in ((texts, bytes_), ((types.is_decimal,), (types.is_floating,))):
        if has(these) and has(those):
            raise pa.ArrowTypeError(f"{kinds[0]} and {kinds[1]}")
    pa.unify_schemas([pa.schema([one]), pa.schema([other])], promote_options="permissive")


def _joined_columns(what: str, table: Any, expected: Any, first: str, typed: bool) -> Any:
    """The schema that holds both, where the types of what both have can be joined."""
    import pyarrow as pa

    found = table.schema
    for name in set(expected.names) & set(found.names):
        mine, others = found.field(name), expected.field(name)
        if mine.equals(others):
            continue
        try:
            _check_joined(others, mine)
        except pa.ArrowException as error:
            raise ColumnsError(
                f"{what}: found {mine.type} in column {name!r}{_odd(table[name], others.type)}; "
                f"expected {others.type}, as in {first}. Deliver the file with the same types"
                + (", or name one in types= of the source." if typed else ".")
            ) from error
    return pa.unify_schemas([expected, found], promote_options="permissive")


def _unjoined(names: Sequence[str], tables: Sequence[Any]) -> ColumnsError:
    """Which column it is whose types go together, but not its values."""
    import pyarrow as pa

    for what, table in zip(names[1:], tables[1:], strict=True):
        for name in set(table.column_names) & set(tables[0].column_names):
            pair = [each.select([name]) for each in (tables[0], table)]
            try:
                pa.concat_tables(pair, promote_options="permissive")
            except pa.ArrowException as error:
                return ColumnsError(
                    f"{what}: found {table[name].type} in column {name!r}; expected "
                    f"{tables[0][name].type}, as in {names[0]}, for joined they would change: "
                    f"{error}. Deliver it with the same type."
                )
    return ColumnsError(f"{names[0]} and later: found columns whose types do not go together.")


def _odd(column: Any, kind: Any) -> str:
    """The first text that does not convert to the expected type, for a message."""
    import pyarrow as pa

    if not pa.types.is_string(column.type) or pa.types.is_string(kind):
        return ""
    for row, value in enumerate(column.to_pylist(), start=1):
        try:
            pa.scalar(value).cast(kind)
        except pa.ArrowException:
            return f" (first {shortened(value)} in row {row:,})"
    return ""
