"""Empty databases of Prefect and MLflow, made at once: their migrations take seconds."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

from tasks.store import locks
from tasks.store.files import write_file

SCHEMAS = Path(__file__).with_name("schemas")
"""What the migrations of a version lead to, as SQL; written by ``tests/schemas.py``."""


def make_database(file: Path, library: str) -> None:
    """Make the database of a library where there is none.

    Where the schema of the installed version is not kept here, the library makes it as it starts.

    Args:
        file: The database.
        library: ``prefect`` or ``mlflow``.

    Raises:
        StoreError: Where the file cannot be written.
    """
    script = SCHEMAS / f"{library}-{version(library)}.sql"
    if file.exists() or not script.is_file():
        return
    with locks.lock(f"{library}-database", wait=60):
        if not file.exists():
            with closing(sqlite3.connect(":memory:")) as database:
                database.executescript(script.read_text(encoding="utf-8"))
                write_file(file, database.serialize())
