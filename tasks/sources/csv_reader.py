"""CSV as an Arrow table: one type for each column of a file; errors name the row."""

from __future__ import annotations

import codecs
import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from tasks.sources.base import SourceError, SourceSettingsError, shortened
from tasks.sources.tables import check_names

LONGEST_ROW = 16 * 2**20
"""Bytes; a longer row comes from a quote that was never closed."""
AT_ONCE = 2**24
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


def read_csv(file: Path, what: str, delimiter: str, encoding: str) -> Any:
    """A CSV file, gzipped or not, as an Arrow table; a first column without a name is left out.

    A column has the type that all of its values have: whole numbers, numbers, dates, times, true
    and false, or text. Empty cells and unquoted NA, NaN, NULL and the like are missing.

    Args:
        file: Path of the file.
        what: Name of the file in messages.
        delimiter: One character.
        encoding: Encoding of its text.

    Raises:
        SourceSettingsError: Where delimiter or encoding do not fit the file.
        SourceError: Where the file is empty, truncated, or not CSV; names the row.
    """
    import pyarrow as pa
    from pyarrow import csv

    _check_text(file, what, encoding)
    try:
        with _opened(file) as stream:
            table = csv.read_csv(
                stream,
                csv.ReadOptions(use_threads=False, block_size=LONGEST_ROW, encoding=encoding),
                csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False),
            )
    except (pa.ArrowException, OSError, EOFError) as error:
        raise _no_csv(what, str(error), delimiter) from error
    _check_names(what, table, delimiter)
    _check_end(what, table)
    table = table.drop_columns([""]) if table.column_names[0] == "" else table
    return table.cast(pa.schema([_as_time(field) for field in table.schema]))


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
