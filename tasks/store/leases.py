"""Leases between machines: who may change a model now, with a token that only grows.

A lease runs out by the database's clock where its holder gives no sign of life. Whoever held it
finds out in the transaction in which it writes: its token is not the newest, or its time is over.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from tasks import settings
from tasks.errors import NightlyError
from tasks.store import state_database

if TYPE_CHECKING:
    from sqlalchemy import Connection


log = logging.getLogger("nightly")
_held: list[Lease] = []
TAKE = """
INSERT INTO nightly_leases (name, token, holder, disk, since, expires)
VALUES (%(name)s, 1, %(holder)s, %(disk)s, clock_timestamp(),
        clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (name) DO UPDATE SET
  token = nightly_leases.token + 1, holder = excluded.holder, disk = excluded.disk,
  since = excluded.since, expires = excluded.expires
WHERE nightly_leases.expires <= clock_timestamp() OR nightly_leases.disk = excluded.disk
RETURNING token
"""
RENEW = """
UPDATE nightly_leases SET expires = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE name = %(name)s AND token = %(token)s AND expires > clock_timestamp()
"""
CHECK = """
SELECT token = %(token)s AND expires > clock_timestamp(), holder,
       to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC', token = %(token)s
FROM nightly_leases WHERE name = %(name)s FOR UPDATE
"""
HOLDER = """
SELECT holder, to_char(since AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC'
FROM nightly_leases WHERE name = %(name)s
"""
END = """
UPDATE nightly_leases SET expires = clock_timestamp() WHERE name = %(name)s AND token = %(token)s
"""


class LeaseHeldError(NightlyError, RuntimeError):
    """Another process holds the lease; the message says which."""


class LeaseLostError(NightlyError, RuntimeError):
    """The lease of this process has run out: what it would write now is refused."""

    may_pass = False


@dataclass(frozen=True)
class Lease:
    """A lease that this process has taken.

    Attributes:
        name: Name of the lock.
        token: Its fencing token: larger than that of every earlier holder.
    """

    name: str
    token: int


@contextmanager
def lease(name: str, disk: str, wait: float = 0.0, poll: float = 1.0) -> Iterator[Lease]:
    """Hold a lease between machines; it is renewed while this process lives.

    Args:
        name: Name of the lock.
        disk: What tells this machine's own lock of that name from those of others. Who holds it
            takes the lease at once from an earlier holder of the same: that one is dead.
        wait: Seconds to wait for another holder.
        poll: Seconds between two attempts while waiting.

    Raises:
        LeaseHeldError: Where another machine still holds it; names the process and since when.
        StateOutageError: Where the database does not answer.
    """
    seconds = settings.lease_seconds()
    asked = {
        "name": name,
        "holder": f"process {os.getpid()} on {socket.gethostname()}",
        "disk": disk or uuid4().hex,
        "seconds": seconds,
    }
    give_up, told = time.monotonic() + wait, False
    while (token := state_database.run(lambda c: c.exec_driver_sql(TAKE, asked).scalar())) is None:
        found = state_database.run(lambda c: c.exec_driver_sql(HOLDER, asked).one())
        holder = f"{name} is held by {found[0]} since {found[1]}"
        if time.monotonic() >= give_up:
            raise LeaseHeldError(f"{holder}. Wait for it, or stop it.")
        if not told:
            log.info("wait      %s: this run waits for it", holder)
            told = True
        time.sleep(poll)
    mine, over = Lease(name, token), threading.Event()
    keeper = threading.Thread(target=_renew, args=(mine, seconds, over), daemon=True)
    _held.append(mine)
    keeper.start()
    try:
        yield mine
    finally:
        over.set()
        _held.remove(mine)
        keeper.join(timeout=5)
        with suppress(state_database.StateOutageError):  # then it runs out
            state_database.run(lambda c: c.exec_driver_sql(END, vars(mine)), patience=5)


def check_leases(connection: Connection) -> int | None:
    """Check in a transaction that what this process has taken is still its own, until it commits.

    Returns:
        The token, or None where this process has taken none.

    Raises:
        LeaseLostError: Where a lease has run out; the message says who has it now.
    """
    for mine in _held:
        row = connection.exec_driver_sql(CHECK, vars(mine)).one_or_none()
        if row and row[0]:
            continue
        now = f"{row[1]} has held it since {row[2]}" if row and not row[3] else "it has run out"
        raise LeaseLostError(
            f"This run has lost its lease {mine.name}: {now}, because this process stood still or "
            "did not reach the database. Nothing was changed. Run it again."
        )
    return _held[-1].token if _held else None


def check_now() -> None:
    """``check_leases`` in a transaction of its own, where machines share their state.

    Raises:
        LeaseLostError: Where a lease of this process has run out.
    """
    if _held and settings.state_url():
        state_database.run(check_leases)


def _renew(mine: Lease, seconds: int, over: threading.Event) -> None:
    """Renew a lease until it is over or lost; an outage is tried again."""
    asked = {**vars(mine), "seconds": seconds}
    while not over.wait(seconds / 4):
        with suppress(state_database.StateOutageError):
            kept = state_database.run(lambda c: c.exec_driver_sql(RENEW, asked).rowcount, 0)
            if not kept:
                return
