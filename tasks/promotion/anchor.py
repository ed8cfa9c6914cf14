"""No creep: a challenger is also held against fixed versions, the anchor and the yearly anchor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from tasks.promotion.checks import Check
from tasks.registry.anchors import Anchor

if TYPE_CHECKING:
    from tasks.evaluation.estimates import Evaluation


ANCHOR, YEARLY = "fixed anchor", "yearly anchor"
"""Their names among the scorers; no candidate can have them."""
NIGHTS, FEWEST = 28, 14
"""Nights over which the gains of one recipe are averaged: at most, and against the yearly anchor at
least."""
OLDEST, OLDEST_YEARLY = timedelta(days=60), timedelta(days=365)
"""After so many days they are renewed."""


@dataclass(frozen=True)
class AnchorFacts:
    """What the verdict has to know of an anchor.

    Attributes:
        version: Version in the registry.
        margin: How much worse a challenger may measure, relative.
        scorer: Its name among the scorers.
        yearly: Whether it is the yearly anchor.
        past: Candidate to its gains over this anchor on earlier nights, the newest last.
        fault: Why it cannot be scored tonight.
    """

    version: str
    margin: float
    scorer: str = ANCHOR
    yearly: bool = False
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
    """Whether the challenger has not fallen behind an anchor; a missing number fails.

    Args:
        found: Every scorer on the same rows.
        challenger: Scorer that may be promoted.
        anchor: What it is compared with.
    """
    kind = "yearly anchor" if anchor.yearly else "anchor"
    name = f"the {kind}, version {anchor.version}"
    difference = found.differences.get(challenger, {}).get(anchor.scorer)
    if anchor.fault or difference is None or not difference.relative.finite():
        return Check(kind, False, anchor.fault or f"No comparison with {name}, is possible.")
    gains = [*anchor.past.get(challenger, ()), difference.relative.value][-NIGHTS:]
    passed, detail = (_hold_to_yearly if anchor.yearly else _hold_to)(gains, anchor.margin)
    return Check(kind, passed, f"Against {name}: {detail}")


def _hold_to(gains: Sequence[float], margin: float) -> tuple[bool, str]:
    """Whether it is level with the anchor, tonight and on average."""
    gain, mean, passed = gains[-1], sum(gains) / len(gains), is_level(gains, margin)
    detail = (
        f"{gain:+.1%} on the same days, {mean:+.1%} on average over {len(gains)} nights; "
        f"the bounds are {-margin:.1%} and {-margin / 2:.2%}."
    )
    if not passed and gain >= -margin and mean >= -margin / 2:
        detail += " It fell behind before: it must be as good as the anchor again."
    return passed, detail


def _hold_to_yearly(gains: Sequence[float], margin: float) -> tuple[bool, str]:
    """Whether it is not worse than the yearly anchor, on average over many nights.

    One night decides nothing here: that is what the anchor is for.
    """
    mean, least = sum(gains) / len(gains), -margin / 10
    detail = f"{mean:+.1%} on average over {len(gains)} nights; "
    if len(gains) < FEWEST:
        return True, f"{detail}it counts from {FEWEST} nights on."
    return mean >= least, f"{detail}the bound is {least:.2%}."


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
        reports: Earlier nights, ascending.
        version: The anchor.
        digest: Digest of tonight's code.
    """
    found: dict[str, list[float]] = {}
    for kept in _against(reports, version):
        if kept["digest"] == digest:
            for name, gain in kept["gains"].items():
                found.setdefault(name, []).append(gain)
    return found


def line_gain(reports: Iterable[Mapping[str, Any]], version: str) -> float:
    """Mean relative gain of the champions over an anchor on the newest nights; 0 without any.

    Args:
        reports: Earlier nights, ascending.
        version: The anchor.
    """
    kept = (part["gains"] for part in _against(reports, version))
    gains = [part["champion"] for part in kept if "champion" in part][-NIGHTS:]
    return sum(gains) / len(gains) if gains else 0.0


def _against(reports: Iterable[Mapping[str, Any]], version: str) -> list[Mapping[str, Any]]:
    """What earlier nights measured against a version as either anchor; old reports have neither."""
    parts = [[report.get(name) or {} for name in ("anchor", "yearly_anchor")] for report in reports]
    found = [[part for part in two if part.get("version") == version] for two in parts]
    return [two[0] for two in found if two]


def next_anchor(
    now: Anchor | None,
    champion: str | None,
    as_of: date,
    *,
    usable: bool = True,
    gain: float = 0.0,
    proven: str | None = None,
    behind: bool = False,
    oldest: timedelta = OLDEST,
) -> Anchor | None:
    """The anchor of a night.

    It stays as it is, so that losses add up, but for this: live days have shown a champion since
    to be clearly better; it does not exist any more or was taken back; or it has been the anchor
    for ``oldest``, as two models differ the more the further apart they were made, and a loss
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
        oldest: How long it is the anchor.
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
    if as_of - now.as_of >= oldest and not behind:
        return Anchor(champion, as_of, as_of, now.spent - gain)
    return now


def next_yearly(
    now: Anchor | None,
    anchor: Anchor | None,
    as_of: date,
    *,
    usable: bool,
    gain: float,
) -> Anchor | None:
    """The yearly anchor of a night, which only the gate compares with.

    A refit can beat an anchor of 60 days although its recipe decays, as that has older data.
    Against a version of up to a year ago the decay shows. The anchor takes its place after a year
    or where it is gone; that live days show a champion to be better does not renew it, for that may
    be newer data as well.

    Args:
        now: The one before: the anchor before the night, where there was none.
        anchor: The night's anchor.
        as_of: The night.
        usable: Whether it still exists and was neither rolled back nor reverted.
        gain: From ``line_gain``.
    """
    found = next_anchor(
        now,
        anchor.version if anchor else None,
        as_of,
        usable=usable,
        gain=gain,
        oldest=OLDEST_YEARLY,
    )
    return found and replace(found, since=found.as_of)


def after_failure(now: Anchor, champion: str, gain: float, as_of: date) -> Anchor:
    """The anchor after a night on which it could not be scored.

    The first such night only notes it: an outage passes. On the next one the champion becomes
    the anchor, and what the line of champions has lost is remembered.

    Args:
        now: The anchor that fails.
        champion: The champion's version; for the yearly anchor, the anchor's.
        gain: From ``line_gain``.
        as_of: The night.
    """
    if now.failing is None or now.failing >= as_of:
        return replace(now, failing=now.failing or as_of)
    return Anchor(champion, as_of, as_of, now.spent - gain)


def margin_left(tolerance: float, anchor: Anchor) -> float:
    """How much worse than the anchor a challenger may measure, after earlier losses."""
    return min(tolerance, max(0.0, tolerance - anchor.spent))
