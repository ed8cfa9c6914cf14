"""The whole registry copied from one database to another, as when one machine becomes several."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tasks.errors import RegistryError
from tasks.shown import hide
from tasks.store.database import AddressError, open_engine, parse_url

if TYPE_CHECKING:
    from sqlalchemy import Engine, MetaData

MADE_EMPTY = ("experiments", "workspaces")
"""Tables in which MLflow makes a row of its own as it makes a database."""
VERSION = "alembic_version"
AT_ONCE = 1000


def copy_registry(source: str, target: str, old: str, new: str) -> int:
    """Copy every row of MLflow's database into one that has none, which is made.

    Args:
        source: SQLAlchemy URL of the database.
        target: That of the other.
        old: Address below which the artifacts lay, such as ``file:///home/me/.nightly/artifacts``.
        new: Where they lie from now on.

    Returns:
        How many rows were copied.

    Raises:
        RegistryError: Where either cannot be used, the other has runs or models already, or the
            installed MLflow is not the one that made the first; nothing was changed.
    """
    import sqlalchemy as sql
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import SQLAlchemyError

    try:
        from_here, to_there = _engine(source), _engine(target)
        SqlAlchemyStore(target, new)  # type: ignore[no-untyped-call]
        read, write = _tables(from_here), _tables(to_there)
        with from_here.connect() as before, to_there.begin() as after:
            made = [
                each.execute(sql.text(f"SELECT * FROM {VERSION}")).all() for each in (before, after)
            ]
            if made[0] != made[1]:
                raise RegistryError(
                    "The two databases are of different versions of MLflow: run "
                    f"mlflow db upgrade {hide(source)} first."
                )
            for name in ("runs", "registered_models"):
                if after.execute(sql.select(write.tables[name]).limit(1)).first():
                    raise RegistryError(
                        f"The database {hide(target)} has {name.replace('_', ' ')} already; name "
                        "an empty one."
                    )
            for name in MADE_EMPTY:
                after.execute(sql.delete(write.tables[name]))
            copied = 0
            for table in write.sorted_tables:
                if table.name == VERSION:
                    continue
                rows = before.execute(sql.select(read.tables[table.name])).mappings().all()
                for start in range(0, len(rows), AT_ONCE):
                    moved = [_moved(row, old, new) for row in rows[start : start + AT_ONCE]]
                    after.execute(sql.insert(table), moved)
                copied += len(rows)
            if to_there.dialect.name == "postgresql":
                _go_on_counting(after, write)
    except (SQLAlchemyError, AddressError) as error:
        said = " ".join(str(getattr(error, "orig", None) or error).split())
        raise RegistryError(f"The registry cannot be copied: {hide(said)}") from error
    return copied


def _engine(url: str) -> Engine:
    return open_engine(parse_url(url))


def _tables(engine: Engine) -> MetaData:
    import sqlalchemy as sql

    found = sql.MetaData()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an index of an expression is not reflected
        found.reflect(engine)
    return found


def _moved(row: Mapping[Any, Any], old: str, new: str) -> dict[str, Any]:
    """A row whose addresses of artifacts lead to their new place."""
    return {
        str(name): value.replace(old, new) if isinstance(value, str) and old in value else value
        for name, value in row.items()
    }


def _go_on_counting(connection: Any, tables: MetaData) -> None:
    """Let the numbers that the database gives go on after those that were copied."""
    import sqlalchemy as sql

    for table in tables.sorted_tables:
        for column in table.primary_key.columns:
            if isinstance(column.type, sql.Integer):
                asked = {"table": f'"{table.name}"', "column": column.name}
                connection.execute(
                    sql.text(
                        "SELECT setval(s, (SELECT coalesce(max(c), 0) + 1 FROM "
                        f'(SELECT "{column.name}" AS c FROM "{table.name}") AS found), false) '
                        "FROM (SELECT pg_get_serial_sequence(:table, :column) AS s) AS named "
                        "WHERE s IS NOT NULL"
                    ),
                    asked,
                )
