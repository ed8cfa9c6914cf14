"""From a table and a person's options to a plan of the model, with warnings."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from tasks.scaffold.baselines import choose_baseline
from tasks.scaffold.leak_hints import (
    calendar_columns,
    class_warnings,
    label_days,
    name_latecomers,
    row_warnings,
    strong_inputs,
    truths,
)
from tasks.scaffold.plan import Plan
from tasks.scaffold.profiling import InferError, describe_columns, read_target, read_times, shown
from tasks.scaffold.windows import choose_ranking_windows, choose_windows
from tasks.shown import NAMED_COLUMNS, few
from tasks.spec.gate import Gate

if TYPE_CHECKING:
    import pandas as pd

    from tasks.scaffold.baselines import Baseline
    from tasks.scaffold.profiling import Column, Role, Target
    from tasks.scaffold.render_ranking import Feedback
    from tasks.scaffold.windows import Windows
    from tasks.sources.base import Source


ENOUGH, VALUES = 500_000, 25_000_000
"""Most rows and values that are read; of a longer history some days, evenly spread."""
REPEATS = 0.05
"""Share of repeated rows from which an item may be recommended again."""
STRONG = 0.75
"""Area under the ROC curve of one input from which a person is told; above the gate's, asked."""
SHOWN = 8
"""Most columns of one kind that are named one by one."""
ALIKE = (3, 5_000)
"""Bounds of the distinct values of a category whose past becomes a feature."""


@dataclass(frozen=True)
class Asked:
    """The options a person gives.

    Attributes:
        name: Name of the model.
        origin: Where the rows come from, for people.
        source: The source as code, part by part, without its time zone.
        imported: The source's class.
        time: Column that says when a row happened, if any.
        target: Column to predict; None for a recommendation.
        problem: The problem, where a person chose it.
        timezone: Time zone in which a day begins and ends.
        today: Later days are in the future.
        zoned: Whether the source's own type of ``time`` names a time zone.
    """

    name: str
    origin: str
    source: tuple[str, ...]
    imported: str
    time: str | None
    target: str | None
    problem: str | None
    timezone: str
    today: date
    zoned: bool = False


def read_sample(source: Source, listed: Sequence[date]) -> tuple[pd.DataFrame, int]:
    """Rows of all days, or of evenly spread ones where all are too many; and how many days."""
    newest = source.read_days(listed[-7:])
    usual = max(len(newest) / len(listed[-7:]), 1)
    wanted = min(len(listed), max(int(_enough(newest) / usual), 30))
    step = len(listed) / wanted
    days = [listed[int((number + 1) * step) - 1] for number in range(wanted)]
    return source.read_days(days), len(days)


def _enough(rows: pd.DataFrame) -> int:
    """Most rows of this width that are read."""
    return min(ENOUGH, VALUES // max(len(rows.columns), 1))


def read_newest(source: Source, listed: Sequence[date], some: pd.DataFrame) -> pd.DataFrame:
    """Rows of the newest days, one after the other, as many as the start reads at most.

    Args:
        source: The source.
        listed: Its days, ascending.
        some: Rows of some of them.
    """
    usual = len(some) / max(some["day"].nunique(), 1)
    return source.read_days(listed[-max(int(_enough(some) / max(usual, 1)), 30) :])


def draft(
    asked: Asked,
    rows: pd.DataFrame,
    listed: Sequence[date],
    looked: int,
    newest: pd.DataFrame | None = None,
) -> Plan:
    """The plan of a model that predicts one column.

    Args:
        asked: The options a person gives.
        rows: Raw rows of the days that were read, ascending by ``day``.
        listed: Days of the source, ascending.
        looked: How many of them were read.
        newest: Raw rows of consecutive days; None where ``rows`` are those of all days.

    Raises:
        InferError: Where no model can be made; says what to do.
    """
    aim = str(asked.target)
    for option, name in (("--time", asked.time), ("--target", aim)):
        if name is not None:
            check_column(rows, option, name)
    columns = describe_columns(rows, aim, asked.time)
    target = next(column for column in columns if column.name == aim)
    if target.name == asked.time:
        raise InferError("--target: found the column of --time; expected a different column.")
    read = read_target(rows, target, asked.problem)
    columns = name_latecomers(columns, rows, target, read, asked.time)
    ahead = [column for column in columns if column.role in ("time", "input")]
    if not ahead:
        raise InferError(
            f"Found no column to predict {shown(aim)} from, because every other column is an id, "
            "constant or known only later. Add columns that are known before the day begins."
        )
    delay = label_days(columns, rows, aim, asked.time)
    alike = _alike(columns, rows, read)
    midnight = _at_midnight(rows, asked.time, asked.timezone)
    wanted = min(28, len(listed) // 4) + delay

    def baseline_with(lookback: int) -> Baseline | None:
        return choose_baseline(
            columns,
            rows if newest is None else newest,
            aim,
            read,
            time=None if midnight else asked.time,
            timezone=asked.timezone,
            delay=delay,
            lookback=lookback,
        )

    baseline = baseline_with(wanted)
    looks_back = baseline is not None and baseline.how != "usual"
    windows = choose_windows(
        listed,
        _counts(rows["day"][rows[aim].notna()].value_counts()),
        rare=read.share or 0.5,
        delay=delay,
        wanted_lookback=wanted if alike or looks_back else 0,
    )
    if looks_back and windows.lookback < wanted:
        baseline = baseline_with(windows.lookback)
    plan = replace(
        _plan(asked, columns, windows, rows, listed, looked),
        delay=delay,
        midnight=midnight,
        strong=tuple(strong_inputs(columns, rows, truths(rows[aim], read), STRONG)),
        target=read,
        alike=tuple(alike) if windows.lookback else (),
        baseline=baseline,
        calendar=tuple(calendar_columns(columns, rows)),
    )
    return replace(plan, warnings=tuple(_warnings(asked, plan, rows, listed)))


def draft_ranking(
    asked: Asked, log: Feedback, rows: pd.DataFrame, listed: Sequence[date], looked: int
) -> tuple[Plan, Feedback]:
    """The plan of a recommendation.

    Args:
        asked: The options a person gives.
        log: Its columns of user, item and rating.
        rows: Raw rows of the days that were read, ascending by ``day``.
        listed: Days of the source, ascending.
        looked: How many of them were read.

    Raises:
        InferError: Where no model can be made; says what to do.
    """
    named = {"--time": asked.time, "--user": log.user, "--item": log.item, "--rating": log.rating}
    for option, name in named.items():
        if name is not None:
            check_column(rows, option, name)
    given = [name for name in named.values() if name is not None]
    if len(set(given)) < len(given):
        raise InferError("--user, --item, --rating and --time: expected different columns.")
    columns = describe_columns(rows, None, asked.time)
    roles: dict[str | None, Role] = {log.user: "input", log.item: "input", log.rating: "input"}
    columns = [replace(c, role=roles.get(c.name, c.role)) for c in columns]
    pairs = rows[[log.user, log.item]].dropna()
    again = float(rows.duplicated(["day", log.user, log.item]).sum())
    again = float(pairs.duplicated().sum() - again) / max(len(pairs), 1)
    if log.rating is not None:
        log = replace(log, liked=_liked(rows, log.rating))
    wanted = rows if log.rating is None else rows[rows[log.rating] >= log.liked]
    queries = wanted.groupby("day")[log.user].nunique()
    windows = choose_ranking_windows(listed, _counts(queries), len(rows) / looked)
    plan = _plan(asked, columns, windows, rows, listed, looked)
    found = [repeat_warning(again)]
    if log.rating is not None:
        found.append(
            f"An item counts as liked from a {log.rating} of {log.liked:g} (the median) on."
        )
    found += time_warnings(columns, rows, asked.time, asked.timezone, zoned=asked.zoned)
    found += day_warnings(listed, asked.today)
    found += row_warnings(rows)
    plan = replace(plan, user=log.user, warnings=tuple(found))
    return plan, replace(log, repeats=again > REPEATS)


def _plan(
    asked: Asked,
    columns: Sequence[Column],
    windows: Windows,
    rows: pd.DataFrame,
    listed: Sequence[date],
    looked: int,
) -> Plan:
    return Plan(
        name=asked.name,
        origin=asked.origin,
        source=asked.source,
        imported=asked.imported,
        columns=tuple(columns),
        windows=windows,
        first=listed[0],
        last=listed[-1],
        looked=looked_at(len(rows), looked, len(listed)),
        timezone=asked.timezone,
        rows=len(rows) / looked,
        fewest=fewest_rows(rows["day"]),
    )


def fewest_rows(days: pd.Series[Any]) -> float:
    """Rows of a day as a share of those of the day before, as low as on one day in a hundred.

    Args:
        days: The day of each row.
    """
    counts = days.value_counts().sort_index()
    shares = (counts / counts.shift()).dropna()
    return float(shares.quantile(0.01)) if len(shares) else 1.0


def _counts(by_day: pd.Series[int]) -> dict[date, int]:
    import pandas as pd

    return dict(zip(pd.DatetimeIndex(by_day.index).date, by_day.tolist(), strict=True))


def looked_at(rows: int, looked: int, listed: int) -> str:
    """How much of the history was read, for people."""
    if looked == listed:
        return f"{rows:,} rows of {listed:,} days"
    return f"{rows:,} rows of {looked:,} of {listed:,} days"


def repeat_warning(again: float) -> str:
    """What is said of the share of rows that repeat an earlier pair of user and item."""
    share = (
        f"{again:.{0 if again > REPEATS else 1}%} of the rows repeat" if again else "No row repeats"
    )
    so = "may" if again > REPEATS else "will not"
    return f"{share} an earlier pair of user and item: an item {so} be recommended again."


def check_column(rows: pd.DataFrame, option: str, name: str) -> None:
    """Raise InferError where the table has no such column; names the likeliest ones.

    A table's own column ``day`` that holds dates may be its time.
    """
    names = [str(column) for column in rows.columns if column != "day"]
    if name in names or (option, name) == ("--time", "day"):
        return
    near = difflib.get_close_matches(name, names, 3, 0.5)
    hint = f"Did you mean {' or '.join(map(shown, near))}? " if near else ""
    listed = ", ".join(map(shown, names[:30])) + (", ..." if len(names) > 30 else "")
    raise InferError(f"{option}: found no column {shown(name)}. {hint}Its columns: {listed}.")


def time_warnings(
    columns: Sequence[Column],
    rows: pd.DataFrame,
    time: str | None,
    timezone: str,
    *,
    zoned: bool = False,
) -> list[str]:
    """Warnings about times with and without a time zone; a date is the same day in each.

    Args:
        columns: Columns of the table.
        rows: Its rows.
        time: Column that says when a row happened, if any.
        timezone: Time zone in which a day begins and ends.
        zoned: Whether the source's own type of that column names a zone.
    """
    found = []
    zoned = zoned or any(c.zone for c in columns if c.name == time)
    zones = sorted({column.zone for column in columns if column.zone not in ("", timezone)})
    if time is not None and not zoned and not _are_dates(rows[time]):
        found.append(
            f"Times of {shown(time)} that name no time zone are read as local times of {timezone}."
            + (" If that is wrong, set --timezone." if timezone == "UTC" else "")
        )
    if zones:
        found.append(f"Times in {', '.join(zones)} are converted to local times of {timezone}.")
    return found


def day_warnings(listed: Sequence[date], today: date) -> list[str]:
    """Warnings about days in the future and gaps."""
    found = []
    future = [day for day in listed if day > today]
    if future:
        found.append(
            f"{len(future):,} days are in the future, the last one {future[-1]}: a night does not "
            "use them. Check that --time names the right column."
        )
    gaps = [(later - earlier).days for earlier, later in itertools.pairwise(listed)]
    if gaps and max(gaps) > 7:
        found.append(f"The history has gaps, the longest of {max(gaps) - 1:,} days.")
    return found


def _warnings(asked: Asked, plan: Plan, rows: pd.DataFrame, listed: Sequence[date]) -> list[str]:
    found = later_warnings(plan.named("later"))
    for role, words in (("id", "Ids"), ("constant", "Constant"), ("unusable", "Unreadable")):
        names = [column.name for column in plan.named(role)]
        if names:
            found.append(f"{words}, not used as inputs: {few(names, SHOWN)}.")
    found += time_warnings(plan.columns, rows, asked.time, asked.timezone, zoned=asked.zoned)
    found += [f"Labels come late: they are final after {plan.delay} days (label_delay)."] * bool(
        plan.delay
    )
    found += day_warnings(listed, asked.today)
    found += row_warnings(rows)
    if plan.target:
        found += class_warnings(rows, str(asked.target), plan.target, plan.windows.holdout)
    return [*found, *strong_warnings(plan)]


def later_warnings(late: Sequence[Column]) -> list[str]:
    """What is said of columns that seem to be known only after their day."""
    found = [
        f"Known only later? {column.name}: {column.why}. It is not used as input. If it is "
        "known before the day begins, add it to KNOWN_AHEAD."
        for column in late[:SHOWN]
    ]
    if more := late[SHOWN:]:
        names = few((column.name for column in more), NAMED_COLUMNS)
        found.append(f"Known only later? {len(more):,} more, not used as inputs: {names}.")
    return found


def strong_warnings(plan: Plan) -> list[str]:
    """What is said of inputs that separate the rows well alone: numbers, then texts."""
    texts = {column.name for column in plan.named("input") if column.kind == "text"}
    found = []
    for strong, of_texts in (
        ([one for one in plan.strong if one[0] not in texts], False),
        ([one for one in plan.strong if one[0] in texts], True),
    ):
        if not strong:
            continue
        if single := len(strong) == 1:
            alone = f"{strong[0][0]} alone has an AUC of {strong[0][1]:.2f}"
        else:
            named = few((f"{name} {area:.2f}" for name, area in strong), NAMED_COLUMNS)
            alone = f"{named} alone have such an AUC"
        known = f"Check that {'it' if single else 'each'} is known before the day begins"
        if of_texts:
            which = "this text" if single else "these texts"
            found.append(f"{alone}; a night tests numbers only, and not {which}. {known}.")
        else:
            names = tuple(name for name, _ in strong[:NAMED_COLUMNS])
            found.append(
                f"{alone}; above {Gate.feature_auc:.2f} a night asks a person. {known}, and then "
                f"name it in the gate: strong_features={names!r}."
            )
    return found


def _alike(columns: Sequence[Column], rows: pd.DataFrame, read: Target) -> list[str]:
    """At most two categories that repeat often; the one with more values first."""
    if read.kind == "multiclass":
        return []
    fine = [
        column
        for column in columns
        if column.role == "input"
        and (column.kind == "text" or column.is_code)
        and ALIKE[0] <= column.unique <= min(ALIKE[1], len(rows) / 20)
    ]
    return [column.name for column in sorted(fine, key=lambda c: (-c.unique, c.name))[:2]]


def _liked(rows: pd.DataFrame, rating: str) -> float:
    import pandas as pd

    values = rows[rating].dropna()
    if not pd.api.types.is_numeric_dtype(values) or values.nunique() < 2:
        raise InferError(
            f"--rating {shown(rating)}: expected at least two different numbers. Leave --rating "
            "out to count every row as a wanted item."
        )
    return float(values.median())


def _are_dates(times: pd.Series[Any]) -> bool:
    """Whether no value has a time of day; texts of any format are asked for a colon."""
    there = times.dropna()
    if there.dtype.kind == "M":
        return bool((there == there.dt.normalize()).all())
    return not there.astype("str").str.contains(":", regex=False).any()


def _at_midnight(rows: pd.DataFrame, time: str | None, timezone: str) -> bool:
    """Whether times are dates: none has a time of day, as far as they are written as ISO times."""
    import pandas as pd

    if time is None or not (
        rows[time].dtype.kind == "M" or pd.api.types.is_string_dtype(rows[time])
    ):
        return True
    try:
        there: Any = read_times(rows[time]).dropna()
    except ValueError:
        return True
    there = there if there.dt.tz is None else there.dt.tz_convert(timezone)
    return bool((there.dt.hour == 0).all() and (there.dt.minute == 0).all())
