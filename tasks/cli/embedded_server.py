"""Prefect's embedded server, for a night started by hand."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.cli.exits import fail
from tasks.settings import SettingsError, ensure_home
from tasks.store.files import StoreError, read_json, write_json


@contextmanager
def embedded_server() -> Iterator[None]:
    """Start Prefect's embedded server and wait until it answers, unless a server is configured.

    A run beside its own server sends no heartbeats: nobody listens, and Prefect waits up to a
    second at its end for the thread that sends them.
    """
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        temporary_settings,
    )

    if PREFECT_API_URL.value():
        yield
        return
    from prefect.server.api.server import SubprocessASGIServer

    try:
        record = ensure_home() / "embedded-server.json"
    except SettingsError as error:
        sys.exit(fail(str(error), error.exit_code))
    _end_orphan(record)
    server = SubprocessASGIServer()
    starting = threading.Thread(target=server.start)
    starting.start()
    while server.server_process is None and starting.is_alive():
        time.sleep(0.01)
    if server.server_process is not None:
        try:
            write_json(record, {"pid": server.server_process.pid, "started_by": os.getpid()})
        except StoreError as error:
            starting.join()
            sys.exit(fail(str(error), error.exit_code))
    starting.join()
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield  # Prefect stops the server at exit, after the last log has been sent


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
