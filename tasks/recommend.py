"""Recommenders over a log of purchases, and the estimators that rank their candidates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin

if TYPE_CHECKING:
    import pandas as pd

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Purchases:
    """A log of purchases as codes, seen from the morning of one day.

    Attributes:
        users: Id of each user code; the users asked for come first, in the order asked.
        items: Id of each item code.
        user: User code of each row.
        item: Item code of each row.
        age: Days before the day asked, 1 for yesterday; descending.
        asked: How many users were asked for; their codes are 0 to ``asked - 1``.
    """

    users: npt.NDArray[Any]
    items: npt.NDArray[Any]
    user: Ints
    item: Ints
    age: Ints
    asked: int

    @classmethod
    def encode(
        cls, requests: pd.DataFrame, history: pd.DataFrame, user: str, item: str
    ) -> Purchases:
        """Code a history for the users of one day's requests.

        Args:
            requests: ``day``, one day in all rows, and ``user``, each once.
            history: ``day``, ``user`` and ``item``, ascending by day, all before that day.
            user: Name of the user column.
            item: Name of the item column.

        Raises:
            ValueError: Where the history reaches into the day asked or is not sorted.
        """
        import pandas as pd

        ids = np.concatenate([requests[user].to_numpy(), history[user].to_numpy()])
        codes, users = pd.factorize(ids)
        items, unique_items = pd.factorize(history[item].to_numpy())
        today = requests["day"].to_numpy(dtype="datetime64[D]")[:1]
        age = (today - history["day"].to_numpy(dtype="datetime64[D]")).astype(np.int64)
        if len(age) and (age[-1] < 1 or (np.diff(age) > 0).any()):
            raise ValueError("history must be sorted by day and end before the day asked")
        asked = len(requests)
        return cls(users, unique_items, codes[asked:], items, age, asked)

    def recent(self, days: int) -> slice:
        """Rows of the last ``days`` days."""
        return slice(len(self.age) - int(np.searchsorted(self.age[::-1], days, "right")), None)

    def coarser(self, group: npt.NDArray[Any]) -> tuple[Purchases, Ints]:
        """The same log with a group of items, such as their category, in place of the item.

        Args:
            group: Group of each row's item.

        Returns:
            The log, and the group code of each item code (of its last row).
        """
        import pandas as pd

        row = np.zeros(len(self.items), dtype=np.int64)
        row[self.item] = np.arange(len(self.item))
        of_item, groups = pd.factorize(group[row])
        return replace(self, items=groups, item=of_item[self.item]), of_item

    def of_asked(self) -> Purchases:
        """The rows of the users asked for alone, under the same codes."""
        mine = self.user < self.asked
        return replace(self, user=self.user[mine], item=self.item[mine], age=self.age[mine])

    def decay(self, half_life: float) -> npt.NDArray[np.float64]:
        """Weight of each row: a half per ``half_life`` days of age."""
        table: npt.NDArray[np.float64] = 0.5 ** (np.arange(self.age.max(initial=0) + 1) / half_life)
        return table[self.age]

    def trips(self, users: int | None = None) -> npt.NDArray[np.bool_]:
        """Whether each user, or each of the first ``users``, bought anything: users x age."""
        count = len(self.users) if users is None else users
        went = np.zeros((count, int(self.age.max(initial=0)) + 2), dtype=bool)
        mine = self.user < count
        went[self.user[mine], self.age[mine]] = True
        return went

    def trip_rank(self, went: npt.NDArray[np.bool_]) -> Ints:
        """Later trips of the same user, for each row: 0 on the user's last trip."""
        later = np.cumsum(went, axis=1, dtype=np.int16) - went
        rank: Ints = later[self.user, self.age].astype(np.int64)
        return rank


class Popularity(BaseEstimator):  # type: ignore[misc]
    """Purchases of an item over the last ``days`` days, the same for each user."""

    def __init__(self, days: int = 7) -> None:
        self.days = days

    def fit(self, purchases: Purchases) -> Popularity:
        """Count; a row is one purchase."""
        rows = purchases.recent(self.days)
        self.counts_ = np.bincount(purchases.item[rows], minlength=len(purchases.items))
        return self

    def score(self, user: Ints, item: Ints) -> Floats:  # noqa: ARG002
        """Score of each (user, item) pair of codes."""
        return self.counts_[item].astype(np.float32)


class PersonalFrequency(BaseEstimator):  # type: ignore[misc]
    """Purchases of an item by the user, each halved every ``half_life`` days."""

    def __init__(self, half_life: float = 60.0) -> None:
        self.half_life = half_life

    def fit(self, purchases: Purchases) -> PersonalFrequency:
        """Sum the decayed purchases of the users asked for."""
        self.matrix_ = asked_matrix(purchases, purchases.decay(self.half_life))
        return self

    def score(self, user: Ints, item: Ints) -> Floats:
        """Score of each (user, item) pair of codes."""
        return lookup(self.matrix_, user, item)


class TifuKnn(BaseEstimator):  # type: ignore[misc]
    """Personal frequency in two levels of decay, mixed with that of similar users.

    Hu, He, Gao, Zhang: Modeling Personalized Item Frequency Information for Next-basket
    Recommendation, SIGIR 2020. A user's baskets, from the last one back, fall into groups of
    ``group``; a purchase weighs ``within`` to the power of its place in the group times
    ``across`` to the power of its group, averaged over baskets and groups. Neighbours are sought,
    and add their vectors, among the ``common`` items that most users bought; cosine similarity.
    """

    def __init__(
        self,
        group: int = 3,
        within: float = 0.9,
        across: float = 0.6,
        neighbours: int = 300,
        own: float = 0.7,
        common: int = 2000,
    ) -> None:
        self.group = group
        self.within = within
        self.across = across
        self.neighbours = neighbours
        self.own = own
        self.common = common

    def fit(self, purchases: Purchases) -> TifuKnn:
        """Build the user vectors and the neighbourhoods of the users asked for."""
        went = purchases.trips()
        weight = self._weights(purchases.trip_rank(went), went.sum(axis=1)[purchases.user])
        self.vectors_ = asked_matrix(purchases, weight)
        self.column_, self.dense_ = dense_matrix(purchases, weight, self.common)
        asked = purchases.asked
        norm = np.linalg.norm(self.dense_, axis=1, keepdims=True)
        unit = self.dense_ / np.maximum(norm, 1e-12)
        similarity = unit[:asked] @ unit.T
        similarity[np.arange(asked), np.arange(asked)] = -1.0
        count = min(self.neighbours, len(unit) - 1)
        near = np.zeros_like(similarity)
        if count > 0:
            best = np.argpartition(similarity, -count, axis=1)[:, -count:]
            np.put_along_axis(near, best, np.float32(1 / count), axis=1)
        self.neighbours_ = near @ self.dense_
        return self

    def score(self, user: Ints, item: Ints) -> Floats:
        """Score of each (user, item) pair of codes."""
        others = np.float32(1 - self.own) * self.score_neighbours(user, item)
        return np.float32(self.own) * lookup(self.vectors_, user, item) + others

    def score_neighbours(self, user: Ints, item: Ints) -> Floats:
        """The neighbours' part alone."""
        return lookup_dense(self.neighbours_, self.column_, user, item)

    def _weights(self, rank: Ints, trips: Ints) -> npt.NDArray[np.float64]:
        place = np.arange(int(trips.max(initial=0)) + 1)
        decay = self.within ** (place % self.group) * self.across ** (place // self.group)
        size = np.minimum(self.group, trips - rank // self.group * self.group)
        weight: npt.NDArray[np.float64] = decay[rank] / (size * -(-trips // self.group))
        return weight


class LatentFactors(BaseEstimator):  # type: ignore[misc]
    """Truncated SVD of the users' decayed, log-scaled frequencies over the ``common`` items.

    Randomized range finder with one power iteration (Halko, Martinsson, Tropp, SIAM Review 2011).
    """

    def __init__(
        self, factors: int = 32, half_life: float = 120.0, common: int = 2000, seed: int = 0
    ) -> None:
        self.factors = factors
        self.half_life = half_life
        self.common = common
        self.seed = seed

    def fit(self, purchases: Purchases) -> LatentFactors:
        """Factorize and rebuild the rows of the users asked for."""
        weight = purchases.decay(self.half_life)
        self.column_, dense = dense_matrix(purchases, weight, self.common)
        rows = np.log1p(dense)
        rows /= np.maximum(np.sqrt(np.linalg.norm(rows, axis=1, keepdims=True)), 1e-6)
        random = np.random.default_rng(self.seed)
        start = random.standard_normal((rows.shape[1], min(self.factors, *rows.shape)))
        basis = np.linalg.qr(rows.T @ (rows @ (rows.T @ (rows @ start.astype(np.float32)))))[0]
        self.scores_ = (rows[: purchases.asked] @ basis) @ basis.T
        return self

    def score(self, user: Ints, item: Ints) -> Floats:
        """Score of each (user, item) pair of codes."""
        return lookup_dense(self.scores_, self.column_, user, item)


class RankBy(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Rank candidates by one feature column; learns nothing."""

    def __init__(self, column: str) -> None:
        self.column = column

    def fit(self, X: pd.DataFrame, y: npt.NDArray[Any]) -> RankBy:  # noqa: N803
        """Check that the column is there.

        Raises:
            ValueError: Where it is not; names the columns found.
        """
        if self.column not in X:
            raise ValueError(f"RankBy: no column {self.column!r} among {', '.join(X.columns)}")
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X: pd.DataFrame) -> npt.NDArray[np.float64]:  # noqa: N803
        """Scores squeezed into 0 to 1; their order is the column's, they are no probabilities."""
        value = X[self.column].to_numpy(dtype=np.float64)
        score = 0.5 + 0.5 * value / (1.0 + np.abs(value))
        return np.column_stack([1 - score, score])

    def predict(self, X: pd.DataFrame) -> npt.NDArray[np.int64]:  # noqa: N803
        """1 where the squeezed score is above a half."""
        return (self.predict_proba(X)[:, 1] > 0.5).astype(np.int64)


def dense_matrix(
    purchases: Purchases, weight: npt.NDArray[np.float64], common: int
) -> tuple[Ints, Floats]:
    """Summed weights of each user for the items most often bought.

    Returns:
        Column of each item, -1 where it has none, and the matrix of all users x columns.
    """
    count = np.bincount(purchases.item, minlength=len(purchases.items))
    chosen = np.sort(np.argsort(-count, kind="stable")[:common])
    column = np.full(len(purchases.items), -1, dtype=np.int64)
    column[chosen] = np.arange(len(chosen))
    place = column[purchases.item]
    inside = place >= 0
    shape = (len(purchases.users), len(chosen))
    key = purchases.user[inside] * len(chosen) + place[inside]
    sums = np.bincount(key, weight[inside], shape[0] * shape[1])
    return column, sums.astype(np.float32).reshape(shape)


def lookup(matrix: Any, user: Ints, item: Ints) -> Floats:
    """Values of a sparse matrix at (user, item) pairs, 0 where it has none."""
    if not len(user):  # of no pairs SciPy gives a matrix
        return np.zeros(0, dtype=np.float32)
    return np.asarray(matrix[user, item], dtype=np.float32).ravel()


def lookup_dense(matrix: Floats, column: Ints, user: Ints, item: Ints) -> Floats:
    """Values of a matrix over common items at (user, item) pairs, 0 for uncommon items."""
    if not matrix.size:
        return np.zeros(len(user), dtype=np.float32)
    place = column[item]
    return np.where(place >= 0, matrix[user, place], np.float32(0))


def asked_matrix(purchases: Purchases, weight: npt.NDArray[Any]) -> Any:
    """Summed weights of the users asked for as a sparse matrix, asked users x items."""
    from scipy.sparse import csr_matrix

    mine = purchases.user < purchases.asked
    pairs = (purchases.user[mine], purchases.item[mine])
    return csr_matrix(
        (weight[mine].astype(np.float32), pairs), (purchases.asked, len(purchases.items))
    )
