"""A check names the files that the model reads and that are no part of it."""

from __future__ import annotations

import zoneinfo
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks import settings
from tasks.preflight.file_reads import noted, unknown


def test_files_that_code_opens_to_read_are_noted(tmp_path: Path) -> None:
    names = ("plain.txt", "table.csv", "array.npy", "own.json", "model.py", "later.txt")
    files = {name: tmp_path / name for name in names}
    for file in files.values():
        file.write_text("a\n1\n")
    np.save(files["array.npy"], np.arange(3))
    seen: set[str] = set()
    with noted(seen):
        files["plain.txt"].read_text()
        pd.read_csv(files["table.csv"])
        np.load(files["array.npy"])
        files["own.json"].read_bytes()
        files["model.py"].read_bytes()
        (tmp_path / "written.txt").write_text("not read")
        zoneinfo.ZoneInfo.no_cache("Europe/Berlin")
        with pytest.raises(OSError):
            (tmp_path / "as an entry of sys.path that is none").read_text()
    files["later.txt"].read_text()
    found = unknown(seen, [files["own.json"]])
    assert [Path(file).name for file in found] == ["array.npy", "plain.txt", "table.csv"]


def test_what_libraries_keep_in_the_home_is_not_the_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path / "fonts"))
    seen = {
        str(tmp_path / name)
        for name in (".cache/matplotlib/fontlist.json", "fonts/list.json", "holidays.csv")
    }
    assert unknown(seen, []) == [str(tmp_path / "holidays.csv")]


def test_days_that_a_night_has_split_are_not_the_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLY_HOME", str(tmp_path))
    day = tmp_path / "data" / "flights" / "day=2013-01-01.parquet"
    day.parent.mkdir(parents=True)
    day.touch()
    with settings.borrowed_home():
        read = settings.home() / "data" / "flights" / day.name
        assert unknown({str(read)}, []) == []
