"""This machine's copy of the records that machines share."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tasks import settings
from tasks.store import blobs, files, frames, models, records, state_database

log = logging.getLogger("nightly")
NOTE = "shared.json"
"""File of the state directory: which database it has joined, and how far it has read it."""
SEAL = "nightly.seal"
"""Fact that says with which key the machines sign."""
DATABASE = "SELECT value FROM nightly_facts WHERE name = 'database'"


def pull(patience: float = state_database.PATIENCE) -> None:
    """Bring the copies of this machine up to date; nothing is done where no database is shared.

    Args:
        patience: Seconds for which a database that does not answer is asked again.

    Raises:
        SettingsError: Where this state directory has files that the database does not know.
        StateOutageError: Where the database does not answer.
    """
    if settings.state_url() is None:
        return
    database = state_database.run(lambda c: c.exec_driver_sql(DATABASE).scalar_one(), patience)
    blobs.check_address()
    place = settings.ensure_home() / NOTE
    with records.this_machine():
        note, store = _read(place), settings.store_url()
        joined = note.get("database") == database
        whole = joined and note.get("store") == store
        found = records.newer(note["seen"] if whole else 0)
        if not joined and (unknown := differing(found)):
            raise settings.SettingsError(
                f"{unknown[0]} and {len(unknown) - 1:,} more files of the state directory are not "
                "in the database of NIGHTLY_STATE_URL, or others there. Take them there with "
                "python deployments/share.py --push, or set NIGHTLY_HOME to an empty directory."
            )
        _copy_all(found)
        if found or not whole:
            note = {"database": database, "store": store, "seen": found[-1].seq if found else 0}
            files.write_here(place, files.as_json(note))
    if found:
        log.debug("shared    %d records of the shared state", len(found))


def shared_state() -> str | None:
    """What tells the state and store that machines share from others; None where they share none.

    Raises:
        StateOutageError: Where the database does not answer.
    """
    store = settings.store_url()
    if settings.state_url() is None or store is None:
        return None
    database = state_database.run(lambda c: c.exec_driver_sql(DATABASE).scalar_one())
    return hashlib.sha256(f"{database} {store}".encode()).hexdigest()


def push(*, replace: bool) -> list[str]:
    """Record every file of this state directory that the database does not have.

    Args:
        replace: Also those of which it has others.

    Returns:
        Their names.

    Raises:
        SettingsError: Where it has others, and they are not to be replaced; nothing is recorded.
    """
    if replace:
        state_database.forget_fact(SEAL)
    with records.this_machine():
        found = records.newer(0)
        known = {record.path for record in found if record.kind != records.GONE}
        missing = differing(found)
        other = [name for name in missing if name in known]
        if other and not replace:
            raise settings.SettingsError(
                f"The database of NIGHTLY_STATE_URL has another {other[0]}, and {len(other) - 1:,} "
                "more that differ: the directory and the database have had nights of the same "
                "model apart. Set NIGHTLY_HOME to an empty directory to go on with those of the "
                "database, or add --replace to go on with those of this directory."
            )
        for name in missing:
            records.keep(name, *_held(records.place_of(name)))
        if settings.store_url():
            _push_store()
    pull_all()
    return missing


def pull_all() -> None:
    """Bring every copy of this machine up to date, also those that were changed here by hand."""
    (settings.home() / NOTE).unlink(missing_ok=True)
    with records.this_machine():
        _copy_all(records.newer(0))
    pull()


def leave() -> None:
    """Bring every copy up to date and forget the database: from now on there are only the files."""
    pull_all()
    if settings.store_url():
        _fetch_store()
    (settings.home() / NOTE).unlink()


def differing(found: list[records.Record]) -> list[str]:
    """Names of the shared files of this machine that are none of these records."""
    known = {(each.path, each.kind, each.sha256) for each in found}
    here = []
    for room in records.ROOMS:
        place = records.place_of(f"{room}/x").parent
        for file in sorted(place.rglob("*")):
            name = records.name_of(file)
            if (
                name is None
                or file.name.startswith(".")
                or not (file.is_file() or file.is_symlink())
            ):
                continue
            content, kind = _held(file)
            if (name, kind, hashlib.sha256(content).hexdigest()) not in known:
                here.append(name)
    return here


def _push_store() -> None:
    """Put every whole file of this machine's store under the shared address, with its keys."""
    for kind in _kinds():
        for file in sorted((files.root() / kind).glob("*.arrow")):
            blobs.put(f"{kind}/{file.name}", file.read_bytes())
        for line in frames.read_lines(kind):
            name = f"store/{kind}/{frames.INDEX}#{line.partition(b' ')[0].decode()}"
            if frames.is_complete(line):
                records.keep(name, line + b"\n", records.LINE)
        for key in (file.stem for file in sorted((files.root() / kind).glob("*.json"))):
            if models.has_model(kind, key):
                path, _ = models.model_file(kind, key)
                blobs.put(f"{kind}/{path.name}", path.read_bytes())
                records.keep(f"store/{kind}/{key}.json", path.with_name(f"{key}.json").read_bytes())


def _fetch_store() -> None:
    """Bring every file here that the keys of this machine's store name; what is gone stays so."""
    for kind in _kinds():
        frames.find_days(kind, list(frames.read_index(kind)))
        for file in sorted((files.root() / kind).glob("*.json")):
            models.has_model(kind, file.stem)


def _kinds() -> list[str]:
    aside = ("tuned", "kept", "replays")
    return sorted(each.name for each in files.root().glob("*/") if each.name not in aside)


def _copy_all(found: Sequence[records.Record]) -> None:
    """Make the files of this machine what their records say, and add the lines it lacks."""
    lines = defaultdict[str, list[records.Record]](list)
    for record in found:
        if record.kind == records.LINE:
            if settings.store_url():
                lines[records.place_of(record.path).parent.name].append(record)
        elif not records.STORED.fullmatch(record.path) or settings.store_url():
            _copy(record)
    for kind, written in lines.items():
        known = {line.partition(b" ")[0].decode() for line in frames.read_lines(kind)}
        new = [each for each in written if each.path.partition("#")[2] not in known]
        bodies = [body for each in new if (body := records.read_body(each))]
        if bodies:
            frames.append_lines(kind, bodies)


def _copy(record: records.Record) -> None:
    """Make a file of this machine what its record says."""
    place = records.place_of(record.path)
    if record.kind == records.GONE:
        place.unlink(missing_ok=True)
        return
    if place.is_file() or place.is_symlink():
        content, kind = _held(place)
        if (kind, hashlib.sha256(content).hexdigest()) == (record.kind, record.sha256):
            return
    body = records.read_body(record)
    if body is None:  # written anew since: it comes under its new number
        return
    if record.kind == records.LINK:
        target = Path(body.decode()).name
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.link_here(place, target)
        return
    files.write_here(place, body)
    if record.path.startswith("predictions/"):
        mode, group = settings.readers()
        if mode != 0o600 or group is not None:
            for each in (settings.predictions_folder(), place.parent, place):
                files.share(each, mode, group)


def _held(file: Path) -> tuple[bytes, str]:
    if file.is_symlink():
        return file.readlink().name.encode(), records.LINK
    return file.read_bytes(), records.FILE


def _read(place: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        return dict(files.read_json(place))
    return {}
