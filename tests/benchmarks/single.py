"""One request at a time: are the answers the batch's, and how long do they take?

    PYTHONPATH=. python tests/benchmarks/single.py --model flights --requests 1000

Serves the champion of ``NIGHTLY_HOME`` with ``mlflow models serve``, one worker on one core, and
asks it for what its last night predicted, drawn at random from
``predictions/<model>/inputs.parquet``: a household with all its candidates, or a flight. The batch
scores all rows of that file at once, in this process, with the same version. Latency is that of one
caller over one connection; requests per second are those of eight callers at once. The callers run
on the other cores.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import psutil
import skops.io

from tasks import settings
from tasks.problems import Recommendation
from tasks.registry import packages, versions
from tasks.registry.client import open_registry
from tasks.spec import ModelSpec
from tasks.spec.loading import load_spec
from tests.served import JSON, PARQUET, Server, json_body, parquet_body, served

BODIES: dict[str, Callable[[pd.DataFrame], bytes | str]] = {
    PARQUET: parquet_body,
    JSON: json_body,
}
CALLERS = 8
SEED = 0


def main() -> None:
    """Ask, compare, and print the table."""
    asked = argparse.ArgumentParser(description="Single requests against the batch.")
    asked.add_argument("--model", choices=("flights", "groceries"), default="flights")
    asked.add_argument("--requests", type=int, default=1000)
    given = asked.parse_args()
    file = settings.home() / "predictions" / given.model / "inputs.parquet"
    if not file.is_file():
        asked.exit(2, f"{file} does not exist: run a night of {given.model} first.\n")
    spec = load_spec(given.model)
    rows = pd.read_parquet(file)
    batch, names, version = score_batch(spec, rows)
    drawn = draw(spec, rows, given.requests)
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "server.log"
        first, *others = sorted(os.sched_getaffinity(0))
        psutil.Process().cpu_affinity([first])
        with served(settings.home(), given.model, log, OMP_NUM_THREADS="1") as server:
            psutil.Process().cpu_affinity(others or [first])
            size = np.mean([len(places) for places in drawn])
            print(
                f"{given.model} version {version}: first answer after {server.seconds:.1f} s, "
                f"{given.requests:,} requests of {size:.0f} rows x {len(names)} columns; "
                f"all {len(rows):,} rows are the batch"
            )
            print(f"{'body':38}{'equal':>8}{'largest':>10}{'median':>10}{'p99':>10}{'per s':>8}")
            for kind, body in BODIES.items():
                ask(server, kind, [body(rows.loc[p, names]) for p in drawn], batch, drawn)
            memory = server.worker.memory_info().rss / 1e6
            print(f"memory of the worker {memory:.0f} MB; load {os.getloadavg()[0]:.1f}")


def score_batch(spec: ModelSpec, rows: pd.DataFrame) -> tuple[np.ndarray, list[str], str]:
    """Scores of all rows at once, the names of the inputs, and the champion's version."""
    client = open_registry()
    champion = versions.read_champion(client, spec.name)
    assert champion is not None
    with packages.downloaded(client, spec.name, champion.version) as package:
        estimator = skops.io.load(package / "model.skops", trusted=list(champion.trusted))
        example = packages.read_seal(client, spec.name, champion.version).probe
    names = list(example.columns)
    return spec.problem.score(estimator, rows[names]), names, champion.version


def draw(spec: ModelSpec, rows: pd.DataFrame, count: int) -> list[np.ndarray]:
    """Rows of each request: all candidates of one user, or one row."""
    if isinstance(spec.problem, Recommendation):
        groups = list(rows.groupby(spec.problem.user, dropna=False).indices.values())
    else:
        groups = list(np.arange(len(rows)).reshape(-1, 1))
    chosen = np.random.default_rng(SEED).integers(len(groups), size=count)
    return [groups[n] for n in chosen]


def ask(
    server: Server,
    kind: str,
    bodies: list[bytes | str],
    batch: np.ndarray,
    drawn: list[np.ndarray],
) -> None:
    """Send every body twice, one after the other and many at once, and print a row."""
    headers = {"Content-Type": kind}
    with httpx.Client(headers=headers, timeout=60) as client:

        def send(body: bytes | str) -> tuple[float, np.ndarray]:
            begun = time.perf_counter()
            answer = client.post(server.url, content=body)
            taken = time.perf_counter() - begun
            return taken, np.array(answer.raise_for_status().json()["predictions"])[:, 1]

        for body in bodies[:20]:
            send(body)
        found = [send(body) for body in bodies]
        begun = time.perf_counter()
        with ThreadPoolExecutor(CALLERS) as callers:
            again = list(callers.map(send, bodies))
        rate = len(bodies) / (time.perf_counter() - begun)
    apart = [np.abs(s - batch[p]).max() for (_, s), p in zip(found + again, drawn * 2, strict=True)]
    median, late = 1000 * np.quantile([taken for taken, _ in found], [0.5, 0.99])
    equal = np.mean(np.array(apart) == 0)
    print(
        f"{kind:38}{equal:>8.1%}{max(apart):>10.1g}{median:>7.1f} ms{late:>7.1f} ms{rate:>8.0f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
