"""Fit one candidate in a separate process with a time limit.

    python -m tasks.training.fit_process JOB.json

Examples and model go through the store, the outcome comes back as one line of JSON.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tasks.spec.loading import address_of, load_spec
from tasks.store import files, frames
from tasks.training import fit
from tasks.training.timed_process import read_job, run_apart, set_alarm

if TYPE_CHECKING:
    from tasks.spec.model_spec import ModelSpec


log = logging.getLogger("nightly")


def fit_by_itself(
    spec: ModelSpec,
    candidate: str,
    training: Sequence[frames.Ref],
    parameters: Mapping[str, Any],
    limit: timedelta,
) -> fit.Fit:
    """Fit a candidate in a separate process and keep the model in the store.

    Args:
        spec: The model, a name at the top of its module.
        candidate: Name in ``spec.candidates``.
        training: Training examples.
        parameters: Hyperparameters that a search found for it, if any.
        limit: Longest time the fit may take; importing and reading do not count.

    Raises:
        FitError: Where it raises, takes too long, dies, or cannot be stored.
        StoreError: Where the store cannot be written.
    """
    job = {
        "model": address_of(spec),
        "candidate": candidate,
        "training": [asdict(ref) for ref in training],
        "parameters": parameters,
        "seconds": limit.total_seconds(),
    }
    log.info("fit       %s in a separate process, time limit %s", candidate, limit)
    ended = run_apart("tasks.training.fit_process", job, limit.total_seconds())
    who = f"Candidate {candidate!r} of model {spec.name}"
    if ended.late:
        raise fit.FitError(
            f"{who}: its fit took longer than {limit} (h:mm:ss) and was stopped. Make the fit "
            "cheaper, or raise fit_limit in the spec."
        )
    if ended.fault:
        raise fit.FitError(f"{who}: the process that fits it failed: {ended.fault}.")
    if "fault" in ended.found:
        raise fit.FitError(ended.found["fault"])
    if "store" in ended.found:
        raise files.StoreError(ended.found["store"])
    return fit.Fit(**ended.found)


def main() -> None:
    """Do the job that the file describes, and print how it ended."""
    job, answer = read_job()
    spec, candidate, parameters = load_spec(job["model"]), job["candidate"], job["parameters"]
    training = [frames.Ref(**ref) for ref in job["training"]]
    examples = fit.read_examples(training)
    key = fit.model_key(spec, candidate, training, parameters)
    _import_what_a_fit_needs()
    set_alarm(job["seconds"])
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        estimator = fit.fit(spec, candidate, examples, parameters)
        spent = round(time.perf_counter() - wall, 3), round(time.process_time() - cpu, 3)
        set_alarm(0)
        fit.keep(spec, candidate, key, estimator)
        found = asdict(fit.Fit(candidate, key, len(examples), *spent))
    except fit.FitError as error:
        found = {"fault": str(error)}
    except files.StoreError as error:
        found = {"store": str(error)}
    answer(found)


def _import_what_a_fit_needs() -> None:
    """Import the libraries before the time limit starts."""
    import sklearn.utils  # noqa: F401
    import threadpoolctl  # noqa: F401


if __name__ == "__main__":
    main()
