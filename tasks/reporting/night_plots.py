"""The plots of a night's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tasks.evaluation.estimates import Estimate
from tasks.evaluation.evaluate import evaluate_days
from tasks.monitoring import drift
from tasks.promotion.checks import Status
from tasks.promotion.verdict import BASELINE, CHAMPION
from tasks.reporting import plots
from tasks.reporting.problem_plots import draw_problem
from tasks.reporting.render import COMPARED

if TYPE_CHECKING:
    from tasks.monitoring.drift import Shift
    from tasks.promotion.verdict import Decision, Evidence
    from tasks.reporting.report_schema import Report
    from tasks.spec.model_spec import ModelSpec


def draw_plots(
    spec: ModelSpec, evidence: Evidence, decided: Decision, importances: Mapping[str, float]
) -> dict[str, bytes]:
    """The plots of a night that compared a challenger: title to PNG.

    Args:
        spec: The model.
        evidence: The holdout and the scores of each scorer.
        decided: The verdict with its figures.
        importances: Input to its importance for the challenger.
    """
    figures, challenger = decided.figures, decided.challenger
    if figures is None:
        return {}
    sign = -1 if figures.greater_is_better else 1
    order = sorted(figures.metrics, key=lambda name: sign * figures.primary(name).value)
    ranked = {name: figures.primary(name) for name in order}
    roles = {"challenger": challenger, CHAMPION: CHAMPION, BASELINE: BASELINE}
    compared = {
        role: evidence.scores[name] for role, name in roles.items() if name in evidence.scores
    }
    by_day = evaluate_days(spec.problem, evidence.holdout, compared)
    drawn = {
        COMPARED: plots.candidates(figures.metric, ranked, challenger),
        "Day by day": plots.metric_by_day(figures.metric, by_day),
    }
    if any(result.relative for result in decided.slices):
        drawn["Slices"] = plots.slices(decided.slices, spec.gate.slice_tolerance)
    drawn |= draw_problem(spec.problem, evidence.holdout, compared)
    every = len(spec.problem.inputs(evidence.holdout.head(0)).columns)
    drawn["Inputs"] = plots.feature_importance(list(importances), list(importances.values()), every)
    return drawn


def draw_drift(shifts: Sequence[Shift]) -> dict[str, bytes]:
    """The plot of the columns that drifted most: title to PNG."""

    return {"Drift": plots.drift(shifts, drift.LARGE)}


def draw_nights(reports: Sequence[Report]) -> dict[str, bytes]:
    """The plot of the last nights, if at least two compared a challenger: title to PNG."""

    compared = [report for report in reports if "challenger" in report["metrics"]]
    if len(compared) < 2:
        return {}
    metric = compared[-1]["metric"]
    nights = {
        report["as_of"]: Estimate(**report["metrics"]["challenger"][metric])
        for report in compared
        if metric in report["metrics"]["challenger"]
    }
    promoted = [report["as_of"] for report in compared if report["verdict"] == Status.PROMOTED]
    return {"Nights": plots.nights(metric, nights, promoted)}
