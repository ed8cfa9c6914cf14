"""CSV becomes typed columns, and what is no CSV is named by its place."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.sources import SourceError, SourceSettingsError, csv_reader
from tasks.sources.csv_reader import LONGEST_ROW, kinds_of, read_texts, to_types


def read(file: Path, content: bytes, delimiter: str = ",", encoding: str = "utf-8") -> object:
    file.write_bytes(content)
    texts = read_texts(file, file.name, delimiter, encoding)
    kinds = {name: kinds_of(texts, name)[0] for name in texts[0].column_names}
    return pa.concat_tables(to_types(texts, file.name, {}, kinds)).to_pydict()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.csv"


def test_missing_values_and_quotes(file: Path) -> None:
    text = b'n,s,b\n1,"a,\nb",true\nNA,"NA",\n2.5,,false\n'
    assert read(file, text) == {
        "n": [1.0, None, 2.5],
        "s": ["a,\nb", "NA", None],
        "b": [True, None, False],
    }


def test_a_mark_of_unicode_an_index_and_other_encodings(file: Path) -> None:
    assert read(file, "\ufeffn;s\r\n1;é\r\n".encode(), ";") == {"n": [1], "s": ["é"]}
    assert read(file, b",n\n0,7\n1,8\n") == {"n": [7, 8]}, "as pandas writes an index"
    assert read(file, "n,s\n1,é\n".encode("latin-1"), encoding="latin-1")["s"] == ["é"]  # type: ignore[index]
    assert read(file, "n,s\n1,é\n".encode("utf-16"), encoding="utf-16")["s"] == ["é"]  # type: ignore[index]
    assert read(file, gzip.compress(b"n\n1\n")) == {"n": [1]}


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_every_line_of_a_file_of_one_column_is_a_row(end: bytes, file: Path) -> None:
    """An empty line is a missing value, and so is the quoted nothing that most programs write."""
    lines = [b"", b"n", b"1", b"", b'""', b"4"]
    assert read(file, end.join(lines)) == {"n": [1, None, None, 4]}
    assert read(file, end.join([*lines, b"", b""])) == {"n": [1, None, None, 4, None]}
    assert read(file, end.join([b"s", b"x", b"", b'"NA"', b""])) == {"s": ["x", None, "NA"]}
    assert read(file, end.join([b"n,s", b"1,x", b"", b"2,y"])) == {"n": [1, 2], "s": ["x", "y"]}


def test_a_quoted_header_of_one_column_may_hold_what_separates_elsewhere(file: Path) -> None:
    assert read(file, b'"a;b"\n1\n') == {"a;b": [1]}
    assert read(file, b'"a "";"" b|c"\n1\n') == {'a ";" b|c': [1]}
    for header in (b"a;b", b'"a";"b"', b"a\tb"):
        with pytest.raises(SourceSettingsError, match="Set delimiter="):
            read(file, header + b"\n1\n")


def test_a_number_that_begins_with_a_zero_is_a_code(file: Path) -> None:
    text = b"sku,n,price,zip\n00042,10,0.5,1067\n7,0,2,\n12,20,1,01067\n"
    assert read(file, text) == {
        "sku": ["00042", "7", "12"],
        "n": [10, 0, 20],
        "price": [0.5, 2.0, 1.0],
        "zip": ["1067", None, "01067"],
    }


def test_whole_numbers_keep_every_digit(file: Path) -> None:
    first = b"1234567890123456789,12345678901234567890,123456789012345678901,1\n"
    text = b"id,big,huge,n\n" + first + b",1,1,0.5\n"
    assert read(file, text) == {
        "id": [1234567890123456789, None],
        "big": [12345678901234567890, 1],
        "huge": ["123456789012345678901", "1"],
        "n": [1.0, 0.5],
    }


def test_a_type_that_is_named_does_not_hang_on_the_rows(file: Path) -> None:
    file.write_bytes(b"sku,zip,n,x\n7,01067,0042,1\n8,,7,x\n")
    types = {"sku": "str", "zip": "int", "n": "float", "x": "int", "absent": "str"}
    [table] = to_types(read_texts(file, "x.csv", ",", "utf-8"), "x.csv", types, {})
    assert table.to_pydict() == {
        "sku": ["7", "8"], "zip": [1067, None], "n": [42, 7], "x": ["1", "x"],
    }  # fmt: skip


def test_codes_with_a_sign_or_in_another_base_are_text_and_signed_numbers_are_none(
    file: Path,
) -> None:
    text = b"phone,zero,hex,change\n+491701234567,-007,0x1F,+1\n,+07,0X2a,-0.5\n"
    assert read(file, text) == {
        "phone": ["+491701234567", None],
        "zero": ["-007", "+07"],
        "hex": ["0x1F", "0X2a"],
        "change": [1.0, -0.5],
    }


def test_a_dump_of_a_database_says_backslash_n_for_nothing(file: Path) -> None:
    assert read(file, b'n,s\n1,\\N\n\\N,"\\N"\n') == {"n": [1, None], "s": [None, "\\N"]}


def test_a_type_holds_for_the_whole_file(file: Path) -> None:
    many = b"n,s\n" + b"1,2\n" * (LONGEST_ROW // 2) + b"0.5,x\n"
    found = read(file, many)
    assert found["n"][-1] == 0.5  # type: ignore[index]
    assert found["s"][0] == "2"  # type: ignore[index]


WRONG = {
    "empty": (b"", SourceError, "x.csv: found 0 bytes; expected a complete CSV file"),
    "blank": (b"\n\n", SourceError, "found no row, not even a header"),
    "semicolons": (b"a;b\n1;2\n", SourceSettingsError, r"one column 'a;b'.*Set delimiter=';'"),
    "tabs": (b"a\tb\n1\t2\n", SourceSettingsError, r"Set delimiter='\\t'"),
    "latin-1": (
        b"a,b\n1,\xe9\n",
        SourceSettingsError,
        "found byte 0xe9 at position 6, which is not valid utf-8.*Set encoding=",
    ),
    "half a character": (b"a,b\n1,\xc3", SourceError, "a character that ends in the middle"),
    "nul": (b"a,b\n1,\0\n", SourceError, "found a NUL byte after 6 bytes"),
    "ragged": (b"a,b\n1,2\n3\n4,5\n", SourceError, r"found 1 columns in row 3, '3'; expected 2"),
    "too many": (b"a,b\n1,2,3\n", SourceError, r"found 3 columns in row 2, '1,2,3'"),
    "twice": (b"a,b,a\n1,2,3\n", SourceError, "found 2 columns 'a'; expected each name once"),
    "no name": (b"a,\n1,2\n", SourceError, "found no name for column 2"),
    "open quote": (
        b'a,b\n1,"x\n2,y\n3,z\n',
        SourceError,
        "found a quote in line 2 that is not closed",
    ),
    "no gzip": (b"\x1f\x8b\x08broken", SourceError, "expected a complete CSV file"),
    "huge": (b"a,b\n1," + b"x" * 100_000_000 + b"\n2,3\n", SourceError, "a row of more than"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_csv_is_told(case: str, file: Path) -> None:
    content, kind, message = WRONG[case]
    with pytest.raises(SourceError, match=message) as told:
        read(file, content)
    assert type(told.value) is kind
    assert len(str(told.value)) < 400


OPEN = {
    "in the last row": b'a,b\n1,x\n2,"y\n3,z\n',
    "without a line end": b'a,b\n1,x\n2,"y\n3,z',
    "with a later quote": b'a,b\n1,"x\n2,"y"\n3,z\n',
    "among closed ones": b'a,b\n0,"a\nb"\n1,"x\n2,"y"\n',
    "in the first column": b'a\n1\n"2\n3\n',
    "behind a backslash": b'a,b\n1,"5\\" pipe"\n2,y\n',
}


@pytest.mark.parametrize("case", OPEN)
def test_an_open_quote_swallows_no_row(case: str, file: Path) -> None:
    with pytest.raises(SourceError, match=r"x\.csv: found a quote in line \d+ that is not closed"):
        read(file, OPEN[case])


def test_a_quote_behind_a_backslash_is_found_where_a_read_ends_between_them(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_reader, "AT_ONCE", 1)
    with pytest.raises(SourceError, match="found a quote in line 2 that is not closed"):
        read(file, OPEN["behind a backslash"])


def test_quotes_within_values_stay(file: Path) -> None:
    text = b'a,b\n5" pipe,"two ""words"""\n"a\nb",c\n"C:\\a\\",d\n'
    expected = {"a": ['5" pipe', "a\nb", "C:\\a\\"], "b": ['two "words"', "c", "d"]}
    assert read(file, text) == expected


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda text: bytes(pa.compress(text, "zstd", asbytes=True)),
}


@pytest.mark.parametrize("kind", PACKERS)
def test_packed_files_are_read_broken_ones_told_and_none_fills_the_memory(
    kind: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = PACKERS[kind](b"a,b\n" + b"1,2\n" * 100_000)
    assert len(read(file, packed)["a"]) == 100_000  # type: ignore[index]
    with pytest.raises(SourceError, match=r"x\.csv: found .*expected a complete CSV file"):
        read(file, packed[: len(packed) // 2])
    monkeypatch.setattr(csv_reader, "LEAST_BOUND", 1_000)
    monkeypatch.setattr(csv_reader, "MOST_UNPACKED", 10)
    with pytest.raises(SourceError, match=r"x\.csv: unpacks to more than [\d,]+ bytes"):
        read(file, packed)


def test_a_quoted_nothing_among_declared_numbers_is_missing(file: Path) -> None:
    file.write_bytes(b'n,s\n"1",""\n"",""\n')
    texts = read_texts(file, "x.csv", ",", "utf-8")
    [table] = to_types(texts, "x.csv", {"n": "int", "s": "str"}, {})
    assert table.to_pydict() == {"n": [1, None], "s": ["", ""]}
