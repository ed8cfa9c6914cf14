"""Databases made at once are those that the migrations of the installed versions make."""

from pathlib import Path

import pytest

from tasks.store import empty_databases
from tests.schemas import kept_schema, migrate_mlflow, schema_of, statements


def assert_kept(library: str, migrated: Path) -> None:
    kept = kept_schema(library)
    assert kept.is_file(), "write the installed version's: python -m tests.schemas"
    assert statements(schema_of(migrated)) == statements(kept.read_text())


def test_prefect_would_make_the_same_tables(addresses: dict[str, str]) -> None:
    assert_kept("prefect", Path(addresses["database"]))


def test_mlflow_would_make_the_same_tables(tmp_path: Path) -> None:
    migrate_mlflow(tmp_path / "migrated.db")
    assert_kept("mlflow", tmp_path / "migrated.db")


@pytest.mark.parametrize("library", ["prefect", "mlflow"])
def test_a_database_is_made_where_there_is_none(library: str, home: Path) -> None:
    file = home / "new.db"
    empty_databases.make_database(file, library)
    assert schema_of(file) == kept_schema(library).read_text()
    file.write_bytes(b"the owner's")
    empty_databases.make_database(file, library)
    assert file.read_bytes() == b"the owner's"


def test_another_version_makes_its_own(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(empty_databases, "version", lambda _: "99.0")
    empty_databases.make_database(home / "new.db", "mlflow")
    assert not (home / "new.db").exists()
