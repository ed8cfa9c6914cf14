"""What is told to those who listen: Prefect events, which automations turn into messages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from tasks.shown import as_alarm


def announce(model: str, as_of: date | None, events: Mapping[str, str]) -> None:
    """Emit events about a model.

    Args:
        model: Name of the model.
        as_of: The night they are about, if any.
        events: Name to a sentence.
    """
    from prefect.events import emit_event

    for name, text in events.items():
        emit_event(
            event=name,
            resource={
                "prefect.resource.id": f"nightly.model.{model}",
                "prefect.resource.name": model,
            },
            payload={"text": as_alarm(text), "as_of": as_of.isoformat() if as_of else ""},
        )
