"""Is any request lost, or answered by two versions, while the champion changes?

    PYTHONPATH=. python tests/benchmarks/answers.py --model flights --requests 10000 --changes 5

Starts ``deployments/answer.py`` on ``NIGHTLY_HOME``, whose registry needs two sealed versions of
the model (two nights that promote), and asks it from eight callers while the champion is moved
between the two. Each answer must be that of the version which it names, up to summing order. At the
end the champion is the one of the start. Ends with 1 where a request was lost or answered wrongly.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import numpy as np
import pandas as pd
import psutil
import skops.io

from deployments import answer
from tasks import settings
from tasks.registry import packages, seals, versions
from tasks.registry.aliases import promote
from tasks.registry.champion_alias import champion_now
from tasks.registry.client import list_versions, open_registry
from tasks.serving.front import VERSION
from tasks.spec.loading import load_spec
from tests.benchmarks.single import CALLERS, draw
from tests.served import PARQUET, parquet_body
from tests.servers import free_port

EQUAL = 1e-12
"""How far a row may be from the same row in a batch: summing order."""


def main() -> int:
    """Ask, change, compare; the exit code."""
    asked = argparse.ArgumentParser(description="Requests while the champion changes.")
    asked.add_argument("--model", choices=("flights", "groceries"), default="flights")
    asked.add_argument("--requests", type=int, default=10_000)
    asked.add_argument("--changes", type=int, default=5)
    given = asked.parse_args()
    file = settings.home() / "predictions" / given.model / "inputs.parquet"
    client, first = open_registry(), champion_now(given.model)
    sealed = [v.version for v in list_versions(client, given.model) if not seals.seal_fault(v)]
    others = [str(number) for number in sealed if str(number) != first]
    if not file.is_file() or first is None or not others:
        asked.exit(2, f"{given.model}: run two nights that promote first.\n")
    pair = [first, max(others, key=int)]
    spec, rows = load_spec(given.model), pd.read_parquet(file)
    batch = {number: score(given.model, number, rows) for number in pair}
    names = names_of(given.model, first)
    drawn = draw(spec, rows, given.requests)
    bodies = [parquet_body(rows.loc[places, names]) for places in drawn]
    port = free_port()
    command = [sys.executable, answer.__file__, "--port", str(port)]
    process = subprocess.Popen(command)
    done, changed = threading.Event(), list[float]()
    try:
        begun = time.perf_counter()
        wait_for(port, given.model, first)
        print(f"first answer possible after {time.perf_counter() - begun:.1f} s", flush=True)
        held = psutil.Process(process.pid)
        with ThreadPoolExecutor(CALLERS) as callers, http(port) as client_of:
            sender = threading.Thread(
                target=change, args=(port, given.model, pair, given.changes, changed, done)
            )
            sender.start()

            def send(body: bytes) -> tuple[float, httpx.Response | None]:
                at = time.perf_counter()
                try:
                    said = client_of.post(f"/{given.model}/invocations", content=body)
                except httpx.HTTPError:
                    return time.perf_counter() - at, None
                return time.perf_counter() - at, said

            found = list(callers.map(send, bodies))
            taken = time.perf_counter() - begun
            again = []
            while not done.is_set():  # the changes take longer than the requests
                again += list(callers.map(send, bodies[:200]))
            sender.join()
        memory = [one.memory_info().rss / 1e6 for one in [held, *held.children()]]
    finally:
        process.terminate()
        process.wait(60)
        promote(client, given.model, first)
    every = [*zip(found, drawn, strict=True)]
    every += [(one, drawn[place % 200]) for place, one in enumerate(again)]
    lost = sum(said is None or said.status_code != 200 for (_, said), _ in every)
    good = [(said, p) for (_, said), p in every if said is not None and said.status_code == 200]
    apart = [np.abs(answers(said) - batch[said.headers[VERSION]][p]).max() for said, p in good]
    wrong = sum(one > EQUAL for one in apart)
    by = Counter(said.headers[VERSION] for said, _ in good)
    median, late = 1000 * np.quantile([seconds for (seconds, _), _ in every], [0.5, 0.99])
    print(
        f"{len(every):,} requests, {len(changed)} changes: {lost} lost, {wrong} wrong; {dict(by)}"
    )
    print(f"changes took {', '.join(f'{seconds:.1f}' for seconds in changed)} s")
    print(
        f"eight callers: median {median:.1f} ms, 99th percentile {late:.1f} ms, "
        f"{given.requests / taken:.0f} a second; memory {memory[0]:.0f} MB, and "
        f"{', '.join(f'{each:.0f}' for each in memory[1:])} MB a version; "
        f"load {os.getloadavg()[0]:.1f}"
    )
    return int(bool(lost or wrong))


def change(
    port: int, model: str, pair: list[str], count: int, changed: list[float], done: threading.Event
) -> None:
    """Move the champion to and fro, each time until the new one answers."""
    try:
        for place in range(count):
            number = pair[(place + 1) % 2]
            begun = time.perf_counter()
            promote(open_registry(), model, number)
            wait_for(port, model, number)
            changed.append(time.perf_counter() - begun)
    finally:
        done.set()


def http(port: int) -> httpx.Client:
    """A client that sends the password and Parquet."""
    user, _, password = (
        (settings.home() / "serve" / answer.PASSWORD).read_text().strip().partition(":")
    )
    headers = {"Content-Type": PARQUET}
    address = f"http://127.0.0.1:{port}"
    return httpx.Client(base_url=address, auth=(user, password), headers=headers, timeout=120)


def wait_for(port: int, model: str, number: str) -> None:
    """Wait until a version answers."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with suppress(httpx.TransportError, FileNotFoundError), http(port) as client:
            if client.get("/").json()["models"].get(model, {}).get("version") == number:
                return
        time.sleep(0.05)
    raise TimeoutError(f"version {number} of {model} does not answer")


def answers(said: httpx.Response) -> np.ndarray:
    """The scores of one answer."""
    return np.array(said.json()["predictions"])[:, 1]


def score(model: str, number: str, rows: pd.DataFrame) -> np.ndarray:
    """Scores of all rows by a version."""
    client, spec = open_registry(), load_spec(model)
    found = versions.read_version(client, model, number)
    with packages.downloaded(client, model, number) as package:
        estimator = skops.io.load(package / "model.skops", trusted=list(found.trusted))
    return spec.problem.score(estimator, rows[names_of(model, number)])


def names_of(model: str, number: str) -> list[str]:
    """The inputs of a version."""
    return list(packages.read_seal(open_registry(), model, number).probe.columns)


if __name__ == "__main__":
    sys.exit(main())
