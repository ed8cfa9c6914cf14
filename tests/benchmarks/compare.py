"""A night against a bare script that does the same work: wall and CPU seconds, and their ratios.

    python tests/benchmarks/compare.py --model flights --repeats 3 --server both

Every repeat runs all cases in turn, so that a busy hour falls on all of them: the bare script, lean
and as usual; the materialization alone; then, in a fresh ``NIGHTLY_HOME`` and ``PREFECT_HOME``, a
first night, the next night and that night again. A ratio is to the lean script of its own repeat.

What is counted: a first night cuts the package's data into Parquet days and makes both databases;
the bare script reads the package's files in one go, writes no days, and makes MLflow's database.
CPU seconds are those of the process and all its children, the embedded server among them; those of
a server that was already running are a row of their own. Nothing is asserted about time; but the
nights must find the same figures as the script, or they did not do the same work.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from tasks.settings import PROJECT

BARE = Path(__file__).with_name("bare.py")
NIGHT = PROJECT / "flows" / "retrain.py"
LEAN = "bare script, lean"
OURS = ("PREFECT", "MLFLOW", "NIGHTLY", "OMP_", "OPENBLAS_", "MKL_")
"""Beginnings of the environment variables that would change what is measured."""

MATERIALIZE = """
import json, sys, time
from datetime import date
from tasks.spec.loading import load_spec
import pyarrow.parquet
source = load_spec(sys.argv[1]).source
wall, cpu = time.perf_counter(), time.process_time()
source.list_days(date.fromisoformat(sys.argv[2]))
print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}))
"""


@dataclass(frozen=True)
class Cost:
    """What a process and all it started cost.

    Attributes:
        wall: Seconds on the clock; NaN for a share of another row.
        cpu: Processor seconds, user and system.
        memory: Peak of the largest process in GB; NaN for a share of another row.
        found: The JSON it printed.
    """

    wall: float
    cpu: float
    memory: float = math.nan
    found: dict[str, Any] = field(default_factory=dict)


def main() -> None:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(description="A night against a bare script.")
    parser.add_argument("--model", choices=("flights", "groceries"), default="flights")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--server", choices=("running", "embedded", "both"), default="running")
    parser.add_argument(
        "--as-of",
        type=date.fromisoformat,
        metavar="YYYY-MM-DD",
        help="as-of date of the first night (default: the day before yesterday, UTC)",
    )
    asked = parser.parse_args()
    if asked.repeats < 1:
        parser.error(f"--repeats: found {asked.repeats}, expected at least 1")
    first = asked.as_of or datetime.now(UTC).date() - timedelta(days=2)
    kinds = ("running", "embedded") if asked.server == "both" else (asked.server,)
    costs: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory(prefix="nightly-compare-") as place:
        warm_up(Path(place))
        for repeat in range(1, asked.repeats + 1):
            for name, cost in run_all(asked.model, first, Path(place), kinds):
                costs.setdefault(name, []).append(cost)
                print(f"{repeat}  {shown(name, cost)}", file=sys.stderr, flush=True)
    print_table(asked.model, first, costs)
    print_steps(costs)


def run_all(
    model: str, first: date, place: Path, kinds: Sequence[str]
) -> Iterator[tuple[str, Cost]]:
    """Every case once, in turn."""
    bare = [BARE, "--model", model, "--as-of", first]
    lean = measure(bare, {})
    yield LEAN, lean
    yield "bare script, as usual", measure([*bare, "--usual"], {})
    with tempfile.TemporaryDirectory(dir=place) as home:
        made = measure(["-c", MATERIALIZE, model, first], {"NIGHTLY_HOME": home}).found
        yield "materialization alone", Cost(made["wall"], made["cpu"])
    for kind in kinds:
        if kind == "running":
            with prefect_server(place) as server:
                yield from run_nights(model, first, place, lean, server)
        else:
            yield from run_nights(model, first, place, lean, None)


def run_nights(
    model: str, first: date, place: Path, lean: Cost, server: Server | None
) -> Iterator[tuple[str, Cost]]:
    """A first night, the next and that again, in a fresh home."""
    kind = "running" if server else "embedded"
    with tempfile.TemporaryDirectory(dir=place) as home:
        places = {"NIGHTLY_HOME": f"{home}/nightly", "PREFECT_HOME": f"{home}/prefect"}
        if server:
            places["PREFECT_API_URL"] = server.url
        for case, days in (("first night", 0), ("next night", 1), ("same night again", 1)):
            as_of = first + timedelta(days=days)
            before = server.cpu() if server else 0.0
            cost = measure([NIGHT, "--model", model, "--as-of", as_of, "--json"], places)
            yield f"{case}, {kind}", cost
            if server and case != "same night again":
                yield f"  the server, {case}", Cost(math.nan, server.cpu() - before)
            if case == "first night":
                check_same_figures(lean.found, cost.found)


def check_same_figures(bare: Mapping[str, Any], night: Mapping[str, Any]) -> None:
    """Both did the same work only where both found the same.

    Raises:
        SystemExit: With the first figure that differs.
    """
    for name, candidate in night["candidates"].items():
        for metric, estimate in candidate["metrics"].items():
            ours, theirs = estimate["value"], bare["metrics"][name][metric]
            if not math.isclose(ours, theirs, abs_tol=1e-6):
                raise SystemExit(f"{name}, {metric}: the night {ours}, the bare script {theirs}")
    if night["challenger"]["candidate"] != bare["best"]:
        raise SystemExit(
            f"the night chose {night['challenger']['candidate']}, the bare script {bare['best']}"
        )


def measure(command: Sequence[object], environment: Mapping[str, str]) -> Cost:
    """Run Python with these arguments to its end and count what it and its children used.

    Raises:
        SystemExit: Where it fails, with the end of what it said.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", *map(str, command)],
            cwd=PROJECT,
            stdout=output,
            stderr=errors,
            env=_environment(environment),
        )
        with watched(process.pid) as family:
            _, status, used = os.wait4(process.pid, 0)
        code = process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - started
        cpu = used.ru_utime + used.ru_stime + _left_behind(family)
        output.seek(0)
        errors.seek(0)
        if code:
            raise SystemExit(f"{command[0]} ended with {code}:\n{errors.read()[-2000:]}")
        return Cost(wall, cpu, used.ru_maxrss / 1e6, json.loads(output.read()))


@contextmanager
def watched(pid: int) -> Iterator[dict[psutil.Process, float]]:
    """Every process seen below this one with its CPU seconds, looked at twice a second."""
    family: dict[psutil.Process, float] = {}
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.5):
            try:
                for child in psutil.Process(pid).children(recursive=True):
                    family[child] = _cpu(child)
            except psutil.Error:
                continue  # it ended while it was looked at

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield family
    finally:
        done.set()
        looking.join()


def _left_behind(family: Mapping[psutil.Process, float]) -> float:
    """CPU seconds of children that outlive their parent, which its own figures do not hold."""
    total = 0.0
    for child, seen in family.items():
        if child.is_running():
            try:
                total += max(seen, _cpu(child))
            except psutil.Error:
                total += seen
    return total


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    """This environment without what would change the figures; this checkout is imported."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    quiet = {"PYTHONPATH": str(PROJECT), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    return plain | quiet | dict(more)


def warm_up(place: Path) -> None:
    """Import the libraries once, so that no case pays for a cold disk or for compiling them."""
    text = "import mlflow.sklearn, pandera.pandas, prefect, sklearn.ensemble, matplotlib.figure"
    environment = _environment({"PREFECT_HOME": str(place / "warm")})
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", text], cwd=PROJECT, check=True, env=environment
    )


@dataclass(frozen=True)
class Server:
    """A Prefect server that is already running."""

    url: str
    process: psutil.Process

    def cpu(self) -> float:
        """Processor seconds it and its children have used."""
        return sum(map(_cpu, [self.process, *self.process.children(recursive=True)]))


@contextmanager
def prefect_server(place: Path) -> Iterator[Server]:
    """A Prefect server on a free port of this machine, with a database of its own.

    Raises:
        SystemExit: Where it does not answer within two minutes.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(dir=place) as home:
        start = ["-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", *start, "--no-ui"],
            cwd=PROJECT,
            env=_environment({"PREFECT_HOME": home}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            url = f"http://127.0.0.1:{port}/api"
            wait_until_up(url, process)
            yield Server(url, psutil.Process(process.pid))
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers, and five seconds more for its first tidying."""
    for _ in range(240):
        if process.poll() is not None:
            raise SystemExit(f"the Prefect server ended with {process.returncode}")
        try:
            urllib.request.urlopen(f"{url}/health", timeout=1).close()
        except OSError:
            time.sleep(0.5)
        else:
            time.sleep(5)
            return
    raise SystemExit("the Prefect server does not answer")


def print_table(model: str, first: date, costs: Mapping[str, list[Cost]]) -> None:
    """Medians, and the medians of the ratios to the lean script of the same repeat."""
    lean = costs[LEAN]
    print(f"{model}, first night as of {first}, medians of {len(lean)}")
    columns = f"{'wall s':>8}{'CPU s':>8}{'GB':>7}{'wall ratio':>12}{'CPU ratio':>11}"
    print(f"{'':<34}{columns}  verdict")
    for name, found in costs.items():
        middle = Cost(
            _median(c.wall for c in found),
            _median(c.cpu for c in found),
            _median(c.memory for c in found),
        )
        pairs = list(zip(found, lean, strict=True))
        wall = _median(cost.wall / base.wall for cost, base in pairs)
        cpu = _median(cost.cpu / base.cpu for cost, base in pairs)
        verdict = found[-1].found.get("verdict", "")
        ratio = "" if math.isnan(wall) else f"{wall:.2f}"
        print(f"{shown(name, middle)}{ratio:>12}{cpu:>11.2f}  {verdict}".rstrip())


def print_steps(costs: Mapping[str, list[Cost]]) -> None:
    """Where the wall seconds of the last repeat went, as script and night noted them."""
    print("\nWall seconds by step, last repeat; what no step holds is starting and ending")
    for name, found in costs.items():
        last = found[-1]
        steps = {k: v for k, v in last.found.get("seconds", {}).items() if k != "total"}
        if steps and "again" not in name:
            rest = last.wall - sum(steps.values())
            shown = "  ".join(f"{k} {v:.1f}" for k, v in (steps | {"no step": rest}).items())
            print(f"{name:<34}{shown}")


def _median(values: Iterator[float]) -> float:
    return statistics.median(values)


def shown(name: str, cost: Cost) -> str:
    """A row's name, seconds and memory."""
    wall = "" if math.isnan(cost.wall) else f"{cost.wall:.1f}"
    memory = "" if math.isnan(cost.memory) else f"{cost.memory:.2f}"
    return f"{name:<34}{wall:>8}{cost.cpu:>8.1f}{memory:>7}"


if __name__ == "__main__":
    main()
