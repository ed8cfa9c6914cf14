"""A look finds a held night whose data have come, and costs a tenth of a second."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.reporting.held import forget_held, night_to_take_up, remember_held
from tasks.reporting.night_events import night_events
from tasks.sources import ParquetDays
from tests.nights import PROJECT
from tests.reporting.test_decisions import HEAVY, put_day
from tests.reporting.test_night_events import LIMIT, night

FIRST, AS_OF = date(2026, 11, 1), date(2026, 11, 10)


@pytest.fixture
def days(tmp_path: Path) -> Path:
    """Nine days; the tenth, for which the night was due, is missing."""
    folder = tmp_path / "days"
    folder.mkdir()
    for number in range(9):
        put_day(folder, FIRST + timedelta(days=number), f"day {number}".encode())
    return folder


def hold(days: Path, as_of: date = AS_OF, skip: tuple[date, ...] = ()) -> None:
    source = ParquetDays(str(days))
    seen = {day: mark for day, mark in source.list_days(as_of).items() if day not in skip}
    remember_held("mine", "mine", as_of, source=source, skip=skip, days=seen)


def test_nothing_was_held(days: Path) -> None:
    assert night_to_take_up("mine") is None


def test_the_night_is_taken_up_when_its_data_are_there_and_not_before(days: Path) -> None:
    hold(days)
    assert night_to_take_up("mine") is None
    put_day(days, FIRST + timedelta(days=2), b"revised")
    assert night_to_take_up("mine") is None, "another day has changed, the newest is missing"
    put_day(days, AS_OF, b"the day")
    assert night_to_take_up("mine") == AS_OF
    forget_held("mine", AS_OF - timedelta(days=1))
    assert night_to_take_up("mine") == AS_OF, "an older night is no answer to it"
    forget_held("mine", AS_OF)
    assert night_to_take_up("mine") is None


def test_a_day_that_was_a_copy_is_taken_when_it_is_written_anew(days: Path) -> None:
    put_day(days, AS_OF, b"day 3")
    hold(days)
    assert night_to_take_up("mine") is None
    put_day(days, AS_OF, b"its own rows")
    assert night_to_take_up("mine") == AS_OF


def test_the_same_days_are_not_tried_again(days: Path) -> None:
    """Held for what only reading shows, such as a day without a usable row."""
    put_day(days, AS_OF, b"no usable row")
    hold(days)
    assert night_to_take_up("mine") is None


def test_the_newest_held_night_counts_and_a_day_left_out_by_a_person_does_not(days: Path) -> None:
    later = AS_OF + timedelta(days=1)
    hold(days, later, skip=(AS_OF,))
    hold(days, AS_OF)
    put_day(days, AS_OF, b"left out")
    assert night_to_take_up("mine") is None
    put_day(days, later, b"the day")
    assert night_to_take_up("mine") == later


def test_a_source_that_fails_is_looked_at_again_later(days: Path) -> None:
    hold(days)
    moved = days.rename(days.with_name("away"))
    assert night_to_take_up("mine") is None
    moved.rename(days)
    put_day(days, AS_OF, b"the day")
    assert night_to_take_up("mine") == AS_OF


def test_a_source_that_only_its_model_knows_is_left_to_the_night() -> None:
    remember_held("mine", "mine", AS_OF, source=Odd(), skip=(), days={})  # type: ignore[arg-type]
    assert night_to_take_up("mine") == AS_OF


class Odd:
    """A source of a person's own."""


def test_held_again_for_the_same_reasons_raises_no_second_alarm() -> None:
    held: Any = night("2026-11-22", "HELD")
    before: Any = night("2026-11-21", "HELD")
    assert "nightly.night.held-again" in night_events(held, before, LIMIT)
    assert night_events(held, before, LIMIT, held) == {}
    other = held | {"reasons": ["Another reason."]}
    assert "nightly.night.held-again" in night_events(held, before, LIMIT, other)
    kept: Any = night("2026-11-22", "KEPT")
    assert list(night_events(kept, before, LIMIT, held)) == ["nightly.night.kept"]
    assert list(night_events(kept, before, LIMIT, kept)) == ["nightly.night.kept"]


def test_a_look_that_finds_nothing_imports_no_heavy_library(days: Path, home: Path) -> None:
    hold(days)
    code = (
        "import sys; sys.argv = ['retrain.py', '--model', 'mine', '--look']\n"
        "from tasks.cli.commands import answer_if_decided\n"
        "try:\n    answer_if_decided()\n"
        "except SystemExit as end:\n"
        f"    heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "    print(end.code, heavy)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=os.environ | {"NIGHTLY_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.splitlines() == [
        "NOTHING TO DO: no held night of mine can run now.",
        "0 []",
    ]
