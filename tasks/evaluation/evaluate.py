"""Metrics of every scorer on the same holdout, with intervals and paired differences by day."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tasks.errors import JudgementError
from tasks.evaluation.bootstrap import day_counts, interval
from tasks.evaluation.estimates import Difference, Evaluation, SliceResult
from tasks.metrics.base import title
from tasks.problems.columns import slice_name

if TYPE_CHECKING:
    import pandas as pd

    from tasks.evaluation.estimates import Estimate
    from tasks.metrics.base import Floats, Ints
    from tasks.problems.base import Problem
    from tasks.problems.columns import Slice


NEGLIGIBLE = 1e-6
"""Share of the metric of all rows below which that of a group counts as this share: a group in
which nobody errs has no relative difference, and one of rounding errors has no telling one."""


def evaluate(
    problem: Problem,
    examples: pd.DataFrame,
    scores: Mapping[str, npt.ArrayLike],
    *,
    resamples: int,
    confidence: float,
    seed: int,
    block: int = 1,
    names: Sequence[str] | None = None,
) -> Evaluation:
    """Measure every scorer on the same examples and the same day resamples.

    Args:
        problem: What is predicted; names the metrics.
        examples: Holdout examples with their reserved columns.
        scores: Scorer to the scores of the examples, shape (rows,) or (rows, classes or levels).
        resamples: Bootstrap resamples of whole days.
        confidence: Two-sided level of the intervals.
        seed: Seed of the resamples.
        block: Days in a row that are resampled together.
        names: Metrics, the primary one among them; None for all of the problem.

    Raises:
        JudgementError: No scorer can be measured: empty holdout, fewer than two days, one class or
            a constant target, or a primary metric that is undefined on some resample, as where
            positives are so few that some days have none.
    """
    day, labels = _day_codes(examples)
    problem.check_examples(examples)
    usable, unusable = _usable_scores(problem, scores, len(examples))
    counts = day_counts(len(labels), resamples, seed, block)
    samples = problem.measure(examples, usable, day, counts, names or problem.metric_names)
    n_days = len(labels)
    clusters = max(2, n_days // block)
    metrics: dict[str, dict[str, Estimate]] = {}
    for scorer, measured in samples.items():
        estimates = {n: interval(values, clusters, confidence) for n, values in measured.items()}
        if not estimates[problem.primary].finite():
            raise JudgementError(
                f"{title(problem.primary)} of {scorer} is undefined on some resamples of the "
                f"{n_days} holdout days, because too few days have the outcomes it needs. Use a "
                "longer holdout in the spec"
            )
        metrics[scorer] = {name: e for name, e in estimates.items() if e.finite()}
    primary = {scorer: measured[problem.primary] for scorer, measured in samples.items()}
    greater = problem.greater_is_better
    return Evaluation(
        metric=problem.primary,
        greater_is_better=greater,
        confidence=confidence,
        days=n_days,
        units=problem.count_units(examples),
        unit=problem.unit,
        first_day=labels[0],
        last_day=labels[-1],
        metrics=metrics,
        differences={
            scorer: {
                other: _difference(mine, theirs, greater, clusters, confidence)
                for other, theirs in primary.items()
                if other != scorer
            }
            for scorer, mine in primary.items()
        },
        unusable=unusable,
    )


def evaluate_days(
    problem: Problem, examples: pd.DataFrame, scores: Mapping[str, npt.ArrayLike]
) -> dict[str, dict[str, float]]:
    """Primary metric of every scorer on each day alone: scorer to ISO day to value.

    NaN where the metric is undefined on a day. Unusable scorers are left out.
    """
    day, labels = _day_codes(examples)
    usable, _ = _usable_scores(problem, scores, len(examples))
    alone = problem.measure(examples, usable, day, np.eye(len(labels)), (problem.primary,))
    return {
        scorer: dict(zip(labels, measured[problem.primary].tolist(), strict=True))
        for scorer, measured in alone.items()
    }


def measure_once(
    problem: Problem, examples: pd.DataFrame, score: Floats, names: Sequence[str]
) -> dict[str, float]:
    """Metrics of one scorer over all examples at once, without intervals.

    NaN where a metric is undefined, such as where all examples are of one class.

    Raises:
        JudgementError: Where a metric of the spec fails.
    """
    import pandas as pd

    day = pd.factorize(examples["day"])[0].astype(np.int64)
    once = np.ones((1, int(day.max()) + 1))
    found = problem.measure(examples, {"scorer": score}, day, once, names)["scorer"]
    return {name: float(values[0]) for name, values in found.items()}


def evaluate_slices(
    problem: Problem,
    examples: pd.DataFrame,
    scorer: npt.ArrayLike,
    other: npt.ArrayLike,
    columns: Sequence[Slice],
    *,
    resamples: int,
    confidence: float,
    seed: int,
    min_units: int = 100,
) -> tuple[SliceResult, ...]:
    """Compare two scorers inside every group of every slice, paired and clustered by day.

    The metrics that the problem guards besides its primary one follow, each over all examples, as
    groups of the slice ``metric``. A group is resampled over the days on which it occurs. For a
    recommendation a slice has to describe the user, as each query must lie in one group.

    Args:
        problem: What is predicted.
        examples: Holdout examples with the slices' columns among them.
        scorer: The challenger's scores.
        other: The champion's scores.
        columns: Slices: columns, or functions of the examples.
        resamples: Bootstrap resamples of whole days.
        confidence: Two-sided level of the intervals.
        seed: Seed of the resamples.
        min_units: Groups with fewer units are listed without a comparison.

    Raises:
        JudgementError: A score is unusable.
        SpecError: A slice splits a query, its column does not exist, or its function fails.
    """
    import pandas as pd

    scores, unusable = _usable_scores(problem, {"scorer": scorer, "other": other}, len(examples))
    if unusable:
        raise JudgementError("; ".join(f"{name}: {why}" for name, why in unusable.items()))
    primary, results = problem.primary, []
    whole = measure_once(problem, examples, scores["other"], [primary])[primary]
    least = NEGLIGIBLE * abs(whole) if math.isfinite(whole) else 0.0
    for column in columns:
        codes, groups = pd.factorize(
            problem.slice_values(examples, column), sort=True, use_na_sentinel=False
        )
        for code, group in enumerate(groups):
            chosen = np.flatnonzero(codes == code)
            part = examples.iloc[chosen]
            units = problem.count_units(part)
            text = "missing" if pd.isna(group) else str(group)
            measured = None
            if units >= min_units:
                measured = _compare(
                    problem,
                    primary,
                    part,
                    {name: score[chosen] for name, score in scores.items()},
                    resamples,
                    confidence,
                    seed,
                    least,
                )
            mine, theirs, relative = measured or (math.nan, math.nan, None)
            results.append(SliceResult(slice_name(column), text, units, mine, theirs, relative))
    for metric in problem.guarded:
        measured = _compare(problem, metric, examples, scores, resamples, confidence, seed, least)
        mine, theirs, relative = measured or (math.nan, math.nan, None)
        units = problem.count_units(examples)
        results.append(SliceResult("metric", title(metric), units, mine, theirs, relative))
    return tuple(results)


def _compare(
    problem: Problem,
    metric: str,
    part: pd.DataFrame,
    scores: Mapping[str, Floats],
    resamples: int,
    confidence: float,
    seed: int,
    least: float,
) -> tuple[float, float, Estimate] | None:
    day, labels = np.unique(part["day"].to_numpy(), return_inverse=True)[::-1]
    if len(labels) < 2:
        return None
    counts = day_counts(len(labels), resamples, seed)
    samples = problem.measure(part, scores, day.astype(np.int64), counts, (metric,))
    mine, theirs = (samples[name][metric] for name in ("scorer", "other"))
    defined = np.isfinite(mine) & np.isfinite(theirs)
    if not defined[0] or defined.mean() < 0.95:
        return None
    greater = problem.greater_is_better if metric == problem.primary else True
    relative = _relative(mine[defined], theirs[defined], greater, least)
    return float(mine[0]), float(theirs[0]), interval(relative, len(labels), confidence)


def _difference(
    mine: Floats, theirs: Floats, greater: bool, days: int, confidence: float
) -> Difference:
    better = mine - theirs if greater else theirs - mine
    return Difference(
        interval(better, days, confidence),
        interval(_relative(mine, theirs, greater), days, confidence),
    )


def _relative(mine: Floats, theirs: Floats, greater: bool, least: float = 0.0) -> Floats:
    """Gains as shares of the other's values, which count as ``least`` where they are below it."""
    gain = mine - theirs if greater else theirs - mine
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gain == 0, 0.0, gain / np.maximum(np.abs(theirs), least))


def _day_codes(examples: pd.DataFrame) -> tuple[Ints, list[str]]:
    import pandas as pd

    if examples.empty:
        raise JudgementError("the holdout has no examples")
    codes, days = pd.factorize(examples["day"], sort=True)
    if (codes < 0).any():
        raise ValueError("examples: column day has missing values")
    if len(days) < 2:
        raise JudgementError("the holdout has 1 day, but an interval over days needs at least 2")
    return codes.astype(np.int64), [pd.Timestamp(day).date().isoformat() for day in days]


def _usable_scores(
    problem: Problem, scores: Mapping[str, npt.ArrayLike], rows: int
) -> tuple[dict[str, Floats], dict[str, str]]:
    usable: dict[str, Floats] = {}
    unusable: dict[str, str] = {}
    for name, given in scores.items():
        score = np.asarray(given, dtype=np.float64)
        columns = len(problem.score_columns)
        expected = (rows,) if columns == 1 else (rows, columns)
        if score.shape != expected:
            raise ValueError(f"scores of {name}: found shape {score.shape}, expected {expected}")
        bad = int((~np.isfinite(score)).sum())
        if bad:
            unusable[name] = f"{bad:,} of {rows:,} scores are not finite"
        elif fault := problem.score_fault(score):
            unusable[name] = fault
        else:
            usable[name] = score
    return usable, unusable
