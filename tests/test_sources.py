"""Sources list their days with fingerprints, read rows, and say what is wrong with a file."""

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import settings
from tasks.sources import (
    PackageDays,
    ParquetDays,
    Replay,
    SourceError,
    source_from_json,
    source_to_json,
)

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
        ("2026-11-23.parquet", b"", r"2026-11-23\.parquet: found 0 bytes.*PAR1; expected a whole"),
        ("2026-11-23.parquet", b"PAR1" + bytes(50), r"found 54 bytes.*deliver it again"),
        ("november.parquet", b"", r"november\.parquet: found a name that is no day; expected"),
        ("2026-11-31.parquet", b"", r"found a name that is no day"),
        ("2026-11-23.csv", b"", r"found a name that is no day"),
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
    with pytest.raises(SourceError, match=r"2026-11-20\.parquet.*cut off"):
        ParquetDays(str(folder)).list_days(date.max)


def test_a_file_broken_inside_is_refused(folder: Path) -> None:
    file = folder / "2026-11-20.parquet"
    content = file.read_bytes()
    file.write_bytes(b"PAR1" + bytes(len(content) - 8) + b"PAR1")
    with pytest.raises(SourceError, match=r"2026-11-20\.parquet: found .*whole Parquet file"):
        ParquetDays(str(folder)).read_days([FIRST])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"n": [5]}, r"2026-11-23\.parquet: found no column 'shop'"),
        ({"n": [5], "shop": ["a"], "x": [1]}, r"2026-11-23\.parquet: found a column 'x'"),
        ({"n": ["5"], "shop": ["a"]}, r"2026-11-23\.parquet: found .*string in column 'n'.*int64"),
        ({"n": [5], "shop": ["a"], "day": [3]}, r"column 'day'.*reserved"),
    ],
)
def test_columns_that_differ_are_named(
    folder: Path, columns: dict[str, object], message: str
) -> None:
    write(folder, "2026-11-23.parquet", **columns)
    with pytest.raises(SourceError, match=message):
        ParquetDays(str(folder)).read_days([FIRST, date(2026, 11, 23)])


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
    with pytest.raises(SourceError, match="found no day"):
        ParquetDays(str(tmp_path)).list_days(date.max)


def test_a_missing_day_is_named(folder: Path) -> None:
    with pytest.raises(SourceError, match="found no file for 2026-12-01"):
        ParquetDays(str(folder)).read_days([date(2026, 12, 1)])


def test_listing_imports_neither_pandas_nor_pyarrow(folder: Path) -> None:
    code = (
        "import sys; from datetime import date; from tasks.sources import Replay, ParquetDays;"
        f"assert ParquetDays({str(folder)!r}).list_days(date.max);"
        "print([m for m in ('pandas', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=settings.PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


LOADER = """
import pandas as pd

def load():
    print("loaded")
    times = pd.to_datetime(["2025-01-02 03:00", "2025-01-01 12:00", "2025-01-02 09:00"])
    return pd.DataFrame({"n": [1, 2, 3], "at": times})

def no_times():
    return load().assign(at=None)

def not_a_frame():
    return None

def with_day():
    return load().assign(day=1)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackageDays:
    """Three rows from a module of its own, cut at nine o'clock."""
    name = f"loader_{abs(hash(tmp_path))}"
    (tmp_path / f"{name}.py").write_text(LOADER)
    monkeypatch.syspath_prepend(tmp_path)
    return PackageDays("pandas", f"{name}:load", "at", "09:00")


def test_package_days_begin_when_told(package: PackageDays) -> None:
    days = list(package.list_days(date.max))
    assert days == [date(2025, 1, 1), date(2025, 1, 2)]
    rows = package.read_days(days)
    assert rows["n"].tolist() == [1, 2, 3]
    assert rows["day"].dt.day.tolist() == [1, 1, 2]


def test_package_days_are_made_once(
    package: PackageDays, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leftover = home / "data" / ".pandas-0-killed"
    leftover.mkdir(parents=True)
    (home / "data" / ".a_file").touch()
    first = package.list_days(date.max)
    assert package.list_days(date.max) == first
    assert capsys.readouterr().out == "loaded\n"
    assert not leftover.exists()
    assert [place.name[: len("pandas-")] for place in (home / "data").glob("[!.]*")] == ["pandas-"]


def test_another_recipe_makes_other_days(package: PackageDays, home: Path) -> None:
    package.list_days(date.max)
    PackageDays(package.package, package.load, "at", "00:00").list_days(date.max)
    assert len(list((home / "data").iterdir())) == 2


def test_two_processes_make_them_once(package: PackageDays, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from datetime import date;"
        f"from tasks.sources import *; print(len({package!r}.list_days(date.max)))"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=settings.PROJECT, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    printed = [process.communicate()[0] for process in both]
    assert sorted(printed) == ["2\n", "loaded\n2\n"]


def test_a_damaged_day_of_a_package_says_what_to_delete(package: PackageDays, home: Path) -> None:
    package.list_days(date.max)
    next((home / "data").glob("*/day=2025-01-01.parquet")).write_bytes(b"")
    with pytest.raises(SourceError, match=r"0 bytes.*delete .*data/pandas-.*made anew"):
        package.list_days(date.max)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("no_times", "found object in the time column 'at'"),
        ("not_a_frame", "expected a DataFrame"),
        ("with_day", "column 'day'; the name is reserved"),
        ("nowhere", "has no function 'nowhere'"),
    ],
)
def test_a_bad_loader_is_named(package: PackageDays, function: str, message: str) -> None:
    module = package.load.partition(":")[0]
    with pytest.raises(SourceError, match=message):
        PackageDays("pandas", f"{module}:{function}", "at").list_days(date.max)


def test_what_package_days_refuse() -> None:
    with pytest.raises(SourceError, match=r"pip install -e '\.\[examples\]'"):
        PackageDays("no_such_package", "a:b", "at").list_days(date.max)
    with pytest.raises(SourceError, match=r"found no module 'no_such\.module'"):
        PackageDays("pandas", "no_such.module:f", "at").list_days(date.max)
    with pytest.raises(SourceError, match=r"day_start='9:00'; expected HH:MM"):
        PackageDays("pandas", "a:b", "at", "9:00")
    with pytest.raises(SourceError, match="expected 'module:function'"):
        PackageDays("pandas", "a.b", "at")


class Year:
    """A source with these days, one row each at noon."""

    def __init__(self, first: date, last: date) -> None:
        span = (last - first).days + 1
        self.days = [first + timedelta(days=n) for n in range(span)]

    def list_days(self, until: date) -> dict[date, str]:
        return {day: f"mark of {day}" for day in self.days if day <= until}

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        day = pd.Series(pd.to_datetime(list(days))).astype("datetime64[s]")
        noon = day + pd.Timedelta(hours=12)
        return pd.DataFrame(
            {"day": day, "at": noon, "there": noon.dt.tz_localize("America/New_York")}
        )


YEAR_2017 = Year(date(2017, 1, 1), date(2017, 12, 31))
YEAR_2013 = Year(date(2013, 1, 1), date(2013, 12, 31))


@pytest.mark.parametrize(
    ("source", "shown"), [(YEAR_2017, date(2017, 11, 19)), (YEAR_2013, date(2013, 11, 24))]
)
def test_a_replay_keeps_weekday_and_season(source: Year, shown: date) -> None:
    listed = Replay(source).list_days(date(2026, 11, 22))
    assert len(listed) == 364
    assert listed[date(2026, 11, 22)] == f"mark of {shown}"


@given(st.dates(), st.integers(7, 800), st.dates(date(1990, 1, 1), date(2024, 12, 31)))
def test_a_replay_is_a_calendar(until: date, span: int, first: date) -> None:
    source = Year(first, first + timedelta(days=span - 1))
    replay = Replay(source)
    listed = replay.list_days(until)
    assert list(listed) == sorted(listed)
    assert max(listed) == until
    assert len(set(listed.values())) == len(listed) <= span
    real = {day: date.fromisoformat(mark.removeprefix("mark of ")) for day, mark in listed.items()}
    assert all(day.weekday() == then.weekday() for day, then in real.items())
    if until < date.max:
        later = replay.list_days(until + timedelta(days=1))
        common = listed.keys() & later.keys()
        assert {day: listed[day] for day in common} == {day: later[day] for day in common}
        follows = later[until + timedelta(days=1)]
        assert follows in (f"mark of {real[until] + timedelta(days=1)}", f"mark of {first}")


def test_a_replay_leaves_out_days_the_data_do_not_have() -> None:
    source = Year(date(2017, 1, 1), date(2017, 12, 31))
    source.days.remove(date(2017, 12, 25))
    listed = Replay(source).list_days(date(2026, 11, 22))
    assert len(listed) == 363
    assert date(2025, 12, 29) not in listed


def test_a_replay_moves_every_time_at_the_same_time_of_day() -> None:
    days = [date(2026, 3, 8), date(2026, 3, 20), date(2026, 11, 22)]
    rows = Replay(YEAR_2017).read_days(days)
    assert rows["day"].dt.date.tolist() == days
    assert rows["at"].dt.date.tolist() == days
    assert rows["there"].dt.date.tolist() == days
    assert set(rows["there"].dt.hour) == {12}
    assert rows["day"].dtype == "datetime64[s]"


def test_a_replay_never_shows_a_real_day_twice() -> None:
    day = date(2026, 11, 22)
    with pytest.raises(SourceError, match="same real day"):
        Replay(YEAR_2017).read_days([day - timedelta(days=364), day])


def test_a_replay_needs_a_week() -> None:
    short = Year(date(2017, 1, 1), date(2017, 1, 6))
    with pytest.raises(SourceError, match="at least a week"):
        Replay(short).list_days(date(2026, 11, 22))


@pytest.mark.parametrize(
    "source",
    [
        ParquetDays("days"),
        PackageDays("pandas", "a:b", "at", "09:00"),
        Replay(Replay(ParquetDays("days"), year=2020)),
    ],
)
def test_a_source_survives_json(source: object) -> None:
    assert source_from_json(json.loads(json.dumps(source_to_json(source)))) == source


def test_package_days_keep_their_types(package: PackageDays, home: Path) -> None:
    package.list_days(date.max)
    schema = pq.read_schema(next((home / "data").glob("*/day=2025-01-01.parquet")))
    assert schema.field("n").type == pa.int64()
