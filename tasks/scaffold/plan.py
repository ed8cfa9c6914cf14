"""What a new model file will say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.scaffold.profiling import Column, Target
    from tasks.scaffold.windows import Windows


@dataclass(frozen=True)
class Plan:
    """All that is decided about a model before its file is written.

    Attributes:
        name: Of the model.
        origin: Where the rows come from, in words.
        source: The source as code, without its time zone.
        imported: The source's class.
        columns: Of the table.
        windows: Lengths of time.
        first: First day of the source.
        last: Last day of the source.
        looked: Rows and days that were looked at, in words.
        warnings: What a person should know, in words.
        timezone: In which a day begins and ends.
        delay: Days until a label is final.
        midnight: Whether the time of a row is a date without a time of day.
        strongest: Largest area under the ROC curve of an input alone.
        strong: Name of that input.
        target: How the target is read; None for a recommendation.
        alike: Categories whose past is worth a feature.
        user: Of a recommendation, the column of the user.
        rows: Rows of a usual day.
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
    strongest: float = 0.5
    strong: str = ""
    target: Target | None = None
    alike: tuple[str, ...] = ()
    user: str = ""
    rows: float = 1_000.0

    def named(self, *roles: str) -> list[Column]:
        """The columns of these roles."""
        return [column for column in self.columns if column.role in roles]

    @property
    def ahead(self) -> list[str]:
        """Columns that are taken to be known before the day begins."""
        if self.user:
            return [self.user]
        return [column.name for column in self.named("id", "time", "input")]
