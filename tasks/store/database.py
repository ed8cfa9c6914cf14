"""Databases by their SQLAlchemy URL: one way to open them, and what of a URL is secret."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tasks.errors import WrongInputError
from tasks.shown import SECRET_OPTION

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine


class AddressError(WrongInputError, ValueError):
    """A URL that names no database; the message says why, without the URL."""


def parse_url(url: str) -> URL:
    """The parts of a URL; PostgreSQL is reached with psycopg unless another driver is named.

    Raises:
        AddressError: Where it is not a URL.
    """
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError

    try:
        address = sqlalchemy.make_url(url)
    except (ArgumentError, ValueError):
        raise AddressError("it is not a database URL") from None
    if address.drivername in ("postgres", "postgresql"):
        return address.set(drivername="postgresql+psycopg")
    return address


def open_engine(address: URL, **connect_args: Any) -> Engine:
    """An engine that keeps no connection open between two uses.

    Args:
        address: From ``parse_url``.
        **connect_args: What the driver is told.

    Raises:
        AddressError: Where SQLAlchemy does not know the database, or its driver is not installed.
    """
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    from sqlalchemy.pool import NullPool

    try:
        return sqlalchemy.create_engine(address, poolclass=NullPool, connect_args=connect_args)
    except ModuleNotFoundError as error:
        raise AddressError(f"the package {error.name!r} is not installed") from None
    except (ArgumentError, NoSuchModuleError):
        raise AddressError("it is not a database URL") from None


def secrets_of(address: URL) -> list[str]:
    """The password of a URL, and those among its options."""
    secret = re.compile(SECRET_OPTION, re.IGNORECASE)
    options = [str(value) for name, value in address.query.items() if secret.fullmatch(name)]
    return [str(address.password or ""), *options]
