"""The alias champion, read without MLflow where that is possible, and moved only from one version.

MLflow sets an alias whatever it was before. Two homes with one registry have no common lock, so a
night compares before it sets: in one statement where the registry is a database that can be
reached, otherwise right before, and again after.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import settings
from tasks.errors import RegistryError
from tasks.registry.client import database_of, know_alias, look_again, open_registry
from tasks.registry.versions import CHAMPION, champions, read_alias
from tasks.store.leases import check_now

if TYPE_CHECKING:
    from mlflow import MlflowClient


class ChampionMovedError(RegistryError):
    """Another version is the champion than the one that was to be replaced.

    Attributes:
        champion: The champion now; None where there is none.
    """

    def __init__(self, model: str, expected: str | None, champion: str | None) -> None:
        was, now = (f"version {each}" if each else "none" for each in (expected, champion))
        super().__init__(
            f"The champion of {model} was changed by another run meanwhile: it was {was} and is "
            f"{now}. Look at it, and run this again."
        )
        self.champion = champion


def champion_now(model: str) -> str | None:
    """The version behind the alias; of a local database without importing MLflow."""
    if _local_database() is None:
        return read_alias(open_registry(), model, CHAMPION)
    return champions_now().get(model)


def champions_now() -> dict[str, str]:
    """The champion of each model that has one; of a local database without importing MLflow."""
    place = _local_database()
    if place is None:
        return champions(open_registry())
    if not place.is_file():
        return {}
    asked = "SELECT name, version FROM registered_model_aliases WHERE alias = ?"
    with closing(sqlite3.connect(place)) as database:
        return {name: str(version) for name, version in database.execute(asked, (CHAMPION,))}


def _local_database() -> Path | None:
    uri = os.environ.get("MLFLOW_REGISTRY_URI", settings.tracking_uri())
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def move_champion(client: MlflowClient, model: str, version: str, expected: str | None) -> None:
    """Point the alias at a version, if it points at the expected one, or already at this one.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        version: The version that becomes the champion.
        expected: The champion that it was compared with; None for none.

    Raises:
        ChampionMovedError: Where another version is the champion; the alias was not changed.
        LeaseLostError: Where the lease of this process has run out; neither was it.
    """
    store = _database(client)
    if store is None:
        look_again(client, model)
        now = read_alias(client, model, CHAMPION)
        if now == version:
            return
        if now != expected:
            raise ChampionMovedError(model, expected, now)
    check_now()  # who has lost its lease must not set what was the champion twice
    if store is not None and _move_in_one_statement(store, model, version, expected):
        know_alias(client, model, CHAMPION, version)
        return
    if store is None:
        client.set_registered_model_alias(model, CHAMPION, version)
    look_again(client, model)
    now = read_alias(client, model, CHAMPION)
    if now != version:
        raise ChampionMovedError(model, expected, now)


def _database(client: MlflowClient) -> Any:
    """MLflow's own access to the registry's database; None where the registry is a server."""
    return database_of(client._get_registry_client().store)  # type: ignore[no-untyped-call]


def _move_in_one_statement(store: Any, model: str, version: str, expected: str | None) -> bool:
    """An UPDATE with the expected version in its condition, or an INSERT where there is none.

    Where it points at the version already, neither changes anything.

    A second one waits for the first to commit and then changes no row, or breaks the primary key.

    Returns:
        Whether it has moved the alias: otherwise that is to be read again.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModelAlias as Alias

    try:
        with store.ManagedSessionMaker(read_only=False) as session:
            if expected is None:
                made = Alias(name=model, alias=CHAMPION, version=int(version))
                session.add(store._with_workspace_field(made))
                session.flush()
                moved = 1
            else:
                found = store._get_query(session, Alias)
                found = found.filter(Alias.name == model, Alias.alias == CHAMPION)
                found = found.filter(Alias.version == int(expected))
                moved = found.update({Alias.version: int(version)}, synchronize_session=False)
    except MlflowException as error:
        if "IntegrityError" not in str(error) and "UniqueViolation" not in str(error):
            raise
        return False
    return bool(moved)
