"""Lengths of time that fit a history: lookback, holdout, window, and the gate's minimum counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from tasks.features.split import without_strays
from tasks.scaffold.profiling import InferError
from tasks.shown import counted

UNITS = 200
"""Rows the holdout should have, where the history has them."""
RARE = 20
"""Rows of the rarer class the holdout should have."""
MOST_ROWS = 1_000_000
"""Training rows from which on the window is bounded."""
FEWEST_DAYS = 10
FAR, TAKEN = 280, 50_000
"""Days of a recommendation's lookback, or rows in it."""
TRAINING_USERS, FEWEST_TRAINING_DAYS, MOST_TRAINING_DAYS = 2_000, 42, 400
"""Training users of a recommendation, and the bounds of the number of training days."""


@dataclass(frozen=True)
class Windows:
    """Lengths in days and the gate's least counts.

    Attributes:
        lookback: History that features see.
        holdout: The last days, for the evaluation.
        window: Training and holdout days together; None for all.
        min_days: Fewest holdout days for a verdict.
        min_units: Fewest holdout rows for a verdict.
    """

    lookback: int
    holdout: int
    window: int | None
    min_days: int
    min_units: int


def choose_windows(
    listed: Sequence[date],
    counts: Mapping[date, int],
    *,
    rare: float = 0.5,
    delay: int = 0,
    wanted_lookback: int = 28,
) -> Windows:
    """Lengths that fit a history, by its length and rows per day.

    The holdout is two weeks, or as many weeks as hold ``UNITS`` rows and ``RARE`` of the rarer
    class, but a third of the history at most.

    Args:
        listed: Days of the source, ascending.
        counts: Labelled rows of the days that were read; other days are assumed to be similar.
        rare: Share of the rarer class among the rows.
        delay: Days until a label is final.
        wanted_lookback: Days of history that features would like to see.

    Raises:
        InferError: Where the history is too short for training and holdout.
    """
    usual = sum(counts.values()) / max(len(counts), 1)
    known = without_strays(listed)
    final = [day for day in known if day <= listed[-1] - timedelta(days=delay)]
    if len(final) < FEWEST_DAYS:
        after = f", {len(final)} of them with final labels" if delay else ""
        raise InferError(
            f"The history has {counted(len(listed), 'day')}{after}; expected at "
            f"least {FEWEST_DAYS}, for training and holdout. Add history."
        )
    length = (final[-1] - final[0]).days + 1
    wanted: float = max(UNITS, math.ceil(RARE / max(rare, 1e-9)))
    wanted = min(wanted, sum(counts.get(day, usual) for day in final) // 3)

    def last(days: int) -> list[date]:
        return final[-days:]

    def rows(days: int) -> float:
        return sum(counts.get(day, usual) for day in last(days))

    most = max(2, len(final) // 3)
    holdout = min(14, most)
    while holdout + 7 <= most and (rows(holdout) < wanted or len(last(holdout)) < 7):
        holdout += 7
    spare = length - holdout - delay
    lookback = min(wanted_lookback, spare // 2)
    lookback -= lookback % 7 if lookback > 7 else 0
    while lookback and _training_days(final, holdout, lookback, delay) < max(3, holdout // 2):
        lookback //= 2
    while holdout > 2 and _training_days(final, holdout, lookback, delay) < max(3, holdout // 2):
        holdout -= 1  # days are few and far between
    window = None
    if usual * len(final) > MOST_ROWS:
        window = max(math.ceil(MOST_ROWS / usual / 7) * 7, 2 * holdout) + holdout + delay
    return Windows(
        lookback=lookback,
        holdout=holdout,
        window=window,
        min_days=max(2, min(7, len(last(holdout)) // 2)),
        min_units=max(10, min(UNITS, int(rows(holdout)) // 2)),
    )


def choose_ranking_windows(
    listed: Sequence[date], queries: Mapping[date, int], rows: float
) -> Windows:
    """Lengths that fit a recommendation, whose features need a long history and are slow.

    A lookback of ``FAR`` days, or of as many as hold ``TAKEN`` rows where rows are few, and as many
    training days as hold ``TRAINING_USERS`` users.

    Args:
        listed: Days of the source, ascending.
        queries: Users of the days that were read.
        rows: Rows of a usual day.

    Raises:
        InferError: Where the history is too short.
    """
    listed = without_strays(listed)
    length = (listed[-1] - listed[0]).days + 1
    full = listed[-math.ceil(TAKEN / max(rows, 1)) :]
    far = max(FAR, (listed[-1] - full[0]).days)
    found = choose_windows(listed, queries, wanted_lookback=min(far, length // 2))
    usual = sum(queries.values()) / max(len(queries), 1)
    wanted = min(
        max(math.ceil(TRAINING_USERS / max(usual, 1)), FEWEST_TRAINING_DAYS), MOST_TRAINING_DAYS
    )
    window = found.holdout + max(wanted, found.holdout // 2 + 2, 7)
    warm = sum(day >= listed[0] + timedelta(days=found.lookback) for day in listed)
    return replace(found, window=window if window < warm else None)


def _training_days(final: Sequence[date], holdout: int, lookback: int, delay: int) -> int:
    """Training days, as ``tasks.features.split.split_days`` counts them."""
    warm = [day for day in final if day >= final[0] + timedelta(days=lookback)]
    if not warm:
        return 0
    end = warm[-holdout:][0] - timedelta(days=delay)
    return sum(day < end for day in warm)
