"""Every scorer on the same holdout: figures with intervals, differences paired, by whole days."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.columns import Slice, slice_name
from tasks.metrics import Floats, Ints, JudgementError, title

if TYPE_CHECKING:
    import pandas as pd

    from tasks.problems import Problem


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
        lowest: Lower end of the absolute difference at the level asked of another recipe.
    """

    absolute: Estimate
    relative: Estimate
    lowest: float

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        return {
            "absolute": self.absolute.to_json(),
            "relative": self.relative.to_json(),
            "lowest": self.lowest if math.isfinite(self.lowest) else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Difference:
        """Inverse of ``to_json``."""
        lowest = math.nan if data["lowest"] is None else data["lowest"]
        absolute, relative = (Estimate.from_json(data[name]) for name in ("absolute", "relative"))
        return cls(absolute, relative, lowest)


@dataclass(frozen=True)
class Evaluation:
    """Every scorer on the same holdout rows, with paired differences.

    Attributes:
        metric: Name of the primary metric, the one differences are about.
        greater_is_better: Orientation of the primary metric.
        confidence: Level of the intervals.
        days: Number of holdout days.
        units: Number of rows, or of queries for a recommendation.
        unit: What a unit is called, plural.
        first_day: First holdout day, ISO format.
        last_day: Last holdout day, ISO format.
        metrics: Scorer to metric to estimate. Secondary metrics that the holdout leaves
            undefined (no discovery was bought, say) are left out.
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
        column: Name of the slice.
        group: Value of the column, as text; "missing" for a missing one.
        units: Rows or queries in the group.
        scorer: Primary metric of the challenger, NaN where the group is not judged.
        other: Primary metric of the champion, NaN where the group is not judged.
        relative: Paired relative difference, positive is better; None where the group has too
            few units or leaves the metric undefined.
    """

    column: str
    group: str
    units: int
    scorer: float
    other: float
    relative: Estimate | None


def day_counts(days: int, resamples: int, seed: int, block: int = 1) -> Floats:
    """How often each day is drawn in each resample.

    Args:
        days: Number of days.
        resamples: Number of resamples.
        seed: Seed of the draws.
        block: Days in a row that are drawn together, around the end where need be (Politis and
            Romano 1992, A Circular Block-Resampling Procedure for Stationary Data).

    Returns:
        Shape (resamples + 1, days); row 0 is all ones, the holdout itself.
    """
    random = np.random.default_rng(seed)
    if block == 1:
        drawn = random.multinomial(days, np.full(days, 1 / days), size=resamples)
        return np.vstack([np.ones(days), drawn])
    starts = random.integers(days, size=(resamples, -(-days // block), 1))
    places = ((starts + np.arange(block)) % days).reshape(resamples, -1)[:, :days]
    cells = places + np.arange(resamples)[:, None] * days
    counts = np.bincount(cells.ravel(), minlength=resamples * days).reshape(resamples, days)
    return np.vstack([np.ones(days), counts])


def interval(samples: Floats, days: int, confidence: float) -> Estimate:
    """Estimate with an expanded percentile interval over resamples of whole days.

    The plain percentile interval is too narrow for few days. Its tail probability is therefore
    replaced by ``Phi(-sqrt(n / (n - 1)) * t)`` with the Student quantile ``t`` for ``n - 1``
    degrees of freedom: as wide as a t interval where the resamples are normal, and it keeps their
    skew and their range (Hesterberg 2015, What Teachers Should Know About the Bootstrap).

    Share of simulated 90 % intervals that held the true paired difference (days of 80 rows with a
    common shift, 600 replications, 400 at 28 days; standard error 0.012 to 0.015):

    =================  ======  ==========  =====  ========  =====
    metric             days    percentile  basic  expanded  t
    =================  ======  ==========  =====  ========  =====
    average precision  7       0.838       0.767  0.912     0.885
    average precision  14      0.887       0.845  0.917     0.907
    average precision  28      0.872       0.858  0.898     0.882
    log loss           7       0.815       0.812  0.895     0.905
    log loss           14      0.853       0.858  0.888     0.890
    log loss           28      0.872       0.875  0.880     0.885
    =================  ======  ==========  =====  ========  =====

    The interval is widened to contain the estimate, which matters for the calibration error: its
    resamples lie above it.

    Args:
        samples: Shape (resamples + 1,); the first is the estimate.
        days: Number of days (or blocks of days) resampled, at least 2.
        confidence: Two-sided level.

    Returns:
        The estimate; all NaN as soon as one resample is not finite.
    """
    from scipy.special import ndtr, stdtrit

    if days < 2 or not np.isfinite(samples).all():
        return Estimate(math.nan, math.nan, math.nan)
    tail = float(ndtr(stdtrit(days - 1, (1 - confidence) / 2) * math.sqrt(days / (days - 1))))
    value = float(samples[0])
    low, high = np.quantile(samples[1:], [tail, 1 - tail])
    return Estimate(value, min(float(low), value), max(float(high), value))


def lower_bound(samples: Floats, days: int, confidence: float) -> float:
    """Lower end of a Student interval on the spread of the resamples, for levels far out.

    Out there the resamples have no quantile to give: those of 14 days never lie below what the
    worst days among them leave, so that a stricter level would ask no more.

    Args:
        samples: Shape (resamples + 1,); the first is the estimate.
        days: Number of days (or blocks of days) resampled, at least 2.
        confidence: Two-sided level.

    Returns:
        The bound; NaN as soon as one resample is not finite.
    """
    from scipy.special import stdtrit

    if days < 2 or not np.isfinite(samples).all():
        return math.nan
    spread = float(samples[1:].std()) * math.sqrt(days / (days - 1))
    return float(samples[0]) + float(stdtrit(days - 1, (1 - confidence) / 2)) * spread


def evaluate(
    problem: Problem,
    examples: pd.DataFrame,
    scores: Mapping[str, npt.ArrayLike],
    *,
    resamples: int,
    confidence: float,
    seed: int,
    recipe_confidence: float = 0.995,
    block: int = 1,
) -> Evaluation:
    """Measure every scorer on the same examples and the same day resamples.

    Args:
        problem: What is predicted; names the metrics.
        examples: Holdout examples with their reserved columns.
        scores: Scorer to the scores of the examples, shape (rows,) or (rows, classes or levels).
        resamples: Bootstrap resamples of whole days.
        confidence: Two-sided level of the intervals.
        seed: Seed of the resamples.
        recipe_confidence: Two-sided level of ``Difference.lowest``.
        block: Days in a row that are resampled together.

    Raises:
        JudgementError: No scorer can be measured: empty holdout, fewer than two days, one class or
            a constant target, or a primary metric that is undefined on some resample, as where
            positives are so few that some days have none.
    """
    day, labels = _day_codes(examples)
    problem.check_examples(examples)
    usable, unusable = _usable_scores(problem, scores, len(examples))
    counts = day_counts(len(labels), resamples, seed, block)
    samples = problem.measure(examples, usable, day, counts, problem.metric_names)
    n_days = len(labels)
    clusters = max(2, n_days // block)
    metrics: dict[str, dict[str, Estimate]] = {}
    for scorer, measured in samples.items():
        estimates = {n: interval(values, clusters, confidence) for n, values in measured.items()}
        if not estimates[problem.primary].finite():
            raise JudgementError(
                f"{title(problem.primary)} of {scorer} is undefined on some resamples of the"
                f" {n_days} holdout days: too few of them have the outcomes it needs. A longer"
                " holdout in the spec has more"
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
                other: _difference(mine, theirs, greater, clusters, confidence, recipe_confidence)
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

    NaN where one day leaves the metric undefined. Unusable scorers are left out.
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

    NaN where they leave one undefined, such as where all are of one class.

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

    A group is resampled over the days on which it occurs. For a recommendation a slice has to
    describe the user, as each query must lie in one group.

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
        SpecError: A slice splits a query, has no column, or its function fails.
    """
    import pandas as pd

    scores, unusable = _usable_scores(problem, {"scorer": scorer, "other": other}, len(examples))
    if unusable:
        raise JudgementError("; ".join(f"{name}: {why}" for name, why in unusable.items()))
    results = []
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
                    part,
                    {name: score[chosen] for name, score in scores.items()},
                    resamples,
                    confidence,
                    seed,
                )
            mine, theirs, relative = measured or (math.nan, math.nan, None)
            results.append(SliceResult(slice_name(column), text, units, mine, theirs, relative))
    return tuple(results)


def _compare(
    problem: Problem,
    part: pd.DataFrame,
    scores: Mapping[str, Floats],
    resamples: int,
    confidence: float,
    seed: int,
) -> tuple[float, float, Estimate] | None:
    day, labels = np.unique(part["day"].to_numpy(), return_inverse=True)[::-1]
    if len(labels) < 2:
        return None
    counts = day_counts(len(labels), resamples, seed)
    samples = problem.measure(part, scores, day.astype(np.int64), counts, (problem.primary,))
    mine, theirs = (samples[name][problem.primary] for name in ("scorer", "other"))
    defined = np.isfinite(mine) & np.isfinite(theirs)
    if not defined[0] or defined.mean() < 0.95:
        return None
    relative = _relative(mine[defined], theirs[defined], problem.greater_is_better)
    return float(mine[0]), float(theirs[0]), interval(relative, len(labels), confidence)


def _difference(
    mine: Floats,
    theirs: Floats,
    greater: bool,
    days: int,
    confidence: float,
    recipe_confidence: float,
) -> Difference:
    better = mine - theirs if greater else theirs - mine
    return Difference(
        interval(better, days, confidence),
        interval(_relative(mine, theirs, greater), days, confidence),
        lower_bound(better, days, recipe_confidence),
    )


def _relative(mine: Floats, theirs: Floats, greater: bool) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return (mine - theirs if greater else theirs - mine) / np.abs(theirs)


def _day_codes(examples: pd.DataFrame) -> tuple[Ints, list[str]]:
    import pandas as pd

    if examples.empty:
        raise JudgementError("the holdout has no examples")
    codes, days = pd.factorize(examples["day"], sort=True)
    if (codes < 0).any():
        raise ValueError("examples: column day has missing values")
    if len(days) < 2:
        raise JudgementError("the holdout has 1 day; an interval over days needs at least 2")
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
