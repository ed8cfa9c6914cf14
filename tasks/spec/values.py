"""Lengths of time, and checks of the values of a spec."""

from __future__ import annotations

import inspect
import re
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

from tasks.sources.base import PATTERN

EXPANDING = timedelta(days=36500)
"""A training window that keeps every day the source still has."""


def days(count: int) -> timedelta:
    """Length of time in whole days: ``window=days(90)``."""
    return timedelta(days=count)


def shown(value: object) -> str:
    """A value as Python writes it, its first 80 characters."""
    text = str(value) if isinstance(value, timedelta | Path) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def has_methods(value: object, *methods: str) -> bool:
    return all(callable(getattr(value, method, None)) for method in methods)


def is_dotted(value: object) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value))


def are_names(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) and name for name in value)


def are_files(value: object) -> bool:
    """Whether these are relative names that stay in their folder."""
    if not are_names(value):
        return False
    paths = [PurePosixPath(name) for name in value]  # type: ignore[attr-defined]
    return all(not path.is_absolute() and ".." not in path.parts for path in paths)


def are_slices(value: object) -> bool:
    if not isinstance(value, tuple):
        return False
    names = [by if isinstance(by, str) else getattr(by, "__name__", "") for by in value]
    named = all(name and name != "<lambda>" for name in names) and len(set(names)) == len(names)
    return named and all(isinstance(by, str) or takes(by, 1) for by in value)


def is_whole_days(value: object, least: int) -> bool:
    return isinstance(value, timedelta) and value % days(1) == timedelta(0) and value.days >= least


def takes(function: object, count: int) -> bool:
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True


def plain_types(contract: Any) -> dict[str, str]:
    """Columns of a pandera model to their types in the words of ``CsvDays``.

    A pattern of names stands behind ``PATTERN``, which is in no name.
    """
    import pandas as pd

    types = pd.api.types
    found = {}
    for name, column in contract.to_schema().columns.items():
        kind: Any = getattr(column.dtype, "type", None)
        if kind is None:
            continue
        if isinstance(kind, pd.CategoricalDtype):
            kind = getattr(kind.categories, "dtype", "str")
        for word, is_one in (
            ("bool", types.is_bool_dtype),
            ("int", types.is_integer_dtype),
            ("float", types.is_float_dtype),
            ("time", types.is_datetime64_any_dtype),
            ("str", types.is_string_dtype),
        ):
            if is_one(kind):
                found[PATTERN + name if column.regex else name] = word
                break
    return found


def is_timezone(name: object) -> bool:
    try:
        ZoneInfo(name)  # type: ignore[arg-type]
    except (KeyError, OSError, TypeError, ValueError):
        return False
    return True
