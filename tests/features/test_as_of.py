"""Exactly one as-of date a day, whatever the clocks do; and no night on stale data."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.server.schemas.schedules import CronSchedule

from tasks.features.as_of import (
    day_start_of,
    last_complete_day,
    last_due,
    reasons_to_hold,
    resolve_as_of,
)
from tasks.sources import CsvDays, Replay

ZONES = ("America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Sydney")


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("hour", [0, 2, 3, 23])
def test_a_daily_schedule_gives_each_day_once_over_two_years(zone: str, hour: int) -> None:
    first = date(2026, 1, 1)
    due = [
        datetime(2026, 1, 1, hour, 30, tzinfo=ZoneInfo(zone)) + timedelta(days=n)
        for n in range(731)
    ]
    expected = [first + timedelta(days=n - 1) for n in range(731)]
    for late in (timedelta(0), timedelta(seconds=59), timedelta(hours=21)):
        found = [
            resolve_as_of(None, [], moment, moment + late, zone, by_hand=False)
            for moment in (one.astimezone(UTC) for one in due)
        ]
        assert found == expected, late


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("cron", ["30 2 * * *", "0 3 * * *", "15 0 * * *"])
def test_prefects_own_schedule_gives_each_day_once_over_two_years(zone: str, cron: str) -> None:
    """Both clock changes of both years included, with the dates the server itself would make."""
    schedule = CronSchedule(cron=cron, timezone=zone)
    begin = datetime(2026, 1, 1, tzinfo=ZoneInfo(zone))
    due = asyncio.run(schedule.get_dates(n=731, start=begin))
    found = [resolve_as_of(None, [], one, one, zone, by_hand=False) for one in due]
    assert found == [begin.date() + timedelta(days=n - 1) for n in range(731)]


@given(
    second=st.integers(0, 2 * 366 * 86_400),
    late=st.integers(0, 40 * 86_400),
    zone=st.sampled_from(ZONES),
)
def test_a_late_night_stands_for_all_that_were_due(second: int, late: int, zone: str) -> None:
    scheduled = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    started = scheduled + timedelta(seconds=late)
    due = last_due(scheduled, started, zone)
    assert scheduled.timestamp() <= due.timestamp() <= started.timestamp()
    assert started.timestamp() - due.timestamp() < 25 * 3600 + 1
    asked = resolve_as_of(None, [], scheduled, started, zone, by_hand=False)
    again = resolve_as_of(None, [], due, started, zone, by_hand=False)
    assert asked == again >= last_complete_day(scheduled, zone)


def test_a_night_missed_five_times_runs_as_of_the_newest() -> None:
    scheduled = datetime(2026, 11, 16, 8, tzinfo=UTC)
    up_again = datetime(2026, 11, 21, 7, 59, tzinfo=UTC)
    found = resolve_as_of(None, [], scheduled, up_again, "America/New_York", by_hand=False)
    assert found == date(2026, 11, 19)
    found = resolve_as_of(
        None, [], scheduled, up_again + timedelta(minutes=1), "America/New_York", by_hand=False
    )
    assert found == date(2026, 11, 20)


@given(
    second=st.integers(0, 2 * 366 * 86_400),
    zone=st.sampled_from(ZONES),
    begins=st.sampled_from(["00:00", "06:00", "09:30", "23:59"]),
)
def test_the_last_complete_day_has_ended_and_the_next_has_not(
    second: int, zone: str, begins: str
) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    day, start = last_complete_day(moment, zone, begins), time.fromisoformat(begins)
    begun = datetime.combine(day + timedelta(days=1), start, ZoneInfo(zone))
    assert begun.timestamp() <= moment.timestamp()
    ends = datetime.combine(day + timedelta(days=2), start, ZoneInfo(zone))
    assert moment.timestamp() < ends.timestamp()


DUE = datetime(2026, 11, 22, 8, tzinfo=UTC)
LISTED = [date(2026, 11, 18), date(2026, 11, 19)]


@pytest.mark.parametrize(
    ("asked", "listed", "by_hand", "expected"),
    [
        (date(2026, 11, 3), LISTED, False, date(2026, 11, 3)),
        (date(2026, 11, 3), LISTED, True, date(2026, 11, 3)),
        (None, LISTED, True, date(2026, 11, 19)),
        (None, [], True, date(2026, 11, 21)),
        (None, LISTED, False, date(2026, 11, 21)),
    ],
)
def test_what_is_asked_wins_then_by_hand_the_newest_day_then_the_schedule(
    asked: date | None, listed: list[date], by_hand: bool, expected: date
) -> None:
    assert resolve_as_of(asked, listed, DUE, DUE, "UTC", by_hand=by_hand) == expected


def test_a_day_that_begins_at_six_is_not_complete_at_three() -> None:
    at_three = datetime(2026, 11, 22, 3, tzinfo=UTC)
    asked = resolve_as_of(None, [], at_three, at_three, "UTC", by_hand=False, day_start="06:00")
    assert asked == date(2026, 11, 20), "the day of the 21st goes on until six"
    assert day_start_of(CsvDays("x", time="at", day_start="06:00")) == "06:00"
    assert day_start_of(Replay(CsvDays("x", time="at", day_start="06:00"))) == "06:00"
    assert day_start_of(object()) == "00:00"


def test_stale_empty_and_repeated_days_hold() -> None:
    as_of = date(2026, 11, 19)
    day = timedelta(days=1)
    fresh = {as_of - 2 * day: "a", as_of - day: "b", as_of: "c"}
    assert reasons_to_hold(fresh, as_of) == ()
    assert reasons_to_hold({}, as_of) == ("The source has no day up to 2026-11-19.",)
    (stale,) = reasons_to_hold(fresh, as_of + 3 * day)
    assert "newest day in the source is 2026-11-19, 3 days before 2026-11-22" in stale
    (same,) = reasons_to_hold(fresh | {as_of: "a"}, as_of)
    assert "identical to that of 2026-11-17" in same
    assert reasons_to_hold(fresh | {as_of - day: "a"}, as_of) == ()
