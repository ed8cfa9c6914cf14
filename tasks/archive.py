"""What past nights of a model said: their reports, as they stand on disk."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

from tasks import settings, store

MATURE = ("PROMOTED", "KEPT")
"""Verdicts of nights that judged a challenger."""


def past_reports(model: str, until: date, count: int = 60) -> list[dict[str, Any]]:
    """The newest reports of a model, ascending by as-of date; unreadable ones are left out.

    Args:
        model: Name of the model.
        until: The last as-of date.
        count: How many at most.
    """
    past = (report for report in _newest_first(model) if report["as_of"] <= until.isoformat())
    return list(islice(past, count))[::-1]


def last_judged(model: str) -> date | None:
    """The newest as-of date of which a challenger was judged."""
    judged = (report for report in _newest_first(model) if report["verdict"] in MATURE)
    newest = next(judged, None)
    return date.fromisoformat(newest["as_of"]) if newest else None


def report_folder(model: str, as_of: date) -> Path:
    """Where the report of a night lives."""
    return _folder(model) / as_of.isoformat()


def _folder(model: str) -> Path:
    return settings.home() / "reports" / model


def _newest_first(model: str) -> Iterator[dict[str, Any]]:
    for folder in sorted(_folder(model).glob("????-??-??"), reverse=True):
        try:
            report = store.read_json(folder / "report.json")
        except (OSError, ValueError):
            continue
        if isinstance(report, dict) and report.get("as_of") == folder.name:
            yield report
