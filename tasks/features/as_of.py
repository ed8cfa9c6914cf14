"""The as-of date of a night, and whether its data are fresh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from tasks.shown import counted
from tasks.sources.base import shift_of


def resolve_as_of(
    asked: date | None,
    listed: Sequence[date],
    scheduled: datetime,
    started: datetime,
    timezone: str,
    *,
    by_hand: bool,
    day_start: str = "00:00",
) -> date:
    """The one date a night is keyed by.

    A scheduled night keeps the date it was due for, also when it starts late, is retried or runs
    over midnight. A run that starts after later nights were due replaces them all: it takes the
    date of the newest, so that an outage ends with one night over all missed days.

    Args:
        asked: The date given as parameter, if any; it takes precedence.
        listed: Complete days of the source, ascending.
        scheduled: When the run was due, with its time zone.
        started: When it started, with its time zone.
        timezone: Time zone of the model's days.
        by_hand: Whether a person started it: then the newest complete day is used.
        day_start: When a day begins, ``HH:MM``.
    """
    if asked is not None:
        return asked
    if by_hand and listed:
        return listed[-1]
    return last_complete_day(last_due(scheduled, started, timezone), timezone, day_start)


def last_due(scheduled: datetime, started: datetime, timezone: str) -> datetime:
    """When a daily run was last due: at the scheduled time of day, ``started`` at the latest.

    Args:
        scheduled: One moment it was due, with its time zone.
        started: The latest moment considered, with its time zone.
        timezone: Time zone of the schedule's wall clock.
    """
    first = scheduled.astimezone(ZoneInfo(timezone))
    days = (started.astimezone(ZoneInfo(timezone)).date() - first.date()).days
    due = first + timedelta(days=max(days, 0))
    return due if due.timestamp() <= started.timestamp() else due - timedelta(days=bool(days > 0))


def last_complete_day(moment: datetime, timezone: str, day_start: str = "00:00") -> date:
    """The last day that had ended at ``moment`` in the model's time zone.

    Args:
        moment: With its time zone.
        timezone: Time zone of the model's days.
        day_start: When a day begins, ``HH:MM``; it ends then on the next calendar day.
    """
    local = moment.astimezone(ZoneInfo(timezone)).replace(tzinfo=None)
    return (local - shift_of(day_start)).date() - timedelta(days=1)


def day_start_of(source: object) -> str:
    """When a day of a source begins, ``HH:MM``; at midnight where the source does not say it."""
    return str(getattr(source, "day_start", "00:00"))


def reasons_to_hold(
    days: Mapping[date, str], as_of: date, later: Sequence[date] = ()
) -> tuple[str, ...]:
    """Why the newest data cannot be trusted to be fresh; empty where it can.

    Args:
        days: Day to fingerprint of its content, ascending.
        as_of: The day that must be there.
        later: Days that the source has after it, ascending.
    """
    if not days:
        has = f", only {later[0]} to {later[-1]}" if later else ""
        return (f"The source has no day up to {as_of}{has}.",)
    newest = max(days)
    if newest < as_of:
        late = (as_of - newest).days
        return (
            f"The newest day in the source is {newest}, {counted(late, 'day')} before {as_of}.",
        )
    twins = [day for day, mark in days.items() if day != newest and mark == days[newest]]
    if twins:
        return (f"The data of {newest} is identical to that of {twins[-1]}, byte for byte.",)
    return ()
