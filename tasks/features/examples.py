"""Examples of each day: inputs and label, from clean days."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

from tasks.errors import SpecError
from tasks.features import scoring
from tasks.features.cleaning import clean_keys, content_key
from tasks.shown import NAMED_COLUMNS, few
from tasks.spec.model_code import told_errors
from tasks.spec.values import days
from tasks.store import frames

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from tasks.features.cleaning import Progress
    from tasks.features.split import Split
    from tasks.spec.model_spec import ModelSpec


Ends = Mapping[date, Mapping[date, frames.Ref]]
"""From ``known_by_night``."""


def example_keys(
    spec: ModelSpec, clean: Mapping[date, str], wanted: Sequence[date]
) -> dict[date, str]:
    """Content address of each day's examples: the day and every day of its history.

    Where labels have moments, also the nights whose hour they are compared with.
    """
    nights = label_nights(spec, list(clean), wanted)
    return {
        day: content_key(
            "examples",
            clean[day],
            *(clean[past] for past in _history(spec, clean, day)),
            *map(str, nights.get(day, ())),
        )
        for day in wanted
    }


def build_examples(
    spec: ModelSpec, day_rows: pd.DataFrame, history: pd.DataFrame, night: date | None = None
) -> pd.DataFrame:
    """Features and target of one day; the features see only what was known before the day began.

    Args:
        spec: The model.
        day_rows: Clean rows of one day.
        history: From ``day_and_history``.
        night: As-of date of the last night whose labels count; None for all labels.

    Returns:
        Examples: the columns of ``spec.features``, ``day`` and ``target``.

    Raises:
        ModelCodeError: Where ``features`` raises.
        ValueError: Where ``history`` includes the day itself, or the features do not fit the
            requests.
    """
    if len(day_rows) and len(history) and history["day"].iloc[-1] >= day_rows["day"].iloc[0]:
        raise ValueError(f"history of {day_rows['day'].iloc[0]:%Y-%m-%d} includes the day itself")
    requests = spec.problem.requests(day_rows, spec.known_ahead)
    what = f"features of {_day_of(day_rows)}" if len(day_rows) else "features"
    seen = f"Of the day itself features see {few(requests, NAMED_COLUMNS)} (known_ahead)."
    with told_errors(spec, what, seen):
        inputs = scoring.make_features(spec, requests, history)
    made = spec.problem.label(inputs, day_rows)
    if night is None or _label_moment(spec) is None:
        return made
    nights = {_day_of(day_rows): night} if len(day_rows) else {}
    known = labelled(spec, day_rows, nights)[day_rows[spec.problem.target_column].notna()]
    return made if known.all() else made[known]


def label_nights(
    spec: ModelSpec, listed: Sequence[date], days: Sequence[date]
) -> dict[date, tuple[date, date]]:
    """As-of dates of the first night that may use a day's labels, and of the next one.

    Args:
        spec: The model.
        listed: Every day of the source up to the as-of date, ascending.
        days: Days.

    Returns:
        Of each day; none where ``late`` has no moment of the target.
    """
    if _label_moment(spec) is None or not days:
        return {}
    calendar = spec.calendar_of(listed)
    nights = [day for day in listed if spec.calendar is None or calendar.is_open(day)]
    last = max(days) + spec.label_delay
    while len(nights) < 2 or nights[-2] < last:
        nights.append(calendar.next_open(nights[-1] if nights else last))
    places = {day: bisect_left(nights, day + spec.label_delay) for day in days}
    return {day: (nights[at], nights[at + 1]) for day, at in places.items()}


def label_night(
    spec: ModelSpec, listed: Sequence[date], days: Sequence[date], evening: date
) -> dict[date, date]:
    """As-of date of the night up to which the labels of a day count, on the night of an evening.

    Args:
        spec: The model.
        listed: Every day of the source up to the as-of date, ascending.
        days: Days whose labels are final on that evening.
        evening: Its as-of date.
    """
    nights = label_nights(spec, listed, days)
    return {day: last if last <= evening else first for day, (first, last) in nights.items()}


def known_by_night(
    spec: ModelSpec,
    fingerprints: Mapping[date, str],
    clean: Mapping[date, frames.Ref],
    refs: Mapping[date, frames.Ref],
    split: Split,
) -> Ends:
    """The examples that training and holdout have where their night knew fewer labels.

    Where ``late`` has the moment of the target, some labels come after the first night that may
    use them: its examples are without them, and those of the next night have them.

    Args:
        spec: The model.
        fingerprints: Every day of the source up to the as-of date with its fingerprint.
        clean: Those days' clean rows.
        refs: Examples, from ``prepare_examples``.
        split: Days of training and holdout.

    Returns:
        Last day of each to its days with such examples.
    """
    if _label_moment(spec) is None:
        return {}
    listed, ends = list(fingerprints), {}
    for part, evening in split.evenings(spec, listed):
        days = [day for day in part if day in refs]
        nights = label_nights(spec, listed, days)
        if waits := {day: both for day, both in nights.items() if both[1] > evening}:
            ends[days[-1]] = _without_later(spec, fingerprints, clean, refs, waits)
    return ends


def _without_later(
    spec: ModelSpec,
    fingerprints: Mapping[date, str],
    clean: Mapping[date, frames.Ref],
    refs: Mapping[date, frames.Ref],
    nights: Mapping[date, tuple[date, date]],
) -> dict[date, frames.Ref]:
    """The examples of some days without labels that come after the first night of each."""
    keys = night_keys(spec, example_keys(spec, clean_keys(spec, fingerprints), list(nights)))
    found = frames.find_days("examples", list(keys.values()))
    made = {}
    for day, key in keys.items():
        if key not in found:
            rows, whole = frames.read_days([clean[day]]), frames.read_days([refs[day]])
            then, all_in_time = (labelled(spec, rows, {day: night}) for night in nights[day])
            known = then[all_in_time]
            made[key] = whole[known].reset_index(drop=True)
    found |= frames.write_days("examples", made, by_content=True)
    return {day: found[key] for day, key in keys.items()}


def night_keys(spec: ModelSpec, keys: Mapping[date, str]) -> dict[date, str]:
    """Content address of the same days' examples in ``known_by_night``; none without moments."""
    if _label_moment(spec) is None:
        return {}
    return {day: content_key("known by night", key) for day, key in keys.items()}


def examples_at_night(
    refs: Mapping[date, frames.Ref],
    ends: Ends,
    days: Sequence[date],
) -> list[frames.Ref]:
    """The examples of training or holdout as their night knew them.

    Args:
        refs: From ``prepare_examples``.
        ends: From ``known_by_night``.
        days: Days of one of the two.
    """
    known = ends.get(days[-1], {}) if days else {}
    return [known.get(day, refs[day]) for day in days]


def labelled(
    spec: ModelSpec, rows: pd.DataFrame, nights: Mapping[date, date]
) -> npt.NDArray[np.bool_]:
    """Which clean rows have a label that a night may learn from.

    Args:
        spec: The model.
        rows: Clean rows.
        nights: Day to the as-of date of the last night whose labels count (``label_night``); of
            other days all count.
    """
    import pandas as pd

    known = rows[spec.problem.target_column].notna().to_numpy(copy=True)
    moment = _label_moment(spec)
    if moment is None or not len(rows):
        return known
    for day, last in nights.items():
        night = scoring.night_after(spec, pd.Timestamp(last))
        own = (rows["day"] == pd.Timestamp(day)).to_numpy()
        known[own] &= ~scoring.comes_after(spec, rows.loc[own, moment], night)
    return known


def _day_of(rows: pd.DataFrame) -> date:
    found: date = rows["day"].iloc[0].date()
    return found


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
        ModelCodeError: Where ``features`` raises.
        SpecError: Where ``features`` returns different columns or types on different days, also
            those of earlier nights, or a column of the clean rows has several types.
    """
    keys = example_keys(spec, clean_keys(spec, fingerprints), wanted)
    refs = frames.find_days("examples", list(keys.values()))
    new = days_to_prepare(spec, fingerprints, wanted)
    made = {}
    if new:
        needed = sorted({past for day in new for past in (*_history(spec, clean, day), day)})
        rows = _read_together(spec, "the clean rows", {day: clean[day] for day in needed})
        same = len({*map(tuple, frames.column_types([clean[day] for day in needed]))}) == 1
        nights = label_nights(spec, list(fingerprints), new)
        for done, day in enumerate(new, start=1):
            last = nights[day][1] if nights else None
            both = day_and_history(spec, rows, day) if same else _read_apart(spec, clean, day)
            made[day] = build_examples(spec, *both, last)
            if progress:
                progress(done, len(new))
    _check_columns(spec, {day: refs[key] for day, key in keys.items() if day not in made}, made)
    try:
        named = {keys[day]: examples for day, examples in made.items()}
        refs |= frames.write_days("examples", named, by_content=True)
    except ValueError as error:
        raise SpecError(f"Model {spec.name}: features: {error}") from error
    found = {day: refs[keys[day]] for day in wanted}
    if mixed := [name for name, kinds in _types_of(found).items() if len(kinds) > 1]:
        _read_together(spec, "the features", found, mixed)
    return found, tuple(new)


def _check_columns(
    spec: ModelSpec, stored: Mapping[date, frames.Ref], made: Mapping[date, pd.DataFrame]
) -> None:
    """Raise SpecError where the examples of some days have other columns than those of most."""
    kinds = zip(stored, frames.column_types(list(stored.values())), strict=True)
    found = {day: tuple(columns) for day, columns in kinds}
    found |= {day: tuple(map(str, examples)) for day, examples in made.items()}
    if len(counts := Counter(found.values())) < 2:
        return
    usual = counts.most_common(1)[0][0]
    day, odd = next((day, odd) for day, odd in sorted(found.items()) if odd != usual)
    differs = {"without": [*{*usual} - {*odd}], "with": [*{*odd} - {*usual}]}
    said = " and ".join(f"{how} {few(sorted(n), NAMED_COLUMNS)}" for how, n in differs.items() if n)
    raise SpecError(
        f"Model {spec.name}: features returned other columns for {day} than for most days: "
        f"{said or 'the same in another order'}. Expected the same for every day. Where columns "
        "stand for the values of another, as those of pd.get_dummies do, name all values there, "
        "or leave that to the candidate with OneHotEncoder."
    )


def _read_together(
    spec: ModelSpec,
    what: str,
    refs: Mapping[date, frames.Ref],
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The frames of these days, one below the other.

    Raises:
        SpecError: Where a column has a type on some days that does not go with that of others.
    """
    try:
        return frames.read_days(list(refs.values()), columns)
    except ValueError as error:
        said = [
            f"{name} is {' and '.join(f'{kind} on {day}' for kind, day in found.items())}"
            for name, found in _types_of(refs).items()
            if len(found) > 1
        ]
        raise SpecError(
            f"Model {spec.name}: {what} of several days do not go together: "
            f"{'; '.join(said) or error}. Give the column one type for every day, or leave it out."
        ) from error


def _types_of(refs: Mapping[date, frames.Ref]) -> dict[str, dict[str, date]]:
    """Each column of these days to its types, each with the first day that has it."""
    found: dict[str, dict[str, date]] = {}
    for day, types in zip(refs, frames.column_types(list(refs.values())), strict=True):
        for name, kind in types.items():
            found.setdefault(name, {}).setdefault(kind, day)
    return found


def day_and_history(
    spec: ModelSpec, rows: pd.DataFrame, day: date
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The clean rows of one day, and what its features may see, of rows ascending by ``day``."""
    import pandas as pd

    stamp = pd.Timestamp(day)
    start, stop = rows["day"].searchsorted([stamp, stamp + days(1)])
    today = rows.iloc[start:stop].reset_index(drop=True)
    return today, scoring.history_of(spec, rows, stamp)


def _read_apart(
    spec: ModelSpec, clean: Mapping[date, frames.Ref], day: date
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same, each without the columns that only other days have."""
    import pandas as pd

    today, past = frames.read_days([clean[day]]), _history(spec, clean, day)
    rows = frames.read_days([clean[each] for each in past]) if past else today
    return today, scoring.history_of(spec, rows, pd.Timestamp(day))


def _history(spec: ModelSpec, listed: Mapping[date, object], day: date) -> list[date]:
    return [past for past in listed if day - spec.lookback <= past < day]
