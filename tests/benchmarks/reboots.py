"""Power cuts in every phase of a night, and a long night whose server is killed meanwhile.

    PYTHONPATH=. python tests/benchmarks/reboots.py --reboots 10 --minutes 8

Everything that ``deployments/serve.py`` started is killed at once while a night runs, each time at
another task, and started again; the next run of the same model must end within two minutes. Then a
night that takes some minutes has its Prefect server killed in the middle. A line for each; exit
code 1 where one did not end well.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.nights import write_model
from tests.one_machine import Served, start, tree
from tests.toy import write_day

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
AT_MOST = 120.0
"""Seconds within which the run after a reboot must end."""
TASKS = (
    "open the night",
    "clean ",
    "extract features",
    "fit ",
    "judge ",
    "log the night",
    "refit ",
    "register ",
    "promote ",
    "publish ",
)
"""Starts of the names of tasks, in the order of a night; all is killed when one has begun."""
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
SLEEPING = (
    "toy = ModelSpec(",
    """class Sleeping(LogisticRegression):
    def fit(self, X: pd.DataFrame, y: np.ndarray) -> "Sleeping":
        import time

        time.sleep(SECONDS)
        return super().fit(X, y)


toy = ModelSpec(""",
)


def begin(served: Served, model: Path, **config: str) -> str:
    """Ask the worker for a night of a model; the run's id."""
    deployment = served.ask("deployments/name/retrain/retrain-groceries")
    body = {"parameters": {"config": {"model": str(model), **config}}}
    return str(served.ask(f"deployments/{deployment['id']}/create_flow_run", body)["id"])


def wait_for_end(served: Served, run: str, seconds: float) -> dict[str, Any]:
    """The run when it has ended, or as it is after so many seconds."""
    deadline = time.monotonic() + seconds
    found: dict[str, Any] = {}
    while not found or found["state_type"] not in ENDED:
        try:
            found = served.ask(f"flow_runs/{run}")
        except httpx.HTTPError:  # its server is being restarted
            found = found or {"state_type": "UNKNOWN", "name": run, "state": {}}
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    return found


def wait_for_task(served: Served, run: str, begins: str) -> str:
    """Wait until a task of that name has begun, or the run has ended; the newest task's name."""
    asked = {"flow_runs": {"id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_DESC"}
    while True:
        names = [task["name"] for task in served.ask("task_runs/filter", asked)]
        if any(name.startswith(begins) for name in names):
            return names[0]
        if served.ask(f"flow_runs/{run}")["state_type"] in ENDED:
            return "its end"
        time.sleep(0.05)


def reboot(served: Served, model: Path, begins: str) -> tuple[Served, str, bool]:
    """Kill all at a task of a night, start again, and run the night again."""
    cut = begin(served, model)
    at = wait_for_task(served, cut, begins)
    for one in tree(served):
        one.kill()
    served.process.communicate(timeout=60)
    started = time.monotonic()
    again = start(served.home, served.port, served.mlflow_port)
    up = time.monotonic() - started
    asked = time.monotonic()
    found = wait_for_end(again, begin(again, model), 900)
    took = time.monotonic() - asked
    was = again.ask(f"flow_runs/{cut}")["state_type"]
    good = found["name"].endswith("PROMOTED") and took <= AT_MOST and was != "RUNNING"
    said = (
        f"killed at {at!r} ({begins.strip()}): up again after {up:.0f} s, the run that was cut is "
        f"{was}, the next one ended after {took:.0f} s: {found['name']}"
    )
    return again, said, good


def long_night(served: Served, model: Path, minutes: float) -> tuple[str, bool]:
    """A night of some minutes whose Prefect server is killed in the middle."""
    run = begin(served, model)
    begun = time.monotonic()
    wait_for_task(served, run, "fit sleeping")
    time.sleep(max(minutes * 30 - (time.monotonic() - begun), 0))
    noted = json.loads((served.home / "serve" / "processes.json").read_text())
    server = psutil.Process(noted["prefect"]["pid"])
    for one in (*server.children(recursive=True), server):
        one.kill()
    killed = time.monotonic() - begun
    found = wait_for_end(served, run, minutes * 120)
    took = time.monotonic() - begun
    good = found["name"].endswith("PROMOTED") and found["state_type"] == "COMPLETED"
    said = (
        f"a night of {took / 60:.1f} minutes, its server killed after {killed / 60:.1f}: "
        f"{found['name']}, {found['state_type']}; serve.py "
        f"{'runs' if served.process.poll() is None else 'ended'}"
    )
    return said, good


def main() -> int:
    """Run them, and print a line for each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--reboots", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=8, help="of the long night; 0 for none")
    asked = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="nightly-reboots-") as folder:
        place = Path(folder)
        for age in range(40):
            write_day(place / "days", YESTERDAY - timedelta(days=age))
        served = start(place / "home")
        try:
            for number in range(asked.reboots):
                named = ('name="toy"', f'name="cut{number}"')
                model = write_model(place / f"cut{number}.py", place / "days", named)
                served, said, good = reboot(served, model, TASKS[number % len(TASKS)])
                bad += not good
                print(f"reboot {number + 1}: {said}{'' if good else '  <- NOT GOOD'}", flush=True)
            if asked.minutes:
                slow = (SLEEPING[0], SLEEPING[1].replace("SECONDS", f"{asked.minutes * 60:g}"))
                model = write_model(
                    place / "long.py",
                    place / "days",
                    slow,
                    ('"constant": DummyClassifier(),', '"sleeping": Sleeping(),'),
                    ('name="toy"', 'name="long"'),
                )
                said, good = long_night(served, model, asked.minutes)
                bad += not good
                print(said + ("" if good else "  <- NOT GOOD"), flush=True)
        finally:
            if served.process.poll() is None:
                served.process.send_signal(signal.SIGTERM)
            said_last, _ = served.process.communicate(timeout=300)
            if bad:
                print(said_last)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
