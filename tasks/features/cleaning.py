"""Clean days and extract features, for new days only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import settings
from tasks.errors import SpecError
from tasks.features import partitions
from tasks.features.contract import accept_rows, over_limit
from tasks.features.scoring import clean_each, late_columns
from tasks.shown import NAMED_COLUMNS, few
from tasks.sources.base import own_columns
from tasks.spec.fingerprint import digest
from tasks.spec.model_code import told_errors
from tasks.store import files, frames

if TYPE_CHECKING:
    import pandas as pd

    from tasks.features.contract import Accepted
    from tasks.spec.model_spec import ModelSpec


DAYS_AT_ONCE, ROWS_AT_ONCE, VALUES_AT_ONCE = 400, 2_000_000, 100_000_000
"""Most raw days and about the most raw rows and values read at once: bounds the memory of a first
night."""
DAYS_AT_FIRST = 7
"""Days read at first, while the number of rows a day is unknown."""
Absent = Mapping[Any, list[str]]
"""Time stamp of a day to the columns that it has only because other days were read with it."""
Progress = Callable[[int, int], None]
"""Called with (days done, days to do) on long steps."""


def clean_keys(spec: ModelSpec, fingerprints: Mapping[date, str]) -> dict[date, str]:
    """Content address of each clean day: its date, its fingerprint and the spec's digest."""
    return {
        day: content_key("clean", digest(spec), str(day), mark)
        for day, mark in fingerprints.items()
    }


def days_to_clean(spec: ModelSpec, fingerprints: Mapping[date, str]) -> list[date]:
    """The days whose clean rows are not in the store yet."""
    keys = clean_keys(spec, fingerprints)
    refs = frames.find_days("clean", list(keys.values()))
    counted = frames.find_days("counts", list(keys.values()))
    if spec.partition is not None:
        parts = frames.find_days("parts", list(keys.values()))
        counted = {key: ref for key, ref in counted.items() if key in parts}
    return [day for day, key in keys.items() if key not in refs or key not in counted]


@dataclass(frozen=True)
class CleanDays:
    """Clean days in the store.

    Attributes:
        refs: Day to its clean rows, ascending.
        new: Days cleaned just now; all others were in the store.
        rejected: Day to the reason why none of its rows are used.
        counts: Per day ``rows_in``, ``accepted``, ``quarantined`` and ``duplicates``.
    """

    refs: dict[date, frames.Ref]
    new: tuple[date, ...]
    rejected: dict[date, str]
    counts: pd.DataFrame


def clean_days(
    spec: ModelSpec, fingerprints: Mapping[date, str], progress: Progress | None = None
) -> CleanDays:
    """Accept and clean the days that are not in the store yet.

    Args:
        spec: The model.
        fingerprints: Each wanted day with its fingerprint, ascending.
        progress: Called with the number of days done, on a long first night.

    Raises:
        ContractError: Where a day lacks a column or has another type than the contract says.
        ModelCodeError: Where ``clean`` raises.
        SourceError: Where a day cannot be read.
        SpecError: Where ``known_ahead`` or ``late`` names a column that is neither raw nor clean,
            or the problem one that is not clean or of another type, or where ``clean`` makes other
            columns on some days than on others, or of other types.
    """

    keys, new = clean_keys(spec, fingerprints), days_to_clean(spec, fingerprints)
    refs = frames.find_days("clean", list(keys.values()))
    counted = frames.find_days("counts", list(keys.values()))
    rejected: dict[date, str] = {}
    counts: list[pd.DataFrame] = []
    done, at_once = 0, DAYS_AT_FIRST
    while done < len(new):
        batch = new[done : done + at_once]
        raw = spec.source.read_days(batch)
        done, at_once = done + len(batch), _days_at_once(len(raw) / len(batch), len(raw.columns))
        accepted = accept_rows(raw, spec.contract)
        del raw  # as large as what is made of it
        bad: dict[Any, str] = {}
        if spec.partition is None:
            refused = refusals(spec, accepted)
        else:
            aside = partitions.set_aside(spec, accepted)
            accepted, bad = aside.accepted, aside.bad
            refused = refusals(spec, aside.rest) | aside.refused
        keep_quarantined(spec.name, batch, accepted.quarantine)
        absent = absent_columns(spec, accepted.rows)
        with told_errors(spec, "clean"):
            made = clean_each(spec, accepted.rows, absent)
        if spec.partition is not None:
            made = {day: partitions.in_order(spec, rows) for day, rows in made.items()}
        _check_made_columns(spec, accepted.rows, made)
        check_named_columns(spec, accepted.rows, list(made.values()))
        refused |= _label_faults(spec, made)
        rejected |= refused
        good = {day: keys[day] for day in batch if day not in refused}
        if spec.partition is not None:
            frames.write_days("parts", by_day(partitions.count_parts(spec, made, bad), good))
        refs |= _write_clean(spec, good, made)
        counted |= frames.write_days("counts", by_day(accepted.counts.reset_index(), good))
        counts.append(accepted.counts)
        if progress:
            progress(done, len(new))
    kept = {day: key for day, key in keys.items() if day not in rejected}
    return CleanDays(
        refs={day: refs[key] for day, key in kept.items()},
        new=tuple(new),
        rejected=rejected,
        counts=_all_counts([counted[key] for key in kept.values()], counts, rejected),
    )


def absent_columns(spec: ModelSpec, accepted: pd.DataFrame) -> Absent:
    """The columns of each day that it has only because other days were read with it.

    Of those that the contract names, ``clean_each`` knows it. The source is asked only where a
    column is missing all day, and several days were read.

    Args:
        spec: The model.
        accepted: Accepted rows.

    Raises:
        SourceError: Where a day cannot be read.
    """
    import pandas as pd

    if accepted["day"].nunique() < 2:
        return {}
    declared = spec.contract.to_schema().columns
    missing: dict[pd.Timestamp, list[str]] = {}
    for name in accepted.columns.difference(["day", *declared], sort=False):
        gaps = accepted[name].isna()
        if gaps.any():
            empty = gaps.groupby(accepted["day"]).all()
            for day in pd.DatetimeIndex(empty.index[empty]):
                missing.setdefault(day, []).append(str(name))
    own = own_columns(spec.source, [day.date() for day in missing]) if missing else {}
    return {
        day: absent
        for day, names in missing.items()
        if day.date() in own and (absent := [n for n in names if n not in own[day.date()]])
    }


def keep_quarantined(model: str, batch: Sequence[date], rows: pd.DataFrame) -> None:
    """Keep the quarantined rows of each day in a file of its own, for people.

    They replace those of an earlier cleaning of the same day, and of no other.

    Args:
        model: Name of the model.
        batch: The days that were cleaned; one without such a row leaves no file.
        rows: Their quarantined rows, with ``day``.
    """
    folder = settings.home() / "quarantine" / model
    for day in batch:
        file = folder / f"{day}.parquet"
        if file.exists():
            _part_days(file, day)
    marks = rows["day"].dt.date
    for day in batch:
        file, those = folder / f"{day}.parquet", rows[marks == day]
        if len(those):
            files.write_parquet(file, those)
        else:
            files.remove(file)


def _part_days(file: Path, own: date) -> None:
    """Give the other days in a file of an earlier release, named by its last day, their own."""
    import pandas as pd

    found = pd.read_parquet(file)
    for day, those in found.groupby(found["day"].dt.date):
        place = file.with_name(f"{day}.parquet")
        if day != own and not place.exists():
            files.write_parquet(place, those)


def by_day(rows: pd.DataFrame, keys: Mapping[date, str]) -> dict[str, pd.DataFrame]:
    """Rows of each day under that day's key; days with no row give an empty frame."""
    import numpy as np
    import pandas as pd

    order = rows if rows["day"].is_monotonic_increasing else rows.sort_values("day", kind="stable")
    marks = pd.to_datetime(list(keys)).to_numpy(dtype="datetime64[s]")
    stamps = order["day"].to_numpy(dtype="datetime64[s]")
    starts = np.searchsorted(stamps, marks, side="left")
    stops = np.searchsorted(stamps, marks, side="right")
    return {
        key: order.iloc[start:stop].reset_index(drop=True)
        for key, start, stop in zip(keys.values(), starts, stops, strict=True)
    }


def _write_clean(
    spec: ModelSpec, keys: Mapping[date, str], made: Mapping[Any, pd.DataFrame]
) -> dict[str, frames.Ref]:
    """Days that have the same columns go into one block."""
    import pandas as pd

    none = next(iter(made.values())).head(0)
    days = {day: made.get(pd.Timestamp(day), none) for day in keys}
    blocks: dict[tuple[str, ...], dict[str, pd.DataFrame]] = {}
    for day, rows in days.items():
        blocks.setdefault(tuple(map(str, rows)), {})[keys[day]] = rows
    try:
        written = [frames.write_days("clean", block) for block in blocks.values()]
    except ValueError as error:
        raise SpecError(f"Model {spec.name}: {error}") from error
    return {key: ref for block in written for key, ref in block.items()}


def _check_made_columns(
    spec: ModelSpec, raw: pd.DataFrame, made: Mapping[Any, pd.DataFrame]
) -> None:
    """Raise SpecError where ``clean`` makes columns on some days that it does not on others."""
    own = {day: [str(name) for name in rows if name not in raw] for day, rows in made.items()}
    first = next(iter(own), None)
    for day, columns in own.items():
        if columns != own[first]:
            raise SpecError(
                f"Model {spec.name}: clean made the columns {', '.join(columns) or 'none'} on "
                f"{day:%Y-%m-%d} and {', '.join(own[first]) or 'none'} on {first:%Y-%m-%d}. "
                "Expected the same on every day."
            )


def _days_at_once(rows: float, columns: int) -> int:
    """How many days to read at once, given the rows of one day and their columns."""
    most = min(ROWS_AT_ONCE, VALUES_AT_ONCE / max(columns, 1))
    return max(1, min(DAYS_AT_ONCE, int(most / max(rows, 1.0))))


def check_named_columns(
    spec: ModelSpec, accepted: pd.DataFrame, made: Sequence[pd.DataFrame]
) -> None:
    """Raise SpecError where clean rows lack ``day``, or the spec names a column that is neither raw
    nor clean, or no moment.

    Args:
        spec: The model.
        accepted: Raw rows.
        made: The clean rows of each of their days.
    """
    if any("day" not in rows for rows in made):
        raise SpecError(
            f"Model {spec.name}: clean: found no column 'day' in what it returns; expected it. "
            "Keep the column."
        )
    columns = {str(name) for rows in (accepted, *made) for name in rows}
    columns |= {*spec.contract.to_schema().columns}  # one that need not be there is none of today's
    for field in ("known_ahead", "late"):
        if unknown := [name for name in getattr(spec, field) if name not in columns]:
            raise SpecError(
                f"Model {spec.name}: {field} names {', '.join(unknown)}, but the rows have no "
                "such column. Columns of the raw and clean rows: "
                f"{few(sorted(columns), NAMED_COLUMNS)}."
            )
    for moment in filter(None, late_columns(spec)):
        if wrong := [fault for rows in made if (fault := _moment_fault(moment, rows))]:
            raise SpecError(
                f"Model {spec.name}: late: found {wrong[0]}, expected a clean column of dates with "
                "times, all with a time zone or all without. Return it from clean."
            )


def _moment_fault(moment: str, rows: pd.DataFrame) -> str | None:
    """What is wrong with a day's column of moments, with the first such row."""
    if moment not in rows:
        return f"no column for the moments {moment!r}"
    values = rows[moment]
    if str(values.dtype).startswith("datetime64"):
        return None
    said = f"{values.dtype} for the moments {moment!r}"
    known = values.dropna()
    if known.empty:
        return said
    zones = known.map(lambda value: getattr(value, "tzinfo", None) is None)
    odd = known[zones != zones.iloc[0]] if values.dtype == object else known
    row = odd.index[0] if len(odd) else known.index[0]
    day = rows.loc[row, "day"]
    place = rows.index[rows["day"] == day].get_loc(row)
    return f"{said}, {known.loc[[row]].tolist()[0]!r} in row {place} of {day:%Y-%m-%d}"


def refusals(spec: ModelSpec, accepted: Accepted) -> dict[date, str]:
    """Days with more quarantined rows than the spec allows, and what is wrong with them."""
    import pandas as pd

    refused = over_limit(accepted.counts, spec.quarantine_limit)
    reasons = {}
    for stamp, row in zip(pd.DatetimeIndex(refused.index), refused.to_dict("records"), strict=True):
        broken = accepted.quarantine.loc[accepted.quarantine["day"] == stamp, "reason"]
        common = "; ".join(f"{n:,} x {why}" for why, n in broken.value_counts().head(3).items())
        reasons[stamp.date()] = (
            f"{stamp:%Y-%m-%d}: {row['quarantined']:,} of {row['rows_in']:,} rows break the "
            f"contract ({row['quarantined'] / row['rows_in']:.1%}, allowed "
            f"{spec.quarantine_limit:.1%}): {common}"
        )
    return reasons


def _label_faults(spec: ModelSpec, made: Mapping[Any, pd.DataFrame]) -> dict[date, str]:
    """Days with labels that the problem does not accept, with the reason."""
    try:
        faults = {stamp: spec.problem.label_fault(rows) for stamp, rows in made.items()}
    except SpecError as error:
        raise SpecError(f"Model {spec.name}: {error}.") from error
    return {stamp.date(): f"{stamp:%Y-%m-%d}: {fault}." for stamp, fault in faults.items() if fault}


def _all_counts(
    kept: list[frames.Ref], made: list[pd.DataFrame], rejected: Mapping[date, str]
) -> pd.DataFrame:
    import pandas as pd

    parts = [frames.read_days(kept).set_index("day")] if kept else []
    bad = pd.to_datetime(list(rejected))
    parts += [counts[counts.index.isin(bad)] for counts in made]
    return pd.concat(parts).sort_index()


def content_key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
