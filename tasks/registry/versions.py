"""Versions in the model registry."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import settings
from tasks.errors import RegistryError
from tasks.registry import seals
from tasks.registry.anchors import ANCHOR, YEARLY
from tasks.registry.client import Versions, database_of, list_versions, to_error
from tasks.registry.holds import HELD_UNTIL, how_withdrawn
from tasks.registry.waiting import waits
from tasks.shown import hide
from tasks.spec.fingerprint import digest, spec_module, spec_path
from tasks.spec.fleet import partitions_in
from tasks.store import changes

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from tasks.features.split import Split
    from tasks.spec.model_spec import ModelSpec


log = logging.getLogger("nightly")

OF_ARTIFACTS = r"/([0-9a-f]{32}|models/m-[0-9a-f]{32})/artifacts/?$"
"""Where MLflow puts the files of a run or of a logged model: at the end of the address."""
CHAMPION = "champion"
PREVIOUS = "previous"
RETIRED, KNOWN_UNTIL = "retired", "known_until"
"""Tags of a champion that was given up: why, and how long its figures count."""
PUT_BACK = "put_back"
"""Tag of a version that was withdrawn and is no more: why, and why it had been."""
JOURNAL = "nightly.change"
"""Tag of a registered model while its aliases are moved: what is meant, as JSON."""
TWIN = "twin"
"""Artifact of a night's run: the judged model, which has not seen the holdout."""
TWIN_FILE = "model.skops"
PROBE = "probe"
"""Artifact of a night's run: a few rows and what the shipped model predicts for them."""


@dataclass(frozen=True)
class Champion:
    """The version behind the alias ``champion``.

    Attributes:
        version: Version in the registry.
        run_id: Night that made it.
        candidate: Candidate it was fitted from.
        digest: Digest of the spec it was fitted with.
        as_of: As-of date of its night.
        twin_learned_through: Last training day of its judged twin.
        twin_sha256: Digest of its judged twin's file.
        files_sha256: Digest of its package when it was checked.
        trusted: Types it may hold.
        spec_module: Module its spec was defined in, and the file of it inside the package.
        lookback: Days of history its features may see.
        promised: Prediction interval of the primary metric on a live day: ``value``, ``low`` and
            ``high``; None where there were too few holdout days.
        unsealed: Why it must not be loaded; None where its seal is valid.
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
    unsealed: str | None = None


def read_champion(
    client: MlflowClient, model: str, *, before_night: str | None = None
) -> Champion | None:
    """The champion of a model, or None before its first promotion.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        before_night: Key of a night that may already have promoted its version before it was
            killed; then the champion before that version is returned, but not where a person has
            put the version back since.

    Raises:
        RegistryError: Where the version behind the alias was not made by a night.
    """
    version = version_by_alias(client, model, CHAMPION)
    if (
        version is not None
        and before_night
        and version.tags.get("night") == before_night
        and PUT_BACK not in version.tags
    ):
        version = version_by_alias(client, model, PREVIOUS)
    return _promoted(model, version) if version is not None else None


def read_promoted(client: MlflowClient, model: str, version: str) -> Champion:
    """A version that is to be loaded as the champion; ``unsealed`` where it must not be.

    Raises:
        RegistryError: Where there is no such version, or a night did not make it.
    """
    return _promoted(model, _find(client, model, version))


def read_version(client: MlflowClient, model: str, version: str) -> Champion:
    """A version that is, was or could be champion.

    Raises:
        RegistryError: Where there is no such version, or a night did not make it.
    """
    return _champion(model, _find(client, model, version))


def _promoted(model: str, version: Any) -> Champion:
    return replace(_champion(model, version), unsealed=seals.champion_fault(version))


def _find(client: MlflowClient, model: str, version: str) -> Any:
    found = find_by_number(client, model, version)
    if found is None:
        raise RegistryError(f"There is no version {version} of {model} any more.")
    return found


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
        candidate: Candidate of the version.
        shipped_key: Content key of the shipped model.
        prediction_interval: Prediction interval of the primary metric on a live day.
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
            unsealed=seals.seal_fault(version),
        )
    except KeyError as error:
        raise RegistryError(
            f"Version {version.version} of {model} was not made by a night: it lacks the tag "
            f"{error}. Move the alias to a version that a night made."
        ) from error


def versions_of_night(client: MlflowClient, model: str, night: str) -> Sequence[Any]:
    """Versions that a night has made, the first one first."""
    found = client.search_model_versions(f"name = '{model}' and tags.night = '{night}'")
    return sorted(found, key=lambda version: int(version.version))


def find_version(client: MlflowClient, model: str, night: str) -> str | None:
    """The version this night has registered already, if any; not one that a person retired.

    MLflow's client repeats a request whose response was lost, and the server then makes a second
    version of the same files: the first is kept, the others are removed, but not those of other
    files. What claims to be of this night and was not made with the key is somebody else's, and is
    passed over.
    """
    found = versions_of_night(client, model, night)
    made = [v for v in found if seals.is_made(v) and RETIRED not in v.tags]
    for again in made[1:]:
        if again.source == made[0].source:
            client.delete_model_version(model, again.version)
    return str(made[0].version) if made else None


def read_alias(client: MlflowClient, model: str, alias: str) -> str | None:
    """The version behind an alias, if any."""
    found = version_by_alias(client, model, alias)
    return str(found.version) if found else None


def local_folder(kept: Any) -> Path | None:
    """Where artifacts lie, where that is a folder of this machine.

    Args:
        kept: From ``artifacts_at``.
    """
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    return Path(kept.artifact_dir) if isinstance(kept, LocalArtifactRepository) else None


def find_by_number(client: MlflowClient, model: str, version: str | None) -> Any:
    """A version, or None where there is none of that number, as after ``retire``."""
    from mlflow.exceptions import MlflowException

    if not version:
        return None
    try:
        return client.get_model_version(model, version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise to_error(f"Version {version} of {model} cannot be read", error) from error


def read_rolled_back(client: MlflowClient, model: str, listed: Versions = None) -> dict[str, str]:
    """Models that must not be promoted again: content key of the shipped model to the reason."""
    found = list_versions(client, model, listed)
    return {
        version.tags["shipped_key"]: (
            f"Version {version.version}, made from the same code and the same data, was "
            f"{how_withdrawn(version.tags)}: {version.tags['rolled_back']}"
        )
        for version in found
        if {"rolled_back", "shipped_key"} <= set(version.tags)
    }


def coming_twins(listed: Sequence[ModelVersion], code: str, since: date) -> list[str]:
    """Shipped models that tonight or a later night judges as the twin of the same recipe.

    Args:
        listed: Versions of a model.
        code: Digest of the spec.
        since: First night whose shipped model has seen all training days of tonight's twin.

    Returns:
        Their content keys.
    """
    return [
        version.tags["shipped_key"]
        for version in listed
        if version.tags.get("spec_digest") == code
        and version.tags.get("as_of", "") >= since.isoformat()
    ]


def read_retired(
    client: MlflowClient, model: str, as_of: date, listed: Versions = None
) -> Champion | None:
    """The champion that was given up last, where a night of this date is held to its figures."""
    found = [
        version
        for version in list_versions(client, model, listed)
        if RETIRED in version.tags and version.tags.get(KNOWN_UNTIL, "") >= as_of.isoformat()
    ]
    newest = max(found, key=lambda version: int(version.version), default=None)
    return _champion(model, newest) if newest is not None else None


def read_withdrawn(client: MlflowClient, model: str, listed: Versions = None) -> dict[str, str]:
    """Versions that were rolled back, reverted, refused or retired, each with the reason."""
    found = list_versions(client, model, listed)
    marks = ("rolled_back", RETIRED)
    return {str(v.version): v.tags[mark] for v in found for mark in marks if mark in v.tags}


def retire(client: MlflowClient, model: str, keep: int) -> list[str]:
    """Remove all but the newest versions; versions that an alias or a rollback needs are kept.

    That is the anchors, the line of champions back from each alias, each with the one it replaced,
    as far as ``keep`` versions, what a change of champion that was cut off names, and what waits
    for a person.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        keep: How many of the newest versions are kept.

    Returns:
        The removed versions.
    """
    found = sorted(list_versions(client, model), key=lambda v: -int(v.version))
    if len(found) <= keep:
        return []
    registered = client.get_registered_model(model)
    replaced = {str(v.version): v.tags.get("replaced") for v in found}
    recorded = changes.open_change(model) if settings.state_url() else None
    begun = json.loads(recorded or registered.tags.get(JOURNAL, "{}"))
    needed = {begun.get(role) for role in ("champion", "previous", "rolled_back", "refused")}
    for tag in (ANCHOR, YEARLY):
        needed.add(json.loads(registered.tags.get(tag, "{}")).get("version"))
    for version in map(str, registered.aliases.values()):
        needed |= set(_line(version, replaced, keep))
    newest = max(v.tags.get("as_of", "") for v in found)
    needed |= {str(v.version) for v in found if v.tags.get(HELD_UNTIL, "") > newest}
    needed |= {str(v.version) for v in found if waits(v.tags)}
    removed = []
    for old in found[keep:]:
        if str(old.version) in needed:
            continue
        client.delete_model_version(model, old.version)
        _delete_files(client, old)
        removed.append(str(old.version))
    return removed


def _line(version: str, replaced: Mapping[str, str | None], most: int) -> list[str]:
    """A version, the one it replaced as champion, the one that replaced, and so on."""
    line, before = [version], replaced.get(version)
    while before and before not in line and len(line) < most:
        line.append(before)
        before = replaced.get(before)
    return line


def _delete_files(client: MlflowClient, version: Any) -> None:
    """Remove the package and the twin of a deleted version; the run's metrics are kept."""
    if version.source.startswith("models:/"):
        delete_package(client, version.source.removeprefix("models:/"))
    if version.run_id:
        delete_artifacts(artifacts_of(client, version.run_id), TWIN, PROBE)


def delete_artifacts(place: str, *folders: str) -> None:
    """Remove what lies at a place of artifacts, or these folders of it."""
    try:
        kept = artifacts_at(place)
    except RegistryError as error:
        log.warning("clean up  %s Nothing is removed there.", error)
        return
    for folder in folders or (None,):
        kept.delete_artifacts(folder)


def artifacts_of(client: MlflowClient, run_id: str) -> str:
    """Where the files of a run lie; of a database nothing else of the run is read."""
    store = database_of(client._tracking_client.store)
    if store is None:
        return str(client.get_run(run_id).info.artifact_uri)
    with store.ManagedSessionMaker() as session:
        return str(store._get_run(session, run_id).artifact_uri)


def artifacts_at(place: str) -> Any:
    """MLflow's access to the files of a run or of a logged model.

    Raises:
        RegistryError: Where the place is not of the form that MLflow gives one: who can write the
            registry could name any folder, to be removed or to be read.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    if not re.search(OF_ARTIFACTS, place):
        raise RegistryError(
            f"The registry names {hide(place)} as a place of artifacts, and MLflow ends one with "
            "/artifacts after the number of a run or of a package."
        )
    return get_artifact_repository(place)


def delete_package(client: MlflowClient, number: str) -> None:
    """Remove a logged model with its files."""
    delete_artifacts(client.get_logged_model(number).artifact_location)
    client.delete_logged_model(number)


def delete_packages(client: MlflowClient, experiment: str, run: str) -> None:
    """Remove the logged models of a run, also one that the run was not told of: killed between.

    Args:
        client: From ``open_registry``.
        experiment: The run's experiment.
        run: A run of which no version is made.
    """
    for made in client.search_logged_models([experiment], f"source_run_id = '{run}'"):
        delete_package(client, made.model_id)


def champions(client: MlflowClient) -> dict[str, str]:
    """Version of the champion of each model of the registry that has one."""
    aliases = {model.name: model.aliases.get(CHAMPION) for model in registered_models(client)}
    return {name: str(version) for name, version in aliases.items() if version}


def registered_models(client: MlflowClient) -> list[Any]:
    """Every model of the registry, with its tags and aliases."""
    from mlflow.exceptions import MlflowException

    found: list[Any] = []
    token: str | None = ""
    while token is not None:
        try:
            page = client.search_registered_models(max_results=1000, page_token=token or None)
        except MlflowException as error:
            raise to_error("The registry cannot be read", error) from error
        found += page
        token = page.token or None
    return found


def champions_of(client: MlflowClient, fleet: str) -> dict[str, str]:
    """Version of the champion of each partition's model that has one."""
    return partitions_in(champions(client), fleet)


def version_by_alias(client: MlflowClient, model: str, alias: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise to_error(f"The {alias} of {model} cannot be read", error) from error
