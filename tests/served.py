"""``mlflow models serve`` as a process of its own, and the bodies of requests to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pandas as pd
import psutil

from tests.servers import free_port

JSON, PARQUET = "application/json", "application/vnd.apache.parquet"
PATIENCE = 600.0
"""Seconds the server may take to answer on a busy machine."""


@dataclass(frozen=True)
class Server:
    """A champion that answers single requests.

    Attributes:
        port: Where, on 127.0.0.1.
        process: The command.
        worker: Its child, which answers.
        seconds: From its start to its first answer.
    """

    port: int
    process: subprocess.Popen[bytes]
    worker: psutil.Process
    seconds: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/invocations"

    def end(self) -> None:
        """Send SIGTERM and wait until command and worker are gone."""
        self.process.terminate()
        self.process.wait(timeout=60)
        with suppress(psutil.NoSuchProcess):
            self.worker.wait(timeout=60)


@contextmanager
def served(home: Path, model: str, log: Path, **environment: str) -> Iterator[Server]:
    """The champion of a model behind MLflow's own server, started as SERVING.md says.

    Args:
        home: State directory with the registry.
        model: Registered model.
        log: File for what the server says.
        environment: Variables to add.
    """
    registry = {"MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}"}
    with served_from(f"models:/{model}@champion", log, **registry, **environment) as server:
        yield server


@contextmanager
def served_from(package: str, log: Path, **environment: str) -> Iterator[Server]:
    """A package, by its address or folder, behind MLflow's own server."""
    port = free_port()
    ours = ("PREFECT_", "MLFLOW_", "NIGHTLY_", "PYTHON")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    activated = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    options = ["-m", package, "--env-manager", "local", "--port", str(port)]
    begun = time.monotonic()
    with log.open("wb") as said:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("mlflow"), "models", "serve", *options],
            cwd=log.parent,
            env=inherited | activated | environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/ping", process, log)
        seconds = time.monotonic() - begun
        (worker,) = psutil.Process(process.pid).children()
        server = Server(port, process, worker, seconds)
        yield server
        server.end()
    finally:
        process.terminate()
        process.wait(timeout=60)


def parquet_body(rows: pd.DataFrame) -> bytes:
    """Rows as the server takes them without rounding or casting."""
    return rows.to_parquet(index=False)


def json_body(rows: pd.DataFrame) -> str:
    """Rows as ``dataframe_split``, numbers in full, times in ISO 8601, missing values as null."""
    times = rows.select_dtypes("datetime")
    texts = {name: times[name].dt.strftime("%Y-%m-%dT%H:%M:%S.%f") for name in times}
    values = rows.assign(**texts).astype(object).where(rows.notna(), None)
    return json.dumps({"dataframe_split": values.to_dict(orient="split", index=False)})


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with suppress(httpx.TransportError):
            if httpx.get(address).status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError(f"{address} has not answered in {PATIENCE:.0f} s:\n{log.read_text()}")
