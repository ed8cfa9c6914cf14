"""An old data set replayed on today's calendar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from tasks.sources.base import SourceError, own_columns, with_types

if TYPE_CHECKING:
    import pandas as pd

    from tasks.sources.base import Source


@dataclass(frozen=True)
class Replay:
    """An old data set replayed on today's calendar, over and over.

    The calendar is moved by whole weeks, so that a Monday stays a Monday, and repeats after the
    longest whole number of weeks the data have (364 days for a year). No more than one such cycle
    is ever listed, so that no real day appears twice. The season drifts by 1.25 days a year.

    Attributes:
        source: The old data.
        year: Calendar year in which the data's first day falls in its own season.
    """

    source: Source
    year: int = 2026

    @property
    def day_start(self) -> str:
        """When a day begins, ``HH:MM``, as in the old data: it is complete a day later."""
        return str(getattr(self.source, "day_start", "00:00"))

    def list_days(self, until: date) -> dict[date, str]:
        """One cycle of days ending with ``until``, each with its real day's fingerprint.

        Raises:
            SourceError: Where the old data span less than a week.
        """
        real = self.source.list_days(date.max)
        calendar = self._calendar(real)
        reach = min(calendar.cycle, until.toordinal())
        days = [until - timedelta(days=back) for back in reversed(range(reach))]
        marks = {day: real.get(calendar.real(day)) for day in days}
        return {day: mark for day, mark in marks.items() if mark is not None}

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        """Rows of these days; every time stamp in them is moved like their day.

        Raises:
            SourceError: Where two of the days show the same real day.
        """
        import pandas as pd

        calendar = self._calendar(self.source.list_days(date.max))
        real = [calendar.real(day) for day in days]
        if len(set(real)) < len(real):
            raise SourceError(
                f"Replay: found {len(days)} days to read, of which two show the same real day; "
                f"expected at most {calendar.cycle} days in a row."
            )
        rows = self.source.read_days(real)
        shifts = pd.Series(
            [now - then for now, then in zip(days, real, strict=True)],
            index=pd.to_datetime(real).astype("datetime64[s]"),
            dtype="timedelta64[s]",
        )
        shift = rows["day"].map(shifts)
        moved = rows.select_dtypes(["datetime", "datetimetz"])
        return rows.assign(**{str(name): _moved(moved[name], shift) for name in moved})

    def own_columns(self, days: Sequence[date]) -> dict[date, set[str]]:
        """Columns that the real day of each of these days has by itself."""
        calendar = self._calendar(self.source.list_days(date.max))
        real = {day: calendar.real(day) for day in days}
        found = own_columns(self.source, [*real.values()])
        return {day: found[each] for day, each in real.items() if each in found}

    def with_types(self, declared: Mapping[str, str]) -> Replay:
        """The same days, their columns read as a contract declares them."""
        return replace(self, source=with_types(self.source, declared))

    def _calendar(self, real: Mapping[date, str]) -> Calendar:
        first, last = min(real), max(real)
        cycle = ((last - first).days + 1) // 7 * 7
        if not cycle:
            raise SourceError(
                f"Replay: found days from {first} to {last}; expected at least a week of days."
            )
        season = first.replace(day=min(first.day, 28))
        years_apart = season.replace(year=self.year) - season
        return Calendar(first + timedelta(weeks=round(years_apart.days / 7)), first, cycle)


@dataclass(frozen=True)
class Calendar:
    """Which real day a calendar day shows.

    Attributes:
        start: Calendar day that shows ``first``; the same weekday.
        first: First real day.
        cycle: Days until the data repeat, a multiple of seven.
    """

    start: date
    first: date
    cycle: int

    def real(self, day: date) -> date:
        """The real day shown on ``day``; the weekday is the same."""
        return self.first + timedelta(days=(day - self.start).days % self.cycle)


def _moved(times: pd.Series[Any], shift: pd.Series[Any]) -> pd.Series[Any]:
    """Times some days later at the same time of day, also where the clocks changed between."""
    zone = times.dt.tz
    if zone is None:
        return times + shift
    local = times.dt.tz_localize(None) + shift
    moved: pd.Series[Any] = local.dt.tz_localize(zone, ambiguous=True, nonexistent="shift_forward")
    return moved
