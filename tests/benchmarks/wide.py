"""What a wide table costs: the start, a check, and two nights; CPU seconds, peak memory, disk.

    PYTHONPATH=. python tests/benchmarks/wide.py --columns 50 300 3000

The table has 1,400 rows in 140 days. Five numbers decide a target of two values; all other columns
are noise, one in twenty of them a text of eight values. Each command is run as a person types it,
on a state of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from tasks.settings import PROJECT
from tests.benchmarks.look import children

DAYS, EACH, INFORMATIVE = 140, 10, 5
LAST = pd.Timestamp("2026-06-30")


def main() -> None:
    """Print a row for each command and width."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--columns", type=int, nargs="+", default=[50, 300, 3_000])
    parser.add_argument("--limit", type=float, default=1_800, help="seconds a command may take")
    parser.add_argument("--keep", type=Path, help="folder for tables, models and states")
    asked = parser.parse_args()
    print("| columns | command | code | s | CPU s | MB | state MB |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        for columns in asked.columns:
            folder = (asked.keep or Path(place)) / f"wide{columns}"
            folder.mkdir(parents=True, exist_ok=True)
            measure(folder, columns, asked.limit)


def measure(folder: Path, columns: int, limit: float) -> None:
    """Run every command on a table of so many columns."""
    table, model = folder / "rows.csv", folder / f"wide{columns}.py"
    wide_table(columns).to_csv(table, index=False)
    start = ["deployments/new_model.py", "--from", str(table), "--time", "at"]
    start += ["--target", "bought", "--out", str(model), "--force"]
    night = ["flows/retrain.py", "--model", str(model)]
    before, last = (f"{LAST - pd.Timedelta(days=back):%Y-%m-%d}" for back in (1, 0))
    for name, command in (
        ("start", start),
        ("--check", [*night, "--check", "--as-of", before]),
        ("first night", [*night, "--as-of", before]),
        ("next night", [*night, "--as-of", last]),
    ):
        code, wall, cpu, peak = run(command, folder, name, limit)
        state = sum(f.stat().st_size for f in (folder / "home").rglob("*") if f.is_file())
        told = f"{wall:.0f} | {cpu:.0f} | {peak / 1e6:,.0f} | {state / 1e6:,.0f}"
        print(f"| {columns:,} | {name} | {code} | {told} |", flush=True)


def wide_table(columns: int) -> pd.DataFrame:
    """A row for each visit; ``columns`` counts inputs alone."""
    random, size = np.random.default_rng(0), DAYS * EACH
    day = pd.date_range(end=LAST, periods=DAYS).repeat(EACH)
    made: dict[str, object] = {"at": day + pd.to_timedelta(random.integers(0, 1_440, size), "min")}
    for number in range(columns):
        if number >= INFORMATIVE and number % 20 == 19:
            made[f"t{number}"] = random.choice([f"kind {n}" for n in range(8)], size)
        else:
            made[f"x{number}"] = random.normal(size=size).round(4)
    signal = sum(np.asarray(made[f"x{number}"], dtype="float64") for number in range(INFORMATIVE))
    return pd.DataFrame({**made, "bought": (signal + random.normal(size=size) > 1).astype("int64")})


def run(command: list[str], folder: Path, name: str, limit: float) -> tuple[str, float, float, int]:
    """Exit code, wall and CPU seconds, and peak memory in bytes, of a command and its children."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "PREFECT"))}
    environment |= {"NIGHTLY_HOME": str(folder / "home"), "PREFECT_HOME": str(folder / "prefect")}
    before, began = children(), time.perf_counter()
    with (folder / f"{name.strip('-').replace(' ', '_')}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=PROJECT, env=environment, stdout=log, stderr=log
        )
        peak = Peak(process.pid)
        peak.start()
        try:
            code = str(process.wait(limit))
        except subprocess.TimeoutExpired:
            for each in (*psutil.Process(process.pid).children(recursive=True), process):
                each.kill()
            process.wait()
            code = "stopped"
    peak.ended.set()
    peak.join()
    return code, time.perf_counter() - began, children() - before, peak.bytes


class Peak(threading.Thread):
    """The most memory that a process and its children hold together, looked at twice a second."""

    def __init__(self, pid: int) -> None:
        super().__init__()
        self.process, self.bytes, self.ended = psutil.Process(pid), 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.5):
            with suppress(psutil.Error):
                each = (self.process, *self.process.children(recursive=True))
                self.bytes = max(self.bytes, sum(one.memory_info().rss for one in each))


if __name__ == "__main__":
    main()
