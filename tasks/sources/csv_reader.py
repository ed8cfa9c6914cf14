"""CSV as an Arrow table: one type for each column of a file; errors name the row."""

from __future__ import annotations

import codecs
import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from tasks.sources.base import SourceError, SourceSettingsError, shortened
from tasks.sources.tables import check_names

LONGEST_ROW = 16 * 2**20
"""Bytes; a longer row comes from a quote that was never closed."""
AT_ONCE = 2**24
CODE = r"^\s*0\d"
"""How a text begins that a number would lose the first digit of."""
LONG = r"^\s*[+-]?\d{16,}\s*$"
"""A whole number that a float may not hold."""
NULLS = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("N/A", "NA", "NULL", "NaN", "n/a", "nan", "null", "\\N"),
)
"""What stands unquoted for a missing value; the last one in dumps of databases."""
TYPES = ("str", "int", "float", "bool", "time")
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


def check_csv_settings(delimiter: object, encoding: object) -> None:
    """Raise SourceSettingsError unless CSV can be read with this delimiter and encoding."""
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in '\r\n"\0':
        raise SourceSettingsError(
            f"CsvDays: found delimiter={delimiter!r}; expected one character such as ';'."
        )
    try:
        codecs.lookup(str(encoding))
    except (LookupError, ValueError):
        raise SourceSettingsError(
            f"CsvDays: found encoding={encoding!r}; expected an encoding that Python knows, such "
            "as 'utf-8' or 'latin-1'."
        ) from None


def check_types(types: object) -> None:
    """Raise SourceSettingsError unless these are columns and what they are to be read as."""
    if not isinstance(types, Mapping) or not all(isinstance(name, str) for name in types):
        raise SourceSettingsError(
            f"CsvDays: found types={types!r}; expected columns and their types, such as "
            "{'zip': 'str'}."
        )
    for name, kind in types.items():
        if kind not in TYPES:
            raise SourceSettingsError(
                f"CsvDays: found types={{{name!r}: {kind!r}}}; expected one of "
                f"{', '.join(map(repr, TYPES))}."
            )


def read_csv(
    file: Path, what: str, delimiter: str, encoding: str, types: Mapping[str, str] | None = None
) -> Any:
    """A CSV file, gzipped or not, as an Arrow table; a first column without a name is left out.

    A column without a type of ``types`` has the one that all of its values have: whole numbers,
    numbers, dates, times, true and false, or text. It is text as well where a number begins with a
    zero, or has more digits than a number holds. Empty cells and unquoted NA, NaN, NULL, \\N and
    the like are missing.

    Args:
        file: Path of the file.
        what: Name of the file in messages.
        delimiter: One character.
        encoding: Of its text.
        types: Columns to a word of ``TYPES``; those that are not there are left aside. ``str``
            keeps each value as it is written; of the others, a column in which some value is none
            of its type is text as a whole.

    Raises:
        SourceSettingsError: Where delimiter or encoding do not fit the file.
        SourceError: Where the file is empty, truncated, or not CSV; names the row.
    """
    import pyarrow as pa

    _check_text(file, what, encoding)
    dialect = delimiter, encoding
    types = types or {}
    texts = {name: pa.string() for name, kind in types.items() if kind == "str"}
    try:
        table = _parsed(file, dialect, texts)
        _check_names(what, table, delimiter)
        if exact := _exact_types(file, dialect, table, types):
            table = _parsed(file, dialect, texts | exact)
    except (pa.ArrowException, OSError, EOFError) as error:
        raise _no_csv(what, str(error), delimiter) from error
    _check_end(what, table)
    table = table.drop_columns([""]) if table.column_names[0] == "" else table
    return table.cast(pa.schema([_as_time(field) for field in table.schema]))


def _parsed(file: Path, dialect: tuple[str, str], types: Mapping[str, Any]) -> Any:
    from pyarrow import csv

    with _opened(file) as stream:
        return csv.read_csv(stream, *_options(dialect, types, ()))


def _options(dialect: tuple[str, str], types: Mapping[str, Any], only: Sequence[str]) -> Any:
    from pyarrow import csv

    delimiter, encoding = dialect
    return (
        csv.ReadOptions(use_threads=False, block_size=LONGEST_ROW, encoding=encoding),
        csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        csv.ConvertOptions(
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=list(NULLS),
            column_types=types,
            include_columns=list(only),
        ),
    )


def _exact_types(
    file: Path, dialect: tuple[str, str], table: Any, types: Mapping[str, str]
) -> dict[str, Any]:
    """Types of columns that were read as numbers and say other numbers, or none, in the file."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    found: dict[str, Any] = {}
    floats = {f.name for f in table.schema if pa.types.is_floating(f.type)}
    floats -= {name for name, kind in types.items() if kind == "float"}
    whole = {f.name for f in table.schema if pa.types.is_integer(f.type)} - set(types)
    if not floats | whole:
        return found
    asked = dict.fromkeys(sorted(floats | whole), pa.string())
    with (
        _opened(file) as stream,
        csv.open_csv(stream, *_options(dialect, asked, [*asked])) as parts,
    ):
        for part in parts:
            for name in asked:
                column = part.column(name)
                if name not in types and pc.any(pc.match_substring_regex(column, CODE)).as_py():
                    found[name] = pa.string()
                if name in floats and found.get(name) != pa.string():
                    long = column.filter(pc.match_substring_regex(column, LONG)).to_pylist()
                    if any(int(text) != float(text) for text in long):
                        fits = all(0 <= int(text) < 2**64 for text in long)
                        found[name] = pa.uint64() if fits else pa.string()
    for name in [name for name, kind in found.items() if kind == pa.uint64()]:
        texts = _parsed(file, dialect, {name: pa.string()}).column(name)
        try:
            texts.cast(pa.uint64())
        except pa.ArrowException:
            found[name] = pa.string()
    return found


def _as_time(field: Any) -> Any:
    """A column of dates as a column of times, because another day may have times in it."""
    import pyarrow as pa

    return field.with_type(pa.timestamp("s")) if pa.types.is_date(field.type) else field


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    with file.open("rb") as stream:
        zipped = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        if zipped:
            with gzip.GzipFile(fileobj=stream) as inner:
                yield cast(IO[bytes], inner)
        else:
            yield stream


def _check_text(file: Path, what: str, encoding: str) -> None:
    """Check that the file has content in this encoding, and no NUL byte."""
    read = 0
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for part in _parts(file):
            try:
                text = decoder.decode(part)
            except UnicodeDecodeError as error:
                at = read + error.start
                raise SourceSettingsError(
                    f"{what}: found byte 0x{error.object[error.start]:02x} at position {at:,}, "
                    f"which is not valid {encoding}; expected text in that encoding. Set "
                    "encoding=, such as 'latin-1' or 'cp1252', or write the file as UTF-8."
                ) from None
            if "\0" in text:
                raise SourceError(
                    f"{what}: found a NUL byte after {read + max(text.index(chr(0)), 0):,} bytes; "
                    "expected text. The file was truncated, is not CSV, or is UTF-16 (set "
                    "encoding=)."
                )
            read += len(part)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise _cut_off(what, "a character that ends in the middle") from None
    except (OSError, EOFError) as error:
        raise _cut_off(what, str(error)) from error
    if not read:
        raise _cut_off(what, "0 bytes")


def _parts(file: Path) -> Iterator[bytes]:
    with _opened(file) as stream:
        while part := stream.read(AT_ONCE):
            yield part


def _check_names(what: str, table: Any, delimiter: str) -> None:
    names = table.column_names
    if len(names) == 1:
        others = [mark for mark in DELIMITERS if mark != delimiter and mark in names[0]]
        if others:
            raise SourceSettingsError(
                f"{what}: found one column {shortened(names[0])}; expected several, with "
                f"{DELIMITERS.get(delimiter, repr(delimiter))} between them. "
                f"Set delimiter={others[0]!r}."
            )
    check_names(names[1:] if names[0] == "" else names, what)


def _check_end(what: str, table: Any) -> None:
    """Check that no quote was left open, which would swallow every row to the end of the file."""
    last = table.slice(max(len(table) - 1, 0)).to_pylist()
    for name, value in last[0].items() if last else ():
        if isinstance(value, str) and value.endswith("\n") and value.count("\n") > 1:
            raise SourceError(
                f"{what}: found a value of {name!r} that goes on to the end of the file, "
                f"{shortened(value, 30)}; expected a closing quote. Deliver the file again."
            )


def _no_csv(what: str, said: str, delimiter: str) -> SourceError:
    if "straddling" in said:
        return SourceError(
            f"{what}: found a row of more than {LONGEST_ROW:,} bytes; expected shorter ones. "
            "Close the quote that was left open, or leave out the column with values of that "
            "length."
        )
    if "Empty CSV" in said:
        return _cut_off(what, "no row, not even a header")
    ragged = re.search(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", said, re.DOTALL)
    if ragged:
        row, wanted, got, text = ragged.groups()
        between = DELIMITERS.get(delimiter, repr(delimiter))
        return SourceError(
            f"{what}: found {got} columns in row {int(row):,}, {shortened(text, 40)}; expected "
            f"{wanted} as in the header (row 1), separated by {between}. If it is the last row, "
            "the file was truncated: deliver it again."
        )
    return _cut_off(what, said.splitlines()[0] if said else "no CSV")


def _cut_off(what: str, found: str) -> SourceError:
    return SourceError(
        f"{what}: found {found}; expected a complete CSV file. It is still being written or was "
        "truncated: deliver it again, under a name that begins with _ until it is complete."
    )
