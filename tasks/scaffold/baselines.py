"""The naive forecast that a new model has to beat: the best of those that its table allows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tasks.problems import naive
from tasks.scaffold.leak_hints import CALENDAR, truths
from tasks.scaffold.profiling import read_times

if TYPE_CHECKING:
    import pandas as pd

    from tasks.scaffold.profiling import Column, Target


How = Literal["last_value", "last_week", "recent_mean", "usual"]
Floats = npt.NDArray[np.float64]
LATE: dict[How, Any] = {
    "last_value": naive.last_value,
    "last_week": naive.last_week,
    "recent_mean": naive.recent_mean,
}
"""Those that look at the history, and the functions that a model's features call for them."""
NEEDED: dict[How, int] = {"last_value": 1, "last_week": 7, "recent_mean": 7, "usual": 0}
"""Days of history that each needs, beside those whose labels are not final."""
LENGTH = 28
KEYS, TRIED, VALUES = 3, 8, 5_000
"""Most columns of a key, most columns that are tried, and most values of one."""
TESTED, WORK = 14, 1_000_000
"""Most days that are forecast, and rows of history read for one way to do it."""
LEAST = 0.02
"""Least share of the error, or least gain of a ranking metric, by which a more complex one wins."""


@dataclass(frozen=True)
class Baseline:
    """A naive forecast.

    Attributes:
        how: ``usual`` is the median, or the rate, of the training days; the others are functions of
            ``tasks.problems.naive``.
        by: Columns whose values rows alike share.
        timed: Whether they share the hour of the time column as well.
        told: How it did on the newest days, for people.
    """

    how: How
    by: tuple[str, ...] = ()
    timed: bool = False
    told: str = ""


@dataclass(frozen=True)
class _Table:
    """Labelled rows with numbers as ``target``, and how a forecast of them is measured."""

    rows: pd.DataFrame
    kind: str
    metric: str
    delay: int
    tested: tuple[pd.Timestamp, ...]


def choose_baseline(
    columns: Sequence[Column],
    rows: pd.DataFrame,
    target: str,
    read: Target,
    *,
    time: str | None,
    timezone: str,
    delay: int,
    lookback: int,
) -> Baseline | None:
    """The naive forecast that did best on the newest days; None where none beats a constant.

    Args:
        columns: Columns of the table.
        rows: Raw rows of consecutive days, ascending by ``day``.
        target: Column to predict.
        read: How it is read.
        time: Column of the time of a row, where rows of a day differ in it.
        timezone: Time zone of the days.
        delay: Days until a label is final.
        lookback: Days of history that a night would see; 0 for none.
    """
    table = _table(rows, columns, target, read, time, timezone, delay)
    if len(table.tested) < 2:
        return None
    constant, best = _measure(table, _usual(table, ())), None
    value = constant
    found_keys = _keys(table, columns, constant)
    for by in found_keys:
        found = _measure(table, _usual(table, by))
        if _better(table, found, value):
            best, value = Baseline("usual", by), found
    keys = [(), *found_keys]
    for how in LATE if read.kind != "multiclass" else ():
        if lookback < NEEDED[how] + delay:
            continue
        for by in keys:
            for timed in (False, True) if time else (False,):
                tried = Baseline(how, by, timed)
                found = _measure(table, _forecast(table, tried, lookback))
                if _better(table, found, value):
                    best, value = tried, found
    if best is None:
        return None
    words = read.metric.replace("_", " ")
    alone = "the median" if read.kind == "regression" else "the rate"
    told = (
        f"{words} {abs(value):.3g} on the last {len(table.tested)} days; "
        f"{alone} of all rows {abs(constant):.3g}"
    )
    return Baseline(best.how, best.by, best.timed, told)


def _table(
    rows: pd.DataFrame,
    columns: Sequence[Column],
    target: str,
    read: Target,
    time: str | None,
    timezone: str,
    delay: int,
) -> _Table:
    import pandas as pd

    truth = truths(rows[target], read)
    labels = truth[:, 0]
    if read.kind == "regression":
        labels = rows[target].to_numpy(dtype=np.float64, na_value=np.nan)
    elif read.kind == "multiclass":
        labels = np.where(np.isnan(labels), np.nan, np.argmax(np.nan_to_num(truth), axis=1))
    needed = dict.fromkeys(["day", *(column.name for column in _key_columns(columns))])
    made = rows[list(needed)].assign(**{_TARGET: labels})
    if time is not None:
        times = read_times(rows[time])
        zone = getattr(times.dt, "tz", None)
        made[_TIME] = times.dt.tz_convert(timezone).dt.tz_localize(None) if zone else times
    made = made[np.isfinite(labels)].reset_index(drop=True)
    days = pd.DatetimeIndex(made["day"].unique())
    most = int(WORK / max(1.0, LENGTH * len(made) / max(len(days), 1)))
    count = min(TESTED, len(days) // 3, max(most, 2))
    return _Table(made, read.kind, read.metric, delay, tuple(days[-count:]) if count else ())


_TARGET, _TIME = "\x00target", "\x00time"
"""Names that no table has."""


def _key_columns(columns: Sequence[Column]) -> list[Column]:
    """The columns that may be part of a key, the likeliest first."""
    fine = [
        column
        for column in columns
        if column.role == "input"
        and 2 <= column.unique <= VALUES
        and (
            column.kind == "text"
            or column.is_code
            or (column.kind in ("whole", "flag") and CALENDAR.search(column.name))
        )
    ]
    return sorted(fine, key=lambda c: (c.kind == "whole", -c.unique, c.name))[:TRIED]


def _keys(table: _Table, columns: Sequence[Column], constant: float) -> list[tuple[str, ...]]:
    """Keys of one column and more, each by one column better than the one before."""
    names = [column.name for column in _key_columns(columns)]
    found: list[tuple[str, ...]] = []
    key: tuple[str, ...] = ()
    value = constant
    while len(key) < KEYS:
        scored = {
            (*key, name): _measure(table, _usual(table, (*key, name)))
            for name in names
            if name not in key
        }
        best = max(scored, key=lambda one: scored[one], default=None)
        if best is None or not _better(table, scored[best], value, (1 + len(key)) * LEAST):
            break
        key, value = best, scored[best]
        found.append(key)
    return found


def _better(table: _Table, value: float, than: float, share: float = LEAST) -> bool:
    """Whether a forecast is better by enough; of errors, values are their negatives."""
    least = share if table.metric in _RANKING else share * abs(than)
    return math.isfinite(value) and value > than + least


_RANKING = ("average_precision", "roc_auc")


def _usual(table: _Table, by: tuple[str, ...]) -> Callable[[], Floats]:
    """Forecasts of the tested days from the training days before all of them."""

    def forecast() -> Floats:
        train = table.rows[table.rows["day"] < table.tested[0] - timedelta(days=table.delay)]
        asked = table.rows[table.rows["day"] >= table.tested[0]]
        labels = train[_TARGET].to_numpy()
        keyed = [frame.assign(**{_ALL: 0}) for frame in (train, asked)]
        names = (_ALL, *by)
        if table.kind == "regression":
            found: Floats = naive.KeyMedian(names).fit(keyed[0], labels).predict(keyed[1])
            return found
        fitted = naive.KeyRates(names).fit(keyed[0], labels.astype(np.int64))
        shares = fitted.predict_proba(keyed[1])
        every = np.zeros((len(asked), int(table.rows[_TARGET].max()) + 1))
        every[:, fitted.classes_] = shares
        return every if table.kind == "multiclass" else every[:, -1]

    return forecast


_ALL = "\x00all"


def _forecast(table: _Table, tried: Baseline, lookback: int) -> Callable[[], Floats]:
    """Forecasts of the tested days, each from the history that a night would see."""

    def forecast() -> Floats:
        usual = float(table.rows[_TARGET].median())
        parts = []
        for day in table.tested:
            stop = day - timedelta(days=table.delay)
            first, last, end = table.rows["day"].searchsorted(
                [day - timedelta(days=lookback), stop, day + timedelta(days=1)]
            )
            asked = table.rows.iloc[table.rows["day"].searchsorted(day) : end]
            past = table.rows.iloc[first:last]
            time = _TIME if tried.timed else None
            parts.append(LATE[tried.how](asked, past, _TARGET, tried.by, time))
        found = np.concatenate([part.to_numpy() for part in parts])
        return np.where(np.isfinite(found), found, usual)

    return forecast


def _measure(table: _Table, forecast: Callable[[], Floats]) -> float:
    """The metric of a forecast of the tested days, an error as its negative; NaN where none."""
    from sklearn import metrics

    labels = table.rows[_TARGET][table.rows["day"] >= table.tested[0]].to_numpy()
    try:
        said = forecast()
        if table.kind == "regression":
            return -float(metrics.mean_absolute_error(labels, said))
        if table.kind == "multiclass":
            classes = list(range(said.shape[1]))
            return -float(metrics.log_loss(labels, np.clip(said, 1e-15, 1), labels=classes))
        if len(np.unique(labels)) < 2:
            return math.nan
        by_name = {"roc_auc": metrics.roc_auc_score}
        return float(by_name.get(table.metric, metrics.average_precision_score)(labels, said))
    except ValueError:  # such as training days of one class
        return math.nan
