"""The steps that fit: candidates before the verdict, the challenger after it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from prefect.context import TaskRunContext

from tasks.spec.loading import load_spec
from tasks.steps.caching import cached_task, if_whole
from tasks.steps.task_runner import on_workers
from tasks.store import frames, models
from tasks.training import fit, stored_fits, tuning

if TYPE_CHECKING:
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
