"""Metrics of rankings, query by query, under a bootstrap of whole days."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.metrics.base import BLOCK_CELLS

if TYPE_CHECKING:
    from tasks.metrics.base import Floats, Ints


@dataclass(frozen=True)
class Ranking:
    """Ranking queries, one entry per item candidate.

    Attributes:
        query: Code of the (day, user) pair.
        tie: Order among equal scores, independent of the label and of the row's place.
        target: 1 where the item was bought.
        relevant: Items the user bought that day, item candidates or not; constant in a query.
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
    missing from the item candidates counts as missed. ``recall_K``: share of ``relevant`` found in
    the first K. ``recall_K_from_repeats`` and ``..._from_discoveries``: the parts of ``recall_K``
    owed to items bought before and never before; they add up to it. ``ndcg_K_among_repeats`` and
    ``..._among_discoveries``: item candidates of that kind ranked by themselves, the ideal being
    those that were bought, over the queries that have one; it measures order, not coverage.

    Raises:
        ValueError: A query has more bought item candidates than ``relevant``.
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
            raise ValueError(
                "a query has more bought item candidates than its column relevant says"
            )
        ideals = {kind: _ideal(n, k) for kind, n in bought.items()} | {"": _ideal(relevant, k)}
        for name in names:
            counted = bought[name.split("_among_")[1]] > 0 if "_among_" in name else relevant > 0
            queries[name] += np.bincount(day, counted, days)
        for scorer, score in scores.items():
            values = _query_values(block, score, relevant, ideals, k, recall_k)
            for name in names:
                sums[scorer, name] += np.bincount(day, values[name], days)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            s: {n: (counts @ sums[s, n]) / (counts @ queries[n]) for n in names} for s in scores
        }


def keep_places(
    query: Ints,
    tie: npt.NDArray[np.uint64],
    score: Floats,
    kept: npt.NDArray[np.bool_],
    k: int,
    count: int,
) -> Floats:
    """Scores for the order in which at least ``count`` of a query's first ``k`` entries are kept.

    The best kept entries below the first ``k`` take the places of the last others among them,
    which come next; all else stays in its order. Where a query has fewer kept entries, it has all
    of them among the first ``k``.

    Args:
        query: Code of each entry's query.
        tie: Order among equal scores.
        score: Scores before.
        kept: Entries for which places are kept.
        k: Places that are looked at.
        count: How many of them are kept, at most ``k``.
    """
    order = np.lexsort((tie, -score, query))
    new = np.concatenate([[True], query[order][1:] != query[order][:-1]])[: len(order)]
    starts: Ints = np.flatnonzero(new)
    group: Ints = np.cumsum(new) - 1
    place, mine = np.arange(len(order)) - starts[group], kept[order]
    first = place < k

    def so_far(chosen: npt.NDArray[np.bool_]) -> Ints:
        """How many of a query are chosen up to and with each entry."""
        counted: Ints = np.cumsum(chosen)
        return np.asarray(counted - (counted - chosen)[starts][group])

    def in_all(chosen: npt.NDArray[np.bool_]) -> Ints:
        """How many of its query are chosen, for each entry."""
        return np.asarray(np.bincount(group, chosen, len(starts))[group].astype(np.int64))

    below, others = ~first & mine, first & ~mine
    risen = below & (so_far(below) <= count - in_all(first & mine))
    fallen = others & (so_far(others) > in_all(others) - in_all(risen))
    ahead = (first & ~fallen) | risen
    scores = np.empty(len(order))
    scores[order[np.lexsort((place, ~ahead, group))]] = -place
    return scores


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
