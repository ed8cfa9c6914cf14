"""The model registry: the only room that knows MLflow."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

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


HOW_A_SERVER_FAILS = {
    "refused": "refuses the connection: is it running, and is MLFLOW_TRACKING_URI right?",
    "resolve": "is not known by that name: is MLFLOW_TRACKING_URI right?",
    "timed out|timeout": "accepts the connection and does not answer",
    "too many 5.. error": "answers {path} with an error of its own: its log says which",
    "": "broke off the connection",
}
"""Words of the client's error to plain words."""


class RegistryError(RuntimeError):
    """The registry holds something other than it promised."""


class OutageError(RuntimeError):
    """The registry's server cannot be reached or fails: nothing is known of what it holds."""


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


def open_registry() -> MlflowClient:
    """A client of the tracking store; a fresh local database is initialised once, under a lock."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # the steps wait and try again
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


def reach_server() -> None:
    """Ask the registry's server for little, before a night's work is done for it in vain.

    A local database is not asked: that would import MLflow before the candidates are fitted.

    Raises:
        OutageError: Where it does not answer.
    """
    if settings.tracking_uri().startswith("sqlite:"):
        return
    client = open_registry()
    try:
        client.search_experiments(max_results=1)
        client.search_registered_models(max_results=1)
    except Exception as error:
        raise to_error("The registry cannot be read", error) from error


def outage(error: BaseException) -> str | None:
    """In plain words how the registry's server failed, where that is what an error comes from."""
    causes = list(_causes(error))
    known = next((str(cause) for cause in causes if isinstance(cause, OutageError)), None)
    if known:
        return known
    said = "\n".join(map(str, causes))
    asked = re.search(r"API request to (http\S+) failed", said)
    if asked is None:
        return None
    url = urlsplit(asked[1])
    how = next(how for words, how in HOW_A_SERVER_FAILS.items() if re.search(words, said))
    address = f"{url.scheme}://{url.netloc.rpartition('@')[2]}"
    return f"The MLflow server at {address} {how.format(path=url.path)}"


def to_error(what: str, error: Exception) -> OutageError | RegistryError:
    """What to raise for an error of MLflow: an outage says nothing about what the registry holds.

    Args:
        what: What cannot be done, in words.
        error: What MLflow raised.
    """
    failed = outage(error)
    return OutageError(failed) if failed else RegistryError(f"{what}: {error}")


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
    return _champion(model, version) if version is not None else None


def read_previous(client: MlflowClient, model: str) -> Champion | None:
    """The champion before this one, or None where there was none.

    Raises:
        RegistryError: Where the version behind the alias is not one of ours.
    """
    version = _version_by_alias(client, model, PREVIOUS)
    return _champion(model, version) if version is not None else None


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


def promote(client: MlflowClient, model: str, version: str) -> None:
    """Make exactly this version the champion; the one before it becomes ``previous``.

    What is meant is written down first: killed at any instant, ``finish_change`` ends it. It does
    so here too, where an answer was lost in the middle and the step is tried again.
    """
    finish_change(client, model)
    before = _version_by_alias(client, model, CHAMPION)
    if before is None or str(before.version) != version:
        replaced = str(before.version) if before else None
        _change(client, model, {"champion": version, "previous": replaced, "replaced": replaced})


def roll_back(client: MlflowClient, model: str, version: str, why: str) -> str | None:
    """Make an earlier version the champion again and mark the one it takes over from.

    The same rollback, cut off in the middle, is ended as it was meant.

    Returns:
        The version that was champion before it.
    """
    begun = _read_change(client, model)
    if begun.get("rolled_back") and begun["champion"] == version:
        _apply(client, model, begun)
        return begun["rolled_back"]
    now = _version_by_alias(client, model, CHAMPION)
    replaced = client.get_model_version(model, version).tags.get("replaced")
    rejected = str(now.version) if now else None
    intent = {"champion": version, "previous": replaced, "rolled_back": rejected, "why": why}
    _change(client, model, intent)
    return rejected


def unfinished_rollback(client: MlflowClient, model: str) -> str | None:
    """The version that a rollback was going back to when it was cut off."""
    begun = _read_change(client, model)
    return begun["champion"] if begun.get("rolled_back") else None


def finish_change(client: MlflowClient, model: str) -> str | None:
    """End a promotion or a rollback that was cut off in the middle.

    It had passed every check before it was written down, so it is finished, not undone.

    Returns:
        The version that is champion now, or None where nothing was cut off.
    """
    begun = _read_change(client, model)
    if not begun:
        return None
    _apply(client, model, begun)
    return begun["champion"]


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


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _read_change(client: MlflowClient, model: str) -> dict[str, str | None]:
    """What was meant by a change of champion that was cut off; empty where there is none."""
    from mlflow.exceptions import MlflowException

    try:
        intent = client.get_registered_model(model).tags.get(JOURNAL)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise to_error(f"The model {model} cannot be read", error) from error
    return dict(json.loads(intent)) if intent else {}


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
        raise to_error(f"The {alias} of {model} cannot be read", error) from error


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
