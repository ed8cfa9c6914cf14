"""Machines killed at random while another goes on: what they leave half, and what is lost.

    PYTHONPATH=. python tests/benchmarks/machines.py --kills 100

Two state directories share one PostgreSQL, MLflow's database in it, and a folder as their store.
Nights of the toy model follow one another. The processes of each are ended by SIGKILL at a random
moment; then the other machine, or the same one, runs that night again, or the next one. After that
both machines have to tell the same: see ``look`` and ``tests/operations.py``. Exit code 1 where
anything was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd

from tests import servers
from tests.benchmarks.operations import warm_processes
from tests.benchmarks.workers import halves
from tests.nights import nth_day, without_times, write_more
from tests.operations import (
    FIRST,
    Ended,
    Place,
    forked,
    import_as_forks_did,
    place_of_runs,
    run_night,
)

UNSEEN = -1
"""No operation fails, and what is left is not looked at."""
LEASE = 6
HELD = (
    "SELECT coalesce(max(extract(epoch FROM expires - clock_timestamp())), 0) FROM nightly_leases"
)
CHANGES = """
SELECT count(*), count(closed), count(DISTINCT change::json ->> 'champion') FROM nightly_changes
"""


@dataclass
class Machines:
    """Two state directories with one state, one store and one registry.

    Attributes:
        place: Where both lie.
    """

    place: Place

    def night(self, machine: int, number: int, kill_after: float | None = None) -> Ended:
        """The night of a day on one of them; its processes are killed after some seconds."""
        write_more(self.place.root / "days", number, number)
        return forked(
            self.on(machine), lambda live: run_night(live, number), UNSEEN, kill_after=kill_after
        )

    def on(self, machine: int) -> Place:
        """The place of one of them."""
        return replace(self.place, machine=f"machine-{machine % 2}")

    def goes_on(self, machine: int, number: int) -> Iterator[str]:
        """Run the night of a day again, undisturbed: what must hold after it, and does not."""
        again = self.night(machine, number)
        if again.state != "PROMOTED":
            yield f"the next run ended {again.state}: {again.said}"
        for each in (machine, machine + 1):
            seen = forked(self.on(each), look)
            yield from seen.broken
            if seen.state:
                yield f"{self.on(each).machine}: {seen.state} {seen.said}"
            for left in (self.place.live / "tmp").iterdir():  # what the look has downloaded
                shutil.rmtree(left)

    def alone(self, numbers: range) -> Iterator[str]:
        """Nights of which a machine that shares nothing comes to other figures or predictions."""
        one = replace(self.place, machine="alone")
        for number in numbers:
            assert forked(one, lambda live, n=number: run_alone(live, n), UNSEEN).code == 0
            day = nth_day(number)
            figures, rows = zip(
                *((figures_of(at, day), rows_of(at, day)) for at in (one.home, self.on(0).home)),
                strict=True,
            )
            if figures[0] != figures[1] or not rows[0].equals(rows[1]):
                yield f"{day} came out otherwise"


def run_alone(live: Path, number: int) -> str:
    """A night of a machine that shares nothing."""
    for name in ("MLFLOW_TRACKING_URI", "NIGHTLY_STATE_URL", "NIGHTLY_STORE_URL"):
        del os.environ[name]
    return run_night(live, number)


def figures_of(home: Path, day: date) -> dict[str, Any]:
    """Of the report of a night what does not depend on time and place."""
    report = json.loads((home / "reports" / "toy" / str(day) / "report.json").read_text())
    return without_times(report)


def rows_of(home: Path, day: date) -> pd.DataFrame:
    """The predictions that a night published."""
    return pd.read_parquet(home / "predictions" / "toy" / f"{day}.parquet")


@contextmanager
def two_machines(place: Place, store: str) -> Iterator[Machines]:
    """Two machines with a first night, whose store lies under this address."""
    with servers.postgres() as postgres:
        databases = {}
        for name in ("state", "mlflow"):
            postgres.psql(f"CREATE DATABASE {name};")
            databases[name] = postgres.get_uri(database=name)
        os.environ |= {
            "MLFLOW_TRACKING_URI": databases["mlflow"].replace("://", "+psycopg://"),
            "NIGHTLY_KEEP_VERSIONS": "5",
            "NIGHTLY_SEAL_KEY": uuid4().hex,
            "NIGHTLY_STATE_URL": databases["state"],
            "NIGHTLY_STORE_URL": store,
        }
        place.begin_with("no night")
        shutil.rmtree(place.home)
        machines = Machines(place)
        assert not (found := list(machines.goes_on(0, FIRST))), found
        import_as_forks_did(place)
        yield machines


def look(_: Path) -> str:
    """What must hold of the shared state and of this machine's copy, and does not."""
    from tasks import settings
    from tasks.store import mirror, records, state_database

    def read(text: str) -> tuple[int, ...]:
        return tuple(state_database.run(lambda c: c.exec_driver_sql(text).one()))

    mirror.pull()
    found = [f"{name} differs" for name in mirror.differing(records.newer(0))]
    if len({*(made := read(CHANGES))}) > 1:
        found.append(f"changes of champion begun, closed, and versions promoted: {made}")
    if read(HELD)[0] > 0:
        found.append("a lease is held")
    if bad := halves(settings.home()):
        found.append(f"{bad} half states")
    return "; ".join(found)


def main() -> int:
    """Kill, and print a line for each kill and a last one for all."""
    parser = argparse.ArgumentParser(description="Machines killed at random.")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.environ["NIGHTLY_LEASE_SECONDS"] = str(LEASE)
    draw, lost, killed, number = random.Random(asked.seed), 0, 0, FIRST + 1
    with (
        warm_processes(),
        place_of_runs({"no night"}, None) as place,
        two_machines(place, (place.root / "shared").as_uri()) as both,
    ):
        started = time.monotonic()
        assert both.night(0, number).state == "PROMOTED"
        length = time.monotonic() - started
        assert not (found := list(both.goes_on(0, number))), found
        while killed < asked.kills:
            number, machine = number + 1, draw.randrange(2)
            after = draw.uniform(0, length)
            ended = both.night(machine, number, after)
            killed += ended.code != 0
            other, number = machine + draw.choice((0, 1, 1)), number + draw.choice((0, 0, 1))
            started = time.monotonic()
            for half in both.on(machine).home.rglob(".*.tmp"):
                os.utime(half, (0, 0))  # as when its next night begins a day later
            if other % 2 != machine % 2:  # what it has made alone, its own next night removes
                shutil.rmtree(both.on(machine).home / "predictions" / "toy" / "next", True)
            found = list(both.goes_on(other, number))
            took = time.monotonic() - started
            lost += len(found)
            print(
                f"{killed} {nth_day(number)} killed after {after:.1f} s on {machine} "
                f"({ended.state or 'killed'}), on {other % 2} {took:.1f} s: "
                f"{'; '.join(found) or 'nothing lost'}",
                flush=True,
            )
    print(f"{killed} nights killed; lost: {lost}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
