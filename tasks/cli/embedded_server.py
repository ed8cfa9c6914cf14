"""Prefect's embedded server, for a night started by hand."""

from __future__ import annotations

import atexit
import contextvars
import http.client
import multiprocessing
import os
import secrets
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.context import ForkContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tasks.cli.exits import fail
from tasks.errors import NightlyError
from tasks.registry.client import import_ahead
from tasks.settings import SettingsError, check_readers, ensure_home
from tasks.shown import hide
from tasks.store.empty_databases import make_database
from tasks.store.files import read_json, write_json

PLAIN = {
    "PREFECT_UI_ENABLED": "0",
    "PREFECT__SERVER_EPHEMERAL": "1",
    "PREFECT__SERVER_FINAL": "1",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
}
"""The server of one command: no pages, no automations, no events kept; it records its runs."""


@contextmanager
def embedded_server() -> Iterator[None]:
    """Start Prefect's embedded server and wait until it answers, unless a server is configured.

    Its database is a file of the state directory, so that no other project's Prefect, of another
    version, can be in the way. It has a random password, which is nowhere but in the memory of both
    processes: no other account of this machine can read or change what it knows. A run beside its
    own server sends no heartbeats: nobody listens, and Prefect waits up to a second at its end for
    the thread that sends them.
    """
    from prefect.context import _temporary_global_settings_context, get_settings_context
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_SERVER_API_AUTH_STRING,
        PREFECT_SERVER_DATABASE_CONNECTION_URL,
        temporary_settings,
    )

    try:
        home = ensure_home()
        check_readers()
    except SettingsError as error:
        sys.exit(fail(str(error), error.exit_code))
    if address := PREFECT_API_URL.value():
        _reach(address)
        yield
        return
    record = home / "embedded-server.json"
    _end_orphan(record)
    password = f"nightly:{secrets.token_urlsafe(32)}"
    own: dict[Any, Any] = {
        PREFECT_API_AUTH_STRING: password,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
        PREFECT_SERVER_API_AUTH_STRING: password,
    }
    usual, database = _databases()
    file = None
    if database == usual:
        (home / "prefect").mkdir(mode=0o700, exist_ok=True)
        file = home / "prefect" / "by-hand.db"
        own[PREFECT_SERVER_DATABASE_CONNECTION_URL] = f"sqlite+aiosqlite:///{file}"
    with temporary_settings(own):
        try:
            if file:
                make_database(file, "prefect")
            address = _start(record)
        except (RuntimeError, NightlyError) as error:
            sys.exit(fail(str(error), 1))
    with (
        temporary_settings(own | {PREFECT_API_URL: address}),
        _temporary_global_settings_context(get_settings_context()),  # for Prefect's threads
    ):
        yield  # the server is stopped at exit, after the last log has been sent


def _reach(address: str) -> None:
    """End the command where the server that is configured does not answer."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    if error:
        message = (
            f"The Prefect server at {address} does not answer: {error}. PREFECT_API_URL names it, "
            "or Prefect's profile does (prefect config view). Start it, or put PREFECT_API_URL= "
            "before the command for a night with a server of its own."
        )
        sys.exit(fail(message, 1))


def _start(record: Path) -> str:
    """Start the server, note its process, and wait until it answers; the address of its API.

    On Linux it is a fork: what this process has imported need not be imported again. It gets a
    socket that listens already, so that a request waits for it, and fails when it has ended.

    Raises:
        RuntimeError: Where it ends before it answers.
        StoreError: Where the note cannot be written.
    """
    import psutil
    from prefect.settings import (
        PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS,
        get_current_settings,
    )

    environment = get_current_settings().to_environment_variables(exclude_unset=True) | PLAIN
    processes: ForkContext | SpawnContext = multiprocessing.get_context("spawn")
    if sys.platform == "linux":
        processes = multiprocessing.get_context("fork")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = processes.Process(target=_serve, args=(listener, environment), daemon=True)
        server.start()
    atexit.register(_stop, server)
    born = psutil.Process(server.pid).create_time()
    write_json(record, {"pid": server.pid, "born": born, "started_by": os.getpid()})
    import_ahead()  # it takes seconds to start
    timeout = float(PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS.value())
    try:
        _wait(port, timeout)
    except OSError as error:
        late = isinstance(error, TimeoutError)
        how = f"no answer in {timeout:g} seconds" if late else "it ended as it started"
        _stop(server)
        raise RuntimeError(
            f"Prefect's own server of this command did not start: {how}. Its database is "
            f"{hide(_databases()[1])}. Where a newer version of Prefect has changed it, move it "
            "away: it holds the pages of earlier runs by hand, and no model."
        ) from error
    return f"http://127.0.0.1:{port}/api"


def _wait(port: int, timeout: float) -> None:
    """Wait until the server answers. Raises OSError where it does not."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", "/api/health")
        connection.getresponse().read()
    except http.client.HTTPException as error:
        raise ConnectionError(*error.args) from error
    finally:
        connection.close()


def _serve(listener: socket.socket, environment: Mapping[str, str]) -> None:
    """Be the server, until told to end; of this process only standard error is kept."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the command, which is told too
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    os.closerange(3, listener.fileno())
    os.closerange(listener.fileno() + 1, listener.fileno() + 1024)
    os.environ.update(environment)
    import uvicorn
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()
    config = uvicorn.Config(
        "prefect.server.api.server:create_app", factory=True, log_level="error", lifespan="on"
    )
    without_settings = contextvars.Context()  # those of the command would come before the above
    without_settings.run(uvicorn.Server(config).run, [listener])


def _stop(server: BaseProcess) -> None:
    """End the server: after five seconds at the latest."""
    server.terminate()
    server.join(5)
    server.kill()
    server.join()


def _databases() -> tuple[str, str]:
    """Addresses of the database that Prefect uses where nothing is said, and of the one it uses."""
    from prefect.settings import get_current_settings

    found = get_current_settings()
    used = found.server.database.connection_url
    usual = f"sqlite+aiosqlite:///{found.home / 'prefect.db'}"
    return usual, used.get_secret_value() if used else usual


def _end_orphan(record: Path) -> None:
    """End the embedded server that a killed run left behind."""
    import psutil

    try:
        left = read_json(record)
        server = psutil.Process(left["pid"])
        ours = _is_server(server, left)
        if ours and not psutil.pid_exists(left["started_by"]):
            server.terminate()
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return  # no record, or it is gone: nothing to end


def _is_server(process: Any, left: Mapping[str, Any]) -> bool:
    """Whether a process is the one noted, and not another with its number."""
    if "born" in left:
        return abs(float(process.create_time()) - float(left["born"])) < 1
    return any("prefect.server.api.server" in part for part in process.cmdline())
