"""Locks by name, between processes of this machine; they are free when their holder dies.

Between machines that share their state a lease is held as well.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from tasks import settings
from tasks.errors import NightlyError
from tasks.store import leases
from tasks.store.file_locks import take
from tasks.store.files import DiskError, unwritable


class LockedError(NightlyError, RuntimeError):
    """Another process holds the lock; the message says which."""


@contextmanager
def lock(name: str, wait: float = 0.0, poll: float = 0.2) -> Iterator[None]:
    """Hold a lock between processes; the kernel frees it when its holder dies.

    Args:
        name: Name of the lock.
        wait: Seconds to wait for another holder.
        poll: Seconds between two attempts while waiting.

    Raises:
        LockedError: Where another process still holds it; names the process and since when.
        StoreError: Where the folder of the locks cannot be written.
    """
    place = settings.ensure_home() / "locks" / f"{name}.lock"
    try:
        place.parent.mkdir(mode=0o700, exist_ok=True)
        file = place.open("a+", encoding="utf-8")
    except OSError as error:
        raise DiskError(unwritable(place, error)) from error
    give_up = time.monotonic() + wait
    with file:
        while not take(file):
            if time.monotonic() >= give_up:
                file.seek(0)
                holder = file.read() or "another process"
                raise LockedError(f"{name} is held by {holder}. Wait for it, or stop it.")
            time.sleep(poll)
        file.truncate(0)
        file.write(f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


@contextmanager
def lock_between_machines(name: str, wait: float = 0.0) -> Iterator[None]:
    """Hold a lock, and its lease where several machines share their state.

    Args:
        name: Name of the lock.
        wait: Seconds to wait for another holder, on this machine and on others.

    Raises:
        LockedError: Where another process of this machine still holds it.
        LeaseHeldError: Where another machine does.
    """
    with lock(name, wait):
        if settings.state_url() is None:
            yield
            return
        with leases.lease(name, _disk(settings.home() / "locks" / f"{name}.lock"), wait):
            yield


def _disk(place: Path) -> str:
    """What only those share whom the kernel lets lock the same file."""
    boot, state = Path("/proc/sys/kernel/random/boot_id"), place.stat()
    running = boot.read_text().strip() if boot.exists() else uuid4().hex
    return f"{running}:{state.st_dev}:{state.st_ino}"
