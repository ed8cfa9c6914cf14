"""Whether this night was decided before, found without the heavy libraries.

Everything that decides a night is in files: the days, the code, the parameters and the library
versions. Reading their digests takes a tenth of a second; importing Prefect, MLflow and
scikit-learn takes five. So this module imports the standard library alone.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tasks import settings
from tasks.errors import to_message
from tasks.features.as_of import day_start_of, last_complete_day
from tasks.registry.champion_alias import champion_now, champions_now
from tasks.shown import hide
from tasks.sources.serialize import source_from_json, source_to_json
from tasks.spec.fleet import fleet_of, partitions_in
from tasks.spec.loading import file_of
from tasks.store.files import read_json, remove, write_json

if TYPE_CHECKING:
    from tasks.reporting.report_schema import Report
    from tasks.sources.base import Source


log = logging.getLogger("nightly")


def remember(
    model: str,
    as_of: date,
    *,
    source: Source,
    timezone: str,
    skip: tuple[date, ...],
    files: Sequence[Path],
    days: Mapping[date, str],
    evidence: Sequence[Path],
    report: Path,
    champion: str | None = None,
    partitions: Mapping[str, str] | None = None,
) -> None:
    """Record what decided a night, so that the same night need not run again.

    Code is recorded as it was when this process first read it (``recall`` does, before anything
    else), so that an edit during the night is noticed the next time. A source of another kind than
    those of ``tasks.sources.serialize`` cannot be listed without its model, and is not recorded.

    Args:
        model: The model as named on the command line.
        as_of: Its as-of date.
        source: Where its days come from.
        timezone: Time zone of its days.
        skip: Days left out by a person.
        files: Code outside the project that decided it; the project's own always counts.
        days: Every day used, with its fingerprint.
        evidence: Files that must still be there for the verdict to stand.
        report: Its ``report.json``, below ``<name of the model>/<as-of>/``.
        champion: The champion that it made, or that it was judged against; None for none.
        partitions: Of a fleet, each partition's model that has a champion to its version.
    """
    try:
        described = source_to_json(source)
        if source_from_json(described) != source:
            raise TypeError(f"{source!r} does not equal the source that its JSON describes")
    except (KeyError, TypeError, ValueError) as error:
        log.info(
            "%s: the night cannot be recorded, so the same night will run in full again: %s",
            model,
            error,
        )
        return
    code = sorted({*_project_code(), *(file.resolve() for file in files)})
    record = {
        "model": full_name(model),
        "name": report.parent.parent.name,
        "as_of": as_of.isoformat(),
        "source": described,
        "timezone": timezone,
        "skip": [day.isoformat() for day in skip],
        "code": {portable(file): _first_digest(file) for file in code},
        "libraries": _libraries(),
        "registry": hide(settings.tracking_uri()),
        "days": fingerprint(days),
        "evidence": {portable(file): file.stat().st_size for file in evidence},
        "report": portable(report),
        "report_sha256": _digest(report),
        "champion": champion,
        "partitions": partitions,
    }
    write_json(_folder(model) / f"{as_of}.json", record)


def forget(name: str) -> None:
    """Drop every decided night of a model, because the version they promoted may not be champion
    any more; of a partition's model those of its fleet."""
    name = fleet_of(name)
    for file in (settings.home() / "decisions").glob("*/*.json"):
        if read_json(file).get("name") == name:
            remove(file)


def forget_old(model: str, count: int) -> None:
    """Drop all but the newest decided nights of a model; an older one runs again where asked for.

    Args:
        model: The model as named on the command line.
        count: How many stay.
    """
    for file in sorted(_folder(model).glob("*.json"))[:-count]:
        remove(file)


def recall(model: str, as_of: date | None, now: datetime) -> Report | None:
    """The report of this night, or None where anything is new, changed or uncertain.

    Args:
        model: The model as named on the command line.
        as_of: Its as-of date; None for the newest complete day of the source.
        now: The current time, with its time zone.
    """
    try:
        for file in (*_project_code(), *([Path(model).resolve()] if model.endswith(".py") else [])):
            _first_digest(file)
        return _recall(model, as_of, now)
    except Exception as error:  # in doubt the night is run: it says properly what is wrong
        log.debug(
            "%s: it is unknown whether the night was decided, so it runs: %s",
            model,
            to_message(error),
            exc_info=error,
        )
        return None


def _recall(model: str, as_of: date | None, now: datetime) -> Report | None:
    records = sorted(_folder(model).glob("*.json"))
    if not records:
        return None
    record = read_json(_folder(model) / f"{as_of}.json" if as_of else records[-1])
    if not _stands(record, model):  # the source is asked last: a database may have to read all rows
        return None
    source = source_from_json(record["source"])
    until = as_of or last_complete_day(now, record["timezone"], day_start_of(source))
    listed = source.list_days(until)
    newest = as_of or max(listed)
    if newest.isoformat() != record["as_of"]:
        record = read_json(_folder(model) / f"{newest}.json")
        if not _stands(record, model):
            return None
        listed = source.list_days(newest)
    skip = {date.fromisoformat(day) for day in record["skip"]}
    days = {day: mark for day, mark in listed.items() if day not in skip}
    same = (
        record["as_of"] == newest.isoformat()
        and record["days"] == fingerprint(days)
        and (
            newest.isoformat() != records[-1].stem  # later nights have made other champions since
            or _has_its_champions(record)
        )
    )
    return cast("Report", read_json(placed(record["report"]))) if same else None


def _stands(record: Mapping[str, Any], model: str) -> bool:
    """Whether all but the data is as it was when this night was decided."""
    code = {*map(portable, _project_code()), *record["code"]}
    return (
        record["model"] == full_name(model)
        and record["code"] == {file: _digest(placed(file)) for file in code}
        and record["libraries"] == _libraries()
        and record["registry"] == hide(settings.tracking_uri())
        and record["report_sha256"] == _digest(placed(record["report"]))
        and all(placed(file).stat().st_size >= size for file, size in record["evidence"].items())
    )


def _has_its_champions(record: Mapping[str, Any]) -> bool:
    """Whether the champion, and of a fleet those of its partitions, are those of this night."""
    name, partitions = record["name"], record.get("partitions")
    if partitions is None:
        return bool(record["champion"] == champion_now(name))
    now = champions_now()
    same: bool = now.get(name) == record["champion"]
    return same and partitions_in(now, name) == partitions


def fingerprint(days: Mapping[date, str]) -> str:
    """One digest over all days and their fingerprints."""
    text = "\n".join(f"{day} {mark}" for day, mark in sorted(days.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _folder(model: str) -> Path:
    name = hashlib.sha256(full_name(model).encode()).hexdigest()[:16]
    return settings.home() / "decisions" / name


def full_name(model: str) -> str:
    """How a model was named, from any working directory."""
    file, partition = file_of(model)
    return f"{file.resolve()}{partition}" if file else model


def portable(file: Path) -> str:
    """How a file of the state directory or the project is named on any machine."""
    for name, place in _places().items():
        if file.is_relative_to(place):
            return f"{name}/{file.relative_to(place).as_posix()}"
    return str(file)


def placed(name: str) -> Path:
    """Where the file of this name from ``portable`` lies here."""
    first, _, rest = name.partition("/")
    return _places()[first] / rest if first in _places() else Path(name)


def _places() -> dict[str, Path]:
    return {
        "{predictions}": settings.predictions_folder(),
        "{home}": settings.home(),
        "{project}": settings.PROJECT,
    }


def _project_code() -> list[Path]:
    rooms = ("flows", "tasks", "deployments")
    return [file for room in rooms for file in (settings.PROJECT / room).rglob("*.py")]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@functools.cache
def _first_digest(file: Path) -> str:
    """Digest of a file when this process first asked for it."""
    return _digest(file)


def _libraries() -> list[str]:
    """Name and version of every installed distribution, and of Python.

    Their metadata folders are named after both, and listing folders is a hundred times faster than
    reading them.
    """
    found = {f"python-{platform.python_version()}"}
    for folder in dict.fromkeys(sys.path):
        if Path(folder).is_dir():
            with os.scandir(folder or ".") as entries:
                found |= {entry.name for entry in entries if entry.name.endswith(".dist-info")}
    return sorted(found)
