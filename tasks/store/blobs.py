"""Write-once files of the store under an address that machines share, with a copy on this disk.

A file is named by its content, so a copy is either what its digest says or is fetched again, and a
second writer writes the same. Nothing is renamed, appended or linked there: on S3 a file is put
with ``If-None-Match: *``.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tasks import settings
from tasks.shown import hide
from tasks.store.files import DiskError, is_whole_here, root, write_here

T = TypeVar("T")
log = logging.getLogger("nightly")
PAUSES = (0.3, 1.0, 3.0)
"""Seconds to wait before the further attempts."""
WRONG = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket")
"""What an object store says of a wrong setting."""


class AddressOutageError(DiskError):
    """The store under the shared address does not answer."""


def is_whole(path: str, sha256: str) -> bool:
    """Whether a file of the store is here and intact; one that is not is fetched.

    Args:
        path: Relative to the store.
        sha256: Its digest.
    """
    return is_whole_here(path, sha256) or (fetch(path, sha256) and is_whole_here(path, sha256))


def fetch(path: str, sha256: str) -> bool:
    """Bring a file here from the shared address, if it is there and intact; whether it was.

    Raises:
        AddressOutageError: Where the address does not answer.
        SettingsError: Where it cannot be used.
    """
    if settings.store_url() is None:
        return False
    files, folder = _address(settings.store_url() or "")
    content = _tried(path, lambda: _read(files, f"{folder}/{path}"))
    if content is None:
        return False
    if hashlib.sha256(content).hexdigest() != sha256:
        log.warning("%s was altered under the shared address: it is made again", path)
        return False
    write_here(root() / path, content)
    return True


def put(path: str, content: bytes) -> None:
    """Put a file of the store under the shared address, unless it is there.

    Args:
        path: Relative to the store; named by its content.
        content: What it holds.

    Raises:
        AddressOutageError: Where the address does not answer.
        SettingsError: Where it cannot be written.
    """
    if settings.store_url() is None:
        return
    files, folder = _address(settings.store_url() or "")
    _tried(path, lambda: _write(files, f"{folder}/{path}", content))


def put_folder(place: Path, name: str) -> int:
    """Put every file of a folder under the shared address; how many there are.

    Args:
        place: The folder.
        name: Name of the folder there.
    """
    files, folder = _address(settings.store_url() or "")
    found = [each for each in sorted(place.rglob("*")) if each.is_file()]
    for each in found:
        there = f"{folder}/{name}/{each.relative_to(place).as_posix()}"
        _tried(name, functools.partial(_overwrite, files, there, each.read_bytes()))
    return len(found)


def fetch_folder(name: str, place: Path) -> int:
    """Bring every file of a folder under the shared address here; how many there are.

    Args:
        name: Name of the folder there.
        place: The folder here.
    """
    files, folder = _address(settings.store_url() or "")
    files.invalidate_cache()
    found: list[str] = _tried(name, lambda: files.find(f"{folder}/{name}"))
    for each in found:
        content = _tried(name, functools.partial(_read, files, each))
        if content is not None:
            write_here(place / each.removeprefix(f"{folder}/{name}/"), content)
    return len(found)


def _overwrite(files: Any, place: str, content: bytes) -> None:
    if "file" in files.protocol:
        files.makedirs(files._parent(place), exist_ok=True)
    files.pipe_file(place, content)


def check_address() -> None:
    """Write a small file under the shared address, where there is one.

    Raises:
        AddressOutageError: Where it does not answer.
        SettingsError: Where it cannot be used.
    """
    if settings.store_url():
        name = socket.gethostname().encode()
        put(f"machines/{hashlib.sha256(name).hexdigest()[:16]}", name)


def _read(files: Any, place: str) -> bytes | None:
    """What lies there; None where nothing does, also a moment later."""
    for pause in (*PAUSES[:1], None):
        try:
            return bytes(files.cat_file(place))
        except FileNotFoundError:
            if pause is None:
                return None
        time.sleep(pause)
    return None


def _write(files: Any, place: str, content: bytes) -> None:
    if "file" in files.protocol:
        files.makedirs(files._parent(place), exist_ok=True)
    try:
        if "file" in files.protocol:  # its own way looks first and writes then
            with files.open(place, "xb") as file:
                file.write(content)
        else:
            files.pipe_file(place, content, mode="create")
    except FileExistsError:
        files.invalidate_cache(files._parent(place))
        if _size(files, place) != len(content):  # its writer was killed in between
            files.pipe_file(place, content)


def _size(files: Any, place: str) -> int:
    try:
        return int(files.info(place)["size"])
    except FileNotFoundError as error:  # it has just been said to be there
        raise ConnectionError(f"{place} is there and cannot be found") from error


def _tried(path: str, work: Callable[[], T]) -> T:
    """Do work under the address, again where it fails in a way that may pass."""
    url = hide(settings.store_url() or "")
    for pause in (*PAUSES, None):
        try:
            return work()
        except Exception as error:
            said = " ".join(f"{type(error).__name__}: {error}".split())
            wrong = isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError)
            if wrong or any(word in said for word in WRONG) or "NoCredentials" in said:
                raise settings.SettingsError(
                    f"NIGHTLY_STORE_URL: {url} cannot be written or read: {hide(said)}. Correct "
                    "the address, or what its login may do."
                ) from error
            if pause is None:
                raise AddressOutageError(
                    f"The shared store {url} does not answer for {path}: {hide(said)}. Run the "
                    "night again when it does; nothing is lost."
                ) from error
        time.sleep(pause)
    raise AssertionError("unreachable")


@functools.cache
def _address(url: str) -> tuple[Any, str]:
    """Access to an address, and the folder of this store there."""
    import fsspec

    try:
        files, folder = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise settings.SettingsError(
            f"NIGHTLY_STORE_URL: found {hide(url)!r}, expected an address such as "
            f"file:///shared/nightly or s3://bucket/prefix: {error}. For S3: "
            "pip install -e '.[s3]'"
        ) from None
    return files, folder.rstrip("/")
