"""What every source is, and the errors that a source raises."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Protocol
from zoneinfo import ZoneInfo

from tasks.errors import NightlyError, WrongInputError

if TYPE_CHECKING:
    import pandas as pd


DAY_START = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


class SourceError(NightlyError, RuntimeError):
    """The data cannot be read; the message names the file and says what to do."""


class ColumnsError(SourceError):
    """A day has other columns, or other types, than the days before it."""


class SourceSettingsError(SourceError, WrongInputError):
    """A source is told wrong: a path, table, column or password that a person must correct."""


class SourceOutageError(SourceError):
    """What holds the data does not answer now; the same again may get past."""


class Source(Protocol):
    """Where a model's days come from."""

    def list_days(self, until: date) -> dict[date, str]:
        """Every complete day up to and including ``until`` with a fingerprint, ascending."""

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        """Raw rows of these days in their order, first column ``day`` (datetime64[s])."""


def check_clock(kind: str, day_start: str, timezone: str) -> None:
    """Raise SourceSettingsError unless these say when a day begins."""
    if not isinstance(day_start, str) or not DAY_START.fullmatch(day_start):
        raise SourceSettingsError(
            f"{kind}: found day_start={day_start!r}; expected HH:MM such as '09:00'."
        )
    try:
        ZoneInfo(timezone)
    except (KeyError, OSError, TypeError, ValueError):
        raise SourceSettingsError(
            f"{kind}: found timezone={timezone!r}; expected a time zone such as 'Europe/Berlin'."
        ) from None


def shift_of(day_start: str) -> timedelta:
    """How long after midnight a day begins."""
    hours, minutes = day_start.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


def shortened(value: object, longest: int = 60) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"
