"""Data of a package are cut into days once, whole or not at all, and faults are named."""

import subprocess
import sys
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks import settings
from tasks.sources import PackageDays, SourceError

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


@pytest.mark.parametrize(
    ("old", "new", "folders"),
    [
        ("NAMES = 3", "NAMES = 4", 2),
        ("return NAMES", "return NAMES + 0", 2),
        ("UNUSED = 1", "UNUSED = 2", 1),
    ],
)
def test_what_the_loader_uses_makes_other_days(
    package: PackageDays, home: Path, tmp_path: Path, old: str, new: str, folders: int
) -> None:
    """A constant, also by way of a helper, is part of the recipe; what it does not use is not."""
    (module,) = tmp_path.glob("loader_*.py")
    used = "NAMES = 3\nUNUSED = 1\ndef names():\n    return NAMES\n"
    text = used + LOADER.replace('    print("loaded")\n', "    names()\n", 1)
    module.write_text(text)
    package.list_days(date.max)
    module.write_text(text.replace(old, new))
    package.list_days(date.max)
    assert len(list((home / "data").iterdir())) == folders


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
    with pytest.raises(
        SourceError, match=r"0 bytes.*delete .*data/pandas-.*next night makes them again"
    ):
        package.list_days(date.max)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("no_times", "found object in the time column 'at'"),
        ("not_a_frame", "expected a DataFrame"),
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


def test_package_days_keep_their_types(package: PackageDays, home: Path) -> None:
    package.list_days(date.max)
    schema = pq.read_schema(next((home / "data").glob("*/day=2025-01-01.parquet")))
    assert schema.field("n").type == pa.int64()
