"""The split by time into training and holdout days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from tasks.errors import WrongInputError
from tasks.shown import counted

if TYPE_CHECKING:
    from tasks.spec.model_spec import ModelSpec


HOLE, FEW = timedelta(days=60), 20
"""Days before a longer hole are strays where they are one in so many at most."""


@dataclass(frozen=True)
class Split:
    """The training and holdout days of a night.

    Attributes:
        train: Training days of the judged twin: the night before the holdout had their labels.
        holdout: Later days, unseen by the twin.
        refit: Training days of the shipped model: all matured days in the window.
    """

    train: tuple[date, ...]
    holdout: tuple[date, ...]
    refit: tuple[date, ...]

    @property
    def wanted(self) -> tuple[date, ...]:
        """All of them, each once, ascending."""
        return tuple(sorted({*self.train, *self.holdout, *self.refit}))

    def evenings(
        self, spec: ModelSpec, listed: Sequence[date]
    ) -> tuple[tuple[tuple[date, ...], date], ...]:
        """Each of them with the as-of date of the night that had its labels.

        Args:
            spec: The model.
            listed: Days of the source up to the as-of date, ascending.
        """
        eve = evening_before(spec, listed, self.holdout[0])
        return (self.train, eve), (self.holdout, listed[-1]), (self.refit, listed[-1])


class HistoryError(WrongInputError, ValueError):
    """The source has fewer days than lookback, training and holdout need."""


def split_days(spec: ModelSpec, listed: Sequence[date], as_of: date) -> Split:
    """Split the days by time; no training day is ever as late as a holdout day.

    Days whose whole ``lookback`` is not in the source are history only: their features would
    change each night with what the source still has. Window and holdout count days that the source
    has; lookback and label delay are spans of time, of which those days are counted that the source
    has. A few days long before all others, such as a row of 1970, are left aside.

    Args:
        spec: The model.
        listed: Days of the source up to ``as_of``, ascending.
        as_of: Last day whose data the night may use.

    Raises:
        HistoryError: With the number of days found and needed.
    """
    known = without_strays(listed)
    warm = [day for day in known if day >= known[0] + spec.lookback]
    matured = [day for day in warm if day <= as_of - spec.label_delay]
    if not matured:
        raise HistoryError(_too_short(spec, known, as_of))
    holdout = matured[-spec.holdout.days :]
    evening = evening_before(spec, known, holdout[0])
    earlier = [day for day in matured if day <= evening - spec.label_delay]
    most = most_training_days(spec, known, holdout[0])
    train = earlier[-most:]
    if len(train) < fewest_training_days(spec):
        raise HistoryError(_too_short(spec, known, as_of))
    return Split(tuple(train), tuple(holdout), tuple(matured[-most:]))


def most_training_days(spec: ModelSpec, listed: Sequence[date], holdout: date) -> int:
    """Training days of the window: without the holdout, and the days whose labels come too late.

    Args:
        spec: The model.
        listed: Days of the source.
        holdout: First day of the holdout.
    """
    late = evening_before(spec, listed, holdout) - spec.label_delay
    return (spec.window - spec.holdout).days - sum(late < day < holdout for day in listed)


def evening_before(spec: ModelSpec, listed: Sequence[date], day: date) -> date:
    """As-of date of the night that predicts a day: the last open day before it.

    Args:
        spec: The model.
        listed: Days of the source, ascending.
        day: The day.
    """
    nights = (
        d for d in reversed(listed) if d < day and (not spec.calendar or spec.calendar.is_open(d))
    )
    return next(nights, day - timedelta(days=1))


def fewest_training_days(spec: ModelSpec) -> int:
    """With fewer training days there is no night."""
    return max(2, spec.holdout.days // 2)


def without_strays(listed: Sequence[date]) -> list[date]:
    """The days without those few that lie long before all others.

    A hole as long as others that come later, such as a break between seasons, sets no day apart.

    Args:
        listed: Days of a source, ascending.
    """
    days = list(listed)
    first, few = 0, len(days) // FEW
    later = (after - before for before, after in pairwise(days[few:]))
    hole = max(later, default=HOLE)
    for at in range(1, few + 1):
        if days[at] - days[at - 1] > max(hole, HOLE):
            first = at
    return days[first:]


def _days_in(listed: Sequence[date], first: date, last: date) -> int:
    """How many days the source has in a span of time, both ends included."""
    return sum(first <= day <= last for day in listed)


def _too_short(spec: ModelSpec, known: Sequence[date], as_of: date) -> str:
    one, first = timedelta(days=1), known[0] if known else as_of
    lookback = _days_in(known, first, first + spec.lookback - one)
    lookback += max((spec.lookback - ((known or [as_of])[-1] - first + one)).days, 0)
    since = first + spec.label_delay - one
    gaps = (_days_in(known, d - spec.label_delay + one, d) for d in known if d >= since)
    delay = 2 * min(gaps, default=0)
    few = fewest_training_days(spec)
    needed = lookback + delay + spec.holdout.days + few
    return (
        f"Model {spec.name}: the source has {counted(len(known), 'day')}, but a night needs at "
        f"least {needed}: {lookback} of lookback ({spec.lookback.days} calendar days), "
        f"{spec.holdout.days} of holdout, {delay} whose labels are not final on the evening of the "
        f"night or before the holdout ({spec.label_delay.days} calendar days each), and {few} of "
        "training. Add history, or make lookback or holdout shorter in the spec."
    )
