"""The table of predictions, replaced in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from tasks.errors import NightlyError
from tasks.shown import hide
from tasks.store.database import AddressError, open_engine, parse_url, secrets_of

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection, Engine, Table


ROWS_AT_ONCE = 20_000


class PublishError(NightlyError, RuntimeError):
    """The predictions cannot be published; the app still reads those of an earlier night."""


def table_name(model: str) -> str:
    """Name of the table of a model's predictions."""
    return f"{model.replace('-', '_')}_predictions"


def replace_table(url: str, table: str, rows: pd.DataFrame, keys: Sequence[str]) -> None:
    """Replace all rows of a table in one transaction: a reader sees the old or the new rows.

    The table is made where it does not exist, with the keys unique and thereby indexed. Rows are
    deleted, not truncated: PostgreSQL shows a truncated table as empty to readers that began
    before. Where a column misses a value for the first time, the table admits that from now on.

    Args:
        url: SQLAlchemy URL.
        table: Name of the table.
        rows: Its new content.
        keys: Columns that identify a row.

    Raises:
        PublishError: Where the database cannot be reached, or the table has other columns.
    """
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    engine = _engine(url)
    target = _table(table, rows, keys)
    left = "The table is unchanged."
    try:
        with engine.begin() as connection:
            target.metadata.create_all(connection)
            there = sqlalchemy.inspect(connection).get_columns(table)
            found = [column["name"] for column in there]
            if found != list(rows.columns):
                raise PublishError(
                    f"Table {table} at {_shown(engine)} has the columns {', '.join(found)}; "
                    f"expected {', '.join(rows.columns)}. Rename or drop the table: the next "
                    "night creates it again."
                )
            full = {column["name"] for column in there if not column["nullable"]}
            gaps = [c.name for c in target.columns if c.nullable and c.name in full]
            if engine.dialect.name == "postgresql":  # one writer at a time; readers go on
                connection.exec_driver_sql(f"LOCK TABLE {target.name} IN SHARE ROW EXCLUSIVE MODE")
            connection.execute(sqlalchemy.delete(target))
            if gaps:
                _admit_gaps(connection, target, gaps)
            whole = [c["name"] for c in there if isinstance(c["type"], sqlalchemy.Integer)]
            _insert(connection, target, _as_whole(rows, whole))
            left = (
                "It failed at the commit, so the table has either the old rows or the new ones. "
                "The same command again writes the new ones."
            )
    except (SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        said = hide(cause, secrets_of(engine.url))
        raise PublishError(
            f"The predictions cannot be written to {_shown(engine)}: {said}. {left}"
        ) from None
    finally:
        engine.dispose()


def _admit_gaps(connection: Connection, target: Table, columns: Sequence[str]) -> None:
    """Let columns of the emptied table miss values, in the transaction that fills it again.

    SQLite cannot change a column: it gets the table anew, with the indexes and triggers it had. It
    takes the table's end back with the transaction only because its rows were deleted before.
    """
    if connection.dialect.name == "sqlite":
        kept = "SELECT sql FROM sqlite_master WHERE tbl_name = ? AND type != 'table'"
        others = connection.exec_driver_sql(kept, (target.name,)).scalars().all()
        target.drop(connection)
        target.create(connection)
        for statement in filter(None, others):
            connection.exec_driver_sql(statement)
        return
    write = connection.dialect.identifier_preparer
    for name in columns:
        connection.exec_driver_sql(
            f"ALTER TABLE {write.format_table(target)} ALTER COLUMN {write.quote(name)} "
            "DROP NOT NULL"
        )


def _as_whole(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Columns that the table has as whole numbers: with a gap, pandas makes floats of them."""
    floats = [name for name in columns if rows[name].dtype.kind == "f"]
    whole = [name for name in floats if (rows[name].dropna() % 1 == 0).all()]
    return rows.astype(dict.fromkeys(whole, "Int64"))


def _insert(connection: Connection, target: Table, rows: pd.DataFrame) -> None:
    """Write all rows; into PostgreSQL by COPY, which is ten times as fast as INSERT."""
    import sqlalchemy

    parts = (rows.iloc[at : at + ROWS_AT_ONCE] for at in range(0, len(rows), ROWS_AT_ONCE))
    if connection.dialect.driver != "psycopg":
        for part in parts:
            connection.execute(sqlalchemy.insert(target), _records(part))
        return
    write = connection.dialect.identifier_preparer
    names = ", ".join(write.quote(column.name) for column in target.columns)
    gap = f"\\N{uuid4().hex[:16]}"  # is no text of the rows; pandas cuts what is longer than 32
    stream = f"COPY {write.format_table(target)} ({names}) FROM STDIN (FORMAT csv, NULL '{gap}')"
    double = dict.fromkeys(rows.select_dtypes("float32"), np.float64)
    driver: Any = connection.connection
    with driver.cursor() as cursor, cursor.copy(stream) as copy:
        for part in parts:
            lines = part.astype(double).to_csv(
                header=False,
                index=False,
                na_rep=gap,
                lineterminator="\r\n",  # else a text with a lone \r is not quoted
            )
            copy.write(lines)


def _engine(url: str) -> Engine:
    try:
        engine = open_engine(parse_url(url))
    except AddressError as error:
        raise PublishError(
            f"NIGHTLY_PREDICTIONS_URL cannot be used: {error}. Expected an SQLAlchemy URL such as "
            "postgresql+psycopg://user:password@host/database or sqlite:////path/to/file.db."
        ) from None
    if engine.dialect.name == "sqlite":
        _let_readers_go_on(engine)
    return engine


def _let_readers_go_on(engine: Engine) -> None:
    """SQLite: readers see the last commit while the next is written, and a writer waits."""
    from sqlalchemy import event

    def prepare(connection: Any, _: object) -> None:
        connection.execute("PRAGMA busy_timeout = 30000")
        connection.execute("PRAGMA journal_mode = WAL")

    event.listen(engine, "connect", prepare)


def _table(name: str, rows: pd.DataFrame, keys: Sequence[str]) -> Table:
    import sqlalchemy as sql

    columns = [
        sql.Column(str(column), _type(rows[column]), nullable=bool(rows[column].isna().any()))
        for column in rows
    ]
    unique = sql.UniqueConstraint(*keys, name=f"{name}_key")
    return sql.Table(name, sql.MetaData(), *columns, unique)


def _type(values: pd.Series[Any]) -> Any:
    import pandas as pd
    import sqlalchemy as sql

    if pd.api.types.is_bool_dtype(values):
        return sql.Boolean()
    if pd.api.types.is_integer_dtype(values):
        return sql.BigInteger()
    if pd.api.types.is_float_dtype(values):
        return sql.Double()
    if pd.api.types.is_datetime64_any_dtype(values):
        return sql.DateTime().with_variant(_sqlite_time(values), "sqlite")
    first = values.dropna()
    return sql.Date() if len(first) and type(first.iloc[0]) is date else sql.Text()


def _sqlite_time(values: pd.Series[Any]) -> Any:
    """SQLite stores times as text: whole seconds without a fraction."""
    from sqlalchemy.dialects.sqlite import DATETIME

    known = values.dropna()
    whole = bool((known == known.dt.floor("s")).all())
    return DATETIME(truncate_microseconds=whole)  # type: ignore[no-untyped-call]


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain Python values; what is missing becomes None."""
    plain = rows.astype(object).where(rows.notna(), None)
    return [dict(zip(plain.columns, row, strict=True)) for row in plain.itertuples(index=False)]


def _shown(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)
