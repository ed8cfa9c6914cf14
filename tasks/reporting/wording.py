"""Words and number formats of every report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tasks.promotion.checks import STAYS, Status
from tasks.promotion.shadow import in_shadow

if TYPE_CHECKING:
    from tasks.reporting.report_schema import Report, WaitingPart


def interval(metric: Mapping[str, float] | None) -> str:
    """A figure with its interval: ``0.201 (0.195 to 0.207)``."""
    if metric is None:
        return "-"
    return f"{metric['value']:.3f} ({metric['low']:.3f} to {metric['high']:.3f})"


def figure(metric: Mapping[str, float] | None) -> str:
    """A figure without its interval."""
    return "-" if metric is None else f"{metric['value']:.3f}"


def decided(waiting: WaitingPart | None) -> str:
    """What a person decided on a version: ``version 4 was approved by Ada on ...: why``."""
    decision = waiting["decision"] if waiting else None
    if waiting is None or decision is None:
        return ""
    done = f"version {waiting['version']} was {decision['outcome'].lower()}"
    return f"{done} by {decision['by']} on {decision['on']}: {decision['why']}"


def outcome(report: Report) -> str:
    """What became of the champion in a night, in words."""
    if told := decided(report.get("waiting")):
        return told
    words, version = Status(report["verdict"]).words, report["champion"].get("version")
    now = "there is no champion yet"
    if version:
        again = report.get("has_reverted")
        now = f"version {version} is the champion again" if again else STAYS
    shadow = report.get("shadow")
    if shadow and report["verdict"] in (Status.KEPT, Status.SHADOW):
        told = in_shadow(shadow["version"], shadow["night"], shadow["nights"])
        return f"version {told}, {now}"
    return words.replace(STAYS, now)


def also_by(partitions: int) -> str:
    """Whose predictions there are beside the common model's, as the end of a sentence."""
    if partitions == 1:
        return " and the champion of 1 partition"
    return f" and the champions of {partitions:,} partitions" if partitions else ""


def capitalized(text: str) -> str:
    """With a capital first letter."""
    return text[:1].upper() + text[1:]
