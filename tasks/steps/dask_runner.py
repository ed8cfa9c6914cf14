"""Prefect's task runner for Dask, with tasks that are named and not sent."""

from __future__ import annotations

import functools
import logging
import os
import pickle
import secrets
import signal
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from multiprocessing import resource_tracker
from multiprocessing.util import get_temp_dir
from typing import Any, TypeVar
from uuid import uuid4

import dask
import distributed
from distributed.utils import get_mp_context
from prefect.context import FlowRunContext
from prefect.settings import get_current_settings
from prefect.utilities.annotations import opaque
from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

from tasks import settings
from tasks.errors import NightlyError
from tasks.settings import SettingsError
from tasks.shown import hide
from tasks.spec.loading import load_spec
from tasks.spec.same_code import marks_of
from tasks.steps.on_worker import TOKEN, Sent, WorkerError, run_sent
from tasks.store import mirror
from tasks.store.files import write_file

R = TypeVar("R")
log = logging.getLogger("nightly")
for _name in ("distributed", "distributed.client"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)  # its lines are none of a night's
COME, LOOK, GONE = 60, 30, 10
"""Seconds to wait for a first worker; seconds between two looks at them while waiting for a task;
looks without any worker after which the run ends."""
IMPORTED = (
    "distributed.nanny",
    "pandera.pandas",
    "prefect.task_engine",
    "pyarrow.parquet",
    "skops.io",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "tasks.steps.on_worker",
)
"""What the process has imported that workers of this machine are forks of."""
LIVES = 10
"""How often a task may lose its worker: so often is no accident."""


class LostWorkerError(NightlyError, RuntimeError):
    """Workers ended again and again while they did the same task, or all are gone."""


class Answer(PrefectDaskFuture[R]):
    """A task that a worker does."""

    client: distributed.Client
    what: str
    refill: Callable[[], None]
    shared: str | None

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it has ended, however it ended."""
        self.result(timeout, raise_on_failure=False)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> Any:
        """What the task gives or raises; what it raises is given unless ``raise_on_failure``."""
        if not self._final_state:
            try:
                self._final_state = self._wait(timeout)
                if self.shared:
                    mirror.pull()  # what the worker has written, if its state directory is another
            except NightlyError as error:
                if raise_on_failure or isinstance(error, WorkerError):
                    raise
                return error
        return super().result(timeout, raise_on_failure)

    def _wait(self, timeout: float | None) -> Any:
        without = 0
        while True:
            try:
                return self._wrapped_future.result(timeout=timeout or LOOK)
            except distributed.KilledWorker as error:
                raise LostWorkerError(
                    f"{self.what}: {LIVES} workers ended while they did it. Look whether the "
                    "memory of their machine suffices."
                ) from error
            except (distributed.TimeoutError, TimeoutError):
                if timeout:
                    raise
                without = 0 if self.client.scheduler_info()["workers"] else without + 1
                self.refill()
                if without >= GONE:
                    raise LostWorkerError(
                        f"{self.what}: the scheduler has had no worker for {GONE * LOOK} seconds. "
                        "Start workers, then run the night again."
                    ) from None


class Workers(DaskTaskRunner):
    """Processes of this machine that live as long as the run, or the workers of a scheduler.

    Args:
        chosen: How many processes, or the scheduler's address.
    """

    def __init__(self, chosen: int | str) -> None:
        self.chosen = chosen
        self.elsewhere = isinstance(chosen, str)
        self.ready: Future[Any] | None = None
        if isinstance(chosen, str):
            super().__init__(address=chosen, client_kwargs={"timeout": COME})
        else:
            super().__init__(cluster_class=lambda: _local(chosen))

    @functools.cached_property
    def shared(self) -> str | None:
        """What tells the state that workers elsewhere share from others; None where it is none."""
        return mirror.shared_state() if self.elsewhere else None

    def duplicate(self) -> Workers:
        """Another one of the same kind."""
        return Workers(self.chosen)

    def __enter__(self) -> Workers:
        super().__enter__()  # type: ignore[no-untyped-call]
        get_temp_dir()  # of this process: made later it would go with the run's own folder
        return self

    def begin(self) -> None:
        """Start the workers, or reach them, beside what the run does; once.

        A night without fresh data never does.
        """
        if self.ready is None:
            starter = ThreadPoolExecutor(1)
            self.ready = starter.submit(copy_context().run, self._connect)
            starter.shutdown(wait=False)

    def __exit__(self, *error: Any) -> None:
        if self.ready is not None:
            wait([self.ready])
        super().__exit__(*error)

    @property
    def client(self) -> Any:
        """The client, when a first worker has come.

        Raises:
            SettingsError: Where none comes.
        """
        self.begin()
        assert self.ready is not None
        return self.ready.result()

    def _connect(self) -> Any:
        try:
            client = super().client
            client.wait_for_workers(1, timeout=COME)
        except (OSError, distributed.TimeoutError) as error:
            if not self.elsewhere:
                raise
            raise SettingsError(
                f"NIGHTLY_DASK_ADDRESS: {hide(str(self.chosen))} has no worker to give: "
                f"{type(error).__name__}: {error}. Start the scheduler and a worker, and look at "
                "the certificates where the address begins with tls."
            ) from error
        return client

    def count(self) -> int:
        """How many tasks the workers do at a time."""
        return max(1, sum(int(each["nthreads"]) for each in self._infos()))

    def submit(
        self,
        task: Any,
        parameters: dict[str, Any],
        wait_for: Iterable[Any] | None = None,  # noqa: ARG002
        dependencies: Any = None,  # noqa: ARG002
    ) -> Any:
        """Name the task to a worker, with its arguments.

        Raises:
            WorkerError: Where no worker has what the task needs.
        """
        context, number = FlowRunContext.get(), uuid4()
        assert context is not None and context.flow_run is not None
        plain = {name: _plain(value) for name, value in parameters.items()}
        model = next(
            one if name == "model" else one.model
            for name, one in plain.items()
            if name == "model" or hasattr(one, "model")
        )
        sent = Sent(
            module=task.fn.__module__,
            name=task.fn.__qualname__,
            model=model,
            expected=marks_of(load_spec(model)),
            token=_token(),
            shared=self.shared,
            run=context.flow_run.model_dump_json(),
            task_run=number,
            parameters=plain,
        )
        needed = task.needs(plain) if self.elsewhere else {}
        self._look_for(needed, sent.name)
        future = self.client.submit(
            run_sent,
            pickle.dumps(sent),
            key=f"{sent.name}-{number}",
            resources=dict(needed) or None,
            pure=False,
        )
        made: Any = Answer(wrapped_future=future, task_run_id=number)
        made.client, made.what = self.client, sent.name.replace("_", " ")
        made.refill, made.shared = self._refill, self.shared
        return made

    def _refill(self) -> None:
        """Start workers of this machine anew that ended while they were starting."""
        if isinstance(self.chosen, int) and self._cluster is not None:
            self._cluster.scale(self.chosen)

    def _infos(self) -> list[Any]:
        return list(self.client.scheduler_info(n_workers=-1)["workers"].values())

    def _look_for(self, needed: Mapping[str, float], name: str) -> None:
        if needed and not any(
            all(each["resources"].get(one, 0) >= much for one, much in needed.items())
            for each in self._infos()
        ):
            told = " ".join(f"{one}={much:g}" for one, much in needed.items())
            raise WorkerError(
                f"No worker of {hide(str(self.chosen))} has what {name.replace('_', ' ')} needs: "
                f'{told}. Start one with dask worker ... --resources "{told}", or change resources '
                "in the spec."
            )


def _plain(value: Any) -> Any:
    return value.unwrap() if isinstance(value, opaque) else value


def _token() -> str:
    place = settings.ensure_home() / TOKEN
    if not place.is_file():
        write_file(place, secrets.token_hex(16).encode())
    return place.read_text(encoding="utf-8")


def _local(count: int) -> Any:
    """A scheduler in this process and worker processes, which speak TLS with a key of this run.

    Other accounts of this machine can reach their ports, and get nothing from them. The workers
    are forks of one process that has imported the libraries, and nothing that has a state. They do
    not hear Ctrl-C or the end of a terminal: the command does, and ends them.
    """
    resource_tracker.ensure_running()  # it lets the signals through where it starts later
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
    own = {**os.environ, **get_current_settings().to_environment_variables(exclude_unset=True)}
    before = dict(os.environ)
    with dask.config.set(
        {
            "distributed.scheduler.allowed-failures": LIVES - 1,
            "distributed.scheduler.http.routes": [],  # its pages know no password
            "distributed.worker.http.routes": [],
            "distributed.worker.multiprocessing-method": "forkserver",
        }
    ):
        processes: Any = get_mp_context()  # type: ignore[no-untyped-call]
        processes.set_forkserver_preload(list(IMPORTED))
        try:
            return distributed.LocalCluster(  # type: ignore[no-untyped-call]
                n_workers=count,
                threads_per_worker=1,
                memory_limit=0,
                host="127.0.0.1",
                security=True,
                dashboard_address=None,
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                silence_logs=logging.CRITICAL,
                env=own,
            )
        finally:
            _restore(before)
            signal.pthread_sigmask(signal.SIG_SETMASK, heard)


def _restore(before: Mapping[str, str]) -> None:
    """Undo what Dask sets in the environment of this process for that of its workers."""
    for name in {*os.environ} - {*before}:
        del os.environ[name]
    os.environ.update(before)
