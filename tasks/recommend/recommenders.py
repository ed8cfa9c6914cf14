"""Estimators that recommend from purchases alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from tasks.recommend.purchases import asked_matrix, dense_matrix, lookup, lookup_dense

if TYPE_CHECKING:
    from tasks.recommend.purchases import Floats, Ints, Purchases


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
        """Weight of each row, by the place of its trip from the last one back, and their number."""
        place = np.arange(int(trips.max(initial=0)) + 1)
        decay = self.within ** (place % self.group) * self.across ** (place // self.group)
        size = np.minimum(self.group, place - place[:, None] // self.group * self.group)
        groups = np.maximum(-(-place // self.group), 1)
        table: npt.NDArray[np.float64] = decay[:, None] / (np.maximum(size, 1) * groups)
        return table[rank, trips]


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
        shape = rows.shape[1], min(self.factors, *rows.shape)
        basis = random.standard_normal(shape).astype(np.float32)
        for _ in range(2):  # orthonormal in between: else single precision loses what is small
            basis = np.linalg.qr(rows.T @ (rows @ basis))[0]
        self.scores_ = (rows[: purchases.asked] @ basis) @ basis.T
        return self

    def score(self, user: Ints, item: Ints) -> Floats:
        """Score of each (user, item) pair of codes."""
        return lookup_dense(self.scores_, self.column_, user, item)
