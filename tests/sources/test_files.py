"""Days in files, one each or cut from larger ones: listed, read, and faults named by their file."""

import json
import os
import resource
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import fsspec
import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as checked
from hypothesis import strategies as st

from tasks import settings
from tasks.sources import (
    CsvDays,
    ParquetDays,
    SourceError,
    SourceOutageError,
    SourceSettingsError,
    csv_reader,
    locations,
)
from tasks.sources.serialize import source_from_json, source_to_json
from tasks.spec.values import plain_types
from tasks.store.files import DiskError
from tests.samples import samples

FIRST = date(2026, 11, 20)


def write(folder: Path, name: str, **columns: object) -> Path:
    folder.mkdir(exist_ok=True)
    pd.DataFrame(columns or {"n": [1, 2]}).to_parquet(folder / name)
    return folder / name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three days under both kinds of name, the last without rows."""
    place = tmp_path / "days"
    write(place, "2026-11-20.parquet", n=[1, 2], shop=["a", "b"])
    write(place, "day=2026-11-21.parquet", n=[3, 4], shop=["a", None])
    write(place, "2026-11-22.parquet", n=[], shop=[])
    return place


def test_days_are_listed_in_order_up_to_a_day(folder: Path) -> None:
    source = ParquetDays(str(folder))
    assert list(source.list_days(date(2026, 11, 21))) == [FIRST, FIRST + timedelta(days=1)]
    assert source.list_days(date(2020, 1, 1)) == {}


def test_the_fingerprint_follows_the_content(folder: Path) -> None:
    source = ParquetDays(str(folder))
    before = source.list_days(date.max)
    write(folder, "2026-11-20.parquet", n=[1, 9], shop=["a", "b"])
    after = source.list_days(date.max)
    assert [day for day in after if after[day] != before[day]] == [FIRST]


def test_rows_come_with_their_day(folder: Path) -> None:
    source = ParquetDays(str(folder))
    rows = source.read_days(list(source.list_days(date.max)))
    assert rows.columns.tolist() == ["day", "n", "shop"]
    assert rows["day"].dtype == "datetime64[s]"
    assert rows["n"].tolist() == [1, 2, 3, 4]
    assert rows["day"].dt.day.tolist() == [20, 20, 21, 21]
    assert rows.index.equals(pd.RangeIndex(4))


def test_a_day_without_rows_has_none(folder: Path) -> None:
    rows = ParquetDays(str(folder)).read_days([date(2026, 11, 22)])
    assert rows.empty
    assert rows["day"].dtype == "datetime64[s]"
    assert len(ParquetDays(str(folder)).read_days([])) == 0


def test_files_still_being_written_are_skipped(folder: Path) -> None:
    for name in ("_2026-11-23.parquet", ".2026-11-23.parquet", "2026-11-23.parquet.tmp"):
        (folder / name).write_bytes(b"")
    assert len(ParquetDays(str(folder)).list_days(date.max)) == 3


def test_a_relative_path_starts_at_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "days", "2026-11-20.parquet")
    monkeypatch.setattr(settings, "PROJECT", tmp_path)
    monkeypatch.chdir("/")
    assert list(ParquetDays("days").list_days(date.max)) == [FIRST]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "2026-11-23.parquet",
            b"",
            r"2026-11-23\.parquet: found 0 bytes.*PAR1; expected a complete",
        ),
        ("2026-11-23.parquet", b"PAR1" + bytes(50), r"found 54 bytes.*deliver it again"),
        (
            "november.parquet",
            b"",
            r"november\.parquet: found a file name that is not a day; expected",
        ),
        ("2026-11-31.parquet", b"", r"found a file name that is not a day"),
        ("2026-11-23.csv", b"", r"found a file name that is not a day"),
        ("day=2026-11-20.parquet", b"", r"2026-11-20\.parquet and .*one file for 2026-11-20"),
    ],
)
def test_a_bad_file_is_named(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        ParquetDays(str(folder)).list_days(date.max)


def test_a_truncated_file_is_refused(folder: Path) -> None:
    file = folder / "2026-11-20.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(SourceError, match=r"2026-11-20\.parquet.*truncated"):
        ParquetDays(str(folder)).list_days(date.max)


def test_a_file_broken_inside_is_refused(folder: Path) -> None:
    file = folder / "2026-11-20.parquet"
    content = file.read_bytes()
    file.write_bytes(b"PAR1" + bytes(len(content) - 8) + b"PAR1")
    with pytest.raises(SourceError, match=r"2026-11-20\.parquet: found .*complete Parquet file"):
        ParquetDays(str(folder)).read_days([FIRST])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"n": ["5"], "shop": ["a"]}, r"2026-11-23\.parquet: found .*string in column 'n'.*int64"),
        ({"n": [5], "shop": ["a"], "day": ["2026-11-24"]}, r"column 'day'.*reserved"),
    ],
)
def test_columns_that_differ_are_named(
    folder: Path, columns: dict[str, object], message: str
) -> None:
    write(folder, "2026-11-23.parquet", **columns)
    with pytest.raises(SourceError, match=message):
        ParquetDays(str(folder)).read_days([FIRST, date(2026, 11, 23)])


@pytest.mark.parametrize("first", [FIRST, date(2026, 11, 23)])
def test_a_column_of_some_days_is_missing_in_the_others(folder: Path, first: date) -> None:
    write(folder, "2026-11-23.parquet", n=[5], late=[True])
    days = sorted([FIRST, date(2026, 11, 23)], reverse=first != FIRST)
    rows = ParquetDays(str(folder)).read_days(days)
    assert sorted(rows) == ["day", "late", "n", "shop"]
    newest = rows["day"] == "2026-11-23"
    assert rows.loc[newest, "shop"].isna().all()
    assert rows.loc[~newest, "late"].isna().all()


def test_types_that_can_be_joined_are(folder: Path) -> None:
    write(folder, "2026-11-23.parquet", n=[None, 1.5], shop=[None, None])
    rows = ParquetDays(str(folder)).read_days([date(2026, 11, 23), FIRST])
    assert rows["n"].dropna().tolist() == [1.5, 1.0, 2.0]


def test_a_stored_index_and_the_order_of_columns_do_not_matter(folder: Path) -> None:
    frame = pd.DataFrame({"shop": pd.Categorical(["c"]), "n": [1]}, index=[7])
    frame["shop"] = frame["shop"].astype("str")
    frame.to_parquet(folder / "2026-11-23.parquet", index=True)
    rows = ParquetDays(str(folder)).read_days([FIRST, date(2026, 11, 23)])
    assert rows.columns.tolist() == ["day", "n", "shop"]
    assert rows["shop"].tolist() == ["a", "b", "c"]


def test_categories_of_two_days_are_joined(tmp_path: Path) -> None:
    place = tmp_path / "days"
    write(place, "2026-11-20.parquet", shop=pd.Categorical(["a", "b"]))
    write(place, "2026-11-21.parquet", shop=pd.Categorical(["c", "b"]))
    rows = ParquetDays(str(place)).read_days([FIRST, FIRST + timedelta(days=1)])
    assert rows["shop"].astype("str").tolist() == ["a", "b", "c", "b"]


def test_a_missing_folder_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere: found no such folder"):
        ParquetDays(str(tmp_path / "nowhere")).list_days(date.max)
    with pytest.raises(SourceError, match="found no file of a day"):
        ParquetDays(str(tmp_path)).list_days(date.max)


def test_a_missing_day_is_named(folder: Path) -> None:
    with pytest.raises(SourceError, match="found no file for 2026-12-01"):
        ParquetDays(str(folder)).read_days([date(2026, 12, 1)])


START = pd.Timestamp("2026-11-20")


def orders(days: int = 3, first: pd.Timestamp = START) -> pd.DataFrame:
    """Four orders a day, six hours apart."""
    at = pd.date_range(first, periods=4 * days, freq="6h")
    return pd.DataFrame({"at": at, "n": range(4 * days), "shop": ["a", "b"] * 2 * days})


def save(frame: pd.DataFrame, file: Path) -> Path:
    file.parent.mkdir(exist_ok=True)
    frame.to_csv(file, index=False) if ".csv" in file.name else frame.to_parquet(file)
    return file


@pytest.fixture(params=["orders.parquet", "orders.csv", "orders.csv.gz"])
def large(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Three days in one file, of each kind."""
    return save(orders(), tmp_path / "large" / str(request.param))


def source_of(file: Path, **changes: str) -> ParquetDays | CsvDays:
    if ".csv" in str(file):
        return CsvDays(str(file), time="at", **changes)
    return ParquetDays(str(file), time="at", **changes)


def test_a_large_file_is_cut_into_days(large: Path) -> None:
    source = source_of(large)
    listed = source.list_days(date(2026, 11, 22))
    assert list(listed) == [FIRST, FIRST + timedelta(days=1), FIRST + timedelta(days=2)]
    rows = source.read_days(list(source.list_days(date.max)))
    assert rows.columns.tolist() == ["day", "at", "n", "shop"]
    assert rows["n"].tolist() == list(range(12))
    assert (rows["at"].dt.normalize() == rows["day"]).all()
    assert rows["day"].dtype == "datetime64[s]"


def test_a_large_file_is_cut_once_for_each_of_its_versions(large: Path, home: Path) -> None:
    source = source_of(large)
    before = source.list_days(date.max)
    made = {place: place.stat().st_mtime_ns for place in (home / "data").iterdir()}
    assert source.list_days(date.max) == before
    assert {place: place.stat().st_mtime_ns for place in (home / "data").iterdir()} == made
    for place in made:
        os.utime(place, (1, 1))
    source.list_days(date.max)
    assert all(place.stat().st_mtime > 1 for place in made), "the clean-up knows of its use"
    for n in range(3):
        frame = orders(4).assign(n=lambda rows, n=n: rows["n"].where(rows.index != 5, 90 + n))
        save(frame, large)
        os.utime(large, ns=(n, n))
        after = source.list_days(date.max)
        assert [day for day in before if after[day] != before[day]] == [FIRST + timedelta(days=1)]
        assert len(after) == len(before) + 1
    assert len(list((home / "data").iterdir())) == 2, "one older version stays"


def test_the_same_texts_written_by_another_library_are_no_revision(tmp_path: Path) -> None:
    table = pa.Table.from_pandas(orders(), preserve_index=False)
    place, marks = table.schema.get_field_index("shop"), []
    for name, kind in (("short", pa.string()), ("long", pa.large_string())):
        file = tmp_path / f"{name}.parquet"
        pq.write_table(table.cast(table.schema.set(place, pa.field("shop", kind))), file)
        marks.append(list(source_of(file).list_days(date.max).values()))
    assert marks[0] == marks[1]


def test_a_day_may_be_in_many_files(tmp_path: Path) -> None:
    save(orders()[:6], tmp_path / "large" / "a.parquet")
    save(orders()[6:], tmp_path / "large" / "b.parquet")
    (tmp_path / "large" / "_c.parquet").write_bytes(b"")
    (tmp_path / "large" / "d.parquet.part").write_bytes(b"")
    source = ParquetDays(str(tmp_path / "large"), time="at")
    before = source.list_days(date.max)
    assert source.read_days(list(before))["n"].tolist() == list(range(12))
    save(orders()[6:].assign(n=0), tmp_path / "large" / "b.parquet")
    after = source.list_days(date.max)
    assert [day for day in before if after[day] == before[day]] == [FIRST]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_zoned_times_are_converted_and_others_are_local(kind: str, tmp_path: Path) -> None:
    at = pd.DatetimeIndex(["2026-11-21 04:30", "2026-11-21 05:30", "2026-11-21 14:30"], tz="UTC")
    zoned = save(pd.DataFrame({"at": at, "n": [1, 2, 3]}), tmp_path / f"zoned.{kind}")
    local = at.tz_convert("America/New_York").tz_localize(None)
    naive = save(pd.DataFrame({"at": local, "n": [1, 2, 3]}), tmp_path / f"naive.{kind}")
    for file in (zoned, naive):
        source = source_of(file, timezone="America/New_York")
        assert source.names_zone() is (file == zoned)
        assert list(source.list_days(date.max)) == [FIRST, FIRST + timedelta(days=1)]
        rows = source.read_days(list(source.list_days(date.max)))
        assert rows["at"].dt.hour.tolist() == [23, 0, 9]
        late = source_of(file, timezone="America/New_York", day_start="09:00")
        rows = late.read_days(list(late.list_days(date.max)))
        assert rows["day"].dt.day.tolist() == [20, 20, 21]


def test_a_local_time_in_a_change_of_the_clocks_keeps_its_day(tmp_path: Path) -> None:
    doubled, left_out = "2026-10-25 02:30", "2026-03-29 02:30"
    frame = pd.DataFrame({"at": [left_out, doubled, doubled], "n": [1, 2, 3]})
    source = source_of(save(frame, tmp_path / "x.csv"), timezone="Europe/Berlin")
    assert list(source.list_days(date.max)) == [date(2026, 3, 29), date(2026, 10, 25)]


@checked(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=samples(25))
@given(
    st.lists(st.datetimes(pd.Timestamp("2026-03-28"), pd.Timestamp("2026-03-31")), min_size=1),
    st.sampled_from(["00:00", "02:30", "09:00"]),
    st.sampled_from([None, "UTC"]),
)
def test_cutting_loses_and_doubles_no_row(
    tmp_path: Path, times: list[object], day_start: str, zone: str | None
) -> None:
    at = pd.Series(times, dtype="datetime64[us]").dt.tz_localize(zone)
    file = save(pd.DataFrame({"at": at, "n": range(len(at))}), tmp_path / "x.parquet")
    os.utime(file, ns=(hash(tuple(at)) % 2**60, hash((*at, day_start)) % 2**60))
    source = ParquetDays(str(file), "at", day_start, "Europe/Berlin")
    days = list(source.list_days(date.max))
    rows = source.read_days(days)
    assert sorted(rows["n"]) == list(range(len(at)))
    assert sorted({*rows["day"].dt.date}) == days
    start = pd.Timedelta(hours=int(day_start[:2]), minutes=int(day_start[3:]))
    assert ((rows["at"] - start).dt.normalize() == rows["day"]).all()


def test_whole_numbers_and_numbers_with_gaps_are_one_column(daily: Path) -> None:
    (daily / "2026-11-20.csv").write_text("n,shop,seen\n1,a,2026-11-20\n2,NA,\n")
    (daily / "day=2026-11-21.csv").write_text("n,shop,seen\n,b,2026-11-21 10:00:00\n1.5,,\n")
    (daily / "2026-11-22.csv").write_text("n,shop,seen\n")
    source = CsvDays(str(daily))
    rows = source.read_days(list(source.list_days(date.max)))
    assert rows["n"].isna().tolist() == [False, False, True, False]
    assert rows["n"].sum() == 4.5
    assert rows["shop"].isna().tolist() == [False, True, False, True]
    assert rows["seen"].dropna().dt.day.tolist() == [20, 21]
    assert source.read_days([date(2026, 11, 22)]).empty


@pytest.fixture
def daily(tmp_path: Path) -> Path:
    """An empty folder of files by day, beside the state directory."""
    (tmp_path / "days").mkdir()
    return tmp_path / "days"


def write_text(text: str) -> Callable[[Path], None]:
    return lambda file: void(file.write_text(text))


def void(_: object) -> None:
    return None


WRONG: dict[str, tuple[Callable[[Path], None], type[SourceError], str]] = {
    "no time column": (
        write_text("when,n\n2026-11-20,1\n"),
        SourceSettingsError,
        r"no column 'at'",
    ),
    "numbers for times": (write_text("at,n\n3,1\n"), SourceSettingsError, "int64 in the time col"),
    "other times": (
        write_text("at,n\n11/20/2026,1\n"),
        SourceSettingsError,
        r"found 1 of 1 rows whose 'at' is not a time, first '11/20/2026' in row 1; expected times",
    ),
    "a format that does not fit": (
        write_text("at,n\n20.11.2026,1\n20.13.2026,1\n"),
        SourceError,
        r"found 1 of 2 rows whose 'at' is not a time, first '20.13.2026' in row 2; expected times "
        r"written as time_format='%d.%m.%Y' says",
    ),
    "one bad time": (
        write_text("at,n\n2026-11-20,1\n2026-11-31,2\n"),
        SourceError,
        r"found 1 of 2 rows whose 'at' is not a time, first '2026-11-31' in row 2",
    ),
    "a time missing": (
        write_text("at,n\n2026-11-20 10:00:00,1\n,2\n"),
        SourceError,
        r"found 1 of 2 rows without 'at', first row 2",
    ),
    "times of day": (
        write_text("at,n\n10:00:00,1\n"),
        SourceSettingsError,
        "found time32.s. in the",
    ),
    "some with an offset": (
        write_text("at,n\n2026-11-20 10:00:00,1\n2026-11-20T10:00:00Z,1\n"),
        SourceError,
        "expected an offset from UTC in every time or in none",
    ),
    "names alone": (write_text("at,n\n"), SourceError, "found no row below the header"),
    "reserved": (
        write_text("at,day\n2026-11-20,2026-11-21\n"),
        SourceError,
        "column 'day'.*reserved",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_with_times_is_told(case: str, tmp_path: Path) -> None:
    harm, kind, message = WRONG[case]
    file = tmp_path / "x.csv"
    harm(file)
    form = "%d.%m.%Y" if "format" in case else None
    source = CsvDays(str(file), time="at", time_format=form)
    with pytest.raises(SourceError, match=rf"x\.csv.*{message}|{message}") as told:
        source.read_days(list(source.list_days(date.max)))
    assert type(told.value) is kind


@pytest.mark.parametrize(
    ("written", "form"),
    [
        (["20-11-2026", "02-12-2026"], "%d-%m-%Y"),
        (["11/20/2026 08:30", "12/02/2026 23:59"], "%m/%d/%Y %H:%M"),
        (["20261120", "20261202"], "%Y%m%d"),
        (["20.11.2026 23:30 -0200", "02.12.2026 00:30 +0000"], "%d.%m.%Y %H:%M %z"),
    ],
)
def test_times_are_read_as_the_source_says_they_are_written(
    written: list[str], form: str, tmp_path: Path
) -> None:
    rows = pd.DataFrame({"at": written, "n": [1, 2]})
    rows.to_csv(tmp_path / "x.csv", index=False)
    rows.to_parquet(tmp_path / "x.parquet", index=False)
    first = date(2026, 11, 21 if "%z" in form else 20)
    for source in (
        CsvDays(str(tmp_path / "x.csv"), time="at", time_format=form),
        ParquetDays(str(tmp_path / "x.parquet"), time="at", time_format=form),
    ):
        assert list(source.list_days(date.max)) == [first, date(2026, 12, 2)]
        found = source.read_days([date(2026, 12, 2)])
        assert found["at"].dt.date.tolist() == [date(2026, 12, 2)]
        assert source_from_json(source_to_json(source)) == source
    for wrong in ({"time_format": form}, {"time": "at", "time_format": "iso"}):
        with pytest.raises(SourceSettingsError, match="found time_format="):
            CsvDays(str(tmp_path / "x.csv"), **wrong)


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    save(orders(), tmp_path / "x.csv")
    (tmp_path / "README.md").write_text("what this is")
    with pytest.raises(
        SourceError, match=r"README\.md: found a file of that name.*only files such as orders\.csv"
    ):
        CsvDays(str(tmp_path), time="at").list_days(date.max)


def test_years_are_of_four_digits(tmp_path: Path) -> None:
    times = pd.Series([253402300800], dtype="datetime64[s]")  # the first second of the year 10000
    file = save(pd.DataFrame({"at": times}), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match="expected years of four digits"):
        ParquetDays(str(file), time="at").list_days(date.max)


def test_a_column_day_that_is_the_time_stays_the_day(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("day,n\n2026-11-20,1\n2026-11-21,2\n")
    source = CsvDays(str(tmp_path / "x.csv"), time="day")
    rows = source.read_days(list(source.list_days(date.max)))
    assert rows.columns.tolist() == ["day", "n"]
    assert rows["day"].dt.day.tolist() == [20, 21]


def test_a_file_that_is_written_while_it_is_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.sources import files

    file = save(orders(), tmp_path / "x.parquet")
    read = files._read_parquet

    def grow(place: Path, what: str) -> object:
        found = read(place, what)
        save(orders(4), file)
        os.utime(file, ns=(1, 1))
        return found

    monkeypatch.setattr(files, "_read_parquet", grow)
    with pytest.raises(SourceError, match=r"x\.parquet: changed while it was read; expected"):
        ParquetDays(str(file), "at").list_days(date.max)
    monkeypatch.undo()
    assert len(ParquetDays(str(file), "at").list_days(date.max)) == 4


def test_a_damaged_day_of_a_large_file_says_what_to_delete(tmp_path: Path, home: Path) -> None:
    source = ParquetDays(str(save(orders(), tmp_path / "x.parquet")), "at")
    source.list_days(date.max)
    next((home / "data").glob("x-*/day=2026-11-21.parquet")).write_bytes(b"PAR1")
    with pytest.raises(
        SourceError, match=r"split from a larger file: delete .*data/x-.*next night makes it again"
    ):
        source.read_days([date(2026, 11, 21)])


@pytest.mark.parametrize("room", [200, 4000])
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, home: Path, room: int) -> None:
    """pyarrow writes the days from C++: the kernel refuses what passes so many bytes of a file."""
    file = tmp_path / "x.csv"
    rows = [f"2026-11-{20 + n % 2},{n * 7919 % 10007}" for n in range(4000)]
    file.write_text("\n".join(["at,n", *rows]))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    said = r"x\.csv: .*cannot be (written|read): File too large\. (Free some space|Run the night)"
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(DiskError, match=said):
            CsvDays(str(file), "at").list_days(date.max)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((home / "data").iterdir())
    assert len(CsvDays(str(file), "at").list_days(date.max)) == 2


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


def test_a_folder_behind_a_url(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/shop/2026-11-20.csv", b"n\n1\n")
    memory.pipe("/shop/2026-11-21.csv", b"n\n2.5\n")
    memory.pipe("/shop/_2026-11-22.csv", b"n\n")
    source = CsvDays("memory://shop")
    before = source.list_days(date.max)
    assert list(before) == [FIRST, FIRST + timedelta(days=1)]
    assert source.read_days(list(before))["n"].tolist() == [1.0, 2.5]
    memory.pipe("/shop/2026-11-20.csv", b"n\n9\n")
    after = source.list_days(date.max)
    assert [day for day in after if after[day] != before[day]] == [FIRST]


def test_a_large_file_behind_a_url(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    memory.pipe("/shop/x.parquet", save(orders(), tmp_path / "x.parquet").read_bytes())
    source = ParquetDays("memory://shop/x.parquet", time="at")
    assert source.read_days(list(source.list_days(date.max)))["n"].tolist() == list(range(12))


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("memory://nowhere", SourceSettingsError, "found no such folder or file"),
        ("gs://bucket/folder", SourceSettingsError, "install gcsfs .* in this project's"),
        ("nope://bucket", SourceSettingsError, "Protocol not known: nope"),
        (
            "s3://key:${NOT_THERE}@bucket",
            SourceSettingsError,
            "variable NOT_THERE, which .* names, is not set",
        ),
    ],
)
def test_what_is_wrong_with_a_url(path: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        ParquetDays(path).list_days(date.max)


def test_a_store_that_does_not_answer_is_an_outage_without_its_secret(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no answer to open-sesame")

    monkeypatch.setenv("KEY", "open-sesame")
    monkeypatch.setattr(type(memory), "exists", broken)
    with pytest.raises(SourceOutageError, match=r"RuntimeError: no answer to \*\*\*"):
        ParquetDays("memory://${KEY}").list_days(date.max)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": ""}, "found path=''"),
        ({"path": "a\0b"}, "expected a path or a URL"),
        ({"path": "ftp://joe:secret@host/x"}, r"found a password .* Write \$\{NAME\}"),
        ({"path": "x", "time": ""}, "found time=''"),
        ({"path": "x", "day_start": "24:00"}, "day_start='24:00'; expected HH:MM"),
        ({"path": "x", "day_start": "09:00"}, "day_start='09:00' without time="),
        ({"path": "x", "timezone": "Mars/Olympus"}, "timezone='Mars/Olympus'; expected a time z"),
        ({"path": "x", "timezone": "../etc/passwd"}, "expected a time zone"),
        ({"path": "x", "delimiter": ";;"}, "delimiter=';;'; expected one character"),
        (
            {"path": "x", "encoding": "utf-9"},
            "encoding='utf-9'; expected an encoding that Python knows",
        ),
    ],
)
def test_what_csv_days_refuse(changes: dict[str, str], message: str) -> None:
    with pytest.raises(SourceSettingsError, match=message) as told:
        CsvDays(**changes)
    assert "secret" not in str(told.value)


def test_only_one_file_needs_a_time(tmp_path: Path) -> None:
    with pytest.raises(
        SourceSettingsError, match=r"x\.parquet: found a file name that is not a day.*time="
    ):
        ParquetDays(str(save(orders(), tmp_path / "x.parquet"))).list_days(date.max)


def test_a_variable_in_a_path_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", "one")
    assert locations.filled("s3://${A}/${A}") == "s3://one/one"


def test_codes_are_the_same_whatever_else_is_in_their_file(daily: Path) -> None:
    """A source-wide decision: by the contract, by types=, else by the digits that are there."""
    days = [FIRST, FIRST + timedelta(days=1)]
    for day, codes in zip(days, ("7\n12", "00042\n7"), strict=True):
        (daily / f"{day}.csv").write_text(f"sku\n{codes}\n")
    named = CsvDays(str(daily), types={"sku": "str"})
    told = CsvDays(str(daily)).with_types({"sku": "str"})
    for source in (named, told):
        assert source.read_days(days[:1])["sku"].tolist() == ["7", "12"]
        assert source.read_days(days)["sku"].tolist() == ["7", "12", "00042", "7"]
    untold = CsvDays(str(daily))
    assert untold.read_days(days[:1])["sku"].tolist() == ["7", "12"]
    assert untold.read_days(days)["sku"].tolist() == ["7", "12", "00042", "7"]
    number = CsvDays(str(daily), types={"sku": "int"}).with_types({"sku": "str"})
    assert number.read_days(days)["sku"].tolist() == [7, 12, 42, 7], "types= goes first"


def test_a_word_among_declared_numbers_is_left_to_the_contract(daily: Path) -> None:
    days = [FIRST, FIRST + timedelta(days=1)]
    for day, row in zip(days, ("1,true,2026-11-20 10:00", "x,maybe,soon"), strict=True):
        (daily / f"{day}.csv").write_text(f"n,b,at\n{row}\n")
    declared = {"n": "int", "b": "bool", "at": "time"}
    rows = CsvDays(str(daily)).with_types(declared).read_days(days)
    assert rows["n"].tolist() == ["1", "x"]
    assert rows["b"].tolist() == ["true", "maybe"]


def test_numbers_with_a_decimal_comma_are_read_as_told(daily: Path) -> None:
    days = [FIRST, FIRST + timedelta(days=1)]
    texts = ("1,5\n-,25\n1.234.567,5\n12.345\n0.125\n7\n2,5e3\n", "1,5\nabout 2,5\n")
    for day, text in zip(days, texts, strict=True):
        (daily / f"{day}.csv").write_text(f"n;x\n{text.replace(chr(10), ';a' + chr(10))}")
    told = CsvDays(str(daily), delimiter=";", types={"n": "comma"}).with_types({"n": "float"})
    numbers = told.read_days(days[:1])["n"].tolist()
    assert numbers == [1.5, -0.25, 1_234_567.5, 12_345, 0.125, 7, 2_500]
    assert told.read_days(days[1:])["n"].tolist() == ["1.5", "about 2,5"], "left to the contract"
    assert CsvDays(str(daily), delimiter=";").read_days(days[:1])["n"].tolist()[0] == "1,5"


@pytest.mark.parametrize("types", [{"sku": "text"}, {1: "str"}, ["sku"], {"sku": str}])
def test_wrong_types_are_told(types: object, tmp_path: Path) -> None:
    with pytest.raises(SourceSettingsError, match="CsvDays: found types="):
        CsvDays(str(tmp_path), types=types)  # type: ignore[arg-type]


def test_a_type_of_a_column_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / f"{FIRST}.csv").write_text("sku\n7\n")
    with pytest.raises(SourceSettingsError, match="found no column 'zip', which types= names"):
        CsvDays(str(tmp_path), types={"zip": "str"}).read_days([FIRST])


def test_copies_that_tools_leave_are_no_data(tmp_path: Path) -> None:
    text, folder = "at,n\n2026-11-20,1\n", tmp_path / "orders"
    folder.mkdir()
    for name in ("orders.csv", "orders.csv.bak", "orders.csv~", "orders.csv.orig", "#orders.csv#"):
        (folder / name).write_text(text)
    assert CsvDays(str(folder), "at").read_days([FIRST])["n"].tolist() == [1]
    (folder / "orders.csv.2025").write_text(text)
    with pytest.raises(SourceError, match=r"orders\.csv\.2025: found a file of that name"):
        CsvDays(str(folder), "at").list_days(date.max)


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """The layout of Hive: a folder a day, with the files that Spark writes; the last is begun."""
    for day, parts in (("2026-11-20", [[1, 2], [3]]), ("2026-11-21", [[4]]), ("2026-11-22", [])):
        place = tmp_path / "lake" / f"dt={day}"
        place.mkdir(parents=True)
        (place / ".part-0.parquet.crc").write_bytes(b"crc")
        for part, n in enumerate(parts):
            write(place, f"part-{part}-c000.snappy.parquet", n=n, at=[f"{day} 10:00:00"] * len(n))
            (place / "_SUCCESS").touch()
    return tmp_path / "lake"


@pytest.mark.parametrize("time", [None, "at"])
def test_a_day_may_be_a_folder_of_files(lake: Path, time: str | None) -> None:
    source = ParquetDays(str(lake), time)
    listed = source.list_days(date.max)
    assert list(listed) == [FIRST, FIRST + timedelta(days=1)]
    rows = source.read_days([*listed])
    assert rows["n"].tolist() == [1, 2, 3, 4]
    assert rows["day"].dt.day.tolist() == [20, 20, 20, 21]
    (lake / "dt=2026-11-20/part-0-c000.snappy.parquet").rename(lake / "dt=2026-11-20/b.parquet")
    assert source.list_days(date.max) == listed, "the names of the parts say nothing"
    write(lake / "dt=2026-11-20", "part-2.parquet", n=[9], at=["2026-11-20 11:00:00"])
    after = source.list_days(date.max)
    assert [day for day in after if after[day] != listed[day]] == [FIRST]


def test_a_folder_of_a_day_behind_a_url(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/shop/day=2026-11-20/part-0.csv", b"n\n1\n")
    memory.pipe("/shop/day=2026-11-20/part-1.csv", b"n\n2\n")
    source = CsvDays("memory://shop")
    assert source.read_days(list(source.list_days(date.max)))["n"].tolist() == [1, 2]


def test_a_folder_that_is_no_day_is_a_wrong_setting(lake: Path) -> None:
    (lake / "year=2026").mkdir()
    with pytest.raises(SourceSettingsError, match="year=2026: found a folder that is not a day"):
        ParquetDays(str(lake)).list_days(date.max)
    (lake / "year=2026").rename(lake / "_old")
    (lake / "dt=2026-11-21/notes.txt").touch()
    with pytest.raises(SourceError, match=r"notes\.txt: expected only files such as part-0"):
        ParquetDays(str(lake)).list_days(date.max)


def test_other_content_of_the_same_size_and_time_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("at,n\n2026-11-20,1\n")
    source, before = CsvDays(str(file), "at"), file.stat().st_mtime_ns
    assert source.read_days([*source.list_days(date.max)])["n"].tolist() == [1]
    file.write_text("at,n\n2026-11-20,2\n")
    os.utime(file, ns=(before, before))  # as rsync -t does
    assert source.read_days([*source.list_days(date.max)])["n"].tolist() == [2]


def test_a_csv_is_split_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "orders.csv"
    lines = [f"2026-11-{20 + n % 3},{n},{'' if n % 7 else '0.5'},a{n}" for n in range(300)]
    file.write_text("\n".join(["at,n,x,s", *lines]) + "\n")
    source = CsvDays(str(file), "at")
    whole = source.list_days(date.max)
    rows = source.read_days([*whole])
    monkeypatch.setattr(csv_reader, "LONGEST_ROW", 1_000)
    os.utime(file, ns=(1, 1))
    assert source.list_days(date.max) == whole
    pd.testing.assert_frame_equal(source.read_days([*whole]), rows)
    assert rows["n"].tolist() == [*range(0, 300, 3), *range(1, 300, 3), *range(2, 300, 3)]
    assert not list((settings.home() / "data").glob("*/.spare"))


@pytest.mark.parametrize("time", [None, "at"])
def test_a_table_may_have_a_column_day_of_its_own(tmp_path: Path, time: str | None) -> None:
    """The day of a month, as in the flights of a whole year; a name of a weekday."""
    for day, own in ((20, ["1", ""]), (21, ["31", "7"])):
        rows = "".join(f"2026-11-{day} 10:00,{one},Fri\n" for one in own)
        (tmp_path / "days").mkdir(exist_ok=True)
        (tmp_path / "days" / f"2026-11-{day}.csv").write_text(f"at,day,day_\n{rows}")
    source = CsvDays(str(tmp_path / "days"), time, types={"day": "int"})
    days = [*source.list_days(date.max)]
    rows = source.read_days(days)
    assert rows["day"].dt.day.tolist() == [20, 20, 21, 21]
    assert plain(rows["day__"]) == [1, None, 31, 7]
    assert rows["day_"].tolist() == ["Fri"] * 4
    alone = pd.concat([source.read_days([day]) for day in days], ignore_index=True)
    pd.testing.assert_frame_equal(alone, rows)


def plain(values: pd.Series) -> list[object]:
    return [None if pd.isna(value) else value for value in values]


def test_a_pattern_of_the_contract_reaches_the_reader(daily: Path) -> None:
    class Codes(pandera.DataFrameModel):
        code: str = pandera.Field(alias="code_.*", regex=True)

    days = [FIRST, FIRST + timedelta(days=1)]
    for day, code in zip(days, ("7", "00042"), strict=True):
        (daily / f"{day}.csv").write_text(f"code_a,n\n{code},1\n")
    source = CsvDays(str(daily)).with_types(plain_types(Codes))
    assert source.read_days(days[:1])["code_a"].tolist() == ["7"]
    assert source.read_days(days)["code_a"].tolist() == ["7", "00042"]
    assert source.read_days(days)["n"].tolist() == [1, 1]
    assert source_from_json(json.loads(json.dumps(source_to_json(source)))) == source
