"""No creep: a challenger is also held against a fixed version, the anchor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from tasks.promotion.checks import Check
from tasks.registry.anchors import Anchor

if TYPE_CHECKING:
    from tasks.evaluation.estimates import Evaluation


ANCHOR = "fixed anchor"
"""Its name among the scorers; no candidate can have it."""
NIGHTS = 28
"""Nights over which the gains of one recipe are averaged."""
OLDEST = timedelta(days=60)
"""After so many days the anchor is renewed."""


@dataclass(frozen=True)
class AnchorFacts:
    """What the verdict has to know of the anchor.

    Attributes:
        version: Version in the registry.
        margin: How much worse a challenger may measure, relative.
        scorer: Its name among the scorers.
        past: Candidate to its gains over this anchor on earlier nights, the newest last.
        fault: Why it cannot be scored tonight.
    """

    version: str
    margin: float
    scorer: str = ANCHOR
    past: Mapping[str, Sequence[float]] = field(default_factory=dict)
    fault: str | None = None


def is_level(gains: Sequence[float], margin: float) -> bool:
    """Whether a recipe has not fallen behind the anchor.

    Behind is a gain below ``-margin``. Then it stays behind until it measures as good as the
    anchor again: on a slow decline a lucky fortnight would otherwise let it through. A mean over
    the newest ``NIGHTS`` below half the margin is behind, too: a decline too slow for one night's
    noise shows there.

    Args:
        gains: Its relative gains over the anchor, night by night, tonight's last.
        margin: How much worse it may measure.
    """
    behind = False
    for gain in (newest := gains[-NIGHTS:]):
        behind = not gain >= (0.0 if behind else -margin)
    return not behind and sum(newest) / len(newest) >= -margin / 2


def check_anchor(found: Evaluation, challenger: str, anchor: AnchorFacts) -> Check:
    """Whether the challenger has not fallen behind the anchor; a missing number fails.

    Args:
        found: Every scorer on the same rows.
        challenger: Scorer that may be promoted.
        anchor: What it is compared with.
    """
    name = f"the anchor, version {anchor.version}"
    difference = found.differences.get(challenger, {}).get(anchor.scorer)
    if anchor.fault or difference is None or not difference.relative.finite():
        return Check("anchor", False, anchor.fault or f"No comparison with {name}, is possible.")
    gain = difference.relative.value
    gains = [*anchor.past.get(challenger, ()), gain][-NIGHTS:]
    mean = sum(gains) / len(gains)
    passed = is_level(gains, anchor.margin)
    detail = (
        f"Against {name}: {gain:+.1%} on the same days, {mean:+.1%} on average over {len(gains)} "
        f"nights; the bounds are {-anchor.margin:.1%} and {-anchor.margin / 2:.2%}."
    )
    if not passed and gain >= -anchor.margin and mean >= -anchor.margin / 2:
        detail += " It fell behind before: it must be as good as the anchor again."
    return Check("anchor", passed, detail)


def gains_of(found: Mapping[str, Any] | None, scorer: str) -> dict[str, float]:
    """The relative gain of every scorer over the anchor.

    Args:
        found: ``Evaluation`` as JSON; None where nothing could be compared.
        scorer: The anchor's name among the scorers.
    """
    gains = {
        name: others[scorer]["relative"]["value"]
        for name, others in (found or {}).get("differences", {}).items()
        if scorer in others
    }
    return {name: gain for name, gain in gains.items() if gain is not None}


def past_gains(
    reports: Iterable[Mapping[str, Any]], version: str, digest: str
) -> dict[str, list[float]]:
    """Candidate to its gains over an anchor on earlier nights with the same code.

    Args:
        reports: Earlier nights, ascending; those of older versions have no ``anchor``.
        version: The anchor.
        digest: Digest of tonight's code.
    """
    found: dict[str, list[float]] = {}
    for report in reports:
        kept = report.get("anchor") or {}
        if (kept.get("version"), kept.get("digest")) == (version, digest):
            for name, gain in kept["gains"].items():
                found.setdefault(name, []).append(gain)
    return found


def line_gain(reports: Iterable[Mapping[str, Any]], version: str) -> float:
    """Mean relative gain of the champions over an anchor on the newest nights; 0 without any.

    Args:
        reports: Earlier nights, ascending.
        version: The anchor.
    """
    kept = (report.get("anchor") or {} for report in reports)
    gains = [
        part["gains"]["champion"]
        for part in kept
        if part.get("version") == version and "champion" in part["gains"]
    ][-NIGHTS:]
    return sum(gains) / len(gains) if gains else 0.0


def next_anchor(
    now: Anchor | None,
    champion: str | None,
    as_of: date,
    *,
    usable: bool = True,
    gain: float = 0.0,
    proven: str | None = None,
    behind: bool = False,
) -> Anchor | None:
    """The anchor of a night.

    It stays as it is, so that losses add up, but for this: live days have shown a champion since
    to be clearly better; it does not exist any more or was taken back; or it has been the anchor
    for ``OLDEST``, as two models differ the more the further apart they were made, and a loss
    drowns in that. The champion is the anchor then, and what its line has lost is remembered. A
    line that is behind on live days does not renew it: a champion that has turned bad would be
    what later ones are compared with.

    While the champion is the anchor itself there is no line: days of earlier lines count no more.

    Args:
        now: The anchor before, if any.
        champion: The champion's version, None before the first promotion.
        as_of: The night.
        usable: Whether the anchor still exists and was neither rolled back nor reverted.
        gain: From ``line_gain``.
        proven: A champion that live days have shown to be clearly better, if any.
        behind: Whether live days speak against its line.
    """
    if champion is None:
        return now
    if now is None:
        return Anchor(champion, as_of, as_of)
    if not usable:
        return Anchor(champion, as_of, as_of, now.spent)
    if now.version == champion:
        return replace(now, since=max(now.since, as_of))
    if proven:
        return Anchor(proven, as_of, as_of)
    if as_of - now.as_of >= OLDEST and not behind:
        return Anchor(champion, as_of, as_of, now.spent - gain)
    return now


def after_failure(now: Anchor, champion: str, gain: float, as_of: date) -> Anchor:
    """The anchor after a night on which it could not be scored.

    The first such night only notes it: an outage passes. On the next one the champion becomes
    the anchor, and what the line of champions has lost is remembered.

    Args:
        now: The anchor that fails.
        champion: The champion's version.
        gain: From ``line_gain``.
        as_of: The night.
    """
    if now.failing is None or now.failing >= as_of:
        return replace(now, failing=now.failing or as_of)
    return Anchor(champion, as_of, as_of, now.spent - gain)


def margin_left(tolerance: float, anchor: Anchor) -> float:
    """How much worse than the anchor a challenger may measure, after earlier losses."""
    return min(tolerance, max(0.0, tolerance - anchor.spent))
