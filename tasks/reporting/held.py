"""Whether a night that was held can run now, found without the heavy libraries.

A look costs a tenth of a second: what the night saw is a file, and listing days reads none of them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import settings
from tasks.errors import to_message
from tasks.features.as_of import reasons_to_hold
from tasks.reporting.decisions import fingerprint, full_name
from tasks.sources.serialize import source_from_json, source_to_json
from tasks.store.files import read_json, remove, write_json

if TYPE_CHECKING:
    from tasks.sources.base import Source


log = logging.getLogger("nightly")
NOTHING = "NOTHING TO DO"
"""State of a look that found no night to take up."""


def remember_held(
    model: str,
    name: str,
    as_of: date,
    *,
    source: Source,
    skip: tuple[date, ...],
    days: Mapping[date, str],
    needed: date | None = None,
) -> None:
    """Record what a held night saw; a newer night's record stays.

    Args:
        model: The model as named on the command line.
        name: Name of its spec.
        as_of: As-of date of the night.
        source: Where its days come from. One that cannot be described outside its model is looked
            at by the night itself.
        skip: Days left out by a person.
        days: Every day that was there, with its fingerprint.
        needed: The day that must be there, where it is not ``as_of``.
    """
    if any(read_json(file)["as_of"] > as_of.isoformat() for file in _records(name)):
        return
    try:
        described = source_to_json(source)
        known = source_from_json(described) == source
    except (KeyError, TypeError, ValueError):
        described, known = {}, False
    record = {
        "model": full_name(model),
        "name": name,
        "as_of": as_of.isoformat(),
        "needed": (needed or as_of).isoformat(),
        "source": described if known else None,
        "skip": [day.isoformat() for day in skip],
        "days": fingerprint(days),
    }
    write_json(_file(model), record)


def forget_held(name: str, as_of: date) -> None:
    """Drop what a night has taken up, or a newer one has left behind."""
    for file in _records(name):
        if read_json(file)["as_of"] <= as_of.isoformat():
            remove(file)


def night_to_take_up(model: str) -> date | None:
    """The as-of date of the held night whose data are there now; None where there is none.

    Args:
        model: The model as named on the command line.
    """
    file = _file(model)
    if not file.is_file():
        return None
    record = read_json(file)
    as_of = date.fromisoformat(record["as_of"])
    if record["source"] is None:
        return as_of
    try:
        listed = source_from_json(record["source"]).list_days(as_of)
    except Exception as error:  # what is wrong with a source is for the night to say
        log.info("look      %s: %s", model, to_message(error))
        return None
    skip = {date.fromisoformat(day) for day in record["skip"]}
    days = {day: mark for day, mark in listed.items() if day <= as_of and day not in skip}
    if fingerprint(days) == record["days"] or reasons_to_hold(
        days, date.fromisoformat(record["needed"])
    ):
        return None
    return as_of


def _file(model: str) -> Path:
    name = hashlib.sha256(full_name(model).encode()).hexdigest()[:16]
    return settings.home() / "held" / f"{name}.json"


def _records(name: str) -> list[Path]:
    files = sorted((settings.home() / "held").glob("*.json"))
    return [file for file in files if read_json(file).get("name") == name]
