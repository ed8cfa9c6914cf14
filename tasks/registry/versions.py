"""The model registry: the only room that knows MLflow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from tasks.registry.client import RegistryError, to_error
from tasks.registry.holds import HELD_UNTIL
from tasks.spec.fingerprint import digest, spec_module, spec_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from tasks.features.split import Split
    from tasks.spec.model_spec import ModelSpec


CHAMPION = "champion"
PREVIOUS = "previous"
TWIN = "twin"
"""Artifact of a night's run: the model that was judged, blind to the holdout."""
TWIN_FILE = "model.skops"
PROBE = "probe"
"""Artifact of a night's run: a few rows and what the shipped model predicts for them."""


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
        files_sha256: Digest of its package when it was checked.
        trusted: Types it may hold.
        spec_module: Module its spec was defined in, and the file of it inside the package.
        lookback: Days of history its features may see.
        promised: What a live day's primary metric should be: ``value``, ``low`` and ``high``; None
            where the days that judged it were too few to say.
    """

    version: str
    run_id: str
    candidate: str
    digest: str
    as_of: date
    twin_learned_through: date
    twin_sha256: str
    files_sha256: str
    trusted: tuple[str, ...]
    spec_module: tuple[str, str]
    lookback: int
    promised: dict[str, float] | None = None


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
    version = version_by_alias(client, model, CHAMPION)
    if version is not None and before_night and version.tags.get("night") == before_night:
        version = version_by_alias(client, model, PREVIOUS)
    return _champion(model, version) if version is not None else None


def read_previous(client: MlflowClient, model: str) -> Champion | None:
    """The champion before this one, or None where there was none.

    Raises:
        RegistryError: Where the version behind the alias is not one of ours.
    """
    version = version_by_alias(client, model, PREVIOUS)
    return _champion(model, version) if version is not None else None


def night_tags(
    spec: ModelSpec,
    split: Split,
    *,
    night: str,
    as_of: date,
    candidate: str,
    shipped_key: str,
    prediction_interval: dict[str, float] | None,
) -> dict[str, str]:
    """What a night notes on the version it makes; ``read_champion`` reads it back.

    Args:
        spec: The model.
        split: Days to train on and days held out.
        night: Key of the night.
        as_of: Its as-of date.
        candidate: Recipe of the version.
        shipped_key: Content key of the shipped model.
        prediction_interval: Where the primary metric of a live day should fall.
    """
    return {
        "night": night,
        "as_of": as_of.isoformat(),
        "candidate": candidate,
        "spec_digest": digest(spec),
        "shipped_key": shipped_key,
        "judged_from": split.holdout[0].isoformat(),
        "twin_learned_through": split.train[-1].isoformat(),
        "spec_module": spec_module(spec),
        "spec_file": spec_path(spec),
        "lookback": str(spec.lookback.days),
        "promised": json.dumps(prediction_interval),
        "hold": str(spec.revert.hold.days),
    }


def _champion(model: str, version: Any) -> Champion:
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
            files_sha256=tags["files_sha256"],
            trusted=tuple(json.loads(tags["trusted_types"])),
            spec_module=(tags["spec_module"], tags["spec_file"]),
            lookback=int(tags["lookback"]),
            promised=json.loads(tags.get("promised", "null")),
        )
    except KeyError as error:
        raise RegistryError(
            f"Version {version.version} of {model} was not made by a night: it lacks the tag "
            f"{error}. Move the alias to a version that was."
        ) from error


def versions_of_night(client: MlflowClient, model: str, night: str) -> Sequence[Any]:
    """Versions that a night has made, the first one first."""
    found = client.search_model_versions(f"name = '{model}' and tags.night = '{night}'")
    return sorted(found, key=lambda version: int(version.version))


def find_version(client: MlflowClient, model: str, night: str) -> str | None:
    """The version this night has registered already, if any.

    A request whose answer was lost is sent again by MLflow's client, and the server then makes a
    second version of the same files: the first one stands, the others are removed.
    """
    found = versions_of_night(client, model, night)
    for again in found[1:]:
        client.delete_model_version(model, again.version)
    return str(found[0].version) if found else None


def read_alias(client: MlflowClient, model: str, alias: str) -> str | None:
    """The version behind an alias, if any."""
    found = version_by_alias(client, model, alias)
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


def read_withdrawn(client: MlflowClient, model: str) -> dict[str, str]:
    """Versions that were rolled back or reverted, each with the reason."""
    found = client.search_model_versions(f"name = '{model}'")
    return {str(v.version): v.tags["rolled_back"] for v in found if "rolled_back" in v.tags}


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
    newest = max(v.tags.get("as_of", "") for v in found)
    needed |= {str(v.version) for v in found if v.tags.get(HELD_UNTIL, "") > newest}
    removed = []
    for old in found[keep:]:
        if str(old.version) in needed:
            continue
        client.delete_model_version(model, old.version)
        _delete_files(client, old)
        removed.append(str(old.version))
    return removed


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


def version_by_alias(client: MlflowClient, model: str, alias: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise to_error(f"The {alias} of {model} cannot be read", error) from error
