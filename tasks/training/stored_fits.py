"""Fits that are kept in the store, and the twin that is judged."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tasks.store import frames, models
from tasks.training.fit import (
    Fit,
    fit,
    keep,
    model_key,
    read_examples,
    score,
    scores_key,
    trusted_types,
    write_scores,
)
from tasks.training.fit_process import fit_by_itself

if TYPE_CHECKING:
    from tasks.spec.model_spec import ModelSpec


def fit_and_keep(
    spec: ModelSpec,
    candidate: str,
    training: Sequence[frames.Ref],
    parameters: Mapping[str, Any] | None = None,
) -> tuple[Fit, Any]:
    """The candidate fitted on these days, from the store where the same fit is there.

    Where the training window moves with the nights, the model shipped two weeks ago has the same
    training days as tonight's twin.

    Raises:
        FitError: Where the estimator raises, takes longer than ``fit_limit``, or holds a type that
            could not be loaded again.
    """
    key, trusted = model_key(spec, candidate, training, parameters), trusted_types(spec)
    if models.has_model("models", key):
        rows = sum(ref.rows for ref in training)
        return Fit(candidate, key, rows, 0.0, 0.0), models.read_model("models", key, trusted)
    if spec.fit_limit is not None:
        made = fit_by_itself(spec, candidate, training, parameters or {}, spec.fit_limit)
        return made, models.read_model("models", key, trusted)
    examples = read_examples(training)
    wall, cpu = time.perf_counter(), time.thread_time()
    estimator = fit(spec, candidate, examples, parameters)
    spent, cpu_spent = time.perf_counter() - wall, time.thread_time() - cpu
    keep(spec, candidate, key, estimator)
    made = Fit(candidate, key, len(examples), round(spent, 3), round(cpu_spent, 3))
    return made, estimator


def fit_twin(
    spec: ModelSpec,
    candidate: str,
    training: Sequence[frames.Ref],
    holdout: Sequence[frames.Ref],
    parameters: Mapping[str, Any] | None = None,
) -> Fit:
    """Fit the twin that is judged, and score the days it has not seen."""
    made, estimator = fit_and_keep(spec, candidate, training, parameters)
    scores = score(spec, candidate, estimator, read_examples(holdout))
    write_scores(scores_key(made.key, holdout), scores)
    return made
