"""What becomes of a version in its shadow nights: it predicts beside the champion, and is judged.

One version at a time. While it is in the shadow, nights with the same code send no other there: a
refit of every night in its place would mean that none is ever judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from tasks.promotion.checks import Status, Verdict
from tasks.promotion.gate import compared, not_worse

if TYPE_CHECKING:
    from tasks.evaluation.estimates import Evaluation
    from tasks.registry.waiting import Waiting
    from tasks.spec.gate import Gate


SPARE = timedelta(days=14)
"""How much longer than twice its nights a version may take until enough days are graded."""


class Outcome(StrEnum):
    """What live days say of a version in the shadow."""

    GOES_ON = "GOES_ON"
    NOT_WORSE = "NOT_WORSE"
    WORSE = "WORSE"


@dataclass(frozen=True)
class Shadow:
    """A version in its shadow nights, as a night finds it.

    Attributes:
        version: Version in the registry.
        candidate: Its recipe.
        since: As-of date of its own night.
        against: The champion beside it.
        night: On how many nights it has predicted, tonight included.
        nights: On how many it has to.
        graded: Of how many the labels have come.
        ended: Whether it was judged tonight.
    """

    version: str
    candidate: str
    since: date
    against: str | None
    night: int
    nights: int
    graded: int
    ended: bool = False

    def told(self) -> str:
        """``Version 7 predicts in the shadow, night 2 of 5``."""
        return f"Version {in_shadow(self.version, self.night, self.nights)}"


def in_shadow(version: str, night: int, nights: int) -> str:
    """What a version does, in words; after its last night labels are waited for."""
    count = f"night {night} of {nights}" if night <= nights else f"all {nights} nights done"
    return f"{version} predicts in the shadow, {count}"


def into_shadow(verdict: Verdict, gate: Gate) -> Verdict:
    """The verdict where a challenger beside a champion predicts in the shadow first.

    A version that waits because something about it is odd is for a person in any case.
    """
    passed = verdict.status is Status.PROMOTED or (
        verdict.status is Status.WAITING and all(check.passed for check in verdict.checks)
    )
    if not gate.shadow or not passed:
        return verdict
    told = (
        "It passed every check; it predicts beside the champion until "
        f"{gate.shadow.days} of its days are graded, and is judged on them.",
    )
    return replace(verdict, status=Status.SHADOW, reasons=(*told, *verdict.reasons))


def why_ended(
    one: Waiting,
    *,
    champion: str | None,
    digest: str,
    refused: Mapping[str, str],
) -> str | None:
    """Why the shadow nights of a version are over without a judgement, in words; None if not.

    Args:
        one: The version.
        champion: The champion of now.
        digest: Digest of the night's code.
        refused: Candidate to the reason why it must not be promoted.
    """
    if not one.signed:
        return "no night with the key of this registry has sent it into the shadow"
    if one.against != champion:
        now = f"version {champion} is the champion now" if champion else "there is none now"
        return f"it was judged against version {one.against}, but {now}"
    if one.digest != digest:
        return "the model's code has changed since"
    if why := refused.get(one.candidate):
        return f"its recipe must not be promoted: {why}".removesuffix(".")
    return None


def is_overdue(one: Shadow, as_of: date, label_delay: timedelta) -> bool:
    """Whether a version has had its time: it must not keep out all others for ever."""
    return as_of > one.since + timedelta(2 * one.nights) + label_delay + SPARE


def judge_shadow(
    found: Evaluation | None, shadow: Shadow, gate: Gate, names: tuple[str, str]
) -> tuple[Outcome, str]:
    """What the graded days say, by the gate's rule for "not worse", and the figures in words.

    Args:
        found: The version and the champion on the same graded rows; None where there is nothing
            to compare yet.
        shadow: The version.
        gate: Bounds of the spec.
        names: Names of version and champion in ``found``.
    """
    if found is None or shadow.graded < shadow.nights or not _measured(found, names):
        return Outcome.GOES_ON, (
            f"{shadow.told()}; {shadow.graded} of {shadow.nights} days are graded. Until it is "
            "judged on them, no version of the same code takes its place."
        )
    difference = found.difference(*names)
    check = not_worse(difference, gate, "shadow", "On live days")
    figures = compared(found, *names, (), f"version {shadow.against}")
    return Outcome.NOT_WORSE if check.passed else Outcome.WORSE, f"{figures} {check.detail}"


def _measured(found: Evaluation, names: tuple[str, str]) -> bool:
    return set(names) <= set(found.metrics) and found.difference(*names).relative.finite()
