"""What the HTML pages have in common: their style, marks for verdicts, and a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from string import Template

from tasks.promotion.checks import Status
from tasks.reporting import plots

MISSING = "NO REPORT"
MARKS = {
    Status.PROMOTED: ("green", '<path d="M0-6 6.5 5.5H-6.5z"/>'),
    Status.KEPT: ("blue", '<circle r="5.5"/>'),
    Status.WAITING: ("purple", '<path d="M-5.5-6h11L-5.5 6h11z"/>'),
    Status.SHADOW: ("purple open", '<path d="M-5.5-6h11L-5.5 6h11z"/>'),
    Status.HELD: ("grey", '<path d="M-5-5.5h3.7v11H-5zM1.3-5.5H5v11H1.3z"/>'),
    Status.REJECTED: ("orange line", '<path d="M-5-5 5 5M5-5-5 5"/>'),
    MISSING: ("gap", '<path d="M-5.5-5.5h11v11h-11z"/>'),
    "inside": ("blue", '<circle r="3.5"/>'),
    "worse": ("orange open", '<circle r="4"/>'),
    "better": ("blue open", '<circle r="4"/>'),
    "no interval": ("grey", '<path d="M0-4 4 0 0 4-4 0z"/>'),
    "prediction interval": ("band", '<path d="M-8-5H8V5H-8z"/>'),
    "predecessor": ("thin", '<path d="M-8 3-2-2 3 2 8-3"/>'),
    "promoted": ("green", '<path d="M0-4 4 3.5H-4z"/>'),
    "went back": ("orange", '<path d="M0 4-4.5-4H4.5z"/>'),
}
"""Meaning to style and to a shape around its centre; the shapes differ without colour."""


def mark(meaning: str, told: str = "") -> str:
    """A mark in a line of text; ``told`` is its label where there is no text beside it."""
    look, shape = MARKS.get(meaning, MARKS["no interval"])
    named = 'aria-hidden="true">'
    if told:
        named = f'role="img" aria-label="{escape(told)}"><title>{escape(told)}</title>'
    size = 'viewBox="-8 -8 16 16" width="18" height="18"'
    return f'<svg class="mark {look}" {size} {named}{shape}</svg>'


def table(name: str, titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table on a wide screen, one card a row on a narrow one.

    Args:
        name: What it holds, for people who hear the page.
        titles: Of the columns.
        rows: The HTML of each cell.
    """
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    lines = [
        "".join(
            f'<td data-title="{title}">{cell}</td>'
            for title, cell in zip(titles, cells, strict=True)
        )
        for cells in rows
    ]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    made = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
    return f'<div class="box" role="region" aria-label="{name}" tabindex="0">{made}</div>'


def style() -> str:
    """The style of the pages, for light and dark screens, wide and narrow ones."""
    names = ("blue", "orange", "green", "purple", "grey")
    colours = {name: getattr(plots, name.upper()) for name in names}
    return Template(STYLE).substitute(colours, sky=plots.OTHERS[2][0])


STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1a1a1a; --quiet: #5f5f5f;
  --line: #e0e0e0; --box: #f6f6f6; --blue: $blue; --orange: $orange; --green: $green;
  --purple: $purple; --grey: $grey }
@media (prefers-color-scheme: dark) { :root { --paper: #141414; --ink: #ececec; --quiet: #a8a8a8;
  --line: #353535; --box: #1f1f1f; --blue: $sky; --grey: #9a9a9a } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.45 system-ui, sans-serif; overflow-wrap: anywhere }
main { max-width: 1080px; margin: auto; padding: 16px }
h1 { font-size: 1.5rem; margin: 0 }
h2 { font-size: 1.05rem; margin: 28px 0 4px }
p { margin: 0 }
.quiet, .none, small { color: var(--quiet); font-size: .875rem }
.none { padding: 12px 0 }
.state { display: flex; gap: 10px; margin-top: 12px; padding: 12px; border-radius: 8px;
  background: var(--box); text-wrap: pretty }
.state svg { flex: none; margin-top: 2px }
:where(svg) { stroke-width: 0; overflow: visible }
.mark { vertical-align: -3px }
.blue { fill: var(--blue); stroke: var(--blue) }
.orange { fill: var(--orange); stroke: var(--orange) }
.green { fill: var(--green) }
.grey { fill: var(--grey) }
.purple { fill: var(--purple) }
.line { stroke-width: 3; fill: none }
.open { stroke-width: 2; fill: var(--paper) }
.gap { stroke: var(--purple); stroke-width: 2; stroke-dasharray: 3 2; fill: none }
.thin { stroke: var(--quiet); stroke-width: 1.2; fill: none }
.band { fill: var(--blue); opacity: .22 }
.key { white-space: nowrap; margin-right: 10px }
.strip { display: flex; flex-wrap: wrap; gap: 12px 40px; align-items: center; margin-top: 8px }
.strip ul { list-style: none; margin: 0; padding: 0; font-size: .875rem; display: flex;
  flex-wrap: wrap; gap: 4px 6px }
.weeks { display: grid; grid-auto-flow: column; grid-template-rows: auto repeat(7, 20px);
  grid-auto-columns: minmax(18px, 30px); gap: 1px 3px; place-items: center }
.weeks i { font: 11px/1.2 system-ui, sans-serif; color: var(--quiet); text-align: center }
.chart { display: flex; margin-top: 8px }
.axis { flex: none }
.plot { flex: 1; min-width: 0 }
text { font: 11px system-ui, sans-serif; fill: var(--quiet) }
.axis text, .end { text-anchor: end }
.middle { text-anchor: middle }
.grid line { stroke: var(--line); stroke-width: 1 }
rect { shape-rendering: crispEdges }
.age, .seconds { fill: var(--grey); opacity: .55 }
.accepted { fill: var(--blue) }
.quarantined { fill: var(--orange) }
.box { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .875rem; margin-top: 8px }
th, td { text-align: left; vertical-align: top; padding: 6px 12px 6px 0; white-space: nowrap;
  border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums }
[data-title="Why"], [data-title="To do"], [data-title="Newest live day"] { white-space: normal }
[data-title="Why"] { width: 50% }
[data-title="To do"] { min-width: 17em }
a { color: inherit }
td small { display: block }
@media (min-width: 861px) { .strip, .strip ul { flex-flow: row nowrap }
  .strip ul { flex-direction: column } }
@media (max-width: 860px) {
  thead, td:empty { display: none }
  table, tbody, tr { display: block }
  tr { padding: 10px 0; border-bottom: 1px solid var(--line) }
  td { display: inline-block; vertical-align: baseline; border: 0; padding: 0 12px 0 0;
    max-width: 100%; white-space: normal }
  td small { display: inline }
  td:first-child { font-weight: 600 }
  [data-title="Why"] { display: block; width: auto; margin: 2px 0 }
  td:nth-child(n+4)::before { content: attr(data-title) " "; color: var(--quiet) }
}
"""
