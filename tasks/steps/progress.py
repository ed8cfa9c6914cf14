"""Progress of a long step: in the log, and as a bar on the run's page in Prefect."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext

from tasks.shown import counted

if TYPE_CHECKING:
    from tasks.features.cleaning import Progress


log = logging.getLogger("nightly")
LONG = 30
"""Number of things from which a step gets a bar."""


def tell_progress(step: str, things: str) -> Progress:
    """A callback for the progress of a step; at most twenty calls are shown.

    Args:
        step: Name of the step in the log.
        things: What is counted, such as ``days``.
    """
    bar: list[UUID] = []
    begun = time.monotonic()

    def tell(done: int, total: int) -> None:
        if done != total and done % max(1, total // 20):
            return
        log.debug(
            "%-9s %d of %d %s", step, done, total, things, extra={"done": done, "total": total}
        )
        if total < LONG or TaskRunContext.get() is None:
            return
        left = time_left(time.monotonic() - begun, done, total)
        share, text = 100 * done / total, f"{step}: {done} of {total} {things}{left}"
        if bar:
            update_progress_artifact(bar[0], progress=share, description=text)
        else:
            made = create_progress_artifact(progress=share, description=text)
            assert isinstance(made, UUID)
            bar.append(made)

    return tell


def time_left(spent: float, done: int, total: int) -> str:
    """``, about 3 minutes left`` where the rest goes as what is done; nothing at the end.

    Args:
        spent: Seconds so far.
        done: Things that are done, at least one.
        total: Things in all.
    """
    if done >= total:
        return ""
    minutes = round(spent / done * (total - done) / 60)
    if minutes < 1:
        return ", less than a minute left"
    return f", about {counted(minutes, 'minute')} left"
