"""The steps from fitted candidates to a verdict."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.clean_process import version_answers
from tasks.clean_process.run import CleanProcessError
from tasks.clean_process.version_answers import pad
from tasks.errors import JudgementError
from tasks.evaluation.estimates import Evaluation, SliceResult
from tasks.evaluation.evaluate import evaluate, evaluate_days, evaluate_slices
from tasks.monitoring.live_performance import promise
from tasks.registry import aliases, packages, versions
from tasks.registry.client import RegistryError, open_registry
from tasks.reporting.archive import last_judged
from tasks.reporting.night_plots import draw_plots
from tasks.spec.fingerprint import digest
from tasks.spec.loading import load_spec
from tasks.steps.retries import OUTSIDE
from tasks.steps.state import Incumbent, Judged
from tasks.steps.train import settled
from tasks.store import files, frames
from tasks.training import fit as fitting
from tasks.training import importance

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from tasks.promotion.checks import Check
    from tasks.registry.client import Client
    from tasks.registry.versions import Champion
    from tasks.spec.model_spec import ModelSpec
    from tasks.steps.state import Cleaned, Examples, Night


log = logging.getLogger("nightly")
log.setLevel(logging.INFO)  # the root's WARNING would keep the lines of a night from Prefect


@task(task_run_name="look for leaks", **OUTSIDE)
def look_for_leaks(night: Night, clean: Cleaned, examples: Examples) -> tuple[Check, ...]:
    """Look for features that know what they could not have known."""
    from tasks.promotion import leaks

    spec, judged = load_spec(night.model), examples.split.holdout
    days = leaks.rebuild_days(night.days, judged)
    tested = days[len(days) // 2]
    rows = frames.read_days([clean.refs[day] for day in judged if day in clean.refs])
    checks = (
        leaks.rebuilt_without_outcomes(spec, spec.source.read_days(days), tested),
        leaks.missing_like_label(spec, rows),
        leaks.strongest_feature(spec, fitting.read_examples(examples.of(judged))),
    )
    signs = [check.detail for check in checks if not check.passed]
    log.info("leaks     %s", " ".join(signs) or checks[-1].detail)
    return checks


@task(task_run_name="score the champion", **OUTSIDE)
def score_champion(night: Night, examples: Examples) -> Incumbent:
    """Score tonight's holdout with the champion's twin, now, on the same rows."""

    spec, client = load_spec(night.model), open_registry()
    _finish_change(client, night)
    champion = versions.read_champion(client, spec.name, before_night=night.key)
    rolled_back = versions.read_rolled_back(client, spec.name)
    if champion is None:
        log.info("champion  none yet")
        return Incumbent(rolled_back=rolled_back)
    fault = _not_comparable(champion, night, examples)
    key, added = f"{champion.twin_sha256}-{night.key}", None
    if fault is None:
        try:
            if champion.digest == digest(spec):
                twin = packages.read_twin(client, champion, fitting.trusted_types(spec))
                judged = fitting.read_examples(examples.of(examples.split.holdout))
                scores = fitting.score(spec, f"Champion {champion.version}", twin, judged)
            else:
                added, scores = _ask_with_its_own_code(client, spec, champion, night, examples, key)
            fitting.write_scores(key, scores)
        except (
            RegistryError,
            files.StoreError,
            fitting.FitError,
            version_answers.AlignError,
            CleanProcessError,
        ) as error:
            why = str(error).removesuffix(".")
            fault = f"The champion, version {champion.version}, cannot be scored: {why}."
    log.info(
        "champion  version %s (%s) %s",
        champion.version,
        champion.candidate,
        "is not scored" if fault else "scored on the holdout",
    )
    return Incumbent(champion, None if fault else key, added, fault, rolled_back)


def name_judge(parameters: dict[str, Any]) -> str:
    """Name of the task's run: how many candidates, against which champion."""
    champion = parameters["incumbent"].champion
    against = f"champion {champion.version}" if champion else "the baseline"
    return f"judge {len(parameters['made'])} candidates against {against}"


@task(task_run_name=name_judge, cache_policy=NO_CACHE)  # type: ignore[arg-type]
def judge_night(
    night: Night,
    examples: Examples,
    made: Sequence[dict[str, Any] | BaseException],
    incumbent: Incumbent,
    leaks: Sequence[Check] = (),
) -> Judged:
    """Compare challenger, champion and baseline on the same unseen days.

    Raises:
        FitError: Where no candidate could be fitted and scored.
    """
    from tasks.promotion import checks, gate

    spec, fitted = load_spec(night.model), time.time()
    fits = {fit["candidate"]: fitting.Fit(**fit) for fit in made if isinstance(fit, dict)}
    faults = _faults(made)
    if not fits:
        raise fitting.FitError(" ".join(faults))
    judged = examples.of(examples.split.holdout)
    holdout = fitting.read_examples(judged)
    for by in spec.slices:  # also where there is no champion yet: a fault must not wait for one
        spec.problem.slice_values(holdout, by)
    learned = frames.read_days(examples.of(examples.split.train), columns=["day", "target"])
    scores = {
        name: fitting.read_scores(fitting.scores_key(fit.key, judged)) for name, fit in fits.items()
    }
    scores["baseline"] = spec.problem.baseline_scores(learned, holdout)
    if incumbent.added:
        holdout, scores = _with_added(incumbent.added, holdout, scores)
    if incumbent.scores:
        scores["champion"] = fitting.read_scores(incumbent.scores)
    champion = incumbent.champion
    figures: Evaluation | None = None
    slices: tuple[SliceResult, ...] = ()
    try:
        spec.problem.check_split(learned, holdout)
        figures = evaluate(
            spec.problem,
            holdout,
            scores,
            resamples=spec.gate.resamples,
            confidence=spec.gate.confidence,
            seed=spec.seed,
            recipe_confidence=spec.gate.recipe_confidence,
        )
        recipe = champion.candidate if champion else None
        challenger = gate.choose_challenger(figures, list(fits), recipe, spec.gate)
        if incumbent.scores:
            slices = evaluate_slices(
                spec.problem,
                holdout,
                scores[challenger],
                scores["champion"],
                spec.slices,
                resamples=spec.gate.resamples,
                confidence=spec.gate.confidence,
                seed=spec.seed,
            )
        verdict = gate.judge(
            figures,
            challenger=challenger,
            champion="champion" if champion else None,
            baseline="baseline",
            same_recipe=champion is not None and champion.candidate == challenger,
            gate=spec.gate,
            slices=slices,
            checked=leaks,
        )
    except JudgementError as error:
        challenger = next(iter(fits))
        verdict = checks.Verdict("KEPT", (f"Cannot judge: {error}.",))
    if champion and champion.digest != digest(spec):
        edited = (
            f"The model's code has changed since version {champion.version} was made: the champion "
            "was asked through its own code, on the same raw days."
        )
        verdict = replace(verdict, reasons=(*verdict.reasons, edited))
    if incumbent.fault:
        verdict = checks.Verdict("KEPT", (incumbent.fault,), verdict.checks)
    found = settled(night, examples, list(fits))
    key = fitting.model_key(
        spec, challenger, examples.of(examples.split.refit), found[challenger].parameters
    )
    if key in incumbent.rolled_back:
        verdict = gate.refuse(verdict, incumbent.rolled_back[key])
    searched = [text for name, each in found.items() if (text := each.told(name))]
    verdict = replace(verdict, reasons=(*verdict.reasons, *searched, *faults))
    log.info("judge     %s: %s", verdict.status, verdict.reasons[0])
    drawn: dict[str, bytes] = {}
    promised = None
    if figures:
        alone = evaluate_days(spec.problem, holdout, {challenger: scores[challenger]})
        promised = promise(list(alone[challenger].values()), spec.gate.confidence)
        relied = importance.measure_reliance(spec, fits[challenger], holdout)
        drawn = draw_plots(spec, holdout, scores, challenger, figures, slices, relied)
    return Judged(
        verdict=verdict,
        challenger=challenger,
        fits=fits,
        incumbent=incumbent,
        figures=figures.to_json() if figures else None,
        plots=drawn,
        seconds={
            "fit": round(fitted - examples.done, 2),
            "judge": round(time.time() - fitted, 2),
        },
        done=time.time(),
        promised=promised,
    )


def _ask_with_its_own_code(
    client: Client,
    spec: ModelSpec,
    champion: Champion,
    night: Night,
    examples: Examples,
    key: str,
) -> tuple[str | None, np.ndarray]:
    """Key of the examples only the champion names, and its scores of tonight's and of these."""

    judged = examples.split.holdout
    days = version_answers.days_needed(list(night.days), judged, champion.lookback)
    accepted = version_answers.accept(spec, spec.source.read_days(days))
    with (
        packages.downloaded(client, night.name, champion.version) as package,
        packages.downloaded_twin(client, champion) as twin,
    ):
        answers = version_answers.ask_champion(
            champion, night.name, package, twin, accepted, judged
        )
    holdout = fitting.read_examples(examples.of(judged))
    added, scores = version_answers.align(spec, holdout, accepted, answers)
    if len(added):
        frames.write_days("added", {key: added})
    return (key if len(added) else None), scores


def _with_added(
    key: str, holdout: pd.DataFrame, scores: Mapping[str, np.ndarray]
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    import pandas as pd

    added = frames.read_days([frames.find_days("added", [key])[key]])
    every = pd.concat([holdout, added], ignore_index=True)
    return every, {name: pad(score, len(added)) for name, score in scores.items()}


def _faults(made: Sequence[dict[str, Any] | BaseException]) -> tuple[str, ...]:
    """What is wrong with the candidates that could not be used; other failures are raised."""
    failed = [fit for fit in made if isinstance(fit, BaseException)]
    for error in failed:
        if not isinstance(error, fitting.FitError):
            raise error
    return tuple(str(error) for error in failed)


def _finish_change(client: Client, night: Night) -> None:

    finished = aliases.finish_change(client, night.name)
    if finished:
        log.warning(
            "champion  a change of champion was cut off: ended it, version %s is the champion",
            finished,
        )


def _not_comparable(champion: Champion, night: Night, examples: Examples) -> str | None:
    if night.as_of < champion.as_of:
        return (
            f"This is a look back: the champion, version {champion.version}, was made as of "
            f"{champion.as_of}, later than {night.as_of}."
        )
    judged = last_judged(night.name)
    if judged and night.as_of < judged:
        return (
            f"This is a look back: the night of {judged} has been judged, {night.as_of} is older."
        )
    if champion.twin_learned_through >= examples.split.holdout[0]:
        return (
            f"The champion, version {champion.version}, learned from days through "
            f"{champion.twin_learned_through}, inside the holdout that begins on "
            f"{examples.split.holdout[0]}: it cannot be judged on days it has seen."
        )
    return None
