"""What a person decided on a version, in the report of the night that let it wait."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, cast

from tasks.reporting import archive, render

if TYPE_CHECKING:
    from tasks.registry.waiting import Decision
    from tasks.reporting.report_schema import Report, WaitingPart

PICTURE = re.compile(r"!\[(.*)\]\((.*)\)$")


def note_decision(model: str, as_of: str, version: str, decision: Decision) -> None:
    """Write the decision into the night's report, if it is not there yet.

    A report of another version is left alone.

    Args:
        model: Name of the model.
        as_of: As-of date of the night.
        version: The version that waited.
        decision: What was decided.
    """
    for report in archive.past_reports(model, date.fromisoformat(as_of), 1):
        waited = report.get("waiting")
        if report["as_of"] == as_of and _version(report) == version:
            if waited and waited["decision"] == asdict(decision):
                return
            folder = archive.report_folder(model, date.fromisoformat(as_of))
            shown = (folder / "report.md").read_text(encoding="utf-8").splitlines()
            pictures = {found[1]: found[2] for line in shown if (found := PICTURE.match(line))}
            waiting = cast("WaitingPart", {**(waited or {}), "decision": asdict(decision)})
            render.write_texts(folder, {**report, "waiting": waiting}, pictures)


def _version(report: Report) -> str | None:
    waiting = report.get("waiting")
    return waiting["version"] if waiting else None
