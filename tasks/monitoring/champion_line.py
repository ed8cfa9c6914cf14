"""The line of champions since the anchor, and the anchor itself, as a night finds them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from tasks.monitoring.live_performance import is_behind, line_of, proven_version
from tasks.promotion.anchor import line_gain, next_anchor
from tasks.registry.anchors import Anchor

if TYPE_CHECKING:
    from tasks.spec.gate import Revert


def follow(
    now: Anchor | None,
    champion: str | None,
    as_of: date,
    *,
    graded: Sequence[Mapping[str, Any]],
    reports: Sequence[Mapping[str, Any]],
    withdrawn: Collection[str],
    exists: Callable[[str], bool],
    metric: str,
    greater: bool,
    policy: Revert,
) -> tuple[Anchor | None, list[Mapping[str, Any]]]:
    """The anchor of a night, and the graded days of the line that is compared with it.

    Where the anchor is another version than before there are no such days yet.

    Args:
        now: The anchor before, if any.
        champion: The champion's version, None before the first promotion.
        as_of: The night.
        graded: Graded days, ascending.
        reports: Reports of the newest nights, ascending.
        withdrawn: Versions that were rolled back or reverted.
        exists: Whether the registry has a version.
        metric: The primary metric.
        greater: Whether more of it is better.
        policy: When a line is reverted.
    """
    if now is None:
        return next_anchor(now, champion, as_of), []
    line = line_of(graded, now.version, now.since, withdrawn)
    proven = proven_version(line, metric, greater)
    anchor = next_anchor(
        now,
        champion,
        as_of,
        usable=now.version not in withdrawn and exists(now.version),
        gain=line_gain(reports, now.version),
        proven=proven if proven and exists(proven) else None,
        behind=is_behind(line, metric, greater, policy),
    )
    if anchor is None or anchor.version != now.version:
        return anchor, []
    return anchor, line_of(graded, anchor.version, anchor.since, withdrawn)
