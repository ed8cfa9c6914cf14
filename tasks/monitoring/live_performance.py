"""Live performance: the app's predictions against the prediction interval and other versions."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.errors import JudgementError, SpecError
from tasks.monitoring.coverage import COVERAGE
from tasks.problems.columns import slice_name
from tasks.shown import counted

if TYPE_CHECKING:
    import pandas as pd

    from tasks.problems.base import Problem
    from tasks.problems.columns import Slice
    from tasks.spec.gate import Revert


SLICE_UNITS = 50
"""Fewest units of a slice to report it on one day."""


LINE_DAYS = (3, 5, 7, 10, 14, 21, 28, 42, 60)
"""Numbers of newest days over which a line of champions is compared with the anchor."""
LINE_LOOKS = 100
"""By how much stricter each of these looks is than one of a pair: all of them are taken every
night, and a line does not end with a promotion."""
PROVEN_DAYS, PROVEN = 28, 0.99
"""Fewest days, and the level, at which a line is clearly better than the anchor."""
BEHIND = 0.95
"""Level at which a line is behind the anchor: it keeps the anchor, and reverts nothing."""


@dataclass(frozen=True)
class Loss:
    """How much worse a champion did than another version, on days that both predicted.

    Attributes:
        days: How many days.
        mean: Mean daily difference of the primary metric; negative is worse.
        relative: The same as a share of the other version's mean.
        high: Upper end of the one-sided interval of the mean.
        revert: Whether the champion must be reverted.
        confidence: Level of the interval.
    """

    days: int
    mean: float
    relative: float
    high: float
    revert: bool
    confidence: float


def grade_day(
    problem: Problem,
    answered: Mapping[str, pd.DataFrame],
    happened: pd.DataFrame,
    slices: Sequence[Slice] = (),
) -> dict[str, Any]:
    """The metrics of one day's predictions.

    Args:
        problem: What is predicted.
        answered: Predictions of ``champion`` and, where there are any, of ``previous``, ``anchor``
            and ``shadow``.
        happened: Clean rows of that day.
        slices: Slices to report the metric for, where the predictions and the clean rows have their
            columns.

    Returns:
        ``asked``, ``labelled``, ``unasked``, ``metrics``, ``previous`` (its metrics), ``slices``
        and, where there are any, ``anchor`` and ``shadow`` (their metrics), ``calibration`` and,
        of prediction intervals, ``slice_coverage``.
        Metrics that are undefined on the day are left out, and custom metrics that need columns of
        the features.
    """

    examples, scores, counts = problem.match(answered, happened)
    measured = _measure(problem, examples, scores, problem.live_metrics)
    found: dict[str, Any] = {
        **counts,
        "metrics": measured.get("champion", {}),
        "previous": measured.get("previous", {}),
        "slices": {},
    }
    for other in {"anchor", "shadow"} & answered.keys():
        found[other] = measured.get(other, {})
    for by in slices if len(examples) else ():
        try:
            groups = problem.slice_values(examples, by)
        except SpecError:
            continue
        for value, rows in examples.groupby(groups, observed=True):
            if problem.count_units(rows) < SLICE_UNITS:
                continue
            own = {"champion": scores["champion"][rows.index]}
            name = f"{slice_name(by)} {value}"
            alone = _measure(problem, rows, own, (problem.primary,))
            if alone.get("champion"):
                found["slices"][name] = alone["champion"][problem.primary]
            if COVERAGE in found["metrics"] and (
                part := problem.calibration(rows, own["champion"])
            ):
                found.setdefault("slice_coverage", {})[name] = part[1]
    held = problem.calibration(examples, scores["champion"]) if len(examples) else None
    if held:
        found["calibration"] = {"predicted": held[0], "observed": held[1]}
    return found


def compare(
    records: Sequence[Mapping[str, Any]], metric: str, greater: bool, policy: Revert
) -> Loss | None:
    """Whether the champion is worse than its predecessor; None without comparable days.

    Student's t on the paired daily differences, one-sided: the days vary, not the rows, and few
    days give a wide interval.

    Args:
        records: Graded days with predictions of the same two versions.
        metric: The primary metric.
        greater: Whether more of it is better.
        policy: The bounds.
    """
    differences, before = _paired(records, metric, greater, "previous")
    if not len(differences):
        return None
    return _loss(differences, before, policy.patience.days, policy.confidence, policy.loss)


def compare_line(
    records: Sequence[Mapping[str, Any]],
    metric: str,
    greater: bool,
    policy: Revert,
    anchor_made: tuple[str, str] | None = None,
) -> Loss | None:
    """Whether a line of champions is worse than the anchor; None without comparable days.

    Each champion may be another version: a promotion does not reset the days. Where the newest ones
    were made by another recipe or other code than those before, the days since are compared as
    those of a pair: when they may have turned bad is known. Else a line may turn bad at any time:
    its newest days are compared over each length of ``LINE_DAYS``, and each of these looks must be
    far surer.

    Args:
        records: Graded days of the line, ascending, with predictions of the same anchor.
        metric: The primary metric.
        greater: Whether more of it is better.
        policy: The bounds.
        anchor_made: Candidate and code that made the anchor, where they are known.

    Returns:
        Of the first comparison by which it must be reverted, the shortest length first; else of
        all the days.
    """
    since = newest_code(records, anchor_made)
    new = _paired(since, metric, greater, "anchor")
    if len(new[0]):
        found = _loss(*new, policy.patience.days, policy.confidence, policy.loss)
        if found.revert:
            return found
    differences, anchor = _paired(records, metric, greater, "anchor")
    if not len(differences):
        return None
    confidence = 1 - (1 - policy.confidence) / LINE_LOOKS
    for newest in _newest(differences, anchor, policy, confidence):
        if newest.revert:
            return newest
    patience = policy.patience.days
    return replace(_loss(differences, anchor, patience, confidence, policy.loss), revert=False)


def newest_code(
    records: Sequence[Mapping[str, Any]], anchor_made: tuple[str, str] | None
) -> list[Mapping[str, Any]]:
    """The newest days of a line whose champions one recipe and code made, other than those before.

    Args:
        records: Graded days of the line, ascending. Those of an earlier Nightly have no ``code``.
        anchor_made: Candidate and code that made the anchor; None where they are not known.

    Returns:
        No days where nothing has changed since the anchor, or where that is not known.
    """
    made = [(day.get("candidate"), day.get("code")) for day in records]
    if not made or made[-1][1] is None or anchor_made is None or made[-1] == anchor_made:
        return []
    first = next((at for at in range(len(made), 0, -1) if made[at - 1] != made[-1]), 0)
    return list(records[first:])


def is_behind(
    records: Sequence[Mapping[str, Any]], metric: str, greater: bool, policy: Revert
) -> bool:
    """Whether a line seems to be worse than the anchor, by as much as a revert needs.

    Args:
        records: From ``line_of``.
        metric: The primary metric.
        greater: Whether more of it is better.
        policy: The bounds.
    """
    differences, anchor = _paired(records, metric, greater, "anchor")
    return any(found.revert for found in _newest(differences, anchor, policy, BEHIND))


def line_of(
    records: Sequence[Mapping[str, Any]], anchor: str, since: date, withdrawn: Collection[str]
) -> list[Mapping[str, Any]]:
    """The graded days of the champions after the anchor, whichever versions they were.

    Args:
        records: Graded days, ascending.
        anchor: Version that is the anchor.
        since: Days after this one count.
        withdrawn: Versions that were rolled back or reverted: they are of no line any more.
    """
    return [
        day
        for day in records
        if day.get("anchor_version") == anchor
        and day["day"] > since.isoformat()
        and day["version"] not in withdrawn
    ]


def proven_version(records: Sequence[Mapping[str, Any]], metric: str, greater: bool) -> str | None:
    """The newest version of a line that kept its promise, where the line is clearly better.

    Args:
        records: From ``line_of``.
        metric: The primary metric.
        greater: Whether more of it is better.
    """
    from scipy.special import stdtrit

    differences, _ = _paired(records, metric, greater, "anchor")
    count = len(differences)
    if count < PROVEN_DAYS:
        return None
    error = float(differences.std(ddof=1)) / math.sqrt(count)
    if float(differences.mean()) <= float(stdtrit(count - 1, PROVEN)) * error:
        return None
    kept = (day["version"] for day in reversed(records) if _kept_promise(day, metric))
    return next(kept, None)


def _kept_promise(record: Mapping[str, Any], metric: str) -> bool:
    value, promised = record["metrics"].get(metric), record["promised"]
    return bool(promised) and value is not None and promised["low"] <= value <= promised["high"]


def _paired(
    records: Sequence[Mapping[str, Any]], metric: str, greater: bool, other: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Daily gains over another version, and its own figures, on days that have both."""
    both = [
        (day["metrics"][metric], day[other][metric])
        for day in records
        if metric in day["metrics"] and metric in day.get(other, {})
    ]
    ours, theirs = np.asarray(both, dtype=np.float64).reshape(-1, 2).T
    return (ours - theirs) * (1 if greater else -1), theirs


def _newest(
    differences: npt.NDArray[np.float64],
    theirs: npt.NDArray[np.float64],
    policy: Revert,
    confidence: float,
) -> list[Loss]:
    """The newest days over each length of ``LINE_DAYS`` that there is, the shortest first."""
    patience = policy.patience.days
    return [
        _loss(differences[-days:], theirs[-days:], patience, confidence, policy.loss)
        for days in LINE_DAYS
        if patience <= days <= len(differences)
    ]


def _loss(
    differences: npt.NDArray[np.float64],
    theirs: npt.NDArray[np.float64],
    patience: int,
    confidence: float,
    least: float,
) -> Loss:
    """Student's t on the paired daily differences, one-sided."""
    from scipy.special import stdtrit

    count, mean = len(differences), float(differences.mean())
    relative = mean / max(abs(float(theirs.mean())), 1e-12)
    if count < 2:
        return Loss(count, mean, relative, math.inf, False, confidence)
    error = float(differences.std(ddof=1)) / math.sqrt(count)
    high = mean + float(stdtrit(count - 1, confidence)) * error
    worse = count >= patience and high < 0 and relative <= -least
    return Loss(count, mean, relative, high, worse, confidence)


def to_text(record: Mapping[str, Any], metric: str, title: str) -> str:
    """One graded day in a sentence.

    Args:
        record: The day.
        metric: The primary metric.
        title: Its name for people.
    """
    value, promised = record["metrics"].get(metric), record["promised"]
    if value is None:
        return (
            f"{record['day']}: {record['labelled']:,} of {record['asked']:,} predictions have "
            f"a label, {title} is undefined"
        )
    said = f"{record['day']}: {title} {value:.3f}"
    if promised:
        place = "inside" if promised["low"] <= value <= promised["high"] else "OUTSIDE"
        said += f", {place} the prediction interval {promised['low']:.3f} to {promised['high']:.3f}"
    if metric in record["previous"]:
        said += f"; version {record['previous_version']} had {record['previous'][metric]:.3f}"
    anchor = record.get("anchor_version")
    if anchor != record.get("previous_version") and metric in record.get("anchor", {}):
        said += f"; the anchor, version {anchor}, had {record['anchor'][metric]:.3f}"
    if metric in record.get("shadow", {}):
        shadow = record["shadow"][metric]
        said += f"; version {record['shadow_version']} had {shadow:.3f} in the shadow"
    asked = counted(record["asked"], "prediction")
    have = "has" if record["labelled"] == 1 else "have"
    return f"{said} ({record['labelled']:,} of {asked} {have} a label)"


def _measure(
    problem: Problem,
    examples: pd.DataFrame,
    scores: Mapping[str, npt.NDArray[np.float64]],
    names: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Scorer to those metrics that these examples define.

    A day may have one row, one class or equal labels, where a holdout may not.
    """
    usable = {name: score for name, score in scores.items() if np.isfinite(score).all()}
    if not len(examples):
        return {}
    day, one = np.zeros(len(examples), dtype=np.int64), np.ones((1, 1))
    found: dict[str, dict[str, float]] = {scorer: {} for scorer in usable}
    for metric in problem.defined_metrics(names, examples):
        try:
            with np.errstate(all="ignore"):
                measured = problem.measure(examples, usable, day, one, (metric,))
        except JudgementError:
            continue
        for scorer, values in measured.items():
            if math.isfinite(values[metric][0]):
                found[scorer][metric] = float(values[metric][0])
    return found
