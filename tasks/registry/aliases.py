"""Moves of the aliases champion and previous, under a journal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING

from tasks.registry.client import to_error
from tasks.registry.holds import HELD_UNTIL
from tasks.registry.versions import CHAMPION, PREVIOUS, version_by_alias

if TYPE_CHECKING:
    from mlflow import MlflowClient


JOURNAL = "nightly.change"
"""Tag of a registered model while its aliases are moved: what is meant, as JSON."""


def promote(client: MlflowClient, model: str, version: str) -> None:
    """Make exactly this version the champion; the one before it becomes ``previous``.

    What is meant is written down first: killed at any instant, ``finish_change`` ends it. It does
    so here too, where an answer was lost in the middle and the step is tried again.
    """
    finish_change(client, model)
    before = version_by_alias(client, model, CHAMPION)
    if before is None or str(before.version) != version:
        replaced = str(before.version) if before else None
        _change(client, model, {"champion": version, "previous": replaced, "replaced": replaced})


def roll_back(
    client: MlflowClient, model: str, version: str, why: str, held_until: date | None = None
) -> str | None:
    """Make an earlier version the champion again and mark the one it takes over from.

    The same rollback, cut off in the middle, is ended as it was meant.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        version: The version to go back to.
        why: Kept on the version it takes over from.
        held_until: Last night that must not promote the recipe and code of that version, if any.

    Returns:
        The version that was champion before it.
    """
    begun = _read_change(client, model)
    if begun.get("rolled_back") and begun["champion"] == version:
        _apply(client, model, begun)
        return begun["rolled_back"]
    now = version_by_alias(client, model, CHAMPION)
    replaced = client.get_model_version(model, version).tags.get("replaced")
    rejected = str(now.version) if now else None
    intent = {"champion": version, "previous": replaced, "rolled_back": rejected, "why": why}
    if held_until:
        intent[HELD_UNTIL] = held_until.isoformat()
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
        if intent.get(HELD_UNTIL):
            client.set_model_version_tag(
                model, intent["rolled_back"], HELD_UNTIL, intent[HELD_UNTIL]
            )
    if intent.get("replaced"):
        client.set_model_version_tag(model, champion, "replaced", intent["replaced"])
    client.set_registered_model_alias(model, CHAMPION, champion)
    if intent["previous"]:
        client.set_registered_model_alias(model, PREVIOUS, intent["previous"])
    elif version_by_alias(client, model, PREVIOUS):
        client.delete_registered_model_alias(model, PREVIOUS)
    client.delete_registered_model_tag(model, JOURNAL)
