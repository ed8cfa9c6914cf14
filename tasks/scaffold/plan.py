"""The content of a new model file."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.scaffold.baselines import Baseline
    from tasks.scaffold.profiling import Column, Target
    from tasks.scaffold.windows import Windows


@dataclass(frozen=True)
class Plan:
    """Everything decided about a model before its file is written.

    Attributes:
        name: Name of the model.
        origin: Where the rows come from, for people.
        source: The source as code, without its time zone.
        imported: The source's class.
        columns: Columns of the table.
        windows: Lengths of time.
        first: First day of the source.
        last: Last day of the source.
        looked: Rows and days that were read, for people.
        warnings: Sentences about what a person should check.
        timezone: Time zone in which a day begins and ends.
        delay: Days until a label is final.
        midnight: Whether the time of a row is a date without a time of day.
        strong: Inputs that separate the rows well alone, each with its area under the ROC curve,
            the strongest first.
        target: How the target is read; None for a recommendation.
        alike: Categories whose past becomes a feature.
        user: Column of the user, for a recommendation.
        rows: Rows of a usual day.
        fewest: Rows of a day beside those of the day before, as low as on one day in a hundred.
        calendar: Inputs that follow the calendar.
        baseline: The naive forecast that the candidates have to beat; None for a constant.
    """

    name: str
    origin: str
    source: tuple[str, ...]
    imported: str
    columns: tuple[Column, ...]
    windows: Windows
    first: date
    last: date
    looked: str
    warnings: tuple[str, ...] = ()
    timezone: str = "UTC"
    delay: int = 0
    midnight: bool = False
    strong: tuple[tuple[str, float], ...] = ()
    target: Target | None = None
    alike: tuple[str, ...] = ()
    user: str = ""
    rows: float = 1_000.0
    fewest: float = 1.0
    baseline: Baseline | None = None
    calendar: tuple[str, ...] = ()

    def named(self, *roles: str) -> list[Column]:
        """The columns of these roles."""
        return [column for column in self.columns if column.role in roles]

    @property
    def baseline_name(self) -> str:
        """Name of the candidate that is the baseline; empty for a constant."""
        if self.baseline is None or self.target is None:
            return ""
        own = "key_median" if self.target.kind == "regression" else "key_rate"
        return self.looks_back or own

    @property
    def looks_back(self) -> str:
        """Name of the input that is the baseline, where that looks at the history; else empty."""
        if self.baseline is None or self.baseline.how == "usual":
            return ""
        taken = any(column.name == self.baseline.how for column in self.columns)
        return f"naive_{self.baseline.how}" if taken else self.baseline.how

    @property
    def ahead(self) -> list[str]:
        """Columns assumed to be known before the day begins."""
        if self.user:
            return [self.user]
        return [column.name for column in self.named("id", "time", "input")]
