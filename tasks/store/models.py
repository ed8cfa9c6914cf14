"""Fitted models, stored by skops under a key."""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks.store import blobs
from tasks.store.files import (
    StoreError,
    disk_fault,
    read_json,
    root,
    write_file,
    write_json,
)
from tasks.store.trusted_types import untrusted_types, way_out

log = logging.getLogger("nightly")


class TypesError(StoreError):
    """A model holds a type that is not trusted, or that cannot be stored without pickle."""


def write_model(kind: str, key: str, estimator: Any, trusted: Sequence[str]) -> None:
    """Store a fitted estimator without pickle, and make it findable by its key.

    The bytes of one fitted object differ at each dump, so the file is named by its content and the
    key points at it: killed between the two, the key still points at what was whole before.

    Raises:
        TypesError: Where it holds a type that could not be loaded again; nothing is written.
    """
    content = model_content(estimator, trusted)
    digest = hashlib.sha256(content).hexdigest()
    name = f"{digest[:24]}.skops"
    write_file(root() / kind / name, content)
    blobs.put(f"{kind}/{name}", content)
    write_json(root() / kind / f"{key}.json", {"file": name, "sha256": digest})


def model_content(estimator: Any, trusted: Sequence[str]) -> bytes:
    """A fitted estimator as the store keeps it.

    Raises:
        TypesError: Where it could not be loaded again; says what to do.
    """
    import skops.io

    try:
        content: bytes = skops.io.dumps(
            estimator, compression=zipfile.ZIP_DEFLATED, compresslevel=1
        )
    except Exception as error:
        raise TypesError(
            f"The model cannot be stored without pickle: {type(error).__name__}: {error}. Leave "
            "out the part that causes this, or use another estimator."
        ) from error
    unknown = untrusted_types(content, trusted)
    if unknown:
        raise TypesError(way_out(unknown))
    return content


def has_model(kind: str, key: str) -> bool:
    """Whether a model is in the store and intact."""
    try:
        path, sha256 = model_file(kind, key)
    except StoreError:
        return False
    whole = blobs.is_whole(f"{kind}/{path.name}", sha256)
    if not whole:
        log.warning("%s is missing or altered: the model is fitted again", path)
    return whole


def model_file(kind: str, key: str) -> tuple[Path, str]:
    """File and digest of a stored model.

    Raises:
        StoreError: Where there is none.
    """
    record = root() / kind / f"{key}.json"
    try:
        found = read_json(record)
        return root() / kind / Path(found["file"]).name, str(found["sha256"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"There is no model {key} in {record.parent}.") from error


def fetch_model(kind: str, key: str) -> tuple[Path, str]:
    """``model_file``, brought here where another machine has written it.

    Raises:
        StoreError: Where there is none.
    """
    path, sha256 = model_file(kind, key)
    blobs.is_whole(f"{kind}/{path.name}", sha256)
    return path, sha256


def note_use(kind: str, keys: Iterable[str], now: float) -> None:
    """Keep models that later nights will look for from going because of their age.

    Args:
        kind: Folder of the store.
        keys: Of the models; one that is not there is passed over.
        now: The current time, in seconds.
    """
    for key in keys:
        with suppress(StoreError, OSError):
            os.utime(model_file(kind, key)[0], (now, now))


def read_model(kind: str, key: str, trusted: Sequence[str]) -> Any:
    """A stored model, built only from trusted types.

    Raises:
        StoreError: Where it is missing, altered, or holds another type.
    """
    path, sha256 = fetch_model(kind, key)
    return load_model(path, sha256, trusted)


def load_model(path: Path, sha256: str, trusted: Sequence[str]) -> Any:
    """A model from a file, its digest checked, built only from trusted types.

    Raises:
        StoreError: Where the file is missing, altered, or holds another type.
    """
    content = _read_file(path)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise StoreError(f"Model file {path} was altered: digest {found}, expected {sha256}.")
    return build_model(content, trusted, f"Model file {path}")


def load_checked_model(path: Path, trusted: Sequence[str]) -> Any:
    """A model from a file of a package whose digest was checked, built only from trusted types.

    Raises:
        StoreError: Where the file is missing, or holds another type.
    """
    return build_model(_read_file(path), trusted, f"Model file {path}")


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        what = f"Model file {path} cannot be read"
        raise disk_fault(what, error) or StoreError(f"{what}: {error.strerror}.") from error


def build_model(content: bytes, trusted: Sequence[str], where: str) -> Any:
    """The model that ``model_content`` gave, built only from trusted types.

    Args:
        content: What was stored.
        trusted: Types it may hold.
        where: Name of the file, for a message.

    Raises:
        TypesError: Where it holds another type, or cannot be built again.
    """
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops.io.loads(content, trusted=list(trusted))
    except UntrustedTypesFoundException as error:
        unknown = untrusted_types(content, trusted)
        raise TypesError(f"{where}: {way_out(unknown)}") from error
    except Exception as error:
        raise TypesError(
            f"{where} cannot be built again: {type(error).__name__}: {error}."
        ) from error
