"""What goes into a source is what the contract gets, whichever days are read together."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from numbers import Integral
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pandera.pandas as pa
import pyarrow as arrow
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sql
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from tasks.features.contract import accept_rows
from tasks.sources import ColumnsError, CsvDays, DataFrameDays, ParquetDays, Source, SqlDays
from tasks.sources.files import _read_parquet
from tasks.spec.values import plain_types
from tests.samples import in_part, samples

FIRST = dt.date(2026, 11, 20)
ID = 1_234_567_890_123_456_789
UTC = dt.UTC


def whole(low: int, high: int) -> st.SearchStrategy[int]:
    return st.integers(low, high)


moments = st.datetimes(*map(dt.datetime.fromisoformat, ("1700-01-01", "2200-01-01")))
seconds = moments.map(lambda moment: moment.replace(microsecond=0))
texts = st.sampled_from(["", "a", "00042", "1", "1.0", "ä", "NULL"])
CATEGORY = arrow.dictionary(arrow.int32(), arrow.string())
LONG = st.sampled_from([None, ID, 7, -(2**63)])
TYPES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "int8": (arrow.int8(), whole(-(2**7), 2**7 - 1)),
    "int16": (arrow.int16(), whole(-(2**15), 2**15 - 1)),
    "int32": (arrow.int32(), whole(-(2**31), 2**31 - 1)),
    "int64": (arrow.int64(), whole(-(2**63), 2**63 - 1)),
    "uint8": (arrow.uint8(), whole(0, 2**8 - 1)),
    "uint16": (arrow.uint16(), whole(0, 2**16 - 1)),
    "uint32": (arrow.uint32(), whole(0, 2**32 - 1)),
    "uint64": (arrow.uint64(), whole(0, 2**64 - 1)),
    "float16": (arrow.float16(), st.floats(width=16, allow_nan=False)),
    "float32": (arrow.float32(), st.floats(width=32, allow_nan=False)),
    "float64": (arrow.float64(), st.floats(allow_nan=False)),
    "bool": (arrow.bool_(), st.booleans()),
    "string": (arrow.string(), texts),
    "large_string": (arrow.large_string(), texts),
    "category": (CATEGORY, texts),
    "decimal": (arrow.decimal128(30, 2), whole(-(10**28), 10**28).map(lambda n: Decimal(n) / 100)),
    "date32": (arrow.date32(), st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31))),
    "date64": (arrow.date64(), st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31))),
    "timestamp ms": (arrow.timestamp("ms"), seconds),
    "timestamp us": (arrow.timestamp("us"), moments),
    "timestamp ns": (arrow.timestamp("ns"), moments),
    "zoned": (arrow.timestamp("us", "UTC"), moments.map(lambda m: m.replace(tzinfo=UTC))),
    "time": (arrow.time64("us"), st.times()),
    "duration": (arrow.duration("us"), st.timedeltas(dt.timedelta(-9), dt.timedelta(9))),
    "binary": (arrow.binary(), st.binary(max_size=3)),
    "string_view": (arrow.string_view(), texts),
    "list": (arrow.list_(arrow.int64()), st.lists(LONG, max_size=2)),
    "struct": (arrow.struct({"a": arrow.int64()}), st.fixed_dictionaries({"a": LONG})),
    "structs": (
        arrow.list_(arrow.struct({"a": arrow.int64()})),
        st.lists(st.fixed_dictionaries({"a": LONG}), max_size=2),
    ),
    "map": (
        arrow.map_(arrow.string(), arrow.int64()),
        st.lists(st.tuples(texts, LONG), max_size=2),
    ),
}


def days_of(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[list[Any]]]:
    """Up to three days of values, any of them missing."""
    day = st.lists(st.one_of(st.none(), values), min_size=1, max_size=4)
    return st.lists(day, min_size=1, max_size=3)


def dates(count: int) -> list[dt.date]:
    return [FIRST + dt.timedelta(days=offset) for offset in range(count)]


def as_parquet(folder: Path, days: Sequence[Sequence[Any]], kind: Any) -> Source:
    for day, values in zip(dates(len(days)), days, strict=True):
        pq.write_table(arrow.table({"x": arrow.array(values, kind)}), folder / f"{day}.parquet")
    return ParquetDays(str(folder))


def as_frames(days: Sequence[Sequence[Any]], kind: Any) -> Source:
    made = {
        day: arrow.table({"x": arrow.array(values, kind)}).to_pandas(types_mapper=pd.ArrowDtype)
        for day, values in zip(dates(len(days)), days, strict=True)
    }
    return DataFrameDays(read=lambda day: made[day], days=lambda _: [*made])


def as_csv(folder: Path, days: Sequence[Sequence[Any]]) -> CsvDays:
    for day, values in zip(dates(len(days)), days, strict=True):
        shown = [f'"{v}"' if isinstance(v, str) else "" if v is None else repr(v) for v in values]
        lines = ["n,x", *(f"{row},{value}" for row, value in enumerate(shown))]
        (folder / f"{day}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return CsvDays(str(folder))


def as_sql(url: str, days: Sequence[Sequence[Any]], kind: str) -> Source:
    engine = sql.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE TABLE t (at timestamp, n bigint, x {kind})")
        for day, values in zip(dates(len(days)), days, strict=True):
            rows = [{"at": f"{day} 00:00:{n:02}", "x": v} for n, v in enumerate(values)]
            at = ":at" if url.startswith("sqlite") else "CAST(:at AS timestamp)"
            connection.execute(sql.text(f"INSERT INTO t (at, x) VALUES ({at}, :x)"), rows)
    engine.dispose()
    return SqlDays(url, table="t", time="at")


def together_and_alone(source: Source, count: int) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Rows of all days as one reading gives them, and day by day as one reading each does."""
    return source.read_days(dates(count)), [source.read_days([day]) for day in dates(count)]


def plain(values: pd.Series[Any]) -> list[Any]:
    """Python values, None where one is missing."""
    gone = values.isna().to_numpy()
    kept = [None if missing else v for v, missing in zip(values.tolist(), gone, strict=True)]
    return [list(v) if hasattr(v, "tolist") and v.ndim else v for v in kept]


@pytest.mark.parametrize("name", in_part(TYPES))
@settings(max_examples=samples(12), deadline=None)
@given(data=st.data())
def test_days_read_together_are_the_days_read_alone(name: str, data: st.DataObject) -> None:
    kind, values = TYPES[name]
    days = data.draw(days_of(values))
    every = [value for day in days for value in day]
    with tempfile.TemporaryDirectory() as folder:
        for source in (as_parquet(Path(folder), days, kind), as_frames(days, kind)):
            whole, parts = together_and_alone(source, len(days))
            found = plain(whole["x"])
            if "date" in name:
                found = [value if value is None else value.date() for value in found]
            assert found == every
            for day, alone in zip(dates(len(days)), parts, strict=True):
                same = whole[whole["day"] == pd.Timestamp(day)].reset_index(drop=True)
                if name == "category":
                    same, alone = (rows.astype({"x": "str"}) for rows in (same, alone))
                assert_frame_equal(same, alone)


@settings(max_examples=samples(100), deadline=None)
@given(kinds=st.lists(st.sampled_from([*TYPES]), min_size=2, max_size=2), data=st.data())
def test_days_of_two_types_are_joined_whole_or_refused(
    kinds: list[str], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for day, name in zip(dates(2), kinds, strict=True):
            kind, values = TYPES[name]
            drawn = arrow.array([data.draw(values)], kind)
            pq.write_table(arrow.table({"x": drawn}), f"{folder}/{day}.parquet")
        alone = [ParquetDays(folder).read_days([day])["x"] for day in dates(2)]
        try:
            together = ParquetDays(folder).read_days(dates(2))["x"]
        except ColumnsError:
            return
    for found, expected in zip(plain(together), chain(*map(plain, alone)), strict=True):
        if isinstance(expected, Decimal) and isinstance(found, float):
            found = Decimal(str(found))
        assert found == expected


class Loose(pa.DataFrameModel):
    class Config:
        coerce = True


class Whole(Loose):
    x: pd.Int64Dtype = pa.Field(nullable=True)


class Number(Loose):
    x: float = pa.Field(nullable=True)


class Text(Loose):
    x: str = pa.Field(nullable=True)


class Flag(Loose):
    x: pd.BooleanDtype = pa.Field(nullable=True)


KINDS: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "bigint": (Whole, whole(-(2**63), 2**63 - 1)),
    "double precision": (Number, st.floats(allow_nan=False, allow_infinity=False)),
    "text": (Text, st.sampled_from(["7", "00042", "1.0", "a", "NULL", "ä", "1e3", "true"])),
    "boolean": (Flag, st.booleans()),
}


def check_accepted(source: Source, days: Sequence[Sequence[Any]], contract: Any) -> None:
    whole, parts = together_and_alone(source, len(days))
    accepted = accept_rows(whole, contract)
    assert plain(accepted.rows["x"]) == [value for day in days for value in day]
    alone = [accept_rows(part, contract).rows for part in parts]
    assert_frame_equal(
        accepted.rows[["day", "x"]], pd.concat(alone, ignore_index=True)[["day", "x"]]
    )


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=samples(12), deadline=None)
@given(data=st.data())
def test_days_of_text_and_of_sqlite_give_the_contract_the_same(
    kind: str, data: st.DataObject
) -> None:
    contract, values = KINDS[kind]
    days = data.draw(days_of(values))
    with tempfile.TemporaryDirectory() as folder:
        check_accepted(as_csv(Path(folder), days).with_types(plain_types(contract)), days, contract)
        check_accepted(as_sql(f"sqlite:///{folder}/t.db", days, kind), days, contract)


@pytest.mark.parametrize("kind", KINDS)
def test_days_of_postgresql_give_the_contract_the_same(kind: str, postgres: str) -> None:
    values: dict[str, list[list[Any]]] = {
        "bigint": [[ID, None], [None], [ID + 1]],
        "double precision": [[0.5, None], [None], [2.0]],
        "text": [["00042", None], [None], ["7"]],
        "boolean": [[True, None], [None], [False]],
    }
    source = as_sql(postgres, values[kind], kind)
    check_accepted(source, values[kind], KINDS[kind][0])
    whole, parts = together_and_alone(source, 3)
    assert {part["x"].dtype for part in parts} == {whole["x"].dtype}


def test_exact_numbers_of_postgresql_that_are_whole_stay_whole(postgres: str) -> None:
    days = [[ID, None], [ID + 1]]
    check_accepted(as_sql(postgres, days, "numeric(20, 0)"), days, Whole)


@pytest.mark.parametrize("number", [str(ID), f"{ID}.25"])
def test_a_number_of_postgresql_that_no_float_holds_is_refused(number: str, postgres: str) -> None:
    source = as_sql(postgres, [[Decimal(number)]], "numeric")
    with pytest.raises(ColumnsError, match=f"column 'x'.*{number}.*CAST"):
        source.read_days([FIRST])


def test_gaps_of_postgresql_change_no_list_and_no_type(postgres: str) -> None:
    days = [[[ID, None], None], [[7]]]
    whole, _ = together_and_alone(as_sql(postgres, days, "bigint[]"), 2)
    assert plain(whole["x"]) == [*days[0], *days[1]]
    engine = sql.create_engine(postgres)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TYPE mood AS ENUM ('good')")
        connection.exec_driver_sql("ALTER TABLE t ALTER x TYPE mood USING 'good'")
        connection.exec_driver_sql(f"UPDATE t SET x = NULL WHERE at < '{dates(2)[1]}'")
    engine.dispose()
    whole, parts = together_and_alone(SqlDays(postgres, table="t", time="at"), 2)
    assert {part["x"].dtype for part in parts} == {whole["x"].dtype}


def test_lists_of_a_fixed_length_are_read_where_one_is_missing(tmp_path: Path) -> None:
    pair = arrow.list_(arrow.int64(), 2)
    days = [[[ID, None], None], [[7, 8], None]]
    for source in (as_parquet(tmp_path, days, pair), as_frames(days, pair)):
        whole, parts = together_and_alone(source, 2)
        alone = [value for part in parts for value in plain(part["x"])]
        assert plain(whole["x"]) == alone == [[ID, None], None, [7, 8], None]
        assert all(isinstance(each, Integral) for each in plain(parts[1]["x"])[0])
    spans = arrow.list_(arrow.struct({"a": arrow.list_(arrow.duration("us"), 1)}))
    values = [None, [{"a": None}, {"a": [dt.timedelta(1)]}]]
    table = arrow.table({"x": arrow.array(values, spans), "y": arrow.array(["b", None], CATEGORY)})
    pq.write_table(table, tmp_path / "spans.parquet")
    found = _read_parquet(tmp_path / "spans.parquet", "spans")
    assert found.to_pylist() == table.to_pylist()
    assert found.schema.field("y").equals(table.schema.field("y"))


def test_ids_beside_a_day_of_floats_keep_every_digit() -> None:
    """As pandas writes a day with a gap: whole numbers as floats."""
    frames = {
        FIRST: pd.DataFrame({"x": [ID, 7]}),
        dates(2)[1]: pd.DataFrame({"x": [3.0, None]}),
        dates(3)[2]: pd.DataFrame({"x": [None, None]}, dtype="float64"),
    }
    source = DataFrameDays(read=lambda day: frames[day], days=lambda _: [*frames])
    assert plain(source.read_days(dates(3))["x"]) == [ID, 7, 3, None, None, None]
    frames[dates(2)[1]] = pd.DataFrame({"x": [3.5, None]})
    with pytest.raises(ColumnsError, match=r"found .*double in column 'x'.*expected int64"):
        source.read_days(dates(3))


def test_numbers_that_no_column_holds_are_refused_by_name() -> None:
    source = DataFrameDays(
        read=lambda _: pd.DataFrame({"x": pd.Series([2**64, 1], dtype="object")}),
        days=lambda _: [FIRST],
    )
    with pytest.raises(Exception, match=r"<lambda>\(2026-11-20\).*too large"):
        source.read_days([FIRST])


def test_exact_numbers_beside_floats_are_refused_where_one_would_change(tmp_path: Path) -> None:
    for ids, fits in (([Decimal("0.10"), None], True), ([Decimal(ID)], False)):
        for day, values in zip(dates(2), (arrow.array(ids), arrow.array([0.5])), strict=True):
            pq.write_table(arrow.table({"x": values}), tmp_path / f"{day}.parquet")
        if fits:
            assert plain(ParquetDays(str(tmp_path)).read_days(dates(2))["x"]) == [0.1, None, 0.5]
        else:
            with pytest.raises(ColumnsError, match=r"found double in column 'x'.*decimal128"):
                ParquetDays(str(tmp_path)).read_days(dates(2))


def test_texts_and_bytes_of_sqlite_are_refused_by_name(tmp_path: Path) -> None:
    for number, days in enumerate(([["a", b"b"]], [["a"], [b"b"]])):
        source = as_sql(f"sqlite:///{tmp_path}/{number}.db", days, "blob")
        with pytest.raises(ColumnsError, match=r"text.*bytes.*CAST"):
            source.read_days(dates(len(days)))


def test_keys_of_a_frame_are_the_texts_that_a_database_gives() -> None:
    key = UUID("00042000-0000-4000-8000-00000000002a")
    source = DataFrameDays(read=lambda _: pd.DataFrame({"x": [key, None]}), days=lambda _: [FIRST])
    assert plain(source.read_days([FIRST])["x"]) == [str(key), None]


def test_times_at_the_ends_of_time_are_joined_or_refused_by_name(tmp_path: Path) -> None:
    for day, unit, moment in zip(dates(2), ("ms", "ns"), ("9999-12-31", "2026-01-01"), strict=True):
        times = arrow.array([pd.Timestamp(moment).to_pydatetime()], arrow.timestamp(unit))
        pq.write_table(arrow.table({"x": times}), tmp_path / f"{day}.parquet")
    with pytest.raises(ColumnsError, match=r"timestamp\[ns\] in column 'x'"):
        ParquetDays(str(tmp_path)).read_days(dates(2))


NAMES = [
    *("x", " x", "a b", "ä", "select", "class", '"q"', "a,b", "a;b", "a.b", "100%", "a:b", "it's"),
    *("{y}", "$1", "\\N", "NA", "1", "-", "source_rows", "nightly_day", "day_", "target", "µ" * 30),
]
"""What a table of a stranger may call its columns."""


@dataclass(frozen=True)
class Tables:
    """Random days, some of them in several files.

    Attributes:
        kinds: Column to a key of the types that were allowed.
        days: Of each day, of each of its files, rows as mappings.
    """

    kinds: dict[str, str]
    days: list[list[list[dict[str, Any]]]]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for day in self.days for file in day for row in file]


@st.composite
def tables(draw: st.DrawFn, values: Mapping[str, st.SearchStrategy[Any]]) -> Tables:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    kinds = {name: draw(st.sampled_from([*values])) for name in names}
    row = st.fixed_dictionaries({n: st.one_of(st.none(), values[k]) for n, k in kinds.items()})
    file = st.lists(row, min_size=1, max_size=3)
    day = st.lists(file, min_size=1, max_size=2)
    days = draw(st.lists(day, min_size=1, max_size=3))
    for files in days:
        gone = dict.fromkeys(draw(st.sets(st.sampled_from(names))))  # missing all day
        for rows in files:
            rows[:] = [row | gone for row in rows]
    return Tables(kinds, days)


def check_rows(source: Source, made: Tables) -> None:
    """Check that days read together are those that went in, and the same as read alone."""
    count = len(made.days)
    whole, parts = together_and_alone(source, count)
    for name, kind in made.kinds.items():
        found = plain(whole[name])
        if kind.startswith("date"):
            found = [value if value is None else value.date() for value in found]
        assert found == [row[name] for row in made.rows]
    categories = {name: "str" for name, kind in made.kinds.items() if kind == "category"}
    for day, alone in zip(dates(count), parts, strict=True):
        same = whole[whole["day"] == pd.Timestamp(day)].reset_index(drop=True)
        assert_frame_equal(same.astype(categories), alone.astype(categories))


def written(folder: Path, made: Tables, ending: str, write: Any, *, timed: bool) -> None:
    """The files of days, a folder for a day of several, or larger files with a column of times."""
    for day, files in zip(dates(len(made.days)), made.days, strict=True):
        for number, rows in enumerate(files):
            many = len(files) > 1 and not timed
            place = folder / f"day={day}" / f"part-{number}" if many else folder / str(day)
            place = folder / f"{day}-{number}" if timed else place
            place.parent.mkdir(parents=True, exist_ok=True)
            write(place.with_name(place.name + ending), rows, day if timed else None)


@pytest.mark.parametrize("timed", [False, True])
@settings(max_examples=samples(20))
@given(made=tables({name: values for name, (_, values) in TYPES.items()}))
def test_random_tables_of_parquet_come_out_as_they_went_in(made: Tables, timed: bool) -> None:
    def write(file: Path, rows: list[dict[str, Any]], day: dt.date | None) -> None:
        columns = {n: arrow.array([r[n] for r in rows], TYPES[k][0]) for n, k in made.kinds.items()}
        if day:
            columns["at"] = arrow.array([day] * len(rows))
        pq.write_table(arrow.table(columns), file)

    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTLY_HOME", f"{place}/home")
        written(Path(place) / "days", made, ".parquet", write, timed=timed)
        source = ParquetDays(f"{place}/days", "at" if timed else None)
        check_rows(source, made)


def quoted(value: object) -> str:
    """A value as a careful program writes it in CSV: quotes around texts, and nothing for none."""
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    return "" if value is None else repr(value)


WORDS = {"bigint": "int", "double precision": "float", "text": "str", "boolean": "bool"}


@pytest.mark.parametrize("timed", [False, True])
@settings(max_examples=samples(20))
@given(made=tables({kind: values for kind, (_, values) in KINDS.items()}))
def test_random_tables_of_csv_come_out_as_they_went_in(made: Tables, timed: bool) -> None:
    def write(file: Path, rows: list[dict[str, Any]], day: dt.date | None) -> None:
        lines = [["at"] + [quoted(name) for name in made.kinds]]
        lines += [[str(day or FIRST)] + [quoted(row[name]) for name in made.kinds] for row in rows]
        file.write_text("\n".join(map(",".join, lines)) + "\n", encoding="utf-8")

    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTLY_HOME", f"{place}/home")
        written(Path(place) / "days", made, ".csv", write, timed=timed)
        types = {name: WORDS[kind] for name, kind in made.kinds.items()}
        check_rows(CsvDays(f"{place}/days", "at" if timed else None, types=types), made)


@settings(max_examples=samples(20))
@given(made=tables({name: values for name, (_, values) in TYPES.items()}))
def test_random_frames_come_out_as_they_went_in(made: Tables) -> None:
    frames = {
        day: arrow.table(
            {n: arrow.array([row[n] for row in chain(*files)], TYPES[k][0])
             for n, k in made.kinds.items()}
        ).to_pandas(types_mapper=pd.ArrowDtype)
        for day, files in zip(dates(len(made.days)), made.days, strict=True)
    }  # fmt: skip
    check_rows(DataFrameDays(read=frames.__getitem__, days=lambda _: [*frames]), made)


SQLITE: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "int": (sql.BigInteger(), whole(-(2**63), 2**63 - 1)),
    "float": (sql.Float(), st.floats(allow_nan=False)),
    "text": (sql.Text(), texts),
    "bytes": (sql.LargeBinary(), st.binary(max_size=3)),
}
POSTGRES: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    **SQLITE,
    "float": (sql.Double(), st.floats(allow_nan=False)),
    "small": (sql.SmallInteger(), whole(-(2**15), 2**15 - 1)),
    "numeric": (sql.Numeric(18, 0), whole(-(10**18) + 1, 10**18 - 1)),
    "bool": (sql.Boolean(), st.booleans()),
    "date": (sql.Date(), st.dates(dt.date(1, 1, 1), dt.date(9999, 12, 31))),
    "timestamp": (sql.DateTime(), moments),
    "zoned": (sql.DateTime(timezone=True), moments.map(lambda m: m.replace(tzinfo=UTC))),
    "time": (sql.Time(), st.times()),
}


def check_database(url: str, types: Mapping[str, tuple[Any, Any]], made: Tables) -> None:
    engine = sql.create_engine(url, poolclass=sql.NullPool)
    keys = {name: f"c{number}" for number, name in enumerate(made.kinds)}  # names of parameters
    columns = [
        sql.Column(name, types[kind][0], key=keys[name]) for name, kind in made.kinds.items()
    ]
    table = sql.Table("t", sql.MetaData(), sql.Column("at", sql.DateTime()), *columns)
    with engine.begin() as connection:
        table.drop(connection, checkfirst=True)
        table.create(connection)
        for day, files in zip(dates(len(made.days)), made.days, strict=True):
            for second, row in enumerate(chain(*files)):
                at = dt.datetime.combine(day, dt.time(0, 0, second))
                row = {keys[name]: value for name, value in row.items()}
                connection.execute(table.insert(), row | {"at": at})
    engine.dispose()
    check_rows(SqlDays(url, table="t", time="at"), made)


@settings(max_examples=samples(20))
@given(made=tables({name: values for name, (_, values) in SQLITE.items()}))
def test_random_tables_of_sqlite_come_out_as_they_went_in(made: Tables) -> None:
    with tempfile.TemporaryDirectory() as place:
        check_database(f"sqlite:///{place}/t.db", SQLITE, made)


@settings(max_examples=samples(20), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=tables({name: values for name, (_, values) in POSTGRES.items()}))
def test_random_tables_of_postgresql_come_out_as_they_went_in(made: Tables, postgres: str) -> None:
    check_database(postgres, POSTGRES, made)


def test_a_day_of_whole_prices_of_sqlite_is_a_day_of_prices(tmp_path: Path) -> None:
    """SQLite gives each value a type of its own: 5.00 comes as a whole number."""
    source = as_sql(f"sqlite:///{tmp_path}/t.db", [[5], [5.5], [None]], "decimal(10, 2)")
    whole, parts = together_and_alone(source, 3)
    assert plain(whole["x"]) == [5.0, 5.5, None]
    assert {part["x"].dtype for part in parts} == {whole["x"].dtype}
    days = [[ID], [5.5]]
    mixed = as_sql(f"sqlite:///{tmp_path}/mixed.db", days, "decimal(20, 2)")
    for asked in (dates(1), dates(2)):
        with pytest.raises(ColumnsError, match=rf"in column 'x'.*{ID}.*CAST"):
            mixed.read_days(asked)
