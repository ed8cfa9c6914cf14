"""``extract_days.py PATH JOB``: put the examples of some days into the store, each part of them in
a process of its own.

It runs in a fork of the clean process's template, which knows none of this project's code: ``PATH``
is the ``sys.path`` to read it from, as JSON, and ``JOB`` a file with what is to be done.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path


def main() -> int:
    """Do the job; 1 where a part failed, which whoever asked then does and learns why."""
    sys.path[:] = json.loads(sys.argv[1])
    from tasks.features.examples import prepare_examples
    from tasks.spec.loading import load_spec

    model, days, clean, (own, *others) = pickle.loads(Path(sys.argv[2]).read_bytes())
    spec = load_spec(model)
    forks: list[int] = []
    for part in others:
        if (fork := os.fork()) == 0:
            own, forks = part, []
            break
        forks.append(fork)
    prepare_examples(spec, days, clean, own)
    return int(any(os.waitpid(fork, 0)[1] for fork in forks))


if __name__ == "__main__":
    sys.exit(main())
