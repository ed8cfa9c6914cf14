"""Storage of cached task results: JSON, atomic, verified, never unpickled."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, ParamSpec, TypeVar

from prefect import Task
from prefect.context import TaskRunContext
from prefect.filesystems import LocalFileSystem
from prefect.serializers import JSONSerializer

from tasks import settings
from tasks.steps.spoken import task
from tasks.store import files

log = logging.getLogger("nightly")
PLAIN_JSON = JSONSerializer(object_encoder=None, object_decoder=None)
SEAL = b"\nsha256:"
RECORD_KEYS = {"metadata", "result"}
METADATA_KEYS = {"storage_key", "expiration", "serializer", "prefect_version", "storage_block_id"}


class VerifiedResults(LocalFileSystem):
    """Prefect's local storage, written atomically and verified when it is read.

    Prefect's own storage writes in place, so that a full disk or a kill leaves half a record, and
    reads with the serializer that a record names, so that a planted record runs code. Here a record
    that is truncated, altered or names another serializer counts as missing: the task runs again.
    """

    _block_type_name: ClassVar[str] = "Nightly Verified Results"

    def _resolve_path(self, path: str) -> Path:
        base = (settings.home() / "results").resolve()
        found = (base / path).resolve()
        if not found.is_relative_to(base):
            raise ValueError(f"Result key {path!r} leads out of {base}.")
        return found

    def read_path(  # type: ignore[override]
        self, path: str, _sync: bool | None = None
    ) -> bytes:
        """The record; raises ValueError where there is no complete one written by a night.

        Args:
            path: Key of the record, or its path below the results.
        """
        place = self._resolve_path(path)
        try:
            content, seal, digest = place.read_bytes().rpartition(SEAL)
        except OSError as error:
            raise ValueError(f"There is no result {place}.") from error
        if not seal or hashlib.sha256(content).hexdigest().encode() != digest:
            log.warning("%s is truncated or altered: the result is computed again", place)
            raise ValueError(f"Result {place} is incomplete or altered.")
        record = json.loads(content)
        if not _is_plain(record) or Path(record["metadata"]["storage_key"]).name != place.name:
            log.warning("%s was not written by a night: the result is computed again", place)
            raise ValueError(f"Result {place} is not a plain JSON record.")
        return json.dumps(record).encode()  # a name that stood twice stands once, as it was checked

    def write_path(  # type: ignore[override]
        self, path: str, content: bytes, _sync: bool | None = None
    ) -> str:
        """Write the record and its digest, atomically.

        Raises:
            StoreError: Where the disk is full or read-only.
        """
        place = self._resolve_path(path)
        seal = SEAL + hashlib.sha256(content).hexdigest().encode()
        files.write_file(place, content + seal)
        return str(place)

    async def aread_path(self, path: str) -> bytes:
        """``read_path`` for asynchronous callers."""
        return self.read_path(path)

    async def awrite_path(self, path: str, content: bytes) -> str:
        """``write_path`` for asynchronous callers."""
        return self.write_path(path, content)


P = ParamSpec("P")
R = TypeVar("R")
RESULTS = VerifiedResults()


def _is_plain(record: Any) -> bool:
    """Whether a record has the format that nights write; older formats may name a serializer
    elsewhere."""
    return (
        isinstance(record, dict)
        and record.keys() == RECORD_KEYS
        and isinstance(record["result"], str)
        and isinstance(record["metadata"], dict)
        and record["metadata"].keys() == METADATA_KEYS
        and isinstance(record["metadata"]["storage_key"], str)
        and record["metadata"]["storage_block_id"] is None
        and record["metadata"]["serializer"] == PLAIN_JSON.model_dump(mode="json")
    )


def forget(key: str) -> None:
    """Remove the result kept under a cache key, if any: the task runs again and keeps a new one."""
    RESULTS._resolve_path(key).unlink(missing_ok=True)


def cached_task(
    cache_key: Callable[[TaskRunContext, dict[str, Any]], str | None], **options: Any
) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A task whose JSON result is found again, in any later run, under an explicit key.

    Args:
        cache_key: Key of the result from the task's arguments.
        options: Further options of ``prefect.task``.
    """

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        made: Task[P, R] = task(
            cache_key_fn=cache_key,
            persist_result=True,
            result_serializer=PLAIN_JSON,
            **options,
        )(function)
        made.result_storage = RESULTS  # the constructor takes only storage saved on a server
        return made

    return decorate


def if_whole(key: str, whole: object) -> str:
    """The key; its stored result is dropped unless the data it names is intact."""
    if not whole:
        forget(key)
    return key
