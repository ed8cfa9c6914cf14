"""``deployments/serve.py`` as it runs, for tests and benchmarks."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tasks.settings import PROJECT


@dataclass
class Served:
    """``deployments/serve.py`` as it runs."""

    home: Path
    port: int
    mlflow_port: int
    process: subprocess.Popen[str]
    said: list[str]

    @property
    def password(self) -> str:
        return (self.home / "serve" / "password").read_text().strip()

    @property
    def mlflow_password(self) -> str:
        said = (self.home / "serve" / "mlflow-password").read_text().strip()
        return said.removeprefix("nightly:")

    @property
    def environment(self) -> dict[str, str]:
        return clean_environment() | {
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "PREFECT_API_AUTH_STRING": self.password,
            "PREFECT_HOME": str(self.home / "prefect-client"),
        }

    def send(self, path: str, body: dict[str, Any] | None = None, **headers: str) -> httpx.Response:
        """A request of the API with the password, and other headers where they are given."""
        basic = base64.b64encode(self.password.encode()).decode()
        return httpx.request(
            "GET" if body is None else "POST",
            f"http://127.0.0.1:{self.port}/api/{path}",
            json=body,
            headers={"Authorization": f"Basic {basic}"} | headers,
            timeout=60,
        )

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the API answers; a request that sends something carries the CSRF token."""
        token = {}
        if body is not None:
            made = self.ask("csrf-token?client=tests")["token"]
            token = {"Prefect-Csrf-Token": made, "Prefect-Csrf-Client": "tests"}
        answered = self.send(path, body, **token)
        for _ in range(10):  # its SQLite is busy for a moment; Prefect's own client waits too
            if answered.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(1)
            answered = self.send(path, body, **token)
        return answered.raise_for_status().json()


def clean_environment() -> dict[str, str]:
    """This process's environment without what the tests set for themselves."""
    ours = ("PREFECT_", "MLFLOW_", "NIGHTLY_", "OMP_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def free_ports() -> list[int]:
    """Two ports that nothing listens on."""
    probes = [socket.socket() for _ in range(2)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def start(home: Path, *ports: int) -> Served:
    """Start it and wait until it says that all is up."""
    port, mlflow_port = ports or free_ports()
    ports_asked = ["--port", str(port), "--mlflow-port", str(mlflow_port)]
    process = subprocess.Popen(
        [sys.executable, str(PROJECT / "deployments" / "serve.py"), *ports_asked],
        cwd="/",
        env=clean_environment() | {"NIGHTLY_HOME": str(home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        said.append(line)
        if line.startswith("All is up"):
            return Served(home, port, mlflow_port, process, said)
    raise AssertionError("".join(said))


def tree(served: Served) -> list[psutil.Process]:
    """The process and all that it started."""
    own = psutil.Process(served.process.pid)
    return [own, *own.children(recursive=True)]
