"""Runs whose process is gone: after a power cut the server still counts them as running."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from tasks import settings
from tasks.steps.ending import only_shown
from tasks.steps.spoken import errors_shown, guard_logs
from tasks.store import file_locks, locks, scratch

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun


log = logging.getLogger("nightly")
FLOWS = ("retrain", "predict", "monitor", "backtest", "rollback", "approve")
STARTING = timedelta(minutes=15)
"""How long a run of another machine may be pending: its process starts within seconds."""
YOUNG = 5.0
"""Seconds for which a note without a lock may be of a run that is about to lock it."""
KEPT = 7 * 24 * 3600.0
"""Seconds for which the note of a run is kept that this server does not know."""


@contextmanager
def noted_run() -> Iterator[None]:
    """Hold a lock that says that this flow run has a process; first end the runs that have none.

    The kernel frees the lock when the process dies, however it dies.
    """
    from prefect import runtime

    guard_logs()
    run = runtime.flow_run.id
    if not run:
        with errors_shown(), scratch.own_folder():
            yield
        return
    _sweep_quietly()
    with locks.lock(f"run-{run}"), errors_shown(), scratch.own_folder():
        yield
        _note(run).unlink(missing_ok=True)


def end_dead_runs(*, alone: bool) -> list[str]:
    """End the runs that the server counts as running and that have no process.

    Args:
        alone: Whether every process of the server's runs is on this machine. If not, a run of
            another machine is ended only where it has been pending for a quarter of an hour.

    Returns:
        A line for each run that was ended.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        dead = [run for run in _begun(client) if _is_dead(run, alone=alone)]
        ended = [_end(client, run) for run in dead]
    _forget_old_notes()
    return ended


def _sweep_quietly() -> None:
    """A server that does not answer the sweep does not stop the night."""
    with only_shown("runs without a process are not ended"):
        for line in end_dead_runs(alone=False):
            log.warning("sweep     %s", line)


def _begun(client: SyncPrefectClient) -> Sequence[FlowRun]:
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter

    asked = FlowRunFilter.model_validate(
        {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}
    )
    ours = FlowFilter.model_validate({"name": {"any_": list(FLOWS)}})
    return client.read_flow_runs(flow_filter=ours, flow_run_filter=asked)


def _is_dead(run: FlowRun, *, alone: bool) -> bool:
    note = _note(run.id)
    with suppress(FileNotFoundError):
        old = time.time() - note.stat().st_mtime > YOUNG
        return old and not file_locks.is_held(note)
    if _has_process(run.id):
        return False
    since = run.state.timestamp if run.state else None
    stuck = run.state_type == "PENDING" and since and datetime.now(UTC) - since > STARTING
    return alone or bool(stuck)


def _end(client: SyncPrefectClient, run: FlowRun) -> str:
    """Prefect frees what the run held as it leaves its state."""
    from prefect.client.schemas.objects import State, StateType

    was = run.state_name or "begun"
    cancelled = run.state_type == StateType.CANCELLING
    why = f"It was {was}, and its process is gone: the machine or the worker was stopped."
    kind = StateType.CANCELLED if cancelled else StateType.CRASHED
    client.set_flow_run_state(run.id, State(type=kind, message=why))
    _note(run.id).unlink(missing_ok=True)
    return f"the run {run.name} was {was} without a process: it is {kind.value.capitalize()} now"


def _note(run: UUID | str) -> Path:
    return settings.home() / "locks" / f"run-{run}.lock"


def _has_process(run: UUID) -> bool:
    """Whether a worker of this machine has started a process for the run."""
    import psutil

    own: Any
    for own in psutil.process_iter():
        with suppress(psutil.Error):
            if own.pid != os.getpid() and own.environ().get("PREFECT__FLOW_RUN_ID") == str(run):
                return True
    return False


def _forget_old_notes() -> None:
    for note in (settings.home() / "locks").glob("run-*.lock"):
        with suppress(FileNotFoundError):
            if time.time() - note.stat().st_mtime > KEPT and not file_locks.is_held(note):
                note.unlink()
