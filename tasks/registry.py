"""The model registry: the only room that knows MLflow."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import settings, store

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

CHAMPION = "champion"
PREVIOUS = "previous"
TWIN = "twin"
"""Artifact of a night's run: the model that was judged, blind to the holdout."""
TWIN_FILE = "model.skops"


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


@dataclass(frozen=True)
class ChildRun:
    """What MLflow keeps of one candidate."""

    candidate: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class NightRun:
    """What MLflow keeps of one night.

    Attributes:
        model: Registered model.
        as_of: As-of date.
        night: Key of the night's inputs: a killed night's half-written run is found by it.
        tags: Verdict, links, commit and the like.
        params: What the night was run with.
        metrics: Figures of the night.
        children: Its candidates.
        days: The data: name, fingerprint and place, logged as dataset input.
    """

    model: str
    as_of: date
    night: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    children: Sequence[ChildRun]
    days: Mapping[str, str]


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


def read_twin(client: MlflowClient, champion: Champion, trusted: Sequence[str]) -> Any:
    """The judged twin of the champion, digest checked, loaded with our own list of types.

    Raises:
        RegistryError: Where the artifact is missing or altered.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            place = Path(client.download_artifacts(champion.run_id, TWIN, folder))
        except Exception as error:
            raise RegistryError(
                f"The twin of champion version {champion.version} cannot be downloaded: {error}"
            ) from error
        return store.load_model(place / TWIN_FILE, champion.twin_sha256, trusted)


def log_night(client: MlflowClient, night: NightRun) -> str:
    """Write the night's run with a child for each candidate; a half-written one is replaced.

    A run with a registered version is whole and holds that version's judged twin: it is never
    removed, and it stands for the night where the verdict is the same.

    Returns:
        Id of the parent run.
    """
    from mlflow.data.filesystem_dataset_source import FileSystemDatasetSource  # noqa: F401

    experiment = _experiment(client, night.model)
    found = client.search_runs([experiment], f"tags.`nightly.night` = '{night.night}'")
    registered = {version.run_id for version in _versions(client, night.model, night.night)}
    for old in found:
        if old.data.tags.get("mlflow.parentRunId", old.info.run_id) not in registered:
            client.delete_run(old.info.run_id)
        elif old.data.tags.get("verdict") == night.tags["verdict"]:
            return str(old.info.run_id)
    tags = {**night.tags, "nightly.night": night.night, "as_of": night.as_of.isoformat()}
    name = f"{night.model} {night.as_of}"
    parent: str = client.create_run(experiment, run_name=name, tags=tags).info.run_id
    _log(client, parent, night.params, night.metrics)
    _log_dataset(client, parent, night)
    for child in night.children:
        run = client.create_run(
            experiment,
            run_name=child.candidate,
            tags={
                "mlflow.parentRunId": parent,
                "nightly.night": night.night,
                "as_of": tags["as_of"],
            },
        ).info.run_id
        _log(client, run, child.params, child.metrics)
        client.set_terminated(run)
    return parent


def close_run(client: MlflowClient, run_id: str, folder: Path) -> None:
    """Attach a folder (report, plots) to the night's run and end it."""
    client.log_artifacts(run_id, str(folder))
    client.set_terminated(run_id)


def register_version(
    client: MlflowClient,
    run_id: str,
    *,
    model: str,
    estimator: Any,
    twin: Path,
    twin_sha256: str,
    inputs: pd.DataFrame,
    code: Sequence[Path],
    trusted: Sequence[str],
    requirements: Sequence[str],
    tags: Mapping[str, str],
    description: str,
) -> str:
    """Upload model and twin and register the version.

    Args:
        client: From ``open_registry``.
        run_id: The night's run.
        model: Registered model.
        estimator: What ships: refitted on all matured days.
        twin: File of the judged twin.
        twin_sha256: Its digest.
        inputs: A few rows of the model's inputs: the signature and the input example.
        code: Files the model needs to be loaded.
        trusted: Types the stored model may hold.
        requirements: Exact versions it was made with.
        tags: Kept on the version.
        description: One readable sentence or two.

    Returns:
        The version just made.
    """
    import warnings

    import mlflow
    from mlflow.models import infer_signature

    with tempfile.TemporaryDirectory() as folder:
        named = shutil.copyfile(twin, Path(folder) / TWIN_FILE)
        client.log_artifact(run_id, str(named), TWIN)
    probabilities = hasattr(estimator, "predict_proba")
    predict = "predict_proba" if probabilities else "predict"
    answer = getattr(estimator, predict)(inputs)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Hint: Inferred schema contains integer")
        signature = infer_signature(inputs, answer)
    with _packages(code) as packages, mlflow.start_run(run_id=run_id):
        logged = mlflow.sklearn.log_model(
            estimator,
            name="model",
            signature=signature,
            input_example=inputs,
            pip_requirements=list(requirements),
            code_paths=packages,
            serialization_format="skops",
            skops_trusted_types=list(trusted),
            pyfunc_predict_fn=predict,
        )
    _ensure_model(client, model)
    made = client.create_model_version(
        model,
        logged.model_uri,
        run_id,
        tags={**tags, "twin_sha256": twin_sha256},
        description=description,
    )
    return str(made.version)


def find_version(client: MlflowClient, model: str, night: str) -> str | None:
    """The version a killed run of the same night has already registered, if any."""
    found = _versions(client, model, night)
    return str(found[0].version) if found else None


def promote(client: MlflowClient, model: str, version: str) -> None:
    """Make exactly this version the champion; the one before it becomes ``previous``."""
    before = read_champion(client, model)
    if before and before.version != version:
        client.set_registered_model_alias(model, PREVIOUS, before.version)
    client.set_registered_model_alias(model, CHAMPION, version)


def _versions(client: MlflowClient, model: str, night: str) -> Sequence[Any]:
    found: Sequence[Any] = client.search_model_versions(
        f"name = '{model}' and tags.night = '{night}'"
    )
    return found


def _version_by_alias(client: MlflowClient, model: str, alias: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise RegistryError(f"The {alias} of {model} cannot be read: {error}") from error


def _experiment(client: MlflowClient, model: str) -> str:
    found = client.get_experiment_by_name(model)
    if found:
        return str(found.experiment_id)
    local = settings.tracking_uri().startswith("sqlite:")
    place = (settings.artifact_root() / model).as_uri() if local else None
    return str(client.create_experiment(model, artifact_location=place))


def _ensure_model(client: MlflowClient, model: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _log(
    client: MlflowClient, run: str, params: Mapping[str, str], metrics: Mapping[str, float]
) -> None:
    from mlflow.entities import Metric, Param

    client.log_batch(
        run,
        metrics=[Metric(name, float(value), 0, 0) for name, value in metrics.items()],
        params=[Param(name, str(value)[:500]) for name, value in params.items()],
    )


def _log_dataset(client: MlflowClient, run: str, night: NightRun) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=night.days["name"],
        digest=night.days["fingerprint"][:36],
        source_type="local",
        source=night.days["source"],
        profile=night.days["profile"],
    )
    client.log_inputs(run, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


@contextmanager
def _packages(files: Sequence[Path]) -> Iterator[list[str]]:
    """The code a model needs, laid out as importable packages in a temporary folder."""
    from tasks.spec import PROJECT

    with tempfile.TemporaryDirectory() as folder:
        tops = set()
        for file in files:
            inside = file.is_relative_to(PROJECT)
            relative = file.relative_to(PROJECT) if inside else Path(file.name)
            target = Path(folder) / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            if len(relative.parts) > 1:
                (target.parent / "__init__.py").touch()
            tops.add(str(Path(folder) / relative.parts[0]))
        yield sorted(tops)


def _writes_ahead(database: Path) -> bool:
    """Whether the database is whole: the journal mode, in its header, is the last thing set."""
    try:
        with database.open("rb") as file:
            return file.read(20)[18:20] == b"\x02\x02"
    except OSError:
        return False


def _write_ahead(database: str) -> None:
    import sqlite3

    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
