"""Every source is described without secrets, and listed without the heavy libraries."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tasks import settings
from tasks.sources import CsvDays, DataFrameDays, PackageDays, ParquetDays, Replay, SqlDays
from tasks.sources.serialize import source_from_json, source_to_json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One day."""
    pd.DataFrame({"n": [1, 2]}).to_parquet(tmp_path / "2026-11-20.parquet")
    return tmp_path


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


@pytest.mark.parametrize(
    "source",
    [
        ParquetDays("days"),
        PackageDays("pandas", "a:b", "at", "09:00"),
        CsvDays("orders.csv", time="at", timezone="Europe/Berlin", delimiter=";"),
        CsvDays("orders", types={"kind": "str"}).with_types({"source": "int", "list_days": "str"}),
        SqlDays("postgresql://shop:${PASSWORD}@host/shop", "orders", time="at", changed="seen"),
        Replay(Replay(ParquetDays("days"), year=2020)),
    ],
)
def test_a_source_survives_json(source: object) -> None:
    assert source_from_json(json.loads(json.dumps(source_to_json(source)))) == source


def test_a_source_of_functions_has_no_json() -> None:
    source = DataFrameDays(read=lambda _: pd.DataFrame(), days=lambda _: [])
    with pytest.raises(KeyError, match="DataFrameDays"):
        source_from_json(source_to_json(source))


def test_a_variable_of_the_environment_stays_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "open sesame")
    source = SqlDays("postgresql://shop:${PASSWORD}@host/shop", "orders", time="at")
    assert "open sesame" not in json.dumps(source_to_json(source)) + repr(source)
