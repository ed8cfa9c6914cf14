"""Fit one candidate in a process of its own, which the kernel ends when its time is up.

    python -m tasks.fit JOB.json

Examples and model go through the store, the outcome comes back as one line of JSON. The process
sets an alarm for itself and leaves the signal to the kernel: that also ends a fit in the middle of
compiled code, and one whose night was killed meanwhile.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from tasks import store, train
from tasks.spec import PROJECT, ModelSpec, address_of, load_spec

log = logging.getLogger("nightly")

START = 300
"""Seconds that a process may take to import the libraries and to read the examples."""


def fit_by_itself(
    spec: ModelSpec, candidate: str, taught: Sequence[store.Ref], limit: timedelta
) -> train.Fit:
    """Fit a candidate in a process of its own and keep the model in the store.

    Args:
        spec: The model, a name at the top of its module.
        candidate: Name in ``spec.candidates``.
        taught: Examples to learn from.
        limit: Longest time the fit may take; importing and reading do not count.

    Raises:
        FitError: Where it raises, takes too long, dies, or cannot be stored.
        StoreError: Where the store cannot be written.
    """
    who = f"Candidate {candidate!r} of model {spec.name}"
    job = {
        "model": address_of(spec),
        "candidate": candidate,
        "seconds": limit.total_seconds(),
        "taught": [asdict(ref) for ref in taught],
    }
    log.info("fit       %s in a process of its own, %s at most", candidate, limit)
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "job.json"
        file.write_text(json.dumps(job), encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tasks.fit", str(file)],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        late = False
        try:
            out, err = process.communicate(timeout=START + limit.total_seconds())
        except subprocess.TimeoutExpired:
            late = True
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # it, and what it started
            ended = process.wait()
    if late or ended == -signal.SIGALRM:
        raise train.FitError(
            f"{who}: its fit was not done after {limit} (h:mm:ss) and was stopped. Make it "
            "cheaper, or raise fit_limit in the spec."
        )
    if ended:
        said = (err.strip().splitlines() or [_how(ended)])[-1]
        raise train.FitError(f"{who}: the process of its fit failed: {said}.")
    found = json.loads(out.splitlines()[-1])
    if "fault" in found:
        raise train.FitError(found["fault"])
    if "store" in found:
        raise store.StoreError(found["store"])
    return train.Fit(**found)


def _how(ended: int) -> str:
    if ended == -signal.SIGKILL:
        return "it was killed; is there too little memory?"
    return f"signal {-ended}" if ended < 0 else f"exit code {ended}"


def main() -> None:
    """Do the job that the file describes, and print how it ended."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    spec = load_spec(job["model"])
    taught = [store.Ref(**ref) for ref in job["taught"]]
    examples = train.read_examples(taught)
    key = train.model_key(spec, job["candidate"], taught)
    _import_what_a_fit_needs()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, job["seconds"])
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        estimator = train.fit(spec, job["candidate"], examples)
        spent = round(time.perf_counter() - wall, 3), round(time.process_time() - cpu, 3)
        signal.setitimer(signal.ITIMER_REAL, 0)
        train.keep(spec, job["candidate"], key, estimator)
        found = asdict(train.Fit(job["candidate"], key, len(examples), *spent))
    except train.FitError as error:
        found = {"fault": str(error)}
    except store.StoreError as error:
        found = {"store": str(error)}
    print(json.dumps(found), flush=True)


def _import_what_a_fit_needs() -> None:
    """Before the clock runs."""
    import sklearn.utils  # noqa: F401
    import threadpoolctl  # noqa: F401


if __name__ == "__main__":
    main()
