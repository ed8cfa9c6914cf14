"""Results of cached tasks are found again across runs, and only where they are whole and ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultStore
from prefect.serializers import JSONSerializer, PickleSerializer

from tasks.steps import caching
from tasks.store import files

KEY = "content-address"


def kept_store() -> ResultStore:
    """What Prefect makes of ``cached_task``, without a server and without its memory."""
    return ResultStore(
        result_storage=caching.RESULTS,
        serializer=caching.PLAIN_JSON,
        cache_result_in_memory=False,
    )


def record_at(home: Path) -> Path:
    return home / "results" / KEY


def seal(content: bytes) -> bytes:
    return content + caching.SEAL + hashlib.sha256(content).hexdigest().encode()


def good_record(home: Path) -> dict[str, Any]:
    kept_store().write({"n": 1}, key=KEY)
    content: bytes = record_at(home).read_bytes().rpartition(caching.SEAL)[0]
    found: dict[str, Any] = json.loads(content)
    return found


def test_a_record_comes_back(home: Path) -> None:
    kept_store().write({"n": 1, "text": "größer"}, key=KEY)
    assert kept_store().exists(KEY)
    assert kept_store().read(KEY).result == {"n": 1, "text": "größer"}
    assert [p.name for p in record_at(home).parent.iterdir()] == [KEY]


def test_a_record_cut_anywhere_does_not_exist(home: Path) -> None:
    good_record(home)
    whole = record_at(home).read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 65, len(whole) - 1):
        record_at(home).write_bytes(whole[:length])
        assert not kept_store().exists(KEY), length
        with pytest.raises(ValueError, match=r"incomplete"):
            kept_store().read(KEY)
    record_at(home).write_bytes(whole)
    assert kept_store().exists(KEY)


def test_an_altered_value_does_not_exist(home: Path) -> None:
    good_record(home)
    whole = record_at(home).read_bytes()
    altered = whole.replace(b'\\"n\\": 1', b'\\"n\\": 2')
    assert altered != whole
    record_at(home).write_bytes(altered)
    assert not kept_store().exists(KEY)


def test_a_record_moved_to_another_key_does_not_exist(home: Path) -> None:
    good_record(home)
    record_at(home).rename(record_at(home).with_name("other"))
    assert not kept_store().exists("other")


Plant = Callable[[dict[str, Any], Path], bytes]


def planted(change: Callable[[dict[str, Any], Any], None]) -> Plant:
    def make(record: dict[str, Any], marker: Path) -> bytes:
        change(record, marker)
        return json.dumps(record).encode()

    return make


class Marks:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.marker,))


def pickle_of(marker: Path) -> str:
    return PickleSerializer().dumps(Marks(marker)).decode()


def name_pickle(record: dict[str, Any], marker: Path) -> None:
    record["metadata"]["serializer"] = PickleSerializer().model_dump(mode="json")
    record["result"] = pickle_of(marker)


def name_pickle_the_old_way(record: dict[str, Any], marker: Path) -> None:
    record["serializer"] = PickleSerializer().model_dump(mode="json")
    record["result"] = pickle_of(marker)


def name_pickle_and_data(record: dict[str, Any], marker: Path) -> None:
    name_pickle_the_old_way(record, marker)
    record["data"] = record.pop("result")


def name_a_decoder(record: dict[str, Any], marker: Path) -> None:
    hostile = JSONSerializer(object_encoder=None, object_decoder="subprocess.check_output")
    record["metadata"]["serializer"] = hostile.model_dump(mode="json")
    record["result"] = json.dumps({"touch": None, str(marker): None})


def name_a_library(record: dict[str, Any], marker: Path) -> None:
    record["metadata"]["serializer"]["jsonlib"] = "cloudpickle"
    record["result"] = pickle_of(marker)


def name_it_twice(record: dict[str, Any], marker: Path) -> bytes:
    plain = json.dumps(record["metadata"]["serializer"])
    pickle = json.dumps(PickleSerializer().model_dump(mode="json"))
    record["result"] = pickle_of(marker)
    once = json.dumps(record)
    for twice in (f'{pickle}, "serializer": {plain}', f'{plain}, "serializer": {pickle}'):
        once = once.replace(plain, twice, 1)
    return once.encode()


@pytest.mark.parametrize(
    "plant",
    [
        planted(name_pickle),
        planted(name_pickle_the_old_way),
        planted(name_pickle_and_data),
        planted(name_a_decoder),
        planted(name_a_library),
        name_it_twice,
    ],
    ids=["pickle", "old-shape", "old-shape-data", "decoder", "library", "named-twice"],
)
def test_a_planted_record_does_not_exist_and_runs_nothing(
    plant: Plant, home: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "code-ran"
    content = plant(good_record(home), marker)
    record_at(home).write_bytes(seal(content))
    assert not kept_store().exists(KEY)
    with pytest.raises(ValueError):
        kept_store().read(KEY)
    assert not marker.exists()


def test_the_planted_pickle_would_run_with_the_storage_of_prefect(
    home: Path, tmp_path: Path
) -> None:
    """The plant above is a real one: without our storage, looking is enough to run it."""
    marker = tmp_path / "code-ran"
    content = planted(name_pickle_the_old_way)(good_record(home), marker)
    (tmp_path / KEY).write_bytes(content)
    theirs = ResultStore(result_storage=LocalFileSystem(basepath=str(tmp_path)))
    theirs.exists(KEY)
    assert marker.exists()


def test_a_key_cannot_lead_out_of_the_results() -> None:
    with pytest.raises(ValueError, match="leads out"):
        caching.RESULTS.write_path("../elsewhere", b"")


def test_a_full_disk_leaves_no_record(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(files.StoreError, match=r"No space left.*Free some space"):
        kept_store().write({"n": 1}, key=KEY)
    assert list(record_at(home).parent.iterdir()) == []


@pytest.mark.usefixtures("prefect_server")
def test_a_task_hits_across_runs_until_its_record_is_spoilt(home: Path, tmp_path: Path) -> None:
    ran: list[int] = []

    @caching.cached_task(lambda _context, parameters: f"{KEY}-{parameters['n']}")
    def double(n: int) -> dict[str, int]:
        ran.append(n)
        return {"twice": 2 * n}

    @flow
    def night() -> dict[str, int]:
        made: dict[str, int] = double.submit(21).result()
        return made

    assert night() == night() == {"twice": 42}
    assert ran == [21], "the second run is a hit"

    record = home / "results" / f"{KEY}-21"
    whole = record.read_bytes()
    marker = tmp_path / "code-ran"
    hostile = json.loads(whole.rpartition(caching.SEAL)[0])
    name_a_decoder(hostile, marker)
    for spoilt in (
        whole[: len(whole) // 2],
        whole.replace(b"42", b"43"),
        seal(json.dumps(hostile).encode()),
    ):
        before = len(ran)
        record.write_bytes(spoilt)
        assert night() == {"twice": 42}
        assert len(ran) == before + 1, "a spoilt record is a miss"
        assert night() == {"twice": 42}
        assert len(ran) == before + 1, "and is written again"
    assert not marker.exists()
