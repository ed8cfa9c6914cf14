"""Random feature frames through the real clean process and real servers: the same numbers?

    PYTHONPATH=. python tests/benchmarks/frames.py --frames 150 --seed 17 --anew 10 --served 10

Each frame is fitted, packaged and asked, with other values, gaps and categories in another order of
columns, in a fork of the template, as a command asks. Every ``--anew``-th is asked by a new
interpreter as well, as a worker asks. The first ``--served`` of several columns are posted as
Parquet and as JSON to ``mlflow models serve`` and to the server of ``deployments/serve.py
--answers``. Prints every difference.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import httpx
import hypothesis
import numpy as np

from tasks.clean_process import template
from tasks.clean_process.package_check import check_package
from tasks.clean_process.run import clean_environment
from tasks.serving import package_server
from tasks.spec import Gate
from tests.feature_frames import TRUSTED, Frames, Packaged, packaged, random_frames
from tests.served import JSON, PARQUET, json_body, parquet_body, served_from


def main() -> int:
    """Run all of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--anew", type=int, default=10)
    parser.add_argument("--served", type=int, default=10)
    given = parser.parse_args()
    template.leave_template()
    assert template._waiting, "it has other threads: set OMP_NUM_THREADS=1"
    faults, anew, made = list[str](), 0, list[Packaged]()

    @hypothesis.seed(given.seed)
    @hypothesis.settings(
        max_examples=given.frames,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(random_frames())
    def ask(frames: Frames) -> None:
        nonlocal anew, asked
        asked += 1
        try:
            package = packaged(frames, place / str(asked))
            faults.extend(differences(package))
            if asked % given.anew == 0:
                anew += 1
                with patch.object(template, "_waiting", []):
                    faults.extend(differences(package))
            if len(package.posted.columns) > 3 and len(made) < given.served:
                made.append(package)
        except Exception:
            faults.append(traceback.format_exc(limit=-2) + f"\n{frames.training.dtypes}\n{frames}")

    asked = 0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        ask()
        print(f"{asked} frames asked in a fork, {anew} of them by a new interpreter", flush=True)
        for package in made:
            faults += post_to_servers(package, place)
    print(f"{len(made)} frames posted to real servers")
    print("\n".join(faults), f"{len(faults)} faults", sep="\n")
    return 1 if faults else 0


def differences(package: Packaged) -> list[str]:
    """What the clean process says against a package."""
    gate = Gate(latency_ms=60_000)
    checks = check_package(
        package.folder, package.posted, package.expected, trusted=TRUSTED, gate=gate
    )
    described = f"\n{package.fitted.form_}\n{package.posted.to_dict('list')}"
    return [check.detail + described for check in checks if not check.passed]


def post_to_servers(package: Packaged, place: Path) -> list[str]:
    """What differs where the rows are posted, columns in another order than the signature's."""
    rows, found = package.posted.iloc[:, ::-1], []
    bodies = {PARQUET: parquet_body(rows), JSON: json_body(rows)}
    with served_from(str(package.folder), place / "log") as mlflow, answers_server(package) as own:
        for name, client, url in (("mlflow", None, mlflow.url), ("answers", own, "/invocations")):
            for kind, body in bodies.items():
                send = client.post if client else httpx.post
                said = send(url, content=body, headers={"Content-Type": kind}, timeout=60)
                got = said.json().get("predictions") if said.status_code == 200 else said.text
                if not np.array_equal(got, package.expected):
                    found.append(f"{name} {kind}: {got} for {package.expected} {rows}")
    return found


@contextmanager
def answers_server(package: Packaged) -> Iterator[httpx.Client]:
    """A client of the process that answers for one package behind ``serve.py --answers``."""
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "socket"
        command = [sys.executable, "-P", package_server.__file__, str(package.folder), str(socket)]
        process = subprocess.Popen(command, cwd=folder, env=clean_environment())
        try:
            with httpx.Client(
                transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://model"
            ) as client:
                while process.poll() is None:
                    with suppress(httpx.TransportError):
                        client.get("/ping").raise_for_status()
                        break
                    time.sleep(0.1)
                yield client
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
