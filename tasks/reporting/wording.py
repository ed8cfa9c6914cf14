"""Words and number formats of every report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.reporting.report_schema import WaitingPart


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


def capitalized(text: str) -> str:
    """With a capital first letter."""
    return text[:1].upper() + text[1:]
