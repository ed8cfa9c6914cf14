"""Clean days and extract features, for new days only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from tasks import rescore, settings, store
from tasks.spec import ModelSpec, SpecError, days, digest

if TYPE_CHECKING:
    import pandas as pd

    from tasks.contract import Accepted

DAYS_AT_ONCE, ROWS_AT_ONCE = 400, 2_000_000
"""Raw days, and about how many raw rows, read and checked in one go: memory of a first night."""
DAYS_AT_FIRST = 7
"""Days of a source of which nobody knows yet how many rows a day has."""

Progress = Callable[[int, int], None]
"""Called with (days done, days to do) on long steps."""


@dataclass(frozen=True)
class Split:
    """Which days teach and which judge.

    Attributes:
        train: Days the judged twin learns from; each label was final when the holdout began.
        holdout: Later days, unseen by the twin.
        refit: Days the shipped model learns from: all matured ones in the window.
    """

    train: tuple[date, ...]
    holdout: tuple[date, ...]
    refit: tuple[date, ...]

    @property
    def wanted(self) -> tuple[date, ...]:
        """All of them, each once, ascending."""
        return tuple(sorted({*self.train, *self.holdout, *self.refit}))


class HistoryError(ValueError):
    """The source has fewer days than lookback, training and holdout need."""


def split_days(spec: ModelSpec, listed: Sequence[date], as_of: date) -> Split:
    """Split the days by time; no training day is ever as late as a holdout day.

    Days whose whole ``lookback`` is not in the source are history only: their features would
    change each night with what the source still has.

    Args:
        spec: The model.
        listed: Days of the source up to ``as_of``, ascending.
        as_of: Last day whose data the night may use.

    Raises:
        HistoryError: With the number of days found and needed.
    """
    warm = [day for day in listed if day >= listed[0] + spec.lookback] if listed else []
    matured = [day for day in warm if day <= as_of - spec.label_delay]
    if not matured:
        raise HistoryError(_too_short(spec, len(listed)))
    first_judged = matured[-1] - spec.holdout + timedelta(days=1)
    holdout = [day for day in matured if day >= first_judged]
    train_end = first_judged - spec.label_delay
    learned = [day for day in matured if day < train_end]
    train = _window(spec, learned, train_end - timedelta(days=1))
    if len(train) < max(2, spec.holdout.days // 2):
        raise HistoryError(_too_short(spec, len(listed)))
    return Split(tuple(train), tuple(holdout), tuple(_window(spec, matured, matured[-1])))


def _window(spec: ModelSpec, matured: list[date], last: date) -> list[date]:
    length = spec.window - spec.holdout - spec.label_delay
    return [day for day in matured if day > last - length]


def _too_short(spec: ModelSpec, found: int) -> str:
    needed = (spec.lookback + spec.holdout + spec.label_delay).days + max(2, spec.holdout.days // 2)
    return (
        f"Model {spec.name}: the source has {found} day(s), and a night needs at least {needed}: "
        f"{spec.lookback.days} of lookback, {spec.holdout.days} of holdout, "
        f"{spec.label_delay.days} of label delay and some to learn from. "
        "Add history, or make lookback or holdout shorter in the spec."
    )


def clean_keys(spec: ModelSpec, fingerprints: Mapping[date, str]) -> dict[date, str]:
    """Content address of each clean day: its date, its fingerprint and the spec's digest."""
    return {day: _key("clean", digest(spec), str(day), mark) for day, mark in fingerprints.items()}


def example_keys(
    spec: ModelSpec, clean: Mapping[date, str], wanted: Sequence[date]
) -> dict[date, str]:
    """Content address of each day's examples: the day and every day of its history."""
    return {
        day: _key("examples", clean[day], *(clean[past] for past in _history(spec, clean, day)))
        for day in wanted
    }


def build_examples(spec: ModelSpec, day_rows: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Features and target of one day; the features see only what was known before it began.

    Args:
        spec: The model.
        day_rows: Clean rows of one day.
        history: Clean rows of whole earlier days, ascending by ``day``.

    Returns:
        Examples: the columns of ``spec.features``, ``day`` and ``target``.

    Raises:
        ValueError: Where ``history`` reaches into the day, or the features do not fit the requests.
    """
    if len(day_rows) and len(history) and history["day"].iloc[-1] >= day_rows["day"].iloc[0]:
        raise ValueError(f"history of {day_rows['day'].iloc[0]:%Y-%m-%d} reaches into the day")
    requests = spec.problem.requests(day_rows, spec.known_ahead)
    return spec.problem.label(rescore.make_features(spec, requests, history), day_rows)


def days_to_clean(spec: ModelSpec, fingerprints: Mapping[date, str]) -> list[date]:
    """The days whose clean rows are not in the store yet."""
    keys = clean_keys(spec, fingerprints)
    refs = store.find_days("clean", list(keys.values()))
    counted = store.find_days("counts", list(keys.values()))
    return [day for day, key in keys.items() if key not in refs or key not in counted]


def days_to_prepare(
    spec: ModelSpec, fingerprints: Mapping[date, str], wanted: Sequence[date]
) -> list[date]:
    """The wanted days whose examples are not in the store yet."""
    keys = example_keys(spec, clean_keys(spec, fingerprints), wanted)
    refs = store.find_days("examples", list(keys.values()))
    return [day for day in wanted if keys[day] not in refs]


@dataclass(frozen=True)
class CleanDays:
    """Clean days in the store.

    Attributes:
        refs: Day to its clean rows, ascending.
        new: Days cleaned just now; all others were in the store.
        rejected: Day to the reason why none of its rows are used.
        counts: Per day ``rows_in``, ``accepted``, ``quarantined`` and ``duplicates``.
    """

    refs: dict[date, store.Ref]
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
        progress: Told how many days are done, on a long first night.

    Raises:
        ContractError: Where a day lacks a column or has another type than the contract says.
        SourceError: Where a day cannot be read.
        SpecError: Where ``known_ahead`` names a column that is neither raw nor clean, or the
            problem one that is not clean or of another type.
    """
    from tasks.contract import accept_rows

    keys, new = clean_keys(spec, fingerprints), days_to_clean(spec, fingerprints)
    refs = store.find_days("clean", list(keys.values()))
    counted = store.find_days("counts", list(keys.values()))
    rejected: dict[date, str] = {}
    counts: list[pd.DataFrame] = []
    done, at_once = 0, DAYS_AT_FIRST
    while done < len(new):
        batch = new[done : done + at_once]
        raw = spec.source.read_days(batch)
        done, at_once = done + len(batch), _days_at_once(len(raw) / len(batch))
        accepted = accept_rows(raw, spec.contract)
        del raw  # as large as what is made of it
        refused = refusals(spec, accepted)
        if len(accepted.quarantine):
            folder = settings.home() / "quarantine" / spec.name
            store.write_parquet(folder / f"{batch[-1]}.parquet", accepted.quarantine)
        rows = spec.clean(accepted.rows) if spec.clean else accepted.rows
        check_known_ahead(spec, {*accepted.rows, *rows})
        refused |= _label_faults(spec, rows)
        rejected |= refused
        good = {day: keys[day] for day in batch if day not in refused}
        refs |= store.write_days("clean", by_day(rows, good))
        counted |= store.write_days("counts", by_day(accepted.counts.reset_index(), good))
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


def prepare_examples(
    spec: ModelSpec,
    fingerprints: Mapping[date, str],
    clean: Mapping[date, store.Ref],
    wanted: Sequence[date],
    progress: Progress | None = None,
) -> tuple[dict[date, store.Ref], tuple[date, ...]]:
    """Extract the features of the days that are not in the store yet.

    Args:
        spec: The model.
        fingerprints: Every day of the source up to the as-of date with its fingerprint.
        clean: Those days' clean rows.
        wanted: Days whose examples are needed, ascending.
        progress: Told of each day done.

    Returns:
        Reference to the examples of each wanted day, and the days prepared just now.

    Raises:
        SpecError: Where ``features`` gives other columns or types on some days than on others.
    """
    keys = example_keys(spec, clean_keys(spec, fingerprints), wanted)
    refs = store.find_days("examples", list(keys.values()))
    new = days_to_prepare(spec, fingerprints, wanted)
    if new:
        needed = sorted({past for day in new for past in (*_history(spec, clean, day), day)})
        rows = store.read_days([clean[day] for day in needed])
        made = {}
        for done, day in enumerate(new, start=1):
            made[keys[day]] = build_examples(spec, *day_and_history(spec, rows, day))
            if progress:
                progress(done, len(new))
        try:
            refs |= store.write_days("examples", made)
        except ValueError as error:
            raise SpecError(f"Model {spec.name}: features: {error}") from error
    return {day: refs[keys[day]] for day in wanted}, tuple(new)


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


def _days_at_once(rows: float) -> int:
    """How many days to read in one go where one has so many rows."""
    return max(1, min(DAYS_AT_ONCE, int(ROWS_AT_ONCE / max(rows, 1.0))))


def check_known_ahead(spec: ModelSpec, columns: Collection[str]) -> None:
    """Raise SpecError where ``known_ahead`` names a column that is neither raw nor clean."""
    unknown = [name for name in spec.known_ahead if name not in columns]
    if unknown:
        raise SpecError(
            f"Model {spec.name}: known_ahead names {', '.join(unknown)}, which the rows do not "
            f"have. Their columns, raw and clean: {', '.join(sorted(columns))}."
        )


def day_and_history(
    spec: ModelSpec, rows: pd.DataFrame, day: date
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of clean rows ascending by ``day``: those of one day, and its history."""
    import numpy as np

    stamps = rows["day"].to_numpy(dtype="datetime64[s]")
    edges = [np.datetime64(d, "s") for d in (day - spec.lookback, day, day + days(1))]
    first, start, stop = np.searchsorted(stamps, edges)
    return (
        rows.iloc[start:stop].reset_index(drop=True),
        rows.iloc[first:start].reset_index(drop=True),
    )


def _history(spec: ModelSpec, listed: Mapping[date, object], day: date) -> list[date]:
    return [past for past in listed if day - spec.lookback <= past < day]


def refusals(spec: ModelSpec, accepted: Accepted) -> dict[date, str]:
    """Days with more quarantined rows than the spec allows, and what is wrong with them."""
    import pandas as pd

    from tasks.contract import over_limit

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


def _label_faults(spec: ModelSpec, rows: pd.DataFrame) -> dict[date, str]:
    """Days with labels that the problem does not know, with the reason."""
    import pandas as pd

    try:
        fault = spec.problem.label_fault(rows)
    except SpecError as error:
        raise SpecError(f"Model {spec.name}: {error}.") from error
    if not fault:
        return {}
    faults = {
        pd.Timestamp(day).date(): spec.problem.label_fault(rows[rows["day"] == day])
        for day in rows["day"].unique()
    }
    return {day: f"{day}: {fault}." for day, fault in faults.items() if fault}


def _all_counts(
    kept: list[store.Ref], made: list[pd.DataFrame], rejected: Mapping[date, str]
) -> pd.DataFrame:
    import pandas as pd

    parts = [store.read_days(kept).set_index("day")] if kept else []
    bad = pd.to_datetime(list(rejected))
    parts += [counts[counts.index.isin(bad)] for counts in made]
    return pd.concat(parts).sort_index()


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
