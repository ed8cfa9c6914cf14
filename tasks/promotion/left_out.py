"""Recipes that are not fitted tonight, because tonight could not promote them.

Another recipe than the champion's is promoted only where its bets have made of 1 what it needs
(``tasks.promotion.contests``). One that stands below 1, and that no outcome of the days it has not
bet on could bring there tonight, is left out. These days are not lost: it bets on all of them on
the night that fits it again, when they are still held out. So a promotion comes on the same night
as where every recipe is fitted every night.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from tasks.promotion.betting import most
from tasks.promotion.contests import YEAR, Contests, Proof, proofs
from tasks.training.votes import members_of

if TYPE_CHECKING:
    from tasks.spec.model_spec import ModelSpec


LONGEST, FEWEST = 7, 14
"""Days that wait at most for a recipe's next fit, and that it must have bet on before."""


@dataclass(frozen=True)
class LeftOut:
    """A recipe that is not fitted tonight.

    Attributes:
        against: The champion's recipe.
        proof: How much speaks for it after the days it has bet on.
        waiting: Days of tonight's holdout that it has not bet on.
        due: As-of date of the night that fits it again, at the latest.
    """

    against: str
    proof: Proof
    waiting: int
    due: date


def wait_of(holdout: int) -> int:
    """How many days may wait for a recipe's next fit.

    At most half of the holdout, so that days are still held out where nights are missed.

    Args:
        holdout: Days held out each night.
    """
    return max(1, min(LONGEST, holdout // 2))


def leave_out(
    spec: ModelSpec,
    before: Contests | None,
    *,
    recipe: str | None,
    code: str,
    held_out: Sequence[date],
    night_in: Callable[[int], date],
    share: float = 1.0,
) -> dict[str, LeftOut]:
    """Candidates that are not fitted tonight.

    The champion's recipe, the spec's baseline and the members of a vote that is fitted are.

    Args:
        spec: The model.
        before: The contests before tonight.
        recipe: The champion's recipe; None where there is no champion.
        code: Digest of the spec.
        held_out: Days held out tonight, ascending.
        night_in: As-of date of the night that has so many more days.
        share: The model's share of the error that a fleet's models share (``Gate.within``).
    """
    if before is None or recipe is None or before.code != code:
        return {}
    if recipe not in spec.candidates or held_out[-1] - before.since >= YEAR:
        return {}
    shown = proofs(before, recipe, spec.gate.within(share).recipe_confidence)
    wait, found = wait_of(len(held_out)), dict[str, LeftOut]()
    for one in before.running:
        if one.against != recipe or one.through is None:
            continue
        waiting = sum(day > one.through for day in held_out)
        proof, highest = shown[one.recipe], most(one.capital, waiting)
        behind = proof.days >= FEWEST and proof.e_value < 1 and highest < proof.needed
        if behind and waiting < wait:
            found[one.recipe] = LeftOut(recipe, proof, waiting, night_in(wait - waiting))
    fitted = [name for name in spec.candidates if name not in found]
    needed = {recipe, spec.baseline, *(m for name in fitted for m in members_of(spec, name))}
    return {name: found[name] for name in spec.candidates if name in found and name not in needed}


def told(left_out: Mapping[str, LeftOut]) -> list[str]:
    """Which recipes are left out, why, and when they are fitted next, a sentence for each date."""
    lines = []
    for due in sorted({one.due for one in left_out.values()}):
        some = {name: one for name, one in left_out.items() if one.due == due}
        against = next(iter(some.values())).against
        shown = ", ".join(f"{name} ({_evidence(one.proof)})" for name, one in some.items())
        lines.append(
            f"Not fitted tonight, because no new day could prove them better than {against}: "
            f"{shown}. Fitted next for {due}, or at once after an edit, with drift, or where a "
            "person or a revert has changed the champion."
        )
    return lines


def _evidence(proof: Proof) -> str:
    return f"evidence {proof.e_value:.2g} over {proof.days} days, {proof.needed:,.3g} is needed"
