"""A source as JSON, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tasks.sources.files import CsvDays, ParquetDays
from tasks.sources.package_data import PackageDays
from tasks.sources.replay import Replay
from tasks.sources.sql import SqlDays

if TYPE_CHECKING:
    from tasks.sources.base import Source


def source_to_json(source: Any) -> dict[str, Any]:
    """A source as plain JSON types; ``source_from_json`` is the inverse."""
    fields = {
        name: source_to_json(value) if hasattr(value, "list_days") else value
        for name, value in vars(source).items()
        if value != {}
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
        name: source_from_json(value) if name == "source" else value
        for name, value in data.items()
        if name != "kind"
    }
    return kinds[data["kind"]](**fields)
