"""The line of champions since the anchor, and the anchors themselves, as a night finds them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.monitoring.live_performance import is_behind, line_of, proven_version
from tasks.promotion.anchor import line_gain, next_anchor, next_yearly
from tasks.registry.anchors import Anchor

if TYPE_CHECKING:
    from tasks.spec.gate import Revert


class Followed(NamedTuple):
    """The anchors of a night.

    Attributes:
        anchor: None before the first promotion.
        yearly: The yearly anchor; the same version until the anchor is renewed.
        line: Graded days of the line that is compared with the anchor; none where it is another
            version than before.
    """

    anchor: Anchor | None
    yearly: Anchor | None
    line: list[Mapping[str, Any]]


def follow(
    now: Anchor | None,
    yearly: Anchor | None,
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
) -> Followed:
    """The anchors of a night, and the graded days of the line that is compared with the first.

    Args:
        now: The anchor before, if any.
        yearly: The yearly anchor before, if it was kept.
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

    def is_usable(anchor: Anchor) -> bool:
        return anchor.version not in withdrawn and exists(anchor.version)

    if now is None:
        first = next_anchor(now, champion, as_of)
        return Followed(first, first, [])
    line = line_of(graded, now.version, now.since, withdrawn)
    proven = proven_version(line, metric, greater)
    anchor = next_anchor(
        now,
        champion,
        as_of,
        usable=is_usable(now),
        gain=line_gain(reports, now.version),
        proven=proven if proven and exists(proven) else None,
        behind=is_behind(line, metric, greater, policy),
    )
    before = yearly or now
    following = next_yearly(
        before,
        anchor,
        as_of,
        usable=is_usable(before),
        gain=line_gain(reports, before.version),
    )
    same = anchor is not None and anchor.version == now.version
    line = line_of(graded, now.version, anchor.since, withdrawn) if anchor and same else []
    return Followed(anchor, following, line)
