"""Drift: how much the newest week differs from the weeks before it, as an effect size.

A p-value alarms on nearly every ordinary night once there are many rows. Here the newest week is
compared with the weeks before it, and each of these with all others. So a seasonal column is
measured against its own earlier changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.promotion.checks import Check
from tasks.shown import as_markdown

if TYPE_CHECKING:
    import pandas as pd


WEEKS, FEWEST = 26, 3
"""Most weeks compared, and fewest weeks for a result."""
WEEKDAYS = 8
"""Number of days of the same weekday with which a day's number of rows is compared."""
ROWS = 5_000
"""Rows drawn of each week: the noise of the index is then about 0.004, for any number of rows."""
BINS = 10
CATEGORIES = 50
"""Distinct values up to which a column of numbers counts as categories; rarer ones are pooled."""
FLOOR = 1e-4
"""Smallest share of a bin: an empty one would make the index infinite."""
LARGE, BEYOND = 0.25, 2.0
"""Alarm from this index on, if it is also this many times the largest of the weeks before."""
DATES = (
    (r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d.*)?", "ISO8601"),
    (r"\d\d-\d\d-\d{4}", "%d-%m-%Y"),
    (r"\d\d\.\d\d\.\d{4}", "%d.%m.%Y"),
    (r"\d\d/\d\d/\d{4}", "%d/%m/%Y"),
)
"""How dates and times are written as texts, and how such texts are read."""
MISSING = "(missing)"


@dataclass(frozen=True)
class Shift:
    """How much one column of the newest week differs from the earlier weeks.

    Attributes:
        column: Its name.
        psi: Population stability index against the earlier weeks, missing values are a separate
            bin; 0 means no difference.
        usual: The largest such index of an earlier week against the others.
        missing: Share of missing values now less the share before.
        new: Share of rows now whose category was not there before.
        vanished: Share of rows before whose category is not there now.
    """

    column: str
    psi: float
    usual: float
    missing: float
    new: float
    vanished: float

    @property
    def alarming(self) -> bool:
        """Whether a person should look: a large index, far above those of earlier weeks."""
        return self.psi >= LARGE and self.psi >= BEYOND * self.usual


def measure_drift(examples: pd.DataFrame, newest: date, seed: int) -> list[Shift]:
    """The shift of every column in the week that ends with ``newest``, the largest first.

    The index is that of Siddiqi (Credit Risk Scorecards, 2006), which calls 0.25 a large shift.

    Args:
        examples: Rows with ``day`` and the columns to look at.
        newest: The last day.
        seed: Seed of the draw of rows.

    Returns:
        Empty where there are fewer than three weeks.
    """
    age = ((np.datetime64(newest) - examples["day"].to_numpy("datetime64[D]")).astype(int)) // 7
    random = np.random.default_rng(seed)
    drawn = []
    for week in range(WEEKS):
        rows = np.flatnonzero(age == week)
        drawn.append(random.permutation(rows)[:ROWS] if len(rows) > ROWS else rows)
    weeks = [rows for rows in drawn if len(rows)]
    if len(weeks) < FEWEST or not len(drawn[0]):
        return []
    week_of = np.repeat(np.arange(len(weeks)), [len(rows) for rows in weeks])
    sample = examples.drop(columns="day").iloc[np.concatenate(weeks)]
    comparable = {str(name): _comparable(sample[name]) for name in sample}
    found = [_shift(n, values, week_of) for n, values in comparable.items() if values is not None]
    return sorted(found, key=lambda shift: (-shift.psi, shift.column))


def count_rows(rows: Mapping[date, int], newest: date) -> dict[str, Any] | None:
    """The newest day's number of rows, and those of the same weekday before it.

    Args:
        rows: Day to its number of rows.
        newest: The day.

    Returns:
        ``rows``, ``usual`` (median), ``low``, ``high`` and ``odd``: below two thirds of the lowest
        or above one and a half times the highest. None where there are fewer than three.
    """
    before = [newest - timedelta(weeks=back) for back in range(1, WEEKDAYS + 1)]
    counts = [rows[day] for day in before if day in rows]
    if newest not in rows or len(counts) < FEWEST:
        return None
    low, high, now = min(counts), max(counts), rows[newest]
    return {
        "rows": now,
        "usual": float(np.median(counts)),
        "low": low,
        "high": high,
        "odd": not low / 1.5 <= now <= high * 1.5,
    }


def check_drift(shifts: Sequence[Shift], limit: float | None) -> Check:
    """Check that the newest week is similar enough to earlier ones for a promotion.

    Every column counts: one that is stuck fails beside one that drifts further, but as it always
    does.

    Args:
        shifts: From ``measure_drift``, the largest first.
        limit: Index above which a person has to look first; None passes everything.
    """
    name = "newest week like those before"
    if not shifts:
        return Check(name, True, f"There are fewer than {FEWEST} weeks to compare.")
    beyond = [each for each in shifts if limit is not None and each.alarming and each.psi > limit]
    worst = (beyond or shifts)[0]
    most = "drifted most" if worst is shifts[0] else "drifted far more than usual"
    said = f"{worst.column} {most}: index {worst.psi:.2f}, earlier weeks at most {worst.usual:.2f}"
    if beyond:
        others = f", as {len(beyond) - 1} more columns did" if len(beyond) > 1 else ""
        way_out = "Where that is right, approve the version, or name the column in drift_ignored."
        detail = f"{said}{others}; bound {limit:g}. {way_out}"
        return Check(name, False, detail, for_person=True)
    alarming = sum(shift.alarming for shift in shifts)
    return Check(
        name, True, f"{said}. {alarming} of {len(shifts)} columns drifted far more than usual."
    )


def to_lines(shifts: Sequence[Shift], count: int) -> list[str]:
    """A ranked table of the largest shifts, in Markdown."""
    lines = [
        "| column | index | earlier weeks up to | missing | new values | vanished |",
        "|---|---|---|---|---|---|",
    ]
    for shift in shifts[:count]:
        column = as_markdown(str(shift.column))
        name = f"**{column}**" if shift.alarming else column
        shares = f"{shift.missing:+.1%} | {shift.new:.1%} | {shift.vanished:.1%}"
        lines.append(f"| {name} | {shift.psi:.3f} | {shift.usual:.3f} | {shares} |")
    return lines


def psi(before: npt.ArrayLike, now: npt.ArrayLike) -> float:
    """Population stability index of two histograms over the same bins; 0 where one is empty.

    Args:
        before: Counts, shape (bins,).
        now: Counts, shape (bins,).
    """
    p, q = (np.asarray(each, dtype=np.float64) for each in (before, now))
    if not p.sum() or not q.sum():
        return 0.0
    p, q = np.maximum(p / p.sum(), FLOOR), np.maximum(q / q.sum(), FLOOR)
    return float(((q - p) * np.log(q / p)).sum())


def _comparable(values: pd.Series[Any]) -> pd.Series[Any] | None:
    """The values as they can be compared: of times the hour of the day, of dates nothing."""
    times = _as_times(values)
    if times is None:
        return values
    hours = times.dt.hour
    return hours if hours.nunique() > 1 else None


def _as_times(values: pd.Series[Any]) -> pd.Series[Any] | None:
    """Times, dates, or texts that all are written as one; None for anything else."""
    import pandas as pd

    if values.dtype.kind == "M":
        return values
    there = values.dropna()
    category = isinstance(values.dtype, pd.CategoricalDtype)
    if there.empty or category or values.dtype.kind in "biufmc":
        return None
    if pd.api.types.infer_dtype(there) in ("date", "datetime", "datetime64"):
        return pd.to_datetime(values, utc=True)
    text = there.astype("str")
    like = [(pattern, form) for pattern, form in DATES if re.fullmatch(pattern, text.iloc[0])]
    form = next((form for pattern, form in like if text.str.fullmatch(pattern).all()), None)
    if form is None:
        return None
    return pd.to_datetime(there, format=form, errors="coerce", utc=True).reindex(values.index)


def _shift(name: str, values: pd.Series[Any], week: npt.NDArray[np.int64]) -> Shift:
    code, missing, names = _binned(values, week)
    bins = len(names)
    counts = np.bincount(week * bins + code, minlength=bins * (week.max() + 1)).reshape(-1, bins)
    whole = counts.sum(axis=0)
    each = [psi(whole - own, own) for own in counts]
    now, before = counts[0], whole - counts[0]
    gone = [float(missing[side].mean()) for side in (week == 0, week > 0)]
    absent, left = (before == 0) & (now > 0), (now == 0) & (before > 0)
    is_category = not isinstance(names, np.ndarray)
    return Shift(
        column=name,
        psi=each[0],
        usual=max(each[1:]),
        missing=gone[0] - gone[1],
        new=float(now[absent].sum() / now.sum()) if is_category else 0.0,
        vanished=float(before[left].sum() / before.sum()) if is_category else 0.0,
    )


def _binned(
    values: pd.Series[Any], week: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], Any]:
    """Bin of each value, whether it is missing, and the bins: an array of numbers or a list."""
    import pandas as pd

    missing = values.isna().to_numpy()
    if values.dtype == object:
        values = values.astype(str).where(~missing, MISSING)
    code, found = pd.factorize(values)
    if pd.api.types.is_numeric_dtype(values) and len(found) > CATEGORIES:
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        known = numbers[~missing & (week > 0)]
        cuts = np.linspace(0, 1, BINS + 1)[1:-1]
        edges = np.unique(np.quantile(known, cuts, method="nearest")) if len(known) else known
        code = np.searchsorted(edges, numbers, side="left")
        code[missing] = len(edges) + 1
        return code.astype(np.int64), missing, np.arange(len(edges) + 2)
    written, texts = pd.factorize(pd.Series(found).astype(str))
    code = np.append(written, len(texts))[code]  # a missing value has the code -1
    counts = np.bincount(code, minlength=len(texts) + 1)
    common = np.argsort(-counts, kind="stable")[:CATEGORIES]
    pooled = np.full(len(counts), -1)
    pooled[common] = common
    code, names = pd.factorize(pooled[code])
    return code.astype(np.int64), missing, list(names)


@dataclass(frozen=True)
class Drifted:
    """How much the newest week differs from the weeks before it.

    Attributes:
        shifts: Every column, and the ``prediction`` that was published for the app, the largest
            first.
        rows: The newest day's rows beside those of its weekday before (``drift.count_rows``).
        check: The check of the verdict.
    """

    shifts: tuple[Shift, ...]
    rows: dict[str, Any] | None
    check: Check
