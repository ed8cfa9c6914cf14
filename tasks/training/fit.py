"""One fit of one candidate, and the scores it gives."""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.errors import NightlyError
from tasks.problems.input_form import FormedEstimator
from tasks.shown import few
from tasks.spec.fingerprint import code_files, digest
from tasks.spec.tuned import Tuned
from tasks.store import frames, models
from tasks.store.trusted_types import TRUSTED_TYPES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from threadpoolctl import ThreadpoolController

    from tasks.spec.model_spec import ModelSpec


GREEDY, THREADS = ("lightgbm", "xgboost", "catboost"), ("n_jobs", "thread_count")
"""Libraries that take every core where the number of threads is open, and what they call it."""


class FitError(NightlyError, RuntimeError):
    """A candidate raised an error, or its predictions are not finite numbers."""

    may_pass = False


@dataclass(frozen=True)
class Fit:
    """One fitted candidate in the store.

    Attributes:
        candidate: Name of the candidate in the spec.
        key: Content address of the fitted model.
        rows: Number of training examples.
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
    training: Sequence[frames.Ref],
    parameters: Mapping[str, Any] | None = None,
) -> str:
    """Content address of a fitted model: code, libraries, parameters that a search found, examples.

    Args:
        spec: The model.
        candidate: Name in ``spec.candidates``.
        training: Its training examples.
        parameters: Hyperparameters that a search found (``tasks.training.tuning``), if any.
    """
    found = [json.dumps(parameters, sort_keys=True)] if parameters else []
    return _digest(digest(spec), candidate, *found, *(ref.mark for ref in training))


def scores_key(model: str, holdout: Sequence[frames.Ref]) -> str:
    """Content address of a model's scores of these examples."""
    return _digest(model, *(ref.mark for ref in holdout))


def fit(
    spec: ModelSpec,
    candidate: str,
    examples: pd.DataFrame,
    parameters: Mapping[str, Any] | None = None,
) -> Any:
    """A fitted clone of the candidate, with the form of its inputs, on one thread.

    Args:
        spec: The model.
        candidate: Name in ``spec.candidates``.
        examples: Features, ``day`` and ``target``.
        parameters: Hyperparameters that a search found, if any.

    Raises:
        FitError: Where the estimator raises; names the candidate, the rows and the fault.
    """
    from sklearn.base import clone

    estimator = on_one_thread(clone(estimator_of(spec, candidate)))
    inputs = spec.problem.inputs(examples)
    try:
        estimator.set_params(**parameters or {})
        with _native_libraries(len(sys.modules)).limit(limits=1):
            return FormedEstimator(estimator).fit(inputs, examples["target"].to_numpy())
    except Exception as error:
        gone = [name for name in inputs if inputs[name].isna().all()]
        advice = "Correct this candidate in the spec."
        if gone:
            advice = (
                "Not every estimator takes an input that is missing in all training rows: "
                f"{few(gone)}. Leave it out in features, or give it a value."
            )
        raise FitError(
            f"Candidate {candidate!r} of model {spec.name}: fit on {len(examples):,} rows raised "
            f"{type(error).__name__}: {error}. {advice}"
        ) from error


@functools.lru_cache(maxsize=1)
def _native_libraries(modules: int) -> ThreadpoolController:
    """The native libraries that compute in threads; looked for where a module was imported since.

    Args:
        modules: How many modules this process has imported.
    """
    from threadpoolctl import ThreadpoolController

    del modules
    return ThreadpoolController()


def on_one_thread(estimator: Any) -> Any:
    """The estimator with one thread where a part of it leaves their number open.

    Candidates are fitted side by side. scikit-learn means one thread by that, and those of
    ``GREEDY`` every core each.
    """
    within = {f"{n}__": v for n, v in estimator.get_params().items() if hasattr(v, "get_params")}
    threads = [
        f"{prefix}{name}"
        for prefix, part in {"": estimator, **within}.items()
        if any(base.__module__.split(".")[0] in GREEDY for base in type(part).__mro__)
        for name, value in part.get_params(deep=False).items()
        if name in THREADS and value is None
    ]
    return estimator.set_params(**dict.fromkeys(threads, 1)) if threads else estimator


def estimator_of(spec: ModelSpec, candidate: str) -> Any:
    """The estimator of a candidate as written in the spec, whether or not it is searched."""
    found = spec.candidates[candidate]
    return found.estimator if isinstance(found, Tuned) else found


def score(spec: ModelSpec, name: str, estimator: Any, examples: pd.DataFrame) -> np.ndarray:
    """Scores of the examples, on one thread.

    Raises:
        FitError: Where a score is missing or infinite, with how many.
    """
    import numpy as np

    try:
        with _native_libraries(len(sys.modules)).limit(limits=1):
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
            f"{name} of model {spec.name}: found scores of shape {scores.shape}, expected "
            f"{expected}."
        )
    if broken := int((~np.isfinite(scores)).sum()):
        raise FitError(
            f"{name} of model {spec.name}: {broken:,} of {scores.size:,} scores are not finite; "
            "expected finite numbers."
        )
    return scores


def read_examples(refs: Sequence[frames.Ref]) -> pd.DataFrame:
    """Examples of these days; candidates that are fitted side by side read them once."""
    with _READING:
        return _read(tuple(refs))


_READING = threading.Lock()


@functools.lru_cache(maxsize=2)
def _read(refs: tuple[frames.Ref, ...]) -> pd.DataFrame:
    return frames.read_days(refs)


def keep(spec: ModelSpec, candidate: str, key: str, estimator: Any) -> None:
    """Keep a fitted candidate in the store.

    Raises:
        FitError: Where it holds a type that could not be loaded again.
    """
    try:
        models.write_model("models", key, estimator, trusted_types(spec))
    except models.TypesError as error:
        raise FitError(f"Candidate {candidate!r} of model {spec.name}: {error}") from error


def write_scores(key: str, scores: np.ndarray) -> None:
    """Keep the scores of the holdout under the key of the model that made them."""
    import pandas as pd

    columns = scores.reshape(len(scores), -1)
    names = [f"score_{i}" for i in range(columns.shape[1])]
    frames.write_days("scores", {key: pd.DataFrame(columns, columns=names)})


def read_scores(key: str) -> np.ndarray:
    """The scores kept under a key: one a row, or one a row and class."""
    frame = frames.read_days([frames.find_days("scores", [key])[key]])
    values: np.ndarray = frame.to_numpy()
    return values[:, 0] if values.shape[1] == 1 else values


def trusted_types(spec: ModelSpec) -> list[str]:
    """Types a stored model may hold: the built-in list, the file's own classes, ``trusted``."""
    import sys

    return list(_trusted_types(spec.whole, len(sys.modules)))


@functools.lru_cache(maxsize=8)
def _trusted_types(spec: ModelSpec, loaded: int) -> tuple[str, ...]:  # noqa: ARG001
    """As of so many loaded modules: to look into thousands takes a while, and is often asked."""
    import sys

    files = {str(file) for file in code_files(spec)}
    own = {
        f"{cls.__module__}.{cls.__qualname__}"
        for module in list(sys.modules.values())
        if getattr(module, "__dict__", {}).get("__file__") in files
        for cls in list(vars(module).values())
        if isinstance(cls, type) and cls.__module__ == module.__name__ and hasattr(cls, "fit")
    }
    return tuple(sorted({*own, *TRUSTED_TYPES, *spec.trusted}))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
