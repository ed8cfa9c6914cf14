"""A database connection for a source: read only, with time limits, secrets never shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tasks import settings
from tasks.shown import hide
from tasks.sources.base import SourceError, SourceOutageError, SourceSettingsError
from tasks.sources.locations import filled
from tasks.store.database import AddressError, open_engine, parse_url, secrets_of

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine


CONNECT_SECONDS = 15
LOCK_SECONDS = 60
STATEMENT_SECONDS = 3600
POSTGRES = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
}
"""Settings that PostgreSQL's text of a value depends on; fixed for stable checksums."""
WRONG_SETTINGS = {
    "28000": "login",
    "28P01": "login",
    "3D000": "database",
    "42501": "right",
    "42601": "query",
    "42703": "column",
    "42P01": "table",
    "3F000": "table",
}
"""SQLSTATE to the setting that a person must correct."""
REFUSED = re.compile(
    r"password authentication failed|no password supplied|does not exist|pg_hba\.conf"
    r"|no such (table|column)|syntax error|one statement|unable to open database file"
    r"|role .* is not permitted"
)
"""Driver messages, without a SQLSTATE, that mean a wrong setting."""


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """A connection that can only read, in one transaction.

    Args:
        url: SQLAlchemy URL of PostgreSQL or SQLite; each ``${NAME}`` is taken from the environment.

    Raises:
        SourceSettingsError: Where address, login, table or column are wrong.
        SourceOutageError: Where the database does not answer, is locked, or the connection breaks.
        SourceError: Where the data cannot be read.
    """
    from sqlalchemy.exc import SQLAlchemyError

    engine = _engine(url)
    try:
        with engine.connect() as connection:
            _prepare(connection)
            yield connection
    except SQLAlchemyError as error:
        raise _in_words(error, url, engine.url) from None
    finally:
        engine.dispose()


def _engine(url: str) -> Engine:
    try:
        address = parse_url(_filled_url(url))
        address = _existing_file(address) if address.get_backend_name() == "sqlite" else address
        return open_engine(address, **_limits(address))
    except AddressError as error:
        raise SourceSettingsError(
            f"{url}: cannot be used: {error}. Expected an SQLAlchemy URL such as "
            "postgresql://user:${PASSWORD}@host/database or sqlite:////path/to/file.db; for "
            "PostgreSQL: pip install -e '.[postgres]'"
        ) from None


def _filled_url(url: str) -> str:
    """The URL with its variables filled in; login and password may hold any character."""
    if re.fullmatch(r"\$\{\w+\}", url):
        return filled(url)
    login, at, place = url.rpartition("@")
    names = re.findall(r"\$\{\w+\}", login)
    for name in names:
        login = login.replace(name, quote(filled(name), safe=""))
    return login + at + filled(place)


def _existing_file(address: URL) -> URL:
    """Check that the database file exists, because SQLite would create it."""
    name = address.database or ""
    if not name or name == ":memory:" or name.startswith("file:"):
        raise SourceSettingsError(
            f"{address}: found no file name; expected an address such as "
            "sqlite:////path/to/file.db."
        )
    place = settings.PROJECT / Path(name).expanduser()
    if not place.is_file():
        raise SourceSettingsError(
            f"{address}: found no such file as {place}; expected an SQLite database. Correct the "
            "url in the model's source; an absolute path has four slashes."
        )
    return address.set(database=str(place))


def _limits(address: URL) -> dict[str, Any]:
    """How long a driver may wait, and how it notices a dead connection."""
    if address.get_backend_name() == "sqlite":
        return {"timeout": LOCK_SECONDS}
    if address.get_backend_name() == "postgresql":
        alive = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10}
        return {"connect_timeout": CONNECT_SECONDS, "keepalives_count": 3, **alive}
    raise SourceSettingsError(
        f"SqlDays: found {address.get_backend_name()}; expected postgresql or sqlite. Read other "
        "databases with your own functions through DataFrameDays."
    )


def _prepare(connection: Connection) -> None:
    """Make this transaction read only, with time limits."""
    import sqlalchemy as sql

    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
        return
    _read_infinity(connection)
    connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    limits = {"lock_timeout": LOCK_SECONDS, "statement_timeout": STATEMENT_SECONDS}
    values = POSTGRES | {name: f"{seconds}s" for name, seconds in limits.items()}
    connection.execute(
        sql.select(*(sql.func.set_config(name, value, True) for name, value in values.items()))
    )


def _read_infinity(connection: Connection) -> None:
    """Let psycopg read times that Python has not: infinite ones as the ends of Python's range.

    Others, of years that Python does not have, come as the text that the database says; so do times
    of day with an offset, which a column of times would lose.
    """
    from psycopg import DataError
    from psycopg.types import datetime as times
    from psycopg.types.string import TextLoader

    first = datetime.min.replace(tzinfo=UTC)
    last = datetime.max.replace(tzinfo=UTC)
    plain = first.replace(tzinfo=None), last.replace(tzinfo=None)
    kinds: dict[str, tuple[type[Any], Any, Any]] = {
        "date": (times.DateLoader, first.date(), last.date()),
        "timestamp": (times.TimestampLoader, *plain),
        "timestamptz": (times.TimestamptzLoader, first, last),
    }

    def endless(loader: type[Any], low: Any, high: Any) -> type[Any]:
        def load(self: Any, data: Any) -> Any:
            try:
                return loader.load(self, data)
            except DataError:
                text = bytes(data).decode()
                return {"infinity": high, "-infinity": low}.get(text, text)

        return type(f"Endless{loader.__name__}", (loader,), {"load": load})

    driver: Any = connection.connection.driver_connection
    driver.adapters.register_loader("timetz", TextLoader)
    for name, (loader, low, high) in kinds.items():
        driver.adapters.register_loader(name, endless(loader, low, high))


def _in_words(error: Exception, url: str, address: URL) -> SourceError:
    cause = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(cause).strip().splitlines() if line.strip()]
    said = hide((lines or [type(cause).__name__])[0], secrets_of(address)).rstrip(".")
    state = str(getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or "")
    if state in WRONG_SETTINGS or (not state and REFUSED.search(said)):
        what = WRONG_SETTINGS.get(state, "url, table or query")
        return SourceSettingsError(
            f"{url}: {said}. Correct the {what} in the model's source, or in the database."
        )
    if state == "55P03" or "is locked" in said:
        return SourceOutageError(
            f"{url}: another session has locked it for more than {LOCK_SECONDS} s: {said}. End "
            "that session, or run the night later."
        )
    if state == "57014":
        return SourceOutageError(
            f"{url}: no answer within {STATEMENT_SECONDS:,} s: {said}. An index on the column of "
            "times makes it faster."
        )
    if state.startswith(("08", "57", "53", "40")) or _is_broken(error, cause):
        return SourceOutageError(
            f"{url}: the database does not answer, or closed the connection: {said}. Start it, or "
            "correct the url in the model's source."
        )
    return SourceError(f"{url}: cannot be read: {said}.")


def _is_broken(error: Exception, cause: BaseException) -> bool:
    broken = bool(getattr(error, "connection_invalidated", False))
    return broken or type(cause).__name__ in ("OperationalError", "InterfaceError", "TimeoutError")
