"""Nights of a fleet against a bare joblib loop over the same fits.

    PYTHONPATH=. python tests/benchmarks/fleet.py --partitions 40 --rows 400000

A generated table of 40 days, with another number of rows for each partition. The loop reads the
days, makes the features, and fits, scores and refits each partition's candidates: no registry, no
check of a package, no report. It fits the twin of every candidate and refits the best one, as a
first night does. CPU seconds are those of the process and its children, the embedded Prefect server
among them; tasks are those that this server knows.
"""

from __future__ import annotations

import argparse
import json
import math
import sqlite3
import sys
import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import numpy as np

from tests.benchmarks.compare import NIGHT, Cost, measure
from tests.fleets import write_fleet, write_shops
from tests.nights import nth_day

DAYS = 40
SEARCH = """
import json, time
from tasks.registry.client import open_registry
from tasks.registry.versions import champions_of
client = open_registry()
started = time.perf_counter()
found = champions_of(client, "shops")
print(json.dumps({"champions": len(found), "seconds": time.perf_counter() - started}))
"""


def main() -> None:
    """Run the loop and two nights, and print a table; with ``--loop`` the loop alone."""
    parser = argparse.ArgumentParser(description="Nights of a fleet against a bare loop.")
    parser.add_argument("--partitions", type=int, default=40)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--loop", type=Path, metavar="MODEL", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.loop:
        print(json.dumps({"figures": run_loop(asked.loop)}))
        return
    with tempfile.TemporaryDirectory(prefix="nightly-fleet-") as made:
        place = Path(made)
        model = write_fleet(place / "shops.py", place / "days")
        shops = rows_of(asked.partitions, asked.rows // (DAYS + 1))
        for day in range(1, DAYS + 2):
            write_shops(place / "days", nth_day(day), shops)
        loop = measure([__file__, "--loop", model], {"PYTHONPATH": "."})
        say("bare loop", loop, loop)
        homes = {"NIGHTLY_HOME": f"{place}/home"}
        for name, day in (("first night", DAYS), ("next night", DAYS + 1)):
            before = tasks(place)
            night = [NIGHT, "--model", model, "--as-of", nth_day(day), "--json"]
            cost = measure(night, homes)
            counts = {n: c for n, c in cost.found["fleet"]["counts"].items() if c}
            say(name, cost, loop, f"{tasks(place) - before} tasks, {counts}")
        found = measure(["-c", SEARCH], homes).found
        print(f"{found['champions']} champions, found in {found['seconds']:.2f} s")


def rows_of(partitions: int, rows: int) -> dict[str, int]:
    """How many rows a day each partition has: the largest has about four times the smallest."""
    shares = np.linspace(1, 4, partitions)
    each = np.maximum(1, rows * shares / shares.sum()).astype(int)
    return {f"shop {number:04d}": int(count) for number, count in enumerate(each)}


def run_loop(model: Path) -> float:
    """What a person would write: every partition's fits, in all processes of the machine."""
    import pandas as pd
    from joblib import Parallel, delayed

    from tasks.spec.loading import load_spec

    spec = load_spec(str(model))
    days = [
        pd.read_parquet(model.parent / "days" / f"{nth_day(day)}.parquet").assign(
            day=pd.Timestamp(nth_day(day))
        )
        for day in range(1, DAYS + 1)
    ]
    parts = []
    for at in range(spec.lookback.days, DAYS):
        history = pd.concat(days[at - spec.lookback.days : at])
        made = spec.features(days[at], history)
        labels = days[at][["day", "shop", "bought"]]
        parts.append(made.assign(**{name: labels[name] for name in labels}))
    every = pd.concat(parts)
    since = pd.Timestamp(nth_day(DAYS)) - timedelta(days=spec.holdout.days - 1)
    shops = every.groupby("shop")
    found = Parallel(n_jobs=-1)(delayed(fit_one)(spec.candidates, rows, since) for _, rows in shops)
    return float(np.mean(list(found)))


def fit_one(candidates: dict[str, object], rows: object, since: object) -> float:
    """The best candidate of one partition on its holdout; it is fitted again on all days."""
    from sklearn.base import clone
    from sklearn.metrics import average_precision_score

    inputs = rows.drop(columns=["day", "shop", "bought"])  # type: ignore[attr-defined]
    target, late = rows["bought"], rows["day"] >= since  # type: ignore[index]
    scored = {}
    for name, estimator in candidates.items():
        fitted = clone(estimator).fit(inputs[~late], target[~late])
        scores = fitted.predict_proba(inputs[late])[:, 1]
        scored[name] = average_precision_score(target[late], scores)
    best = max(scored, key=scored.__getitem__)
    clone(candidates[best]).fit(inputs, target)
    return float(scored[best])


def tasks(place: Path) -> int:
    """Task runs that the embedded server has kept."""
    file = place / "home" / "prefect" / "by-hand.db"
    if not file.is_file():
        return 0
    with closing(sqlite3.connect(file)) as database:
        (count,) = database.execute("SELECT count(*) FROM task_run").fetchone()
    return int(count)


def say(name: str, cost: Cost, loop: Cost, more: str = "") -> None:
    """One row: seconds, the ratio to the loop, and the largest process's memory."""
    ratio = cost.cpu / loop.cpu if loop.cpu else math.nan
    print(
        f"{name:<12} {cost.wall:7.1f} s {cost.cpu:7.1f} CPU s {ratio:6.1f} x "
        f"{cost.memory:5.2f} GB  {more}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
