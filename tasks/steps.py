"""The steps of a night as Prefect tasks: each fetches what it needs by reference and says a line."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from prefect import runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.tasks import exponential_backoff

from tasks import decided, prepare, report, settings, store, train
from tasks.night import Night, RetrainConfig, reasons_to_hold, resolve_as_of
from tasks.results import cached
from tasks.spec import DECIDING_LIBRARIES, ModelSpec, code_files, digest, load_spec

if TYPE_CHECKING:
    from prefect.states import State

    from tasks.judge import Verdict
    from tasks.registry import Champion

log = logging.getLogger("nightly")

OUTSIDE: dict[str, Any] = {
    "retries": 3,
    "retry_delay_seconds": exponential_backoff(backoff_factor=2),
    "retry_jitter_factor": 0.5,
    "cache_policy": NO_CACHE,
}
"""For steps that touch the outside (source, registry): wait 2, 4, 8 s, each with jitter."""


@dataclass(frozen=True)
class Examples:
    """Prepared days and how they are split.

    Attributes:
        refs: Day to its examples.
        split: Days that teach and days that judge.
        new: Days prepared tonight.
        candidates: Names of the recipes to fit.
        seconds: Seconds spent.
    """

    refs: dict[date, store.Ref]
    split: prepare.Split
    new: tuple[date, ...]
    candidates: tuple[str, ...]
    seconds: float

    def of(self, days: tuple[date, ...]) -> list[store.Ref]:
        """References to the examples of these days."""
        return [self.refs[day] for day in days]


@dataclass(frozen=True)
class Incumbent:
    """The champion and what its twin says of tonight's holdout.

    Attributes:
        champion: None before the first promotion.
        scores: Key of its scores, or None where it cannot be scored.
        fault: Why it cannot be scored or compared, in words.
        seconds: Seconds spent.
    """

    champion: Champion | None = None
    scores: str | None = None
    fault: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Judged:
    """The verdict and what it rests on.

    Attributes:
        verdict: Status, reasons and checks.
        challenger: Name of tonight's best recipe.
        fits: Every candidate, by name.
        incumbent: The champion it was compared with.
        figures: ``Evaluation`` as JSON: metrics of each scorer with intervals.
        plots: Title to PNG.
        seconds: Seconds spent.
    """

    verdict: Verdict
    challenger: str
    fits: dict[str, train.Fit]
    incumbent: Incumbent
    figures: dict[str, Any]
    plots: dict[str, bytes]
    seconds: float


def only_night(model: str) -> AbstractContextManager[None]:
    """Hold the model's lock: another night of the same model waits for this one."""
    return store.lock(f"night-{load_spec(model).name}", wait=6 * 3600)


@task(task_run_name="open the night", **OUTSIDE)
def open_night(config: RetrainConfig) -> Night:
    """Find the as-of date and the source's days, and whether there is anything fresh."""
    from prefect.client.orchestration import get_client

    from tasks.sources import SourceError

    spec = load_spec(config.model)
    due = runtime.flow_run.scheduled_start_time
    until = config.as_of or last_complete_day(due, spec.timezone)
    listed: dict[date, str] = {}
    held: tuple[str, ...] = ()
    try:
        listed = dict(spec.source.list_days(until))
    except SourceError as error:
        held = (str(error),)
    by_hand = runtime.deployment.id is None
    as_of = resolve_as_of(config.as_of, list(listed), due, spec.timezone, by_hand=by_hand)
    days = {day: mark for day, mark in listed.items() if day <= as_of and day not in spec.skip}
    with get_client(sync_client=True) as client:
        client.update_flow_run(runtime.flow_run.id, name=f"{spec.name} · {as_of}")
    held = held or reasons_to_hold(days, as_of)
    log.info("open      %s as of %s: %d days in the source", spec.name, as_of, len(days))
    return Night(config.model, spec.name, as_of, days, _night_key(spec, as_of, days), held)


@task(task_run_name="clean {night.name}", **OUTSIDE)
def clean_days(night: Night) -> Cleaned:
    """Accept or quarantine the rows of new days, and clean them."""
    from tasks.contract import ContractError

    spec, started = load_spec(night.model), time.perf_counter()
    try:
        with progress("clean", "days") as tell:
            found = prepare.clean_days(spec, night.days, tell)
    except ContractError as error:
        return Cleaned({}, (), {night.as_of: str(error)}, {}, _since(started))
    totals = {name: int(found.counts[name].sum()) for name in found.counts}
    log.info(
        "clean     %d new of %d days: %s rows in, %s accepted, %s quarantined, %s duplicates",
        len(found.new),
        len(night.days),
        *(f"{totals[name]:,}" for name in ("rows_in", "accepted", "quarantined", "duplicates")),
    )
    return Cleaned(found.refs, found.new, found.rejected, totals, _since(started))


@task(task_run_name="extract features of {night.name}", cache_policy=NO_CACHE)
def extract_features(night: Night, clean: Cleaned) -> Examples:
    """Prepare the days that are not in the store yet, and split them by time."""
    spec, started = load_spec(night.model), time.perf_counter()
    split = prepare.split_days(spec, list(night.days), night.as_of)
    wanted = sorted({*split.train, *split.holdout, *split.refit})
    with progress("features", "days") as tell:
        refs, new = prepare.prepare_examples(spec, night.days, clean.refs, wanted, tell)
    log.info(
        "features  %d new of %d days: %s to %s teach, %s to %s judge",
        len(new),
        len(wanted),
        split.train[0],
        split.train[-1],
        split.holdout[0],
        split.holdout[-1],
    )
    return Examples(refs, split, new, tuple(spec.candidates), _since(started))


def twin_key(_: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Cache key of a candidate: its code and its very examples."""
    spec, (teach, judge, _all) = _spec_and_refs(parameters)
    return _if_whole(train.twin_key(spec, parameters["candidate"], teach, judge), "scores")


def shipped_key(_: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Cache key of the model that ships."""
    spec, (_teach, _judge, matured) = _spec_and_refs(parameters)
    return _if_whole(train.shipped_key(spec, parameters["judged"].challenger, matured))


@task(task_run_name="fit {candidate}", **cached(twin_key))
def fit_candidate(night: Night, examples: Examples, candidate: str) -> dict[str, Any]:
    """Fit one candidate without the holdout, and score the holdout with it."""
    spec, split = load_spec(night.model), examples.split
    made = train.fit_twin(spec, candidate, examples.of(split.train), examples.of(split.holdout))
    log.info("fit       %s on %s examples in %.1f s", candidate, f"{made.rows:,}", made.seconds)
    return asdict(made)


@task(task_run_name="score the champion", **OUTSIDE)
def score_champion(night: Night, examples: Examples) -> Incumbent:
    """Score tonight's holdout with the champion's twin, now, on the same rows."""
    from tasks import registry

    spec, started = load_spec(night.model), time.perf_counter()
    client = registry.open_registry()
    champion = registry.read_champion(client, spec.name, made_by_other_than=night.key)
    if champion is None:
        log.info("champion  none yet")
        return Incumbent(seconds=_since(started))
    fault = _not_comparable(champion, night, examples)
    key = f"{champion.twin_sha256}-{night.key}"
    if fault is None:
        try:
            twin = registry.read_twin(client, champion, train.trusted_types(spec))
            judged = store.read_days(examples.of(examples.split.holdout))
            train.write_scores(key, train.score(spec, f"Champion {champion.version}", twin, judged))
        except (registry.RegistryError, store.StoreError, train.FitError) as error:
            fault = f"The champion, version {champion.version}, cannot be scored: {error}"
    log.info("champion  version %s (%s) scored on the holdout", champion.version, champion.candidate)
    return Incumbent(champion, None if fault else key, fault, _since(started))


@task(task_run_name="judge {night.name}", cache_policy=NO_CACHE)
def judge_night(
    night: Night, examples: Examples, made: list[dict[str, Any]], incumbent: Incumbent
) -> Judged:
    """Compare challenger, champion and baseline on the same unseen days."""
    from tasks import judge, metrics

    spec, started = load_spec(night.model), time.perf_counter()
    fits = {fit["candidate"]: train.Fit(**fit) for fit in made}
    holdout = store.read_days(examples.of(examples.split.holdout))
    learned = store.read_days(examples.of(examples.split.train), columns=["day", "target"])
    scores = {name: train.read_scores(fit.key) for name, fit in fits.items()}
    scores["baseline"] = spec.problem.baseline(learned, holdout)
    if incumbent.scores:
        scores["champion"] = train.read_scores(incumbent.scores)
    champion = incumbent.champion
    figures: metrics.Evaluation | None = None
    try:
        figures = metrics.evaluate(
            spec.problem,
            holdout,
            scores,
            resamples=spec.gate.resamples,
            confidence=spec.gate.confidence,
            seed=spec.seed,
        )
        recipe = champion.candidate if champion else None
        challenger = judge.choose_challenger(figures, list(fits), recipe, spec.gate)
        slices = []
        if incumbent.scores:
            slices = metrics.evaluate_slices(
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
            same_recipe=champion is not None
            and (champion.candidate, champion.digest) == (challenger, digest(spec)),
            gate=spec.gate,
            slices=slices,
        )
    except metrics.JudgementError as error:
        challenger, slices = next(iter(fits)), []
        verdict = judge.Verdict("KEPT", (f"Cannot judge: {error}.",))
    if incumbent.fault:
        verdict = judge.Verdict("KEPT", (incumbent.fault,), verdict.checks)
    log.info("judge     %s: %s", verdict.status, verdict.reasons[0])
    return Judged(
        verdict=verdict,
        challenger=challenger,
        fits=fits,
        incumbent=incumbent,
        figures=figures.to_json() if figures else None,
        plots=draw_plots(spec, holdout, scores, challenger, figures, slices),
        seconds=_since(started),
    )


@task(task_run_name="refit {judged.challenger} on all matured days", **cached(shipped_key))
def refit_challenger(night: Night, examples: Examples, judged: Judged) -> dict[str, Any]:
    """Fit the challenger's recipe on all matured days: this is what ships."""
    spec = load_spec(night.model)
    made = train.fit_shipped(spec, judged.challenger, examples.of(examples.split.refit))
    log.info("refit     %s on %s examples", judged.challenger, f"{made.rows:,}")
    return asdict(made)


@task(task_run_name="log the night to MLflow", **OUTSIDE)
def log_night(night: Night, clean: Cleaned, examples: Examples, judged: Judged) -> str:
    """Write the night's run and a child run for each candidate."""
    from tasks import registry

    client = registry.open_registry()
    run = registry.log_night(client, _night_run(night, clean, examples, judged))
    log.info("log       MLflow run %s with %d candidates", run, len(judged.fits))
    return run


@task(task_run_name="register version of {night.name}", **OUTSIDE)
def register_version(
    night: Night, examples: Examples, judged: Judged, shipped: dict[str, Any], run: str
) -> str:
    """Upload the shipped model with its judged twin and register exactly this version."""
    from tasks import registry

    spec, split = load_spec(night.model), examples.split
    client = registry.open_registry()
    version = registry.find_version(client, spec.name, night.key)
    if version is None:
        twin, twin_sha256 = store.model_file("models", judged.fits[judged.challenger].key)
        sample = store.read_days(examples.of(split.holdout[-1:])).head(5)
        version = registry.register_version(
            client,
            run,
            model=spec.name,
            estimator=store.read_model("models", shipped["key"], train.trusted_types(spec)),
            twin=twin,
            twin_sha256=twin_sha256,
            inputs=spec.problem.inputs(sample),
            code=code_files(spec),
            trusted=train.trusted_types(spec),
            requirements=[f"{name}=={_version(name)}" for name in DECIDING_LIBRARIES],
            tags={
                "night": night.key,
                "as_of": night.as_of.isoformat(),
                "candidate": judged.challenger,
                "spec_digest": digest(spec),
                "judged_from": split.holdout[0].isoformat(),
                "twin_learned_through": split.train[-1].isoformat(),
            },
            description=(
                f"{judged.challenger}, fitted on {shipped['rows']:,} examples from "
                f"{split.refit[0]} to {split.refit[-1]}. {judged.verdict.reasons[0]}"
            ),
        )
    log.info("register  version %s", version)
    return version


@task(task_run_name="promote version {version}", **OUTSIDE)
def promote_version(night: Night, version: str) -> str:
    """Point the alias champion at exactly the version just made."""
    from tasks import registry

    registry.promote(registry.open_registry(), night.name, version)
    log.info("promote   version %s is the champion of %s", version, night.name)
    return version
