"""The steps that fit: candidates before the verdict, the challenger after it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from prefect.context import TaskRunContext

from tasks.promotion import left_out
from tasks.promotion.contests import Contests
from tasks.registry import versions
from tasks.registry.client import open_registry
from tasks.reporting.archive import newest_with_contests
from tasks.spec.fingerprint import digest
from tasks.spec.loading import load_spec
from tasks.steps.caching import cached_task, if_whole
from tasks.steps.retries import OUTSIDE
from tasks.steps.spoken import task
from tasks.steps.task_runner import on_workers
from tasks.store import frames, models
from tasks.training import fit, stored_fits, tuning

if TYPE_CHECKING:
    from prefect.futures import PrefectFuture

    from tasks.monitoring.drift import Drifted
    from tasks.promotion.left_out import LeftOut
    from tasks.spec.model_spec import ModelSpec
    from tasks.steps.state import Examples, Judged, Night


log = logging.getLogger("nightly")


def shipped_key(_: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Cache key of the shipped model."""
    spec, (training, _holdout, matured) = spec_and_refs(parameters)
    candidate = parameters["judged"].challenger
    found = tuning.settle(spec, candidate, parameters["night"].as_of, training)
    key = fit.model_key(spec, candidate, matured, found.parameters)
    return if_whole(key, models.has_model("models", key))


def _of_challenger(parameters: Mapping[str, Any]) -> Mapping[str, float]:
    return load_spec(parameters["night"].model).resources.get(parameters["judged"].challenger, {})


@cached_task(
    shipped_key,
    task_run_name="refit {judged.challenger} on all matured days",
    needs=_of_challenger,
)
def refit_challenger(night: Night, examples: Examples, judged: Judged) -> dict[str, Any]:
    """Fit the challenger's recipe on all matured days, as the shipped model."""
    spec, split = load_spec(night.model), examples.split
    found = tuning.settle(spec, judged.challenger, night.as_of, examples.of(split.train))
    made, _ = stored_fits.fit_and_keep(
        spec, judged.challenger, examples.of(split.refit), found.parameters
    )
    log.info("refit     %s on %s examples", judged.challenger, f"{made.rows:,}")
    return asdict(made)


def ship_challenger(night: Night, examples: Examples, judged: Judged) -> dict[str, Any]:
    """Refit the challenger: in this process, or by a worker that has what it needs."""
    small = replace(judged, plots={}, figures=None)
    if on_workers(_of_challenger({"night": night, "judged": judged})):
        found: dict[str, Any] = refit_challenger.submit(night, examples, small).result()
        return found
    return refit_challenger(night, examples, judged)


def _of_candidate(parameters: Mapping[str, Any]) -> Mapping[str, float]:
    return load_spec(parameters["night"].model).resources.get(parameters["candidate"], {})


def twin_key(_: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Cache key of a candidate: its code and its examples."""
    spec, (training, holdout, _matured) = spec_and_refs(parameters)
    candidate = parameters["candidate"]
    found = tuning.recall(spec, candidate, parameters["night"].as_of, training)
    model = fit.model_key(spec, candidate, training, found.parameters if found else None)
    key = fit.scores_key(model, holdout)
    whole = found and models.has_model("models", model) and frames.find_days("scores", [key])
    return if_whole(key, whole)


@cached_task(twin_key, task_run_name="fit {candidate}", needs=_of_candidate)
def fit_candidate(night: Night, examples: Examples, candidate: str) -> dict[str, Any]:
    """Fit one candidate without the holdout, and score the holdout with it.

    Where a search of its hyperparameters is due, it runs first.
    """
    spec, split = load_spec(night.model), examples.split
    training = examples.of(split.train)
    found = tuning.settle(spec, candidate, night.as_of, training)
    made = stored_fits.fit_twin(
        spec, candidate, training, examples.of(split.holdout), found.parameters
    )
    log.info("fit       %s on %s examples in %.1f s", candidate, f"{made.rows:,}", made.seconds)
    return asdict(made)


@task(task_run_name="leave out recipes without a chance", **OUTSIDE)
def leave_out(night: Night, examples: Examples, drift: Drifted) -> Examples:
    """The examples without the recipes that are not fitted tonight; none where inputs drifted."""
    if any(shift.alarming for shift in drift.shifts):
        return replace(examples, drifted=True)
    found = find_left_out(night, examples)
    for line in left_out.told(found):
        log.info("fit       %s", line)
    return examples.without(found)


def find_left_out(night: Night, examples: Examples) -> dict[str, LeftOut]:
    """The recipes that tonight could not promote (``tasks.promotion.left_out``).

    What nights before tonight have recorded decides, so that the same night again leaves out the
    same. There are none where the champion is not the one that the last of them left; a backfill
    does as the night did, whoever is champion now.
    """
    spec = load_spec(night.model)
    last = newest_with_contests(night.name, night.as_of - timedelta(days=1))
    if last is None or last["contests"] is None or examples.drifted:
        return {}
    calendar = spec.calendar_of(night.days)

    def night_in(nights: int) -> date:
        found = night.as_of
        for _ in range(nights):
            found = calendar.next_open(found)
        return found

    found = left_out.leave_out(
        spec,
        Contests.from_json(last["contests"]),
        recipe=last["champion"]["candidate"],
        code=digest(spec),
        held_out=examples.split.holdout,
        night_in=night_in,
        share=night.share,
    )
    if not found or night.backfill:
        return found
    champion = versions.read_champion(open_registry(), night.name, before_night=night.key)
    same = champion is not None and champion.version == last["champion"]["version"]
    return found if same else {}


def collect_fits(
    night: Night, examples: Examples, fits: Sequence[PrefectFuture[Any]]
) -> list[dict[str, Any] | BaseException]:
    """What came of each fit; where none succeeded, the recipes left out are fitted after all."""
    made = [fit.result(raise_on_failure=False) for fit in fits]
    if any(isinstance(one, dict) for one in made):
        return made
    late = [fit_candidate.submit(night, examples, name) for name in examples.left_out]
    return made + [fit.result(raise_on_failure=False) for fit in late]


def spec_and_refs(
    parameters: dict[str, Any],
) -> tuple[ModelSpec, tuple[list[frames.Ref], list[frames.Ref], list[frames.Ref]]]:
    """Of a task's parameters: the spec; the examples to train on, held out, and matured."""
    night, examples = parameters["night"], parameters["examples"]
    split = examples.split
    refs = (examples.of(split.train), examples.of(split.holdout), examples.of(split.refit))
    return load_spec(night.model), refs


def settled(night: Night, examples: Examples, names: Sequence[str]) -> dict[str, tuning.Settled]:
    """The parameters that candidates of a night were fitted with."""
    spec, training = load_spec(night.model), examples.of(examples.split.train)
    return {name: tuning.settle(spec, name, night.as_of, training) for name in names}
