"""Versions that wait for a person, and what was decided on them, kept as tags of the versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient


WAITING, DECIDED = "waiting", "decided"
APPROVED, REFUSED, SUPERSEDED = "APPROVED", "REFUSED", "SUPERSEDED"


@dataclass(frozen=True)
class Waiting:
    """A version that waits for a person.

    Attributes:
        version: Version in the registry.
        candidate: Its recipe.
        as_of: As-of date of its night.
        against: The champion it was judged against; None where there was none.
        why: Why a person is asked.
        model: The model as its night named it.
    """

    version: str
    candidate: str
    as_of: str
    against: str | None
    why: str
    model: str


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


def read_waiting(client: MlflowClient, model: str) -> list[Waiting]:
    """The versions of a model that wait, the newest first; more than one only after a kill."""
    found = client.search_model_versions(f"name = '{model}'")
    waiting = [_waiting(version) for version in found if waits(version.tags)]
    return sorted(waiting, key=lambda one: -int(one.version))


def waits(tags: Mapping[str, str]) -> bool:
    """Whether a version with these tags waits."""
    return WAITING in tags and DECIDED not in tags


def read_waited(client: MlflowClient, model: str, version: str) -> Waiting:
    """What was noted when a version began to wait, whatever was decided since."""
    return _waiting(client.get_model_version(model, version))


def read_decisions(client: MlflowClient, model: str) -> dict[str, Decision]:
    """Every version whose wait has ended, and how."""
    found = client.search_model_versions(f"name = '{model}'")
    return {
        str(version.version): read_decision(version.tags[DECIDED])
        for version in found
        if DECIDED in version.tags
    }


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
) -> None:
    """Let a version wait, also where it did before and another took its place.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        version: The version.
        against: The champion it was judged against.
        why: Why a person is asked.
        named: The model as its night named it.
    """
    if DECIDED in client.get_model_version(model, version).tags:
        client.delete_model_version_tag(model, version, DECIDED)
    kept = {"against": against, "why": why[:2000], "model": named}
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
    ended = Decision(SUPERSEDED, f"version {by}", why, on)
    for one in closed:
        client.set_model_version_tag(model, one.version, DECIDED, ended.to_json())
    return closed


def _waiting(version: Any) -> Waiting:
    return Waiting(
        version=str(version.version),
        candidate=version.tags["candidate"],
        as_of=version.tags["as_of"],
        **json.loads(version.tags[WAITING]),
    )
