"""Progress of a long step: in the log, and as a bar on the run's page in Prefect."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.context import TaskRunContext

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

    def tell(done: int, total: int) -> None:
        if done != total and done % max(1, total // 20):
            return
        log.debug(
            "%-9s %d of %d %s", step, done, total, things, extra={"done": done, "total": total}
        )
        if total < LONG or TaskRunContext.get() is None:
            return
        share, text = 100 * done / total, f"{step}: {done} of {total} {things}"
        if bar:
            update_progress_artifact(bar[0], progress=share, description=text)
        else:
            made = create_progress_artifact(progress=share, description=text)
            assert isinstance(made, UUID)
            bar.append(made)

    return tell
