"""Every operation of a night fails once: how many points there are, and what was lost.

    PYTHONPATH=. python tests/benchmarks/operations.py --every 1

Each point is an operation that fails (no space, or an error of the disk), and the same one at which
the process is killed; after it the run is repeated undisturbed and its state looked at. Exit code 1
where anything was lost. See ``tests/operations.py``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tasks.cli import environment as environments
from tests import operations, warm


def main() -> int:
    """Walk, and print a line for each scenario and each point at which something is lost."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=int, default=1, help="only each so-manieth operation")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--only", nargs="*", help="names of scenarios")
    parser.add_argument("--registry", type=Path, help="an empty database of MLflow")
    parser.add_argument("--verbose", action="store_true", help="a line for each point")
    asked = parser.parse_args()
    done: dict[str, Counter[str]] = defaultdict(Counter)
    lost = 0
    chosen = [s for s in operations.SCENARIOS if not asked.only or s.name in asked.only]
    with (
        warm_processes(),
        operations.place_of_runs({s.begins for s in chosen}, asked.registry) as place,
    ):
        for scenario in chosen:
            count = 0
            started = time.process_time() + os.times().children_user + os.times().children_system
            for point in operations.walk(place, scenario, asked.every, asked.first):
                how, count = point.how, point.of
                done[scenario.name][f"{point.operation.split()[0]} {how}"] += 1
                if asked.verbose or point.lost:
                    print(point.number, how, point.operation, "->", point.state, point.said[:200])
                for each in point.lost:
                    lost += 1
                    print(f"LOST {scenario.name} {point.number} {how} {point.operation}: {each}")
                sys.stdout.flush()
            ended = time.process_time() + os.times().children_user + os.times().children_system
            kinds = ", ".join(f"{kind} {n}" for kind, n in done[scenario.name].most_common())
            total = done[scenario.name].total()
            said = f"{total} points of {count} operations ({kinds})"
            print(f"{scenario.name}: {said}, {ended - started:.0f} CPU s", flush=True)
    print(f"lost: {lost}")
    return 1 if lost else 0


@contextmanager
def warm_processes() -> Iterator[None]:
    """The clean processes of the runs are forks; of a process started here, unless there is one."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        if warm.ADDRESS not in os.environ:
            environment = os.environ | environments.DEFAULTS | environments.QUIET
            started = warm.started(environment, Path(folder) / "log")
            os.environ[warm.ADDRESS] = stack.enter_context(started)
        stack.enter_context(warm.clean_processes())
        yield


if __name__ == "__main__":
    sys.exit(main())
