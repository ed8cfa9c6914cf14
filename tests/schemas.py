"""The schemas of Prefect's and MLflow's databases as their migrations leave them.

    python -m tests.schemas

writes them for the installed versions, which a new version of either asks for.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from tasks.store.empty_databases import SCHEMAS

FILLED = ("alembic_version", "workspaces")
"""Tables whose rows the migrations write."""


def schema_of(database: Path) -> str:
    """Tables and indices of a database in the order they were made, and what migrations filled."""
    with closing(sqlite3.connect(database)) as connection:
        made = connection.execute("SELECT name, sql FROM sqlite_master ORDER BY rowid").fetchall()
        lines = [f"{sql.strip()};" for name, sql in made if sql and not name.startswith("sqlite_")]
        for table in FILLED:
            if table in {name for name, _ in made}:
                for row in connection.execute(f"SELECT * FROM {table}"):
                    values = ", ".join("NULL" if value is None else repr(value) for value in row)
                    lines.append(f"INSERT INTO {table} VALUES ({values});")
    return "\n".join(lines) + "\n"


def statements(schema: str) -> list[list[str]]:
    """What a schema says, without an order: migrations write constraints in any."""
    said = schema.split(";\n")
    return sorted(sorted(line.strip(" \t,") for line in one.splitlines()) for one in said)


def kept_schema(library: str) -> Path:
    """The file for the installed version."""
    return SCHEMAS / f"{library}-{version(library)}.sql"


def migrate_mlflow(database: Path) -> None:
    """Let MLflow make its database."""
    import mlflow

    mlflow.MlflowClient(f"sqlite:///{database}").search_experiments(max_results=1)


def migrate_prefect(database: Path) -> None:
    """Let Prefect make its database."""
    os.environ["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///{database}"
    from prefect.server.database import provide_database_interface

    asyncio.run(provide_database_interface().create_db())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        for library, migrate in (("prefect", migrate_prefect), ("mlflow", migrate_mlflow)):
            migrate(Path(made) / library)
            for old in SCHEMAS.glob(f"{library}-*.sql"):
                old.unlink()
            kept_schema(library).write_text(schema_of(Path(made) / library), encoding="utf-8")
