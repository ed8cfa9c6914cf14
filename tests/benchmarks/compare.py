"""A night against a bare script that does the same work: wall and CPU seconds, and their ratios.

    python tests/benchmarks/compare.py --model flights --repeats 3

Every repeat runs, one after the other: the bare script, lean and as usual; then a first night, the
next night and that night again, each with a Prefect server already running and with the embedded
one. The bare scripts read the days as Parquet that lies there; a first night has to write that
Parquet first, which is part of its figures.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import psutil

PROJECT = Path(__file__).resolve().parents[2]
BARE = Path(__file__).with_name("bare.py")
NIGHT = PROJECT / "flows" / "retrain.py"


@dataclass(frozen=True)
class Cost:
    """What a process and all it started cost.

    Attributes:
        wall: Seconds on the clock.
        cpu: Processor seconds, user and system.
        output: What it printed.
    """

    wall: float
    cpu: float
    output: str


def main() -> None:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(description="A night against a bare script.")
    parser.add_argument("--model", default="flights")
    parser.add_argument("--as-of", type=date.fromisoformat, help="as-of date of the first night")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    first = asked.as_of or datetime.now(UTC).date() - timedelta(days=2)
    costs: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as place, prefect_server(Path(place)) as server:
        ready = Path(place) / "ready"
        measure([BARE, "--model", asked.model, "--as-of", first], {"NIGHTLY_HOME": ready})
        for repeat in range(asked.repeats):
            for name, cost in run_all(asked.model, first, Path(place), ready, server):
                costs.setdefault(name, []).append(cost)
                print(
                    f"{repeat + 1}  {name:<32}{cost.wall:8.1f} s wall{cost.cpu:8.1f} s CPU",
                    file=sys.stderr,
                )
    print_table(asked.model, costs)


def run_all(
    model: str, first: date, place: Path, ready: Path, server: Server
) -> Iterator[tuple[str, Cost]]:
    """Every case once, in turn."""
    bare = [BARE, "--model", model, "--as-of", first]
    lean = measure(bare, {"NIGHTLY_HOME": ready})
    yield "bare script, lean", lean
    yield "bare script, as usual", measure([*bare, "--usual"], {"NIGHTLY_HOME": ready})
    for kind, named in (("server running", {"PREFECT_API_URL": server.url}), ("embedded", {})):
        home = Path(tempfile.mkdtemp(dir=place))
        places = {"NIGHTLY_HOME": home, "PREFECT_HOME": home / "prefect", **named}
        for case, as_of in (
            ("first night", first),
            ("next night", first + timedelta(days=1)),
            ("same night again", first + timedelta(days=1)),
        ):
            before = server.cpu()
            cost = measure([NIGHT, "--model", model, "--as-of", as_of, "--json"], places)
            yield f"{case}, {kind}", Cost(cost.wall, cost.cpu, cost.output)
            if named and case != "same night again":
                yield f"{case}, the server's share", Cost(0, server.cpu() - before, "")
            if case == "first night":
                check_same_figures(lean.output, cost.output)
        shutil.rmtree(home)


def check_same_figures(bare: str, night: str) -> None:
    """Both did the same work only where both found the same."""
    theirs, report = json.loads(bare), json.loads(night)
    for name, found in report["candidates"].items():
        ours = found["metrics"][report["metric"]]["value"]
        if abs(ours - theirs[f"{name}_{report['metric']}"]) > 1e-6:
            raise SystemExit(f"{name}: the night found {ours}, the bare script {theirs}")


def measure(command: list[object], environment: Mapping[str, object]) -> Cost:
    """Run a Python file to its end and count all it and its children used."""
    inherited = {n: v for n, v in os.environ.items() if not n.startswith(("PREFECT_", "MLFLOW_"))}
    with tempfile.TemporaryFile("w+") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", *map(str, command)],
            cwd=PROJECT,
            stdout=output,
            stderr=subprocess.DEVNULL,
            env=inherited | {name: str(value) for name, value in environment.items()},
        )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command} ended with {process.returncode}")
        output.seek(0)
        return Cost(wall, used.ru_utime + used.ru_stime, output.read())


@dataclass(frozen=True)
class Server:
    """A Prefect server that is already running."""

    url: str
    process: psutil.Process

    def cpu(self) -> float:
        """Processor seconds it and its children have used."""
        family = [self.process, *self.process.children(recursive=True)]
        return sum(sum(member.cpu_times()[:2]) for member in family)


@contextmanager
def prefect_server(place: Path) -> Iterator[Server]:
    """A Prefect server on a free port of this machine, with a database of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    environment = os.environ | {
        "PREFECT_HOME": str(place / "server"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}/api"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{url}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.5)
        time.sleep(5)
        yield Server(url, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait()


def print_table(model: str, costs: Mapping[str, list[Cost]]) -> None:
    """Medians, and ratios to the lean script of the same run."""
    lean = costs["bare script, lean"]
    print(f"{model}, medians of {len(lean)}    wall s   CPU s   wall ratio   CPU ratio")
    for name, found in costs.items():
        wall = statistics.median(cost.wall for cost in found)
        cpu = statistics.median(cost.cpu for cost in found)
        pairs = list(zip(found, lean, strict=True))
        by_wall = statistics.median(cost.wall / base.wall for cost, base in pairs)
        by_cpu = statistics.median(cost.cpu / base.cpu for cost, base in pairs)
        print(f"{name:<34}{wall:8.1f}{cpu:8.1f}{by_wall:13.2f}{by_cpu:12.2f}")


if __name__ == "__main__":
    main()
