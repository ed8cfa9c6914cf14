"""Examples of each day: inputs and label, from clean days."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from tasks.errors import SpecError
from tasks.features import scoring
from tasks.features.cleaning import clean_keys, content_key
from tasks.spec.values import days
from tasks.store import frames

if TYPE_CHECKING:
    import pandas as pd

    from tasks.features.cleaning import Progress
    from tasks.spec.model_spec import ModelSpec


def example_keys(
    spec: ModelSpec, clean: Mapping[date, str], wanted: Sequence[date]
) -> dict[date, str]:
    """Content address of each day's examples: the day and every day of its history."""
    return {
        day: content_key(
            "examples", clean[day], *(clean[past] for past in _history(spec, clean, day))
        )
        for day in wanted
    }


def build_examples(spec: ModelSpec, day_rows: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Features and target of one day; the features see only what was known before the day began.

    Args:
        spec: The model.
        day_rows: Clean rows of one day.
        history: From ``day_and_history``.

    Returns:
        Examples: the columns of ``spec.features``, ``day`` and ``target``.

    Raises:
        ValueError: Where ``history`` includes the day itself, or the features do not fit the
            requests.
    """
    if len(day_rows) and len(history) and history["day"].iloc[-1] >= day_rows["day"].iloc[0]:
        raise ValueError(f"history of {day_rows['day'].iloc[0]:%Y-%m-%d} includes the day itself")
    requests = spec.problem.requests(day_rows, spec.known_ahead)
    return spec.problem.label(scoring.make_features(spec, requests, history), day_rows)


def days_to_prepare(
    spec: ModelSpec, fingerprints: Mapping[date, str], wanted: Sequence[date]
) -> list[date]:
    """The wanted days whose examples are not in the store yet."""
    keys = example_keys(spec, clean_keys(spec, fingerprints), wanted)
    refs = frames.find_days("examples", list(keys.values()))
    return [day for day in wanted if keys[day] not in refs]


def prepare_examples(
    spec: ModelSpec,
    fingerprints: Mapping[date, str],
    clean: Mapping[date, frames.Ref],
    wanted: Sequence[date],
    progress: Progress | None = None,
) -> tuple[dict[date, frames.Ref], tuple[date, ...]]:
    """Extract the features of the days that are not in the store yet.

    Args:
        spec: The model.
        fingerprints: Every day of the source up to the as-of date with its fingerprint.
        clean: Those days' clean rows.
        wanted: Days whose examples are needed, ascending.
        progress: Called after each day.

    Returns:
        Reference to the examples of each wanted day, and the days prepared just now.

    Raises:
        SpecError: Where ``features`` returns different columns or types on different days.
    """
    keys = example_keys(spec, clean_keys(spec, fingerprints), wanted)
    refs = frames.find_days("examples", list(keys.values()))
    new = days_to_prepare(spec, fingerprints, wanted)
    if new:
        needed = sorted({past for day in new for past in (*_history(spec, clean, day), day)})
        rows = frames.read_days([clean[day] for day in needed])
        made = {}
        for done, day in enumerate(new, start=1):
            made[keys[day]] = build_examples(spec, *day_and_history(spec, rows, day))
            if progress:
                progress(done, len(new))
        try:
            refs |= frames.write_days("examples", made, by_content=True)
        except ValueError as error:
            raise SpecError(f"Model {spec.name}: features: {error}") from error
    return {day: refs[keys[day]] for day in wanted}, tuple(new)


def day_and_history(
    spec: ModelSpec, rows: pd.DataFrame, day: date
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The clean rows of one day, and what its features may see, of rows ascending by ``day``."""
    import pandas as pd

    stamp = pd.Timestamp(day)
    start, stop = rows["day"].searchsorted([stamp, stamp + days(1)])
    today = rows.iloc[start:stop].reset_index(drop=True)
    return today, scoring.history_of(spec, rows, stamp)


def _history(spec: ModelSpec, listed: Mapping[date, object], day: date) -> list[date]:
    return [past for past in listed if day - spec.lookback <= past < day]
