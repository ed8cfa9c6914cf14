"""Prefect's embedded server, for a night started by hand."""

from __future__ import annotations

import contextvars
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.cli.exits import fail
from tasks.settings import SettingsError, ensure_home
from tasks.shown import hide
from tasks.store.files import StoreError, read_json, write_json


@contextmanager
def embedded_server() -> Iterator[None]:
    """Start Prefect's embedded server and wait until it answers, unless a server is configured.

    Its database is a file of the state directory, so that no other project's Prefect, of another
    version, can be in the way. A run beside its own server sends no heartbeats: nobody listens, and
    Prefect waits up to a second at its end for the thread that sends them.
    """
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_SERVER_DATABASE_CONNECTION_URL,
        temporary_settings,
    )

    if address := PREFECT_API_URL.value():
        _reach(address)
        yield
        return
    try:
        home = ensure_home()
    except SettingsError as error:
        sys.exit(fail(str(error), error.exit_code))
    record = home / "embedded-server.json"
    _end_orphan(record)
    own: dict[Any, Any] = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}
    usual, database = _databases()
    if database == usual:
        (home / "prefect").mkdir(mode=0o700, exist_ok=True)
        file = home / "prefect" / "by-hand.db"
        own[PREFECT_SERVER_DATABASE_CONNECTION_URL] = f"sqlite+aiosqlite:///{file}"
    with temporary_settings(own):
        try:
            _start(record)
        except (RuntimeError, StoreError) as error:
            sys.exit(fail(str(error), 1))
        yield  # Prefect stops the server at exit, after the last log has been sent


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


def _start(record: Path) -> None:
    """Start the server once, and note its process.

    Raises:
        RuntimeError: Where it ends before it answers.
        StoreError: Where the note cannot be written.
    """
    from prefect.server.api.server import SubprocessASGIServer

    server, failed = SubprocessASGIServer(), list[Exception]()
    server.port = server.find_available_port()

    def no_other_port() -> int:
        raise RuntimeError("it ended as it started")

    server.find_available_port = no_other_port  # type: ignore[method-assign] # else tried for ever

    def start() -> None:
        try:
            server.start()
        except Exception as error:
            failed.append(error)

    context = contextvars.copy_context()  # holds Prefect's settings
    starting = threading.Thread(target=context.run, args=(start,))
    starting.start()
    while server.server_process is None and starting.is_alive():
        time.sleep(0.01)
    if server.server_process is not None:
        write_json(record, {"pid": server.server_process.pid, "started_by": os.getpid()})
    starting.join()
    if failed:
        server.stop()
        raise RuntimeError(
            f"Prefect's own server of this command did not start: {failed[0]}. Its database is "
            f"{hide(_databases()[1])}. Where a newer version of Prefect has changed it, move it "
            "away: it holds the pages of earlier runs by hand, and no model."
        ) from failed[0]


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
        ours = any("prefect.server.api.server" in part for part in server.cmdline())
        if ours and not psutil.pid_exists(left["started_by"]):
            server.terminate()
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return  # no record, or it is gone: nothing to end
