"""Plots for one kind of problem: probabilities, classes, numbers, intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.problems.classification import Classification, Multiclass
from tasks.problems.regression import Regression
from tasks.reporting.plots import BLUE, GREY, date_axis, legend_outside, new_figure, styles, to_png

if TYPE_CHECKING:
    import pandas as pd

    from tasks.problems.base import Problem


POINTS = 300
DOTS = 2_000
"""Most dots in a plot of rows."""
WORDS = 14
"""Most characters of a class name beside its row."""


def draw_problem(
    problem: Problem, examples: pd.DataFrame, scores: Mapping[str, npt.NDArray[Any]]
) -> dict[str, bytes]:
    """Plots for this kind of problem: title to PNG; empty for a kind without its own.

    Args:
        problem: What is predicted.
        examples: The holdout.
        scores: Scores by role, ``challenger`` among them.
    """
    target = examples["target"].to_numpy()
    said = scores.get("challenger")
    drawn = {}
    if isinstance(problem, Classification):
        drawn["Calibration"] = calibration(target, scores)
        drawn["Precision and recall"] = precision_recall(target, scores)
    elif isinstance(problem, Multiclass):
        drawn["Calibration"] = calibration_of_likeliest(target, scores)
        if said is not None:
            names = [str(name) for name in problem.classes]
            drawn["Confusion"] = confusion(target, said.argmax(axis=1), names)
    elif isinstance(problem, Regression):
        if said is not None:
            drawn["Predicted against actual"] = predicted(target, problem.middle(said))
        if problem.quantiles:
            expected = problem.quantiles[-1] - problem.quantiles[0]
            day = examples["day"].to_numpy()
            drawn["Coverage"] = coverage_by_day(day, target, scores, expected)
    return drawn


def calibration(
    target: npt.ArrayLike, scores: Mapping[str, npt.ArrayLike], bins: int = 10
) -> bytes:
    """Predicted probability against observed share, in bins of equally many rows.

    Args:
        target: Shape (rows,), 0 or 1.
        scores: Scorer to probabilities, shape (rows,).
        bins: Number of bins; equal scores share one.
    """
    truth = np.asarray(target, dtype=np.float64)
    given = {name: np.asarray(score, dtype=np.float64) for name, score in scores.items()}
    return _calibration(dict.fromkeys(given, truth), given, bins, "Calibration")


def precision_recall(target: npt.ArrayLike, scores: Mapping[str, npt.ArrayLike]) -> bytes:
    """Precision over recall of every scorer with different scores, with the base rate.

    Args:
        target: Shape (rows,), 0 or 1.
        scores: Scorer to scores, shape (rows,).
    """
    figure, axes = new_figure(5.6, 3.8)
    truth = np.asarray(target, dtype=np.float64)
    for (name, given), (colour, _) in zip(scores.items(), styles(scores), strict=True):
        score = np.asarray(given, dtype=np.float64)
        order = np.argsort(-score, kind="stable")
        last = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
        hits = np.cumsum(truth[order])[last]
        if not hits[-1] or len(last) < 2:
            continue
        recall, precision = hits / hits[-1], hits / (last + 1)
        kept = np.unique(np.linspace(0, len(last) - 1, min(POINTS, len(last))).astype(int))
        axes.plot(recall[kept], precision[kept], color=colour, linewidth=1.6, label=name)
    base = float(truth.mean())
    axes.axhline(base, color=GREY, linewidth=1, linestyle="--", label=f"base rate {base:.2f}")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("recall: share of positives found")
    axes.set_ylabel("precision: share of found that is positive")
    axes.set_title("Precision and recall")
    axes.legend(frameon=False, fontsize=8)
    return to_png(figure)


def calibration_of_likeliest(
    target: npt.ArrayLike, scores: Mapping[str, npt.NDArray[Any]]
) -> bytes:
    """Predicted probability of the likeliest class against the share in which it was right.

    Scorers with different likeliest classes are right on different rows, so each has its own panel;
    the panels share their axes.

    Args:
        target: Shape (rows,), codes of the classes.
        scores: Scorer to probabilities, shape (rows, classes).
    """
    truth = np.asarray(target)
    right = {name: score.argmax(axis=1) == truth for name, score in scores.items()}
    likeliest = {name: score.max(axis=1) for name, score in scores.items()}
    return _calibration(right, likeliest, 10, "Calibration of the likeliest class")


def confusion(target: npt.ArrayLike, said: npt.ArrayLike, names: Sequence[str]) -> bytes:
    """Confusion matrix: predicted classes of the rows of each class, in percent of the class.

    Args:
        target: Shape (rows,), codes of the classes.
        said: Shape (rows,), codes of the likeliest classes.
        names: Name of each class; of more than 20 the 20 most frequent are shown.
    """
    classes = len(names)
    cell = np.asarray(target, dtype=np.int64) * classes + np.asarray(said, dtype=np.int64)
    counts = np.bincount(cell, minlength=classes**2).reshape(classes, classes)
    kept = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:20])
    rows = counts.sum(axis=1)[kept]
    share = 100 * counts[np.ix_(kept, kept)] / np.maximum(rows, 1)[:, None]
    shown = [name if len(name) <= WORDS else f"{name[: WORDS - 1]}…" for name in names]
    shown = [shown[code].replace("$", r"\$") for code in kept]
    size = 0.34 * len(kept) + 2.2
    figure, axes = new_figure(max(size + 0.8, 4.4), size)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    if len(kept) <= 12:
        for row, column in np.ndindex(*share.shape):
            axes.annotate(
                f"{share[row, column]:.0f}",
                (column, row),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share[row, column] > 55 else "black",
            )
    axes.grid(visible=False)
    axes.set_xticks(range(len(kept)), shown, rotation=45, ha="right")
    labels = [f"{name}  ({n:,})" for name, n in zip(shown, rows.tolist(), strict=True)]
    axes.set_yticks(range(len(kept)), labels)
    axes.set_xlabel("taken for")
    axes.set_ylabel("was")
    axes.set_title("Confusion, % of each class")
    return to_png(figure)


def predicted(target: npt.ArrayLike, score: npt.ArrayLike) -> bytes:
    """Predicted against actual value, of some rows evenly spread, within their middle 99 %.

    Args:
        target: Shape (rows,).
        score: Shape (rows,).
    """
    truth, said = np.asarray(target, dtype=np.float64), np.asarray(score, dtype=np.float64)
    chosen = np.unique(np.linspace(0, len(truth) - 1, min(DOTS, len(truth))).astype(int))
    low, high = np.quantile(np.concatenate([truth[chosen], said[chosen]]), [0.005, 0.995])
    room = 0.03 * (high - low) or 1.0
    figure, axes = new_figure(4.8, 4.4)
    axes.plot(
        said[chosen], truth[chosen], color=BLUE, marker=".", markersize=4, alpha=0.35,
        linestyle="none",
    )  # fmt: skip
    axes.plot([low, high], [low, high], color="black", linewidth=0.8, linestyle=":")
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(low - room, high + room)
    axes.set_aspect("equal")
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    axes.set_title("Predicted against actual")
    return to_png(figure)


def coverage_by_day(
    day: npt.NDArray[Any],
    target: npt.ArrayLike,
    scores: Mapping[str, npt.NDArray[Any]],
    expected: float,
) -> bytes:
    """Share of each day's rows whose label is in the outer interval.

    Args:
        day: Shape (rows,), dates.
        target: Shape (rows,).
        scores: Scorer to quantiles, shape (rows, levels).
        expected: Share that the interval should hold.
    """
    figure, axes = new_figure(7.2, 3.2)
    truth = np.asarray(target, dtype=np.float64)
    days, code = np.unique(day.astype("datetime64[D]"), return_inverse=True)
    for (name, score), (colour, marker) in zip(scores.items(), styles(scores), strict=True):
        inside = (score[:, 0] <= truth) & (truth <= score[:, -1])
        share = np.bincount(code, inside) / np.bincount(code)
        axes.plot(
            days.astype(object),
            share,
            color=colour,
            marker=marker,
            markersize=4,
            linewidth=1.6,
            linestyle="--" if name == "baseline" else "-",
            label=name,
        )
    axes.axhline(expected, color=GREY, linewidth=1, linestyle=":", label=f"expected {expected:g}")
    axes.set_ylim(0, 1.03)
    date_axis(axes)
    axes.set_ylabel("share inside")
    axes.set_title("Coverage of the interval on each holdout day")
    legend_outside(axes)
    return to_png(figure)


def _calibration(
    truths: Mapping[str, npt.NDArray[Any]],
    scores: Mapping[str, npt.NDArray[Any]],
    bins: int,
    heading: str,
) -> bytes:
    figure, axes = new_figure(4.8, 4.2)
    top = 0.0
    for (name, score), (colour, marker) in zip(scores.items(), styles(scores), strict=True):
        cell = np.searchsorted(
            np.quantile(score, np.linspace(0, 1, bins + 1)[1:-1]), score, "right"
        )
        count = np.bincount(cell)
        filled = count > 0
        expected = np.bincount(cell, score)[filled] / count[filled]
        observed = np.bincount(cell, truths[name])[filled] / count[filled]
        top = max(top, expected.max(), observed.max())
        axes.plot(
            expected, observed, color=colour, marker=marker, markersize=5, linewidth=1.4, label=name
        )
    top = min(1.0, top * 1.05)
    axes.plot([0, top], [0, top], color="black", linewidth=0.8, linestyle=":", label="perfect")
    axes.set_xlim(0, top)
    axes.set_ylim(0, top)
    axes.set_aspect("equal")
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("observed share")
    axes.set_title(heading)
    axes.legend(frameon=False, fontsize=8)
    return to_png(figure)
