"""Metrics of two classes and of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.metrics.base import BLOCK_CELLS, daily_mean

if TYPE_CHECKING:
    from tasks.metrics.base import Floats, Ints


CALIBRATION_BINS = 10


def binary_metrics(
    target: npt.ArrayLike,
    score: Floats,
    day: Ints,
    counts: Floats,
    names: Sequence[str],
    threshold: float = 0.5,
) -> dict[str, Floats]:
    """Metrics of probabilities for a 0/1 target, one value per row of ``counts``.

    Names: average_precision, roc_auc, log_loss, brier, calibration_error, and of the decision at
    the threshold precision, recall, f1 and share_flagged. All equal scikit-learn's on the drawn
    rows, with a precision of 0 where nothing is flagged; the calibration error is the expected one
    over ten equal-count bins cut once.

    Args:
        target: Shape (rows,), 0 or 1.
        score: Shape (rows,), probabilities of 1.
        day: Shape (rows,), codes 0 to days - 1.
        counts: Shape (resamples, days), non-negative.
        names: Metrics wanted.
        threshold: Probability from which a row is flagged.

    Returns:
        Metric to shape (resamples,); NaN where undefined.
    """
    truth = np.asarray(target, dtype=np.float64)
    measured: dict[str, Floats] = {}
    for name in names:
        if name == "average_precision":
            measured[name] = _average_precision(truth, score, day, counts)
        elif name == "roc_auc":
            measured[name] = _roc_auc(truth, score, day, counts)
        elif name == "log_loss":
            sure = np.where(truth == 1, score, 1 - score)
            measured[name] = daily_mean(_surprise(sure), day, counts)
        elif name == "brier":
            measured[name] = daily_mean((score - truth) ** 2, day, counts)
        elif name == "calibration_error":
            measured[name] = _calibration_error(truth, score, day, counts)
        elif name in DECIDED:
            measured[name] = _decision(name, truth, score >= threshold, day, counts)
        else:
            raise ValueError(f"unknown metric {name!r}")
    return measured


DECIDED = ("precision", "recall", "f1", "share_flagged")
"""Metrics of a yes/no decision."""


def class_metrics(
    target: npt.ArrayLike, score: Floats, day: Ints, counts: Floats, names: Sequence[str]
) -> dict[str, Floats]:
    """Metrics of probabilities for one of several classes, one value per row of ``counts``.

    Names: log_loss, accuracy, balanced_accuracy, f1_macro, roc_auc (one against the rest, macro),
    calibration_error (of the likeliest class). All equal scikit-learn's on the drawn rows, over
    the classes that occur among them.

    Args:
        target: Shape (rows,), codes of the classes.
        score: Shape (rows, classes), probabilities.
        day: Shape (rows,), codes 0 to days - 1.
        counts: Shape (resamples, days), non-negative.
        names: Metrics wanted.

    Returns:
        Metric to shape (resamples,); NaN where undefined.
    """
    truth = np.asarray(target, dtype=np.int64)
    said = score.argmax(axis=1)
    right = (said == truth).astype(np.float64)
    measured: dict[str, Floats] = {}
    for name in names:
        if name == "log_loss":
            sure = _surprise(score[np.arange(len(truth)), truth])
            measured[name] = daily_mean(sure, day, counts)
        elif name == "accuracy":
            measured[name] = daily_mean(right, day, counts)
        elif name in ("balanced_accuracy", "f1_macro"):
            measured[name] = _over_classes(name, truth, said, score.shape[1], day, counts)
        elif name == "roc_auc":
            each = [
                _roc_auc((truth == code) * 1.0, score[:, code], day, counts)
                for code in range(score.shape[1])
            ]
            measured[name] = _mean_of_defined(np.column_stack(each))
        elif name == "calibration_error":
            measured[name] = _calibration_error(right, score.max(axis=1), day, counts)
        else:
            raise ValueError(f"unknown metric {name!r}")
    return measured


def _surprise(probability: Floats) -> Floats:
    """Loss of the probability given to what happened, bounded as in scikit-learn."""
    epsilon = np.finfo(np.float64).eps
    return np.asarray(-np.log(np.clip(probability, epsilon, 1 - epsilon)))


def _calibration_error(truth: Floats, score: Floats, day: Ints, counts: Floats) -> Floats:
    days = counts.shape[1]
    edges = np.quantile(score, np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1])
    cell = day * CALIBRATION_BINS + np.searchsorted(edges, score, side="right")
    gaps = np.bincount(cell, score - truth, days * CALIBRATION_BINS)
    gap = np.abs(counts @ gaps.reshape(days, CALIBRATION_BINS)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(gap / (counts @ np.bincount(day, minlength=days)))


def _decision(
    name: str, truth: Floats, flagged: npt.NDArray[np.bool_], day: Ints, counts: Floats
) -> Floats:
    def total(values: npt.NDArray[Any]) -> Floats:
        return np.asarray(counts @ np.bincount(day, values, counts.shape[1]))

    hits, flags, positives = total(truth * flagged), total(flagged), total(truth)
    with np.errstate(divide="ignore", invalid="ignore"):
        if name == "precision":
            return np.where(flags > 0, hits / np.maximum(flags, 1), 0.0)
        if name == "recall":
            return hits / positives
        if name == "f1":
            return 2 * hits / (flags + positives)
        return flags / total(np.ones_like(truth))


def _over_classes(
    name: str, truth: Ints, said: Ints, classes: int, day: Ints, counts: Floats
) -> Floats:
    """Recall or F1 of each class, averaged over those that occur."""
    days = counts.shape[1]

    def total(codes: Ints, rows: npt.NDArray[np.bool_]) -> Floats:
        cell = day[rows] * classes + codes[rows]
        return counts @ np.bincount(cell, minlength=days * classes).reshape(days, classes)

    every = np.ones(len(truth), dtype=bool)
    hits, there = total(truth, said == truth), total(truth, every)
    with np.errstate(divide="ignore", invalid="ignore"):
        if name == "balanced_accuracy":
            return _mean_of_defined(hits / there)
        return _mean_of_defined(2 * hits / (there + total(said, every)))


def _mean_of_defined(values: Floats) -> Floats:
    """Mean over the columns that are numbers, one value per row; NaN where there is none."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(axis=1) / known.sum(axis=1))


def _average_precision(truth: Floats, score: Floats, day: Ints, counts: Floats) -> Floats:
    days = counts.shape[1]
    order = np.argsort(-score, kind="stable")
    truth, score, day = truth[order], score[order], day[order]
    group = np.concatenate([[0], np.cumsum(score[1:] != score[:-1])])
    with_hit = np.bincount(group, truth) > 0
    steps = int(with_hit.sum())
    if steps == 0:
        return np.full(len(counts), np.nan)
    step: Ints = (np.cumsum(with_hit) - with_hit)[group]
    counted = step < steps
    cell = step[counted] * days + day[counted]
    seen = np.bincount(cell, minlength=steps * days).reshape(steps, days).cumsum(axis=0)
    hits = np.bincount(cell, truth[counted], steps * days).reshape(steps, days).cumsum(axis=0)
    weights = np.ascontiguousarray(counts.T)
    total = np.zeros(len(counts))
    before = np.zeros((1, len(counts)))
    size = max(1, BLOCK_CELLS // len(counts))
    for start in range(0, steps, size):
        found = hits[start : start + size] @ weights
        shown = np.maximum(seen[start : start + size] @ weights, np.finfo(np.float64).tiny)
        gained = np.diff(found, axis=0, prepend=before)
        before = found[-1:]
        found_share = np.divide(found, shown, out=shown)
        total += np.einsum("sb,sb->b", gained, found_share)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(total / before[0])


def _roc_auc(truth: Floats, score: Floats, day: Ints, counts: Floats) -> Floats:
    days = counts.shape[1]
    positive = np.flatnonzero(truth == 1)
    positive = positive[np.argsort(score[positive])]
    wins = np.empty((days, days))
    for other in range(days):
        negative = np.sort(score[(truth == 0) & (day == other)])
        below = np.searchsorted(negative, score[positive], side="left")
        up_to = np.searchsorted(negative, score[positive], side="right")
        wins[:, other] = np.bincount(day[positive], (below + up_to) / 2, days)
    positives = counts @ np.bincount(day, truth, days)
    negatives = counts @ np.bincount(day, 1 - truth, days)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(((counts @ wins) * counts).sum(axis=1) / (positives * negatives))
