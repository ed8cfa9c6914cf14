"""The last 60 nights of a model on one self-contained HTML page.

Its charts are inline SVG with x in percent and y in pixels, so that a chart fits any screen while
text and marks keep their size.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.metrics import base
from tasks.monitoring.coverage import COVERAGE, MORE
from tasks.monitoring.live_days import past_days
from tasks.promotion.checks import Status
from tasks.registry.waiting import APPROVED
from tasks.reporting.archive import history_page, past_reports
from tasks.reporting.page_parts import MARKS, MISSING, mark, style, table
from tasks.reporting.wording import capitalized, decided, outcome
from tasks.store.files import write_file

if TYPE_CHECKING:
    from tasks.reporting.report_schema import Report


NIGHTS = 60
"""Dates on the page; the last is that of the newest report."""
FEWEST_SLOTS = 14
"""Fewest nights a chart has room for, so that a first night is not one broad bar."""
LARGEST = 1e150
"""Larger figures are not drawn, because their differences could overflow."""
EMPTY = {
    "live": "No day has been graded yet: the night after a day's labels are final grades it.",
    "age": "There has been no champion yet: the first night that promotes one fills this.",
    "accepted": "No rows have been counted yet: the first night with data fills this.",
    "quarantined": "No rows have been counted yet: the first night with data fills this.",
    "seconds": "No night has told its time yet: the next one fills this.",
}
"""What is said in place of a chart that has nothing to show."""
TOP, BOTTOM = 12.0, 24.0
"""Margins of a chart in pixels, above and below."""


@dataclass(frozen=True)
class Row:
    """One date: its night's verdict, and the champion's live performance on that day.

    Attributes:
        day: As-of date.
        verdict: The night's verdict, or ``NO REPORT``.
        why: What happened to the champion, if anything, and the verdict's first reason.
        version: The champion after the night.
        age: Days since that champion's own night.
        change: ``promoted``, ``went back`` or nothing.
        accepted: Rows, where they were counted.
        quarantined: Rows, where they were counted.
        seconds: How long the night took.
        live: The primary metric of the predictions published for that day.
        low: Lower end of its prediction interval.
        high: Upper end.
        place: ``inside``, ``worse``, ``better`` or ``no interval``; nothing where not graded.
        previous: The predecessor's metric on that day.
        told: The graded day as text.
        covered: Share of labels that the prediction intervals held on that day.
        level: Share that they promise.
    """

    day: date
    verdict: str = MISSING
    why: str = "There is no report of this night."
    version: str | None = None
    age: int | None = None
    change: str = ""
    accepted: float | None = None
    quarantined: float | None = None
    seconds: float | None = None
    live: float | None = None
    low: float | None = None
    high: float | None = None
    place: str = ""
    previous: float | None = None
    told: str = ""
    covered: float | None = None
    level: float | None = None


@dataclass(frozen=True)
class Frame:
    """The scales of a chart.

    Attributes:
        slots: Nights it has room for.
        low: Figure at the bottom.
        high: Figure at the top.
        height: In pixels, with the dates beneath.
    """

    slots: int
    low: float
    high: float
    height: int

    def x(self, night: float) -> str:
        """Distance from the left in percent; a night is 1 wide."""
        return f"{100 * night / self.slots:.4f}%"

    def y(self, figure: float) -> float:
        """Distance from the top in pixels."""
        share = (figure - self.low) / (self.high - self.low)
        return round(self.height - BOTTOM - share * (self.height - BOTTOM - TOP), 1)


@dataclass(frozen=True)
class Standing:
    """The champion of now, which a rollback may have made since the newest night.

    Attributes:
        version: Version in the registry.
        candidate: Its recipe.
        since: As-of date of its night.
        withdrawn: Version that was rolled back, reverted or refused to the reason.
        decided: What a person decided on a version, as ``approved by ...``.
    """

    version: str
    candidate: str
    since: date
    withdrawn: Mapping[str, str]
    decided: Mapping[str, str] = field(default_factory=dict)


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
    reports, since_then = _as_it_stands(reports, standing)
    newest = reports[-1]
    metric = newest["metric"]
    known = "greater_is_better" in newest
    greater = newest["greater_is_better"] if known else base.greater_is_better(metric)
    name = escape(newest.get("titles", {}).get(metric, base.title(metric)))
    rows = _read(reports, live, metric, greater)
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
{_live_chart(rows, f"{capitalized(name)} of each live day and its prediction interval")}
{_estimates(newest, {record["day"] for record in live}, name)}
{_coverage(rows, newest)}
<h2>Age of the champion, days</h2>
{_legend("promoted", "went back")}
{_bars(rows, [row.age for row in rows], "age", "Age of the champion in days", 120)}
<h2>Rows accepted</h2>
{_bars(rows, [row.accepted for row in rows], "accepted", "Rows accepted", 110)}
<h2>Rows in quarantine</h2>
{_bars(rows, [row.quarantined for row in rows], "quarantined", "Rows in quarantine", 90)}
<h2>Seconds a night took</h2>
{_bars(rows, [row.seconds for row in rows], "seconds", "Seconds a night took", 90)}
<h2>Night by night</h2>
{_table(rows)}
</main>
</body>
</html>
"""


def _read(
    reports: Sequence[Report], live: Sequence[Mapping[str, Any]], metric: str, greater: bool
) -> list[Row]:
    """A row for every date up to the newest report's, ascending, also for dates without a
    report."""
    last = date.fromisoformat(reports[-1]["as_of"])
    first = max(date.fromisoformat(reports[0]["as_of"]), last - timedelta(days=NIGHTS - 1))
    graded = {record["day"]: _graded(record, metric, greater) for record in live}
    approved = frozenset(_approved(reports))
    nights: dict[str, dict[str, Any]] = {}
    before: str | None = None
    for report in reports:
        nights[report["as_of"]] = night = _decided(report, before, approved)
        before = night["version"] or before
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return [Row(day, **nights.get(str(day), {}), **graded.get(str(day), {})) for day in days]


def _as_it_stands(
    reports: Sequence[Report], standing: Standing | None
) -> tuple[Sequence[Report], str]:
    """The reports, the newest with the champion of now; what was done since, in words."""
    newest = reports[-1]
    before = newest.get("champion", {}).get("version")
    if standing is None or standing.version == before:
        return reports, ""
    if standing.version in standing.decided and before not in standing.withdrawn:
        told = f"version {standing.version} was {standing.decided[standing.version]}"
    else:
        why = standing.withdrawn.get(before or "", "another version is the champion")
        told = f"version {before} was rolled back: {why}"
    said = f"Since then {told}."
    changed: Report = {
        **newest,
        "champion": {
            "version": standing.version,
            "candidate": standing.candidate,
            "since": standing.since.isoformat(),
        },
        "reverted": " ".join(filter(None, (newest.get("reverted"), said))),
    }
    return [*reports[:-1], changed], told


def _approved(reports: Sequence[Report]) -> Iterator[str]:
    """Versions that waited for a person and were approved."""
    for report in reports:
        waiting = report.get("waiting")
        decision = waiting["decision"] if waiting else None
        if waiting and decision and decision["outcome"] == APPROVED:
            yield waiting["version"]


def _decided(report: Report, before: str | None, approved: Collection[str] = ()) -> dict[str, Any]:
    """The row of a report; ``before`` is the champion of the report before it."""
    champion, rows = report.get("champion", {}), report.get("rows", {})
    version, since = champion.get("version"), champion.get("since")
    age = (date.fromisoformat(report["as_of"]) - date.fromisoformat(since)).days if since else -1
    made = report.get("challenger", {}).get("version") or version
    promoted = report["verdict"] == Status.PROMOTED and made == version
    promoted |= version in approved and version != before
    moved = bool(before and version and version != before) or (
        report["verdict"] == Status.PROMOTED and not promoted
    )
    told = capitalized(decided(report.get("waiting")))
    why = [report.get("reverted"), f"{told}." if told else "", *report.get("reasons", [])[:1]]
    return {
        "verdict": report["verdict"],
        "why": " ".join(filter(None, why)),
        "version": version,
        "age": age if age >= 0 else None,
        "change": "promoted" if promoted else "went back" * moved,
        "accepted": _number(rows.get("accepted")) if rows.get("in") else None,
        "quarantined": _number(rows.get("quarantined")) if rows.get("in") else None,
        "seconds": _number(report.get("seconds", {}).get("total")),
    }


def _graded(record: Mapping[str, Any], metric: str, greater: bool) -> dict[str, Any]:
    """The fields of a graded day."""
    value = _number(record["metrics"].get(metric))
    promised = record.get("promised") or {}
    low, high = _number(promised.get("low")), _number(promised.get("high"))
    place, told, covered = "", "", _number(record["metrics"].get(COVERAGE))
    if value is not None:
        place = told = "no interval"
        if low is not None and high is not None:
            place = "better" if (value > high) == greater else "worse"
            place = "inside" if low <= value <= high else place
            than = "" if place == "inside" else " than"
            told = f"{place}{than} the prediction interval {_figure(low)} to {_figure(high)}"
        told = f"{_figure(value)}, {told}; {record['labelled']:,} of {record['asked']:,} labelled"
    return {
        "live": value,
        "low": low,
        "high": high,
        "place": place,
        "previous": _number((record.get("previous") or {}).get(metric)),
        "told": told,
        "covered": covered,
        "level": (record.get("calibration") or {}).get("predicted")
        if covered is not None
        else None,
    }


def _number(value: float | None) -> float | None:
    """The figure, if it can be drawn."""
    return value if value is not None and abs(value) < LARGEST else None


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
        said += "" if row.age is None else f", <b>{_many(row.age, 'day')}</b> old"
    places = Counter(row.place for row in rows if row.place)
    compared = places.total() - places["no interval"]
    if not compared:
        return f"{said}; no live day {'has a prediction interval' if places else 'is graded'} yet."
    said += f"; live {name} was inside the prediction interval on "
    said += f"<b>{places['inside']} of {_many(compared, 'day')}</b>"
    outside = [f", {place} on {places[place]}" for place in ("worse", "better") if places[place]]
    return said + "".join(outside) + "."


def _nights(rows: Sequence[Row]) -> str:
    return "The first night" if len(rows) == 1 else f"Last {len(rows)} nights"


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _legend(*meanings: str, said: str = "") -> str:
    keys = " ".join(f'<span class="key">{mark(each)} {each}</span>' for each in meanings)
    return f'<p class="quiet">{said} {keys}</p>'


def _estimates(newest: Report, graded: Collection[str], name: str) -> str:
    """What days without labels should have, as a line of text; no mark in the chart is of them."""
    ahead = [day for day in newest.get("estimated", []) if day["day"] not in graded]
    if not ahead:
        return ""
    said = "; ".join(
        f"{escape(day['day'])}: {_figure(day['value'])} ({_figure(day['low'])} to "
        f"{_figure(day['high'])})"
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
        f"{_live_chart(days, 'Share of labels inside their interval on each live day')}"
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


def _live_chart(rows: Sequence[Row], label: str) -> str:
    """The prediction interval as a band, live days as dots, the predecessor as a thin line."""
    figures = [each for row in rows for each in (row.live, row.low, row.high, row.previous)]
    known = [each for each in figures if each is not None]
    if not known:
        return f'<p class="none">{EMPTY["live"]}</p>'
    frame = Frame(max(len(rows), FEWEST_SLOTS), *_span(known), height=190)
    bands, lines, dots = ['<g class="band">'], ["</g>"], []
    for n, row in enumerate(rows):
        if row.low is not None and row.high is not None:
            bands.append(_rect(frame, "promised", n, 0, row.low, row.high))
        before = rows[n - 1].previous if n else None
        if row.previous is not None and before is not None:
            start = f'x1="{frame.x(n - 0.5)}" y1="{frame.y(before)}"'
            end = f'x2="{frame.x(n + 0.5)}" y2="{frame.y(row.previous)}"'
            lines.append(f'<line class="thin" {start} {end}/>')
        if row.live is not None:
            dots.append(_placed(frame, row.place, n, frame.y(row.live), f"{row.day}: {row.told}"))
    return _chart(frame, label, rows, [*bands, *lines, *dots])


def _bars(
    rows: Sequence[Row], values: Sequence[float | None], look: str, label: str, height: int
) -> str:
    """A bar per night, from zero; bars of the age show changes of champion."""
    known = [value for value in values if value is not None]
    if not known:
        return f'<p class="none">{EMPTY[look]}</p>'
    frame = Frame(max(len(rows), FEWEST_SLOTS), 0, _span([0, 4, *known])[1], height)
    bars, changes = [], []
    for n, (row, value) in enumerate(zip(rows, values, strict=True)):
        if value is not None:
            bars.append(_rect(frame, look, n, 0.1, 0, value, f"{row.day}: {value:,.0f}"))
        if look == "age" and row.change:
            told = f"{row.day}: version {row.version} {row.change}"
            changes.append(_placed(frame, row.change, n, frame.y(value or 0) - 5, told))
    return _chart(frame, label, rows, [*bars, *changes])


def _rect(
    frame: Frame, look: str, night: int, gap: float, low: float, high: float, told: str = ""
) -> str:
    """A rectangle over one night from ``low`` to ``high``, with a minimum height."""
    tall = max(frame.y(low) - frame.y(high), 1.5)
    across = f'x="{frame.x(night + gap)}" width="{frame.x(1 - 2 * gap)}"'
    down = f'y="{frame.y(low) - tall:.1f}" height="{tall:.1f}"'
    return f'<rect class="{look}" {across} {down}><title>{told}</title></rect>'


def _placed(frame: Frame, meaning: str, night: int, y: float, told: str) -> str:
    """A mark at the centre of a night."""
    look, shape = MARKS[meaning]
    place = f'x="{frame.x(night + 0.5)}" y="{y:.1f}"'
    return f'<svg class="{look}" {place}><title>{escape(told)}</title>{shape}</svg>'


def _chart(frame: Frame, label: str, rows: Sequence[Row], drawn: Sequence[str]) -> str:
    """A chart with grid lines at round figures and up to four dates."""
    ticks = {_short(tick): frame.y(tick) for tick in _ticks(frame.low, frame.high)}
    figures = "".join(f'<text x="38" y="{y}" dy="4">{text}</text>' for text, y in ticks.items())
    grid = "".join(f'<line x2="100%" y1="{y}" y2="{y}"/>' for y in ticks.values())
    last = frame.slots - 1
    for n in (0, round(last / 3), round(last * 2 / 3), last):
        if n < len(rows):
            side = "start" if n == 0 else "end" if n == last else "middle"
            place = f'x="{frame.x(n + 0.5)}" y="{frame.height - 6}"'
            grid += f'<text class="{side}" {place}>{rows[n].day.day} {rows[n].day:%b}</text>'
    return (
        f'<div class="chart"><svg class="axis" width="42" height="{frame.height}" '
        f'aria-hidden="true">{figures}</svg>\n'
        f'<svg class="plot" height="{frame.height}" role="img" aria-label="{label}">'
        f'<g class="grid">{grid}</g>{"".join(drawn)}</svg></div>'
    )


def _span(figures: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis, with a margin; never an empty range."""
    low, high = min(figures), max(figures)
    size = max(abs(low), abs(high))
    air = (high - low) / 20 if high - low > 1e-4 * size else size / 10
    return (low - air, high + air) if size > 1 / LARGEST else (-1.0, 1.0)


def _ticks(low: float, high: float) -> list[float]:
    """Two to five round figures between the limits."""
    step = 10.0 ** math.floor(math.log10(high - low))
    step *= 0.5 if high - low < 2.5 * step else 1 if high - low < 5 * step else 2
    first, last = math.ceil(low / step), math.floor(high / step)
    return [min(max(step * n, low), high) for n in range(first, last + 1)]  # rounding may overstep


def _short(figure: float) -> str:
    """A round figure, shortened: ``0.25``, ``1.5M``."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size <= abs(figure) < 1000 * size:
            return f"{figure / size:.4g}{letter}"
    return f"{figure:.4g}"


def _figure(figure: float) -> str:
    return f"{figure:.3f}" if 0.01 <= abs(figure) < 1e5 else f"{figure:.3g}"


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
        live = "" if row.live is None else f"{mark(row.place)} {_figure(row.live)}{outside}"
        if row.covered is not None:
            live += f" <small>intervals {row.covered:.0%} of {row.level or 0:.0%}</small>"
        cells = (
            str(row.day),
            f"{mark(row.verdict)} {escape(row.verdict)}",
            escape(row.why),
            f"{_figure(row.low or 0)} to {_figure(row.high or 0)}" if known else "",
            live,
            escape(row.version or ""),
            "" if row.age is None else _many(row.age, "day"),
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
    reports = past_reports(model, date.max)
    if not reports:
        return None
    place = history_page(model)
    write_file(place, to_html(reports, past_days(model, date.max), standing).encode())
    return place
