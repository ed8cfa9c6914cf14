"""Promotion policies that a backtest compares, among them the gate of a night."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tasks.promotion.checks import Status
from tasks.promotion.gate import judge, judge_in_order, naive_part, rank_challengers

if TYPE_CHECKING:
    from tasks.evaluation.estimates import Evaluation
    from tasks.promotion.contests import Proof
    from tasks.spec.gate import Gate


@dataclass(frozen=True)
class Look:
    """What a policy knows on one night.

    Attributes:
        figures: Evaluation of tonight's twins, the champion's twin and the baseline on the same
            holdout.
        last_day: The primary metric of each scorer on the last of these days alone.
        candidates: Scorers that may be promoted, in the spec's order.
        champion: Scorer that is champion, None on the first night.
        recipe: Candidate with the champion's recipe.
        gate: Bounds of the spec.
        proofs: What speaks for each other recipe, from the nights so far.
        naive: The candidate that is the spec's baseline, if any.
    """

    figures: Evaluation
    last_day: Mapping[str, float]
    candidates: Sequence[str]
    champion: str | None
    recipe: str | None
    gate: Gate
    proofs: Mapping[str, Proof] = field(default_factory=dict)
    naive: str | None = None


Policy = Callable[[Look], str | None]
"""The candidate to promote, or None to keep the champion."""
BASELINE = "baseline"
HOUSE = "two questions"
"""Name of the policy that a night follows."""


def best(look: Look) -> str:
    """The candidate with the best primary metric; of equal ones, the first in the spec."""
    sign = 1 if look.figures.greater_is_better else -1
    return max(look.candidates, key=lambda name: sign * look.figures.primary(name).value)


def always(look: Look) -> str | None:
    """Always promote tonight's best candidate."""
    return best(look)


def larger(look: Look) -> str | None:
    """Promote where the metric over the holdout is better, however little."""
    name = best(look)
    return name if look.champion is None or _gain(look, name) > 0 else None


def larger_on_last_day(look: Look) -> str | None:
    """Promote where the metric of the last day is better."""
    sign = 1 if look.figures.greater_is_better else -1
    name = max(look.candidates, key=lambda name: sign * look.last_day[name])
    if look.champion is None or sign * (look.last_day[name] - look.last_day[look.champion]) > 0:
        return name
    return None


def not_worse(margin: float) -> Policy:
    """Promote unless the metric is worse by more than this relative margin."""

    def decide(look: Look) -> str | None:
        name = best(look)
        return name if look.champion is None or _gain(look, name) >= -margin else None

    return decide


def clearly_better(look: Look) -> str | None:
    """Promote where the lower end of the paired interval over days is above zero."""
    name = best(look)
    if look.champion is None:
        return name
    return name if look.figures.difference(name, look.champion).absolute.low > 0 else None


def two_questions(look: Look) -> str | None:
    """The house's gate: a refit unless it is worse, another recipe only where clearly better."""
    proven = [name for name, proof in look.proofs.items() if proof.passed]
    chosen, verdict = judge_in_order(
        rank_challengers(look.figures, look.candidates, look.recipe, look.gate, proven),
        lambda name: judge(
            look.figures,
            challenger=name,
            champion=look.champion,
            baseline=BASELINE,
            same_recipe=name == look.recipe,
            gate=look.gate,
            proof=look.proofs.get(name),
            naive=naive_part(look.naive, name, look.recipe),
        ),
    )
    return chosen if verdict.status is Status.PROMOTED else None


POLICIES: Mapping[str, Policy] = {
    "always promote": always,
    "metric is larger, 1 day": larger_on_last_day,
    "metric is larger": larger,
    "not worse by 1 %": not_worse(0.01),
    "not worse by 5 %": not_worse(0.05),
    "clearly better": clearly_better,
    HOUSE: two_questions,
}


def _gain(look: Look, name: str) -> float:
    assert look.champion is not None
    return look.figures.difference(name, look.champion).relative.value
