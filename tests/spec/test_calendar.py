"""Closed days are no missing days: they are told, or seen from the source."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.spec import Calendar, SpecError
from tasks.spec.calendar import WEEKDAYS, learned
from tests.toy import toy

FRIDAY = date(2026, 11, 20)
OFFICE = Calendar(WEEKDAYS[:5])


def after(days: int) -> date:
    return FRIDAY + timedelta(days=days)


def test_the_next_day_of_friday_is_monday_and_a_weekend_belongs_to_friday() -> None:
    assert OFFICE.next_open(FRIDAY) == after(3)
    assert [OFFICE.last_open(after(n)) for n in (0, 1, 2, 3)] == [FRIDAY, FRIDAY, FRIDAY, after(3)]
    assert Calendar(WEEKDAYS[:5], holidays=(after(3),)).next_open(FRIDAY) == after(4)
    assert OFFICE.without([FRIDAY]).last_open(after(2)) == after(-1)
    assert Calendar().next_open(FRIDAY) == after(1)


@given(
    weekdays=st.sets(st.sampled_from(WEEKDAYS), min_size=1),
    closed=st.sets(st.integers(-20, 20).map(after), max_size=30),
    day=st.integers(-20, 20).map(after),
)
def test_every_day_lies_between_two_open_ones(
    weekdays: set[str], closed: set[date], day: date
) -> None:
    calendar = Calendar(tuple(weekdays), tuple(closed))
    last, following = calendar.last_open(day), calendar.next_open(day)
    assert calendar.is_open(last)
    assert calendar.is_open(following)
    assert last <= day < following
    between = [last + timedelta(days=n) for n in range(1, (following - last).days)]
    assert not any(map(calendar.is_open, between))


def test_a_calendar_is_learned_from_the_source() -> None:
    every = [after(-n) for n in range(60)]
    office = [day for day in every if day.weekday() < 5]
    assert learned(office) == OFFICE
    assert learned([date(1970, 1, 3), *office]) == OFFICE
    assert learned(every) == Calendar()
    assert learned([*office, after(-6)]) == Calendar((*WEEKDAYS[:5], "sat"))
    assert learned(office[:15]) == Calendar(), "too short to tell"
    assert learned([]) == Calendar()
    assert learned([day for day in every if day.weekday() == 0]) == Calendar(("mon",))


def test_a_wrong_calendar_is_told() -> None:
    for calendar, said in (
        (Calendar(("Monday",)), "calendar.weekdays: found 'Monday', allowed mon, tue"),
        (Calendar(()), "calendar.weekdays: found ()"),
        (Calendar(holidays=("2026-12-25",)), "calendar.holidays: found"),  # type: ignore[arg-type]
        ("mon", "calendar: found 'mon', allowed None or a Calendar"),
    ):
        with pytest.raises(SpecError) as told:
            dataclasses.replace(toy, calendar=calendar)  # type: ignore[arg-type]
        assert said in str(told.value)
    assert dataclasses.replace(toy, calendar=OFFICE).calendar_of([]) == OFFICE
