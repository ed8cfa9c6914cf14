"""Metrics under a bootstrap of whole days: every figure with an interval, every difference paired.

A resample is a row of day counts, so each metric is a function of ``counts`` (resamples x days)
and costs far less than scoring the drawn rows again: sums per day and one matrix product where the
metric is a mean, one sort where it is a ranking.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    pass

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LESS_IS_BETTER = frozenset(
    {
        "log_loss",
        "brier",
        "calibration_error",
        "mean_absolute_error",
        "root_mean_squared_error",
        "median_absolute_error",
    }
)
CALIBRATION_BINS = 10
BLOCK_CELLS = 250_000


class JudgementError(Exception):
    """The holdout or the scores do not allow a judgement; the message says why."""


def title(metric: str) -> str:
    """Name of a metric for people: ``ndcg_10`` gives ``NDCG@10``."""
    spelled = {"ndcg": "NDCG", "roc_auc": "ROC AUC", "brier": "Brier score", "r2": "R²"}
    text = re.sub("|".join(spelled), lambda found: spelled[found[0]], metric)
    return re.sub(r"_(\d+)", r"@\1", text).replace("_", " ")


def greater_is_better(metric: str) -> bool:
    """Orientation of a metric of this module."""
    return metric not in LESS_IS_BETTER


def binary_metrics(
    target: npt.ArrayLike, score: Floats, day: Ints, counts: Floats, names: Sequence[str]
) -> dict[str, Floats]:
    """Metrics of probabilities for a 0/1 target, one value per row of ``counts``.

    Names: average_precision, roc_auc, log_loss, brier, calibration_error. All equal scikit-learn's
    on the drawn rows; the calibration error is the expected one over ten equal-count bins cut once.

    Args:
        target: Shape (rows,), 0 or 1.
        score: Shape (rows,), probabilities of 1.
        day: Shape (rows,), codes 0 to days - 1.
        counts: Shape (resamples, days), non-negative.
        names: Metrics wanted.

    Returns:
        Metric to shape (resamples,); NaN where undefined.
    """
    days = counts.shape[1]
    truth = np.asarray(target, dtype=np.float64)
    rows = counts @ np.bincount(day, minlength=days)
    measured: dict[str, Floats] = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for name in names:
            if name == "average_precision":
                measured[name] = _average_precision(truth, score, day, counts)
            elif name == "roc_auc":
                measured[name] = _roc_auc(truth, score, day, counts)
            elif name == "log_loss":
                epsilon = np.finfo(np.float64).eps
                sure = np.clip(score, epsilon, 1 - epsilon)
                loss = -np.log(np.where(truth == 1, sure, 1 - sure))
                measured[name] = counts @ np.bincount(day, loss, days) / rows
            elif name == "brier":
                measured[name] = counts @ np.bincount(day, (score - truth) ** 2, days) / rows
            elif name == "calibration_error":
                edges = np.quantile(score, np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1])
                cell = day * CALIBRATION_BINS + np.searchsorted(edges, score, side="right")
                gaps = np.bincount(cell, score - truth, days * CALIBRATION_BINS)
                gap = np.abs(counts @ gaps.reshape(days, CALIBRATION_BINS)).sum(axis=1)
                measured[name] = gap / rows
            else:
                raise ValueError(f"unknown metric {name!r}")
    return measured


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
    return np.asarray(((counts @ wins) * counts).sum(axis=1) / (positives * negatives))


def regression_metrics(
    target: npt.ArrayLike, score: Floats, day: Ints, counts: Floats, names: Sequence[str]
) -> dict[str, Floats]:
    """Metrics of a numeric target, one value per row of ``counts``.

    Names: mean_absolute_error, root_mean_squared_error, median_absolute_error, r2; all equal
    scikit-learn's on the drawn rows. Shapes as in ``binary_metrics``; ``counts`` whole numbers.
    """
    days = counts.shape[1]
    truth = np.asarray(target, dtype=np.float64)
    error = np.abs(truth - score)
    rows = counts @ np.bincount(day, minlength=days)
    measured: dict[str, Floats] = {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for name in names:
            if name == "mean_absolute_error":
                measured[name] = counts @ np.bincount(day, error, days) / rows
            elif name == "root_mean_squared_error":
                measured[name] = np.sqrt(counts @ np.bincount(day, error**2, days) / rows)
            elif name == "median_absolute_error":
                measured[name] = _median(error, day, counts)
            elif name == "r2":
                centred = truth - truth.mean()
                mean = counts @ np.bincount(day, centred, days) / rows
                spread = counts @ np.bincount(day, centred**2, days) - rows * mean**2
                measured[name] = 1 - counts @ np.bincount(day, error**2, days) / spread
            else:
                raise ValueError(f"unknown metric {name!r}")
    return measured


def _median(values: Floats, day: Ints, counts: Floats) -> Floats:
    order = np.argsort(values)
    ordered, day = values[order], day[order]
    seen = np.zeros((len(day), counts.shape[1]), dtype=np.int32)
    seen[np.arange(len(day)), day] = 1
    np.cumsum(seen, axis=0, out=seen)
    drawn = counts @ seen[-1]

    def at(rank: Floats) -> Floats:
        low = np.zeros(len(counts), dtype=np.int64)
        high = np.full(len(counts), len(day) - 1)
        while (low < high).any():
            middle = (low + high) // 2
            reached = np.einsum("bd,bd->b", seen[middle], counts) >= rank
            high = np.where(reached, middle, high)
            low = np.where(reached, low, np.minimum(middle + 1, high))
        return ordered[low]

    median = (at(np.ceil(drawn / 2)) + at(np.floor(drawn / 2) + 1)) / 2
    return np.where(drawn > 0, median, np.nan)


@dataclass(frozen=True)
class Ranking:
    """The queries that candidates are ranked in, one entry per candidate row.

    Attributes:
        query: Code of the (day, user) pair.
        tie: Order among equal scores, independent of the label and of the row's place.
        target: 1 where the item was bought.
        relevant: Items the user bought that day, candidates or not; constant in a query.
        day: Day codes; constant in a query.
        repeat: Whether the user had bought the item before, or None where the spec does not say.
    """

    query: Ints
    tie: npt.NDArray[np.uint64]
    target: npt.NDArray[np.bool_]
    relevant: Floats
    day: Ints
    repeat: npt.NDArray[np.bool_] | None


def ranking_metrics(
    ranking: Ranking,
    scores: Mapping[str, Floats],
    counts: Floats,
    names: Sequence[str],
    k: int,
    recall_k: int,
) -> dict[str, dict[str, Floats]]:
    """Means over queries of ranking metrics, scorer to metric to one value per row of ``counts``.

    ``ndcg_K``: binary relevance, ideal gain from min(K, relevant) items, so that a bought item
    missing from the candidates counts as missed. ``recall_K``: share of ``relevant`` found in the
    first K. ``recall_K_from_repeats`` and ``..._from_discoveries``: the parts of ``recall_K`` owed
    to items bought before and never before; they add up to it. ``ndcg_K_among_repeats`` and
    ``..._among_discoveries``: candidates of that sort ranked by themselves, the ideal being their
    bought candidates, over the queries that have one; it judges order, not coverage.

    Raises:
        ValueError: A query has more bought candidates than ``relevant``.
    """
    days = counts.shape[1]
    sums = {(s, n): np.zeros(days) for s in scores for n in names}
    queries = {n: np.zeros(days) for n in names}
    for day, relevant, block in _query_blocks(ranking):
        kinds = {"": block.target}
        if block.repeat is not None:
            kinds |= {
                "repeats": block.target & block.repeat,
                "discoveries": block.target & ~block.repeat & block.filled,
            }
        bought = {kind: hits.sum(axis=1) for kind, hits in kinds.items()}
        if (bought[""] > relevant).any():
            raise ValueError("a query has more bought candidates than its column relevant says")
        ideals = {kind: _ideal(n, k) for kind, n in bought.items()} | {"": _ideal(relevant, k)}
        for name in names:
            judged = bought[name.split("_among_")[1]] > 0 if "_among_" in name else relevant > 0
            queries[name] += np.bincount(day, judged, days)
        for scorer, score in scores.items():
            values = _query_values(block, score, relevant, ideals, k, recall_k)
            for name in names:
                sums[scorer, name] += np.bincount(day, values[name], days)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            s: {n: (counts @ sums[s, n]) / (counts @ queries[n]) for n in names} for s in scores
        }


@dataclass(frozen=True)
class _Block:
    rows: Ints
    filled: npt.NDArray[np.bool_]
    target: npt.NDArray[np.bool_]
    repeat: npt.NDArray[np.bool_] | None


def _query_blocks(ranking: Ranking) -> Iterator[tuple[Ints, Floats, _Block]]:
    """Queries of similar length as padded matrices, in tie order, with their day and relevant."""
    order = np.lexsort((ranking.tie, ranking.query))
    ordered = ranking.query[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    lengths = np.diff(np.append(starts, len(order)))
    by_length = np.argsort(lengths, kind="stable")
    first = 0
    while first < len(by_length):
        stop = first + max(1, BLOCK_CELLS // int(lengths[by_length[first]]))
        chosen = by_length[first:stop]
        chosen = chosen[lengths[chosen] <= 2 * lengths[chosen[0]]]
        first += len(chosen)
        place = np.arange(lengths[chosen].max())
        filled = place < lengths[chosen, None]
        rows = order[np.where(filled, starts[chosen, None] + place, starts[chosen, None])]
        repeat = None if ranking.repeat is None else ranking.repeat[rows] & filled
        heads = order[starts[chosen]]
        yield (
            ranking.day[heads],
            ranking.relevant[heads],
            _Block(rows, filled, ranking.target[rows] & filled, repeat),
        )


def _query_values(
    block: _Block,
    score: Floats,
    relevant: Floats,
    ideals: Mapping[str, Floats],
    k: int,
    recall_k: int,
) -> dict[str, Floats]:
    falling = np.argsort(np.where(block.filled, -score[block.rows], np.inf), axis=1, kind="stable")
    hits = np.take_along_axis(block.target, falling, axis=1)
    query, place = np.nonzero(hits)
    size = len(relevant)
    needed = np.maximum(relevant, 1)
    found = place < recall_k
    values = {
        f"ndcg_{k}": np.bincount(query, _gain(place, k), size) / ideals[""],
        f"recall_{recall_k}": np.bincount(query, found, size) / needed,
    }
    if block.repeat is not None:
        repeat = np.take_along_axis(block.repeat, falling, axis=1)
        before = np.cumsum(repeat, axis=1)[query, place] - 1
        old = repeat[query, place]
        for kind, member, rank in (
            ("repeats", old, before),
            ("discoveries", ~old, place - before - 1),
        ):
            part = np.bincount(query, found & member, size)
            values[f"recall_{recall_k}_from_{kind}"] = part / needed
            gain = np.bincount(query, np.where(member, _gain(rank, k), 0.0), size)
            values[f"ndcg_{k}_among_{kind}"] = gain / ideals[kind]
    return values


def _gain(place: Ints, k: int) -> Floats:
    return np.where(place < k, 1 / np.log2(np.maximum(place, 0) + 2.0), 0.0)


def _ideal(relevant: npt.NDArray[Any], k: int) -> Floats:
    """Best gain of ``relevant`` items in ``k`` places; 1 for none, so that it can divide."""
    sums = np.concatenate([[1.0], np.cumsum(_gain(np.arange(k), k))])
    return np.asarray(sums[np.minimum(relevant, k).astype(np.int64)])
