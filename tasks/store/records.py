"""What a night must know of earlier ones, as records in the database that machines share.

A record is a file of the state directory under its name there. The database has the last word: a
file is recorded, in the transaction that checks the lease of this process, before it is written
here. Elsewhere ``tasks.store.mirror`` writes it. Without such a database there are only the files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from tasks import settings
from tasks.store import state_database
from tasks.store.file_locks import wait_for
from tasks.store.leases import check_leases

if TYPE_CHECKING:
    from sqlalchemy import Connection


ROOMS = (
    "columns", "decisions", "fleets", "held", "live", "predictions", "quarantine", "reports",
    "rollbacks", "store/tuned",
)  # fmt: skip
"""Folders of the state directory whose files are shared."""
STORED = re.compile(r"store/(?!tuned/|kept/)\w+/(?:[\w.-]+\.json|index\.jsonl#\w+)")
"""What points at files of the store, shared where these are: keys of models, lines of an index,
nights that are replayed."""
UNPUBLISHED = "next"
"""Folder of predictions that are made and not published: nobody else needs them."""
FILE, LINK, LINE, GONE = "file", "link", "line", "gone"
LOCK = f"SELECT pg_advisory_xact_lock({state_database.ORDER})"
KEEP = """
INSERT INTO nightly_records AS kept (path, kind, body, sha256)
VALUES (%(path)s, %(kind)s, %(body)s, %(sha256)s)
ON CONFLICT (path) DO UPDATE SET
  seq = excluded.seq, kind = excluded.kind, body = excluded.body, sha256 = excluded.sha256
WHERE (kept.kind, kept.sha256) IS DISTINCT FROM (excluded.kind, excluded.sha256)
"""
NEWER = """
SELECT seq, path, kind, sha256 FROM nightly_records WHERE seq > %(seen)s ORDER BY seq
"""
BODY = "SELECT body FROM nightly_records WHERE path = %(path)s AND seq = %(seq)s"


@dataclass(frozen=True)
class Record:
    """A record without its content.

    Attributes:
        seq: Its place in the order in which records were written.
        path: Its name.
        kind: ``FILE``, ``LINK``, ``LINE`` or ``GONE``.
        sha256: Digest of its content: of a file what it holds, of a link where it points.
    """

    seq: int
    path: str
    kind: str
    sha256: str


@contextmanager
def written_here(path: Path) -> Iterator[str | None]:
    """While a file that is shared is recorded and written: its name; None for any other file.

    No other process of this machine writes a shared file meanwhile, so that a file is never older
    than its record.
    """
    name = name_of(path)
    if name is None:
        yield None
        return
    with this_machine():
        yield name


@contextmanager
def this_machine() -> Iterator[None]:
    """Hold the lock of this machine's copies of records."""
    place = settings.ensure_home() / "locks" / "records.lock"
    place.parent.mkdir(mode=0o700, exist_ok=True)
    with place.open("ab") as file:
        wait_for(file)
        yield


def name_of(path: Path) -> str | None:
    """The name of a file's record; None where it is not shared."""
    if settings.state_url() is None or UNPUBLISHED in path.parts:
        return None
    published, home = settings.predictions_folder(), settings.home()
    if path.is_relative_to(published):
        return f"predictions/{path.relative_to(published).as_posix()}"
    name = path.relative_to(home).as_posix() if path.is_relative_to(home) else ""
    return name if _is_shared(name) else None


def place_of(name: str) -> Path:
    """Where the file of a record lies here.

    Raises:
        ValueError: Where it would lie outside of the shared folders.
    """
    parts = PurePosixPath(name).parts
    if ".." in parts or not _is_shared(name):
        raise ValueError(f"The shared state names a file {name!r} outside of its folders.")
    if parts[0] == "predictions":
        return settings.predictions_folder().joinpath(*parts[1:])
    return settings.home().joinpath(*parts)


def _is_shared(name: str) -> bool:
    if STORED.fullmatch(name):
        return settings.store_url() is not None
    return name.startswith(tuple(f"{room}/" for room in ROOMS))


def keep(name: str, content: bytes, kind: str = FILE) -> None:
    """Record what a file holds from now on.

    Args:
        name: From ``name_of``.
        content: What it holds; of a link where it points; of a line of an index the line.
        kind: ``FILE``, ``LINK``, ``LINE`` or ``GONE``.

    Raises:
        LeaseLostError: Where the lease of this process has run out; nothing is recorded.
    """
    digest = hashlib.sha256(content).hexdigest()
    asked = {"path": name, "kind": kind, "body": content, "sha256": digest}

    def write(connection: Connection) -> None:
        check_leases(connection)
        connection.exec_driver_sql(LOCK)
        connection.exec_driver_sql(KEEP, asked)

    state_database.run(write)


def newer(seen: int, patience: float = state_database.PATIENCE) -> list[Record]:
    """The records written since, in their order.

    Args:
        seen: The last number that is known here.
        patience: Seconds for which a database that does not answer is asked again.
    """
    asked = {"seen": seen}
    rows = state_database.run(lambda c: c.exec_driver_sql(NEWER, asked).all(), patience)
    return [Record(*row) for row in rows]


def read_body(record: Record) -> bytes | None:
    """What a record holds; None where it has been written anew since.

    Raises:
        ValueError: Where it is not what its digest says.
    """
    asked = {"path": record.path, "seq": record.seq}
    found = state_database.run(lambda c: c.exec_driver_sql(BODY, asked).scalar())
    if found is not None and hashlib.sha256(found).hexdigest() != record.sha256:
        raise ValueError(f"The record {record.path} of the shared state was altered.")
    return found
