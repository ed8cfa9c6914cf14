"""The kernel's locks of open files; it frees them when their holder dies."""

from __future__ import annotations

import fcntl
from contextlib import suppress
from pathlib import Path
from typing import IO, Any


def wait_for(file: IO[bytes], *, shared: bool = False) -> None:
    """Lock a file that several processes write or read, until it is closed.

    Args:
        file: Open; every process that writes or reads it calls this first.
        shared: To read beside other readers.
    """
    fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def is_held(place: Path) -> bool:
    """Whether a process holds the lock in this file; a file that is gone is held by nobody."""
    with suppress(FileNotFoundError), place.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def take(file: IO[Any]) -> bool:
    """Lock an open file, unless another process holds it; whether it was free."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
