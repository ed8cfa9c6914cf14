"""Nights on a state directory that something has happened to, and what does not hold afterwards.

    PYTHONPATH=. python tests/benchmarks/states.py --registry EMPTY_DATABASE

Moved with a link left behind and without, restored from a copy whole or in part, a clock that goes
back by an hour in mid-run, and a registry that somebody else holds for 30 seconds. A line for each:
how the night ended, what was said, and what is broken. See ``tests/operations.py``.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests import operations, warm
from tests.operations import FIRST, Place, forked, run_night, run_predict

NEXT = FIRST + 2


def night(number: int, before: Callable[[Path], None] = lambda _: None) -> Callable[[Path], str]:
    """A night, and what happens as it is written to MLflow."""

    def run(live: Path) -> str:
        import flows.retrain as flow_file

        log_night = flow_file.log_night

        def meanwhile(*given: object) -> object:
            before(live)
            return log_night(*given)  # type: ignore[arg-type]

        flow_file.log_night = meanwhile  # type: ignore[assignment]
        return run_night(live, number)

    return run


def set_clock_back(_: Path) -> None:
    """From now on the clock of this process is an hour late."""
    now = time.time
    time.time = lambda: now() - 3600


def hold_registry(live: Path) -> None:
    """Let somebody else write to the registry for 30 seconds."""
    begun = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(live / "home" / "mlflow.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            begun.set()
            time.sleep(30)
            other.rollback()

    threading.Thread(target=hold).start()
    begun.wait()


def take(place: Place, state: str, *names: str) -> None:
    """Put parts of the state directory in place as another state has them."""
    for name in names:
        there, kept = place.home / name, place.root / "states" / state / "home" / name
        shutil.rmtree(there) if there.is_dir() else there.unlink(missing_ok=True)
        if kept.exists():
            (shutil.copytree if kept.is_dir() else shutil.copyfile)(kept, there)


def main() -> int:
    """Run all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--registry", type=Path, help="an empty database of MLflow")
    registry = ("mlflow.db", "mlflow.db-wal", "mlflow.db-shm", "artifacts")
    broken = 0

    def told(name: str, where: Place, run: Callable[[Path], str]) -> None:
        nonlocal broken
        ended = forked(where, run)
        broken += len(ended.broken)
        print(f"{name}: {ended.state} {ended.said.strip()} {' '.join(ended.broken)}", flush=True)

    with operations.place_of_runs({"three nights"}, parser.parse_args().registry) as place:
        place.begin_with("two nights")
        moved = Place(place.root / "moved")
        shutil.copytree(place.live, moved.live)
        shutil.rmtree(place.live)
        told("moved: predictions", moved, run_predict)
        place.live.symlink_to(moved.live)
        told("moved, with a link: predictions", moved, run_predict)
        told("moved, with a link: night", moved, night(NEXT))
        place.live.unlink()

        place.begin_with("two nights")
        shutil.copyfile(place.root / "states" / "three nights" / "app.db", place.live / "app.db")
        told("copy of a night ago: night", place, night(NEXT))
        place.begin_with("three nights")
        take(place, "one night", *registry)
        told("registry of two nights ago: night", place, night(NEXT + 1))
        place.begin_with("one night")
        take(place, "three nights", *registry)
        told("all but the registry of two nights ago: night", place, night(NEXT + 1))

        place.begin_with("two nights")
        told("clock back in mid-run", place, night(NEXT, set_clock_back))
        told("and the next night", place, night(NEXT + 1))
        place.begin_with("two nights")
        told("registry held for 30 s", place, night(NEXT, hold_registry))
    return 1 if broken else 0


if __name__ == "__main__":
    with warm.clean_processes():
        sys.exit(main())
