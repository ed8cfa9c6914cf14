"""Where the parts of a run go that can go side by side: threads, or the workers of Dask."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from prefect.context import FlowRunContext
from prefect.task_runners import ThreadPoolTaskRunner

from tasks import settings

if TYPE_CHECKING:
    from prefect import Task

    from tasks.steps.dask_runner import Workers

T = TypeVar("T")
log = logging.getLogger("nightly")
EACH = 2
"""Parts for each worker: the last one to end keeps the others waiting for less."""


class ChosenRunner(ThreadPoolTaskRunner[Any]):
    """Two threads, or the workers that the environment names when the run begins.

    Prefect asks the runner of a flow for another one of its kind at the start of each run.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=2)

    def duplicate(self) -> Any:
        """The runner of one run."""
        chosen = settings.workers()
        if chosen is None:
            return ThreadPoolTaskRunner(max_workers=self._max_workers)
        from tasks.steps.dask_runner import Workers

        return Workers(chosen)


def spread(task: Task[..., Any], things: Sequence[T], *given: Any) -> bool:
    """Let workers do a task for parts of these things, and wait for them; their results are in the
    store.

    Nothing is done where there are no workers. A part that fails is left to the caller, who does
    it again and meets the same error.

    Args:
        task: Takes the arguments in ``given``, and some of the things.
        things: In their order; neighbours go together.
        given: Its other arguments.

    Returns:
        Whether workers were asked.

    Raises:
        WorkerError: Where a worker cannot take part.
    """
    workers = _workers()
    if workers is None or len(things) < 2:
        return False
    futures = [task.submit(*given, part) for part in parts(things, EACH * workers.count())]
    for future in futures:
        found: Any = future.result(raise_on_failure=False)
        if isinstance(found, Exception):
            log.debug("workers   a part failed and is done here: %s", found)
    return True


def parts(things: Sequence[T], count: int) -> list[Sequence[T]]:
    """At most so many parts of about one length, of neighbours."""
    count = max(1, min(count, len(things)))
    bounds = [round(at * len(things) / count) for at in range(count + 1)]
    return [things[begin:end] for begin, end in itertools.pairwise(bounds)]


def has_workers() -> bool:
    """Whether this run has workers; from now on they start beside it."""
    workers = _workers()
    if workers is not None:
        workers.begin()
    return workers is not None


def largest(needs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """What a worker must have that does one after the other."""
    found: dict[str, float] = {}
    for each in needs:
        found |= {name: max(much, found.get(name, 0)) for name, much in each.items()}
    return found


def on_workers(resources: Mapping[str, float]) -> bool:
    """Whether a task that needs these must be sent to a worker that has them."""
    workers = _workers()
    return bool(resources) and workers is not None and workers.elsewhere


def _workers() -> Workers | None:
    context = FlowRunContext.get()
    runner: Any = context.task_runner if context else None
    return runner if hasattr(runner, "elsewhere") else None
