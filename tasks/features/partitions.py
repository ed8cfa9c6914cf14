"""The partitions of a fleet in its days: which rows are whose, and which partition's are bad.

The clean rows and the examples of a day lie partition by partition, so that one partition's are
neighbours (``frames.Part``): they are stored once for the fleet, and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from tasks.errors import SpecError
from tasks.store import frames

if TYPE_CHECKING:
    import pandas as pd

    from tasks.features.contract import Accepted
    from tasks.spec.model_spec import ModelSpec


FEWEST_BAD = 2
"""Fewest broken rows that make a partition's day bad: a small partition has few rows a day."""


@dataclass(frozen=True)
class SetAside:
    """A fleet's accepted rows without those of bad partitions.

    Attributes:
        accepted: The rows that are used; counts with the others among the quarantined.
        rest: The same without any row of a bad partition, by which the whole day is judged.
        bad: Day and partition to what is wrong.
        refused: Day to why the whole day is bad.
    """

    accepted: Accepted
    rest: Accepted
    bad: dict[tuple[pd.Timestamp, str], str]
    refused: dict[date, str]


def as_text(values: pd.Series[Any]) -> pd.Series[Any]:
    """The values of the partition column as texts; what is missing stays missing.

    Raises:
        SpecError: Where they are neither texts, whole numbers nor flags.
    """
    import pandas as pd

    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.astype(values.cat.categories.dtype)
    kinds = pd.api.types
    if kinds.is_float_dtype(values):
        known = values.dropna()
        if not (known == known.round()).all():
            raise SpecError(
                f"partition: found numbers with a fraction in {values.name!r}, expected texts, "
                "whole numbers or flags. Turn them into texts in clean."
            )
        values = values.astype("Int64")
    elif (
        not any(
            is_one(values)
            for is_one in (kinds.is_string_dtype, kinds.is_integer_dtype, kinds.is_bool_dtype)
        )
        and not values.dropna().map(lambda value: isinstance(value, str | int)).all()
    ):
        raise SpecError(
            f"partition: found values of type {values.dtype} in {values.name!r}, expected texts, "
            "whole numbers or flags. Turn them into texts in clean."
        )
    texts: pd.Series[Any] = values.astype("str").where(values.notna())
    return texts


def set_aside(spec: ModelSpec, accepted: Accepted) -> SetAside:
    """Leave out the rows of partitions that have too many broken rows on a day.

    A partition's day is bad where more of its rows than ``quarantine_limit``, and at least
    ``FEWEST_BAD``, break the contract. A value without one good row may be none at all: it counts
    only where its rows are more than ``quarantine_limit`` of the day's. Where more than half of a
    day's partitions are bad, the whole day is.
    """
    import pandas as pd

    column = spec.partition
    assert column is not None
    rows, broken = accepted.rows, accepted.quarantine
    if column not in rows:
        raise SpecError(f"Model {spec.name}: partition: the raw rows have no column {column!r}.")
    good = _cells(rows, column)
    wrong = _cells(broken, column) if column in broken else good.head(0)
    both = pd.DataFrame({"good": good, "wrong": wrong}).fillna(0).astype("int64")
    total = both["good"] + both["wrong"]
    over = (both["wrong"] > spec.quarantine_limit * total) & (both["wrong"] >= FEWEST_BAD)
    of_day = total.groupby(level="day").transform("sum")
    real = (both["good"] > 0) | (both["wrong"] > spec.quarantine_limit * of_day)
    both, over = both[real], over[real]
    wide = both[over].reset_index()
    bad: dict[tuple[pd.Timestamp, str], str] = {
        (day, value): f"{lost:,} of {kept + lost:,} rows of {value} on {day:%Y-%m-%d} break the "
        f"contract (allowed {spec.quarantine_limit:.1%}): all of them are left out"
        for day, value, kept, lost in wide.itertuples(index=False)
    }
    every = both.groupby(level="day").size()
    half = over.groupby(level="day").sum() / every.reindex(every.index)
    refused = {
        day.date(): f"{day:%Y-%m-%d}: {int(over.loc[day].sum()):,} of {every[day]:,} partitions "
        "have too many rows that break the contract"
        for day in half[half > 0.5].index
    }
    if not bad:
        return SetAside(accepted, accepted, {}, {})
    out = _in_cells(rows, column, bad)
    counts, kept = accepted.counts.copy(), rows[~out].reset_index(drop=True)
    moved = rows.loc[out, "day"].value_counts().reindex(counts.index, fill_value=0).astype("int64")
    counts["accepted"] -= moved
    counts["quarantined"] += moved
    aside = _in_cells(broken, column, bad)
    lost = broken.loc[aside, "day"].value_counts().reindex(counts.index, fill_value=0)
    fewer = accepted.counts.copy()
    fewer["rows_in"] -= (moved + lost).astype("int64")
    fewer["accepted"] -= moved
    fewer["quarantined"] -= lost.astype("int64")
    rest = replace(accepted, rows=kept, quarantine=broken[~aside], counts=fewer)
    return SetAside(replace(accepted, rows=kept, counts=counts), rest, bad, refused)


def in_order(spec: ModelSpec, rows: pd.DataFrame) -> pd.DataFrame:
    """The clean rows of one day partition by partition, each in its own order, none last."""
    if spec.partition not in rows:
        raise SpecError(
            f"Model {spec.name}: partition: the clean rows have no column {spec.partition!r}."
        )
    texts = as_text(rows[spec.partition]).reset_index(drop=True)
    order = texts.sort_values(kind="stable", na_position="last").index
    return rows.iloc[order].reset_index(drop=True)


def count_parts(
    spec: ModelSpec,
    made: Mapping[Any, pd.DataFrame],
    bad: Mapping[tuple[pd.Timestamp, str], str],
) -> pd.DataFrame:
    """How many rows each partition has on each day, in the order in which they lie.

    Args:
        spec: The fleet.
        made: Day to its clean rows, from ``in_order``.
        bad: Day and partition to what is wrong, from ``set_aside``.

    Returns:
        ``day``, ``value``, ``rows``, ``labelled`` (those that are examples) and ``fault``, an empty
        text for a good one.
    """
    import pandas as pd

    assert spec.partition is not None
    found = [
        pd.DataFrame(
            {"day": day, "value": value, "rows": 0, "labelled": 0, "fault": why}, index=[0]
        )
        for (day, value), why in bad.items()
    ]
    for day, rows in made.items():
        if day is None or rows.empty:
            continue
        texts = as_text(rows[spec.partition])
        known = rows[spec.problem.target_column].notna()
        each = pd.DataFrame({"value": texts, "labelled": known}).groupby("value", sort=True)
        counted = each["labelled"].agg(["size", "sum"])
        found.append(
            pd.DataFrame(
                {
                    "day": day,
                    "value": counted.index,
                    "rows": counted["size"].to_numpy(),
                    "labelled": counted["sum"].to_numpy(),
                    "fault": "",
                }
            )
        )
    types = {"value": "str", "rows": "int64", "labelled": "int64", "fault": "str"}
    if not found:
        empty = pd.DataFrame({"day": pd.Series(dtype="datetime64[s]")})
        return empty.assign(**{name: pd.Series(dtype=kind) for name, kind in types.items()})
    every = pd.concat(found, ignore_index=True).astype({"day": "datetime64[s]", **types})
    return every.sort_values(["day", "value"], kind="stable", ignore_index=True)


def read_parts(keys: Mapping[date, str]) -> pd.DataFrame:
    """The partitions of these days, with where their clean rows and examples begin in each.

    Args:
        keys: Day to the key of its clean rows.

    Returns:
        As ``count_parts``, with ``start`` and ``first`` (of the examples).
    """
    refs = frames.find_days("parts", list(keys.values()))
    found = frames.read_days([refs[key] for key in keys.values()])
    days = found.groupby("day", sort=False)
    return found.assign(
        start=days["rows"].cumsum() - found["rows"],
        first=days["labelled"].cumsum() - found["labelled"],
    )


def part_refs(
    parts: pd.DataFrame, refs: Mapping[date, frames.Ref], *, examples: bool
) -> dict[date, frames.Ref]:
    """One partition's rows of each day.

    Args:
        parts: Its rows of ``read_parts``.
        refs: Day to the fleet's rows.
        examples: Whether these are examples; else clean rows.
    """
    first, count = ("first", "labelled") if examples else ("start", "rows")
    places = {
        stamp.date(): (start, rows)
        for stamp, start, rows in zip(parts["day"], parts[first], parts[count], strict=True)
    }
    found: dict[date, frames.Ref] = {}
    for day, ref in refs.items():
        start, rows = places.get(day, (0, 0))
        found[day] = frames.Part(
            ref.path, ref.sha256, ref.batch, int(rows), ref.content, int(start)
        )
    return found


def why_thin(
    *, days: int, least_days: int, units: int, least_units: int, trained: int, least_trained: int
) -> str:
    """Why a partition cannot be judged on its own, in words; nothing where it can.

    Args:
        days: Days of the holdout on which it has an example.
        least_days: ``gate.min_days``.
        units: Its examples in the holdout.
        least_units: ``gate.min_units``.
        trained: Training days on which it has an example.
        least_trained: Fewest training days of a night.
    """
    few = [
        f"{found:,} {what} (at least {least:,})"
        for found, least, what in (
            (days, least_days, "holdout days with rows"),
            (units, least_units, "rows in the holdout"),
            (trained, least_trained, "training days with rows"),
        )
        if found < least
    ]
    return f"too thin to be judged alone: {', '.join(few)}" if few else ""


def chunks(values: Sequence[Any], most: int) -> list[list[Any]]:
    """Neighbours in as few parts as can be, alike in size: none has more than ``most``."""
    if not values:
        return []
    count = -(-len(values) // most)
    size, more = divmod(len(values), count)
    ends = [size * (i + 1) + min(i + 1, more) for i in range(count)]
    return [list(values[end - size - (i < more) : end]) for i, end in enumerate(ends)]


def _cells(rows: pd.DataFrame, column: str) -> pd.Series[Any]:
    """How many rows each partition has on each day."""
    return rows.groupby([rows["day"], _loose_text(rows[column]).rename("value")]).size()


def _in_cells(
    rows: pd.DataFrame, column: str, cells: Mapping[tuple[pd.Timestamp, str], str]
) -> Any:
    import pandas as pd

    if column not in rows:
        return pd.Series(False, index=rows.index)
    pairs = pd.MultiIndex.from_arrays([rows["day"], _loose_text(rows[column])])
    return pd.Series(pairs.isin(list(cells)), index=rows.index)


def _loose_text(values: pd.Series[Any]) -> pd.Series[Any]:
    """As ``as_text``, of raw values of any type."""
    try:
        return as_text(values)
    except SpecError:
        return values.astype("str").where(values.notna())
