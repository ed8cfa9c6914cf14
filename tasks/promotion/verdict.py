"""From scores to a verdict: what a night decides, as a pure function of what it measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

from tasks.errors import JudgementError
from tasks.evaluation.evaluate import evaluate, evaluate_days, evaluate_slices
from tasks.evaluation.prediction_interval import prediction_interval
from tasks.metrics.base import range_of
from tasks.promotion.anchor import AnchorFacts, check_anchor
from tasks.promotion.checks import Status, Verdict
from tasks.promotion.contests import Contests, count_days, proofs
from tasks.promotion.gate import (
    TRIVIAL,
    for_person,
    judge,
    judge_in_order,
    known_figures,
    naive_part,
    no_model,
    rank_challengers,
    refuse,
)
from tasks.promotion.shadow import into_shadow

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from tasks.evaluation.estimates import Evaluation, SliceResult
    from tasks.promotion.checks import Check
    from tasks.promotion.contests import Proof
    from tasks.registry.versions import Champion
    from tasks.spec.model_spec import ModelSpec


CHAMPION, BASELINE = "champion", "baseline"
"""Names of these two among the scorers; the others are candidates."""
REASONS_TOLD = 3
"""Most bad days whose reason is shown; of further ones only the number is."""


@dataclass(frozen=True)
class Evidence:
    """The scores of all scorers on the same holdout.

    Attributes:
        training: ``day`` and ``target`` of the training examples.
        holdout: Later examples that no scorer has seen.
        scores: Scorer to its scores of the holdout: every candidate, the baseline, and champion
            and anchors where they could be scored.
        candidates: Names of the candidates, in the order of the spec.
    """

    training: pd.DataFrame
    holdout: pd.DataFrame
    scores: Mapping[str, np.ndarray]
    candidates: Sequence[str]


@dataclass(frozen=True)
class ChampionFacts:
    """What the verdict has to know of the champion.

    Attributes:
        version: Version in the registry.
        candidate: Candidate it was fitted from.
        edited: Whether the model's code is another now.
        fault: Why it cannot be scored or compared.
    """

    version: str
    candidate: str
    edited: bool = False
    fault: str | None = None


@dataclass(frozen=True)
class Decision:
    """A verdict and its evidence.

    Attributes:
        verdict: PROMOTED, WAITING, SHADOW or KEPT, with reasons and checks.
        challenger: The best candidate that passes, else the best that waits for a person, else the
            best of all; the first one where none could be compared.
        figures: Every scorer's metrics; None where the challenger could not be measured.
        slices: Challenger against champion, group by group.
        prediction_interval: Where the challenger's primary metric of one day to come should fall.
        contests: The contests of other recipes with the champion's, after tonight.
    """

    verdict: Verdict
    challenger: str
    figures: Evaluation | None = None
    slices: tuple[SliceResult, ...] = ()
    prediction_interval: dict[str, float] | None = None
    contests: Contests | None = None


def decide(
    spec: ModelSpec,
    evidence: Evidence,
    champion: ChampionFacts | None = None,
    checked: Sequence[Check] = (),
    refused: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    contests: Contests | None = None,
    code: str = "",
    retired: Champion | None = None,
    anchors: Sequence[AnchorFacts] = (),
    share: float = 1.0,
) -> Decision:
    """Promote tonight's challenger or keep the champion; in doubt the champion stays.

    Args:
        spec: The model.
        evidence: Scores of the holdout.
        champion: The champion, None before the first promotion.
        checked: Checks made before, such as those for leaks.
        refused: Candidate to the reason why it must not be promoted, whatever its figures.
        notes: What else a person should know, told after the reasons.
        contests: The contests of other recipes with the champion's, before tonight.
        code: Digest of the spec; a contest belongs to one.
        retired: Where there is no champion: the one a person gave up, with its known figures.
        anchors: Fixed versions that it must not fall behind.
        share: The model's share of the error that a fleet's models share (``Gate.within``).

    Raises:
        SpecError: Where the holdout has not what a slice of the spec needs.
    """
    for by in spec.slices:  # also where there is no champion yet: a fault must not wait for one
        spec.problem.slice_values(evidence.holdout, by)
    found = _judge(
        spec, evidence, champion, checked, refused or {}, contests, code, retired, anchors, share
    )
    verdict = into_shadow(found.verdict, spec.gate) if champion else found.verdict
    if champion and champion.candidate == spec.baseline == found.challenger:
        verdict = _add_reasons(verdict, no_model(found.challenger))
    if champion and champion.edited:
        verdict = _add_reasons(verdict, _told_of_edit(champion))
    if champion and champion.fault:
        verdict = Verdict(Status.KEPT, (champion.fault,), verdict.checks)
    if refused and found.challenger in refused:
        verdict = refuse(verdict, refused[found.challenger])
    return replace(found, verdict=_add_reasons(verdict, *notes))


def with_baselines(
    spec: ModelSpec,
    scores: Mapping[str, np.ndarray],
    training: pd.DataFrame,
    holdout: pd.DataFrame,
) -> dict[str, np.ndarray]:
    """The scores of the candidates, and of the baselines: the spec's, if any, and the trivial one.

    Where the candidate that is the spec's baseline has no scores, neither has the baseline, so that
    nothing else is promoted.
    """
    trivial = spec.problem.baseline_scores(training, holdout)
    if spec.baseline is None:
        return {**scores, BASELINE: trivial}
    named = {BASELINE: scores[spec.baseline]} if spec.baseline in scores else {}
    return {**scores, TRIVIAL: trivial, **named}


def early_verdict(held: Sequence[str], rejected: Mapping[date, str]) -> Verdict:
    """The verdict of a night that ends before anything is fitted.

    Args:
        held: Why there are no fresh data, as a sentence.
        rejected: Bad day to the reason; counts where there is any.
    """
    if not rejected:
        return Verdict(Status.HELD, tuple(held))
    reasons = list(rejected.values())
    if (more := len(reasons) - REASONS_TOLD) > 0:
        others = f"{more:,} more days are bad, through {max(rejected)}."
        reasons = [*reasons[:REASONS_TOLD], others]
    return Verdict(Status.REJECTED, tuple(reasons))


def why_backfill(as_of: date, champion: Champion | None, last_judged: date | None) -> str | None:
    """Why a run only reads and reports, and changes nothing; None where it is a night.

    Args:
        as_of: Its as-of date.
        champion: The champion, if any.
        last_judged: Newest as-of date on which a challenger was compared, if any.
    """
    if champion and as_of < champion.as_of:
        return (
            f"This night is a backfill: the champion, version {champion.version}, was made as of "
            f"{champion.as_of}, later than {as_of}. A backfill never changes the champion."
        )
    if last_judged and as_of < last_judged:
        return (
            f"This night is a backfill: the night of {last_judged} was decided before, and {as_of} "
            "is older. A backfill never changes the champion."
        )
    return None


def why_not_comparable(
    champion: Champion, as_of: date, last_judged: date | None, holdout_from: date
) -> str | None:
    """Why a night's challenger cannot be compared with the champion; None where it can.

    Args:
        champion: The champion.
        as_of: As-of date of the night.
        last_judged: Newest as-of date on which a challenger was compared, if any.
        holdout_from: First day of the night's holdout.
    """
    if backfill := why_backfill(as_of, champion, last_judged):
        return backfill
    if champion.twin_learned_through >= holdout_from:
        return (
            f"The champion, version {champion.version}, was trained on days up to "
            f"{champion.twin_learned_through}, but the holdout begins on {holdout_from}: it "
            "cannot be compared on days it was trained on."
        )
    return None


def _judge(
    spec: ModelSpec,
    evidence: Evidence,
    champion: ChampionFacts | None,
    checked: Sequence[Check],
    refused: Mapping[str, str],
    contests: Contests | None,
    code: str,
    retired: Champion | None,
    anchors: Sequence[AnchorFacts],
    share: float,
) -> Decision:
    challenger, recipe = evidence.candidates[0], champion.candidate if champion else None
    figures: Evaluation | None = None
    slices: dict[str, tuple[SliceResult, ...]] = {}
    daily: dict[str, dict[str, float]] = {}
    proven: dict[str, Proof] = {}

    def judge_one(name: str) -> Verdict:
        assert figures is not None
        slices[name] = _compare_slices(spec, evidence, name)
        known = [] if champion else known_figures(figures, name, retired)
        found = judge(
            figures,
            challenger=name,
            champion=CHAMPION if champion else None,
            baseline=BASELINE,
            same_recipe=recipe == name,
            gate=spec.gate,
            naive=naive_part(spec.baseline, name, recipe),
            slices=slices[name],
            checked=(*checked, *known, *_held_against(figures, name, anchors)),
            proof=proven.get(name),
        )
        return for_person(found, spec.gate)

    try:
        figures = _measure(spec, evidence)
        daily = evaluate_days(spec.problem, evidence.holdout, evidence.scores)
        if recipe:
            contests = _count(spec, evidence, daily, recipe, refused, contests, code)
            proven = proofs(contests, recipe, spec.gate.within(share).recipe_confidence)
        sure = [name for name, proof in proven.items() if proof.passed]
        ranked = rank_challengers(figures, evidence.candidates, recipe, spec.gate, sure)
        broken = (champion and champion.fault) or any(anchor.fault for anchor in anchors)
        if broken or not all(check.passed or check.for_person for check in checked):
            ranked = ranked[:1]  # no other can pass either
        challenger, verdict = judge_in_order(ranked, judge_one, refused)
    except JudgementError as error:
        verdict = Verdict(Status.KEPT, (f"No comparison is possible: {error}.",))
    if figures is None or challenger not in figures.metrics:
        return Decision(verdict, challenger, contests=contests)
    interval = prediction_interval(
        list(daily[challenger].values()), spec.gate.confidence, range_of(spec.problem.primary)
    )
    return Decision(verdict, challenger, figures, slices.get(challenger, ()), interval, contests)


def _count(
    spec: ModelSpec,
    evidence: Evidence,
    daily: Mapping[str, Mapping[str, float]],
    recipe: str,
    refused: Mapping[str, str],
    before: Contests | None,
    code: str,
) -> Contests | None:
    """Tonight's days count; the champion itself stands for a recipe that was not fitted."""
    opponent = recipe if recipe in daily else CHAMPION
    if opponent not in daily:
        return before
    return count_days(
        before,
        daily,
        recipes=[name for name in evidence.candidates if name not in refused],
        against=recipe,
        opponent=opponent,
        greater=spec.problem.greater_is_better,
        code=code,
    )


def _held_against(found: Evaluation, name: str, anchors: Sequence[AnchorFacts]) -> list[Check]:
    return [check_anchor(found, name, anchor) for anchor in anchors]


def _measure(spec: ModelSpec, evidence: Evidence) -> Evaluation:
    spec.problem.check_split(evidence.training, evidence.holdout)
    return evaluate(
        spec.problem,
        evidence.holdout,
        evidence.scores,
        resamples=spec.gate.resamples,
        confidence=spec.gate.confidence,
        seed=spec.seed,
    )


def _compare_slices(
    spec: ModelSpec, evidence: Evidence, challenger: str
) -> tuple[SliceResult, ...]:
    if CHAMPION not in evidence.scores:
        return ()
    return evaluate_slices(
        spec.problem,
        evidence.holdout,
        evidence.scores[challenger],
        evidence.scores[CHAMPION],
        spec.slices,
        resamples=spec.gate.resamples,
        confidence=spec.gate.confidence,
        seed=spec.seed,
    )


def _told_of_edit(champion: ChampionFacts) -> str:
    return (
        f"The model's code has changed since version {champion.version} was made: the champion "
        "was scored with its own code, on the same raw days."
    )


def _add_reasons(verdict: Verdict, *reasons: str) -> Verdict:
    return replace(verdict, reasons=(*verdict.reasons, *reasons))
