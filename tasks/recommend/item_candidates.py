"""Item candidates of a recommendation and their features, from the log alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.recommend import purchase_features, selection
from tasks.recommend.purchases import Purchases, asked_matrix
from tasks.recommend.recommenders import LatentFactors, PersonalFrequency, TifuKnn

if TYPE_CHECKING:
    import pandas as pd

    from tasks.recommend.purchases import Floats, Ints


RECENT = 30.0
"""Half-life of a row in days, for popularity and habits."""
USUAL = 10.0
"""Weight of the prior mean of ratings, in ratings."""


def candidates_of(
    requests: pd.DataFrame,
    history: pd.DataFrame,
    user: str,
    item: str,
    *,
    rating: str | None = None,
    liked: float | None = None,
    repeats: bool = True,
    count: int = 100,
) -> pd.DataFrame:
    """Items for each user asked, with features: ``features`` of a recommendation in one call.

    Item candidates are the user's own items, those of similar users (TIFU-kNN), those of latent
    factors and popular ones. A user who would have none gets the popular ones.

    Args:
        requests: ``day``, one day in all rows, and the user, each once.
        history: Clean rows of the days before, ascending by ``day``.
        user: Column of the user.
        item: Column of the item.
        rating: Column of the rating, where there is one: its means become features.
        liked: Least rating of an item that was wanted: only such rows count for popularity,
            similarity and repeats; the items of other rows are still known to the user.
        repeats: Whether an item that the user has had, in this history, may be proposed again.
        count: Most item candidates of a user.

    Returns:
        User, item and float32 features, among them ``popularity`` (a baseline), ``tifu_knn``,
        ``neighbours``, ``latent`` and, with repeats, ``frequency``, ``reorder`` and ``count``,
        which is above 0 for one. Without, these would be the same for all items.
    """
    import pandas as pd

    log = Purchases.encode(requests, history, user, item)
    stars = None if rating is None else history[rating].to_numpy(dtype=np.float64)
    wanted = log if stars is None or liked is None else _only(log, stars >= liked)
    own, popularity = wanted.of_asked(), _popularity(wanted)
    near = min(300, max(10, len(log.users) // 10))  # of few users all would be alike
    tifu, latent = TifuKnn(neighbours=near).fit(wanted), LatentFactors().fit(wanted)
    seen = None if repeats else _seen(log, tifu.column_)
    common = np.flatnonzero(tifu.column_ >= 0)
    shown = np.tile(popularity[common], (log.asked, 1))
    dense = [tifu.neighbours_, latent.scores_, shown]
    parts = [_best(each, tifu.column_, count // (6 if repeats else 3), seen) for each in dense]
    frequency = PersonalFrequency(half_life=2 * RECENT).fit(own) if repeats else None
    if frequency is not None:
        parts.append(selection.best_entries(frequency.matrix_, count // 2))
    without = np.setdiff1d(np.arange(log.asked), np.concatenate([who for who, _ in parts]))
    popular = np.argsort(-popularity, kind="stable")[:count]
    parts.append((np.repeat(without, len(popular)), np.tile(popular, len(without))))
    who, what = selection.union(log, *parts)
    columns = {
        "popularity": popularity[what],
        **({} if frequency is None else {"frequency": frequency.score(who, what)}),
        "tifu_knn": tifu.score(who, what),
        "neighbours": tifu.score_neighbours(who, what),
        "latent": latent.score(who, what),
    }
    for name in ("popularity", "tifu_knn", "latent"):
        share, rank = purchase_features.shares(columns[name], who, log.asked)
        columns |= {f"{name}_share": share, f"{name}_rank": rank}
    columns |= purchase_features.habits(own, who, what) if repeats else {}
    columns |= purchase_features.demand(wanted, what) | purchase_features.shopping(
        log.of_asked(), who
    )
    columns |= {} if stars is None else _ratings(log, who, what, stars)
    if not repeats:
        del columns["reorder"]
    return pd.DataFrame({user: log.users[who], item: log.items[what], **columns})


def _only(log: Purchases, rows: npt.NDArray[np.bool_]) -> Purchases:
    """Some rows of the log, with the same codes."""
    return replace(log, user=log.user[rows], item=log.item[rows], age=log.age[rows])


def _popularity(log: Purchases) -> Floats:
    """Decayed rows of each item, half per ``RECENT`` days: above zero even after a quiet month."""
    return np.bincount(log.item, log.decay(RECENT), len(log.items)).astype(np.float32)


def _seen(log: Purchases, column: Ints) -> npt.NDArray[np.bool_]:
    """Whether each requested user has had each common item."""
    matrix = asked_matrix(log, np.ones(len(log.item)))[:, np.flatnonzero(column >= 0)]
    return np.asarray(matrix.toarray() > 0)


def _best(
    scores: Floats, column: Ints, count: int, seen: npt.NDArray[np.bool_] | None
) -> tuple[Ints, Ints]:
    """The best items of each user among those not seen."""
    if seen is None:
        return selection.best_columns(scores, column, count)
    user, item = selection.best_columns(np.where(seen, -np.inf, scores), column, count)
    fresh = ~seen[user, column[item]]
    return user[fresh], item[fresh]


def _ratings(
    log: Purchases, user: Ints, item: Ints, rating: npt.NDArray[np.float64]
) -> purchase_features.Columns:
    """Mean ratings of the item and by the user, shrunk towards the mean of all."""
    known = np.isfinite(rating)
    usual = float(rating[known].mean()) if known.any() else 0.0
    found: dict[str, npt.NDArray[Any]] = {}
    for name, code, place, size in (
        ("item", log.item, item, len(log.items)),
        ("user", log.user, user, len(log.users)),
    ):
        times = np.bincount(code[known], minlength=size)
        total = np.bincount(code[known], rating[known], size)
        mean = (total + USUAL * usual) / (times + USUAL)
        found |= {f"{name}_rating": mean[place], f"{name}_ratings": times[place]}
    return {name: values.astype(np.float32) for name, values in found.items()}
