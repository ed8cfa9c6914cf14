"""The best few of many pairs of user and item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tasks.recommend.purchases import Floats, Ints, Purchases


def best_pairs(user: Ints, item: Ints, score: Floats, count: int) -> tuple[Ints, Ints]:
    """The ``count`` best (user, item) pairs of each user; ties go to the lower item code."""
    order = np.lexsort((item, -score, user))
    ordered = user[order]
    first = np.searchsorted(ordered, ordered)
    kept = order[np.arange(len(order)) - first < count]
    return user[kept], item[kept]


def best_entries(matrix: Any, count: int) -> tuple[Ints, Ints]:
    """The ``count`` largest entries of each row of a sparse matrix."""
    entries = matrix.tocoo()
    user, item = entries.row.astype(np.int64), entries.col.astype(np.int64)
    return best_pairs(user, item, entries.data, count)


def best_columns(scores: Floats, column: Ints, count: int) -> tuple[Ints, Ints]:
    """The ``count`` best items of each row of a dense score matrix over common items."""
    count = min(count, scores.shape[1])
    if count == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    best = np.argpartition(scores, -count, axis=1)[:, -count:]
    item = np.flatnonzero(column >= 0)[best]
    return np.repeat(np.arange(len(scores)), count), item.ravel()


def for_everyone(asked: int, items: Ints) -> tuple[Ints, Ints]:
    """The same items for each user."""
    return np.repeat(np.arange(asked), len(items)), np.tile(items, asked)


def union(purchases: Purchases, *pairs: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    """Each (user, item) pair once, ordered by user and item code."""
    width = max(len(purchases.items), 1)
    key = np.unique(np.concatenate([user * width + item for user, item in pairs]))
    user, item = np.divmod(key, width)
    return user, item
