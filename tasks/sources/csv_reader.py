"""CSV as an Arrow table: one type for each column; errors name the row."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, cast

from tasks.sources import partitions
from tasks.sources.base import PATTERN, ColumnsError, SourceError, SourceSettingsError, shortened
from tasks.sources.tables import check_names, with_columns
from tasks.store.files import disk_fault

LONGEST_ROW = 16 * 2**20
"""Bytes; a longer row comes from a quote that was never closed."""
AT_ONCE = 2**24
SOME = 1_000
"""Values of a column by which most types are ruled out."""
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""How a file begins to what it is packed with."""
MOST_UNPACKED, LEAST_BOUND = 200, 2**30
"""How many times its size a file may unpack to, if that is more than so many bytes."""
NO_FILE = (OSError, EOFError, lzma.LZMAError, zlib.error)
"""What readers of packed files raise where one is broken."""
CODE = r"^\s*[+-]?0\d"
"""How a text begins that a number would lose the first digit of."""
PHONE = r"^\s*\+\d{7,}\s*$"
"""A telephone number, of which a number would lose the sign."""
WHOLE = re.compile(r"[ \t]*[+-]?(0[xX][0-9a-fA-F]+|\d+)[ \t]*")
"""Every text that may be read as a whole number."""
LONG = r"^\s*[+-]?\d{16,}\s*$"
"""A whole number that a float may not hold."""
CLOCK = r"^\d\d:\d\d(:\d\d)?$"
GROUPED = r"^\s*[+-]?[1-9]\d{0,2}(\.\d{3})+(,\d+)?\s*$"
"""A number with points between thousands, such as 1.234,56."""
NULLS = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("N/A", "NA", "NULL", "NaN", "n/a", "nan", "null", "\\N"),
)
"""What stands unquoted for a missing value; the last one in dumps of databases."""
TYPES = ("str", "int", "float", "comma", "bool", "time")
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


def read_texts(
    file: Path, what: str, delimiter: str, encoding: str, spare: Path | None = None
) -> list[Any]:
    """A CSV file, packed or not, as Arrow tables of texts, one below the other.

    A first column without a name is left out. Empty cells and unquoted NA, NaN, NULL, \\N and the
    like are missing; in a file of one column, an empty line and a quoted nothing are as well.

    Args:
        file: Path of the file.
        what: Name of the file in messages.
        delimiter: One character.
        encoding: Of its text.
        spare: Folder for what need not be in memory, as long as the tables are used; None to keep
            all in memory.

    Raises:
        SourceSettingsError: Where delimiter or encoding do not fit the file.
        SourceError: Where the file is empty, truncated, or not CSV; names the row.
    """
    import pyarrow as pa

    escaped = _check_text(file, what, encoding)
    try:
        texts = list(_texts(file, what, (delimiter, encoding), spare))
    except (pa.ArrowException, *NO_FILE) as error:
        failed = disk_fault(f"{what}: cannot be read", error)
        raise failed or _no_csv(what, str(error), delimiter) from error
    if escaped or any(_has_line_end(part) for part in texts):
        _check_quotes(file, what, delimiter, encoding)
    if texts[0].column_names[0] == "":
        texts = [part.drop_columns([""]) for part in texts]
    return texts


def read_names(file: Path, delimiter: str, encoding: str) -> list[str]:
    """Names of the columns of a CSV file, as they stand in its header.

    Raises:
        SourceError: Where the file cannot be read.
    """
    try:
        names = _header(file, (delimiter, encoding)).names
    except (*NO_FILE, UnicodeError) as error:
        raise _cut_off(file.name, str(error)) from error
    return list(names[1:] if names[:1] == ("",) else names)


def first_values(file: Path, column: str, delimiter: str, encoding: str) -> list[str]:
    """The values of a column in the first rows of a CSV file, as they are written.

    Raises:
        SourceError: Where the file cannot be read.
    """
    try:
        with _opened(file) as stream, io.TextIOWrapper(stream, encoding, newline="") as text:
            rows = csv.DictReader(text, delimiter=delimiter)
            return [row[column] for row in islice(rows, SOME) if row.get(column)]
    except (*NO_FILE, UnicodeError, csv.Error) as error:
        raise _cut_off(file.name, str(error)) from error


def to_types(
    texts: list[Any],
    what: str,
    types: Mapping[str, str],
    kinds: Mapping[str, Any],
    spare: Path | None = None,
    only: str | None = None,
) -> list[Any]:
    """The tables of ``read_texts``, their columns in the types that are said, or in ``kinds``.

    Args:
        texts: Emptied as they are converted, which bounds the memory.
        what: Name of the file in messages.
        types: Columns to a word of ``TYPES``; those that are not there are left aside. ``str``
            keeps each value as it is written, ``comma`` is a number with a decimal comma; a column
            in which some value is none of its type is text, or what else all of its values are.
        kinds: Arrow types of the other columns.
        spare: As for ``read_texts``.
        only: Column beside which the others are checked and stay texts, for ``day_to_types``.

    Raises:
        ColumnsError: Where a value is none of the type in ``kinds``; names its row.
    """
    import pyarrow as pa

    said = {name: type_of(name, types) for name in texts[0].column_names}
    found_kinds = {}
    for name, word in said.items():
        kept_text = only is not None and name != only
        if word:
            found_kinds[name] = pa.string() if kept_text else _kind(texts, name, word)
        else:
            _check_kind(texts, what, name, kinds[name])
            found_kinds[name] = pa.string() if kept_text else kinds[name]
    found: list[Any] = []
    while texts:
        part = texts.pop(0)
        columns = [as_time(_cast(part[n], kind, said[n])) for n, kind in found_kinds.items()]
        typed = pa.table(columns, names=list(found_kinds))
        found.append(partitions.spilled(typed, spare) if spare and texts + found else typed)
    return found


def day_to_types(rows: Any, types: Mapping[str, str], within: Mapping[str, Sequence[Any]]) -> Any:
    """The texts of one day in the types that its own values have, whatever other days hold.

    Args:
        rows: Arrow table of one day; columns that are no texts stay as they are.
        types: As for ``to_types``.
        within: Arrow types that the other columns may have, the narrowest first; all values have
            the last one.
    """
    import pyarrow as pa

    made = {}
    for place, (name, column) in enumerate(zip(rows.column_names, rows.columns, strict=True)):
        if column.type != pa.string():
            continue
        said = type_of(name, types)
        if said:
            kind = _kind([rows], name, said)
        else:
            *small, widest = within[name]
            kind = next((each for each in small if _fit([column], each, None)), widest)
        made[place] = as_time(_cast(column, kind, said))
    return with_columns(rows, made)


def kinds_of(texts: Sequence[Any], name: str) -> list[Any]:
    """The Arrow types that all values of a column have, the narrowest first; text is always one."""
    import pyarrow as pa

    columns = [part.column(name) for part in texts]
    found = [kind for kind in _kinds(None) if _fit(columns, kind, None)]
    codes = any(_has_codes(column, found[0]) for column in columns) if found else False
    return [*([] if codes else found), pa.string()]


def _has_codes(column: Any, kind: Any) -> bool:
    """Whether texts that could be read as numbers of this type are codes: in base 16, or phones."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_integer(kind):  # no other letter is in them
        return any(pc.any(pc.match_substring(column, letter)).as_py() for letter in "xX")
    signed = pa.types.is_floating(kind) and pc.any(pc.match_substring(column, "+")).as_py()
    return bool(signed) and _any_like(column, PHONE)


def _check_kind(texts: Sequence[Any], what: str, name: str, kind: Any) -> None:
    import pyarrow as pa

    before = 0
    for part in texts:
        column = part.column(name)
        if kind != pa.string() and not _fits(column, kind, None):
            while len(column) > 1:
                half = column.slice(0, len(column) // 2)
                broken = not _fits(half, kind, None)
                before += 0 if broken else len(half)
                column = half if broken else column.slice(len(half))
            value = shortened(column[0].as_py())
            raise ColumnsError(
                f"{what}: found {value} in column {name!r}, row {before + 1:,}; expected {kind}, "
                "as in the files that came before it. Correct the file, or keep the column as it "
                f"is written with types={{{name!r}: 'str'}} in the model's source; the contract "
                "may name its type as well."
            )
        before += len(part)


def type_of(name: str, types: Mapping[str, str]) -> str | None:
    """The type that is named for a column, or for a pattern that its name matches."""
    if name in types:
        return types[name]
    patterns = {each.removeprefix(PATTERN): kind for each, kind in types.items() if PATTERN in each}
    return next((kind for pattern, kind in patterns.items() if re.match(pattern, name)), None)


@dataclass(frozen=True)
class _Header:
    """Names of the columns, the empty lines above them, and whether one name is all of it."""

    names: tuple[str, ...] = ()
    above: int = 0
    quoted: bool = False


def _texts(file: Path, what: str, dialect: tuple[str, str], spare: Path | None) -> Iterator[Any]:
    """The file part by part, all values as they are written."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    delimiter, encoding = dialect
    header = _header(file, dialect)
    names, read, some, one = list(header.names), False, False, len(header.names) == 1
    reading = arrow_csv.ReadOptions(
        use_threads=False,
        block_size=LONGEST_ROW,
        encoding=encoding,
        skip_rows=header.above if one else 0,
    )
    parsing = arrow_csv.ParseOptions(
        delimiter=delimiter, newlines_in_values=True, ignore_empty_lines=not one
    )
    while not read:
        converting = arrow_csv.ConvertOptions(
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=list(NULLS),
            column_types=dict.fromkeys(names, pa.string()),
        )
        with (
            _opened(file) as stream,
            arrow_csv.open_csv(stream, reading, parsing, converting) as parts,
        ):
            schema = parts.schema
            _check_names(what, schema.names, delimiter, quoted=header.quoted)
            if read := all(kind == pa.string() for kind in schema.types):
                for part in parts:
                    table, some = pa.Table.from_batches([part]), True
                    table = _without_nothing(table) if one else table
                    yield partitions.spilled(table, spare) if spare else table
            names = schema.names
    if not some:
        yield schema.empty_table()


def _without_nothing(table: Any) -> Any:
    """The same, a quoted nothing missing: so programs write it where it is the only value."""
    import pyarrow as pa
    import pyarrow.compute as pc

    known = [pc.if_else(pc.equal(c, ""), pa.scalar(None, c.type), c) for c in table.columns]
    return pa.table(known, schema=table.schema)


def _header(file: Path, dialect: tuple[str, str]) -> _Header:
    """The first row; without those that are read in another way than Arrow does."""
    delimiter, encoding = dialect
    encoding = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    with _opened(file) as stream, io.TextIOWrapper(stream, encoding, newline="") as text:
        above, line = next(((n, t) for n, t in enumerate(text) if t.strip("\r\n")), (0, ""))
        try:
            names = next(csv.reader(chain([line], text), delimiter=delimiter), [])
        except csv.Error:
            return _Header()
    whole = '"' + names[0].replace('"', '""') + '"' if len(names) == 1 else None
    return _Header(tuple(names), above, line.rstrip("\r\n") == whole)


def _kind(parts: Sequence[Any], name: str, said: str) -> Any:
    """The type that all values of a column have; first of all the one that is said of it."""
    import pyarrow as pa

    if said == "str":
        return pa.string()
    columns = [part.column(name) for part in parts]
    tried = (*_kinds(said), *_kinds(None))
    return next((kind for kind in tried if _fit(columns, kind, said)), pa.string())


def _fit(columns: Sequence[Any], kind: Any, said: str | None) -> bool:
    """Whether all values are of this type; a few of them rule most types out.

    A first value that is no whole number is told by its text, for a cast that fails takes longer.
    """
    import pyarrow as pa

    if said is None and pa.types.is_integer(kind):
        firsts = (column[0].as_py() for column in columns if len(column))
        if any(first is not None and not WHOLE.fullmatch(first) for first in firsts):
            return False
    return all(
        _fits(column.slice(0, few), kind, said) for few in (1, SOME, None) for column in columns
    )


def _kinds(said: str | None) -> tuple[Any, ...]:
    """Types in the order in which they are tried."""
    import pyarrow as pa

    whole, times = (pa.int64(), pa.uint64()), (pa.timestamp("s"), pa.timestamp("ns"))
    return {
        "int": whole,
        "float": (pa.float64(),),
        "comma": (pa.float64(),),
        "bool": (pa.bool_(),),
        "time": (pa.date32(), *times),
    }.get(
        said or "",
        (pa.null(), *whole, pa.bool_(), pa.date32(), pa.time32("s"), *times, pa.float64()),
    )


def _fits(column: Any, kind: Any, said: str | None) -> bool:
    """Whether every text is a value of this type, and a number says what the text says."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        _cast(column, kind, said)
    except pa.ArrowException:
        return False
    if not said and _is_number(kind) and _any_like(column, CODE):
        return False
    if pa.types.is_floating(kind) and said not in ("float", "comma"):
        long = column.filter(pc.match_substring_regex(column, LONG)).to_pylist()
        return all(int(text) == float(text) for text in long)
    return True


def _cast(column: Any, kind: Any, said: str | None) -> Any:
    """Texts as values of a type; of a column whose type is said, a quoted nothing is missing.

    A column in which all is missing is one of whole numbers, until a value says what it is.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    column = _with_points(column) if said == "comma" else column
    if kind == pa.string():
        return column
    if pa.types.is_null(kind):
        if column.null_count < len(column):
            raise pa.ArrowInvalid("not all missing")
        return column.cast(pa.int64())
    if pa.types.is_time(kind):
        if not pc.all(pc.match_substring_regex(column, CLOCK)).as_py():
            raise pa.ArrowInvalid("no time of day")
        moments = pc.binary_join_element_wise("1970-01-01", column, " ")
        return moments.cast(pa.timestamp("s")).cast(kind)
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        known = column
        if said:
            known = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
        if not pa.types.is_temporal(kind):
            known = pc.ascii_trim(known, characters=" \t")
        return known.cast(kind)


def _with_points(column: Any) -> Any:
    """Texts of numbers with a decimal comma as those with a point; other texts as they are."""
    import pyarrow.compute as pc

    grouped = pc.match_substring_regex(column, GROUPED)
    plain = pc.if_else(grouped, pc.replace_substring(column, ".", ""), column)
    return pc.replace_substring_regex(plain, r"^(\s*[+-]?\d*),(\d+)", r"\1.\2")


def _any_like(column: Any, pattern: str) -> bool:
    import pyarrow.compute as pc

    return bool(pc.any(pc.match_substring_regex(column, pattern)).as_py())


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _has_line_end(part: Any) -> bool:
    import pyarrow.compute as pc

    return any(pc.any(pc.match_substring(column, "\n")).as_py() for column in part.columns)


def as_time(column: Any) -> Any:
    """A column of dates as a column of times, because another day may have times in it."""
    import pyarrow as pa

    return column.cast(pa.timestamp("s")) if pa.types.is_date(column.type) else column


def in_seconds(column: Any) -> Any:
    """A column of whole seconds as such, although other days have parts of a second."""
    import pyarrow as pa

    if column.type != pa.timestamp("ns"):
        return column
    try:
        return column.cast(pa.timestamp("s"))
    except pa.ArrowInvalid:
        return column


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    """The content of a file, unpacked where it is packed; what it is packed with, it says itself.

    Raises:
        SourceError: Where it unpacks to far more than a table would.
    """
    import pyarrow as pa

    with file.open("rb") as stream:
        start = stream.read(6)
        stream.seek(0)
        kind = next((kind for mark, kind in PACKED.items() if start.startswith(mark)), "")
        if not kind:
            yield stream
            return
        most = max(LEAST_BOUND, MOST_UNPACKED * file.stat().st_size)
        unpack: dict[str, Callable[[Any], Any]] = {
            "gzip": gzip.open,
            "bzip2": bz2.open,
            "xz": lzma.open,
            "zstd": lambda packed: pa.CompressedInputStream(packed, "zstd"),
        }
        with unpack[kind](stream) as inner:
            yield cast(IO[bytes], _Bounded(inner, most, file.name))


class _Bounded(io.RawIOBase):
    """What a packed file holds, up to a bound."""

    def __init__(self, inner: Any, most: int, what: str) -> None:
        self.inner, self.left, self.most, self.what = inner, most, most, what

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self.inner.read(len(buffer))
        self.left -= len(found)
        if self.left < 0:
            raise SourceError(
                f"{self.what}: unpacks to more than {self.most:,} bytes, which is "
                f"{MOST_UNPACKED} times its size; expected a table. Deliver it unpacked if it is "
                "one."
            )
        buffer[: len(found)] = found
        return len(found)


def _check_text(file: Path, what: str, encoding: str) -> bool:
    """Check that the file has content in this encoding, and no NUL byte.

    Returns:
        Whether a quote is behind a backslash: some programs mark so a quote within a value.
    """
    read, escaped, last = 0, False, ""
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
            escaped, last = escaped or '\\"' in last + text, text[-1:]
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise _cut_off(what, "a character that ends in the middle") from None
    except NO_FILE as error:
        failed = disk_fault(f"{what}: cannot be read", error)
        raise failed or _cut_off(what, str(error)) from error
    if not read:
        raise _cut_off(what, "0 bytes")
    return escaped


def _parts(file: Path) -> Iterator[bytes]:
    with _opened(file) as stream:
        while part := stream.read(AT_ONCE):
            yield part


def _check_names(what: str, names: Sequence[str], delimiter: str, *, quoted: bool) -> None:
    if len(names) == 1 and not quoted:
        others = [mark for mark in DELIMITERS if mark != delimiter and mark in names[0]]
        if others:
            raise SourceSettingsError(
                f"{what}: found one column {shortened(names[0])}; expected several, with "
                f"{DELIMITERS.get(delimiter, repr(delimiter))} between them. "
                f"Set delimiter={others[0]!r}."
            )
    check_names(names[1:] if names[0] == "" else names, what)


def _check_quotes(file: Path, what: str, delimiter: str, encoding: str) -> None:
    """Check that no quote was left open: it would swallow the rows up to the next quote."""
    before = csv.field_size_limit(2 * LONGEST_ROW)
    line = 0
    try:
        with _opened(file) as stream, io.TextIOWrapper(stream, encoding, newline="") as text:
            rows = csv.reader(text, delimiter=delimiter, strict=True)
            for _ in rows:
                line = rows.line_num
    except csv.Error as error:
        raise SourceError(
            f"{what}: found a quote in line {line + 1:,} that is not closed as it should be "
            f"({error}), so that rows after it would be read as one value; expected quotes around "
            "a whole value, and two where one is meant within. Deliver the file again."
        ) from error
    finally:
        csv.field_size_limit(before)


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
