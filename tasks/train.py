"""Fit one candidate."""

from __future__ import annotations

import functools
import hashlib
import json
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks import store
from tasks.spec import ModelSpec, digest
from tasks.trust import TRUSTED_TYPES
from tasks.tune import Tuned

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class FitError(RuntimeError):
    """A candidate raised, or predicts what is no number."""


@dataclass(frozen=True)
class Fit:
    """One fitted candidate in the store.

    Attributes:
        candidate: Name in the spec.
        key: Content address of the fitted model.
        rows: Examples it learned from.
        seconds: Seconds the fit took; 0 where the same fit was in the store.
        cpu_seconds: Processor seconds the fit took.
    """

    candidate: str
    key: str
    rows: int
    seconds: float
    cpu_seconds: float


def model_key(
    spec: ModelSpec,
    candidate: str,
    taught: Sequence[store.Ref],
    parameters: Mapping[str, Any] | None = None,
) -> str:
    """Content address of a fitted model: code, libraries, parameters that a search found, examples.

    Args:
        spec: The model.
        candidate: Name in ``spec.candidates``.
        taught: The very examples it learns from.
        parameters: What a search found (``tasks.tuning``), if anything.
    """
    found = [json.dumps(parameters, sort_keys=True)] if parameters else []
    return _digest(digest(spec), candidate, *found, *_marks(taught))


def scores_key(model: str, judged: Sequence[store.Ref]) -> str:
    """Content address of what a model says of these examples."""
    return _digest(model, *_marks(judged))


def fit(
    spec: ModelSpec,
    candidate: str,
    examples: pd.DataFrame,
    parameters: Mapping[str, Any] | None = None,
) -> Any:
    """A fitted clone of the candidate, on one thread.

    Args:
        spec: The model.
        candidate: Name in ``spec.candidates``.
        examples: Features, ``day`` and ``target``.
        parameters: What a search found, if anything.

    Raises:
        FitError: Where the estimator raises; names the candidate, the rows and the fault.
    """
    from sklearn.base import clone
    from threadpoolctl import threadpool_limits

    estimator = clone(estimator_of(spec, candidate))
    try:
        estimator.set_params(**parameters or {})
        with threadpool_limits(1):
            return estimator.fit(spec.problem.inputs(examples), examples["target"].to_numpy())
    except Exception as error:
        raise FitError(
            f"Candidate {candidate!r} of model {spec.name}: fit on {len(examples):,} rows raised "
            f"{type(error).__name__}: {error}. Repair it in the spec's candidates."
        ) from error


def estimator_of(spec: ModelSpec, candidate: str) -> Any:
    """The estimator of a candidate as it is written, whether or not it is searched."""
    found = spec.candidates[candidate]
    return found.estimator if isinstance(found, Tuned) else found


def measure_reliance(spec: ModelSpec, fitted: Fit, examples: pd.DataFrame) -> dict[str, float]:
    """How much a fitted candidate's answers hang on each input (``tasks.reliance``).

    Args:
        spec: The model.
        fitted: The candidate.
        examples: Rows it has not seen.
    """
    from threadpoolctl import threadpool_limits

    from tasks.reliance import reliance

    model = store.read_model("models", fitted.key, trusted_types(spec))
    with threadpool_limits(1):
        return reliance(
            lambda rows: spec.problem.score(model, rows), spec.problem.inputs(examples), spec.seed
        )


def score(spec: ModelSpec, name: str, estimator: Any, examples: pd.DataFrame) -> np.ndarray:
    """Scores of the examples, on one thread.

    Raises:
        FitError: Where a score is missing or infinite, with how many.
    """
    import numpy as np
    from threadpoolctl import threadpool_limits

    try:
        with threadpool_limits(1):
            scores = np.asarray(spec.problem.score(estimator, spec.problem.inputs(examples)))
    except Exception as error:
        raise FitError(
            f"{name} of model {spec.name}: scoring {len(examples):,} rows raised "
            f"{type(error).__name__}: {error}."
        ) from error
    columns = len(spec.problem.score_columns)
    expected = (len(examples),) if columns == 1 else (len(examples), columns)
    if scores.shape != expected:
        raise FitError(
            f"{name} of model {spec.name}: it predicts in the shape {scores.shape}, expected "
            f"{expected}."
        )
    if broken := int((~np.isfinite(scores)).sum()):
        raise FitError(
            f"{name} of model {spec.name}: {broken:,} of {scores.size:,} scores are not finite, "
            "expected numbers."
        )
    return scores


def read_examples(refs: Sequence[store.Ref]) -> pd.DataFrame:
    """Examples of these days; candidates that are fitted side by side read them once."""
    with _READING:
        return _read(tuple(refs))


_READING = threading.Lock()


@functools.lru_cache(maxsize=2)
def _read(refs: tuple[store.Ref, ...]) -> pd.DataFrame:
    return store.read_days(refs)


def fit_and_keep(
    spec: ModelSpec,
    candidate: str,
    taught: Sequence[store.Ref],
    parameters: Mapping[str, Any] | None = None,
) -> tuple[Fit, Any]:
    """The candidate fitted on these days, from the store where the very same fit is there.

    The model that shipped two weeks ago is the twin that is judged tonight wherever the training
    window moves with the nights.

    Raises:
        FitError: Where the estimator raises, takes longer than ``fit_limit``, or holds a type that
            could not be loaded again.
    """
    key, trusted = model_key(spec, candidate, taught, parameters), trusted_types(spec)
    if store.has_model("models", key):
        rows = sum(ref.rows for ref in taught)
        return Fit(candidate, key, rows, 0.0, 0.0), store.read_model("models", key, trusted)
    if spec.fit_limit is not None:
        from tasks.fit import fit_by_itself

        made = fit_by_itself(spec, candidate, taught, parameters or {}, spec.fit_limit)
        return made, store.read_model("models", key, trusted)
    examples = read_examples(taught)
    wall, cpu = time.perf_counter(), time.thread_time()
    estimator = fit(spec, candidate, examples, parameters)
    spent, cpu_spent = time.perf_counter() - wall, time.thread_time() - cpu
    keep(spec, candidate, key, estimator)
    made = Fit(candidate, key, len(examples), round(spent, 3), round(cpu_spent, 3))
    return made, estimator


def keep(spec: ModelSpec, candidate: str, key: str, estimator: Any) -> None:
    """Keep a fitted candidate in the store.

    Raises:
        FitError: Where it holds what could not be loaded again.
    """
    try:
        store.write_model("models", key, estimator, trusted_types(spec))
    except store.TypesError as error:
        raise FitError(f"Candidate {candidate!r} of model {spec.name}: {error}") from error


def fit_twin(
    spec: ModelSpec,
    candidate: str,
    taught: Sequence[store.Ref],
    judged: Sequence[store.Ref],
    parameters: Mapping[str, Any] | None = None,
) -> Fit:
    """Fit the twin that is judged, and score the days it has not seen."""
    made, estimator = fit_and_keep(spec, candidate, taught, parameters)
    scores = score(spec, candidate, estimator, read_examples(judged))
    write_scores(scores_key(made.key, judged), scores)
    return made


def write_scores(key: str, scores: np.ndarray) -> None:
    """Keep the scores of the holdout under the key of the model that made them."""
    import pandas as pd

    columns = scores.reshape(len(scores), -1)
    names = [f"score_{i}" for i in range(columns.shape[1])]
    store.write_days("scores", {key: pd.DataFrame(columns, columns=names)})


def read_scores(key: str) -> np.ndarray:
    """The scores kept under a key: one a row, or one a row and class."""
    frame = store.read_days([store.find_days("scores", [key])[key]])
    values: np.ndarray = frame.to_numpy()
    return values[:, 0] if values.shape[1] == 1 else values


def trusted_types(spec: ModelSpec) -> list[str]:
    """Types a stored model may hold: the house's list, the spec's own classes, what it names."""
    import inspect
    import sys

    from tasks.spec import code_files

    files = {str(file) for file in code_files(spec)}
    modules = [m for m in list(sys.modules.values()) if getattr(m, "__file__", None) in files]
    own = {
        f"{cls.__module__}.{cls.__qualname__}"
        for module in modules
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if cls.__module__ == module.__name__ and hasattr(cls, "fit")
    }
    return sorted({*own, *TRUSTED_TYPES, *spec.trusted})


def _marks(refs: Sequence[store.Ref]) -> list[str]:
    return [f"{ref.sha256}:{ref.batch}" for ref in refs]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
