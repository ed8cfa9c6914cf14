"""The clean-up that keeps the store within its limit."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from tasks.store.files import StoreError, read_json, root, write_json
from tasks.store.frames import read_index
from tasks.store.models import model_file

KEPT = "kept"
"""Folder of the store with the files that each model kept in its last clean-up."""
FORGOTTEN = timedelta(days=60)
"""Time after which a model without a clean-up keeps nothing; other models' have gone on."""


def clean_up(
    keep: Mapping[str, Collection[str]], max_bytes: int, owner: str = "model"
) -> list[Path]:
    """Remove the oldest files of the store until it fits the limit; never those in ``keep``.

    What the other models of this store kept in their last clean-up stays too; of a model without a
    clean-up for ``FORGOTTEN`` it does not.

    Call it under the lock of every writer; otherwise a file just written may be removed before its
    key is used.

    Args:
        keep: Kind to the keys that must stay, such as those of the champion and of a rollback.
        max_bytes: Size the store should not pass.
        owner: Name of the model that keeps these.

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
        for key in keys:
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
        if size <= max_bytes:
            break
        if path not in kept:
            path.unlink(missing_ok=True)
            size -= state.st_size
            removed.append(path)
    return removed


def _kept_by_others() -> set[Path]:
    lists = {file: file.stat().st_mtime for file in (root() / KEPT).glob("*.json")}
    oldest = max(lists.values()) - FORGOTTEN.total_seconds()
    return {
        root() / path
        for file, changed in lists.items()
        if changed >= oldest
        for path in read_json(file)
    }
