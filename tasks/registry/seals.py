"""Seals of versions: what is trusted of a version, signed with a key the registry does not hold.

Whoever can write to the registry can make a version and move an alias. Without the key they cannot
make one that is loaded.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import settings
from tasks.errors import RegistryError
from tasks.store import files, locks, state_database

if TYPE_CHECKING:
    from mlflow import MlflowClient


MADE = "nightly.made"
"""Tag of a version: a night with the key has registered it."""
SEAL = "nightly.seal"
"""Tag of a version: its package has passed the checks of such a night."""
WAITS = "nightly.seal.waits"
"""What the seal of a version is signed as that somebody has yet to decide on."""
PROMOTED = "nightly.promoted"
"""Tag of such a version: a night with the key, or a person there, has promoted it."""
NOTED = (
    "night", "as_of", "candidate", "spec_digest", "shipped_key", "judged_from",
    "twin_learned_through", "spec_module", "spec_file", "lookback", "promised", "hold",
    "twin_sha256",
)  # fmt: skip
SHADOW = "nightly.shadow"
"""What the note of a version's shadow nights is signed as."""
MODEL = "nightly.model"
"""Tag of a version that waits: a night with the key has named its model so."""
PUBLISHED = "nightly.published"
"""What the name of the model file in the record of published predictions is signed as."""
BUNDLE = "nightly.bundle"
"""What a packed version is signed as."""
CHECKED = ("files_sha256", "trusted_types")
"""Tags that are signed as well once the package is checked."""


class SealError(RegistryError):
    """A version has no valid seal: it is not loaded."""

    may_pass = False


def made_seal(
    model: str, source: str, run_id: str | None, tags: Mapping[str, str], key: str | None = None
) -> str:
    """The tag ``MADE`` of a version that is about to be registered."""
    return _sign([MADE, model, source, run_id or "", *_values(tags, NOTED)], key)


def is_made(version: Any) -> bool:
    """Whether a night with the key has registered this version, and nobody has altered it."""
    wanted = made_seal(version.name, version.source, version.run_id, version.tags)
    return is_signed(version.tags.get(MADE, ""), wanted)


def full_seal(
    version: Any, checked: Mapping[str, str], key: str | None = None, signed_as: str = SEAL
) -> str:
    """The tag ``SEAL`` of a version with these ``CHECKED`` tags, signed as that or ``WAITS``."""
    tags = {**version.tags, **checked}
    return _sign_version(signed_as, version, *_values(tags, (*NOTED, *CHECKED)), key=key)


def promotion_seal(version: Any) -> str:
    """The tag ``PROMOTED`` of a version."""
    return _sign_version(PROMOTED, version)


def shadow_seal(version: Any, against: str | None, nights: int) -> str:
    """Signs that this version was sent into the shadow for so many nights, beside a champion.

    What is promoted by itself at the end of them must have been sent there by a night with the key.
    """
    return _sign_version(SHADOW, version, against, nights)


def model_seal(version: Any, model: str) -> str:
    """Signs how the night of a version named its model: a file of that name is run."""
    return _sign_version(MODEL, version, model)


def published_seal(name: str, model: str, beside: Sequence[str]) -> str:
    """Signs how a night that published named its model, and where that file lay: it is run.

    Args:
        name: Name of the model in the registry.
        model: The model as its night named it.
        beside: Its file as seen from the folders it may be moved with.
    """
    return _sign([PUBLISHED, name, model, *beside], None)


def bundle_seal(sha256: str) -> str:
    """Signs what a file holds in which a version is carried to another place."""
    return _sign([BUNDLE, sha256], None)


def is_signed(found: str, wanted: str) -> bool:
    """Whether a signature is the one that is wanted."""
    return hmac.compare_digest(found.encode(), wanted.encode())


def seal_fault(version: Any) -> str | None:
    """Why a version must not be loaded; None where its seal is valid."""
    found = version.tags.get(SEAL)
    if _is_sealed(version, SEAL) or is_waiting(version):
        return None
    named = f"Version {version.version} of {version.name}"
    why = (
        "its seal does not fit it: its tags or its source were altered, or it was sealed with "
        "another key"
        if found
        else "it has no seal: it was not made by a night with this key, or was never checked"
    )
    return (
        f"{named} is not loaded, because {why}. Go back to a version that is sealed. If you know "
        "who made it and vouch for its code: "
        f"python deployments/seal.py --model {version.name} --version {version.version}"
    )


def is_waiting(version: Any) -> bool:
    """Whether a version was sealed to wait: no champion before it is promoted."""
    return _is_sealed(version, WAITS)


def champion_fault(version: Any) -> str | None:
    """Why a version must not be loaded as the champion; None where it may be."""
    if fault := seal_fault(version):
        return fault
    if not is_waiting(version) or is_signed(
        version.tags.get(PROMOTED, ""), promotion_seal(version)
    ):
        return None
    return (
        f"Version {version.version} of {version.name} is not loaded as the champion, because no "
        "night and no person here has promoted it: somebody else has moved the alias. Go back to "
        "a version that was champion: "
        f"python flows/rollback.py --model {version.name} --to VERSION"
    )


def check_seal(version: Any) -> None:
    """Check that a version may be loaded.

    Raises:
        SealError: Where it has no valid seal.
    """
    if fault := seal_fault(version):
        raise SealError(fault)


def vouch_for(client: MlflowClient, found: Iterable[Any], key: str | None = None) -> list[str]:
    """Seal versions as they are, without a check; gives those that a night has made."""
    sealed = []
    for version in found:
        if set(CHECKED) <= set(version.tags):
            made = made_seal(version.name, version.source, version.run_id, version.tags, key)
            client.set_model_version_tag(version.name, version.version, MADE, made)
            seal = full_seal(version, {}, key)
            client.set_model_version_tag(version.name, version.version, SEAL, seal)
            sealed.append(str(version.version))
    return sealed


def adopt_once(client: MlflowClient) -> None:
    """Make the key of this state directory, and seal what an earlier release left in it.

    Only versions in the directory's own database are adopted, and only when there is no key yet.
    The key is written last: killed before, the next call does the same again.
    """
    file = _key_file()
    if settings.seal_key() or file.exists():
        check_same_key()
        return
    with locks.lock("seal", wait=300):
        if file.exists():
            return
        made = secrets.token_hex(32)
        if _is_own(settings.tracking_uri()):
            for model in client.search_registered_models():
                found = client.search_model_versions(f"name = '{model.name}'")
                vouch_for(client, found, made)
        files.write_file(file, made.encode())
    check_same_key()


def check_same_key() -> None:
    """Check that machines that share their state sign with one key; the first one says which.

    Raises:
        SettingsError: Where this machine has another.
    """
    url = settings.state_url()
    if url and not _is_same(url, _sign(["nightly.key"], None)):
        raise settings.SettingsError(
            "This machine signs versions with another key than the first one that used the "
            "database of NIGHTLY_STATE_URL, so neither would load the other's. Give both the same "
            "NIGHTLY_SEAL_KEY: that of the first one, else what its file seal.key in the state "
            "directory holds. Where all have got a new key: "
            "python deployments/share.py --push --replace"
        )


@functools.cache
def _is_same(url: str, mark: str) -> bool:
    """Asked once of a database: a night opens the registry many times."""
    del url
    return state_database.first_fact(SEAL, mark) == mark


def _is_sealed(version: Any, signed_as: str) -> bool:
    found = version.tags.get(SEAL)
    return bool(found) and is_signed(found, full_seal(version, {}, signed_as=signed_as))


def _values(tags: Mapping[str, str], names: Iterable[str]) -> list[str | None]:
    return [tags.get(name) for name in names]


def _sign_version(signed_as: str, version: Any, *more: Any, key: str | None = None) -> str:
    named = [signed_as, version.name, str(version.version), version.source, version.run_id or ""]
    return _sign([*named, *more], key)


def _sign(parts: list[Any], key: str | None) -> str:
    secret = key.encode() if key else _key()
    return hmac.new(secret, json.dumps(parts).encode(), hashlib.sha256).hexdigest()


def _key() -> bytes:
    if named := settings.seal_key():
        return named.encode()
    return _key_file().read_bytes()


def _key_file() -> Path:
    return settings.home() / "seal.key"


def _is_own(uri: str) -> bool:
    """Whether the registry is this user's database in the state directory."""
    if not uri.startswith("sqlite:///"):
        return False
    database = Path(uri.removeprefix("sqlite:///"))
    try:
        return (
            database.resolve().parent == settings.home().resolve()
            and database.stat().st_uid == os.geteuid()
        )
    except OSError:
        return False
