"""From a table and what is asked of it to a plan of the model, with every doubt in words."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from tasks.scaffold.leak_hints import (
    class_warnings,
    label_days,
    name_latecomers,
    row_warnings,
    strongest,
    truths,
)
from tasks.scaffold.plan import Plan
from tasks.scaffold.profiling import InferError, describe_columns, read_target, shown
from tasks.scaffold.render_spec import STRONG
from tasks.scaffold.windows import choose_ranking_windows, choose_windows

if TYPE_CHECKING:
    import pandas as pd

    from tasks.scaffold.profiling import Column, Role, Target
    from tasks.scaffold.render_ranking import Feedback
    from tasks.scaffold.windows import Windows
    from tasks.sources.base import Source


ENOUGH = 500_000
"""Rows that are looked at; of a longer history some days, evenly spread."""
REPEATS = 0.05
"""Share of rows from which taking an item again is the habit."""
ALIKE = (3, 5_000)
"""Different values of a category whose past is worth a feature."""


@dataclass(frozen=True)
class Asked:
    """What a person asks of a table.

    Attributes:
        name: Of the model.
        origin: Where the rows come from, in words.
        source: The source as code, part by part, without its time zone.
        imported: The source's class.
        time: Column that says when a row happened, if any.
        target: Column to predict, for all but recommendations.
        problem: The problem, where a person chose it.
        timezone: In which a day begins and ends.
        today: Rows of later days are of the future.
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


def read_sample(source: Source, listed: Sequence[date]) -> tuple[pd.DataFrame, int]:
    """Rows of all days, or of evenly spread ones where all would be too many, and of how many."""
    newest = source.read_days(listed[-7:])
    usual = max(len(newest) / len(listed[-7:]), 1)
    wanted = min(len(listed), max(int(ENOUGH / usual), 30))
    step = len(listed) / wanted
    days = [listed[int((number + 1) * step) - 1] for number in range(wanted)]
    return source.read_days(days), len(days)


def draft(asked: Asked, rows: pd.DataFrame, listed: Sequence[date], looked: int) -> Plan:
    """Everything that is decided about a model for one column.

    Args:
        asked: What a person asks.
        rows: Raw rows of the days that were looked at, ascending by ``day``.
        listed: Days of the source, ascending.
        looked: How many of them were looked at.

    Raises:
        InferError: Where no model can be made, with what to do.
    """
    aim = str(asked.target)
    for option, name in (("--time", asked.time), ("--target", aim)):
        if name is not None:
            check_column(rows, option, name)
    columns = describe_columns(rows, aim, asked.time)
    target = next(column for column in columns if column.name == aim)
    if target.name == asked.time:
        raise InferError("--target: found the column of --time; expected another one.")
    read = read_target(rows, target, asked.problem)
    columns = name_latecomers(columns, rows, target, read, asked.time)
    ahead = [column for column in columns if column.role in ("time", "input")]
    if not ahead:
        raise InferError(
            f"Found no column to predict {shown(aim)} from: each is an id, constant or "
            "known only later. Add columns that are known before the day begins."
        )
    delay = label_days(columns, rows, aim, asked.time)
    alike = _alike(columns, rows, read)
    windows = choose_windows(
        listed,
        _counts(rows["day"][rows[aim].notna()].value_counts()),
        rare=read.share or 0.5,
        delay=delay,
        wanted_lookback=min(28, len(listed) // 4) + delay if alike else 0,
    )
    best, strong = strongest(columns, rows, truths(rows[aim], read))
    plan = replace(
        _plan(asked, columns, windows, rows, listed, looked),
        delay=delay,
        midnight=_at_midnight(rows, asked.time),
        strongest=best,
        strong=strong,
        target=read,
        alike=tuple(alike) if windows.lookback else (),
    )
    return replace(plan, warnings=tuple(_warnings(asked, plan, rows, listed)))


def draft_ranking(
    asked: Asked, log: Feedback, rows: pd.DataFrame, listed: Sequence[date], looked: int
) -> tuple[Plan, Feedback]:
    """Everything that is decided about a recommendation.

    Args:
        asked: What a person asks.
        log: Its columns of user, item and rating.
        rows: Raw rows of the days that were looked at, ascending by ``day``.
        listed: Days of the source, ascending.
        looked: How many of them were looked at.

    Raises:
        InferError: Where no model can be made, with what to do.
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
    found = [f"{again:.0%} of the rows repeat an earlier pair of user and item."]
    if log.rating is not None:
        found.append(f"Liked is a {log.rating} of {log.liked:g} or more, the median.")
    found += time_warnings(columns, asked.time, asked.timezone)
    found += day_warnings(listed, asked.today)
    found += row_warnings(rows)
    strong = 0.92  # candidates are chosen by scores that are features too
    plan = replace(plan, user=log.user, strongest=strong, warnings=tuple(found))
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
    )


def _counts(by_day: pd.Series[int]) -> dict[date, int]:
    import pandas as pd

    return dict(zip(pd.DatetimeIndex(by_day.index).date, by_day.tolist(), strict=True))


def looked_at(rows: int, looked: int, listed: int) -> str:
    """How much of the history was read, in words."""
    if looked == listed:
        return f"{rows:,} rows of {listed:,} days"
    return f"{rows:,} rows of {looked:,} of {listed:,} days"


def check_column(rows: pd.DataFrame, option: str, name: str) -> None:
    """Raise InferError where the table has no such column; names the likeliest ones."""
    names = [str(column) for column in rows.columns if column != "day"]
    if name in names:
        return
    near = difflib.get_close_matches(name, names, 3, 0.5)
    hint = f"Did you mean {' or '.join(map(shown, near))}? " if near else ""
    listed = ", ".join(map(shown, names[:30])) + (", ..." if len(names) > 30 else "")
    raise InferError(f"{option}: found no column {shown(name)}. {hint}Its columns: {listed}.")


def time_warnings(columns: Sequence[Column], time: str | None, timezone: str) -> list[str]:
    """What is to be known of naive and zoned times."""
    found = []
    zones = sorted({column.zone for column in columns if column.zone not in ("", timezone)})
    if time is not None and not any(c.zone for c in columns if c.name == time):
        found.append(
            f"Times of {shown(time)} that name no zone are taken as local times of {timezone}."
            + (" Is that so? Else say --timezone." if timezone == "UTC" else "")
        )
    if zones:
        found.append(f"Times in {', '.join(zones)} are turned into local times of {timezone}.")
    return found


def day_warnings(listed: Sequence[date], today: date) -> list[str]:
    """Days of the future, and gaps."""
    found = []
    future = [day for day in listed if day > today]
    if future:
        found.append(
            f"{len(future):,} days lie in the future, the last is {future[-1]}: a night uses none "
            "of them. Is the column of --time the right one?"
        )
    gaps = [(later - earlier).days for earlier, later in itertools.pairwise(listed)]
    if gaps and max(gaps) > 7:
        found.append(f"The history has gaps, the longest of {max(gaps) - 1:,} days.")
    return found


def _warnings(asked: Asked, plan: Plan, rows: pd.DataFrame, listed: Sequence[date]) -> list[str]:
    found = []
    for column in plan.named("later"):
        found.append(
            f"Known only later? {column.name}: {column.why}. It is no input; if you know it before "
            "the day, add it to KNOWN_AHEAD."
        )
    for role, words in (("id", "Ids"), ("constant", "Constant"), ("unusable", "Unreadable")):
        names = [column.name for column in plan.named(role)]
        if names:
            more = f" and {len(names) - 8} more" if len(names) > 8 else ""
            found.append(f"{words}, no inputs: {', '.join(names[:8])}{more}.")
    found += time_warnings(plan.columns, asked.time, asked.timezone)
    found += [f"Label comes late: final after {plan.delay} days (label_delay)."] * bool(plan.delay)
    found += day_warnings(listed, asked.today)
    found += row_warnings(rows)
    if plan.target:
        found += class_warnings(rows, str(asked.target), plan.target, plan.windows.holdout)
    if plan.strongest > STRONG:
        found.append(
            f"{plan.strong} alone has an AUC of {plan.strongest:.2f}. If it is known before the "
            "day, all is well: gate.feature_auc was raised for it."
        )
    return found


def _alike(columns: Sequence[Column], rows: pd.DataFrame, read: Target) -> list[str]:
    """At most two categories that repeat often; the finer one first."""
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
            f"--rating {shown(rating)}: expected numbers, two different ones at least. Without "
            "--rating each row counts as a wish."
        )
    return float(values.median())


def _at_midnight(rows: pd.DataFrame, time: str | None) -> bool:
    import pandas as pd

    if time is None:
        return True
    times: Any = rows[time]
    if times.dtype.kind != "M":
        times = pd.to_datetime(times, format="ISO8601", errors="coerce")
    there = times.dropna()
    return bool((there.dt.hour == 0).all() and (there.dt.minute == 0).all())
