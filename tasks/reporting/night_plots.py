"""The pictures of a night's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tasks.evaluation.estimates import Estimate
from tasks.evaluation.evaluate import evaluate_days
from tasks.monitoring import drift
from tasks.reporting import plots
from tasks.reporting.problem_plots import draw_problem

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from tasks.evaluation.estimates import Evaluation, SliceResult
    from tasks.monitoring.drift import Shift
    from tasks.reporting.wording import Report
    from tasks.spec.model_spec import ModelSpec


def draw_plots(
    spec: ModelSpec,
    holdout: pd.DataFrame,
    scores: Mapping[str, np.ndarray],
    challenger: str,
    figures: Evaluation,
    slices: Sequence[SliceResult],
    relied: Mapping[str, float],
) -> dict[str, bytes]:
    """The pictures of a night: title to PNG."""

    metric = figures.metric
    shown = {name: figures.metrics[name] for name in figures.metrics}
    sign = -1 if figures.greater_is_better else 1
    order = sorted(shown, key=lambda name: sign * shown[name][metric].value)
    roles = {"challenger": challenger, "champion": "champion", "baseline": "baseline"}
    compared = {role: scores[name] for role, name in roles.items() if name in scores}
    drawn = {
        "Candidates": plots.candidates(
            metric, {name: shown[name][metric] for name in order}, challenger
        ),
        "Day by day": plots.metric_by_day(metric, evaluate_days(spec.problem, holdout, compared)),
    }
    if any(result.relative for result in slices):
        drawn["Slices"] = plots.slices(slices, spec.gate.slice_tolerance)
    drawn |= draw_problem(spec.problem, holdout, compared)
    drawn["Inputs"] = plots.feature_importance(list(relied), list(relied.values()))
    return drawn


def draw_drift(shifts: Sequence[Shift]) -> dict[str, bytes]:
    """The picture of the columns that moved most: title to PNG."""

    return {"Drift": plots.drift(shifts, drift.LARGE)}


def draw_nights(reports: Sequence[Report]) -> dict[str, bytes]:
    """The picture of the last nights, from two on that were judged: title to PNG."""

    judged = [report for report in reports if "challenger" in report["metrics"]]
    if len(judged) < 2:
        return {}
    metric = judged[-1]["metric"]
    nights = {
        report["as_of"]: Estimate(**report["metrics"]["challenger"][metric])
        for report in judged
        if metric in report["metrics"]["challenger"]
    }
    promoted = [report["as_of"] for report in judged if report["verdict"] == "PROMOTED"]
    return {"Nights": plots.nights(metric, nights, promoted)}
