"""The page of all models of a state directory: a row each, those first that need a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import settings
from tasks.promotion.checks import Status
from tasks.reporting.archive import past_reports
from tasks.reporting.page_parts import mark, style, table
from tasks.reporting.render import NOTHING_TO_DO, to_do
from tasks.reporting.wording import capitalized, outcome
from tasks.spec.fleet import fleet_of
from tasks.store.files import write_file

if TYPE_CHECKING:
    from tasks.reporting.report_schema import Report

WORST_FIRST = (Status.REJECTED, Status.HELD, Status.WAITING, Status.KEPT, Status.SHADOW)
TITLES = ("Model", "Verdict", "To do", "Champion", "Newest live day", "As of")


def write_index(champions: Mapping[str, str]) -> Path | None:
    """Draw the page of all models anew; None before the first report.

    It reads the newest report of each model that has its folder of reports.

    Args:
        champions: Model to the version that is its champion now.
    """
    place = settings.home() / "reports"
    every = sorted(folder.name for folder in place.glob("*/") if folder.is_dir())
    names = [name for name in every if fleet_of(name) == name]  # a fleet's page has its partitions
    newest = [report for name in names for report in past_reports(name, date.max, 1)]
    if not newest:
        return None
    write_file(place / "index.html", to_html(newest, champions).encode())
    return place / "index.html"


def to_html(newest: Sequence[Report], champions: Mapping[str, str]) -> str:
    """The page of these newest reports, one for each model; links lead to their pages of nights."""
    rows = [_cells(each, champions.get(each["model"])) for each in sorted(newest, key=_rank)]
    waiting = sum(to_do(report) != NOTHING_TO_DO for report in newest)
    said = f"{waiting} of {len(newest)} need a person." if waiting else "Nothing to do."
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Nightly: all models</title>
<style>{style()}</style>
</head>
<body>
<main>
<h1>All models</h1>
<p class="quiet">{said}</p>
{table("All models", TITLES, rows)}
</main>
</body>
</html>
"""


def _rank(report: Report) -> tuple[bool, int, str, str]:
    verdict = report["verdict"]
    severity = {status.value: place for place, status in enumerate(WORST_FIRST)}
    calm = to_do(report) == NOTHING_TO_DO
    return calm, severity.get(verdict, len(severity)), report["as_of"], report["model"]


def _cells(report: Report, version: str | None) -> tuple[str, ...]:
    name, before = report["model"], report["champion"]
    live = report.get("live_lines") or [""]
    since = f"as of {before['since']}"
    if before["version"] != version:  # a person or live days have changed it
        since = "since the newest night"
    champion = f"version {escape(version)} <small>{escape(since)}</small>" if version else "none"
    return (
        f'<a href="{escape(name)}/history.html">{escape(name)}</a>',
        f"{mark(report['verdict'])} {escape(report['verdict'])}"
        f" <small>{escape(capitalized(outcome(report)))}</small>",
        escape(to_do(report)),
        champion,
        escape(live[0]),
        escape(report["as_of"]),
    )
