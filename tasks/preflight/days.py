"""The days of a check: which there are, how they are split, and which it looks at."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from tasks.features.as_of import reasons_to_hold
from tasks.features.split import HistoryError, most_training_days, split_days, without_strays
from tasks.preflight.result import Part
from tasks.shown import counted, few
from tasks.sources.base import SourceError, SourceSettingsError
from tasks.spec.calendar import WEEKDAYS
from tasks.spec.model_code import told

if TYPE_CHECKING:
    from tasks.features.split import Split
    from tasks.spec.model_spec import ModelSpec


FEWEST_ROWS = 1_000
"""Rows that the training days should have, so that they hold every class."""
MOST_ROWS = 150_000
"""Most rows read, unless single days are larger; bounds the time of a check."""
SIGN_ROWS = 5_000
"""Rows of the night's holdout in which signs of leaks are looked for."""


@dataclass(frozen=True)
class Sample:
    """Which days a check looks at.

    Attributes:
        read: All of them: history, training days, holdout days, newest days.
        training: Training days, at least one.
        holdout: Later days to score; their labels are final.
        signs: Days of the night's holdout that are searched for signs of leaks, as the night does.
    """

    read: tuple[date, ...]
    training: tuple[date, ...]
    holdout: tuple[date, ...]
    signs: tuple[date, ...]

    @property
    def built(self) -> tuple[date, ...]:
        """Days whose examples are built."""
        return tuple(sorted({*self.training, *self.holdout, *self.signs}))


def choose_days(
    spec: ModelSpec, listed: Sequence[date], as_of: date, rows: int, most: int = MOST_ROWS
) -> Sample | None:
    """The newest days with final labels, and as much earlier history as can be read quickly.

    Args:
        spec: The model.
        listed: Days of the source up to ``as_of``, ascending.
        as_of: Last day whose data may be used.
        rows: Rows of one day.
        most: Most rows that are read.

    Returns:
        None where fewer than two days have final labels.
    """
    matured = [day for day in listed if day <= as_of - spec.label_delay]
    each = min(max(2, -(-FEWEST_ROWS // max(rows, 1))), 7)
    holdout = matured[-2:] if len(matured) > 3 else matured[-1:]
    training = matured[: len(matured) - len(holdout)][-each:]
    if not training:
        return None
    enough = max(-(-SIGN_ROWS // max(rows, 1)), len(holdout))
    signs = matured[-min(enough, max(spec.holdout.days, len(holdout))) :]
    first = min(training[0], signs[0])
    since = [day for day in listed if day >= first]
    room = max(most // max(rows, 1) - len(since), 1)
    past = [day for day in listed if first - spec.lookback <= day < first][-room:]
    return Sample((*past, *since), tuple(training), tuple(holdout), tuple(signs))


def look_at_days(spec: ModelSpec, as_of: date | None, until: date) -> tuple[dict[date, str], Part]:

    try:
        found = dict(spec.source.list_days(until))
    except SourceSettingsError as error:
        return {}, Part("Days", faults=(str(error),))
    except SourceError as error:
        return {}, Part("Days", held=(str(error),))
    except Exception as error:
        return {}, Part("Days", faults=(told(spec, "The source", error),))
    days = {day: mark for day, mark in found.items() if day not in spec.skip}
    calendar = spec.calendar_of(found)
    newest = as_of or max(days, default=until)
    expected = calendar.without(spec.skip)
    held = reasons_to_hold(days, expected.last_open(newest))
    if not days:
        return {}, Part("Days", held=held)
    known = without_strays(list(days))
    first, last = known[0], known[-1]
    gaps = [d for d in _calendar(first, last) if d not in found and calendar.is_open(d)]
    line = f"{len(days):,} days in the source, {first} to {last}, "
    line += f"{len(gaps):,} missing ({few(gaps)})" if gaps else "none missing"
    closed = [day for day in WEEKDAYS if day not in calendar.weekdays]
    line += f"; never on {', '.join(closed)}" if closed else ""
    old = (expected.last_open(until) - last).days
    notes = []
    if strays := len(days) - len(known):
        notes.append(
            f"{counted(strays, 'day')} long before all others, from {min(days)} on: not used for "
            "training. Correct their times, or name them in skip."
        )
    if as_of is None and old > 1:
        notes.append(
            f"The newest day, {last}, is {old} days before the last complete one, {until}: "
            "a scheduled night would be HELD."
        )
    if spec.skip:
        line += f"; {len(spec.skip)} left out by skip"
    return days, Part("Days", (line,), held=held, notes=tuple(notes))


def look_at_split(
    spec: ModelSpec, listed: Sequence[date], as_of: date
) -> tuple[Split | None, Part]:
    try:
        split = split_days(spec, listed, as_of)
    except HistoryError as error:
        return None, Part("Split", faults=(str(error),))
    line = (
        f"training on {len(split.train):,} days ({split.train[0]} to {split.train[-1]}), holdout "
        f"{len(split.holdout)} days ({split.holdout[0]} to {split.holdout[-1]})"
    )
    notes = [*lookback_notes(listed, split.wanted, spec.lookback)]
    asked = most_training_days(spec, listed, split.holdout[0])
    if len(split.refit) < asked < 10_000:
        notes.append(
            f"The window has {asked:,} training days, but the source has only "
            f"{len(split.refit):,}: all of them are used."
        )
    if len(split.holdout) < spec.gate.min_days:
        notes.append(
            f"The holdout has {len(split.holdout)} days, but the gate requires "
            f"{spec.gate.min_days} (min_days): no version would be promoted."
        )
    return split, Part("Split", (line,), notes=tuple(notes))


def lookback_notes(
    listed: Sequence[date], wanted: Sequence[date], lookback: timedelta
) -> tuple[str, ...]:
    """What to say where the days before some days are closed, so that these see no history.

    Args:
        listed: Days of the source, ascending.
        wanted: Days of training and holdout, ascending.
        lookback: Of the spec.
    """
    before = {day: listed[place - 1] for day in wanted if (place := bisect_left(listed, day))}
    blind = {day: day - past for day, past in before.items() if day - past > lookback}
    if not lookback or not blind:
        return ()
    return (
        f"lookback: found days({lookback.days}), which is a span of time; on {len(blind):,} of "
        f"{len(wanted):,} days, such as {max(blind)}, the source has no day in it, so that "
        f"features get an empty history; expected at least days({max(blind.values()).days}).",
    )


def _calendar(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
