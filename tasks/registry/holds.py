"""Recipes that no night promotes for a while, kept as tags of the versions that were withdrawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from tasks.registry.client import Versions, list_versions
from tasks.registry.waiting import DECIDED, REFUSED, read_decision

if TYPE_CHECKING:
    from mlflow import MlflowClient


HELD_UNTIL, RELEASED = "held_until", "released"


@dataclass(frozen=True)
class Hold:
    """A recipe and code that must not be promoted again for a while.

    Attributes:
        version: Version that was rolled back, reverted or refused.
        candidate: Its recipe.
        digest: Digest of the spec it was fitted with.
        until: Last as-of date whose night must not promote them.
        why: Why the version was rolled back or refused.
        how: What was done with it.
    """

    version: str
    candidate: str
    digest: str
    until: date
    why: str
    how: str = "rolled back"


def read_holds(client: MlflowClient, model: str, listed: Versions = None) -> list[Hold]:
    """Every hold of a model that nobody has released, those that are over too.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        listed: Its versions, where they have been listed since they were last changed.
    """
    needed = {HELD_UNTIL, "rolled_back", "candidate", "spec_digest"}
    return [
        Hold(
            version=str(found.version),
            candidate=found.tags["candidate"],
            digest=found.tags["spec_digest"],
            until=date.fromisoformat(found.tags[HELD_UNTIL]),
            why=found.tags["rolled_back"],
            how=how_withdrawn(found.tags),
        )
        for found in list_versions(client, model, listed)
        if needed <= set(found.tags)
    ]


def how_withdrawn(tags: Mapping[str, str]) -> str:
    """What was done with a version that must not be promoted again, from its tags."""
    decided = read_decision(tags[DECIDED]).outcome if DECIDED in tags else None
    return "refused" if decided == REFUSED else "rolled back"


def release_hold(client: MlflowClient, model: str, hold: Hold, why: str) -> None:
    """End a hold; the reason is noted on the version."""
    client.set_model_version_tag(model, hold.version, RELEASED, why)
    client.delete_model_version_tag(model, hold.version, HELD_UNTIL)
