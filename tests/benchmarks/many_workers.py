"""How long a first night would take with more workers than this machine has cores.

    PYTHONPATH=. python tests/benchmarks/many_workers.py --model groceries

One first night is measured with one worker: the seconds of preparing days, of each candidate's fit
and of the rest. Then each part goes to the next free one of n workers, with a core each, as Dask
gives them out. What is not simulated: reading the days from a source that many workers ask at once,
and the network.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks.steps.task_runner import EACH, parts
from tests.benchmarks.compare import prefect_server
from tests.nights import PROJECT

WORKERS = (1, 2, 4, 16, 64)
SENT = 0.06
"""Seconds of the run's own process and of Prefect's server for each task that is sent."""


def main() -> None:
    """Measure one night, or take a report that is given, and print the table."""
    parser = argparse.ArgumentParser(description="A first night with many workers, simulated.")
    parser.add_argument("--model", default="groceries")
    parser.add_argument("--report", type=Path, help="report.json of a first night with one worker")
    asked = parser.parse_args()
    night = json.loads(asked.report.read_text()) if asked.report else measure(asked.model)
    print_table(night)


def measure(model: str) -> dict[str, Any]:
    """The report of a first night with one worker."""
    with tempfile.TemporaryDirectory() as folder, prefect_server(Path(folder)) as server:
        own = {"NIGHTLY_HOME": f"{folder}/home", "NIGHTLY_WORKERS": "1"}
        command = [sys.executable, PROJECT / "flows" / "retrain.py", "--model", model, "--json"]
        environment = os.environ | own | {"PREFECT_API_URL": server.url}
        said = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def print_table(night: dict[str, Any]) -> None:
    """The seconds of each part of the night by the number of workers."""
    spent, days = night["seconds"], night["days"]["new"]
    fits = [each["seconds"] for each in night["candidates"].values()]
    rest = spent["total"] - spent["clean"] - spent["features"] - sum(fits)
    print(f"{night['model']}: {days} days, fits of {', '.join(f'{s:.1f}' for s in fits)} s")
    print("workers   clean  features   fits   rest   total   times as fast")
    first = None
    for count in WORKERS:
        clean, features = (shared(spent[name], days, count) for name in ("clean", "features"))
        fitting = makespan(sorted((s + SENT for s in fits), reverse=True), count)
        total = clean + features + fitting + rest
        first = first or total
        each = f"{clean:8.1f} {features:9.1f} {fitting:6.1f} {rest:6.1f} {total:7.1f}"
        print(f"{count:7d}{each} {first / total:10.2f}")
    print(f"at most{'':33}{rest + max(fits):7.1f} {first / (rest + max(fits)):10.2f}")


def shared(seconds: float, days: int, count: int) -> float:
    """Seconds of work on days that goes to workers in parts, as ``task_runner.spread`` cuts it."""
    cut = parts(range(days), EACH * count)
    return makespan((len(part) * seconds / days for part in cut), count) + SENT * len(cut)


def makespan(lengths: Iterable[float], count: int) -> float:
    """When the last part ends, each given to the next free worker in this order."""
    free = [0.0] * count
    for length in lengths:
        heapq.heappush(free, heapq.heappop(free) + length)
    return max(free)


if __name__ == "__main__":
    main()
