"""Naive forecasts: what has usually been, per key, last week, last time, or of late.

Three are inputs, made of the history that ``features`` gets, so that they know no label that is not
final on the evening before; ``ColumnForecast`` and ``ColumnRate`` predict such a column as it is.
``KeyMedian`` and ``KeyRates`` learn from the training examples. Each is a candidate like any other,
and ``ModelSpec.baseline`` names the one that the others have to beat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

if TYPE_CHECKING:
    import pandas as pd


Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.integer[Any]]
WEEK = 7


def last_value(
    day: pd.DataFrame,
    history: pd.DataFrame,
    target: str,
    by: Sequence[str] = (),
    time: str | None = None,
) -> pd.Series[Any]:
    """Mean target of the rows alike on the newest day that has any.

    Args:
        day: Requests of one day, as ``features`` gets them.
        history: Its history, as ``features`` gets it.
        target: Column to predict.
        by: Columns whose values rows alike share; none for all rows.
        time: Column of a time whose hour they share as well, if any.

    Returns:
        One value for each request, missing where there are no rows alike.
    """
    return _newest(day, history[history[target].notna()], target, by, time)


def last_week(
    day: pd.DataFrame,
    history: pd.DataFrame,
    target: str,
    by: Sequence[str] = (),
    time: str | None = None,
) -> pd.Series[Any]:
    """Mean target of the rows alike on the newest day of the same weekday that has any.

    Args:
        day: Requests of one day, as ``features`` gets them.
        history: Its history, as ``features`` gets it; of ``label_delay`` and a week at least.
        target: Column to predict.
        by: Columns whose values rows alike share; none for all rows.
        time: Column of a time whose hour they share as well, if any.

    Returns:
        One value for each request, missing where there are no rows alike.
    """
    known = history[history[target].notna()]
    if len(day):
        apart = (day["day"].iloc[0] - known["day"]).dt.days
        known = known[apart % WEEK == 0]
    return _newest(day, known, target, by, time)


def recent_mean(
    day: pd.DataFrame,
    history: pd.DataFrame,
    target: str,
    by: Sequence[str] = (),
    time: str | None = None,
    length: int = 28,
) -> pd.Series[Any]:
    """Mean target of the rows alike of the newest days whose labels are final.

    Args:
        day: Requests of one day, as ``features`` gets them.
        history: Its history, as ``features`` gets it.
        target: Column to predict.
        by: Columns whose values rows alike share; none for all rows.
        time: Column of a time whose hour they share as well, if any.
        length: How many days, at most.

    Returns:
        One value for each request, missing where there are no rows alike.
    """
    import pandas as pd

    known = history[history[target].notna()]
    if len(known):
        known = known[known["day"] > known["day"].max() - pd.Timedelta(days=length)]
    past, now = _codes(known, day, by, time)
    return _means(past, known[target], now, day)


def _newest(
    day: pd.DataFrame, known: pd.DataFrame, target: str, by: Sequence[str], time: str | None
) -> pd.Series[Any]:
    past, now = _codes(known, day, by, time)
    newest = known["day"].groupby(past).transform("max") if len(known) else known["day"]
    there = (known["day"] == newest).to_numpy()
    return _means(past[there], known[target][there], now, day)


def _codes(
    known: pd.DataFrame, day: pd.DataFrame, by: Sequence[str], time: str | None
) -> tuple[Codes, Codes]:
    """A number for each group of rows alike: those of the past rows, and of the requests."""
    import pandas as pd

    keys = [pd.concat([known[name], day[name]], ignore_index=True) for name in by]
    if time is not None:
        keys.append(pd.concat([known[time], day[time]], ignore_index=True).dt.hour)
    if not keys:
        return np.zeros(len(known), dtype=np.intp), np.zeros(len(day), dtype=np.intp)
    both = pd.concat(keys, axis=1, keys=range(len(keys)))
    numbers = both.groupby(list(both), observed=True, dropna=False, sort=False).ngroup()
    codes = numbers.to_numpy(dtype=np.intp)
    return codes[: len(known)], codes[len(known) :]


def _means(
    past: Codes,
    values: pd.Series[Any],
    now: Codes,
    day: pd.DataFrame,
) -> pd.Series[Any]:
    import pandas as pd

    most = int(max(past.max(initial=-1), now.max(initial=-1))) + 1
    counts = np.bincount(past, minlength=most)
    sums = np.bincount(past, values.to_numpy(dtype=np.float64), minlength=most)
    means = np.divide(sums, counts, out=np.full(most, np.nan), where=counts > 0)
    return pd.Series(means[now], day.index)


class ColumnForecast(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts a column of the inputs as it is; the median label where it is missing.

    Attributes:
        column: Its name.
    """

    def __init__(self, column: str) -> None:
        self.column = column

    def fit(self, X: pd.DataFrame, y: npt.NDArray[Any]) -> ColumnForecast:  # noqa: N803
        """Learn the median label."""
        X[self.column]
        self.usual_ = float(np.median(y))
        return self

    def predict(self, X: pd.DataFrame) -> Floats:  # noqa: N803
        """Shape (rows,)."""
        return _filled(X[self.column], self.usual_)


class ColumnRate(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts a column of the inputs as the probability of 1; the overall rate where missing.

    Attributes:
        column: Its name.
    """

    def __init__(self, column: str) -> None:
        self.column = column

    def fit(self, X: pd.DataFrame, y: npt.NDArray[Any]) -> ColumnRate:  # noqa: N803
        """Learn the overall rate."""
        X[self.column]
        self.classes_ = np.array([0, 1])
        self.usual_ = float(np.mean(y))
        return self

    def predict_proba(self, X: pd.DataFrame) -> Floats:  # noqa: N803
        """Shape (rows, 2)."""
        one = np.clip(_filled(X[self.column], self.usual_), 0, 1)
        return np.column_stack([1 - one, one])

    def predict(self, X: pd.DataFrame) -> npt.NDArray[Any]:  # noqa: N803
        """The likelier class of each row."""
        likeliest: npt.NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return likeliest


class KeyMedian(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts the median label of the training examples with the same key; of all for a new key.

    Attributes:
        by: Columns of the inputs that make the key.
    """

    def __init__(self, by: tuple[str, ...]) -> None:
        self.by = by

    def fit(self, X: pd.DataFrame, y: npt.NDArray[Any]) -> KeyMedian:  # noqa: N803
        """Learn the median of each key."""
        import pandas as pd

        medians = pd.Series(np.asarray(y, dtype=np.float64)).groupby(_keys(X, self.by)).median()
        self.keys_ = np.array(medians.index, dtype=np.str_)
        self.medians_ = medians.to_numpy(dtype=np.float64)
        self.usual_ = float(np.median(y))
        return self

    def predict(self, X: pd.DataFrame) -> Floats:  # noqa: N803
        """Shape (rows,)."""
        place = _places(self.keys_, _keys(X, self.by))
        return np.where(place < 0, self.usual_, self.medians_[place])


class KeyRates(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts the shares of the classes among the training examples with the same key.

    Attributes:
        by: Columns of the inputs that make the key.
        strength: So many further rows count as the shares among all examples do, so that a key with
            few rows, or none, predicts nearly those.
    """

    def __init__(self, by: tuple[str, ...], strength: float = 20.0) -> None:
        self.by = by
        self.strength = strength

    def fit(self, X: pd.DataFrame, y: npt.NDArray[Any]) -> KeyRates:  # noqa: N803
        """Learn the shares of each key."""
        import pandas as pd

        self.classes_, labels = np.unique(y, return_inverse=True)
        counts = pd.crosstab(_keys(X, self.by), labels)
        overall = np.bincount(labels) / len(labels)
        seen = counts.to_numpy(dtype=np.float64) + self.strength * overall
        self.keys_ = np.array(counts.index, dtype=np.str_)
        self.shares_ = seen / seen.sum(axis=1, keepdims=True)
        self.overall_ = overall
        return self

    def predict_proba(self, X: pd.DataFrame) -> Floats:  # noqa: N803
        """Shape (rows, classes)."""
        place = _places(self.keys_, _keys(X, self.by))
        return np.where((place < 0)[:, None], self.overall_, self.shares_[place])

    def predict(self, X: pd.DataFrame) -> npt.NDArray[Any]:  # noqa: N803
        """The likeliest class of each row."""
        likeliest: npt.NDArray[Any] = self.classes_[self.predict_proba(X).argmax(axis=1)]
        return likeliest


def _filled(values: pd.Series[Any], usual: float) -> Floats:
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, usual)


def _keys(inputs: pd.DataFrame, by: Sequence[str]) -> npt.NDArray[np.object_]:
    """One text for each row; a whole number is the same text as a float, where there is a gap."""
    parts = []
    for name in by:
        values = inputs[name]
        values = values.astype("int64") if values.dtype.kind == "b" else values
        parts.append(values.astype("str").fillna("").str.removesuffix(".0").astype("object"))
    key = parts[0]
    for part in parts[1:]:
        key = key + "\x1f" + part
    found: npt.NDArray[np.object_] = key.to_numpy(dtype=object)
    return found


def _places(known: npt.NDArray[Any], asked: npt.NDArray[np.object_]) -> Codes:
    """Place of each key among the known ones, -1 for a new one."""
    import pandas as pd

    found: Codes = pd.Index(known.astype(object)).get_indexer(pd.Index(asked))
    return found
