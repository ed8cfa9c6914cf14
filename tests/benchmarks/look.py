"""What an idle look costs: nothing was held, and a night that still is.

    PYTHONPATH=. python tests/benchmarks/look.py --days 365

The command is run as a person types it, on a state of its own; a look that finds its data is a
night and not measured here.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

from tasks.reporting.held import remember_held
from tasks.settings import PROJECT
from tasks.sources import ParquetDays

FIRST = date(2025, 1, 1)


def main() -> None:
    """Print the median of wall and CPU seconds of each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365, help="days of the source (default: 365)")
    parser.add_argument("--runs", type=int, default=20, help="looks of each case (default: 20)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NIGHTLY_HOME"] = f"{folder}/home"
        look(1)  # compiles
        print(f"nothing was held:  {look(asked.runs)}")
        (days := Path(folder) / "days").mkdir()
        for number in range(asked.days):
            file = days / f"{FIRST + timedelta(days=number)}.parquet"
            file.write_bytes(b"PAR1" + os.urandom(100_000) + b"PAR1")
        as_of, source = FIRST + timedelta(days=asked.days), ParquetDays(str(days))
        listed = source.list_days(as_of)
        remember_held("flights", "flights", as_of, source=source, skip=(), days=listed)
        print(f"a night still held: {look(asked.runs)}")


def look(runs: int) -> str:
    """Wall and CPU seconds of one look, the median of so many."""
    command = [sys.executable, "flows/retrain.py", "--model", "flights", "--look"]
    wall, spent = [], []
    for _ in range(runs):
        began, before = time.perf_counter(), children()
        ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
        assert ended.stdout.startswith("NOTHING TO DO"), ended.stdout
        wall.append(time.perf_counter() - began)
        spent.append(children() - before)
    return f"{statistics.median(wall):.2f} s, {statistics.median(spent):.2f} CPU s"


def children() -> float:
    """CPU seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
