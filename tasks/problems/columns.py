"""Columns of examples: reserved names, slices, and checks of column names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from tasks.errors import SpecError
from tasks.shown import NAMED_COLUMNS, few

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from tasks.metrics.base import Metric


OURS = ("target", "relevant")
RESERVED = ("day", *OURS)
OWN = "{} (input)"
"""Name in the examples of a feature that is called as one of our columns is."""
Slice: TypeAlias = "str | Callable[[pd.DataFrame], pd.Series[Any]]"
"""A column of the examples, or a function of them that returns one value for each row."""


def slice_name(by: Slice) -> str:
    """Name of a slice."""
    return by if isinstance(by, str) else str(getattr(by, "__name__", by))


def slice_values(examples: pd.DataFrame, by: Slice) -> pd.Series[Any]:
    """The group of each row.

    Raises:
        SpecError: Where there is no such column, or the function fails.
    """

    import pandas as pd

    if isinstance(by, str):
        by = own if (own := OWN.format(by)) in examples else by
        check_column(examples, by, "slices")
        return examples[by]
    try:
        found = by(examples)
    except Exception as error:
        raise SpecError(
            f"slices: function {slice_name(by)} raised {type(error).__name__}: {error}; the "
            f"columns it gets are {few(examples, NAMED_COLUMNS)}"
        ) from error
    if len(found) != len(examples):
        raise SpecError(
            f"slices: function {slice_name(by)} returned {len(found):,} values for "
            f"{len(examples):,} rows; expected one value for each row"
        )
    return pd.Series(found.to_numpy() if hasattr(found, "to_numpy") else found, examples.index)


def check_column(examples: pd.DataFrame, column: str, field: str) -> None:
    """Raise SpecError where a column that a field names is not among the examples."""
    if column not in examples:
        raise SpecError(
            f"{field}: column {column!r} is not among the features; found "
            f"{few(examples, NAMED_COLUMNS)}"
        )


def unreserved(
    features: pd.DataFrame, keys: Sequence[str], target: str | None = None
) -> pd.DataFrame:
    """Features without ``day``, and those of our names under ``OWN`` instead.

    Args:
        features: As the function of the spec made them.
        keys: Columns of the examples that are no inputs.
        target: Column of the clean rows that holds the outcome.

    Raises:
        SpecError: Where they hold the outcome.
    """
    if target is not None and target in features:
        raise SpecError(
            f"features: found the column {target!r}, which is the outcome's name; expected only "
            "inputs. If the column is known before the day begins, it is not a leak: rename it, "
            f"such as .rename(columns={{{target!r}: 'own_{target}'}})"
        )
    own = {name: OWN.format(name) for name in OURS if name in keys}
    return features.drop(columns="day", errors="ignore").rename(columns=own)


def inputs_of(examples: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The inputs of an estimator, under their own names: the examples without the keys."""
    own = {OWN.format(name): name for name in OURS if name in keys}
    return examples.drop(columns=[name for name in keys if name in examples]).rename(columns=own)


def metric_faults(metric: object, allowed: Sequence[str], own: Sequence[Metric]) -> list[str]:
    """What is wrong with the primary metric and with custom metrics."""
    from tasks.metrics.base import Metric

    found = []
    for each in own if isinstance(own, tuple) else (own,):
        name = getattr(each, "name", None)
        if not isinstance(each, Metric):
            found.append(f"metrics: found {each!r}, allowed a tuple of Metric")
        elif not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
            found.append(f"metrics: found the name {name!r}, allowed lower-case letters, digits, _")
        elif name in allowed or [e.name for e in own].count(name) > 1:
            found.append(
                f"metrics: found the name {name!r} twice, or as the name of a built-in metric; "
                "allowed a name of its own"
            )
        elif not callable(each.function):
            found.append(
                f"metrics: found {each.function!r} in {name!r}, allowed a function "
                "function(examples, score)"
            )
    every = dict.fromkeys([*allowed, *(getattr(each, "name", each) for each in own)])
    if metric not in every:
        found.append(f"metric: found {metric!r}, allowed {', '.join(map(str, every))}")
    return found


def name_faults(field: str, value: object) -> list[str]:
    """What is wrong with a column that a problem names."""
    if isinstance(value, str) and value and value not in RESERVED:
        return []
    return [f"{field}: found {value!r}, allowed a column name other than {', '.join(RESERVED)}"]
