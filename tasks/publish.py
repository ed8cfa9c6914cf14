"""What the app reads: one whole night at any instant, as a Parquet file and as a SQL table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks import settings, store

if TYPE_CHECKING:
    import pandas as pd
    from sqlalchemy import Connection, Engine, Table

CURRENT = "current.parquet"
INPUTS = "inputs.parquet"
KEPT = 90
"""Nights whose predictions stay on disk: labels may be long in coming."""
ROWS_AT_ONCE = 20_000


class PublishError(RuntimeError):
    """The predictions cannot be published; those of an earlier night stay."""


def stamped(answers: pd.DataFrame, day: date, version: str, made_at: datetime) -> pd.DataFrame:
    """The answers with what a reader asks of them: for which day, by which version, made when.

    Args:
        answers: From ``Problem.answers``.
        day: The day they are about; they were made as of the day before.
        version: Version of the model that gave them.
        made_at: When, UTC.
    """
    return answers.assign(
        day=day,
        as_of=day - timedelta(days=1),
        version=version,
        made_at=made_at.replace(tzinfo=None),
    )


def forget_old(model: str) -> None:
    """Remove the predictions of all nights but the newest ``KEPT``."""
    for record in sorted(folder_of(model).glob("????-??-??.json"))[:-KEPT]:
        for old in folder_of(model).glob(f"{record.stem}.*"):
            old.unlink(missing_ok=True)


def fault_of(
    answers: pd.DataFrame, keys: Sequence[str], column: str, before: int | None, least: float
) -> str | None:
    """Why these answers must not reach the app, in words; None where they may.

    Args:
        answers: What would be published.
        keys: Columns by which the app looks an answer up.
        column: The score.
        before: Rows published the last time, if ever.
        least: Share of these below which the answers are too few.
    """
    scores = answers[column].to_numpy(dtype=np.float64)
    broken = int((~np.isfinite(scores)).sum())
    if not len(answers):
        return "there is none"
    if broken:
        return f"{broken:,} of {len(scores):,} are not finite"
    if len(scores) > 1 and (scores == scores[0]).all():
        return f"all {len(scores):,} are the same, {scores[0]:g}"
    if before and len(answers) < least * before:
        return f"{len(answers):,} rows, and {before:,} the last time; at least {least:.0%} expected"
    twice = int(answers.duplicated(list(keys)).sum())
    return f"{twice:,} rows have the same {', '.join(keys)} as another" if twice else None


def folder_of(model: str) -> Path:
    """Where the predictions of a model live."""
    return settings.home() / "predictions" / model


def last_published(model: str) -> dict[str, Any] | None:
    """The record of what the app reads now: ``as_of``, ``day``, ``version``, ``rows``."""
    records = sorted(folder_of(model).glob("????-??-??.json"))
    return dict(store.read_json(records[-1])) if records else None


def publish(
    model: str, as_of: date, answers: pd.DataFrame, keys: Sequence[str], url: str | None
) -> None:
    """Put the answers of one night before the app: table first, then the pointer to the file.

    Args:
        model: Name of the model.
        as_of: Its night.
        answers: What the app reads, already in the file of that night.
        keys: Columns by which the app looks an answer up.
        url: Database that keeps a table of them, if any.

    Raises:
        PublishError: Where the database cannot be reached or the table is another one.
        StoreError: Where the disk is full or read-only.
    """
    if url:
        replace_table(url, table_name(model), answers, keys)
    store.point_to(folder_of(model) / CURRENT, f"{as_of}.parquet")


def table_name(model: str) -> str:
    """Name of the table of a model's predictions."""
    return f"{model.replace('-', '_')}_predictions"


def replace_table(url: str, table: str, rows: pd.DataFrame, keys: Sequence[str]) -> None:
    """Replace all rows of a table in one transaction, so that a reader sees the old or the new.

    The table is made where it does not exist, with the keys unique and thereby indexed. Rows are
    deleted, not truncated: PostgreSQL shows a truncated table as empty to readers that began
    before.

    Args:
        url: SQLAlchemy URL.
        table: Name of the table.
        rows: Its new content.
        keys: Columns that name a row.

    Raises:
        PublishError: Where the database cannot be reached, or the table has other columns.
    """
    import sqlalchemy
    from sqlalchemy.exc import SQLAlchemyError

    engine = _engine(url)
    target = _table(table, rows, keys)
    try:
        with engine.begin() as connection:
            target.metadata.create_all(connection)
            found = [c["name"] for c in sqlalchemy.inspect(connection).get_columns(table)]
            if found != list(rows.columns):
                raise PublishError(
                    f"Table {table} at {_shown(engine)} has the columns {', '.join(found)}; "
                    f"expected {', '.join(rows.columns)}. Rename or drop it: it is made anew."
                )
            if engine.dialect.name == "postgresql":  # one writer at a time; readers go on
                connection.exec_driver_sql(f"LOCK TABLE {target.name} IN SHARE ROW EXCLUSIVE MODE")
            connection.execute(sqlalchemy.delete(target))
            _insert(connection, target, rows)
    except (SQLAlchemyError, engine.dialect.loaded_dbapi.Error) as error:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise PublishError(
            f"The predictions cannot be written to {_shown(engine)}: {_hidden(cause, engine)}. "
            "The table holds what it held."
        ) from None
    finally:
        engine.dispose()


def _insert(connection: Connection, target: Table, rows: pd.DataFrame) -> None:
    """Write all rows; PostgreSQL takes a stream of them ten times as fast as statements."""
    import sqlalchemy

    parts = (rows.iloc[at : at + ROWS_AT_ONCE] for at in range(0, len(rows), ROWS_AT_ONCE))
    if connection.dialect.driver != "psycopg":
        for part in parts:
            connection.execute(sqlalchemy.insert(target), _records(part))
        return
    write = connection.dialect.identifier_preparer
    names = ", ".join(write.quote(column.name) for column in target.columns)
    stream = f"COPY {write.format_table(target)} ({names}) FROM STDIN (FORMAT csv, NULL '\\N')"
    double = dict.fromkeys(rows.select_dtypes("float32"), np.float64)
    driver: Any = connection.connection
    with driver.cursor() as cursor, cursor.copy(stream) as copy:
        for part in parts:
            copy.write(part.astype(double).to_csv(header=False, index=False, na_rep="\\N"))


def _engine(url: str) -> Engine:
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError
    from sqlalchemy.pool import NullPool

    try:
        engine = sqlalchemy.create_engine(url, poolclass=NullPool)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        module = getattr(error, "name", None)
        why = f"the package {module!r} is not installed" if module else "it is no such address"
        raise PublishError(
            f"NIGHTLY_PREDICTIONS_URL cannot be used: {why}. Expected an SQLAlchemy URL such as "
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
    """SQLite keeps times as text: whole seconds as people write them."""
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


def _hidden(text: str, engine: Engine) -> str:
    password = engine.url.password
    return re.sub(re.escape(str(password)), "***", text) if password else text
