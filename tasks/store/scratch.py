"""Temporary files: all of a run in one folder, which the next run removes where it was killed."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tasks import settings
from tasks.store import file_locks
from tasks.store.files import DiskError, unwritable

PREFIX = "nightly-run-"
LOCK = "lock"
"""File of the folder that its process holds locked; the kernel frees it, however that dies."""
LEFT = 3600.0
"""Seconds after which a file is written by nobody any more."""
LARGE = ("artifacts", "data")
"""Folders of the state directory in which no file is written under a temporary name."""


@contextmanager
def own_folder() -> Iterator[None]:
    """Let everything this process puts into temporary files go into a folder of its own.

    Libraries and the processes it starts as well. First what killed runs have left is removed.

    Raises:
        StoreError: Where there is no room for temporary files.
    """
    before, named = tempfile.tempdir, os.environ.get("TMPDIR")
    if before and Path(before).name.startswith(PREFIX):
        yield
        return
    try:
        place = Path(tempfile.gettempdir())
        remove_left(place, time.time())
        folder, file = _make(place)
    except OSError as error:
        where = Path(error.filename or named or "the folder for temporary files")
        raise DiskError(unwritable(where, error)) from error
    with file:
        tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before
            os.environ.pop("TMPDIR")
            if named is not None:
                os.environ["TMPDIR"] = named
            _remove(folder)


def remove_own() -> None:
    """Remove the folder of ``own_folder`` where this process ends without leaving it."""
    folder = Path(tempfile.gettempdir())
    if folder.name.startswith(PREFIX):
        _remove(folder)


def remove_left(place: Path, now: float) -> None:
    """Remove temporary folders of killed runs, and files they had half written into the state.

    Args:
        place: Where temporary folders are made.
        now: The current time, in seconds.
    """
    for folder in place.glob(f"{PREFIX}*/"):
        with suppress(OSError):
            found = folder.lstat()  # asked once: another account may put a link in its place
            if found.st_uid == os.geteuid() and stat.S_ISDIR(found.st_mode):
                _remove_if_free(folder)
    home = settings.home()
    for at, folders, names in os.walk(home):
        if Path(at) == home:
            folders[:] = [name for name in folders if name not in LARGE]
        for name in names:
            if name.startswith(".") and name.endswith(".tmp"):
                with suppress(OSError):
                    file = Path(at, name)
                    if now - file.lstat().st_mtime > LEFT:
                        file.unlink()


def _make(place: Path) -> tuple[Path, IO[bytes]]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        with suppress(FileNotFoundError):  # another run has just found it without its lock
            file = (folder / LOCK).open("xb")
            file_locks.wait_for(file)
            if (folder / LOCK).exists():
                return folder, file
            file.close()


def _remove_if_free(folder: Path) -> None:
    try:
        with (folder / LOCK).open("rb") as file:
            if file_locks.take(file):
                _remove(folder)
    except FileNotFoundError:
        folder.rmdir()  # killed before it had a lock, or in the last moment of its removal


def _remove(folder: Path) -> None:
    """Remove a folder, its lock last: killed meanwhile, the next run goes on with it."""
    with suppress(OSError):
        for each in folder.iterdir():
            if each.name == LOCK:
                continue
            if each.is_dir() and not each.is_symlink():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink(missing_ok=True)
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()
