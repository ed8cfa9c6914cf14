"""What a Dask worker does with a part of a run that is sent to it.

A scheduler on another machine imports this module too: it is light.
"""

from __future__ import annotations

import functools
import importlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from tasks.errors import WrongInputError

TOKEN = "worker-token"
"""File of the state directory by which a worker knows that it shares it."""


class WorkerError(WrongInputError, RuntimeError):
    """A worker cannot take part in this run; the message says what to correct."""


@dataclass(frozen=True)
class Sent:
    """A task as it goes to a worker: what it runs is named, not sent.

    Attributes:
        module: Module of the task.
        name: Its name there.
        model: The model as named by the caller.
        expected: What the worker must have of code and libraries.
        token: Content of the state directory's ``TOKEN``.
        shared: What tells the state and store that machines share; None where they share none.
        run: The flow run, as JSON.
        task_run: Number of the task's run.
        parameters: Arguments of the task: names, dates and references, no frames.
    """

    module: str
    name: str
    model: str
    expected: Any
    token: str
    shared: str | None
    run: str
    task_run: UUID
    parameters: Mapping[str, Any] = field(repr=False)


def run_sent(packed: bytes) -> Any:
    """Run a task on this worker, and give its last state.

    Args:
        packed: A pickled ``Sent``: the scheduler need not unpack it.

    Raises:
        WorkerError: Where the worker has other code, other libraries or another state.
    """
    import pickle

    try:
        sent: Sent = pickle.loads(packed)
    except Exception as error:
        raise WorkerError(
            f"{_who()} cannot read what it is sent: {type(error).__name__}: {error}. Bring its "
            "clone to the state of this one, and start it again."
        ) from error
    _prepare()
    _refuse(sent)
    _share(sent)
    return _run(sent)


def _who() -> str:
    return f"The worker of process {os.getpid()} on {socket.gethostname()}"


@functools.cache
def _prepare() -> None:
    """What a command does first, once in this process."""
    from prefect.context import refresh_global_settings_context

    os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "nightly")
    refresh_global_settings_context()  # the variables came after Prefect had been imported


def _refuse(sent: Sent) -> None:
    from tasks.errors import SpecError
    from tasks.spec.loading import load_spec
    from tasks.spec.same_code import marks_of

    try:
        spec = load_spec(sent.model)
    except SpecError as error:
        raise WorkerError(f"{_who()} cannot load the model: {error}") from error
    if fault := sent.expected.differs(marks_of(spec)):
        raise WorkerError(f"{_who()} {fault}.")


def _share(sent: Sent) -> None:
    """See that this worker has the run's state: its directory, or a copy that is up to date."""
    from tasks import settings
    from tasks.settings import SettingsError
    from tasks.store import mirror

    place = settings.home() / TOKEN
    if place.is_file() and place.read_text(encoding="utf-8") == sent.token:
        return
    if sent.shared is None:
        raise WorkerError(
            f"{_who()} has another state directory: {settings.home()}. Set NIGHTLY_HOME there to "
            "the folder that this run uses, on a disk that both share, or set NIGHTLY_STATE_URL "
            "and NIGHTLY_STORE_URL for both."
        )
    try:
        if mirror.shared_state() != sent.shared:
            raise WorkerError(
                f"{_who()} shares another state. Set NIGHTLY_STATE_URL and NIGHTLY_STORE_URL there "
                "to those of this run, and start it again."
            )
        mirror.pull()
    except SettingsError as error:
        raise WorkerError(f"{_who()} cannot share the state: {error}") from error


def _run(sent: Sent) -> Any:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import FlowRun
    from prefect.context import FlowRunContext
    from prefect.logging.configuration import setup_logging
    from prefect.results import get_result_store
    from prefect.task_engine import run_task_sync
    from prefect.task_runners import ThreadPoolTaskRunner

    from tasks.steps.spoken import all_whole, guard_logs

    setup_logging()
    guard_logs()
    task = getattr(importlib.import_module(sent.module), sent.name)
    runner: Any = ThreadPoolTaskRunner(max_workers=1)
    with (
        get_client(sync_client=True) as client,
        runner as threads,
        FlowRunContext(
            flow_run=FlowRun.model_validate_json(sent.run),
            client=client,
            task_runner=threads,
            result_store=get_result_store(),
            detached=True,
        ),
    ):
        return run_task_sync(
            task,
            task_run_id=sent.task_run,
            parameters=all_whole(sent.parameters),
            return_type="state",
        )
