"""Frames of days, stored and found by a key."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tasks.store import arrow_blocks, blobs, records
from tasks.store.file_locks import wait_for
from tasks.store.files import (
    DiskError,
    StoreError,
    is_whole_here,
    root,
    sync_folder,
    unwritable,
    write_file,
)

if TYPE_CHECKING:
    import pandas as pd


log = logging.getLogger("nightly")
INDEX = "index.jsonl"
"""File of each kind with its keys."""
_unpacked: ContextVar[dict[tuple[Any, ...], Any] | None] = ContextVar("unpacked", default=None)
"""The days of ``unpacked_once`` by file, place and columns."""


@dataclass(frozen=True)
class Ref:
    """One day's frame inside a block file.

    Attributes:
        path: Block file, relative to the store.
        sha256: Digest of the whole block file.
        batch: Position of the day in the block.
        rows: Number of rows.
        content: Digest of the day's rows alone; empty where it was not asked for, or was written
            before there was one.
    """

    path: str
    sha256: str
    batch: int
    rows: int
    content: str = ""

    @property
    def mark(self) -> str:
        """What tells its rows from others; by their content, or else by their place."""
        return self.content or f"{self.sha256}:{self.batch}"


@dataclass(frozen=True)
class Part(Ref):
    """Some of one day's rows that lie one below the other; only these are read.

    Attributes:
        start: Position of the first one in the day.
    """

    start: int = 0

    @property
    def mark(self) -> str:
        """What tells its rows from others: the day's mark, and where they lie in it."""
        return f"{super().mark}:{self.start}+{self.rows}"


def write_days(
    kind: str, frames: Mapping[str, pd.DataFrame], *, by_content: bool = False
) -> dict[str, Ref]:
    """Write many days into one block file and make them findable by their keys.

    One file instead of one a day: a first night of a year costs one fsync, not 365.

    Args:
        kind: Folder of the store, such as ``clean``.
        frames: Key to frame, all with the same columns; an index is not kept. Of an unordered
            categorical the values are kept, its unused categories are not.
        by_content: Whether each day's rows get a digest of their own.

    Raises:
        StoreError: Where the disk is full or read-only; nothing half-written stays behind.
        ValueError: Where the frames differ in columns, or in ordered categories.
    """
    if not frames:
        return {}
    content, marks = arrow_blocks.to_block(kind, frames)
    sha256 = hashlib.sha256(content).hexdigest()
    path = f"{kind}/{sha256[:24]}.arrow"
    if not is_whole_here(path, sha256):
        write_file(root() / path, content)
    blobs.put(path, content)
    refs = {
        key: Ref(path, sha256, batch, len(frame), next(marks) if by_content else "")
        for batch, (key, frame) in enumerate(frames.items())
    }
    _append_index(kind, refs)
    return refs


def find_days(kind: str, keys: Sequence[str]) -> dict[str, Ref]:
    """The keys that are in the store and intact; a missing or altered block is a miss."""
    index = read_index(kind)
    found = {key: index[key] for key in keys if key in index}
    whole = {mark: blobs.is_whole(*mark) for mark in {(r.path, r.sha256) for r in found.values()}}
    for path in sorted(path for (path, _), good in whole.items() if not good):
        log.warning("%s is missing or altered: its content is made again", root() / path)
    return {key: ref for key, ref in found.items() if whole[ref.path, ref.sha256]}


def read_days(refs: Sequence[Ref], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The frames of these days, one below the other in the given order.

    A column that some days do not have is missing in their rows. Unordered categoricals come back
    with the categories that occur, sorted: the result depends on the rows alone, not on which days
    share a block.

    Args:
        refs: At least one.
        columns: Only these, in this order; None for all.

    Raises:
        StoreError: Where a block is missing or altered.
        ValueError: Where a wanted column is not there, or the days differ in a column's type or
            ordered categories.
    """
    if not refs:
        raise ValueError("read_days: found no day, expected at least one.")
    batches: dict[tuple[str, int], Any] = {}
    for path, sha256 in dict.fromkeys((ref.path, ref.sha256) for ref in refs):
        if not blobs.is_whole(path, sha256):
            raise StoreError(
                f"{root() / path} is missing or altered. Run the night again: it makes the "
                "content again."
            )
        wanted = list(dict.fromkeys(ref.batch for ref in refs if ref.path == path))
        read = _unpack(root() / path, wanted, columns)
        batches |= {(path, at): batch for at, batch in zip(wanted, read, strict=True)}
    return arrow_blocks.to_frame(
        [_rows(batches[ref.path, ref.batch], ref) for ref in refs], columns
    )


@contextmanager
def unpacked_once() -> Iterator[None]:
    """Meanwhile a day that is read is unpacked once, and stays in memory.

    For who reads many parts of the same days: a day is packed as a whole.
    """
    before = _unpacked.set({})
    try:
        yield
    finally:
        _unpacked.reset(before)


def _unpack(path: Path, batches: Sequence[int], columns: Sequence[str] | None) -> list[Any]:
    known, named = _unpacked.get(), columns if columns is None else tuple(columns)
    if known is None:
        return arrow_blocks.read_block(path, batches, columns)
    new = [at for at in batches if (path, at, named) not in known]
    if new:
        read = arrow_blocks.read_block(path, new, columns)
        known |= {(path, at, named): batch for at, batch in zip(new, read, strict=True)}
    return [known[path, at, named] for at in batches]


def column_types(refs: Sequence[Ref]) -> list[dict[str, str]]:
    """The columns of each of these days, with their types."""
    found = {ref.path: arrow_blocks.column_types(root() / ref.path) for ref in refs}
    return [found[ref.path] for ref in refs]


def _rows(batch: Any, ref: Ref) -> Any:
    return batch.slice(ref.start, ref.rows) if isinstance(ref, Part) else batch


def _append_index(kind: str, refs: Mapping[str, Ref]) -> None:
    text = json.dumps({key: asdict(ref) for key, ref in refs.items()}).encode()
    mark = _check(text)
    if name := records.name_of(root() / kind / f"{INDEX}#{mark.decode()}"):
        records.keep(name, mark + b" " + text + b"\n", records.LINE)
    append_lines(kind, [mark + b" " + text + b"\n"])


def append_lines(kind: str, lines: Sequence[bytes]) -> None:
    """Append whole lines to the index of a kind on this disk.

    Raises:
        StoreError: Where the disk is full or read-only; nothing half-written stays behind.
    """
    path = root() / kind / INDEX
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with path.open("ab+", buffering=0) as file:
            wait_for(file)
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - 1, 0))
            torn = file.read(1) not in (b"", b"\n")
            try:
                _write_all(file, (b"\n" if torn else b"") + b"".join(lines))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise
        if end == 0:
            sync_folder(path.parent)
    except OSError as error:
        raise DiskError(unwritable(path, error)) from error


def _write_all(file: IO[bytes], content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]


def read_lines(kind: str) -> list[bytes]:
    """The lines of the index of a kind on this disk; one may be incomplete."""
    try:
        with (root() / kind / INDEX).open("rb") as file:
            wait_for(file, shared=True)
            return file.read().splitlines()
    except OSError:
        return []


def read_index(kind: str) -> Mapping[str, Ref]:
    """The keys of a kind on this disk; lines that this process has read are not read again."""
    path = root() / kind / INDEX
    known = _KNOWN.get(path, _Known())
    try:
        with path.open("rb") as file:
            wait_for(file, shared=True)
            file.seek(known.end - len(known.last))
            if file.read(len(known.last)) != known.last:  # this is another file
                known = _Known()
                file.seek(0)
            more = file.read()
    except OSError:
        return {}
    whole = more[: more.rfind(b"\n") + 1]
    if whole:
        lines = whole.splitlines(keepends=True)
        refs = {**known.refs, **_refs_of(path, lines)}
        known = _KNOWN[path] = _Known(known.end + len(whole), lines[-1], refs)
    torn = more[len(whole) :]
    return {**known.refs, **_refs_of(path, [torn])} if torn else known.refs


@dataclass(frozen=True)
class _Known:
    """What was read of an index: to which byte, its last line by then, and its keys."""

    end: int = 0
    last: bytes = b""
    refs: Mapping[str, Ref] = field(default_factory=dict)


_KNOWN: dict[Path, _Known] = {}
"""Indexes as this process has read them; a fleet asks for its scores at each partition."""


def _refs_of(path: Path, lines: Sequence[bytes]) -> dict[str, Ref]:
    found: dict[str, Ref] = {}
    for line in map(bytes.rstrip, lines):
        if not is_complete(line):
            log.warning("%s holds an incomplete line: the content it named is made again", path)
            continue
        found |= {key: Ref(**fields) for key, fields in json.loads(line.partition(b" ")[2]).items()}
    return found


def is_complete(line: bytes) -> bool:
    """Whether a line of an index was written to its end."""
    mark, _, text = line.partition(b" ")
    return mark == _check(text)


def _check(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode()
