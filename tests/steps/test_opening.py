"""Which day a night is of, whether its data are fresh, and which day it predicts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from tasks.sources import ParquetDays
from tasks.spec import Calendar
from tasks.steps import opening
from tasks.steps.config import RetrainConfig
from tasks.steps.state import Night
from tests.nights import nth_day
from tests.toy import toy, write_day

FRIDAY = date(2026, 2, 6)
WEEK = ("mon", "tue", "wed", "thu", "fri")


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Night]:
    """Open a night of the toy without a server, on its days without weekends up to that Friday."""
    for number in range(1, 38):
        if nth_day(number).weekday() < 5:
            write_day(tmp_path, nth_day(number))

    def open_(as_of: date | None, due: datetime | None = None, **changes: Any) -> Night:
        changes.setdefault("source", ParquetDays(str(tmp_path)))
        moment = due or datetime(2026, 2, 9, 3, tzinfo=UTC)
        run = SimpleNamespace(scheduled_start_time=moment, id="run")
        made = SimpleNamespace(id=None if due is None else "made")
        monkeypatch.setattr(opening, "runtime", SimpleNamespace(flow_run=run, deployment=made))
        context = SimpleNamespace(get=lambda: SimpleNamespace(start_time=moment))
        monkeypatch.setattr(opening, "FlowRunContext", context)
        monkeypatch.setattr(opening, "load_spec", lambda _: dataclasses.replace(toy, **changes))
        for name in ("reach_server", "recall", "_why_backfill"):
            monkeypatch.setattr(opening, name, lambda *_: None)
        monkeypatch.setattr("prefect.client.orchestration.get_client", MagicMock())
        return opening.open_night.fn(RetrainConfig(model="toy", as_of=as_of))

    return open_


@pytest.mark.parametrize("day", [6, 7, 8])
@pytest.mark.parametrize("calendar", [None, Calendar(WEEK)])
def test_a_weekend_without_rows_belongs_to_friday_and_monday_is_next(
    opened: Callable[..., Night], day: int, calendar: Calendar | None
) -> None:
    for asked in ((date(2026, 2, day), None), (None, datetime(2026, 2, day + 1, 3, tzinfo=UTC))):
        night = opened(*asked, calendar=calendar)
        assert (night.as_of, night.next_day, night.held) == (FRIDAY, date(2026, 2, 9), ())
        assert not night.late


def test_a_day_that_should_be_there_still_holds(opened: Callable[..., Night]) -> None:
    night = opened(date(2026, 2, 9))
    assert night.as_of == date(2026, 2, 9)
    assert "newest day in the source is 2026-02-06" in night.held[0]
    assert opened(date(2026, 2, 7), calendar=Calendar()).held, "Saturdays are open here"


def test_a_day_to_skip_is_no_missing_day(opened: Callable[..., Night]) -> None:
    night = opened(FRIDAY, skip=(FRIDAY,))
    assert (night.as_of, night.newest, night.held) == (FRIDAY, date(2026, 2, 5), ())
    assert night.next_day == date(2026, 2, 9)


def test_a_holiday_with_an_empty_file_is_no_missing_day(
    opened: Callable[..., Night], tmp_path: Path
) -> None:
    write_day(tmp_path, FRIDAY, rows=0)
    night = opened(FRIDAY, calendar=Calendar(WEEK, holidays=(FRIDAY,)))
    assert (night.as_of, night.held) == (date(2026, 2, 5), ())
    assert FRIDAY not in night.days


def test_the_day_that_began_at_six_is_not_complete_at_three(opened: Callable[..., Night]) -> None:
    at_three = datetime(2026, 2, 7, 3, tzinfo=UTC)
    assert opened(None, at_three).as_of == FRIDAY
    listed = {nth_day(n): str(n) for n in range(1, 38)}
    source = SimpleNamespace(
        day_start="06:00",
        list_days=lambda until: {day: mark for day, mark in listed.items() if day <= until},
        read_days=lambda days: days,
    )
    night = opened(None, at_three, source=source)
    assert (night.as_of, night.held) == (date(2026, 2, 5), ())
