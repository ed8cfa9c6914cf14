"""Contests of other recipes with the champion's, over the nights of a year.

In at most ``1 - gate.recipe_confidence`` of years a recipe is promoted that is no better, over all
recipes of a model together. Every other recipe bets (``tasks.promotion.betting``) with a share of
the year, and must reach 1 / (error * share); the shares of a year sum to at most 1 (Bonferroni, by
Ville's inequality for each). Contests that begin on the same night share alike; those of the n-th
night on which any begin share 1 / (n * (n + 1)), so that a recipe may be added, the code edited or
the champion's recipe change at any time. After 365 days all begin anew.

Each day counts once, on the first night that holds it out, though holdouts overlap.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from tasks.promotion.betting import Capital, bet

YEAR = timedelta(days=365)
Daily = Mapping[str, Mapping[str, float]]
"""Scorer to ISO day to its primary metric on that day alone."""


@dataclass(frozen=True)
class Contest:
    """One recipe against the champion's.

    Attributes:
        recipe: The other recipe.
        against: The champion's recipe.
        share: Its share of the year.
        through: The last day that was looked at; None at the start.
        capital: What its bets have made of 1.
    """

    recipe: str
    against: str
    share: float
    through: date | None = None
    capital: Capital = field(default_factory=Capital)


@dataclass(frozen=True)
class Contests:
    """The contests of a model in one year.

    Attributes:
        since: Newest holdout day of the night on which the year began.
        code: Digest of the spec: contests of other code are over.
        begun: Nights of the year on which contests began.
        running: The contests.
    """

    since: date
    code: str = ""
    begun: int = 0
    running: tuple[Contest, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        running = [
            asdict(contest)
            | {
                "through": contest.through and contest.through.isoformat(),
                "capital": asdict(contest.capital) | {"logs": list(contest.capital.logs)},
            }
            for contest in self.running
        ]
        own = {"since": self.since.isoformat(), "code": self.code, "begun": self.begun}
        return own | {"running": running}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Contests:
        """Inverse of ``to_json``."""
        running = tuple(
            Contest(
                recipe=found["recipe"],
                against=found["against"],
                share=found["share"],
                through=found["through"] and date.fromisoformat(found["through"]),
                capital=Capital(**found["capital"] | {"logs": tuple(found["capital"]["logs"])}),
            )
            for found in data["running"]
        )
        return cls(date.fromisoformat(data["since"]), data["code"], data["begun"], running)


@dataclass(frozen=True)
class Proof:
    """How much speaks for another recipe.

    Attributes:
        days: Days that counted.
        e_value: What its bets have made of 1.
        needed: What they must have made.
    """

    days: int
    e_value: float
    needed: float

    @property
    def passed(self) -> bool:
        """Whether the recipe has proven better."""
        return self.e_value >= self.needed


def count_days(
    before: Contests | None,
    daily: Daily,
    *,
    recipes: Collection[str],
    against: str,
    opponent: str,
    greater: bool,
    code: str = "",
) -> Contests:
    """The contests after a night: its days that have not counted yet count, and new ones begin.

    Args:
        before: The contests after the nights before; None where there are none.
        daily: Tonight's scorers on each day of the holdout.
        recipes: Recipes that may be promoted; others begin no contest.
        against: The champion's recipe.
        opponent: The scorer that stands for it.
        greater: Whether more of the metric is better.
        code: Digest of the spec.
    """
    last = date.fromisoformat(max(daily[opponent]))
    state = before
    if state is None or last - state.since >= YEAR:
        state = Contests(last)
    running = list(state.running if state.code == code else ())
    known = {(contest.recipe, contest.against) for contest in running}
    new = [r for r in recipes if r in daily and r != against and (r, against) not in known]
    begun = state.begun + bool(new)
    running += [Contest(r, against, share_of(begun, len(new))) for r in new]
    sign = 1 if greater else -1

    def counted(contest: Contest) -> Contest:
        if contest.against != against or contest.recipe not in daily:
            return contest
        mine, theirs = daily[contest.recipe], daily[opponent]
        days = [d for d in sorted(mine) if not contest.through or d > contest.through.isoformat()]
        gains = [sign * (mine[day] - theirs[day]) for day in days]
        through = max(last, contest.through or last)
        return replace(contest, through=through, capital=bet(contest.capital, gains))

    return Contests(state.since, code, begun, tuple(map(counted, running)))


def share_of(begun: int, count: int) -> float:
    """The share of each of the contests that begin on the n-th night on which any do.

    Args:
        begun: The n of that night, from 1.
        count: How many begin on it.
    """
    return 1 / (begun * (begun + 1) * count)


def needed(share: float, confidence: float) -> float:
    """What a contest's capital must reach.

    Args:
        share: Its share of the year.
        confidence: Share of years without a false promotion, at least.
    """
    return 1 / ((1 - confidence) * share)


def proofs(contests: Contests | None, against: str, confidence: float) -> dict[str, Proof]:
    """How much speaks for each other recipe, against that of the champion.

    Args:
        contests: The contests after tonight; None where there are none.
        against: The champion's recipe.
        confidence: ``gate.recipe_confidence``.
    """
    return {
        found.recipe: Proof(
            found.capital.days, found.capital.e_value, needed(found.share, confidence)
        )
        for found in (contests.running if contests else ())
        if found.against == against
    }
