"""The end of a command by Ctrl-C or a closed terminal: at once, with one line, and all of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from tasks.store.scratch import remove_own

if TYPE_CHECKING:
    import psutil

AGAIN = "Run the same command again: it continues where this run stopped and repeats nothing."
SECONDS = 2.0
"""What the processes of a command may take to end after they are told to."""
PASSES = 3
"""How often processes are looked for: Dask starts workers anew that end."""
SHOW_CURSOR = "\r\x1b[K\x1b[?25h"
"""Removes the progress bar's line, and shows the cursor that the bar has hidden."""


def end_on_interrupt() -> None:
    """From now on Ctrl-C or a closed terminal ends this process and all that it has started.

    As after a kill: whatever a step was about to do is done by the next run of the command. Prefect
    would end its server first, and then ask it for minutes.
    """
    for one in (signal.SIGINT, signal.SIGHUP):
        signal.signal(one, _end)


def _end(number: int, _: object) -> None:
    for one in (signal.SIGINT, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    import psutil

    for _ in range(PASSES):
        end_processes(psutil.Process().children(recursive=True), SECONDS)
    remove_own()
    with suppress(OSError, ValueError):
        begin = SHOW_CURSOR if sys.stderr.isatty() else ""
        os.write(2, f"{begin}nightly: Interrupted. {AGAIN}\n".encode())
    os._exit(128 + number)


def end_processes(tree: Sequence[psutil.Process], seconds: float) -> None:
    """Tell processes to end, in this order, and kill those that live on after so many seconds."""
    import psutil

    for process in tree:
        with suppress(psutil.Error):
            process.terminate()
    _, alive = psutil.wait_procs(tree, timeout=seconds)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=seconds)
