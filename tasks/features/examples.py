"""Examples of each day: inputs and label, from clean days."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from tasks.errors import SpecError
from tasks.features import scoring
from tasks.features.cleaning import clean_keys, content_key
from tasks.spec.values import days
from tasks.store import frames

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
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
    made = spec.problem.label(scoring.make_features(spec, requests, history), day_rows)
    if _label_moment(spec) is None:
        return made
    known = labelled(spec, day_rows)[day_rows[spec.problem.target_column].notna()]
    return made if known.all() else made[known]


def known_by_night(
    spec: ModelSpec,
    fingerprints: Mapping[date, str],
    clean: Mapping[date, frames.Ref],
    refs: Mapping[date, frames.Ref],
    days: Collection[date],
) -> dict[date, frames.Ref]:
    """Of some days the examples that the first night has that may use them.

    Where ``late`` has the moment of the target, some labels come after that night: the examples of
    these are left out, and are there from the next night on. Without it there are none of its own.

    Args:
        spec: The model.
        fingerprints: Every day of the source up to the as-of date with its fingerprint.
        clean: Those days' clean rows.
        refs: Examples, from ``prepare_examples``.
        days: Days of these.
    """
    if not _label_moment(spec):
        return {}
    keys = night_keys(example_keys(spec, clean_keys(spec, fingerprints), list(days)))
    found = frames.find_days("examples", list(keys.values()))
    made = {}
    for day, key in keys.items():
        if key not in found:
            rows, whole = frames.read_days([clean[day]]), frames.read_days([refs[day]])
            known = labelled(spec, rows, newest=day)[labelled(spec, rows)]
            made[key] = whole[known].reset_index(drop=True)
    found |= frames.write_days("examples", made, by_content=True)
    return {day: found[key] for day, key in keys.items()}


def night_keys(keys: Mapping[date, str]) -> dict[date, str]:
    """Content address of the same days' examples as in ``known_by_night``."""
    return {day: content_key("known by night", key) for day, key in keys.items()}


def labelled(
    spec: ModelSpec, rows: pd.DataFrame, newest: date | None = None
) -> npt.NDArray[np.bool_]:
    """Which clean rows have a label that a night may learn from.

    A label is used from the night on that is the first after its moment. One that comes later than
    a whole night after ``label_delay`` is not used at all.

    Args:
        spec: The model.
        rows: Clean rows.
        newest: The newest day whose labels are final, on the first night that may use it; None for
            later nights.
    """
    import numpy as np
    import pandas as pd

    known = rows[spec.problem.target_column].notna().to_numpy()
    moment = _label_moment(spec)
    if moment is None or not len(rows):
        return known
    first = rows["day"].iloc[0]
    night = rows["day"] + (scoring.night_after(spec, first + spec.label_delay) - first)
    later = (rows["day"] != pd.Timestamp(newest or "NaT")).astype("int64")
    night += pd.to_timedelta(later, unit="D")
    after = scoring.on_the_wall(spec, rows[moment]) > night
    return np.asarray(known & ~after.to_numpy())


def _label_moment(spec: ModelSpec) -> str | None:
    """Column of the moments from which labels are known; None where ``late`` has none."""
    late = spec.late
    return late.get(str(spec.problem.target_column)) if isinstance(late, Mapping) else None


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
