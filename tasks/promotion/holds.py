"""Which recipes are held: what was withdrawn does not come back by itself the next night."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks.registry.holds import Hold

LONGEST = timedelta(days=365)
"""However often a recipe was withdrawn, it may come back after so long."""


def length_of_hold(
    shortest: timedelta, holds: Iterable[Hold], version: str, candidate: str, digest: str
) -> timedelta:
    """How long a recipe and code are held once a version of them is withdrawn.

    Twice as long for every version of them that was withdrawn before, so that code that is bad does
    not come back every week to be found out anew. A hold that a person has released counts no more.

    Args:
        shortest: The first hold; 0 for none.
        holds: From ``read_holds``.
        version: The version that is withdrawn.
        candidate: Its recipe.
        digest: Digest of the spec it was fitted with.
    """
    before = [h for h in holds if (h.candidate, h.digest) == (candidate, digest)]
    times = sum(hold.version != version for hold in before)
    longer: timedelta = shortest * 2 ** min(times, 10)
    return min(longer, max(shortest, LONGEST))


def held_candidates(
    model: str, holds: Iterable[Hold], candidates: Iterable[str], digest: str, as_of: date
) -> dict[str, str]:
    """Candidates that a night must not promote, each with the reason.

    Args:
        model: Name of the model.
        holds: From ``read_holds``.
        candidates: Recipes of the night.
        digest: Digest of its spec: other code is not held.
        as_of: Its as-of date.
    """
    found: dict[str, str] = {}
    for hold in sorted(holds, key=lambda hold: hold.until):
        if hold.candidate in candidates and hold.digest == digest and as_of <= hold.until:
            why = hold.why.removesuffix(".")
            found[hold.candidate] = (
                f"Version {hold.version} was {hold.how}: {why}. {told(model, hold)}"
            )
    return found


def told(model: str, hold: Hold) -> str:
    """What a hold means, and what ends it."""
    return (
        f"Its recipe ({hold.candidate}) and code are held through {hold.until}; to release them: "
        f"python flows/rollback.py --model {model} --release."
    )
