"""What the steps of a night pass to each other: small references."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from tasks.features.examples import Ends, examples_at_night
from tasks.features.split import Split
from tasks.store import frames
from tasks.training import fit

if TYPE_CHECKING:
    from tasks.promotion.checks import Verdict
    from tasks.promotion.left_out import LeftOut
    from tasks.promotion.shadow import Shadow
    from tasks.registry.anchors import Anchor
    from tasks.registry.holds import Hold
    from tasks.registry.versions import Champion
    from tasks.reporting.report_schema import Report


@dataclass(frozen=True)
class Night:
    """One run of one model for one as-of date.

    Attributes:
        model: The model as named by the caller.
        name: Name of its spec.
        as_of: Last day whose data may be used.
        days: Every day of the source up to ``as_of`` with its fingerprint, ascending.
        key: Digest of everything that decides the verdict.
        held: Why there is nothing to train on; empty on an ordinary night.
        decided: The report of this night, where nothing has changed since.
        due: The as-of date this run was due for: earlier than ``as_of`` where it starts so late
            that it replaces later nights too.
        backfill: Why this run only reads and reports; None for a night.
        ahead: The next day of the model's calendar; None for the day after ``as_of``.
        share: Its share of the error of another recipe's promotion (``Gate.within``).
    """

    model: str
    name: str
    as_of: date
    days: dict[date, str]
    key: str
    held: tuple[str, ...] = ()
    decided: Report | None = None
    due: date | None = None
    backfill: str | None = None
    ahead: date | None = None
    share: float = 1.0

    @property
    def next_day(self) -> date:
        """The day that is predicted."""
        return self.ahead or self.as_of + timedelta(days=1)

    @property
    def newest(self) -> date:
        """The newest day with data: ``as_of``, or an earlier one where that is left out."""
        return max(self.days, default=self.as_of)

    @property
    def late(self) -> bool:
        """Whether it stands for earlier nights that were missed."""
        return self.due is not None and self.due != self.as_of


@dataclass(frozen=True)
class Cleaned:
    """Clean days in the store.

    Attributes:
        refs: Day to its clean rows.
        new: Days cleaned tonight.
        rejected: Day to the reason why the night must not train.
        rows: ``rows_in``, ``accepted``, ``quarantined`` and ``duplicates`` over all days.
        seconds: Seconds spent.
        held: Why there is nothing to train on after cleaning.
    """

    refs: dict[date, frames.Ref]
    new: tuple[date, ...]
    rejected: dict[date, str]
    rows: dict[str, int]
    seconds: float
    held: tuple[str, ...] = ()


@dataclass(frozen=True)
class Examples:
    """Prepared days and how they are split.

    Attributes:
        refs: Day to its examples.
        split: Days to train on and days held out.
        new: Days prepared tonight.
        candidates: Names of the recipes to fit.
        seconds: Seconds spent.
        done: When they were ready, in seconds since the epoch.
        left_out: The other recipes, which are not fitted tonight.
        drifted: Whether a column has drifted far, so that every recipe is fitted.
        ends: Where the night of training or holdout knew fewer labels, the examples that it had,
            by the last day of the two.
    """

    refs: dict[date, frames.Ref]
    split: Split
    new: tuple[date, ...]
    candidates: tuple[str, ...]
    seconds: float
    done: float
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)
    drifted: bool = False
    ends: Ends = field(default_factory=dict)

    def of(self, days: tuple[date, ...]) -> list[frames.Ref]:
        """References to the examples of training or holdout, as their night knew them."""
        return examples_at_night(self.refs, self.ends, days)

    def without(self, left_out: Mapping[str, LeftOut]) -> Examples:
        """The same, with these of the recipes left out."""
        fitted = tuple(name for name in self.candidates if name not in left_out)
        return replace(self, candidates=fitted, left_out=left_out)


@dataclass(frozen=True)
class Beside:
    """A fixed version that challengers are held against, and its twin's scores of the holdout.

    Attributes:
        anchor: The anchor, or the yearly anchor.
        scores: Key of its scores; None where it is the champion or cannot be scored.
        fault: Why it cannot be scored.
    """

    anchor: Anchor
    scores: str | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Incumbent:
    """The champion and its twin's scores of tonight's holdout.

    Attributes:
        champion: None before the first promotion.
        scores: Key of its scores, or None where it cannot be scored.
        added: Key of the examples that only its own pipeline has, if any.
        fault: Why it cannot be scored or compared.
        rolled_back: Models that must not be promoted again: key of a shipped model to the reason.
        holds: Recipes and code that are held for a while.
        retired: Where there is no champion: the one that was given up, if it still counts.
        anchors: Name among the scorers to a version that challengers are held against as well.
    """

    champion: Champion | None = None
    scores: str | None = None
    added: str | None = None
    fault: str | None = None
    rolled_back: Mapping[str, str] = field(default_factory=dict)
    holds: tuple[Hold, ...] = ()
    retired: Champion | None = None
    anchors: Mapping[str, Beside] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """The verdict and its evidence.

    Attributes:
        verdict: Status, reasons and checks.
        challenger: Name of tonight's best recipe.
        fits: Every candidate that could be fitted and scored, by name.
        incumbent: The champion it was compared with.
        figures: ``Evaluation`` as JSON: metrics of each scorer with intervals; None where nothing
            could be compared.
        plots: Title to PNG.
        seconds: Seconds spent by step: ``fit`` is the whole parallel stage.
        done: When the verdict was reached, in seconds since the epoch.
        prediction_interval: Prediction interval of the primary metric on a live day.
        contests: Contests of other recipes with the champion's, after tonight, as JSON.
        shadow: The version in its shadow nights, or that has ended them tonight, if any.
        left_out: The recipes that were not fitted.
    """

    verdict: Verdict
    challenger: str
    fits: dict[str, fit.Fit]
    incumbent: Incumbent
    figures: dict[str, Any] | None
    plots: dict[str, bytes]
    seconds: dict[str, float]
    done: float
    prediction_interval: dict[str, float] | None = None
    contests: dict[str, Any] | None = None
    shadow: Shadow | None = None
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)


def seconds_since(started: float) -> float:
    return round(time.perf_counter() - started, 2)
