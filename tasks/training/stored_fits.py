"""Fits that are kept in the store, and the twin that is judged."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tasks.store import frames, models
from tasks.training.fit import (
    Fit,
    estimator_of,
    fit,
    keep,
    model_key,
    on_one_thread,
    read_examples,
    score,
    scores_key,
    trusted_types,
    write_scores,
)
from tasks.training.fit_process import fit_by_itself
from tasks.training.votes import fit_vote, members_of

if TYPE_CHECKING:
    import pandas as pd

    from tasks.spec.model_spec import ModelSpec


LARGE = 1 / 32
"""Share of the machine's memory that training examples may take to be fitted side by side; a fit of
a linear model on encoded columns takes six times as much besides."""
_FITTING: dict[str, threading.Lock] = {}
"""What a vote needs of another candidate is fitted once, whichever of the two comes first."""
_ALONE = threading.Lock()


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
    key = model_key(spec, candidate, training, parameters)
    with _FITTING.setdefault(key, threading.Lock()):
        return _fit_once(spec, candidate, training, parameters, key)


def _fit_once(
    spec: ModelSpec,
    candidate: str,
    training: Sequence[frames.Ref],
    parameters: Mapping[str, Any] | None,
    key: str,
) -> tuple[Fit, Any]:
    trusted = trusted_types(spec)
    if models.has_model("models", key):
        rows = sum(ref.rows for ref in training)
        return Fit(candidate, key, rows, 0.0, 0.0), models.read_model("models", key, trusted)
    if spec.fit_limit is not None:
        made = fit_by_itself(spec, candidate, training, parameters or {}, spec.fit_limit)
        return made, models.read_model("models", key, trusted)
    examples = read_examples(training)
    wall, cpu = time.perf_counter(), time.thread_time()
    estimator = _vote(spec, candidate, training)
    if estimator is None:
        with _in_turn(examples):
            wall, cpu = time.perf_counter(), time.thread_time()
            estimator = fit(spec, candidate, examples, parameters)
    spent, cpu_spent = time.perf_counter() - wall, time.thread_time() - cpu
    keep(spec, candidate, key, estimator)
    made = Fit(candidate, key, len(examples), round(spent, 3), round(cpu_spent, 3))
    return made, estimator


@contextmanager
def _in_turn(examples: pd.DataFrame) -> Iterator[None]:
    """Where examples are large only one candidate is fitted at a time."""
    import psutil

    if examples.memory_usage().sum() < LARGE * psutil.virtual_memory().total:
        yield
        return
    with _ALONE:
        yield


def _vote(spec: ModelSpec, candidate: str, training: Sequence[frames.Ref]) -> Any:
    """The candidate where it is a vote of others, fitted here or before; None where it is none."""
    from sklearn.base import clone

    named = members_of(spec, candidate)
    if not named:
        return None
    members = [fit_and_keep(spec, name, training)[1] for name in named]
    examples = read_examples(training)
    vote = on_one_thread(clone(estimator_of(spec, candidate)))
    return fit_vote(vote, members, spec.problem.inputs(examples), examples["target"].to_numpy())


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
