"""Charts of a row per night, as inline SVG.

x is in percent and y in pixels, so that a chart fits any screen while text and marks keep their
size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tasks.reporting.history_rows import LARGEST, Row
from tasks.reporting.page_parts import MARKS

FEWEST_SLOTS = 14
"""Fewest nights a chart has room for, so that a first night is not one broad bar."""
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


def live_chart(rows: Sequence[Row], label: str) -> str:
    """The prediction interval as a band, live days as dots, the predecessor as a thin line."""
    figures = [each for row in rows for each in (row.live, row.low, row.high, row.previous)]
    known = [each for each in figures if each is not None]
    if not known:
        return f'<p class="none">{EMPTY["live"]}</p>'
    frame = Frame(max(len(rows), FEWEST_SLOTS), *span(known), height=190)
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


def bars(
    rows: Sequence[Row], values: Sequence[float | None], look: str, label: str, height: int
) -> str:
    """A bar per night, from zero; bars of the age show changes of champion."""
    known = [value for value in values if value is not None]
    if not known:
        return f'<p class="none">{EMPTY[look]}</p>'
    frame = Frame(max(len(rows), FEWEST_SLOTS), 0, span([0, 4, *known])[1], height)
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
    lines = {_short(tick): frame.y(tick) for tick in ticks(frame.low, frame.high)}
    figures = "".join(f'<text x="38" y="{y}" dy="4">{text}</text>' for text, y in lines.items())
    grid = "".join(f'<line x2="100%" y1="{y}" y2="{y}"/>' for y in lines.values())
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


def span(figures: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis, with a margin; never an empty range."""
    low, high = min(figures), max(figures)
    size = max(abs(low), abs(high))
    air = (high - low) / 20 if high - low > 1e-4 * size else size / 10
    return (low - air, high + air) if size > 1 / LARGEST else (-1.0, 1.0)


def ticks(low: float, high: float) -> list[float]:
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
