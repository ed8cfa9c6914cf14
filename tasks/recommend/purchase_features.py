"""Features of the item candidates of a day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.recommend.purchases import Floats

if TYPE_CHECKING:
    from tasks.recommend.purchases import Ints, Purchases


Columns = dict[str, Floats]
FAR = 999.0
"""Value for days or trips since something that never happened."""
OWN, USUAL = 2.0, 10.0
"""How many gaps of the others a user's and an item's mean gap hold."""


def habits(
    purchases: Purchases,
    user: Ints,
    item: Ints,
    half_lives: tuple[float, ...] = (7, 30, 60, 120),
    prefix: str = "",
) -> Columns:
    """How a user has bought an item so far: rates, recency, rhythm.

    Several rows of one user, item and day count once.

    Args:
        purchases: The log; ``item`` may as well be a category.
        user: User code of each item candidate, of requested users.
        item: Item code of each item candidate.
        half_lives: Days after which a purchase counts half, one rate each.
        prefix: Put before each name.

    Returns:
        ``count`` days bought on; ``count_28`` in 28 days; ``rate_H`` share of the user's decayed
        trips that had it; ``rate_last_T`` share of the last T trips; ``trip_rate`` with weights
        0.9 per trip; ``days_since`` and ``trips_since`` the last purchase; ``gap`` mean days and
        ``trip_gap`` mean trips between purchases; ``due`` and ``trip_due`` the time since over
        the gap; ``weekday_rate`` share of purchases on the weekday of the day asked.
    """
    mine = purchases.user < purchases.asked
    width = max(len(purchases.items), 1)
    key = purchases.user[mine] * width + purchases.item[mine]
    order = np.argsort(key, kind="stable")
    went = purchases.trips(purchases.asked)
    later = np.cumsum(went, axis=1, dtype=np.int32) - went
    key, age = key[order], purchases.age[mine][order]
    fresh = np.ones(len(key), dtype=bool)
    fresh[1:] = (key[1:] != key[:-1]) | (age[1:] != age[:-1])
    key, age = key[fresh], age[fresh]
    rank = later[key // width, age].astype(np.int64)

    start = np.ones(len(key), dtype=bool)
    start[1:] = key[1:] != key[:-1]
    pair = np.cumsum(start) - 1
    starts = np.flatnonzero(start)
    ends = np.append(starts[1:], len(key))[: len(starts)] - 1
    pairs = len(starts)

    def total(weight: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.bincount(pair, weight, pairs).astype(np.float64)

    trips = went.sum(axis=1).astype(np.float64)
    pair_user = key[starts] // width
    ages = np.arange(went.shape[1], dtype=np.float64)
    count = total(np.ones(len(key)))
    last, first = age[ends].astype(np.float64), age[starts].astype(np.float64)
    last_rank, first_rank = rank[ends].astype(np.float64), rank[starts].astype(np.float64)
    again = np.maximum(count - 1, 1)
    gap = np.where(count > 1, (first - last) / again, np.nan)
    trip_gap = np.where(count > 1, (first_rank - last_rank) / again, np.nan)
    previous = np.where(count > 1, age[np.maximum(ends - 1, 0)] - last, np.nan)
    found: dict[str, npt.NDArray[Any]] = {
        "count": count,
        "count_28": total(age <= 28),
        "days_since": last,
        "trips_since": last_rank,
        "days_known": first,
        "gap": gap,
        "last_gap": previous,
        "trip_gap": trip_gap,
        "due": last / gap,
        "trip_due": (last_rank + 1) / trip_gap,
        "weekday_rate": total(age % 7 == 0) / (count + 2),
        "since_known_rate": count / (first_rank + 3),
        "trip_rate": total(0.9**rank) / ((1 - 0.9 ** trips[pair_user]) / 0.1),
    }
    for span in (3, 10):
        found[f"rate_last_{span}"] = total(rank < span) / np.minimum(trips, span)[pair_user]
    for half_life in half_lives:
        decay = 0.5 ** (ages / half_life)
        base = (went @ decay)[pair_user]
        found[f"rate_{half_life:g}"] = total(decay[age]) / (base + 0.5)
    never = {"days_since": FAR, "trips_since": FAR, "days_known": 0.0}
    never |= dict.fromkeys(("gap", "last_gap", "trip_gap", "due", "trip_due"), np.nan)
    place = np.searchsorted(key[starts], user * width + item)
    place = np.minimum(place, max(pairs - 1, 0))
    known = (key[starts][place] == user * width + item) if pairs else np.zeros(len(user), bool)
    return {
        prefix + name: _spread(values, place, known, never.get(name, 0.0))
        for name, values in found.items()
    }


def rhythm(
    purchases: Purchases,
    user: Ints,
    item: Ints,
    since: Floats,
    group: Ints | None = None,
    prefix: str = "",
) -> Columns:
    """When a user is due for an item, where few purchases borrow from those of others.

    The logarithm of the days from one purchase to the next is taken as normal. A user's mean for an
    item is drawn to the item's, as by ``OWN`` gaps, and that to its group's, as by ``USUAL``; so is
    the variance around it. Several rows of one user, item and day count once.

    Args:
        purchases: The log of all users; ``item`` may as well be a category.
        user: User code of each item candidate.
        item: Item code of each item candidate.
        since: Days since the user's last purchase of each item candidate, ``FAR`` for never.
        group: Group of each item code, such as its kind; None where all are one.
        prefix: Put before each name.

    Returns:
        ``usual_log_gap`` and ``log_gap`` the means of the item and of the user, ``log_gap_spread``
        the user's standard deviation; ``late`` and ``usual_late`` how many standard deviations
        ``since`` is above either mean; ``due_today`` chance that a purchase that has not come until
        the evening before comes on the day asked.
    """
    from scipy.special import ndtr

    size, span = max(len(purchases.items), 1), int(purchases.age.max(initial=0)) + 1
    pair = purchases.user.astype(np.int64) * size + purchases.item
    when = np.sort(pair * span + (span - 1 - purchases.age))
    pair, step = when // span, np.diff(when)
    again = np.flatnonzero((pair[1:] == pair[:-1]) & (step > 0))
    gap, pair = np.log(step[again]), pair[again]
    fresh = np.ones(len(pair), dtype=bool)
    fresh[1:] = pair[1:] != pair[:-1]
    pairs, of = pair[fresh], np.cumsum(fresh) - 1
    count, bought = np.bincount(of, minlength=len(pairs)), pairs % size

    def per_item(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.bincount(bought, values, size).astype(np.float64)

    total, gaps = np.bincount(of, gap, len(pairs)), per_item(count)
    typical = gap.mean() if len(gap) else np.log(30.0)
    kinds = np.zeros(size, dtype=np.int64) if group is None else group
    kind_mean = (np.bincount(kinds, per_item(total)) + 2 * USUAL * typical) / (
        np.bincount(kinds, gaps) + 2 * USUAL
    )
    usual = (per_item(total) + USUAL * kind_mean[kinds]) / (gaps + USUAL)
    own = (total + OWN * usual[bought]) / (count + OWN)
    around = np.bincount(of, (gap - own[of]) ** 2, len(pairs))
    variance = around.sum() / len(gap) if len(gap) else 1.0
    usual_variance = (per_item(around) + USUAL * variance) / (gaps + USUAL)

    key = user * size + item
    place = np.minimum(np.searchsorted(pairs, key), max(len(pairs) - 1, 0))
    known = (pairs[place] == key) if len(pairs) else np.zeros(len(key), dtype=bool)

    def of_pair(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.where(known, values[place], 0.0) if len(pairs) else np.zeros(len(key))

    mean = (of_pair(total) + OWN * usual[item]) / (of_pair(count) + OWN)
    spread = (of_pair(around) + 2 * OWN * usual_variance[item]) / (of_pair(count) + 2 * OWN)
    spread = np.sqrt(np.maximum(spread, 1e-6))
    days = np.where(since >= FAR, np.nan, since).astype(np.float64)
    late, next_late = ((np.log(each) - mean) / spread for each in (days, days + 1))
    until = ndtr(late)
    found = {
        "usual_log_gap": usual[item],
        "log_gap": mean,
        "log_gap_spread": spread,
        "late": late,
        "usual_late": (np.log(days) - usual[item])
        / np.sqrt(np.maximum(usual_variance[item], 1e-6)),
        "due_today": (ndtr(next_late) - until) / np.maximum(1 - until, 1e-3),
    }
    return {prefix + name: values.astype(np.float32) for name, values in found.items()}


def demand(purchases: Purchases, item: Ints, spans: tuple[int, ...] = (1, 3, 7, 28, 84)) -> Columns:
    """How all users buy an item.

    Returns:
        ``sold_D`` purchases per day over D days; ``trend_D`` those of the last D days over
        those of the longest span; ``weekday_lift`` the share on the weekday asked times 7;
        ``buyers`` different users and ``reorder`` purchases per buyer, over the longest span.
    """
    import pandas as pd

    size = len(purchases.items)
    found: dict[str, npt.NDArray[Any]] = {}
    for span in spans:
        rows = purchases.recent(span)
        found[f"sold_{span}"] = np.bincount(purchases.item[rows], minlength=size) / span
    longest = found[f"sold_{spans[-1]}"]
    for span in spans[1:-1]:
        found[f"trend_{span}"] = (found[f"sold_{span}"] + 0.05) / (longest + 0.05)
    rows = purchases.recent(spans[-1])
    same = purchases.item[rows][purchases.age[rows] % 7 == 0]
    found["weekday_lift"] = (7 * np.bincount(same, minlength=size) / spans[-1] + 0.1) / (
        longest + 0.1
    )
    pairs = pd.unique(purchases.user[rows] * max(size, 1) + purchases.item[rows])
    buyers = np.bincount(pairs % max(size, 1), minlength=size)
    found["reorder"] = longest * spans[-1] / np.maximum(buyers, 1)
    found["buyers"] = buyers
    return {name: values[item].astype(np.float32) for name, values in found.items()}


def shopping(purchases: Purchases, user: Ints) -> Columns:
    """How each user shops.

    Returns:
        ``user_trips`` and those of 28 days; ``user_days_since`` the last trip; ``user_basket``
        mean items a trip; ``user_last_basket`` items of the last trip; ``user_items`` different
        items; ``user_weekday_rate`` share of trips on the weekday asked.
    """
    asked = purchases.asked
    mine = purchases.user < asked
    code, age = purchases.user[mine], purchases.age[mine]
    went = purchases.trips(asked)
    trips = went.sum(axis=1)
    lines = np.bincount(code, minlength=asked)
    last = np.where(trips > 0, went.argmax(axis=1), FAR)
    last_lines = np.bincount(code, age == last[code], asked)
    weekdays = np.arange(went.shape[1]) % 7 == 0
    recent = np.bincount(code, age <= 56, asked) / np.maximum(went[:, :57].sum(axis=1), 1)
    found: dict[str, npt.NDArray[Any]] = {
        "user_trips": trips,
        "user_trips_28": went[:, :29].sum(axis=1),
        "user_days_since": last,
        "user_basket": lines / np.maximum(trips, 1),
        "user_basket_56": recent,
        "user_last_basket": last_lines,
        "user_weekday_rate": (went @ weekdays.astype(np.float64)) / np.maximum(trips, 1),
    }
    return {name: values[user].astype(np.float32) for name, values in found.items()}


def offers(
    purchases: Purchases,
    user: Ints,
    item: Ints,
    value: npt.NDArray[Any],
    discount: npt.NDArray[Any],
    quantity: npt.NDArray[Any],
) -> Columns:
    """What an item costs, whether it is on offer, and whether the user buys offers.

    Args:
        purchases: The log.
        user: User code of each item candidate.
        item: Item code of each item candidate.
        value: Money paid in each row of the log.
        discount: Money off in each row of the log.
        quantity: Pieces in each row of the log.

    Returns:
        ``price`` a piece and ``discount_D`` money off over full price in D days; ``offer`` how
        much larger that is in 7 days than in 84; ``user_discount``, ``own_quantity`` a purchase,
        ``own_offers`` share of the user's purchases of the item that were on offer.
    """
    size, mine = len(purchases.items), purchases.user < purchases.asked
    full = value + discount

    def over(days: int, weight: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        rows = purchases.recent(days)
        return np.bincount(purchases.item[rows], weight[rows], size).astype(np.float64)

    usual = (over(84, discount) + 0.01) / (over(84, full) + 0.1)
    now = {days: (over(days, discount) + 0.1 * usual) / (over(days, full) + 0.1) for days in (3, 7)}
    found: dict[str, npt.NDArray[Any]] = {
        "price": (over(84, value) / np.maximum(over(84, quantity), 1))[item],
        "discount_84": usual[item],
        "discount_7": now[7][item],
        "discount_3": now[3][item],
        "offer": (now[7] - usual)[item],
    }
    code = purchases.user[mine]
    paid = np.bincount(code, full[mine], purchases.asked)
    saved = np.bincount(code, discount[mine], purchases.asked)
    found["user_discount"] = (saved / np.maximum(paid, 0.1))[user]
    weights = (np.ones(len(code)), quantity[mine], discount[mine] > 0)
    times, pieces, offered = _own_totals(purchases, user, item, mine, weights)
    found["own_quantity"] = pieces / np.maximum(times, 1)
    found["own_offers"] = offered / np.maximum(times, 1)
    return {name: values.astype(np.float32) for name, values in found.items()}


def _own_totals(
    purchases: Purchases,
    user: Ints,
    item: Ints,
    mine: npt.NDArray[np.bool_],
    weights: Sequence[npt.NDArray[Any]],
) -> list[Floats]:
    """Summed weights of the user's own rows of each item candidate; rows are those of ``mine``."""
    import pandas as pd

    size = max(len(purchases.items), 1)
    wanted, where = np.unique(user * size + item, return_inverse=True)
    key = purchases.user[mine] * size + purchases.item[mine]
    place = pd.Index(wanted).get_indexer(pd.Index(key))
    rows = np.flatnonzero(place >= 0)
    place = place[rows]
    sums = (np.bincount(place, weight[rows], len(wanted)) for weight in weights)
    return [each[where].astype(np.float32) for each in sums]


def local_demand(
    purchases: Purchases, user: Ints, item: Ints, place: npt.NDArray[Any], half_life: float = 30.0
) -> Columns:
    """How an item sells in the place, such as a store, where the user buys most of late.

    Args:
        purchases: The log.
        user: User code of each item candidate.
        item: Item code of each item candidate.
        place: Place of each row of the log.
        half_life: Half-life of a purchase in days, for finding the user's place.

    Returns:
        ``place_7`` and ``place_28``: purchases there in so many days; ``place_share``: those of 28
        days over all purchases there.
    """
    import pandas as pd

    code, places = pd.factorize(place)
    size, count, asked = max(len(purchases.items), 1), max(len(places), 1), purchases.asked
    mine = purchases.user < asked
    key = purchases.user[mine] * count + code[mine]
    visits = np.bincount(key, 0.5 ** (purchases.age[mine] / half_life), asked * count)
    home = visits.reshape(asked, count).argmax(axis=1)
    known = visits.reshape(asked, count).max(axis=1) > 0
    wanted = home[user] * size + item
    found: dict[str, npt.NDArray[Any]] = {}
    for days in (7, 28):
        rows = purchases.recent(days)
        sold = np.sort(code[rows] * size + purchases.item[rows])
        times = np.searchsorted(sold, wanted, "right") - np.searchsorted(sold, wanted)
        found[f"place_{days}"] = times * known[user]
    sales = np.bincount(code[purchases.recent(28)], minlength=count)
    found["place_share"] = found["place_28"] / np.maximum(sales[home[user]], 1)
    return {name: values.astype(np.float32) for name, values in found.items()}


def shares(values: Floats, user: Ints, asked: int) -> tuple[Floats, Floats]:
    """A score over the user's largest, and its rank among the user's item candidates, best 1.

    Args:
        values: Score of each item candidate.
        user: User code of each item candidate, ascending.
        asked: How many users there are.
    """
    largest = np.full(asked, 1e-12, dtype=np.float32)
    np.maximum.at(largest, user, values)
    order = np.lexsort((-values, user))
    rank = np.empty(len(user), dtype=np.float32)
    rank[order] = np.arange(len(user)) - np.searchsorted(user, user) + 1
    return values / largest[user], rank


def _spread(
    values: npt.NDArray[Any], place: Ints, known: npt.NDArray[np.bool_], otherwise: float
) -> Floats:
    if not len(values):
        return np.full(len(place), otherwise, dtype=np.float32)
    return np.where(known, values[place], otherwise).astype(np.float32)
