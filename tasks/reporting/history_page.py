"""The last 60 nights of a model, and its last year, on one self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.metrics import base
from tasks.monitoring.coverage import MORE
from tasks.monitoring.live_days import past_days
from tasks.promotion.checks import Status
from tasks.reporting import history_year
from tasks.reporting.archive import history_page, past_reports
from tasks.reporting.history_charts import bars, live_chart
from tasks.reporting.history_rows import Row, Standing, as_it_stands, read_rows, rounded
from tasks.reporting.page_parts import MARKS, mark, style, table
from tasks.reporting.wording import capitalized, outcome
from tasks.shown import counted
from tasks.store.files import write_file

if TYPE_CHECKING:
    from tasks.reporting.report_schema import Report


NIGHTS, YEAR = 60, 365
"""Dates that are shown one by one, and all dates; the last is that of the newest report."""


def to_html(
    reports: Sequence[Report],
    live: Sequence[Mapping[str, Any]],
    standing: Standing | None = None,
) -> str:
    """The page of a model as one string of HTML.

    Args:
        reports: The last nights', at least one, ascending (``archive.past_reports``).
        live: The graded days, ascending: ``day``, ``asked``, ``labelled``,
            ``metrics``, ``previous`` (the predecessor's metrics) and ``promised``, the prediction
            interval of the primary metric of one day.
        standing: The current champion; None for that of the newest report.
    """
    reports, since_then = as_it_stands(reports, standing)
    newest = reports[-1]
    metric = newest["metric"]
    known = "greater_is_better" in newest
    greater = newest["greater_is_better"] if known else base.greater_is_better(metric)
    name = escape(newest.get("titles", {}).get(metric, base.title(metric)))
    year = read_rows(reports, live, metric, greater, YEAR)
    rows = year[-NIGHTS:]
    better = f"{'Higher' if greater else 'Lower'} is better."
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(f"{newest['model']} · {newest['as_of']} · {newest['verdict']}")}</title>
<style>{style()}</style>
</head>
<body>
<main>
<h1>{escape(newest["model"])}</h1>
<p class="quiet">{escape(newest["question"])}</p>
<p class="state">{mark(newest["verdict"])}<span>{_state(rows, newest, name, since_then)}</span></p>
<h2>{_nights(rows)}</h2>
{_calendar(rows)}
<h2>{capitalized(name)}: prediction interval against live</h2>
{_legend("prediction interval", "inside", "worse", "better", "predecessor", said=better)}
{live_chart(rows, f"{capitalized(name)} of each live day and its prediction interval")}
{_estimates(newest, {record["day"] for record in live}, name)}
{_coverage(rows, newest)}
<h2>Age of the champion, days</h2>
{_legend("promoted", "went back")}
{bars(rows, [row.age for row in rows], "age", "Age of the champion in days", 120)}
<h2>Rows accepted</h2>
{bars(rows, [row.accepted for row in rows], "accepted", "Rows accepted", 110)}
<h2>Rows in quarantine</h2>
{bars(rows, [row.quarantined for row in rows], "quarantined", "Rows in quarantine", 90)}
<h2>Seconds a night took</h2>
{bars(rows, [row.seconds for row in rows], "seconds", "Seconds a night took", 90)}
{history_year.to_html(year, name, greater) if len(year) > NIGHTS else ""}
<h2>Night by night</h2>
{_table(rows)}
</main>
</body>
</html>
"""


def _state(rows: Sequence[Row], newest: Report, name: str, since_then: str) -> str:
    """The current state in one sentence; ``since_then`` is what a rollback has changed."""
    row = rows[-1]
    said = f"<b>{escape(row.verdict)}</b> on {row.day}"
    if row.version is None:
        said += "; there is no champion yet"
    else:
        recipe = escape(newest["champion"].get("candidate") or "recipe unknown")
        champion = f"version {escape(row.version)} ({recipe})"
        if since_then:
            said += f"; since then {escape(since_then)}; {champion} is the champion"
        else:
            said += f", {escape(outcome(newest))}" if row.verdict in set(Status) else ""
            said += f": {champion}"
        said += "" if row.age is None else f", <b>{counted(row.age, 'day')}</b> old"
    places = Counter(row.place for row in rows if row.place)
    compared = places.total() - places["no interval"]
    if not compared:
        return f"{said}; no live day {'has a prediction interval' if places else 'is graded'} yet."
    said += f"; live {name} was inside the prediction interval on "
    said += f"<b>{places['inside']} of {counted(compared, 'day')}</b>"
    outside = [f", {place} on {places[place]}" for place in ("worse", "better") if places[place]]
    return said + "".join(outside) + "."


def _nights(rows: Sequence[Row]) -> str:
    return "The first night" if len(rows) == 1 else f"Last {len(rows)} nights"


def _legend(*meanings: str, said: str = "") -> str:
    keys = " ".join(f'<span class="key">{mark(each)} {each}</span>' for each in meanings)
    return f'<p class="quiet">{said} {keys}</p>'


def _estimates(newest: Report, graded: Collection[str], name: str) -> str:
    """What days without labels should have, as a line of text; no mark in the chart is of them."""
    ahead = [day for day in newest.get("estimated", []) if day["day"] not in graded]
    if not ahead:
        return ""
    said = "; ".join(
        f"{escape(day['day'])}: {rounded(day['value'])} ({rounded(day['low'])} to "
        f"{rounded(day['high'])})"
        for day in ahead
    )
    return (
        f'<p class="quiet">Estimated from the probabilities alone, before labels come, '
        f"{name}: {said}.</p>"
    )


def _coverage(rows: Sequence[Row], newest: Report) -> str:
    """The share of labels that the intervals of each day held, beside their level."""
    days = [Row(row.day) if row.covered is None else _covered(row) for row in rows]
    if all(day.live is None for day in days):
        return ""
    held = newest.get("coverage")
    told = f"{escape(capitalized(held['told']))}." if held else ""
    keys = f"{mark('worse')} misses more than {MORE:g} times the nominal ones. {told}"
    return (
        "<h2>Labels inside their prediction interval: nominal level against live</h2>\n"
        f'<p class="quiet">{keys}</p>\n'
        f"{live_chart(days, 'Share of labels inside their interval on each live day')}"
    )


def _covered(row: Row) -> Row:
    """The row of a live day, drawn with its coverage in place of its metric."""
    share, level = row.covered or 0.0, row.level or 0.0
    place = "worse" if 1 - share > MORE * (1 - level) else "inside"
    told = f"held {share:.1%}, nominal {level:.1%}"
    return Row(row.day, live=share, low=level, high=level, place=place, told=told)


def _calendar(rows: Sequence[Row]) -> str:
    """One mark per night, one column per week, with the number of each verdict."""
    cells = ["<i></i>", *(f"<i>{letter}</i>" for letter in "MTWTFSS")]
    for n, row in enumerate(rows):
        if n == 0 or row.day.weekday() == 0:
            cells.append(f"<i>{row.day.day}<br>{row.day:%b}</i>")
            cells += ["<i></i>"] * row.day.weekday()
        cells.append(mark(row.verdict, f"{row.day}: {row.verdict}"))
    counts = Counter(row.verdict for row in rows)
    keys = "".join(
        f'<li class="key">{mark(verdict)} {escape(verdict)} <b>{counts[verdict]}</b></li>'
        for verdict in sorted(counts, key=[*MARKS, *counts].index)
    )
    return f'<div class="strip"><div class="weeks">{"".join(cells)}</div>\n<ul>{keys}</ul></div>'


def _table(rows: Sequence[Row]) -> str:
    """Every night, newest first: a table on a wide screen, one card per night on a narrow one."""
    titles = ("As of", "Verdict", "Why", "Interval", "Live", "Champion", "Age", "Rows")
    lines = []
    for row in reversed(rows):
        outside = "" if row.place == "inside" else f", {row.place}"
        known = row.low is not None and row.high is not None
        counts = "" if row.accepted is None else f"{row.accepted:,.0f}"
        if row.quarantined:
            counts += f" <small>+ {row.quarantined:,.0f} quarantined</small>"
        live = "" if row.live is None else f"{mark(row.place)} {rounded(row.live)}{outside}"
        if row.covered is not None:
            live += f" <small>intervals {row.covered:.0%} of {row.level or 0:.0%}</small>"
        cells = (
            str(row.day),
            f"{mark(row.verdict)} {escape(row.verdict)}",
            escape(row.why),
            f"{rounded(row.low or 0)} to {rounded(row.high or 0)}" if known else "",
            live,
            escape(row.version or ""),
            "" if row.age is None else counted(row.age, "day"),
            counts,
        )
        lines.append(cells)
    return table("Night by night", titles, lines)


def write_history(model: str, standing: Standing | None = None) -> Path | None:
    """Draw the page of a model's newest nights again; None before its first report.

    Args:
        model: Name of the model.
        standing: The current champion, if any.
    """
    reports = past_reports(model, date.max, YEAR)
    if not reports:
        return None
    place = history_page(model)
    write_file(place, to_html(reports, past_days(model, date.max, YEAR), standing).encode())
    return place
