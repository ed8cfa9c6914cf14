"""A log of purchases as codes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

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
    _cells: dict[int, tuple[Ints, npt.NDArray[np.bool_], Ints]] = field(
        default_factory=dict, init=False, repr=False
    )

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
            ValueError: Where the history includes the requested day or is not sorted.
        """
        import pandas as pd

        ids = np.concatenate([requests[user].to_numpy(), history[user].to_numpy()])
        codes, users = pd.factorize(ids)
        items, unique_items = pd.factorize(history[item].to_numpy())
        today = requests["day"].to_numpy(dtype="datetime64[D]")[:1]
        age = (today - history["day"].to_numpy(dtype="datetime64[D]")).astype(np.int64)
        if len(age) and (age[-1] < 1 or (np.diff(age) > 0).any()):
            raise ValueError(
                "history: found rows that are not ascending by day, or not before the requested "
                "day; expected both"
            )
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
        """The rows of the requested users only, with the same codes."""
        mine = self.user < self.asked
        return replace(self, user=self.user[mine], item=self.item[mine], age=self.age[mine])

    def cells(self, common: int) -> tuple[Ints, npt.NDArray[np.bool_], Ints]:
        """Where each row lies in a matrix of all users x the items most often bought.

        Returns:
            Column of each item, -1 where it has none; which rows are of such an item; and the cell
            of each of those. They are kept: several recommenders ask.
        """
        if common not in self._cells:
            count = np.bincount(self.item, minlength=len(self.items))
            chosen = np.sort(np.argsort(-count, kind="stable")[:common])
            column = np.full(len(self.items), -1, dtype=np.int64)
            column[chosen] = np.arange(len(chosen))
            place = column[self.item]
            inside = place >= 0
            self._cells[common] = column, inside, self.user[inside] * len(chosen) + place[inside]
        return self._cells[common]

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


def dense_matrix(
    purchases: Purchases, weight: npt.NDArray[np.float64], common: int
) -> tuple[Ints, Floats]:
    """Summed weights of each user for the items most often bought.

    Returns:
        Column of each item, -1 where it has none, and the matrix of all users x columns.
    """
    column, inside, key = purchases.cells(common)
    shape = (len(purchases.users), int(column.max(initial=-1)) + 1)
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
