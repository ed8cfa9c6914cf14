"""Hints of leaks, late labels and odd rows in a table."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.metrics.separation import best_separations, separations
from tasks.scaffold.profiling import read_times, shown

if TYPE_CHECKING:
    import pandas as pd

    from tasks.scaffold.profiling import Column, Target


TELLS_ALL = 0.95
"""Area under the ROC curve from which one column alone nearly equals the target."""
ENOUGH, FEW = 50, 5
"""Rows of a class that training needs, and that the holdout needs."""
REGULAR = 0.9
"""Share of days on which an entity has as many rows as on most."""
FEWEST = 30
"""Fewest rows on either side to say something about a column."""
AFTERWARDS = re.compile(
    r"(^|[_ ])(after|afterwards|actual|final|outcome|result|closed|ended|finished|completed"
    r"|resolved|returned|refunded|delivered|cancell?ed|paid|settled)([_ ]|$)",
    re.IGNORECASE,
)
"""Words in names of columns that are filled in after the outcome."""
CALENDAR = re.compile(
    r"(^|[_ ])(seasons?|quarter|months?|mnth|weeks?|day|year|yr|holiday|(working|week)days?)"
    r"([_ ]|$)",
    re.IGNORECASE,
)
"""Words in names of columns that follow from the date."""
BEFORE = re.compile(r"(^|[_ ])(previous|prior|past|last|planned|expected|scheduled)([_ ]|$)", re.I)
"""Words in names of columns about earlier times or plans."""


def name_latecomers(
    columns: Sequence[Column], rows: pd.DataFrame, target: Column, read: Target, time: str | None
) -> list[Column]:
    """The columns, with the role ``later`` for each that seems to be known only after its day.

    Suspected are a column missing exactly where the target is, a time later than the row's own, a
    column that alone nearly tells the target, and one whose name suggests it.

    Args:
        columns: Columns of the table.
        rows: Its rows.
        target: The column to predict.
        read: How the target is read.
        time: Column that says when a row happened, if any.
    """
    areas = strengths(
        [c for c in columns if c.role == "input" and not _is_entity(c, rows)],
        rows,
        truths(rows[target.name], read),
    )
    found = []
    for column in columns:
        why = ""
        if column.role in ("input", "id"):
            why = (
                _missing_alike(rows[column.name], rows[target.name])
                or (_later(column, rows, time) if column.kind == "time" else "")
                or _tells(areas.get(column.name, 0.5))
                or _named_so(column.name)
            )
        found.append(replace(column, role="later", why=why) if why else column)
    return found


def strong_inputs(
    columns: Sequence[Column], rows: pd.DataFrame, truth: np.ndarray, bound: float
) -> list[tuple[str, float]]:
    """Inputs with a larger area under the ROC curve than ``bound``, the strongest first."""
    inputs = [column for column in columns if column.role == "input"]
    found = strengths(inputs, rows, truth)
    strong = [(name, area) for name, area in found.items() if area > bound]
    return sorted(strong, key=lambda one: -one[1])


def truths(values: pd.Series[Any], read: Target) -> np.ndarray:
    """One column of 1 and 0 per class, NaN where there is no label.

    A number becomes whether it is above its median.
    """
    known = values.notna().to_numpy()
    if read.kind == "regression":
        numbers = values.astype("float64").to_numpy()
        sides = [numbers > np.nanmedian(numbers)]
    elif read.kind == "multiclass":
        sides = [(values == value).to_numpy(dtype=bool, na_value=False) for value in read.classes]
    else:
        one = read.classes[1] if read.classes else 1
        sides = [(values == one).to_numpy(dtype=bool, na_value=False)]
    return np.where(known[:, None], np.column_stack(sides).astype("float64"), np.nan)


def strengths(columns: Sequence[Column], rows: pd.DataFrame, truth: np.ndarray) -> dict[str, float]:
    """How well each column alone separates the rows: area under the ROC curve, 0.5 for chance.

    A text is encoded by the mean target in the earlier half of the rows, and scored on the later
    half.

    Args:
        columns: Numbers, flags and texts; times are passed over.
        rows: The table, ascending by day.
        truth: From ``truths``.
    """
    known = np.isfinite(truth[:, 0])
    sides = truth[known] > 0
    enough = np.minimum(sides.sum(axis=0), (~sides).sum(axis=0)) >= FEWEST
    asked = [column for column in columns if column.kind != "time"]
    if not enough.any():
        return dict.fromkeys((column.name for column in asked), 0.5)
    sides, first = sides[:, enough], np.arange(len(sides)) < len(sides) // 2
    texts = [column.name for column in asked if column.kind == "text" or column.is_code]
    numbers = [column.name for column in asked if column.name not in {*texts}]
    found = best_separations(sides, rows.loc[known, numbers])
    for name in texts:
        means = _means(rows.loc[known, name], sides, first)
        found[name] = float(separations(sides[~first], means).diagonal().max())
    return found


def calendar_columns(columns: Sequence[Column], rows: pd.DataFrame) -> list[str]:
    """Inputs that follow the calendar, such as a season: the same in all rows of a day, and called
    so or the same on each weekday or in each month.
    """
    fine = [
        column
        for column in columns
        if column.role == "input" and column.kind in ("text", "whole", "flag") and column.unique > 1
    ]
    same_day = (rows["day"] == rows["day"].shift()).to_numpy()
    found = []
    for column in fine:
        codes = rows[column.name].factorize()[0]
        both = same_day[1:] & (codes[1:] >= 0) & (codes[:-1] >= 0)
        if (both & (codes[1:] != codes[:-1])).any():
            continue  # as of most columns, and faster than by day
        by_day = rows.groupby("day")[column.name].agg(["nunique", "first"])
        if (by_day["nunique"] > 1).any():
            continue
        days = by_day.index.to_series()
        kinds = (days.dt.day_of_week, days.dt.year * 12 + days.dt.month)
        same = any(
            (by_day["first"].groupby(kind.to_numpy()).nunique() <= 1).all() and kind.nunique() > 2
            for kind in kinds
        )
        if CALENDAR.search(column.name) or same:
            found.append(column.name)
    return found


def label_days(columns: Sequence[Column], rows: pd.DataFrame, target: str, time: str | None) -> int:
    """Days until the target of a row is known, estimated from the table; 0 where it shows none.

    Estimated from a time that is later than the row's and missing where the target is, else from
    the newest days, if the target is missing there far more often than before.
    """
    import pandas as pd

    for column in columns:
        alike = column.role == "later" and column.kind == "time" and time is not None
        if alike and _missing_alike(rows[column.name], rows[target]):
            after = _times(rows[column.name]) - _times(rows[str(time)])
            return math.ceil(after.dt.total_seconds().quantile(0.99) / 86_400)
    gone = rows[target].isna().groupby(rows["day"]).mean()
    usual = float(gone.median())
    late = gone[::-1].to_numpy() > min(usual + 0.3, 0.9)
    if not late.any() or late.all():
        return 0
    newest = int(np.argmin(late))  # how many of the newest days in a row
    if not newest:
        return 0
    return int((gone.index[-1] - gone.index[-newest]) / pd.Timedelta(days=1)) + 1


def row_warnings(rows: pd.DataFrame) -> list[str]:
    """Warnings about repeated rows, numbers read as text and infinite numbers."""
    found = []
    try:
        twice = float(rows.duplicated().mean())
    except TypeError:  # lists and the like
        twice = 0.0
    if twice > 0.001:
        found.append(
            f"{twice:.1%} of the rows equal another of their day, and all count. Should each be "
            "there once? Then name its key in the contract's Config: unique = [...]."
        )
    codes = [str(name) for name in rows if _has_codes(rows[name])]
    if codes:
        found.append(
            "Numbers with leading zeros, or with more digits than a number holds, are codes and "
            f"stay texts: {', '.join(codes)}."
        )
    commas = [str(name) for name in rows if _has_decimal_comma(rows[name])]
    if commas:
        found.append(
            f"Numbers with a decimal comma are read as text: {', '.join(commas)}. Write them with "
            "a decimal point, or name them in the source's types as 'comma'."
        )
    endless = [str(name) for name in rows.select_dtypes("float") if np.isinf(rows[name]).any()]
    if endless:
        found.append(f"Infinite values are quarantined: {', '.join(endless)}.")
    return found


def class_warnings(rows: pd.DataFrame, target: str, read: Target, holdout: int) -> list[str]:
    """Warnings about classes that are too rare, overall or on the last ``holdout`` days."""
    import pandas as pd

    if read.kind == "regression":
        return []
    counts = rows[target].value_counts()
    last = rows["day"] > rows["day"].max() - pd.Timedelta(days=holdout)
    late = rows[target][last].value_counts().reindex(counts.index, fill_value=0)
    found = []
    if counts.iloc[-1] < ENOUGH:
        found.append(
            f"Only {counts.iloc[-1]:,} rows have {shown(target)} = {shown(counts.index[-1])}. "
            "These are too few to tell a good model from a lucky one."
        )
    if read.kind == "binary" and late.min() < FEW:
        found.append(
            f"Only {late.min():,} rows of the holdout (the last {holdout} days) have "
            f"{shown(target)} = {shown(late.idxmin())}, but a verdict needs both values there."
        )
    return found


def _missing_alike(values: pd.Series[Any], target: pd.Series[Any]) -> str:
    gone, unlabelled = values.isna().to_numpy(), target.isna().to_numpy()
    if min(unlabelled.sum(), (~unlabelled).sum()) < FEWEST:
        return ""
    gap = abs(gone[unlabelled].mean() - gone[~unlabelled].mean())
    return "it is missing where the target is" if gap > 0.9 else ""


def _later(column: Column, rows: pd.DataFrame, time: str | None) -> str:
    if time is None or column.name == time:
        return ""
    after = _times(rows[column.name]) - _times(rows[time])
    share = float((after.dropna() > timedelta(0)).mean())
    return f"it is later than {shown(time)} in {share:.0%} of the rows" if share > 0.9 else ""


def _tells(area: float) -> str:
    return f"alone it nearly predicts the target (AUC {area:.2f})" if area > TELLS_ALL else ""


def _is_entity(column: Column, rows: pd.DataFrame) -> bool:
    """Whether each value has equally many rows on nearly every day, as shops and products have.

    An outcome has not.
    """
    if not (column.kind == "text" or column.is_code):
        return False
    if column.unique * rows["day"].nunique() > 2 * len(rows):
        return False  # most values have no row on most days
    counts = rows.groupby(["day", column.name]).size().unstack(fill_value=0)
    return bool((counts == counts.median()).to_numpy().mean() >= REGULAR)


def _has_decimal_comma(values: pd.Series[Any]) -> bool:
    import pandas as pd

    there = values.dropna().head(1000)
    if there.empty or pd.api.types.infer_dtype(there) != "string":
        return False
    return bool(there.str.fullmatch(r"-?[\d.]*\d,\d+").mean() > 0.9)


def _has_codes(values: pd.Series[Any]) -> bool:
    import pandas as pd

    if not isinstance(values.dtype, pd.StringDtype):
        return False
    return bool(values.str.fullmatch(r"0\d+|\d{19,}", na=False).any())


def _named_so(name: str) -> str:
    late = AFTERWARDS.search(name) and not BEFORE.search(name)
    return "its name suggests it" if late else ""


def _times(values: pd.Series[Any]) -> pd.Series[Any]:
    """Times without their zone, to be compared with others."""
    times = read_times(values)
    return times if times.dt.tz is None else times.dt.tz_convert("UTC").dt.tz_localize(None)


def _means(values: pd.Series[Any], sides: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Mean outcome, in the first rows, of each other row's value; the usual one where it is new."""
    import pandas as pd

    codes = pd.factorize(values.astype("str"))[0] + 1  # 0: missing
    seen, outcomes = codes[first], sides[first].astype("float64")
    count = np.bincount(seen, minlength=codes.max() + 1)[:, None]
    sums = [np.bincount(seen, side, minlength=len(count)) for side in outcomes.T]
    usual = outcomes.mean(axis=0)
    smooth = (np.column_stack(sums) + usual) / (count + 1)
    smooth[0] = usual
    found: np.ndarray = smooth[codes[~first]]
    return found
