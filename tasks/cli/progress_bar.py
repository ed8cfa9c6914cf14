"""The progress bar while a night runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tasks.shown import shown

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def shown_progress(verbose: bool) -> Iterator[None]:
    """Show the newest step and a progress bar in a terminal, unless the log is shown."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    console = Console(stderr=True)
    if console.is_terminal and not verbose:
        logger = logging.getLogger("nightly")
        logger.setLevel(logging.DEBUG)
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            logger.addHandler(_BarHandler(bar))
            yield
    else:
        yield


class _BarHandler(logging.Handler):
    """Shows the newest line of the log beside a bar."""

    def __init__(self, bar: Progress) -> None:
        super().__init__()
        self.bar = bar
        self.line = bar.add_task("start", total=None)

    def emit(self, record: logging.LogRecord) -> None:
        self.bar.update(
            self.line,
            description=shown(record.getMessage())[:70],
            completed=getattr(record, "done", 0),
            total=getattr(record, "total", None),
        )
