"""The anchors of a model: fixed versions that its champions and challengers are compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING

from tasks.registry.client import read_registered

if TYPE_CHECKING:
    from mlflow import MlflowClient


ANCHOR, YEARLY = "nightly.anchor", "nightly.yearly_anchor"
"""Tags of a registered model: the version that is its anchor, and since when, as JSON; the yearly
anchor, where it is or was another version."""


@dataclass(frozen=True)
class Anchor:
    """The version that challengers and champions are compared with, whatever is promoted.

    Attributes:
        version: Version in the registry.
        as_of: Night on which it became the anchor.
        since: Graded days after this one count in the comparison with it.
        spent: Relative loss of the line of champions under earlier anchors; the gate counts it.
        failing: As-of date of the night on which it could not be scored, if the last one.
    """

    version: str
    as_of: date
    since: date
    spent: float = 0.0
    failing: date | None = None


def read_anchor(client: MlflowClient, model: str, tag: str = ANCHOR) -> Anchor | None:
    """The anchor of a model, or its yearly anchor; None before it has one."""
    return anchor_in(read_registered(client, model).tags, tag)


def anchor_in(tags: Mapping[str, str], tag: str = ANCHOR) -> Anchor | None:
    """The anchor that the tags of a registered model name, or the yearly one."""
    found = tags.get(tag)
    if not found:
        return None
    kept = json.loads(found)
    failing = kept.get("failing")
    return Anchor(
        version=kept["version"],
        as_of=date.fromisoformat(kept["as_of"]),
        since=date.fromisoformat(kept["since"]),
        spent=float(kept.get("spent", 0.0)),
        failing=date.fromisoformat(failing) if failing else None,
    )


def write_anchor(client: MlflowClient, model: str, anchor: Anchor, tag: str = ANCHOR) -> None:
    """Make it the anchor, or the yearly anchor, from now on, in one write."""
    client.set_registered_model_tag(model, tag, json.dumps(asdict(anchor), default=str))
