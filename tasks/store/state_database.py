"""The PostgreSQL database in which machines keep the state that they share."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from tasks import settings
from tasks.errors import NightlyError
from tasks.shown import hide
from tasks.store.database import AddressError, open_engine, parse_url, secrets_of

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


T = TypeVar("T")
PATIENCE = 60.0
"""Seconds in which a database that is restarted must answer again."""
AGAIN = 0.5
"""Seconds between two attempts."""
OPTIONS = "-c lock_timeout=60s -c statement_timeout=300s -c idle_in_transaction_session_timeout=15s"
"""A process that is stopped within a transaction must not keep others waiting."""
REFUSED = re.compile(
    r"password authentication failed|no password supplied|does not exist|pg_hba\\.conf"
    r"|is not permitted|permission denied|resolve|invalid"
)
"""What the driver says of a wrong setting, as opposed to an outage."""
TABLES = """
CREATE TABLE IF NOT EXISTS nightly_leases (
  name text PRIMARY KEY, token bigint NOT NULL, holder text NOT NULL, disk text NOT NULL,
  since timestamptz NOT NULL, expires timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS nightly_changes (
  number bigserial PRIMARY KEY, model text NOT NULL, change text NOT NULL, token bigint,
  begun timestamptz NOT NULL DEFAULT clock_timestamp(), closed timestamptz);
CREATE UNIQUE INDEX IF NOT EXISTS nightly_changes_open ON nightly_changes (model)
  WHERE closed IS NULL;
CREATE TABLE IF NOT EXISTS nightly_records (
  path text PRIMARY KEY, seq bigserial NOT NULL UNIQUE, kind text NOT NULL, body bytea NOT NULL,
  sha256 text NOT NULL);
CREATE TABLE IF NOT EXISTS nightly_facts (name text PRIMARY KEY, value text NOT NULL);
INSERT INTO nightly_facts VALUES ('database', gen_random_uuid()::text) ON CONFLICT DO NOTHING
"""
ORDER = 6_158_243
"""Number of the lock under which records are written: their order is that of their numbers."""


class StateOutageError(NightlyError, RuntimeError):
    """The database of the shared state does not answer."""


def run(work: Callable[[Connection], T], patience: float = PATIENCE) -> T:
    """Do work in one transaction of the shared database, again where the connection breaks.

    Args:
        work: What to do; where an answer is lost it is done twice, so it must allow that.
        patience: Seconds for which a database that does not answer is asked again.

    Raises:
        StateOutageError: Where it still does not.
        SettingsError: Where the address or its login is wrong.
    """
    from sqlalchemy.exc import DBAPIError

    url = settings.state_url()
    assert url, "NIGHTLY_STATE_URL is not set"
    give_up = time.monotonic() + patience
    while True:
        try:
            with _engine(url).begin() as connection:
                return work(connection)
        except DBAPIError as error:
            fault = _fault(error, url)
            if fault is None:
                raise
            if isinstance(fault, settings.SettingsError) or time.monotonic() >= give_up:
                raise fault from None
        time.sleep(AGAIN)


def first_fact(name: str, value: str) -> str:
    """What the first machine said of something on which all that share the state must agree.

    Args:
        name: Name of the fact.
        value: What this machine says; kept where it is the first.
    """
    asked = {"name": name, "value": value}

    def agree(connection: Connection) -> str:
        connection.exec_driver_sql(
            "INSERT INTO nightly_facts VALUES (%(name)s, %(value)s) ON CONFLICT DO NOTHING", asked
        )
        found = connection.exec_driver_sql(
            "SELECT value FROM nightly_facts WHERE name = %(name)s", asked
        )
        return str(found.scalar_one())

    return run(agree)


def forget_fact(name: str) -> None:
    """Let the next machine say anew what all have to agree on."""
    asked = {"name": name}
    run(
        lambda c: c.exec_driver_sql(
            "DELETE FROM nightly_facts WHERE name = %(name)s", asked
        ).close()
    )


@functools.cache
def _engine(url: str) -> Engine:
    """The engine of an address, once its tables are there."""
    try:
        address = parse_url(url)
        alive = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5}
        engine = open_engine(address, connect_timeout=10, options=OPTIONS, **alive)
    except AddressError as error:
        raise settings.SettingsError(
            f"NIGHTLY_STATE_URL: {error}. Expected an address such as "
            "postgresql://user:password@host/nightly; its driver: pip install -e '.[postgres]'"
        ) from None
    with engine.begin() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({ORDER})")
        for statement in TABLES.split(";"):
            connection.exec_driver_sql(statement)
    return engine


def _fault(error: Exception, url: str) -> NightlyError | None:
    """The error to raise for one of the driver; None where it is a fault of the code."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    cause = getattr(error, "orig", None) or error
    said = " ".join(str(cause).split())
    broken = bool(getattr(error, "connection_invalidated", False))
    forbidden = getattr(cause, "sqlstate", None) == "42501"
    if not (broken or forbidden or isinstance(error, OperationalError | InterfaceError)):
        return None
    address = parse_url(url)
    shown = hide(said, secrets_of(address)).rstrip(".")
    if forbidden or (REFUSED.search(said) and not broken):
        return settings.SettingsError(
            f"NIGHTLY_STATE_URL: the database {address} cannot be used: {shown}. Correct the "
            "address, or what its login may do: it creates the tables nightly_* and writes them."
        )
    return StateOutageError(
        f"The database of the shared state, {address}, does not answer: {shown}. Start it, or "
        "correct NIGHTLY_STATE_URL; then run this again, nothing is lost."
    )
