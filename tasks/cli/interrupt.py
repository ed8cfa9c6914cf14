"""The end of a command by Ctrl-C or a closed terminal: at once, with one line, and all of it."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

AGAIN = "Run the same command again: it continues where this run stopped and repeats nothing."
SECONDS = 2.0
"""What the processes of a command may take to end after they are told to."""
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
    _end_children()
    with suppress(OSError, ValueError):
        begin = SHOW_CURSOR if sys.stderr.isatty() else ""
        os.write(2, f"{begin}nightly: Interrupted. {AGAIN}\n".encode())
    os._exit(128 + number)


def _end_children() -> None:
    import psutil

    children = psutil.Process().children(recursive=True)
    for child in children:
        with suppress(psutil.Error):
            child.terminate()
    _, alive = psutil.wait_procs(children, timeout=SECONDS)
    for child in alive:
        with suppress(psutil.Error):
            child.kill()
    psutil.wait_procs(alive, timeout=SECONDS)
