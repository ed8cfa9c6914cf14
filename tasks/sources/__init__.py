"""Where days come from: import from here."""

from __future__ import annotations

from tasks.sources.base import (
    ColumnsError,
    Source,
    SourceError,
    SourceOutageError,
    SourceSettingsError,
)
from tasks.sources.dataframe import DataFrameDays
from tasks.sources.files import CsvDays, ParquetDays
from tasks.sources.package_data import PackageDays
from tasks.sources.replay import Calendar, Replay
from tasks.sources.sql import SqlDays

__all__ = [
    "Calendar",
    "ColumnsError",
    "CsvDays",
    "DataFrameDays",
    "PackageDays",
    "ParquetDays",
    "Replay",
    "Source",
    "SourceError",
    "SourceOutageError",
    "SourceSettingsError",
    "SqlDays",
]
