"""Every test has its own state directory; those that need Prefect share one embedded server."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

import certifi
import pytest
from hypothesis import settings

from tasks.cli.environment import COLLECT_AFTER
from tests import browser, servers, warm
from tests.samples import samples, skip_long

WORKER = os.environ.get("PYTEST_XDIST_WORKER")
END = "-----END CERTIFICATE-----\n"

settings.register_profile("nightly", deadline=None, max_examples=samples(100))
settings.load_profile("nightly")

# Each command would compile its libraries anew, where the installer has not done it either.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
gc.set_threshold(COLLECT_AFTER)
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


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture is made."""
    skip_long(item)


def pytest_collection_finish() -> None:
    """What was imported lives on, so garbage is not looked for there."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory of this test alone; not made yet."""
    place = tmp_path / "home"
    monkeypatch.setenv("NIGHTLY_HOME", str(place))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # MLflow sets them as it goes
        monkeypatch.delenv(name, raising=False)
    return place


@pytest.fixture(scope="session")
def empty_registry(shared_place: Path) -> Path:
    """A database MLflow has initialised, to be copied: making one takes four CPU seconds."""
    from mlflow.store.db import utils

    from tasks.registry import client

    # Each database is compared with the newest migration, which is looked for in seventy files.
    utils._get_latest_schema_revision = cache(utils._get_latest_schema_revision)
    place = shared_place / "registry"
    with servers.made_once(place) as first, pytest.MonkeyPatch.context() as patch:
        if not first:
            return place / "mlflow.db"
        place.mkdir()
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


@pytest.fixture(scope="session")
def shared_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what all workers of this run share."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if WORKER else own) / "shared"


@pytest.fixture(scope="session")
def addresses(shared_place: Path) -> dict[str, str]:
    """Where the processes are that all workers share."""
    return servers.shared(shared_place, os.getppid() if WORKER else os.getpid())


@pytest.fixture(scope="session")
def prefect_server(
    addresses: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """The tests' Prefect server, with a result storage for this worker.

    Nights in this process tell it of their runs and send no events, which nobody reads: commands
    do, and the tests of alarms have a server of their own.
    """
    from prefect.context import _temporary_global_settings_context, get_settings_context
    from prefect.events import utilities
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_LOCAL_STORAGE_PATH,
        temporary_settings,
    )

    changed = {
        PREFECT_API_URL: addresses["prefect"],
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        PREFECT_LOCAL_STORAGE_PATH: tmp_path_factory.mktemp("prefect-storage"),
    }
    with (
        temporary_settings(changed),
        _temporary_global_settings_context(get_settings_context()),  # for Prefect's threads
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(utilities, "should_emit_events", lambda: False)
        yield


@pytest.fixture(scope="session")
def chromium() -> str:
    """The browser that the pages are looked at with."""
    return browser.find_chromium()


@pytest.fixture(scope="session")
def warm_address(prefect_server: None, addresses: dict[str, str]) -> Iterator[None]:
    """The process that forks commands, on the Prefect server of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(warm.ADDRESS, addresses["warm"])
        yield


@pytest.fixture(scope="module")
def blank_pictures() -> Iterator[None]:
    """The figures of nights are made and not drawn: drawing takes half of a small night's time."""
    from tasks.reporting import plots, problem_plots

    with pytest.MonkeyPatch.context() as patch:
        for place in (plots, problem_plots):
            patch.setattr(place, "to_png", lambda _: b"\x89PNG, not drawn")
        yield


@pytest.fixture(scope="module")
def warm_processes(warm_address: None, blank_pictures: None) -> Iterator[None]:
    """Commands and the clean processes of nights are forks, see ``tests/warm.py``."""
    with warm.clean_processes():
        yield


@pytest.fixture
def warm_fits(warm_address: None) -> Iterator[list[warm.Process]]:
    """Fits and searches that are given a time limit are forks; some tests start them cold."""
    with warm.fits_and_searches() as made:
        yield made


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A real PostgreSQL, without root and without a service."""
    with servers.postgres() as server:
        yield server


@pytest.fixture
def postgres(postgres_server: Any, tmp_path: Path) -> str:
    """SQLAlchemy URL of a database of this test alone."""
    name = f"test_{uuid4().hex}"
    postgres_server.psql(f"CREATE DATABASE {name};")
    uri = str(postgres_server.get_uri(database=name))
    return uri.replace("postgresql://", "postgresql+psycopg://")
