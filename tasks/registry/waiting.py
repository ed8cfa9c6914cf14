"""Versions that wait for a person or for their shadow nights to end, and what was decided on them.

Both are kept as tags of the versions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tasks.registry.client import Versions, list_versions
from tasks.registry.seals import MODEL, is_signed, model_seal, shadow_seal

if TYPE_CHECKING:
    from mlflow import MlflowClient


WAITING, DECIDED = "waiting", "decided"
APPROVED, REFUSED, SUPERSEDED = "APPROVED", "REFUSED", "SUPERSEDED"


@dataclass(frozen=True)
class Waiting:
    """A version that waits: for a person, or for what its predictions in the shadow are worth.

    Attributes:
        version: Version in the registry.
        candidate: Its recipe.
        as_of: As-of date of its night.
        against: The champion it was judged against; None where there was none.
        why: Why it waits.
        model: The model as its night named it; its name in the registry where no night with the key
            has signed that.
        shadow: Its shadow nights; 0 for a version that only a person decides on.
        night: Key of its night.
        digest: Digest of the spec it was fitted with.
        signed: Whether a night with the key has sent it into the shadow.
    """

    version: str
    candidate: str
    as_of: str
    against: str | None
    why: str
    model: str
    shadow: int = 0
    night: str = ""
    digest: str = ""
    signed: bool = True


@dataclass(frozen=True)
class Decision:
    """How the wait of a version ended.

    Attributes:
        outcome: ``APPROVED``, ``REFUSED`` or ``SUPERSEDED``.
        by: Who decided.
        why: Their reason.
        on: The date.
    """

    outcome: str
    by: str
    why: str
    on: str

    def to_json(self) -> str:
        """The text of the tag; ``read_decision`` reads it."""
        return json.dumps(asdict(self), ensure_ascii=False)

    def told(self) -> str:
        """``approved by Ada on 2026-11-22: the gain is real``."""
        return f"{self.outcome.lower()} by {self.by} on {self.on}: {self.why}"


def read_waiting(client: MlflowClient, model: str, listed: Versions = None) -> list[Waiting]:
    """The versions of a model that wait, the newest first; more than one only after a kill."""
    found = list_versions(client, model, listed)
    waiting = [_waiting(version) for version in found if waits(version.tags)]
    return sorted(waiting, key=lambda one: -int(one.version))


def waits(tags: Mapping[str, str]) -> bool:
    """Whether a version with these tags waits."""
    return WAITING in tags and DECIDED not in tags


def read_waited(client: MlflowClient, model: str, version: str) -> Waiting:
    """What was noted when a version began to wait, whatever was decided since."""
    return _waiting(client.get_model_version(model, version))


def read_decisions(
    client: MlflowClient, model: str, listed: Versions = None
) -> dict[str, Decision]:
    """Every version whose wait has ended, and how."""
    found = list_versions(client, model, listed)
    return {
        str(version.version): read_decision(version.tags[DECIDED])
        for version in found
        if DECIDED in version.tags
    }


def read_decided(
    client: MlflowClient, model: str, listed: Versions = None
) -> list[tuple[Waiting, Decision]]:
    """Every version whose wait has ended, as it waited, and how it ended."""
    found = list_versions(client, model, listed)
    return [
        (_waiting(version), read_decision(version.tags[DECIDED]))
        for version in found
        if {WAITING, DECIDED} <= set(version.tags)
    ]


def read_decision(text: str) -> Decision:
    """From the text of the tag."""
    return Decision(**json.loads(text))


def begin_waiting(
    client: MlflowClient,
    model: str,
    version: str,
    *,
    against: str | None,
    why: str,
    named: str,
    shadow: int = 0,
) -> None:
    """Let a version wait, also where it did before and another took its place.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        version: The version.
        against: The champion it was judged against.
        why: Why it waits.
        named: The model as its night named it.
        shadow: Its shadow nights, if any.
    """
    found = client.get_model_version(model, version)
    if DECIDED in found.tags:
        client.delete_model_version_tag(model, version, DECIDED)
    kept: dict[str, Any] = {"against": against, "why": why[:2000], "model": named}
    if shadow:
        kept |= {"shadow": shadow, "seal": shadow_seal(found, against, shadow)}
    client.set_model_version_tag(model, version, MODEL, model_seal(found, named))
    client.set_model_version_tag(model, version, WAITING, json.dumps(kept, ensure_ascii=False))


def supersede(client: MlflowClient, model: str, by: str, why: str, on: str) -> list[Waiting]:
    """Close every version that waits, but this one.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        by: The version that takes their place.
        why: What it does.
        on: The date.

    Returns:
        Those that were closed.
    """
    closed = [one for one in read_waiting(client, model) if one.version != by]
    for one in closed:
        end_waiting(client, model, one.version, Decision(SUPERSEDED, f"version {by}", why, on))
    return closed


def end_waiting(client: MlflowClient, model: str, version: str, decision: Decision) -> None:
    """Note how the wait of a version ended, where the champion stays as it is."""
    client.set_model_version_tag(model, version, DECIDED, decision.to_json())


def _waiting(version: Any) -> Waiting:
    tags, kept = version.tags, json.loads(version.tags[WAITING])
    seal, shadow = kept.pop("seal", ""), kept.get("shadow", 0)
    if not is_signed(tags.get(MODEL, ""), model_seal(version, kept["model"])):
        kept["model"] = version.name
    return Waiting(
        version=str(version.version),
        candidate=tags["candidate"],
        as_of=tags["as_of"],
        night=tags.get("night", ""),
        digest=tags.get("spec_digest", ""),
        signed=not shadow or is_signed(seal, shadow_seal(version, kept["against"], shadow)),
        **kept,
    )
