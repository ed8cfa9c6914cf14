"""A version in MLflow: the shipped model, its judged twin, and the record of its checks."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import RegistryError
from tasks.problems.input_form import as_posted, posted_type
from tasks.registry import seals, squeezed
from tasks.registry.client import MISSING, database_of, look_again, repeats_requests, to_error
from tasks.registry.one_session import one_session_of_runs, one_session_of_versions
from tasks.registry.versions import (
    OF_ARTIFACTS,
    PROBE,
    TWIN,
    TWIN_FILE,
    artifacts_at,
    artifacts_of,
    delete_packages,
    find_version,
    local_folder,
)
from tasks.store import files, models

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.models import Model, ModelSignature

    from tasks.registry.versions import Champion


LEFT_BY_APPS = ("__pycache__", "registered_model_meta")
"""What an app leaves in a package that it loads from a local registry."""
SOON = 0.5
"""Seconds after which a store is asked again for a file that it has not."""


@dataclass(frozen=True)
class Seal:
    """The record of a version's checks before it became champion.

    Attributes:
        sha256: Digest of its files.
        trusted: Types it may hold.
        probe: A few rows of inputs.
        predictions: What it predicted for them.
        candidate: Candidate it was fitted from.
        as_of: As-of date of its night.
    """

    sha256: str
    trusted: tuple[str, ...]
    probe: pd.DataFrame
    predictions: np.ndarray
    candidate: str
    as_of: str


def register_version(
    client: MlflowClient,
    run_id: str,
    *,
    model: str,
    estimator: Any,
    twin: Path,
    twin_sha256: str,
    inputs: pd.DataFrame,
    code: Mapping[str, Path | str],
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
        estimator: The shipped model, refitted on all matured days: a ``FormedEstimator``.
        twin: File of the judged twin.
        twin_sha256: Its digest.
        inputs: A few rows of the model's inputs: the input example.
        code: Files the model needs to be loaded: where each lies in the package, and the file, or
            its text.
        trusted: Types the stored model may hold.
        requirements: Exact versions it was made with.
        tags: Kept on the version.
        description: One or two sentences.

    Returns:
        The version just made.
    """
    package = _as_package(estimator, inputs, code, trusted, requirements)
    package["input_example"] = posted(estimator, inputs)
    with _logged_model(client, run_id) as (run, described), _place_of(client, described) as at:
        with tempfile.TemporaryDirectory() as folder:
            named = shutil.copyfile(twin, Path(folder) / TWIN_FILE)
            artifacts_at(run.info.artifact_uri).log_artifact(str(named), TWIN)
        squeezed.save_model(str(at), mlflow_model=described, **package)
    noted = {**tags, "twin_sha256": twin_sha256}
    return _create_version(client, run_id, str(described.model_id), model, noted, description)


def register_folder(
    client: MlflowClient,
    run_id: str,
    *,
    model: str,
    folder: Path,
    tags: Mapping[str, str],
    description: str,
) -> str:
    """Upload a package as it is and register the version, with the tags that its night noted."""
    with _logged_model(client, run_id) as (_, described):
        number = str(described.model_id)
        client.log_model_artifacts(number, str(folder))
    return _create_version(client, run_id, number, model, tags, description)


def _create_version(
    client: MlflowClient,
    run_id: str,
    number: str,
    model: str,
    tags: Mapping[str, str],
    description: str,
) -> str:
    from mlflow.exceptions import MlflowException

    source = f"models:/{number}"
    noted = {**tags, seals.MADE: seals.made_seal(model, source, run_id, tags)}

    def create() -> Any:
        return client.create_model_version(
            model, source, run_id, tags=noted, description=description, model_id=number
        )

    try:
        made = create()
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        _ensure_model(client, model)
        made = create()
    if not repeats_requests(client):
        return str(made.version)
    look_again(client, model, versions=True)
    return find_version(client, model, tags["night"]) or str(made.version)


@contextmanager
def _logged_model(client: MlflowClient, run_id: str) -> Iterator[tuple[Run, Model]]:
    """A run, and the description of a logged model to upload a package to, as MLflow's
    ``Model.log`` has it.

    That asks for the history of every figure of the run one by one, and loads the package in this
    process, where the check in a clean process has yet to allow it.
    """
    import mlflow
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric
    from mlflow.models import Model

    with one_session_of_runs(client):
        run = client.get_run(run_id)
        delete_packages(client, run.info.experiment_id, run_id)  # of a step that was cut off
        made = mlflow.initialize_logged_model(
            name="model",
            source_run_id=run_id,
            params=run.data.params,
            experiment_id=run.info.experiment_id,
        )
        number = made.model_id
        client.log_outputs(run_id, [LoggedModelOutput(number, step=0)])
        figures = [
            Metric(k, v, 0, 0, model_id=number, run_id=run_id) for k, v in run.data.metrics.items()
        ]
        if database := database_of(client._tracking_client.store):
            # The run has them already: to log them there again breaks the key of that table.
            database._log_model_metrics(run_id, figures, experiment_id=run.info.experiment_id)
        else:
            client.log_batch(run_id, figures)
    status = LoggedModelStatus.FAILED
    try:
        yield run, Model(made.artifact_location, run_id, model_uuid=number, model_id=number)
        status = LoggedModelStatus.READY
    finally:
        client.finalize_logged_model(number, status)


@contextmanager
def _place_of(client: MlflowClient, described: Model) -> Iterator[Path]:
    """Where the package of a logged model is written: its own place, or a folder to upload.

    Killed meanwhile, the logged model is not ready and no version names it.
    """
    if own := local_folder(artifacts_at(str(described.artifact_path))):
        yield own
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "model"
        client.log_model_artifacts(str(described.model_id), f"{folder}/model")


def save_package(
    folder: Path,
    estimator: Any,
    inputs: pd.DataFrame,
    *,
    code: Mapping[str, Path | str],
    trusted: Sequence[str],
    requirements: Sequence[str],
) -> None:
    """Write the package that ``register_version`` would upload; no registry is asked."""
    package = _as_package(estimator, inputs, code, trusted, requirements)
    squeezed.save_model(str(folder), **package)


def _as_package(
    estimator: Any,
    inputs: pd.DataFrame,
    code: Mapping[str, Path | str],
    trusted: Sequence[str],
    requirements: Sequence[str],
) -> dict[str, Any]:
    """What ``squeezed.save_model`` is told of a package."""
    return {
        "sk_model": estimator,
        "signature": signature_of(estimator, inputs),
        "pip_requirements": list(requirements),
        "code": code,
        "serialization_format": "skops",
        "skops_trusted_types": list(trusted),
        "pyfunc_predict_fn": predict_method(estimator),
    }


def posted(estimator: Any, inputs: pd.DataFrame) -> pd.DataFrame:
    """Inputs in the types that the estimator's signature names."""
    return as_posted(estimator.form_, inputs)


def signature_of(estimator: Any, inputs: pd.DataFrame) -> ModelSignature:
    """The signature of a model: its inputs as in all its training rows, its outputs for a few.

    Args:
        estimator: A fitted ``FormedEstimator``.
        inputs: A few rows to predict.
    """
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import ColSpec, Schema

    columns = [ColSpec(posted_type(each), str(each["name"])) for each in estimator.form_]
    answers = infer_signature(model_output=answer(estimator, inputs)).outputs
    return ModelSignature(inputs=Schema(columns), outputs=answers)  # type: ignore[arg-type]


def predict_method(estimator: Any) -> str:
    """Method that an app's call uses: ``predict_proba`` where the model has it."""
    return "predict_proba" if hasattr(estimator, "predict_proba") else "predict"


def answer(estimator: Any, inputs: pd.DataFrame) -> np.ndarray:
    """What the packaged model must predict for these inputs."""
    found: np.ndarray = getattr(estimator, predict_method(estimator))(inputs)
    return found


def read_twin(client: MlflowClient, champion: Champion, trusted: Sequence[str]) -> Any:
    """The judged twin of the champion, digest checked, loaded with our own list of types.

    Raises:
        RegistryError: Where the artifact is missing or altered.
        OutageError: Where the server fails.
    """
    with downloaded_twin(client, champion) as file:
        return models.load_model(file, champion.twin_sha256, trusted)


@contextmanager
def downloaded_twin(client: MlflowClient, champion: Champion) -> Iterator[Path]:
    """The file of the champion's judged twin, in a temporary folder.

    Raises:
        RegistryError: Where the version is not sealed, or the artifact is missing or altered.
        OutageError: Where the server fails.
    """
    if champion.unsealed:
        raise seals.SealError(champion.unsealed)
    with tempfile.TemporaryDirectory() as folder:
        try:
            file = _download(client, champion.run_id, TWIN, folder) / TWIN_FILE
            found = hashlib.sha256(file.read_bytes()).hexdigest()
        except Exception as error:
            what = f"The twin of champion version {champion.version} cannot be downloaded"
            raise to_error(what, error) from error
        if found != champion.twin_sha256:
            raise RegistryError(
                f"The twin of champion version {champion.version} was altered: its digest is not "
                "the one in the version's tag."
            )
        yield file


@contextmanager
def downloaded(
    client: MlflowClient,
    model: str,
    version: str,
    *,
    unchecked: bool = False,
    contents: Path | None = None,
) -> Iterator[Path]:
    """The package of a version as an app gets it, in a temporary folder.

    Files that an app leaves there when it loads from a local registry are left out: MLflow's note
    of the version, and compiled code, which must not run instead of the checked source.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        version: The version.
        unchecked: To check a version that tonight has made, before it is sealed.
        contents: A temporary folder. Packages that are copied on this machine with the same one
            share their equal files, which takes half as long; the registry keeps its own.

    Raises:
        RegistryError: Where there is no such version, it is not sealed, or its files are missing.
        OutageError: Where the server fails.
    """
    found = _read(client, model, version)
    if not (unchecked and seals.is_made(found)):
        seals.check_seal(found)
    with tempfile.TemporaryDirectory() as folder:
        try:
            uri = client.get_model_version_download_uri(model, version)
            place = _copied(uri, Path(folder), contents)
            for compiled in list(place.rglob(LEFT_BY_APPS[0])):
                shutil.rmtree(compiled)
            (place / LEFT_BY_APPS[1]).unlink(missing_ok=True)
            whole = (place / "MLmodel").is_file()
        except Exception as error:
            what = f"Version {version} of {model} cannot be downloaded"
            raise to_error(what, error) from error
        if not whole:
            raise RegistryError(
                f"Version {version} of {model} cannot be downloaded: its package has no file "
                "MLmodel."
            )
        yield place


def read_package(client: MlflowClient, model: str, version: str) -> dict[str, bytes]:
    """The files of a version's package by name; they are copied where they are not on this machine.

    Raises:
        RegistryError: Where they are missing.
        OutageError: Where the server fails.
    """
    try:
        own = _own_folder(client.get_model_version_download_uri(model, version))
        if own is not None:
            return _read_all(own)
    except Exception as error:
        raise to_error(f"Version {version} of {model} cannot be read", error) from error
    with downloaded(client, model, version) as place:
        return _read_all(place)


def _read_all(place: Path) -> dict[str, bytes]:
    named = {file.relative_to(place): file for file in place.rglob("*") if file.is_file()}
    return {
        name.as_posix(): file.read_bytes()
        for name, file in named.items()
        if not set(LEFT_BY_APPS).intersection(name.parts)
    }


def _own_folder(uri: str) -> Path | None:
    """The folder of a package that is on this machine."""
    own = local_folder(artifacts_at(uri)) if re.search(OF_ARTIFACTS, uri) else None
    return own if own and own.is_dir() else None


def _copied(uri: str, folder: Path, contents: Path | None) -> Path:
    """Copy a package to a folder below this one."""
    import mlflow

    if own := _own_folder(uri):
        left = shutil.ignore_patterns(*LEFT_BY_APPS)
        copy = functools.partial(_share, contents) if contents else shutil.copyfile
        return shutil.copytree(own, folder / "model", ignore=left, copy_function=copy)
    read = functools.partial(mlflow.artifacts.download_artifacts, uri, dst_path=str(folder))
    return Path(_look_twice(read))


def _share(contents: Path, source: str, target: str) -> None:
    """Copy a file; what is equal to one that was copied before is a link to that."""
    content = Path(source).read_bytes()
    kept = contents / hashlib.sha256(content).hexdigest()
    if not kept.exists():
        kept.write_bytes(content)
    os.link(kept, target)


def seal(
    client: MlflowClient,
    model: str,
    version: str,
    *,
    sha256: str,
    trusted: Sequence[str],
    probe: pd.DataFrame,
    predictions: np.ndarray,
    waits: bool = False,
) -> None:
    """Record a version's checks in its tags, so that a rollback can repeat them without its code.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        version: The checked version.
        sha256: Digest of its files.
        trusted: Types it may hold.
        probe: A few rows of inputs.
        predictions: What it predicts for them.
        waits: Whether it is no champion before it is promoted.
    """
    found = _read_made(client, model, version)
    run = str(found.run_id)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        probe.to_parquet(file, index=False)
        said = json.dumps({"predictions": predictions.tolist()}, indent=2)
        (Path(folder) / "predictions.json").write_text(said, encoding="utf-8")
        artifacts_at(artifacts_of(client, run)).log_artifacts(folder, PROBE)
    checked = {"trusted_types": json.dumps(list(trusted)), "files_sha256": sha256}
    _seal(client, found, checked, waits=waits)


def seal_version(
    client: MlflowClient,
    model: str,
    version: str,
    checked: Mapping[str, str],
    *,
    waits: bool,
) -> None:
    """Note what a version was checked to be, in ``seals.CHECKED``, and sign it.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        version: The checked version.
        checked: The tags.
        waits: Whether it is no champion before it is promoted.

    Raises:
        SealError: Where it is not as it was registered.
    """
    _seal(client, _read_made(client, model, version), checked, waits=waits)


def _seal(client: MlflowClient, made: Any, checked: Mapping[str, str], *, waits: bool) -> None:
    noted = {name: checked[name] for name in seals.CHECKED}
    seal = seals.full_seal(made, noted, signed_as=seals.WAITS if waits else seals.SEAL)
    with one_session_of_versions(client):
        for name, value in {**noted, seals.SEAL: seal}.items():
            client.set_model_version_tag(made.name, made.version, name, value)


def read_seal(client: MlflowClient, model: str, version: str) -> Seal:
    """The record of a version's checks.

    Raises:
        RegistryError: Where there is no such version, or it was never checked.
        OutageError: Where the server fails.
    """
    found = _read(client, model, version)
    tags = found.tags
    if not {"files_sha256", "trusted_types"} <= set(tags):
        raise RegistryError(
            f"Version {version} of {model} was never checked, because it never became champion. "
            "Choose a version that was champion."
        )
    seals.check_seal(found)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return seal_of(tags, _download(client, str(found.run_id), PROBE, folder))
    except Exception as error:
        what = f"The probe of version {version} of {model} cannot be read"
        raise to_error(what, error) from error


def seal_of(tags: Mapping[str, str], probe: Path) -> Seal:
    """The record of a version's checks, from its tags and the folder of its probe."""
    import numpy as np
    import pandas as pd

    return Seal(
        sha256=tags["files_sha256"],
        trusted=tuple(json.loads(tags["trusted_types"])),
        probe=pd.read_parquet(probe / "rows.parquet"),
        predictions=np.asarray(files.read_json(probe / "predictions.json")["predictions"]),
        candidate=tags.get("candidate", ""),
        as_of=tags.get("as_of", ""),
    )


def download_run(client: MlflowClient, run_id: str, folder: Path) -> None:
    """Put the files of a run into a new folder: twin, probe, report and pictures.

    Raises:
        RegistryError: Where they are missing.
        OutageError: Where the server fails.
    """
    folder.mkdir()
    try:
        _download(client, run_id, "", str(folder))
    except Exception as error:
        raise to_error(f"The files of run {run_id} cannot be downloaded", error) from error


def _read_made(client: MlflowClient, model: str, version: str) -> Any:
    look_again(client, model, versions=True)
    found = _read(client, model, version)
    if not seals.is_made(found):
        raise seals.SealError(
            f"Version {version} of {model} was altered while it was checked: it is not sealed."
        )
    return found


def _read(client: MlflowClient, model: str, version: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(model, version)
    except MlflowException as error:
        raise to_error(f"There is no version {version} of {model}", error) from error


def _download(client: MlflowClient, run_id: str, name: str, folder: str) -> Path:
    """An artifact of a run, read from the artifact store: through the run, MLflow hides errors."""
    kept = artifacts_at(artifacts_of(client, run_id))
    return Path(_look_twice(lambda: kept.download_artifacts(name, folder)))


def _look_twice(read: Callable[[], str]) -> str:
    """Read artifacts, once more where a store says that it has not what was just put there."""
    try:
        return read()
    except Exception as error:
        if not MISSING.search(str(error)):
            raise
    time.sleep(SOON)
    return read()


def _ensure_model(client: MlflowClient, model: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
