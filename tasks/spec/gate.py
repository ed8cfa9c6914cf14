"""Bounds of a promotion, and of an automatic revert."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from tasks.spec.values import is_number, is_whole_days, shown

MOST_SHADOW = 60
"""Most shadow nights: as many graded days are looked back on."""


@dataclass(frozen=True)
class Gate:
    """Bounds that a challenger must meet to be promoted.

    Attributes:
        confidence: Level of the two-sided bootstrap intervals.
        tolerance: Same recipe refitted: how much worse, relative to the champion,
            the lower end of the interval may be.
        anchor_tolerance: Every challenger: how much worse, relative, it may measure than the
            anchor, a version that stays the same from night to night, so that small losses do not
            add up; over 28 nights on average half of that, and a tenth of it against the yearly
            anchor, which stays for a year.
        gain: Another recipe: least relative gain over the champion's recipe.
        recipe_confidence: Another recipe: least share of years in which no recipe is promoted that
            is no better than the champion's, over all recipes of the model together
            (``deployments/EVIDENCE.md``, "Why these bounds").
        surprise: Largest relative gain over the champion that is promoted without a person's
            review.
        approve: Whether every promotion waits until a person approves it with
            `flows/approve.py`.
        shadow: For how many nights a challenger that passed predicts beside the champion, in files
            that the app does not read, before it may be promoted: once so many of its days are
            graded, it must not be worse than the champion on the same rows, by ``tolerance``.
            ``days(0)`` for none.
        feature_auc: Largest area under the ROC curve that one feature alone may have.
        strong_features: Features that a person has found to be known before the day begins, each by
            its name; they may have any area.
        slice_tolerance: How much worse, relative, a declared slice may become.
        calibration: Largest expected calibration error, or None for no bound.
        min_days: Fewest holdout days a verdict may rest on.
        min_units: Fewest rows (or queries) a verdict may rest on.
        resamples: Bootstrap resamples of whole days.
        latency_ms: Most milliseconds the packaged model may take for 1,000 rows.
        size_mb: Largest size of the packaged model, in megabytes.
    """

    confidence: float = 0.90
    tolerance: float = 0.02
    anchor_tolerance: float = 0.01
    gain: float = 0.005
    recipe_confidence: float = 0.95
    surprise: float = 0.10
    approve: bool = False
    shadow: timedelta = timedelta(0)
    feature_auc: float = 0.80
    strong_features: tuple[str, ...] = ()
    slice_tolerance: float = 0.10
    calibration: float | None = None
    min_days: int = 7
    min_units: int = 200
    resamples: int = 1000
    latency_ms: float = 1000.0
    size_mb: float = 100.0

    def within(self, share: float) -> Gate:
        """The gate of one model among several that share the error of ``recipe_confidence``.

        Args:
            share: Its share of the error; all shares sum to 1 at most.
        """
        return replace(self, recipe_confidence=1 - (1 - self.recipe_confidence) * share)

    def faults(self) -> list[str]:
        """Every setting out of bounds, in words."""
        bounds: dict[str, tuple[float, float]] = {
            "confidence": (0.5, 0.999),
            "tolerance": (0.0, 1.0),
            "anchor_tolerance": (0.0, 1.0),
            "gain": (0.0, 1.0),
            "recipe_confidence": (0.5, 0.9999),
            "surprise": (0.0, 1000.0),
            "feature_auc": (0.5, 1.0),
            "slice_tolerance": (0.0, 1.0),
            "min_days": (2, 366),
            "min_units": (10, 10_000_000),
            "resamples": (100, 100_000),
            "latency_ms": (1, 3_600_000),
            "size_mb": (0.01, 100_000),
        }
        found = [
            f"gate.{name}: found {value!r}, allowed {low} to {high}"
            for name, (low, high) in bounds.items()
            if not is_number(value := getattr(self, name)) or not low <= value <= high
        ]
        if self.calibration is not None and not (
            is_number(self.calibration) and 0 < self.calibration < 1
        ):
            found.append(f"gate.calibration: found {self.calibration!r}, allowed None or 0 to 1")
        if not isinstance(self.strong_features, tuple) or not all(
            isinstance(name, str) and name for name in self.strong_features
        ):
            found.append(
                f"gate.strong_features: found {shown(self.strong_features)}, expected a tuple of "
                "names, such as ('distance',)"
            )
        if not isinstance(self.approve, bool):
            found.append(f"gate.approve: found {self.approve!r}, allowed True or False")
        if not is_whole_days(self.shadow, 0) or not (
            not self.shadow or 2 <= self.shadow.days <= MOST_SHADOW
        ):
            found.append(
                f"gate.shadow: found {shown(self.shadow)}, allowed days(n), n from 2 to "
                f"{MOST_SHADOW}, or days(0) for none"
            )
        return found


@dataclass(frozen=True)
class Revert:
    """When a champion that does worse on live days than its predecessor, or than the anchor, is
    reverted.

    Attributes:
        patience: Fewest graded days with predictions of both.
        confidence: Level at which it must be worse, one-sided, over the days; high because the test
            is repeated every night.
        loss: Least relative loss.
        hold: How long its recipe and code are held: no night promotes them, refitted with newer
            days, for so long a span of time after a revert or a rollback, and twice as long each
            time that they are withdrawn again. Another recipe, or an edited file, is not held.
    """

    patience: timedelta = timedelta(days=3)
    confidence: float = 0.998
    loss: float = 0.02
    hold: timedelta = timedelta(days=7)

    def faults(self) -> list[str]:
        """Every setting out of bounds, in words."""
        found = []
        if not is_whole_days(self.patience, 2):
            found.append(f"revert.patience: found {shown(self.patience)}, allowed days(n), n >= 2")
        if not is_whole_days(self.hold, 0):
            found.append(f"revert.hold: found {shown(self.hold)}, allowed days(n), n >= 0")
        for name, low, high in (("confidence", 0.5, 0.9999), ("loss", 0.0, 1.0)):
            value = getattr(self, name)
            if not is_number(value) or not low <= value <= high:
                found.append(f"revert.{name}: found {value!r}, allowed {low} to {high}")
        return found
