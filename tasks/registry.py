"""The model registry: the only room that knows MLflow."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import settings, store

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
PREVIOUS = "previous"
JOURNAL = "nightly.change"
"""Tag of a registered model while its aliases are moved: what is meant, as JSON."""
TWIN = "twin"
"""Artifact of a night's run: the model that was judged, blind to the holdout."""
TWIN_FILE = "model.skops"
PROBE = "probe"
"""Artifact of a night's run: a few rows and what the shipped model predicts for them."""


class RegistryError(RuntimeError):
    """The registry cannot be reached, or holds something other than it promised."""


@dataclass(frozen=True)
class Champion:
    """The version behind the alias ``champion``.

    Attributes:
        version: Version in the registry.
        run_id: Night that made it.
        candidate: Recipe it was fitted from.
        digest: Digest of the spec it was fitted with.
        as_of: As-of date of its night.
        twin_learned_through: Last day its judged twin has seen.
        twin_sha256: Digest of its judged twin's file.
    """

    version: str
    run_id: str
    candidate: str
    digest: str
    as_of: date
    twin_learned_through: date
    twin_sha256: str


def open_registry() -> MlflowClient:
    """A client of the tracking store; a fresh local database is initialised once, under a lock."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    import mlflow

    uri = settings.tracking_uri()
    settings.ensure_home()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(os.environ.get("MLFLOW_REGISTRY_URI", uri))
    if not uri.startswith("sqlite:///") or _writes_ahead(Path(uri.removeprefix("sqlite:///"))):
        return mlflow.MlflowClient()
    with store.lock("mlflow", wait=300):
        client = mlflow.MlflowClient()
        client.search_experiments(max_results=1)
        _write_ahead(uri.removeprefix("sqlite:///"))
        return client


def read_champion(
    client: MlflowClient, model: str, *, before_night: str | None = None
) -> Champion | None:
    """The champion of a model, or None before its first promotion.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        before_night: Key of a night; where it has already promoted its own version and was then
            killed, the champion before it is meant.

    Raises:
        RegistryError: Where the version behind the alias is not one of ours.
    """
    version = _version_by_alias(client, model, CHAMPION)
    if version is not None and before_night and version.tags.get("night") == before_night:
        version = _version_by_alias(client, model, PREVIOUS)
    if version is None:
        return None
    tags = version.tags
    try:
        return Champion(
            version=str(version.version),
            run_id=version.run_id or "",
            candidate=tags["candidate"],
            digest=tags["spec_digest"],
            as_of=date.fromisoformat(tags["as_of"]),
            twin_learned_through=date.fromisoformat(tags["twin_learned_through"]),
            twin_sha256=tags["twin_sha256"],
        )
    except KeyError as error:
        raise RegistryError(
            f"Version {version.version} of {model} carries the alias champion but not the tag "
            f"{error}: it was not made by a night. Move the alias to a version that was."
        ) from error


def versions_of_night(client: MlflowClient, model: str, night: str) -> Sequence[Any]:
    """Versions that a night has made."""
    found: Sequence[Any] = client.search_model_versions(
        f"name = '{model}' and tags.night = '{night}'"
    )
    return found


def find_version(client: MlflowClient, model: str, night: str) -> str | None:
    """The version a killed run of the same night has already registered, if any."""
    found = versions_of_night(client, model, night)
    return str(found[0].version) if found else None


def promote(client: MlflowClient, model: str, version: str) -> None:
    """Make exactly this version the champion; the one before it becomes ``previous``.

    What is meant is written down first: killed at any instant, ``finish_change`` ends it.
    """
    before = _version_by_alias(client, model, CHAMPION)
    if before is None or str(before.version) != version:
        replaced = str(before.version) if before else None
        _change(client, model, {"champion": version, "previous": replaced, "replaced": replaced})


def roll_back(client: MlflowClient, model: str, version: str, why: str) -> str | None:
    """Make an earlier version the champion again and mark the one it takes over from.

    Returns:
        The version that was champion until now.
    """
    now = _version_by_alias(client, model, CHAMPION)
    replaced = client.get_model_version(model, version).tags.get("replaced")
    rejected = str(now.version) if now else None
    intent = {"champion": version, "previous": replaced, "rolled_back": rejected, "why": why}
    _change(client, model, intent)
    return rejected


def finish_change(client: MlflowClient, model: str) -> str | None:
    """End a promotion or a rollback that was cut off in the middle.

    It had passed every check before it was written down, so it is finished, not undone.

    Returns:
        The version that is champion now, or None where nothing was cut off.
    """
    from mlflow.exceptions import MlflowException

    try:
        intent = client.get_registered_model(model).tags.get(JOURNAL)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise RegistryError(f"The model {model} cannot be read: {error}") from error
    if not intent:
        return None
    _apply(client, model, json.loads(intent))
    return str(json.loads(intent)["champion"])


def read_alias(client: MlflowClient, model: str, alias: str) -> str | None:
    """The version behind an alias, if any."""
    found = _version_by_alias(client, model, alias)
    return str(found.version) if found else None


def read_rolled_back(client: MlflowClient, model: str) -> dict[str, str]:
    """What must not be promoted again: content key of a shipped model to the reason in words."""
    found = client.search_model_versions(f"name = '{model}'")
    return {
        version.tags["shipped_key"]: (
            f"Version {version.version}, made from the same code and the same data, was rolled "
            f"back: {version.tags['rolled_back']}"
        )
        for version in found
        if {"rolled_back", "shipped_key"} <= set(version.tags)
    }


def retire(client: MlflowClient, model: str, keep: int) -> list[str]:
    """Remove all versions but the newest; what an alias or a rollback needs always stays.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        keep: How many of the newest versions stay.

    Returns:
        The removed versions.
    """
    found = sorted(client.search_model_versions(f"name = '{model}'"), key=lambda v: -int(v.version))
    if len(found) <= keep:
        return []
    needed = {str(version) for version in client.get_registered_model(model).aliases.values()}
    needed |= {str(v.tags.get("replaced")) for v in found if str(v.version) in needed}
    removed = []
    for old in found[keep:]:
        if str(old.version) in needed:
            continue
        client.delete_model_version(model, old.version)
        _delete_files(client, old)
        removed.append(str(old.version))
    return removed


def _change(client: MlflowClient, model: str, intent: Mapping[str, str | None]) -> None:
    client.set_registered_model_tag(model, JOURNAL, json.dumps(intent))
    _apply(client, model, intent)


def _apply(client: MlflowClient, model: str, intent: Mapping[str, str | None]) -> None:
    """Every step may be done again; the journal is closed by the last."""
    champion = intent["champion"] or ""
    if intent.get("rolled_back"):
        client.set_model_version_tag(model, intent["rolled_back"], "rolled_back", intent["why"])
    if intent.get("replaced"):
        client.set_model_version_tag(model, champion, "replaced", intent["replaced"])
    client.set_registered_model_alias(model, CHAMPION, champion)
    if intent["previous"]:
        client.set_registered_model_alias(model, PREVIOUS, intent["previous"])
    elif _version_by_alias(client, model, PREVIOUS):
        client.delete_registered_model_alias(model, PREVIOUS)
    client.delete_registered_model_tag(model, JOURNAL)


def _delete_files(client: MlflowClient, version: Any) -> None:
    """Remove what a deleted version kept: its package and its twin; the run's figures stay."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if version.source.startswith("models:/"):
        logged = client.get_logged_model(version.source.removeprefix("models:/"))
        get_artifact_repository(logged.artifact_location).delete_artifacts()  # type: ignore[no-untyped-call]
        client.delete_logged_model(logged.model_id)
    if version.run_id:
        run = get_artifact_repository(client.get_run(version.run_id).info.artifact_uri)
        for folder in (TWIN, PROBE):
            run.delete_artifacts(folder)  # type: ignore[no-untyped-call]


def _version_by_alias(client: MlflowClient, model: str, alias: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise RegistryError(f"The {alias} of {model} cannot be read: {error}") from error


def _writes_ahead(database: Path) -> bool:
    """Whether the database is whole: the journal mode is the last thing set.

    Asked of SQLite, never of the file: closing it here would drop the locks of MLflow's open
    connections, and another process would then delete the log they still write to.
    """
    if not database.is_file():
        return False
    with closing(sqlite3.connect(database)) as connection:
        return bool(connection.execute("PRAGMA journal_mode").fetchone() == ("wal",))


def _write_ahead(database: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
