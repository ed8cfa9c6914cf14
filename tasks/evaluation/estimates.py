"""Results of an evaluation: estimates, differences and slices, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; NaN where the data leave it undefined."""

    value: float
    low: float
    high: float

    def finite(self) -> bool:
        """Whether all three numbers are finite."""
        return all(math.isfinite(number) for number in (self.value, self.low, self.high))

    def to_json(self) -> dict[str, float | None]:
        """Plain numbers, None for what is not finite."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        return {name: n if math.isfinite(n) else None for name, n in numbers.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, float | None]) -> Estimate:
        """Inverse of ``to_json``."""
        numbers = (data[name] for name in ("value", "low", "high"))
        return cls(*(math.nan if number is None else number for number in numbers))


@dataclass(frozen=True)
class Difference:
    """How much better one scorer is than another on the primary metric; positive is better.

    Attributes:
        absolute: In units of the metric.
        relative: As a share of the other scorer's absolute value, resample by resample.
    """

    absolute: Estimate
    relative: Estimate

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"absolute": self.absolute.to_json(), "relative": self.relative.to_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Difference:
        """Inverse of ``to_json``."""
        return cls(*(Estimate.from_json(data[name]) for name in ("absolute", "relative")))


@dataclass(frozen=True)
class Evaluation:
    """Every scorer on the same holdout rows, with paired differences.

    Attributes:
        metric: Name of the primary metric, the one differences are about.
        greater_is_better: Orientation of the primary metric.
        confidence: Level of the intervals.
        days: Number of holdout days.
        units: Number of rows, or of queries for a recommendation.
        unit: Name of a unit, plural.
        first_day: First holdout day, ISO format.
        last_day: Last holdout day, ISO format.
        metrics: Scorer to metric to estimate. Secondary metrics that are undefined on the holdout
            (such as without a bought discovery) are left out.
        differences: Scorer to other scorer to paired difference of the primary metric.
        unusable: Scorer to the reason why it has no metrics.
    """

    metric: str
    greater_is_better: bool
    confidence: float
    days: int
    units: int
    unit: str
    first_day: str
    last_day: str
    metrics: Mapping[str, Mapping[str, Estimate]]
    differences: Mapping[str, Mapping[str, Difference]]
    unusable: Mapping[str, str]

    def primary(self, scorer: str) -> Estimate:
        """The primary metric of one scorer. Raises KeyError for an unusable one."""
        return self.metrics[scorer][self.metric]

    def difference(self, scorer: str, other: str) -> Difference:
        """How much better ``scorer`` is than ``other``; positive is better."""
        return self.differences[scorer][other]

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON types; not-a-number becomes null."""
        return {
            **{name: getattr(self, name) for name in _PLAIN_FIELDS},
            "metrics": {
                scorer: {name: estimate.to_json() for name, estimate in named.items()}
                for scorer, named in self.metrics.items()
            },
            "differences": {
                scorer: {other: difference.to_json() for other, difference in others.items()}
                for scorer, others in self.differences.items()
            },
            "unusable": dict(self.unusable),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Evaluation:
        """Inverse of ``to_json``."""
        return cls(
            **{name: data[name] for name in _PLAIN_FIELDS},
            metrics={
                scorer: {name: Estimate.from_json(value) for name, value in named.items()}
                for scorer, named in data["metrics"].items()
            },
            differences={
                scorer: {other: Difference.from_json(value) for other, value in others.items()}
                for scorer, others in data["differences"].items()
            },
            unusable=dict(data["unusable"]),
        )


_PLAIN_FIELDS = (
    "metric",
    "greater_is_better",
    "confidence",
    "days",
    "units",
    "unit",
    "first_day",
    "last_day",
)


@dataclass(frozen=True)
class SliceResult:
    """One group of one slice column, challenger against champion.

    Attributes:
        column: Name of the slice; "metric" for a metric besides the primary one, over all rows.
        group: Value of the column, as text, "missing" for a missing one; or the metric.
        units: Rows or queries in the group.
        scorer: Metric of the challenger, NaN where the group is not compared.
        other: Metric of the champion, NaN where the group is not compared.
        relative: Paired relative difference, positive is better; None where the group has too
            few units or leaves the metric undefined.
    """

    column: str
    group: str
    units: int
    scorer: float
    other: float
    relative: Estimate | None
