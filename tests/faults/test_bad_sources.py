"""Sources that are told wrong or hold bad data: exit code, one message, nothing made."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sql

from tests import nights
from tests.nights import champion_of, nth_day, one_message, run_night, say, write_model
from tests.toy import make_day

pytestmark = [
    pytest.mark.usefixtures("warm_processes", "registry_home"),
    *(pytest.mark.filterwarnings(text) for text in nights.MLFLOW_WARNINGS),
]
SOURCES = ("import ParquetDays", "import CsvDays, DataFrameDays, ParquetDays, SqlDays")


@pytest.fixture(scope="module", autouse=True)
def log() -> None:
    """Prefect's log goes where it went when it was first set up: not to what one test captures."""
    from prefect.logging.configuration import setup_logging

    setup_logging()


def toy_on(folder: Path, source: str) -> Path:
    """The toy model on another source."""
    taken = (f"ParquetDays({str(folder)!r})", source)
    return write_model(folder / "toy.py", folder, SOURCES, taken)


def visits(last: int, first: int = 1) -> pd.DataFrame:
    """Toy days in one table, each at noon."""
    days = [
        make_day(nth_day(n)).assign(at=f"{nth_day(n)} 12:00:00") for n in range(first, last + 1)
    ]
    return pd.concat(days, ignore_index=True)


def csv(text: bytes) -> Callable[[Path], str]:
    def make(folder: Path) -> str:
        (folder / "x.csv").write_bytes(text)
        return f"CsvDays({str(folder / 'x.csv')!r}, time='at')"

    return make


def half_parquet(folder: Path) -> str:
    file = folder / "x.parquet"
    visits(2).to_parquet(file)
    file.write_bytes(file.read_bytes()[:-50])
    return f"ParquetDays({str(file)!r}, time='at')"


def empty_folder(folder: Path) -> str:
    (folder / "none").mkdir()
    return f"CsvDays({str(folder / 'none')!r})"


def no_table(folder: Path) -> str:
    sqlite3.connect(folder / "x.db").close()
    return f"SqlDays('sqlite:///{folder / 'x.db'}', 'visits; DROP TABLE x', time='at')"


def too_early(folder: Path) -> str:
    visits(2).to_parquet(folder / "x.parquet")
    return f"ParquetDays({str(folder / 'x.parquet')!r}, time='at')"


def no_days(folder: Path) -> str:
    """A function that gives nothing, and raises where it is called again."""
    return (
        f"DataFrameDays(read=make_day, days=lambda until: Path({str(folder / 'asked')!r}).mkdir())"
    )


CASES: dict[str, tuple[str | Callable[[Path], str], int, str]] = {
    "no file": (
        "CsvDays('nowhere.csv', time='at')",
        2,
        "nowhere.csv: found no such folder or file",
    ),
    "empty folder": (
        empty_folder,
        0,
        "found no file of a day; expected files such as 2026-11-21.csv",
    ),
    "zero bytes": (csv(b""), 0, "x.csv: found 0 bytes; expected a complete CSV file"),
    "half a file": (half_parquet, 0, "expected a complete Parquet file"),
    "encoding": (
        csv(b"at,n\n2026-01-01,\xe9\n"),
        2,
        "byte 0xe9 at position 16, which is not valid utf-8",
    ),
    "delimiter": (csv(b"at;n\n2026-01-01;1\n"), 2, "Set delimiter=';'"),
    "no time column": (csv(b"when,n\n2026-01-01,1\n"), 2, "no column 'at' for the time"),
    "no times": (csv(b"at,n\nsoon,1\n"), 2, "found 1 of 1 rows whose 'at' is not a time"),
    "one bad time": (
        csv(b"at,n\n2026-01-01,1\nsoon,1\n"),
        0,
        "1 of 2 rows whose 'at' is not a time",
    ),
    "no table": (no_table, 2, "no such table: visits; DROP TABLE x"),
    "no day yet": (too_early, 0, "no day up to 2025-01-01, only 2026-01-01 to 2026-01-02"),
    "a password in the model": (
        "SqlDays('postgresql://joe:sesame@host/x', 'orders', time='at')",
        2,
        "found a password in the address; expected it in an environment variable",
    ),
    "a function of no days": (no_days, 2, "found None; expected a list of dates"),
    "another time zone": (
        "CsvDays('x.csv', time='at', timezone='Europe/Berlin')",
        2,
        "timezone: found 'UTC', allowed the time zone of its source, 'Europe/Berlin'",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_source_that_is_wrong_is_told(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, code, expected = CASES[case]
    model = toy_on(tmp_path, source if isinstance(source, str) else source(tmp_path))
    date = "2025-01-01" if case == "no day yet" else "2026-02-10"
    ended = say(capsys, monkeypatch, model, "--as-of", date)
    message = " ".join(one_message(ended).split())
    print(case, ended.code, message)
    assert expected in message
    assert "sesame" not in message
    assert ended.code == code
    assert ("HELD" if code == 0 else "The champion is unchanged.") in message
    assert champion_of() is None


def test_a_line_of_the_model_is_named_where_its_source_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = toy_on(tmp_path, "CsvDays('x.csv', delimiter='')")
    ended = say(capsys, monkeypatch, model)
    line = model.read_text().splitlines().index("    source=CsvDays('x.csv', delimiter=''),") + 1
    assert ended.code == 2
    assert f"found delimiter=''; expected one character such as ';'. (line {line} of {model})" in (
        one_message(ended)
    )


@pytest.mark.long
def test_a_night_on_a_table_notices_what_was_revised_and_what_came_late(
    tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP", postgres)
    engine = sql.create_engine(postgres)
    known = visits(31).assign(at=lambda rows: pd.to_datetime(rows["at"]))
    late = known["at"].dt.date == nth_day(20)
    known[~late].to_sql("visits", engine, index=False)
    model = toy_on(tmp_path, "SqlDays('${SHOP}', 'visits', time='at')")
    first = run_night(model, nth_day(30))
    assert (first["verdict"], first["revised"]) == ("PROMOTED", None)
    with engine.begin() as connection:
        connection.execute(sql.text("UPDATE visits SET size = 0 WHERE at = '2026-01-25 12:00:00'"))
    known[late].to_sql("visits", engine, index=False, if_exists="append")
    engine.dispose()
    second = run_night(model, nth_day(31))
    assert second["days"] == {"new": 3, "reused": 28, "rejected": 0}
    assert [each["day"] for each in second["revised"]["changed"]] == ["2026-01-25"]
    assert second["revised"]["late"] == ["2026-01-20"]
    assert run_night(model, nth_day(31)) == second, "known from the database's fingerprints alone"
    text = Path(second["links"]["report"]).read_text()
    assert "1 day revised since the night of 2026-01-30: 2026-01-25" in text
    assert "1 day arrived late, after the night of 2026-01-30: 2026-01-20" in text
    home = Path(second["links"]["report"]).parents[3]
    kept: list[Any] = [
        f for f in home.rglob("*") if f.is_file() and postgres.encode() in f.read_bytes()
    ]
    assert kept == [], "what the environment says is written nowhere"
