"""Live performance: the app's predictions against the prediction interval and the predecessor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.errors import JudgementError, SpecError
from tasks.problems.columns import slice_name

if TYPE_CHECKING:
    import pandas as pd

    from tasks.problems.base import Problem
    from tasks.problems.columns import Slice
    from tasks.spec.gate import Revert


SLICE_UNITS = 50
"""Fewest units of a slice to report it on one day."""


@dataclass(frozen=True)
class Loss:
    """How much worse a champion did than its predecessor, on days that both predicted.

    Attributes:
        days: How many days.
        mean: Mean daily difference of the primary metric; negative is worse.
        relative: The same as a share of the predecessor's mean.
        high: Upper end of the one-sided interval of the mean.
        revert: Whether the champion must be reverted.
    """

    days: int
    mean: float
    relative: float
    high: float
    revert: bool


def grade_day(
    problem: Problem,
    answered: Mapping[str, pd.DataFrame],
    happened: pd.DataFrame,
    slices: Sequence[Slice] = (),
) -> dict[str, Any]:
    """The metrics of one day's predictions.

    Args:
        problem: What is predicted.
        answered: Predictions of ``champion`` and, where there are any, of ``previous``.
        happened: Clean rows of that day.
        slices: Slices to report the metric for, where the predictions and the clean rows have their
            columns.

    Returns:
        ``asked``, ``labelled``, ``unasked``, ``metrics``, ``previous`` (its metrics), ``slices``
        and, where the problem predicts shares, ``calibration``. Metrics that are undefined on the
        day are left out, and custom metrics that need columns of the features.
    """

    examples, scores, counts = problem.match(answered, happened)
    measured = _measure(problem, examples, scores, problem.live_metrics)
    found: dict[str, Any] = {
        **counts,
        "metrics": measured.get("champion", {}),
        "previous": measured.get("previous", {}),
        "slices": {},
    }
    for by in slices if len(examples) else ():
        try:
            groups = problem.slice_values(examples, by)
        except SpecError:
            continue
        for value, rows in examples.groupby(groups, observed=True):
            if problem.count_units(rows) < SLICE_UNITS:
                continue
            own = {"champion": scores["champion"][rows.index]}
            alone = _measure(problem, rows, own, (problem.primary,))
            if alone.get("champion"):
                found["slices"][f"{slice_name(by)} {value}"] = alone["champion"][problem.primary]
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
    from scipy import stats

    both = [
        (day["metrics"][metric], day["previous"][metric])
        for day in records
        if metric in day["metrics"] and metric in day["previous"]
    ]
    if not both:
        return None
    ours, before = np.asarray(both, dtype=np.float64).T
    differences = (ours - before) * (1 if greater else -1)
    count, mean = len(differences), float(differences.mean())
    relative = mean / max(abs(float(before.mean())), 1e-12)
    if count < 2:
        return Loss(count, mean, relative, math.inf, False)
    error = float(differences.std(ddof=1)) / math.sqrt(count)
    high = mean + float(stats.t.ppf(policy.confidence, count - 1)) * error
    worse = count >= policy.patience.days and high < 0 and relative <= -policy.loss
    return Loss(count, mean, relative, high, worse)


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
    return f"{said} ({record['labelled']:,} of {record['asked']:,} predictions have a label)"


def _measure(
    problem: Problem,
    examples: pd.DataFrame,
    scores: Mapping[str, npt.NDArray[np.float64]],
    names: Sequence[str],
) -> dict[str, dict[str, float]]:

    usable = {name: score for name, score in scores.items() if np.isfinite(score).all()}
    if not len(examples):
        return {}
    try:
        problem.check_examples(examples)
    except JudgementError:
        return {}
    day, one = np.zeros(len(examples), dtype=np.int64), np.ones((1, 1))
    found: dict[str, dict[str, float]] = {scorer: {} for scorer in usable}
    for metric in names:
        try:
            measured = problem.measure(examples, usable, day, one, (metric,))
        except JudgementError:
            continue
        for scorer, values in measured.items():
            if math.isfinite(values[metric][0]):
                found[scorer][metric] = float(values[metric][0])
    return found
