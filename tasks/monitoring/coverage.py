"""Whether prediction intervals hold the share of labels that is their level, on live days."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

COVERAGE = "interval_coverage"
FEWEST, MOST = 7, 28
"""Graded days over which coverage is looked at: at least, and the newest of more."""
CONFIDENCE = 0.999
"""How sure it must be, on every night it is looked at, that coverage is not at its level."""
MORE, FEWER = 1.5, 0.25
"""Misses above this multiple of those promised are an alarm, and below that one over all days."""


@dataclass(frozen=True)
class Coverage:
    """The intervals of the newest graded days.

    Attributes:
        level: Share of labels that an interval should hold.
        share: Share that it held, the mean of the days.
        low: Lower end of the interval of that mean.
        high: Upper end.
        days: How many days.
        off: Whether coverage has left its level: an alarm.
        slices: Slice to its share, where it was graded on enough days.
    """

    level: float
    share: float
    low: float
    high: float
    days: int
    off: bool
    slices: Mapping[str, float]

    def __str__(self) -> str:
        said = (
            f"prediction intervals held {self.share:.1%} of the labels on {self.days} graded days, "
            f"nominal {self.level:.1%}"
        )
        if self.off:
            said += f": OFF ITS LEVEL ({self.low:.1%} to {self.high:.1%})"
        if self.slices:
            name, share = min(self.slices.items(), key=lambda each: each[1])
            said += f"; least in {name}, {share:.1%}"
        return said


def live_coverage(records: Sequence[Mapping[str, Any]]) -> Coverage | None:
    """The coverage of the newest graded days; None where nothing promises intervals.

    Student's t on the daily shares, two-sided: the rows of a day miss together, so that a binomial
    over rows would be far too sure. It is an alarm where the level is outside that interval and
    the misses are 1.5 times those promised, on 7 days or more, or a quarter of them on 28.

    Args:
        records: Graded days, ascending.
    """
    known = [day for day in records if COVERAGE in day["metrics"] and day.get("calibration")][
        -MOST:
    ]
    if not known:
        return None
    level = float(known[-1]["calibration"]["predicted"])
    known = [day for day in known if math.isclose(day["calibration"]["predicted"], level)]
    shares = [float(day["metrics"][COVERAGE]) for day in known]
    mean, half = _mean(shares), _half_width(shares)
    missed, allowed = 1 - mean, 1 - level
    sure = len(shares) >= FEWEST and abs(mean - level) > half
    far = missed > MORE * allowed or (missed < FEWER * allowed and len(shares) == MOST)
    names = dict.fromkeys(name for day in known for name in day.get("slice_coverage", {}))
    of_slices = {
        name: [
            day["slice_coverage"][name] for day in known if name in day.get("slice_coverage", {})
        ]
        for name in names
    }
    return Coverage(
        level=level,
        share=mean,
        low=max(0.0, mean - half),
        high=min(1.0, mean + half),
        days=len(shares),
        off=sure and far,
        slices={name: _mean(found) for name, found in of_slices.items() if len(found) >= FEWEST},
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _half_width(shares: Sequence[float]) -> float:
    from scipy.special import stdtrit

    if len(shares) < 2:
        return 1.0
    error = statistics.stdev(shares) / math.sqrt(len(shares))
    return float(stdtrit(len(shares) - 1, (1 + CONFIDENCE) / 2)) * error
