"""The only room that writes data files: atomic, content-addressed, verified when read."""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tasks import arrow, settings
from tasks.trust import untrusted_types, way_out

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("nightly")


class StoreError(RuntimeError):
    """A file cannot be written, or is not what was written."""


class TypesError(StoreError):
    """A model holds what is not trusted, or what cannot be stored without pickle."""


class LockedError(RuntimeError):
    """Another process holds the lock; the message says which."""


@dataclass(frozen=True)
class Ref:
    """One day's frame inside a block file.

    Attributes:
        path: Block file, relative to the store.
        sha256: Digest of the whole block file.
        batch: Position of the day in the block.
        rows: Number of rows.
    """

    path: str
    sha256: str
    batch: int
    rows: int


def write_days(kind: str, frames: Mapping[str, pd.DataFrame]) -> dict[str, Ref]:
    """Write many days into one block file and make them findable by their keys.

    One file instead of one a day: a first night of a year costs one fsync, not 365.

    Args:
        kind: Folder of the store, such as ``clean``.
        frames: Key to frame, all with the same columns; an index is not kept. Of an unordered
            categorical the values are kept, its unused categories are not.

    Raises:
        StoreError: Where the disk is full or read-only; nothing half-written stays behind.
        ValueError: Where the frames differ in columns, or in ordered categories.
    """
    if not frames:
        return {}
    content = arrow.to_block(kind, frames)
    sha256 = hashlib.sha256(content).hexdigest()
    path = f"{kind}/{sha256[:24]}.arrow"
    if not _is_whole(path, sha256):
        write_file(_root() / path, content)
    refs = {
        key: Ref(path, sha256, batch, len(frame))
        for batch, (key, frame) in enumerate(frames.items())
    }
    _append_index(kind, refs)
    return refs


def find_days(kind: str, keys: Sequence[str]) -> dict[str, Ref]:
    """The keys that are in the store and whole; a missing or altered block is a miss."""
    index = _read_index(kind)
    found = {key: index[key] for key in keys if key in index}
    whole = {mark: _is_whole(*mark) for mark in {(r.path, r.sha256) for r in found.values()}}
    for path in sorted(path for (path, _), good in whole.items() if not good):
        log.warning("%s is missing or altered: what it held is made again", _root() / path)
    return {key: ref for key, ref in found.items() if whole[ref.path, ref.sha256]}


def read_days(refs: Sequence[Ref], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The frames of these days, one below the other in the given order.

    Unordered categoricals come back with the categories that occur, sorted: the result depends on
    the rows alone, not on which days share a block.

    Args:
        refs: At least one.
        columns: Only these, in this order; None for all.

    Raises:
        StoreError: Where a block is missing or not what was written.
        ValueError: Where a column is not there, or the days differ in ordered categories.
    """
    if not refs:
        raise ValueError("read_days: found no day, expected at least one.")
    batches: dict[Ref, Any] = {}
    for path, sha256 in dict.fromkeys((ref.path, ref.sha256) for ref in refs):
        if not _is_whole(path, sha256):
            raise StoreError(f"{_root() / path} is missing or altered; run the night again.")
        wanted = list(dict.fromkeys(ref for ref in refs if ref.path == path))
        read = arrow.read_block(_root() / path, [ref.batch for ref in wanted], columns)
        batches |= dict(zip(wanted, read, strict=True))
    return arrow.to_frame([batches[ref] for ref in refs], columns)


def write_model(kind: str, key: str, estimator: Any, trusted: Sequence[str]) -> None:
    """Store a fitted estimator without pickle, and make it findable by its key.

    The bytes of one fitted object differ at each dump, so the file is named by its content and the
    key points at it: killed between the two, the key still points at what was whole before.

    Raises:
        TypesError: Where it holds a type that could not be loaded again; nothing is written.
    """
    content = model_content(estimator, trusted)
    digest = hashlib.sha256(content).hexdigest()
    name = f"{digest[:24]}.skops"
    write_file(_root() / kind / name, content)
    write_json(_root() / kind / f"{key}.json", {"file": name, "sha256": digest})


def model_content(estimator: Any, trusted: Sequence[str]) -> bytes:
    """A fitted estimator as the store keeps it.

    Raises:
        TypesError: Where it could not be loaded again, with the way out.
    """
    import skops.io

    try:
        content: bytes = skops.io.dumps(estimator)
    except Exception as error:
        raise TypesError(
            f"It cannot be stored without pickle: {type(error).__name__}: {error}. Leave out the "
            "part that holds it, or use another estimator."
        ) from error
    unknown = untrusted_types(content, trusted)
    if unknown:
        raise TypesError(way_out(unknown))
    return content


def has_model(kind: str, key: str) -> bool:
    """Whether a model is in the store and whole."""
    try:
        path, sha256 = model_file(kind, key)
    except StoreError:
        return False
    whole = _is_whole(f"{kind}/{path.name}", sha256)
    if not whole:
        log.warning("%s is missing or altered: the model is fitted again", path)
    return whole


def model_file(kind: str, key: str) -> tuple[Path, str]:
    """File and digest of a stored model.

    Raises:
        StoreError: Where there is none.
    """
    record = _root() / kind / f"{key}.json"
    try:
        found = read_json(record)
        return _root() / kind / Path(found["file"]).name, str(found["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"There is no model {key} in {record.parent}.") from error


def read_model(kind: str, key: str, trusted: Sequence[str]) -> Any:
    """A stored model, built only from trusted types.

    Raises:
        StoreError: Where it is missing, altered, or holds another type.
    """
    return load_model(*model_file(kind, key), trusted)


def load_model(path: Path, sha256: str, trusted: Sequence[str]) -> Any:
    """A model from a file, its digest checked, built only from trusted types.

    Raises:
        StoreError: Where the file is missing, altered, or holds another type.
    """
    content = _read_file(path)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise StoreError(f"Model file {path} was altered: digest {found}, expected {sha256}.")
    return build_model(content, trusted, f"Model file {path}")


def load_checked_model(path: Path, trusted: Sequence[str]) -> Any:
    """A model from a file of a package whose digest was checked, built only from trusted types.

    Raises:
        StoreError: Where the file is missing, or holds another type.
    """
    return build_model(_read_file(path), trusted, f"Model file {path}")


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"Model file {path} cannot be read: {error.strerror}.") from error


def build_model(content: bytes, trusted: Sequence[str], where: str) -> Any:
    """The model that ``model_content`` gave, built only from trusted types.

    Args:
        content: What was stored.
        trusted: Types it may hold.
        where: What it is, for a message.

    Raises:
        TypesError: Where it holds another type, or does not come back.
    """
    import skops.io

    unknown = untrusted_types(content, trusted)
    if unknown:
        raise TypesError(f"{where}: {way_out(unknown)}")
    try:
        return skops.io.loads(content, trusted=list(trusted))
    except Exception as error:
        raise TypesError(
            f"{where} cannot be built again: {type(error).__name__}: {error}."
        ) from error


def clean_up(keep: Mapping[str, Collection[str]], max_bytes: int) -> list[Path]:
    """Remove the oldest files of the store until it fits; what is to be kept always stays.

    Hold the lock of every writer, or a file written a moment ago may go before its key is used.

    Args:
        keep: Kind to the keys that must stay, such as those of the champion and of a rollback.
        max_bytes: Size the store should not pass.

    Returns:
        The removed files. A key whose file is gone is a miss, and its content is made again.
    """
    kept = {
        _root() / ref.path
        for kind, keys in keep.items()
        for key, ref in _read_index(kind).items()
        if key in keys
    }
    for kind, keys in keep.items():
        for key in keys:
            with suppress(StoreError):
                kept.add(model_file(kind, key)[0])
    files = sorted(
        ((p.stat(), p) for p in _root().glob("*/*") if p.suffix in (".arrow", ".skops")),
        key=lambda found: found[0].st_mtime_ns,
    )
    size = sum(state.st_size for state, _ in files)
    removed = []
    for state, path in files:
        if size <= max_bytes:
            break
        if path not in kept:
            path.unlink(missing_ok=True)
            size -= state.st_size
            removed.append(path)
    return removed


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame that people read, atomically."""
    import io

    sink = io.BytesIO()
    frame.to_parquet(sink, index=False)
    write_file(path, sink.getvalue())


def write_json(path: Path, content: object) -> None:
    """Write indented JSON, atomically."""
    write_file(path, json.dumps(content, indent=1, ensure_ascii=False).encode())


def read_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: temporary name, fsync, rename.

    Raises:
        StoreError: Where the disk is full, read-only or closed to us, naming the path.
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
        _sync_folder(path.parent)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise StoreError(_unwritable(path, error)) from error


def point_to(link: Path, target: str) -> None:
    """Make a link point at another file of its folder; a reader finds the old one or the new one.

    Raises:
        StoreError: Where the folder cannot be written.
    """
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)
        _sync_folder(link.parent)
    except OSError as error:
        raise StoreError(_unwritable(link, error)) from error


@contextmanager
def lock(name: str, wait: float = 0.0, poll: float = 0.2) -> Iterator[None]:
    """Hold a lock between processes; the kernel frees it when its holder dies.

    Args:
        name: Name of the lock.
        wait: Seconds to wait for another holder.
        poll: Seconds between two looks while waiting.

    Raises:
        LockedError: Where another process still holds it then; says which, and since when.
        StoreError: Where the folder of the locks cannot be written.
    """
    place = settings.ensure_home() / "locks" / f"{name}.lock"
    try:
        place.parent.mkdir(mode=0o700, exist_ok=True)
        file = place.open("a+", encoding="utf-8")
    except OSError as error:
        raise StoreError(_unwritable(place, error)) from error
    give_up = time.monotonic() + wait
    with file:
        while not _taken(file):
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


def _root() -> Path:
    return settings.home() / "store"


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unwritable(path: Path, error: OSError) -> str:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = "Free some space" if full else "Make the folder writable, or set NIGHTLY_HOME"
    return f"{path} cannot be written: {error.strerror}. {advice}, then run the night again."


def _append_index(kind: str, refs: Mapping[str, Ref]) -> None:
    text = json.dumps({key: asdict(ref) for key, ref in refs.items()}).encode()
    path = _root() / kind / "index.jsonl"
    try:
        with path.open("ab+", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - 1, 0))
            torn = file.read(1) not in (b"", b"\n")
            try:
                _write_all(file, (b"\n" if torn else b"") + _check(text) + b" " + text + b"\n")
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise
        if end == 0:
            _sync_folder(path.parent)
    except OSError as error:
        raise StoreError(_unwritable(path, error)) from error


def _write_all(file: IO[bytes], content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def _read_index(kind: str) -> dict[str, Ref]:
    path = _root() / kind / "index.jsonl"
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            lines = file.read().splitlines()
    except OSError:
        return {}
    found: dict[str, Ref] = {}
    for line in lines:
        mark, _, text = line.partition(b" ")
        if mark != _check(text):
            log.warning("%s holds a line that is not whole: what it named is made again", path)
            continue
        found |= {key: Ref(**fields) for key, fields in json.loads(text).items()}
    return found


def _check(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode()


def _is_whole(path: str, sha256: str) -> bool:
    place = _root() / path
    try:
        now = place.stat()
        return _digest(place, now.st_size, now.st_mtime_ns, now.st_ctime_ns, now.st_ino) == sha256
    except OSError:
        return False


@functools.lru_cache(maxsize=4096)
def _digest(path: Path, *state: int) -> str:
    """Digest of a file; one whose ``state`` has not changed is hashed once a process."""
    del state
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
