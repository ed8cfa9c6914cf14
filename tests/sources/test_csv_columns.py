"""A column that nobody declares has one type, whichever days are read, in whatever order."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from tasks import settings
from tasks.sources import ColumnsError, CsvDays, files
from tasks.sources.csv_reader import read_texts
from tests.samples import samples

DAYS = [date(2026, 11, 20) + timedelta(days=offset) for offset in range(3)]
CELLS = [
    *("", "", "1", "-7", "1.5", "00042", "many", "true", "0", "2026-11-20", "2026-11-20 10:00"),
    *("2026-11-20 10:00:00.5", "10:00", "9007199254740993", "12345678901234567890", "NULL"),
]


def write_day(folder: Path, day: date, cells: Sequence[str]) -> None:
    lines = "\n".join(f"{day} 0{n}:00,{cell}" for n, cell in enumerate(cells))
    folder.mkdir(exist_ok=True)
    (folder / f"{day}.csv").write_text(f"at,x\n{lines}\n")


def as_written(values: pd.Series, cells: Sequence[str]) -> None:
    """Check that each value says what its cell says."""
    for value, cell in zip(values, cells, strict=True):
        if cell in ("", "NULL"):
            assert pd.isna(value)
        elif pd.api.types.is_bool(value):
            assert str(value).lower() == cell or str(int(value)) == cell
        elif isinstance(value, str):
            assert value == cell
        elif isinstance(value, pd.Timestamp):
            assert value == pd.Timestamp(cell)
        elif hasattr(value, "hour"):
            assert value.isoformat() == f"{cell}:00"
        else:
            assert value == (float(cell) if "." in cell else int(cell))


few_cells = st.lists(st.sampled_from(CELLS), min_size=1, max_size=3)


@pytest.mark.parametrize("time", [None, "at"])
@hypothesis_settings(max_examples=samples(20))
@given(st.lists(few_cells, min_size=3, max_size=3), st.permutations(range(3)), st.booleans())
def test_days_read_together_or_alone_in_any_order_are_the_same(
    time: str | None, days: list[list[str]], order: list[int], first_together: bool
) -> None:
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTLY_HOME", f"{place}/home")
        for day, cells in zip(DAYS, days, strict=True):
            write_day(Path(place) / "days", day, cells)
        source = CsvDays(f"{place}/days", time)
        if first_together:
            source.read_days(DAYS)
        alone = {n: source.read_days([DAYS[n]]) for n in order}
        whole = source.read_days(DAYS)
        as_written(whole["x"], [cell for cells in days for cell in cells])
        for n, day in enumerate(DAYS):
            same = whole[whole["day"] == pd.Timestamp(day)].reset_index(drop=True)
            assert_frame_equal(alone[n], same)


@pytest.mark.parametrize("time", [None, "at"])
@pytest.mark.parametrize(
    ("early", "late", "now"),
    [("1", "1.5", "double"), ("", "many", "string"), ("2026-11-20", "2026-11-20 10:00:00.5", "ns")],
)
def test_a_late_file_may_widen_a_column_where_no_value_changes(
    early: str, late: str, now: str, time: str | None, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    source = CsvDays(str(tmp_path / "days"), time)
    write_day(tmp_path / "days", DAYS[0], [early])
    before = source.list_days(date.max)
    as_written(source.read_days(DAYS[:1])["x"], [early])
    write_day(tmp_path / "days", DAYS[1], [late])
    with caplog.at_level(logging.WARNING, "nightly"):
        assert source.list_days(date.max)[DAYS[0]] == before[DAYS[0]], "no day is revised"
        whole = source.read_days(DAYS[:2])
        alone = [source.read_days([day]) for day in DAYS[:2]]
    as_written(whole["x"], [early, late])
    assert_frame_equal(pd.concat(alone, ignore_index=True), whole)
    [told] = caplog.messages
    assert now in told
    assert f"{DAYS[1]}.csv" in told


LATE = [("1", "many"), ("7", "00042"), ("9007199254740993", "0.5"), ("true", "7"), ("1.5", "x")]


@pytest.mark.parametrize("time", [None, "at"])
@pytest.mark.parametrize(("early", "late"), LATE)
def test_a_late_file_that_does_not_fit_is_named_by_its_value(
    early: str, late: str, time: str | None, tmp_path: Path
) -> None:
    source = CsvDays(str(tmp_path / "days"), time)
    write_day(tmp_path / "days", DAYS[0], [early, early])
    source.list_days(date.max)
    first = source.read_days(DAYS[:1])
    write_day(tmp_path / "days", DAYS[1], ["", late, early])
    message = rf"{DAYS[1]}\.csv: found '{late}' in column 'x', row 2; .*types={{'x': 'str'}}"
    for _ in range(2):
        with pytest.raises(ColumnsError, match=message):
            source.read_days([*source.list_days(date.max)])
    if not time:
        assert_frame_equal(source.read_days(DAYS[:1]), first)
    told = CsvDays(source.path, time, types={"x": "str"})
    assert told.read_days([*told.list_days(date.max)])["x"].fillna("").tolist() == [
        early, early, "", late, early,
    ]  # fmt: skip
    write_day(tmp_path / "days", DAYS[1], [early])
    assert len(source.read_days([*source.list_days(date.max)])) == 3, "the file was corrected"


def test_words_among_numbers_of_the_first_files_are_text_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for day, cell in zip(DAYS, ("1", "many", "2"), strict=True):
        write_day(tmp_path / "days", day, [cell])
    source = CsvDays(str(tmp_path / "days"))
    with caplog.at_level(logging.WARNING, "nightly"):
        assert source.read_days(DAYS[2:])["x"].tolist() == ["2"]
        assert source.read_days(DAYS)["x"].tolist() == ["1", "many", "2"]
    [told] = caplog.messages
    assert "x is text" in told
    assert f"{DAYS[1]}.csv" in told


def test_files_are_looked_at_only_for_what_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for columns that are declared, nor for those that are text whatever else comes."""
    looked: list[str] = []
    place = tmp_path / "days"
    place.mkdir()

    def noted(file: Path, *given: Any) -> Any:
        looked.append(file.stem)
        return read_texts(file, *given)

    monkeypatch.setattr(files, "read_texts", noted)
    for day, word in zip(DAYS, ("many", "few", "1"), strict=True):
        (place / f"{day}.csv").write_text(f"n,x\n1,{word}\n")
    last = [str(DAYS[2])]
    declared = CsvDays(str(place)).with_types({"n": "int", "x": "str"})
    assert declared.read_days(DAYS[2:])["x"].tolist() == ["1"]
    assert looked == last
    looked.clear()
    half = CsvDays(str(place)).with_types({"n": "int"})
    assert half.read_days(DAYS[2:])["x"].tolist() == ["1"]
    assert looked == [*last, *map(str, DAYS[:2])], "numbers would be told among words"
    looked.clear()
    for number in range(5, 9):
        (place / f"2026-12-0{number}.csv").write_text("n,x\n1,many\n")
    assert half.read_days(DAYS[:1])["x"].tolist() == ["many"]
    assert looked == [str(DAYS[0])]
    (place / "2026-12-09.csv").write_text("n,x,y\n1,many,2\n")
    assert half.read_days([date(2026, 12, 9)])["y"].tolist() == [2]


def test_a_file_that_cannot_be_read_decides_nothing(tmp_path: Path) -> None:
    write_day(tmp_path / "days", DAYS[0], ["1"])
    (tmp_path / "days" / f"{DAYS[1]}.csv").write_text('at,x\n1,"2\n')
    source = CsvDays(str(tmp_path / "days"))
    assert source.read_days(DAYS[:1])["x"].tolist() == [1]
    write_day(tmp_path / "days", DAYS[1], ["2"])
    assert source.read_days(DAYS[:2])["x"].tolist() == [1, 2]


def test_a_state_directory_without_types_is_read_as_before(tmp_path: Path) -> None:
    """Parts split by an earlier version, whose folder has no ``columns``."""
    for day, cell in zip(DAYS, ("7", "2.5", "8"), strict=True):
        write_day(tmp_path / "days", day, [cell])
    source = CsvDays(str(tmp_path / "days"), "at")
    whole = source.read_days([*source.list_days(date.max)])
    for day in DAYS:  # as each file alone would have been split
        shutil.rmtree(settings.home() / "columns")
        aside = [tmp_path / "days" / f"{other}.csv" for other in DAYS if other != day]
        for file in aside:
            file.rename(tmp_path / file.name)
        part = settings.home() / "data"
        for folder in part.glob(f"{day}-*"):
            shutil.rmtree(folder)
        source.list_days(date.max)
        for file in aside:
            (tmp_path / file.name).rename(file)
    shutil.rmtree(settings.home() / "columns")
    assert_frame_equal(source.read_days(DAYS), whole)
    assert [*(settings.home() / "columns").iterdir()]


def write_export(folder: Path, days: Sequence[Sequence[str]], last: str = "10:00:00") -> CsvDays:
    """One growing file, as a shop's export is; ``last`` is the time of the third day."""
    folder.mkdir(exist_ok=True)
    pairs = zip(DAYS, days, ("10:00:00", "10:00:00", last), strict=False)
    lines = [f"{day} {at},{cell}" for day, cells, at in pairs for cell in cells]
    (folder / "export.csv").write_text("\n".join(["at,x", *lines]) + "\n")
    return CsvDays(str(folder), "at")


@pytest.mark.parametrize("declared", ["", "int", "float", "bool", "time", "str"])
@hypothesis_settings(max_examples=8)
@given(st.lists(few_cells, min_size=2, max_size=2), few_cells)
@example([["1"], ["", "7"]], ["1.5"])
@example([[""], ["1", "1"]], ["many"])
@example([["2026-11-20"], [""]], ["2026-11-20 10:00:00.5"])
def test_a_growing_export_revises_no_day_by_the_type_of_another(
    declared: str, days: list[list[str]], new: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTLY_HOME", f"{place}/home")
        source = write_export(Path(place) / "days", days)
        source = source.with_types({"x": declared} if declared else {})
        before = source.list_days(date.max)
        write_export(Path(place) / "days", [*days, new])
        try:
            after = source.list_days(date.max)
        except ColumnsError:
            return  # told by its value
        assert {day: after[day] for day in before} == before
        if not declared:
            rows = source.read_days(DAYS)
            as_written(rows["x"], [cell for cells in (*days, new) for cell in cells])
            alone = pd.concat([source.read_days([day]) for day in DAYS], ignore_index=True)
            assert_frame_equal(alone, rows)


@pytest.mark.parametrize("declared", [{}, {"at": "time"}])
def test_a_fraction_of_a_second_revises_no_day_before(
    declared: dict[str, str], tmp_path: Path
) -> None:
    days = [["1"], ["2"], ["3"]]
    source = write_export(tmp_path / "days", days[:2]).with_types(declared)
    before = source.list_days(date.max)
    write_export(tmp_path / "days", days, "10:00:00.25")
    after = source.list_days(date.max)
    assert {day: after[day] for day in before} == before
    rows = source.read_days(DAYS)
    alone = pd.concat([source.read_days([day]) for day in DAYS], ignore_index=True)
    assert rows["at"].tolist() == alone["at"].tolist()
    assert rows["at"].iloc[2] == pd.Timestamp(f"{DAYS[2]} 10:00:00.25")
    if not declared:  # a contract gives the times that it declares its own unit
        assert_frame_equal(alone, rows)
