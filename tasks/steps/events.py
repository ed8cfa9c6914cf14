"""What a night tells those who listen: Prefect events, which automations turn into messages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any


def night_events(
    report: Mapping[str, Any], earlier: Mapping[str, Any] | None, oldest_champion: timedelta
) -> dict[str, str]:
    """The events of a night: name to what it says in a sentence.

    Args:
        report: The night's report.
        earlier: The report of the night before it, if any.
        oldest_champion: The age from which a champion is too old.
    """
    verdict, as_of = report["verdict"], date.fromisoformat(report["as_of"])
    said = f"{report['model']} · {as_of} · {verdict}"
    found = {f"nightly.night.{verdict.lower()}": f"{said}: {report['reasons'][0]}"}
    if verdict == "HELD" and earlier and earlier["verdict"] == "HELD":
        found["nightly.night.held-again"] = (
            f"{report['model']} has been held since {earlier['as_of']}: {report['reasons'][0]}"
        )
    champion = report["champion"]
    if champion["version"] and as_of - date.fromisoformat(champion["since"]) > oldest_champion:
        found["nightly.champion.old"] = (
            f"The champion of {report['model']}, version {champion['version']}, is of "
            f"{champion['since']}: older than the {oldest_champion.days} days its spec allows."
        )
    return found


def announce(model: str, as_of: date | None, events: Mapping[str, str]) -> None:
    """Emit events about a model.

    Args:
        model: Name of the model.
        as_of: The night they are about, if any.
        events: Name to what it says in a sentence.
    """
    from prefect.events import emit_event

    for name, text in events.items():
        emit_event(
            event=name,
            resource={
                "prefect.resource.id": f"nightly.model.{model}",
                "prefect.resource.name": model,
            },
            payload={"text": text, "as_of": as_of.isoformat() if as_of else ""},
        )
