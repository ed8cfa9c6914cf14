"""The page of nights, drawn anew as things stand."""

from __future__ import annotations

from pathlib import Path

from tasks.registry import versions
from tasks.registry.client import open_registry
from tasks.registry.holds import read_holds
from tasks.registry.waiting import read_decisions
from tasks.reporting.history_page import Standing, write_history


def draw_history(name: str) -> Path | None:
    """Draw the page of a model's newest nights; it names the champion of now.

    Args:
        name: Name of the model in the registry.
    """
    client = open_registry()
    champion = versions.read_champion(client, name)
    if champion is None:
        return write_history(name)
    withdrawn = versions.read_withdrawn(client, name)
    for hold in read_holds(client, name):
        held = f"its recipe ({hold.candidate}) and code are held through {hold.until}"
        withdrawn[hold.version] = f"{hold.why}; {held}"
    decided = {one: found.told() for one, found in read_decisions(client, name).items()}
    standing = Standing(champion.version, champion.candidate, champion.as_of, withdrawn, decided)
    return write_history(name, standing)
