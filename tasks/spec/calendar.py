"""The days on which a business has rows: its weekdays without its holidays."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
RECENT = timedelta(weeks=26)
"""How far back a calendar is learned from a source."""
FEWEST = 4
"""How often a weekday must have passed without a row until it counts as closed."""


@dataclass(frozen=True)
class Calendar:
    """The days that are expected to have rows; predictions are made for the next of them.

    Attributes:
        weekdays: The weekdays with business, such as ``("mon", "tue", "wed", "thu", "fri")``.
        holidays: Dates without business.
    """

    weekdays: tuple[str, ...] = WEEKDAYS
    holidays: tuple[date, ...] = ()

    def faults(self) -> list[str]:
        """What is wrong with it, each as one line."""
        found = []
        if not isinstance(self.weekdays, tuple) or not self.weekdays:
            found.append(f"weekdays: found {self.weekdays!r}, allowed a tuple such as {WEEKDAYS}")
        elif unknown := [day for day in self.weekdays if day not in WEEKDAYS]:
            found.append(f"weekdays: found {unknown[0]!r}, allowed {', '.join(WEEKDAYS)}")
        dates = isinstance(self.holidays, tuple) and all(type(day) is date for day in self.holidays)
        if not dates:
            found.append(f"holidays: found {self.holidays!r}, allowed a tuple of dates")
        return found

    def is_open(self, day: date) -> bool:
        """Whether the day is expected to have rows."""
        return WEEKDAYS[day.weekday()] in self.weekdays and day not in self.holidays

    def last_open(self, day: date) -> date:
        """This day, or the last one before it that is open."""
        return self._open(day, -1)

    def next_open(self, day: date) -> date:
        """The first open day after this one."""
        return self._open(day + timedelta(days=1), 1)

    def without(self, days: Iterable[date]) -> Calendar:
        """The same calendar, closed on these days as well."""
        return replace(self, holidays=(*self.holidays, *days))

    def _open(self, day: date, step: int) -> date:
        for count in range(7 + 7 * len(self.holidays)):
            found = day + timedelta(days=step * count)
            if self.is_open(found):
                return found
        return day


def learned(listed: Collection[date]) -> Calendar:
    """The weekdays of a source: all but those that passed several times and never had a row.

    Args:
        listed: Days of the source.
    """
    if not listed:
        return Calendar()
    last = max(listed)
    first = max(min(listed), last - RECENT)
    passed = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    there = {day.weekday() for day in listed if day >= first}
    counts = [sum(day.weekday() == number for day in passed) for number in range(7)]
    return Calendar(
        tuple(
            name
            for number, name in enumerate(WEEKDAYS)
            if number in there or counts[number] < FEWEST
        )
    )
