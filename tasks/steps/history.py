"""The pages of nights, of a fleet and of all models, drawn anew as things stand."""

from __future__ import annotations

from pathlib import Path

from tasks.registry import versions
from tasks.registry.client import list_versions, open_registry
from tasks.registry.holds import read_holds
from tasks.registry.waiting import read_decisions
from tasks.reporting import fleet_page
from tasks.reporting.history_page import write_history
from tasks.reporting.history_rows import Standing
from tasks.reporting.index_page import write_index
from tasks.spec.fleet import fleet_of


def draw_history(name: str) -> Path | None:
    """Draw the page of all models, and that of this one's newest nights or of its fleet; they name
    the champions of now.

    Args:
        name: Name of the model in the registry; a partition's has no page of nights, but a row on
            its fleet's.
    """
    client, fleet = open_registry(), fleet_of(name)
    champions = versions.champions(client)
    write_index(champions)
    fleet_page.write_partitions(fleet, champions)
    if fleet != name:
        return None
    champion = versions.read_champion(client, name)
    if champion is None:
        return write_history(name)
    listed = list_versions(client, name)
    withdrawn = versions.read_withdrawn(client, name, listed)
    for hold in read_holds(client, name, listed):
        held = f"its recipe ({hold.candidate}) and code are held through {hold.until}"
        withdrawn[hold.version] = f"{hold.why}; {held}"
    decided = {one: found.told() for one, found in read_decisions(client, name, listed).items()}
    standing = Standing(champion.version, champion.candidate, champion.as_of, withdrawn, decided)
    return write_history(name, standing)
