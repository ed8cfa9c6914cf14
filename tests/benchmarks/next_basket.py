"""Next-basket recommenders of the literature, and how they are judged there.

Written from the papers and from what the published code does, for ``grocers.py``:
TIFU-kNN (Hu et al., SIGIR 2020), its time-aware form and TAIWI (Romanov et al., RecSys 2023),
UP-CF (Faggioli et al., UMAP 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Scores = Callable[[slice], Floats]
"""Scores of a slice of the users, users x items."""

DAY = 86_400
TEN_WEEKS = 70 * DAY
"""The unit in which TAIWI counts time."""
BLOCK = 400
"""How many users are scored at a time."""


@dataclass(frozen=True)
class Log:
    """Lines of receipts as codes, in order of user and time.

    A basket is what a user buys in one second.

    Attributes:
        user: User code of each line.
        item: Item code of each line.
        time: Seconds of each line.
        ago: Which of the user's baskets it is, counted from the last, which is 0.
        users: How many users there are.
        items: How many items there are.
    """

    user: Ints
    item: Ints
    time: Ints
    ago: Ints
    users: int
    items: int

    @classmethod
    def of(cls, user: Ints, item: Ints, time: Ints) -> Log:
        """Sort lines and number their baskets."""
        order = np.lexsort((time, user))
        user, item, time = user[order], item[order], time[order]
        fresh = np.ones(len(user), dtype=bool)
        fresh[1:] = (user[1:] != user[:-1]) | (time[1:] != time[:-1])
        basket = np.cumsum(fresh) - 1
        last = np.zeros(int(user.max()) + 1, dtype=np.int64)
        last[user] = basket
        return cls(user, item, time, last[user] - basket, len(last), int(item.max()) + 1)

    def before(self, ago: int) -> Log:
        """What was known before the basket ``ago``, which is the last one of what is left."""
        kept = self.ago > ago
        parts = (self.user[kept], self.item[kept], self.time[kept], self.ago[kept] - ago - 1)
        return Log(*parts, self.users, self.items)

    def basket(self, ago: int) -> Any:
        """Lines of each item in the basket ``ago``, users x items."""
        kept = self.ago == ago
        pairs = (self.user[kept], self.item[kept])
        return csr_matrix((np.ones(kept.sum()), pairs), (self.users, self.items))

    def matrix(self, weight: npt.ArrayLike = 1.0, *, once: bool = False) -> Any:
        """Weights summed by user and item; ``once`` counts an item once a basket."""
        user, item = self.user, self.item
        weight = np.broadcast_to(np.asarray(weight, dtype=np.float64), len(user))
        if once:
            basket = self.ago * self.users + user
            _, kept = np.unique(basket * self.items + item, return_index=True)
            user, item, weight = user[kept], item[kept], weight[kept]
        return csr_matrix((weight, (user, item)), (self.users, self.items))

    def baskets(self) -> Ints:
        """How many baskets each user has."""
        count = np.zeros(self.users, dtype=np.int64)
        np.maximum.at(count, self.user, self.ago + 1)
        return count


def last_time(log: Log) -> Ints:
    """Time of each user's last basket, 0 where there is none."""
    time = np.zeros(log.users, dtype=np.int64)
    np.maximum.at(time, log.user, log.time)
    return time


def group_weights(baskets: Ints, ago: Ints, groups: int, within: float, across: float) -> Floats:
    """TIFU-kNN's weight of a basket: ``within`` per basket and ``across`` per group, back in time.

    Args:
        baskets: How many baskets the user of each entry has.
        ago: Which basket each entry is, counted from the last.
        groups: Into how many groups of like size a user's baskets fall, the larger ones last.
        within: Decay from one basket to the one before.
        across: Decay from one group to the one before.
    """
    number = np.minimum(groups, baskets)
    size, larger = np.divmod(baskets, number)
    in_larger = ago < larger * (size + 1)
    group = np.where(in_larger, ago // (size + 1), larger + (ago - larger * (size + 1)) // size)
    return within**ago * across**group / (np.where(in_larger, size + 1, size) * number)


def tifu_vectors(log: Log, groups: int, within: float, across: float) -> Any:
    """A user's items, each weighted as its baskets are."""
    weight = group_weights(log.baskets()[log.user], log.ago, groups, within, across)
    return log.matrix(weight, once=True)


def timed_tifu_vectors(log: Log, days: int, within: float, across: float) -> Any:
    """The same with groups of so many days, and a decay with the logarithm of the days in them."""
    past = (last_time(log)[log.user] - log.time) / DAY
    group = (past // days).astype(np.int64)
    baskets = np.unique(np.column_stack([log.user, group, log.ago]), axis=0)[:, :2]
    filled, size = np.unique(baskets, axis=0, return_counts=True)
    sizes = csr_matrix((size, (filled[:, 0], filled[:, 1])))
    number = np.bincount(filled[:, 0], minlength=log.users)[log.user]
    weight = across**group * within ** np.log1p(past - group * days)
    return log.matrix(weight / (np.asarray(sizes[log.user, group]).ravel() * number), once=True)


def nearest(asked: Any, known: Any, count: int) -> Any:
    """Each asked user's ``count`` neighbours by cosine, each with a weight of ``1 / count``."""
    similarity = (_unit(asked) @ _unit(known).T).toarray()
    best = np.argpartition(similarity, -count, axis=1)[:, -count:]
    rows = np.repeat(np.arange(len(best)), count)
    return csr_matrix((np.full(best.size, 1 / count), (rows, best.ravel())), similarity.shape)


def knn(own: Any, known: Any, count: int, alpha: float) -> Scores:
    """``alpha`` of the user's own vector, the rest of the mean of the neighbours' vectors."""
    near = nearest(own, known, count)
    return lambda rows: alpha * own[rows].toarray() + (1 - alpha) * (near[rows] @ known).toarray()


def up_cf(log: Log, recent: int, alpha: float, power: float, count: int) -> Scores:
    """Share of the last baskets that had the item, summed over like users.

    Args:
        log: What is known.
        recent: How many of a user's last baskets count.
        alpha: Exponent of the user's number of items in the asymmetric cosine; the other user's
            has the rest of 1.
        power: Exponent of the likeness.
        count: How many users count, the user included.
    """
    window = np.minimum(log.baskets(), recent)
    share = (log.ago < recent) / window[log.user]
    wanted = log.matrix(share, once=True)
    wanted.eliminate_zeros()
    has = (wanted > 0).astype(np.float64)
    size = np.maximum(np.asarray(has.sum(axis=1)).ravel(), 1)
    like = (has @ has.T).toarray() / (size[:, None] ** alpha * size ** (1 - alpha))
    best = np.argpartition(like, -count, axis=1)[:, -count:]
    near = np.take_along_axis(like, best, axis=1) ** power
    rows = np.repeat(np.arange(len(best)), count)
    weights = csr_matrix((near.ravel(), (rows, best.ravel())), like.shape)
    return lambda rows: (weights[rows] @ wanted).toarray()


def mean_gap(log: Log) -> float:
    """Mean time from one purchase of an item by a user to the next, in units of ten weeks."""
    order, start = _of_pairs(log)
    time = log.time[order]
    again = np.flatnonzero(start < np.arange(len(time)))
    gap = time[again] - time[again - 1]
    return float(gap[gap > 0].mean() / TEN_WEEKS)


def first_curves(items: int, gap: float, seed: int) -> Floats:
    """Where TAIWI starts: share of the normal, its mean and width, and the exponential's mean.

    Returns:
        4 x items; share and mean a little unlike from item to item.
    """
    random = np.random.default_rng(seed)
    share, mean = random.normal(0.5, 0.01, items), random.normal(gap, 0.01, items)
    return np.stack([share, mean, np.ones(items), np.ones(items)])


def curve(curves: Floats, item: Ints, past: Floats) -> tuple[Floats, Floats]:
    """TAIWI's weight of a purchase: an exponential that fades, and a normal that comes back.

    Args:
        curves: Parameters of each item, as ``first_curves`` makes them.
        item: Item of each purchase.
        past: How long ago it was, in units of ten weeks.

    Returns:
        The weights, and their derivatives by the four parameters.
    """
    share, mean, width, fade = curves[:, item]
    share, width, fade = np.clip(share, 0, 1), np.maximum(width, 1e-10), np.maximum(fade, 1e-10)
    away = (past - mean) / width
    bell = np.exp(-0.5 * away**2) / (width * np.sqrt(2 * np.pi))
    tail = np.exp(-past / fade) / fade
    slopes = (
        bell - tail,
        share * bell * away / width,
        share * bell * (away**2 - 1) / width,
        (1 - share) * tail * (past / fade - 1) / fade,
    )
    return (1 - share) * tail + share * bell, np.stack(slopes)


def timed_vectors(log: Log, curves: Floats, now: Ints) -> Any:
    """TAIWI's vectors of the users, each at its own moment."""
    past = np.maximum((now[log.user] - log.time) / TEN_WEEKS, 1e-10)
    return log.matrix(curve(curves, log.item, past)[0])


def fit_curves(
    log: Log,
    judged: Callable[[Floats], float],
    *,
    seed: int,
    rate: float,
    batch: int,
    epochs: int = 20,
    patience: int = 3,
) -> Floats:
    """Learn each item's curve from the purchases that were bought before.

    The loss of a purchase is ``log(1 + exp(-score))``: the published pairwise loss, where the
    other item is one that the user never bought, whose score is 0. Adam; the epoch that
    ``judged`` likes best is kept, and ``patience`` worse ones in a row end the search.
    """
    order, start = _of_pairs(log)
    item, time = log.item[order], log.time[order]
    same = np.concatenate([[False], (time[1:] == time[:-1]) & (start[1:] == start[:-1])])
    earlier = np.maximum.accumulate(np.where(same, 0, np.arange(len(time))))
    learned = np.flatnonzero(earlier > start)
    curves = first_curves(log.items, mean_gap(log), seed)
    random = np.random.default_rng(seed)
    slope, square, step = np.zeros_like(curves), np.zeros_like(curves), 0
    best, highest, worse = curves, -np.inf, 0
    for _ in range(epochs):
        random.shuffle(learned)
        for first in range(0, len(learned), batch):
            now = learned[first : first + batch]
            length = earlier[now] - start[now]
            click = np.repeat(np.arange(len(now)), length)
            place = np.arange(len(click)) - np.repeat(np.cumsum(length) - length, length)
            past = (time[now][click] - time[start[now][click] + place]) / TEN_WEEKS
            code = item[now][click]
            weight, slopes = curve(curves, code, past)
            pull = -1 / (1 + np.exp(np.bincount(click, weight))) / len(now)
            found = [np.bincount(code, pull[click] * each, log.items) for each in slopes]
            gradient, step = np.stack(found), step + 1
            slope = 0.9 * slope + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            size = np.sqrt(square / (1 - 0.999**step)) + 1e-8
            curves = curves - rate * slope / (1 - 0.9**step) / size
        value = judged(curves)
        if value >= highest:
            best, highest, worse = curves, value, 0
        else:
            worse += 1
        if worse == patience:
            break
    return best


def best_items(scores: Scores, users: int, items: int, count: int = 10, seed: int = 0) -> Ints:
    """The ``count`` best items of each user; equal ones in an order drawn by lot."""
    lot = np.random.default_rng(seed).permutation(items)
    found = []
    for first in range(0, users, BLOCK):
        block = scores(slice(first, first + BLOCK))[:, lot]
        best = np.argpartition(-block, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(block, best, axis=1), axis=1, kind="stable")
        found.append(lot[np.take_along_axis(best, order, axis=1)])
    return np.concatenate(found)


def recall_and_ndcg(best: Ints, basket: Any) -> tuple[Floats, Floats]:
    """Of each user: share of the basket's lines found, and NDCG whose ideal is the whole basket.

    Args:
        best: Items in order, users x places.
        basket: Lines of each item in the basket, users x items.
    """
    rows = np.arange(len(best))[:, None]
    hits = np.asarray(basket[rows, best].todense()) > 0
    size = np.asarray(basket.sum(axis=1)).ravel().astype(np.int64)
    gain = 1 / np.log2(np.arange(max(best.shape[1], size.max())) + 2)
    return hits.sum(axis=1) / size, hits @ gain[: best.shape[1]] / np.cumsum(gain)[size - 1]


def interval(values: Floats, draws: int = 1000) -> tuple[float, float]:
    """95 % bootstrap interval of a mean over users."""
    drawn = np.random.default_rng(0).integers(len(values), size=(draws, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def shelf(best: Ints, basket: Any, known: Any) -> dict[str, float]:
    """What a list of ten does beside repeating.

    Returns:
        ``discoveries``: share of what users buy for the first time that is found, over the users
        who do; ``offered``: share of places given to items the user never had; ``coverage``: share
        of all items that are on any list; ``largest``: share of the users who get the item that
        most get.
    """
    rows = np.arange(len(best))[:, None]
    had = np.asarray(known[rows, best].todense()) > 0
    bought = (basket > 0).astype(np.int64)
    first = bought - bought.multiply(known > 0)
    count = np.asarray(first.sum(axis=1)).ravel()
    hits = (np.asarray(first[rows, best].todense()) > 0).sum(axis=1)
    shown = np.bincount(best.ravel(), minlength=basket.shape[1])
    return {
        "discoveries": float((hits[count > 0] / count[count > 0]).mean()),
        "offered": float(1 - had.mean()),
        "coverage": float((shown > 0).mean()),
        "largest": float(shown.max() / len(best)),
    }


def _of_pairs(log: Log) -> tuple[Ints, Ints]:
    """Lines in order of user, item and time, and where the lines of each one's pair start."""
    order = np.lexsort((log.time, log.item, log.user))
    key = log.user[order] * log.items + log.item[order]
    fresh = np.concatenate([[True], key[1:] != key[:-1]])
    return order, np.maximum.accumulate(np.where(fresh, np.arange(len(key)), 0))


def _unit(matrix: Any) -> Any:
    norm = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = csr_matrix((1 / np.maximum(norm, 1e-12), (np.arange(len(norm)),) * 2))
    return scale @ matrix
