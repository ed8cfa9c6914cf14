"""The last year of a model: its live days by week, its nights by month."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from statistics import fmean, median

from tasks.reporting.history_charts import bars, live_chart
from tasks.reporting.history_rows import Row, place_of, rounded
from tasks.reporting.page_parts import MARKS, mark, table
from tasks.reporting.wording import capitalized

TITLES = ("Month", "Nights", "Live days", "Live", "Champions", "Seconds a night")


def to_html(rows: Sequence[Row], name: str, greater: bool) -> str:
    """The section of the page.

    Args:
        rows: A row for each date, ascending.
        name: Title of the primary metric, escaped.
        greater: Whether larger is better.
    """
    weeks = by_week(rows, greater)
    label = f"{capitalized(name)} of each week, mean of its live days"
    said = "Dots are means of a week's live days, the band is the mean of their intervals."
    return f"""<h2>The last {len(rows)} nights, week by week</h2>
<p class="quiet">{said}</p>
{live_chart(weeks, label)}
<p class="quiet">Age of the champion at the end of the week, days</p>
{bars(weeks, [week.age for week in weeks], "age", "Age of the champion in days", 90)}
<h2>Month by month</h2>
{table("Month by month", TITLES, by_month(rows))}"""


def by_week(rows: Sequence[Row], greater: bool) -> list[Row]:
    """A row for each week, named by its Monday: means of its live days, its last champion."""
    found = []
    for monday, days in groupby(rows, lambda row: row.day - timedelta(days=row.day.weekday())):
        week = list(days)
        live = [row for row in week if row.live is not None]
        value = _mean([row.live for row in live])
        low, high = _mean([row.low for row in live]), _mean([row.high for row in live])
        known = value is not None and low is not None and high is not None
        place = place_of(value or 0, low or 0, high or 0, greater) if known else "no interval"
        changes = [row.change for row in week if row.change]
        found.append(
            Row(
                monday,
                version=week[-1].version,
                age=week[-1].age,
                change="went back" if "went back" in changes else "promoted" if changes else "",
                live=value,
                low=low,
                high=high,
                place=place if live else "",
                told=f"{rounded(value or 0)}, mean of {len(live)} live days, {place}",
            )
        )
    return found


def by_month(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The cells of each month, the newest first: HTML."""
    months = [list(days) for _, days in groupby(rows, lambda row: (row.day.year, row.day.month))]
    return [_month(days) for days in reversed(months)]


def _month(rows: Sequence[Row]) -> tuple[str, ...]:
    verdicts = Counter(row.verdict for row in rows)
    nights = " ".join(
        f'<span class="key">{mark(verdict)} {verdict} {verdicts[verdict]}</span>'
        for verdict in sorted(verdicts, key=[*MARKS, *verdicts].index)
    )
    live = [row for row in rows if row.live is not None]
    inside = sum(row.place == "inside" for row in live)
    seconds = [row.seconds for row in rows if row.seconds is not None]
    went = sum(row.change == "went back" for row in rows)
    new = sum(row.change == "promoted" for row in rows)
    changes = [f"{new} new"] * bool(new) + [f"{went} went back"] * bool(went)
    return (
        f"{rows[0].day:%B %Y}",
        nights,
        f"{inside} of {len(live)} inside" if live else "",
        rounded(_mean([row.live for row in live]) or 0) if live else "",
        ", ".join(changes),
        f"{median(seconds):,.0f}" if seconds else "",
    )


def _mean(figures: Sequence[float | None]) -> float | None:
    """The mean of the figures that are known; None where none is."""
    known = [figure for figure in figures if figure is not None]
    return fmean(known) if known else None
