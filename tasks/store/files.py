"""Files written atomically, and read with their digest checked."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import settings
from tasks.errors import NightlyError
from tasks.store import records

if TYPE_CHECKING:
    import pandas as pd


log = logging.getLogger("nightly")


class StoreError(NightlyError, RuntimeError):
    """A file cannot be written, or is not what was written."""


class DiskError(StoreError):
    """The disk of this machine failed or is full: it is no fault of what was to be read or written.

    It decides nothing: the step is tried again, and then the run fails.
    """


FAILED = (
    errno.EINTR, errno.EIO, errno.ENOMEM, errno.ENFILE, errno.EMFILE, errno.EFBIG, errno.ENOSPC,
    errno.EROFS, errno.EDQUOT, errno.ESTALE,
)  # fmt: skip
"""Errors of a disk or of the moment, as opposed to those of a file that is missing or forbidden."""
ADVICE = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        "Free some space (df -h), or delete files where their number is bounded (df -i)",
    ),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "Make the folder writable, or set NIGHTLY_HOME"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "Let more files be open (ulimit -n)"),
    **dict.fromkeys(
        (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG),
        "Correct the path in NIGHTLY_HOME",
    ),
    errno.EROFS: "Mount its file system for writing, or set NIGHTLY_HOME",
    errno.EINTR: "A signal came in between: change nothing",
}
"""What to do first about a file that cannot be written, by the error."""


def disk_fault(what: str, error: BaseException | str) -> DiskError | None:
    """The error to raise where another one, or what it says, comes from this machine's disk.

    Args:
        what: What cannot be done, as the start of the message.
        error: What was raised, or what a process said that ended with it.
    """
    cause = None if isinstance(error, str) else error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in FAILED:
            return DiskError(f"{what}: {os.strerror(cause.errno)}. Run the night again.")
        cause = cause.__cause__ or cause.__context__
    said = re.search(rf"\[Errno ({'|'.join(map(str, FAILED))})\]", str(error))
    return DiskError(f"{what}: {os.strerror(int(said[1]))}. Run the night again.") if said else None


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame as Parquet for people, atomically."""
    import io

    sink = io.BytesIO()
    frame.to_parquet(sink, index=False)
    write_file(path, sink.getvalue())


def write_json(path: Path, content: object) -> None:
    """Write indented JSON, atomically."""
    write_file(path, as_json(content))


def as_json(content: object) -> bytes:
    """What ``write_json`` writes."""
    return json.dumps(content, indent=1, ensure_ascii=False).encode()


def read_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_file(path: Path, content: bytes) -> None:
    """Write a file atomically: temporary name, fsync, rename; first record it, where it is shared.

    Raises:
        StoreError: Where the disk is full, read-only or not permitted; names the path.
        LeaseLostError: Where it is shared and the lease of this process has run out.
    """
    with records.written_here(path) as shared:
        if shared:
            records.keep(shared, content)
        write_here(path, content)


def remove(path: Path) -> None:
    """Remove a file, if it is there, also from what machines share.

    Raises:
        LeaseLostError: Where it is shared and the lease of this process has run out.
    """
    with records.written_here(path) as shared:
        if shared and (path.is_file() or path.is_symlink()):
            records.keep(shared, b"", records.GONE)
        path.unlink(missing_ok=True)


def write_here(path: Path, content: bytes) -> None:
    """Write a file atomically on this machine alone.

    Raises:
        StoreError: Where the disk is full, read-only or not permitted; names the path.
    """
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise DiskError(unwritable(path, error)) from error


def point_to(link: Path, target: str) -> None:
    """Point a link at another file of its folder; a reader finds the old file or the new one.

    Raises:
        StoreError: Where the folder cannot be written.
    """
    with records.written_here(link) as shared:
        if shared:
            records.keep(shared, target.encode(), records.LINK)
        link_here(link, target)


def link_here(link: Path, target: str) -> None:
    """``point_to`` on this machine alone."""
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)
        sync_folder(link.parent)
    except OSError as error:
        raise DiskError(unwritable(link, error)) from error


def move(file: Path, place: Path) -> None:
    """Put a file in the place of another; where there is no such file, neither is the other.

    Raises:
        StoreError: Where the folder cannot be written.
    """
    with records.written_here(place) as shared:
        try:
            if shared and file.is_file():
                records.keep(shared, file.read_bytes())
            elif shared and place.is_file():
                records.keep(shared, b"", records.GONE)
            if file.is_file():
                file.replace(place)
            else:
                place.unlink(missing_ok=True)
            sync_folder(place.parent)
        except OSError as error:
            raise DiskError(unwritable(place, error)) from error


def share(path: Path, mode: int, group: int | None) -> None:
    """Let others read a file or a folder; nothing is done where there is none.

    Args:
        path: The file or folder; who may read a folder may also enter it.
        mode: Mode of a file.
        group: Number of its group; None to leave it.

    Raises:
        StoreError: Where the owner is another, or not a member of the group.
    """
    try:
        if group is not None and path.exists():
            os.chown(path, -1, group)
        if path.exists():
            path.chmod(mode | 0o100 | (mode >> 2) & 0o011 if path.is_dir() else mode)
    except OSError as error:
        raise StoreError(
            f"{path} cannot be shared: {error.strerror}. Run the nights as its owner, and make "
            "that account a member of the group NIGHTLY_PREDICTIONS_GROUP."
        ) from error


def root() -> Path:
    return settings.home() / "store"


def unwritable(path: Path | str, error: OSError) -> str:
    """What to say of a file that cannot be written."""
    advice = ADVICE.get(error.errno or 0, "Look at the disk (dmesg), or set NIGHTLY_HOME")
    why = os.strerror(error.errno) if error.errno else str(error)  # pyarrow says it at length
    return f"{path} cannot be written: {why}. {advice}, then run the night again."


def is_whole_here(path: str, sha256: str) -> bool:
    """Whether a file of the store is on this disk and intact."""
    place = root() / path
    try:
        now = place.stat()
        return _digest(place, now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino) == sha256
    except OSError:
        return False


@functools.lru_cache(maxsize=4096)
def _digest(path: Path, *state: int) -> str:
    """Digest of a file; hashed once per process while its ``state`` does not change."""
    del state
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
