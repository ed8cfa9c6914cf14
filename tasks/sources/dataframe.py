"""Days that a user's Python functions return."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from tasks.sources.base import SourceError, SourceOutageError, SourceSettingsError, shortened
from tasks.sources.tables import check_names, join_days, no_rows, with_day

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class DataFrameDays:
    """Days that a user's own functions return.

    Attributes:
        read: ``read(day)`` returns the raw rows of one day.
        days: ``days(until)`` returns the complete days up to ``until``.
        mark: ``mark(day)`` returns a short text that changes whenever the rows of that day change.
            Without it every listed day is read each night, and its rows are the fingerprint.
    """

    read: Callable[[date], pd.DataFrame]
    days: Callable[[date], Sequence[date]]
    mark: Callable[[date], str] | None = None

    def __post_init__(self) -> None:
        for name, function in (("read", self.read), ("days", self.days), ("mark", self.mark)):
            if not callable(function) and not (name == "mark" and function is None):
                raise SourceSettingsError(
                    f"DataFrameDays: found {name}={shortened(function)}; expected a function."
                )

    def list_days(self, until: date) -> dict[date, str]:
        """Days up to ``until`` with the SHA-256 of their mark or, without one, of their rows.

        Raises:
            SourceSettingsError: Where a function returns something else than it should.
            SourceOutageError: Where a function raises.
        """
        found = _call(self.days, until)
        try:
            listed = [_as_date(day) for day in found]
        except TypeError:
            raise SourceSettingsError(
                f"{_named(self.days)}({until}): found {shortened(found)}; expected a list of dates."
            ) from None
        return {day: self._fingerprint(day) for day in sorted(set(listed)) if day <= until}

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        """Rows of these days, one below the other.

        Raises:
            ColumnsError: Where a column's type differs from that of the first day that has rows.
            SourceError: As ``list_days`` does.
        """
        if not days:
            return no_rows()
        return join_days([(self._what(day), self._table(day)) for day in days])

    def _fingerprint(self, day: date) -> str:
        if self.mark is None:
            return _digest(self._table(day).drop_columns(["day"]))
        mark = _call(self.mark, day)
        if not isinstance(mark, str) or not mark:
            raise SourceSettingsError(
                f"{_named(self.mark)}({day}): found {shortened(mark)}; expected a non-empty text "
                "that changes whenever the rows of that day change."
            )
        return hashlib.sha256(f"{day} {mark}".encode()).hexdigest()

    def _table(self, day: date) -> Any:
        import pandas as pd
        import pyarrow as pa

        what, frame = self._what(day), _call(self.read, day)
        if not isinstance(frame, pd.DataFrame):
            raise SourceSettingsError(
                f"{what}: found {type(frame).__name__}; expected a DataFrame. Return a DataFrame, "
                "even one without rows."
            )
        check_names([str(name) for name in frame], what)
        try:
            table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise SourceError(
                f"{what}: found a column of mixed types, or of values too large for it: "
                f"{' '.join(map(str, error.args))}. Give each column one type that holds them all."
            ) from error
        return with_day(table, day, what)

    def _what(self, day: date) -> str:
        return f"{_named(self.read)}({day})"


def _call(function: Callable[[date], Any], day: date) -> Any:
    try:
        return function(day)
    except SourceError:
        raise
    except Exception as error:  # whatever a person's function raises is told with its name
        raise SourceOutageError(
            f"{_named(function)}({day}) raised {type(error).__name__}: {error}"
        ) from error


def _named(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


def _as_date(day: object) -> date:
    if isinstance(day, datetime):  # also pandas' Timestamp
        return day.date()
    if isinstance(day, date):
        return day
    raise TypeError(f"{day!r} is not a date")


def _digest(table: Any) -> str:
    """SHA-256 of the rows of an Arrow table, their names and types."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()
