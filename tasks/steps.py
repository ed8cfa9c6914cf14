"""The steps from fresh days to a verdict, as Prefect tasks on references that say one line each."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext, TaskRunContext
from prefect.tasks import exponential_backoff

from tasks import prepare, store, train, tuning
from tasks.archive import last_judged
from tasks.dates import last_complete_day, last_due, reasons_to_hold, resolve_as_of
from tasks.decided import fingerprint, recall
from tasks.night import Cleaned, Examples, Incumbent, Judged, Night, RetrainConfig
from tasks.progress import tell_progress
from tasks.report import draw_plots
from tasks.results import cached_task, forget
from tasks.spec import ModelSpec, SpecError, digest, load_spec

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from mlflow import MlflowClient

    from tasks.judge import Check
    from tasks.registry import Champion

log = logging.getLogger("nightly")
log.setLevel(logging.INFO)  # the root's WARNING would keep the lines of a night from Prefect


def may_pass(_task: object, _run: object, state: State) -> bool:
    """Whether a step that failed is worth another try: not where a person must act."""
    from tasks.sources import SourceSettingsError

    failed = state.result(raise_on_failure=False)
    return not isinstance(failed, SpecError | SourceSettingsError)


OUTSIDE: dict[str, Any] = {
    "retries": 3,
    "retry_condition_fn": may_pass,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "cache_policy": NO_CACHE,
}
"""For steps that touch the outside (source, registry): wait 2, 4, 8 s, each with jitter."""


def only_night(model: str) -> AbstractContextManager[None]:
    """Hold the model's lock: another night of the same model waits for this one."""
    return store.lock(f"night-{load_spec(model).name}", wait=6 * 3600)


@task(task_run_name="open the night", **OUTSIDE)
def open_night(config: RetrainConfig) -> Night:
    """Find the as-of date and the source's days, and whether there is anything fresh.

    Raises:
        SourceSettingsError: Where a person must correct what the source is told.
        SourceOutageError: Where what holds the data does not answer.
    """
    from prefect.client.orchestration import get_client

    from tasks import registry
    from tasks.sources import SourceError, SourceOutageError, SourceSettingsError

    registry.reach_server()
    spec, context = load_spec(config.model), FlowRunContext.get()
    due = runtime.flow_run.scheduled_start_time
    started = context.start_time if context else due
    until = config.as_of or last_complete_day(last_due(due, started, spec.timezone), spec.timezone)
    listed: dict[date, str] = {}
    held: tuple[str, ...] = ()
    try:
        listed = dict(spec.source.list_days(until))
    except (SourceSettingsError, SourceOutageError):
        raise
    except SourceError as error:
        held = (str(error),)
    by_hand = runtime.deployment.id is None
    as_of = resolve_as_of(config.as_of, list(listed), due, started, spec.timezone, by_hand=by_hand)
    was_due = config.as_of or (as_of if by_hand else last_complete_day(due, spec.timezone))
    days = {day: mark for day, mark in listed.items() if day <= as_of and day not in spec.skip}
    earlier = recall(config.model, as_of, due)
    superseded = earlier is not None and was_due < as_of
    name = f"{spec.name} · {was_due if superseded else as_of}"
    with get_client(sync_client=True) as client:
        client.update_flow_run(runtime.flow_run.id, name=name)
    later = [] if held or listed else list(spec.source.list_days(date.max))
    held = held or reasons_to_hold(days, as_of, later)
    log.info("open      %s as of %s: %d days in the source", spec.name, as_of, len(days))
    if was_due < as_of:
        log.info("open      due for %s: stands for every night since", was_due)
    key = hashlib.sha256(f"{digest(spec)} {as_of} {fingerprint(days)}".encode()).hexdigest()
    return Night(config.model, spec.name, as_of, days, key, held, earlier, was_due)


def end_held(night: Night) -> State:
    """The last state of a flow that had nothing fresh to look at."""
    return State(type=StateType.CANCELLED, name="HELD", message=" ".join(night.held))


def name_clean(parameters: dict[str, Any]) -> str:
    """Name of the task's run: how many days it cleans."""
    night: Night = parameters["night"]
    new = prepare.days_to_clean(load_spec(night.model), night.days)
    return f"clean {len(new)} new of {len(night.days)} days"


@task(task_run_name=name_clean, **OUTSIDE)  # type: ignore[arg-type]
def clean_days(night: Night) -> Cleaned:
    """Accept or quarantine the rows of new days, and clean them."""
    from tasks.contract import ContractError
    from tasks.sources import ColumnsError, SourceError, SourceOutageError, SourceSettingsError

    spec, started = load_spec(night.model), time.perf_counter()
    try:
        found = prepare.clean_days(spec, night.days, tell_progress("clean", "days"))
    except (SourceSettingsError, SourceOutageError):
        raise
    except (ContractError, ColumnsError) as error:
        return Cleaned({}, (), {night.as_of: str(error)}, {}, _since(started))
    except SourceError as error:
        return Cleaned({}, (), {}, {}, _since(started), held=(str(error),))
    totals = {str(name): int(found.counts[name].sum()) for name in found.counts}
    log.info(
        "clean     %d new of %d days: %s rows in, %s accepted, %s quarantined, %s duplicates",
        len(found.new),
        len(night.days),
        *(f"{totals[name]:,}" for name in ("rows_in", "accepted", "quarantined", "duplicates")),
    )
    held = _without_rows(night, found)
    return Cleaned(found.refs, found.new, found.rejected, totals, _since(started), held)


def name_extract(parameters: dict[str, Any]) -> str:
    """Name of the task's run: how many days it prepares."""
    night: Night = parameters["night"]
    spec = load_spec(night.model)
    try:
        wanted = prepare.split_days(spec, list(night.days), night.as_of).wanted
    except prepare.HistoryError:
        return "extract features"  # the task itself says what is wrong
    new = prepare.days_to_prepare(spec, night.days, wanted)
    return f"extract features of {len(new)} new of {len(wanted)} days"


@task(task_run_name=name_extract, cache_policy=NO_CACHE)  # type: ignore[arg-type]
def extract_features(night: Night, clean: Cleaned) -> Examples:
    """Prepare the days that are not in the store yet, and split them by time."""
    spec, started = load_spec(night.model), time.perf_counter()
    split = prepare.split_days(spec, list(night.days), night.as_of)
    tell = tell_progress("features", "days")
    refs, new = prepare.prepare_examples(spec, night.days, clean.refs, split.wanted, tell)
    learned = store.read_days([refs[day] for day in split.train], columns=["target"])
    if fault := spec.problem.teach_fault(learned):
        raise prepare.HistoryError(
            f"Model {spec.name}: there is nothing to learn from: {fault}. A longer window may have "
            "more; or look at what clean makes of the labels."
        )
    log.info(
        "features  %d new of %d days: %s to %s teach, %s to %s judge",
        len(new),
        len(split.wanted),
        split.train[0],
        split.train[-1],
        split.holdout[0],
        split.holdout[-1],
    )
    return Examples(refs, split, new, tuple(spec.candidates), _since(started), time.time())


def twin_key(_: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Cache key of a candidate: its code and its very examples."""
    spec, (teach, judge, _all) = spec_and_refs(parameters)
    candidate = parameters["candidate"]
    found = tuning.recall(spec, candidate, parameters["night"].as_of, teach)
    model = train.model_key(spec, candidate, teach, found.parameters if found else None)
    key = train.scores_key(model, judge)
    whole = found and store.has_model("models", model) and store.find_days("scores", [key])
    return if_whole(key, whole)


@cached_task(twin_key, task_run_name="fit {candidate}")
def fit_candidate(night: Night, examples: Examples, candidate: str) -> dict[str, Any]:
    """Fit one candidate without the holdout, and score the holdout with it.

    Where its parameters are due, they are searched first.
    """
    spec, split = load_spec(night.model), examples.split
    taught = examples.of(split.train)
    found = tuning.settle(spec, candidate, night.as_of, taught)
    made = train.fit_twin(spec, candidate, taught, examples.of(split.holdout), found.parameters)
    log.info("fit       %s on %s examples in %.1f s", candidate, f"{made.rows:,}", made.seconds)
    return asdict(made)


@task(task_run_name="look for leaks", **OUTSIDE)
def look_for_leaks(night: Night, clean: Cleaned, examples: Examples) -> tuple[Check, ...]:
    """Look for features that know what they could not have known."""
    from tasks import leaks

    spec, judged = load_spec(night.model), examples.split.holdout
    days = leaks.rebuild_days(night.days, judged)
    tested = days[len(days) // 2]
    rows = store.read_days([clean.refs[day] for day in judged if day in clean.refs])
    checks = (
        leaks.rebuilt_without_outcomes(spec, spec.source.read_days(days), tested),
        leaks.missing_like_label(spec, rows),
        leaks.strongest_feature(spec, train.read_examples(examples.of(judged))),
    )
    signs = [check.detail for check in checks if not check.passed]
    log.info("leaks     %s", " ".join(signs) or checks[-1].detail)
    return checks


@task(task_run_name="score the champion", **OUTSIDE)
def score_champion(night: Night, examples: Examples) -> Incumbent:
    """Score tonight's holdout with the champion's twin, now, on the same rows."""
    from tasks import incumbent, packaging, registry
    from tasks.check import CleanProcessError

    spec, client = load_spec(night.model), registry.open_registry()
    _finish_change(client, night)
    champion = registry.read_champion(client, spec.name, before_night=night.key)
    rolled_back = registry.read_rolled_back(client, spec.name)
    if champion is None:
        log.info("champion  none yet")
        return Incumbent(rolled_back=rolled_back)
    fault = _not_comparable(champion, night, examples)
    key, added = f"{champion.twin_sha256}-{night.key}", None
    if fault is None:
        try:
            if champion.digest == digest(spec):
                twin = packaging.read_twin(client, champion, train.trusted_types(spec))
                judged = train.read_examples(examples.of(examples.split.holdout))
                scores = train.score(spec, f"Champion {champion.version}", twin, judged)
            else:
                added, scores = _ask_with_its_own_code(client, spec, champion, night, examples, key)
            train.write_scores(key, scores)
        except (
            registry.RegistryError,
            store.StoreError,
            train.FitError,
            incumbent.AlignError,
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
    from tasks import judge
    from tasks.evaluate import Evaluation, SliceResult, evaluate, evaluate_days, evaluate_slices
    from tasks.grade import promise
    from tasks.metrics import JudgementError

    spec, fitted = load_spec(night.model), time.time()
    fits = {fit["candidate"]: train.Fit(**fit) for fit in made if isinstance(fit, dict)}
    faults = _faults(made)
    if not fits:
        raise train.FitError(" ".join(faults))
    judged = examples.of(examples.split.holdout)
    holdout = train.read_examples(judged)
    for by in spec.slices:  # also where there is no champion yet: a fault must not wait for one
        spec.problem.slice_values(holdout, by)
    learned = store.read_days(examples.of(examples.split.train), columns=["day", "target"])
    scores = {
        name: train.read_scores(train.scores_key(fit.key, judged)) for name, fit in fits.items()
    }
    scores["baseline"] = spec.problem.baseline_scores(learned, holdout)
    if incumbent.added:
        holdout, scores = _with_added(incumbent.added, holdout, scores)
    if incumbent.scores:
        scores["champion"] = train.read_scores(incumbent.scores)
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
        challenger = judge.choose_challenger(figures, list(fits), recipe, spec.gate)
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
        verdict = judge.judge(
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
        verdict = judge.Verdict("KEPT", (f"Cannot judge: {error}.",))
    if champion and champion.digest != digest(spec):
        edited = (
            f"The model's code has changed since version {champion.version} was made: the champion "
            "was asked through its own code, on the same raw days."
        )
        verdict = replace(verdict, reasons=(*verdict.reasons, edited))
    if incumbent.fault:
        verdict = judge.Verdict("KEPT", (incumbent.fault,), verdict.checks)
    found = settled(night, examples, list(fits))
    key = train.model_key(
        spec, challenger, examples.of(examples.split.refit), found[challenger].parameters
    )
    if key in incumbent.rolled_back:
        verdict = judge.refuse(verdict, incumbent.rolled_back[key])
    searched = [text for name, each in found.items() if (text := each.told(name))]
    verdict = replace(verdict, reasons=(*verdict.reasons, *searched, *faults))
    log.info("judge     %s: %s", verdict.status, verdict.reasons[0])
    drawn: dict[str, bytes] = {}
    promised = None
    if figures:
        alone = evaluate_days(spec.problem, holdout, {challenger: scores[challenger]})
        promised = promise(list(alone[challenger].values()), spec.gate.confidence)
        relied = train.measure_reliance(spec, fits[challenger], holdout)
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
    client: MlflowClient,
    spec: ModelSpec,
    champion: Champion,
    night: Night,
    examples: Examples,
    key: str,
) -> tuple[str | None, np.ndarray]:
    """Key of the examples only the champion names, and its scores of tonight's and of these."""
    from tasks import incumbent, packaging

    judged = examples.split.holdout
    days = incumbent.days_needed(list(night.days), judged, champion.lookback)
    accepted = incumbent.accept(spec, spec.source.read_days(days))
    with (
        packaging.downloaded(client, night.name, champion.version) as package,
        packaging.downloaded_twin(client, champion) as twin,
    ):
        answers = incumbent.ask_champion(champion, night.name, package, twin, accepted, judged)
    holdout = train.read_examples(examples.of(judged))
    added, scores = incumbent.align(spec, holdout, accepted, answers)
    if len(added):
        store.write_days("added", {key: added})
    return (key if len(added) else None), scores


def _with_added(
    key: str, holdout: pd.DataFrame, scores: Mapping[str, np.ndarray]
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    import pandas as pd

    from tasks.incumbent import pad

    added = store.read_days([store.find_days("added", [key])[key]])
    every = pd.concat([holdout, added], ignore_index=True)
    return every, {name: pad(score, len(added)) for name, score in scores.items()}


def _without_rows(night: Night, found: prepare.CleanDays) -> tuple[str, ...]:
    newest = found.refs.get(night.as_of)
    if newest is None or newest.rows:
        return ()
    import pandas as pd

    counts = found.counts.reindex([pd.Timestamp(night.as_of)], fill_value=0).sum()
    return (
        f"The data of {night.as_of} hold nothing to use: {counts['rows_in']:,} rows in, "
        f"{counts['quarantined']:,} quarantined, none left after cleaning. If that is right, "
        "name the day in the spec's skip.",
    )


def _faults(made: Sequence[dict[str, Any] | BaseException]) -> tuple[str, ...]:
    """What is wrong with the candidates that could not be used; other failures are raised."""
    failed = [fit for fit in made if isinstance(fit, BaseException)]
    for error in failed:
        if not isinstance(error, train.FitError):
            raise error
    return tuple(str(error) for error in failed)


def spec_and_refs(
    parameters: dict[str, Any],
) -> tuple[ModelSpec, tuple[list[store.Ref], list[store.Ref], list[store.Ref]]]:
    """Of a task's parameters: the spec, and the examples that teach, that judge, and all."""
    night, examples = parameters["night"], parameters["examples"]
    split = examples.split
    refs = (examples.of(split.train), examples.of(split.holdout), examples.of(split.refit))
    return load_spec(night.model), refs


def settled(night: Night, examples: Examples, names: Sequence[str]) -> dict[str, tuning.Settled]:
    """The parameters that candidates of a night were fitted with."""
    spec, taught = load_spec(night.model), examples.of(examples.split.train)
    return {name: tuning.settle(spec, name, night.as_of, taught) for name in names}


def if_whole(key: str, whole: object) -> str:
    """The key; what was remembered under it is forgotten unless what it names is whole."""
    if not whole:
        forget(key)
    return key


def _finish_change(client: MlflowClient, night: Night) -> None:
    from tasks import registry

    finished = registry.finish_change(client, night.name)
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


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 2)
