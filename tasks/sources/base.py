"""The protocol of a source, and the errors that a source raises."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from zoneinfo import ZoneInfo

from tasks.errors import NightlyError, WrongInputError

if TYPE_CHECKING:
    import pandas as pd


PATTERN = "\0"
"""What a pattern of column names begins with, among the types that a contract declares."""
DAY_START = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


class SourceError(NightlyError, RuntimeError):
    """The data cannot be read; the message names the file and says what to do."""


class ColumnsError(SourceError):
    """A day has other columns, or other types, than the days before it."""


class SourceSettingsError(SourceError, WrongInputError):
    """A source is told wrong: a path, table, column or password that a person must correct."""


class SourceOutageError(SourceError):
    """The file system or database does not answer now; a later attempt may succeed."""


class Source(Protocol):
    """Where a model's days come from."""

    def list_days(self, until: date) -> dict[date, str]:
        """Every complete day up to and including ``until`` with a fingerprint, ascending."""

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        """Raw rows of these days in their order, first column ``day`` (datetime64[s])."""


def with_types(source: Any, declared: Mapping[str, str]) -> Any:
    """The source, told what its columns are where it has to find that out by itself.

    Args:
        source: Of a model.
        declared: Columns to words of ``tasks.sources.csv_reader.TYPES``.
    """
    return source.with_types(declared) if hasattr(source, "with_types") else source


def own_columns(source: Any, days: Sequence[date]) -> dict[date, set[str]]:
    """Columns that each day has by itself, whatever days are read with it.

    Args:
        source: Of a model.
        days: Days of it.

    Returns:
        Nothing for a source in which all days have the same.
    """
    return source.own_columns(days) if hasattr(source, "own_columns") else {}


def check_clock(kind: str, day_start: str, timezone: str) -> None:
    """Raise SourceSettingsError unless ``day_start`` and ``timezone`` are valid."""
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
    """A value as a message shows it, shortened where it is long."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"
