"""One night: its settings, its as-of date and what its steps hand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field


class RetrainConfig(BaseModel):
    """Which model to retrain, and as of which day."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        default="groceries",
        title="Model",
        description="A name under deployments/, a path/to/file.py, or package.module:NAME.",
        min_length=1,
        max_length=300,
    )
    as_of: date | None = Field(
        default=None,
        title="As-of date",
        description=(
            "Last day whose data may be used. Empty: the day before the scheduled time, or, run "
            "by hand, the newest complete day. A day in the past reports and never promotes."
        ),
    )


@dataclass(frozen=True)
class Night:
    """One run of one model for one as-of date.

    Attributes:
        model: How the model was named.
        name: Name of its spec.
        as_of: Last day whose data may be used.
        days: Every day of the source up to ``as_of`` with its fingerprint, ascending.
        key: Digest of everything that decides the verdict.
        held: Why there is nothing to train on, in words; empty on an ordinary night.
    """

    model: str
    name: str
    as_of: date
    days: dict[date, str]
    key: str
    held: tuple[str, ...] = ()


def resolve_as_of(
    asked: date | None, listed: Sequence[date], scheduled: datetime, timezone: str, *, by_hand: bool
) -> date:
    """The one date a night is keyed by.

    Args:
        asked: What the parameter says, if anything; it wins.
        listed: Complete days of the source, ascending.
        scheduled: When the run was due, with its time zone.
        timezone: Time zone of the model's days.
        by_hand: Whether a person started it: then the newest complete day counts.
    """
    if asked is not None:
        return asked
    latest = last_complete_day(scheduled, timezone)
    return listed[-1] if by_hand and listed else latest


def last_complete_day(moment: datetime, timezone: str) -> date:
    """The calendar day before ``moment`` in the model's time zone."""
    return moment.astimezone(ZoneInfo(timezone)).date() - timedelta(days=1)


def reasons_to_hold(days: dict[date, str], as_of: date) -> tuple[str, ...]:
    """Why the newest data cannot be trusted to be fresh; empty where it can.

    Args:
        days: Day to fingerprint of its content, ascending.
        as_of: The day that must be there.
    """
    if not days:
        return (f"The source has no day up to {as_of}.",)
    newest = max(days)
    if newest < as_of:
        late = (as_of - newest).days
        return (f"The newest day in the source is {newest}, {late} day(s) before {as_of}.",)
    twins = [day for day, mark in days.items() if day != newest and mark == days[newest]]
    if twins:
        return (f"The data of {newest} is identical to that of {twins[-1]}, byte for byte.",)
    return ()
