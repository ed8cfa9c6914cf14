"""A version in one file, to be carried to another registry and state directory."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import RegistryError, WrongInputError
from tasks.registry import packages, seals
from tasks.registry.client import to_error
from tasks.registry.runs import NightRun, log_night
from tasks.registry.versions import PROBE, find_version, read_withdrawn, versions_of_night
from tasks.store import files

if TYPE_CHECKING:
    from mlflow import MlflowClient

NOTE, PACKAGE, RUN = "version.json", "package", "run"
"""Members of the file: what is noted of the version, its package, and the files of its run."""
BROUGHT = "BROUGHT"
"""``judged`` of a run that a version was brought with."""


class BundleError(WrongInputError, RuntimeError):
    """The file is not, or not provably, one that this project has packed."""


@dataclass(frozen=True)
class Bundle:
    """A version, unpacked in a temporary folder.

    Attributes:
        model: Registered model.
        version: Its number where it was packed.
        description: One or two sentences.
        tags: What its night and its checks noted on it.
        params: Parameters of its run.
        metrics: Figures of its run.
        folder: Its package in ``package/``, and the files of its run in ``run/``.
    """

    model: str
    version: str
    description: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    folder: Path

    @property
    def package(self) -> Path:
        """The packaged model."""
        return self.folder / PACKAGE

    @property
    def seal(self) -> packages.Seal:
        """The record of its checks."""
        return packages.seal_of(self.tags, self.folder / RUN / PROBE)


def pack_version(client: MlflowClient, model: str, version: str, file: Path) -> str:
    """Write a sealed version with its twin, probe, report and figures into one file.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        version: A version that passed its checks.
        file: A tar file, replaced whole.

    Returns:
        Digest of the file.

    Raises:
        RegistryError: Where there is no such version, it is not sealed, or its files are missing.
        OutageError: Where the server fails.
    """
    packages.read_seal(client, model, version)
    found = client.get_model_version(model, version)
    run = client.get_run(str(found.run_id))
    kept = (*seals.NOTED, *seals.CHECKED)
    note = {
        "model": model,
        "version": version,
        "description": found.description or "",
        "tags": {name: found.tags[name] for name in kept if name in found.tags},
        "params": run.data.params,
        "metrics": run.data.metrics,
    }
    with tempfile.TemporaryDirectory() as place, packages.downloaded(client, model, version) as own:
        folder = Path(place)
        packages.download_run(client, str(found.run_id), folder / RUN)
        members = {
            f"{top}/{one.relative_to(root).as_posix()}": one
            for top, root in ((PACKAGE, own), (RUN, folder / RUN))
            for one in sorted(root.rglob("*"))
            if one.is_file()
        }
        note["files"] = {name: _digest(one) for name, one in members.items()}
        note["seal"] = _seal(note)
        (folder / NOTE).write_text(json.dumps(note, ensure_ascii=False), encoding="utf-8")
        made = folder / "bundle.tar"
        with tarfile.open(made, "w") as tar:
            for name, one in {NOTE: folder / NOTE, **members}.items():
                tar.add(one, name)
        digest = _digest(made)
        files.write_file(file, made.read_bytes())
    return digest


@contextmanager
def opened_bundle(file: Path, sha256: str | None = None) -> Iterator[Bundle]:
    """A packed version, in a temporary folder; its code has not run yet.

    Args:
        file: From ``pack_version``.
        sha256: Digest that ``pack_version`` gave; needed where it was packed with another key.

    Raises:
        BundleError: Where it cannot be read, was altered, or is signed with another key and the
            digest is not given.
    """
    if not file.is_file():
        raise BundleError(f"{file} does not exist.")
    if sha256 is not None and sha256 != (found := _digest(file)):
        raise BundleError(
            f"{file} has the digest {found}, but {sha256} is expected: it is another file, or was "
            "altered on its way. Pack it again."
        )
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        try:
            with tarfile.open(file) as tar:
                tar.extractall(folder, filter="data")
            note = files.read_json(folder / NOTE)
            same = note["files"] == _digests(folder)
        except (tarfile.TarError, OSError, ValueError, KeyError, TypeError) as error:
            raise BundleError(f"{file} is no packed version: {error}") from error
        if not same:
            raise BundleError(f"{file} was altered: its files are not those that were packed.")
        seal = note.pop("seal", "")
        if sha256 is None and not seals.is_signed(seal, _seal(note)):
            raise BundleError(
                f"{file} was packed with another key. If you know who packed it and vouch for its "
                "code, give the digest that was printed then: --sha256 DIGEST"
            )
        del note["files"]
        yield Bundle(**note, folder=folder)


def register_bundle(client: MlflowClient, bundle: Bundle) -> str:
    """Register an unpacked version and seal it with the key of this place; gives its number.

    The same again registers nothing. Whether it predicts as it did is to be checked before.

    Raises:
        BundleError: Where it is here already, and was rolled back, reverted or refused.
        RegistryError: Where the registry refuses it.
        OutageError: Where the server fails.
    """
    night = bundle.tags["night"]
    there = find_version(client, bundle.model, night)
    made = [str(each.version) for each in versions_of_night(client, bundle.model, night)]
    withdrawn = read_withdrawn(client, bundle.model)
    for version in [there] if there else made:
        if why := withdrawn.get(version):
            raise BundleError(f"Version {version} of {bundle.model} was withdrawn here: {why}")
    if there:
        if seals.seal_fault(client.get_model_version(bundle.model, there)):
            packages.seal_version(client, bundle.model, there, bundle.tags, waits=True)  # cut off
        return there
    run = NightRun(
        model=bundle.model,
        as_of=date.fromisoformat(bundle.tags["as_of"]),
        night=night,
        tags={"judged": BROUGHT},
        params=bundle.params,
        metrics=bundle.metrics,
        children=(),
        days={},
    )
    try:
        run_id = log_night(client, run)
        client.log_artifacts(run_id, str(bundle.folder / RUN))
        client.set_terminated(run_id)
        tags = {name: value for name, value in bundle.tags.items() if name not in seals.CHECKED}
        version = packages.register_folder(
            client,
            run_id,
            model=bundle.model,
            folder=bundle.package,
            tags=tags,
            description=bundle.description,
        )
        packages.seal_version(client, bundle.model, version, bundle.tags, waits=True)
    except RegistryError:
        raise
    except Exception as error:
        raise to_error(f"Version {bundle.version} cannot be registered", error) from error
    return version


def _seal(note: dict[str, Any]) -> str:
    kept = json.dumps(note, sort_keys=True, ensure_ascii=False)
    return seals.bundle_seal(hashlib.sha256(kept.encode()).hexdigest())


def _digests(folder: Path) -> dict[str, str]:
    every = (one for one in folder.rglob("*") if one.is_file() and one != folder / NOTE)
    return {one.relative_to(folder).as_posix(): _digest(one) for one in every}


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
