"""The clean-up that keeps the store within its limit."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from tasks import settings
from tasks.store.files import StoreError, read_json, root, write_json
from tasks.store.frames import read_index
from tasks.store.models import model_file

KEPT = "kept"
"""Folder of the store with the files that each model kept in its last clean-up."""
FORGOTTEN = timedelta(days=60)
"""Time after which a model without a clean-up keeps nothing; other models' have gone on."""
LEFT = timedelta(days=14)
"""Time after which a file of the store that no model keeps goes."""
UNUSED = timedelta(days=3)
"""Time after which data that no source has used may go; a use is noted once a day."""


def clean_up(
    keep: Mapping[str, Collection[str]], max_bytes: int, owner: str = "model", now: float = 0.0
) -> list[Path]:
    """Remove the oldest files of the store until it fits the limit; never those in ``keep``.

    Files that no model keeps go after ``LEFT`` anyway: what code was edited to, fits of past
    nights.

    What the other models of this store kept in their last clean-up stays too; of a model without a
    clean-up for ``FORGOTTEN`` it does not.

    Call it under the lock of every writer; otherwise a file just written may be removed before its
    key is used.

    Args:
        keep: Kind to the keys that must stay, such as those of the champion and of a rollback.
        max_bytes: Size the store should not pass.
        owner: Name of the model that keeps these.
        now: The current time, in seconds; 0 to remove nothing because of its age.

    Returns:
        The removed files. A key whose file is gone is a miss: its content is made again.
    """
    kept = {
        root() / ref.path
        for kind, keys in keep.items()
        for key, ref in read_index(kind).items()
        if key in keys
    }
    for kind, keys in keep.items():
        for key in {record.stem for record in (root() / kind).glob("*.json")} & set(keys):
            with suppress(StoreError):
                kept.add(model_file(kind, key)[0])
    write_json(root() / KEPT / f"{owner}.json", sorted(str(p.relative_to(root())) for p in kept))
    kept |= _kept_by_others()
    files = sorted(
        ((p.stat(), p) for p in root().glob("*/*") if p.suffix in (".arrow", ".skops")),
        key=lambda found: found[0].st_mtime_ns,
    )
    size = sum(state.st_size for state, _ in files)
    removed = []
    for state, path in files:
        old = now - state.st_mtime > LEFT.total_seconds()
        if size <= max_bytes and not old:
            break
        if path not in kept:
            path.unlink(missing_ok=True)
            size -= state.st_size
            removed.append(path)
    return removed


def remove_unused(max_bytes: int, now: float) -> list[Path]:
    """Remove folders of split data that no source has used for ``UNUSED``, the oldest first.

    They go until data and store together fit the limit; those that none has used for ``FORGOTTEN``
    go anyway, such as those of an export that was renamed. A source that needs one makes it again.

    Args:
        max_bytes: Size that data and store should not pass.
        now: The current time, in seconds.

    Returns:
        The removed folders.
    """
    folder = settings.home() / "data"
    found = sorted((p.stat().st_mtime, p) for p in folder.glob("[!.]*/") if not p.is_symlink())
    size = sum(_size(place) for place in (root(), folder))
    removed = []
    for used, place in found:
        unused = now - used
        if unused > FORGOTTEN.total_seconds() or (
            unused > UNUSED.total_seconds() and size > max_bytes
        ):
            size -= _size(place)
            gone = place.rename(place.with_name(f".{place.name}"))  # at once, for who looks
            shutil.rmtree(gone, ignore_errors=True)
            removed.append(place)
    return removed


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _kept_by_others() -> set[Path]:
    lists = {file: file.stat().st_mtime for file in (root() / KEPT).glob("*.json")}
    oldest = max(lists.values()) - FORGOTTEN.total_seconds()
    return {
        root() / path
        for file, changed in lists.items()
        if changed >= oldest
        for path in read_json(file)
    }
