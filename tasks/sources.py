"""Which days exist, and their rows: the one place model files take their source from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tasks.daily import (
    ColumnsError,
    Source,
    SourceError,
    SourceOutageError,
    SourceSettingsError,
)
from tasks.files import CsvDays, ParquetDays
from tasks.frames import DataFrameDays
from tasks.package_days import PackageDays
from tasks.replay import Calendar, Replay
from tasks.sql import SqlDays

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
    "source_from_json",
    "source_to_json",
]


def source_to_json(source: Any) -> dict[str, Any]:
    """A source as plain JSON types; ``source_from_json`` is the inverse."""
    fields = {
        name: source_to_json(value) if hasattr(value, "list_days") else value
        for name, value in vars(source).items()
    }
    return {"kind": type(source).__name__, **fields}


def source_from_json(data: Mapping[str, Any]) -> Source:
    """The source that ``source_to_json`` described. Raises KeyError for a kind unknown here.

    ``DataFrameDays`` is one: its functions are in the model's file.
    """
    kinds: dict[str, Callable[..., Source]] = {
        "ParquetDays": ParquetDays,
        "CsvDays": CsvDays,
        "SqlDays": SqlDays,
        "PackageDays": PackageDays,
        "Replay": Replay,
    }
    fields = {
        name: source_from_json(value) if isinstance(value, dict) else value
        for name, value in data.items()
        if name != "kind"
    }
    return kinds[data["kind"]](**fields)
