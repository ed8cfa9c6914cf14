"""Costly features are extracted by several processes of this machine, each for some of the days."""

from __future__ import annotations

import json
import logging
import os
import pickle
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.clean_process.template import has_template, run_in_fork
from tasks.features import extract_days
from tasks.features.examples import prepare_examples
from tasks.spec.loading import load_spec
from tasks.steps.task_runner import parts

if TYPE_CHECKING:
    from datetime import date

    from tasks.features.cleaning import Progress
    from tasks.store import frames

log = logging.getLogger("nightly")
COSTLY = 6.0
"""Seconds of work from which other processes are asked; one takes about 1.5 s to begin."""


def extract_beside(
    model: str,
    fingerprints: Mapping[date, str],
    clean: Mapping[date, frames.Ref],
    new: Sequence[date],
    tell: Progress,
) -> None:
    """Extract the features of these days into the store, with the help of forks where that pays.

    The first day tells how long one takes. What a fork fails to do is left to the caller, who does
    it again and meets the same error.

    Args:
        model: Name of the model.
        fingerprints: Every day of the source up to the as-of date with its fingerprint.
        clean: Those days' clean rows.
        new: Days, ascending.
        tell: Called after each day of this process.
    """
    if not has_template() or len(new) < 3:
        return
    spec, begun = load_spec(model), time.perf_counter()
    prepare_examples(spec, fingerprints, clean, new[:1])
    seconds = (time.perf_counter() - begun) * (len(new) - 1)
    if seconds < COSTLY or (count := _processes()) < 2:
        return
    own, *others = parts(new[1:], count)
    log.debug("features  of %d days in %d processes", len(new), count)
    with _forks(model, fingerprints, clean, others):
        share = len(new) / (len(own) + 1)
        prepare_examples(
            spec,
            fingerprints,
            clean,
            own,
            lambda done, _: tell(round((done + 1) * share), len(new)),
        )


@contextmanager
def _forks(
    model: str,
    fingerprints: Mapping[date, str],
    clean: Mapping[date, frames.Ref],
    parts_of_days: Sequence[Sequence[date]],
) -> Iterator[None]:
    """Forks of the template extract the features of some days meanwhile; at the end they have."""
    with tempfile.TemporaryDirectory() as place:
        job = Path(place) / "job"
        job.write_bytes(pickle.dumps((model, dict(fingerprints), dict(clean), parts_of_days)))
        thread = threading.Thread(target=_run, args=(job, json.dumps(sys.path)), daemon=True)
        thread.start()
        yield
        thread.join()


def _run(job: Path, path: str) -> None:
    script = Path(extract_days.__file__)
    ended = run_in_fork(script, [path, str(job)], str(Path.cwd()), os.environ, None)
    code, out, err = ended or (0, "", "")
    print(out, end="")
    if code:
        log.debug("features  a part failed and is done here: %s", err.strip()[-500:])


def _processes() -> int:
    """How many may work at once: one a core, and half of the memory that is free."""
    import psutil

    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    room = psutil.virtual_memory().available // 2 // own
    return min(len(os.sched_getaffinity(0)), int(room) + 1)
