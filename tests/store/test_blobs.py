"""Write-once files under an address: what one machine stored another reads from a copy of its own.

S3 is moto's emulator, which knows conditional puts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from tasks.settings import SettingsError
from tasks.store import blobs, files, frames, mirror, models, state_database

DAYS = {f"day-{n}": pd.DataFrame({"x": [n, n + 1], "y": ["a", "b"]}) for n in (1, 2)}


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        _, port = server.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secretword")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        files_there, _ = blobs._address("s3://nights/of-all")
        files_there.mkdir("nights")
        yield "s3://nights"
        blobs._address.cache_clear()
    server.stop()


@pytest.fixture(params=["file", "s3"])
def address(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> str:
    """An address that is empty, set on this machine."""
    s3 = request.getfixturevalue("s3") if request.param == "s3" else ""
    url = f"{s3}/{uuid4().hex}" if s3 else (tmp_path / "shared").as_uri()
    monkeypatch.setenv("NIGHTLY_STATE_URL", postgres)
    monkeypatch.setenv("NIGHTLY_STORE_URL", url)
    monkeypatch.setattr(blobs, "PAUSES", (0.01, 0.01))
    return url


@pytest.fixture
def on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def go(name: str) -> None:
        monkeypatch.setenv("NIGHTLY_HOME", str(tmp_path / name))
        mirror.pull()

    return go


def fitted() -> LinearRegression:
    return LinearRegression().fit([[0.0], [1.0]], [1.0, 3.0])


def test_what_one_machine_stored_another_finds_and_reads_from_its_own_copy(
    address: str, on: Any
) -> None:
    on("A")
    written = frames.write_days("clean", DAYS, by_content=True)
    models.write_model("models", "k", fitted(), ())
    on("B")
    assert not list(files.root().rglob("*.arrow"))
    found = frames.find_days("clean", [*DAYS, "day-3"])
    assert found == written
    assert (files.root() / found["day-1"].path).is_file()
    assert frames.read_days([found["day-2"]])["x"].tolist() == [2, 3]
    assert models.fetch_model("models", "k")[0].is_file()
    assert models.has_model("models", "k")
    assert models.read_model("models", "k", ()).predict([[2.0]])[0] == pytest.approx(5.0)
    more = frames.write_days("clean", {"day-3": DAYS["day-1"] + DAYS["day-1"]})
    on("A")
    assert frames.find_days("clean", ["day-3"]) == more
    lines = (files.root() / "clean" / frames.INDEX).read_bytes()
    mirror.pull_all()
    assert (files.root() / "clean" / frames.INDEX).read_bytes() == lines

    there, folder = blobs._address(address)
    place = f"{folder}/{more['day-3'].path}"
    there.pipe_file(place, there.cat_file(place)[:100])  # a writer that was killed, or a bad disk
    on("C")
    assert frames.find_days("clean", ["day-3"]) == {}
    assert frames.write_days("clean", {"day-3": DAYS["day-1"] + DAYS["day-1"]}) == more
    on("D")
    assert frames.find_days("clean", ["day-3"]) == more


def test_a_laptops_store_is_taken_there_and_back(
    address: str, on: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NIGHTLY_HOME", str(tmp_path / "A"))
    with monkeypatch.context() as alone:
        alone.delenv("NIGHTLY_STATE_URL")
        alone.delenv("NIGHTLY_STORE_URL")
        written = frames.write_days("clean", DAYS)
        models.write_model("models", "k", fitted(), ())
    mirror.push(replace=False)
    on("B")
    assert frames.find_days("clean", [*DAYS]) == written
    assert models.has_model("models", "k")
    on("C")
    mirror.leave()
    monkeypatch.delenv("NIGHTLY_STATE_URL")
    monkeypatch.delenv("NIGHTLY_STORE_URL")
    assert frames.find_days("clean", [*DAYS]) == written
    assert models.has_model("models", "k")


class Faulty:
    """Files whose first requests fail."""

    def __init__(self, files_there: Any, *faults: str) -> None:
        self.files, self.faults = files_there, list(faults)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.files, name)

    def pipe_file(self, place: str, content: bytes, **how: Any) -> None:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "500":
            raise OSError("500: internal error")
        self.files.pipe_file(place, content, **how)
        if fault == "lost answer":
            raise TimeoutError("read timed out")

    def info(self, place: str) -> Any:
        if self.faults and self.faults[0] == "404":
            self.faults.pop(0)
            raise FileNotFoundError(place)
        return self.files.info(place)


def test_requests_that_fail_are_done_again(
    s3: str, postgres: str, on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLY_STATE_URL", postgres)
    monkeypatch.setenv("NIGHTLY_STORE_URL", f"{s3}/{uuid4().hex}")
    monkeypatch.setattr(blobs, "PAUSES", (0.01, 0.01, 0.01))
    on("A")
    there, folder = blobs._address(f"{s3}/faults")
    faulty = Faulty(there, "500", "lost answer", "404")
    monkeypatch.setattr(blobs, "_address", lambda _: (faulty, folder))
    written = frames.write_days("clean", DAYS)
    assert faulty.faults == []
    assert there.find(folder) == [f"{folder}/{written['day-1'].path}"]
    on("B")
    assert frames.find_days("clean", [*DAYS]) == written
    faulty.faults = ["500"] * 9
    with pytest.raises(blobs.AddressOutageError, match=r"does not answer for clean/.*500"):
        frames.write_days("clean", {"day-9": DAYS["day-1"]})
    assert "day-9" not in frames.read_index("clean")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/shared", "NIGHTLY_STORE_URL: found '/shared', expected an address such as file:///"),
        ("file:///proc/nightly", "NIGHTLY_STORE_URL: file:///proc/nightly cannot be written"),
        ("s3://nobodys/x", "NIGHTLY_STORE_URL: s3://nobodys/x cannot be written.*does not exist"),
        ("nosuch://x/y", "NIGHTLY_STORE_URL: found 'nosuch://x/y', expected an address"),
    ],
)
def test_an_address_that_cannot_be_used_is_one_line(
    s3: str, postgres: str, on: Any, monkeypatch: pytest.MonkeyPatch, url: str, said: str
) -> None:
    monkeypatch.setenv("NIGHTLY_STATE_URL", postgres)
    monkeypatch.setenv("NIGHTLY_STORE_URL", url)
    with pytest.raises(SettingsError, match=said) as raised:
        on("A")
    assert "\n" not in str(raised.value)


def test_a_store_without_the_database_that_finds_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTLY_STORE_URL", "s3://nights/x")
    with pytest.raises(SettingsError, match="NIGHTLY_STATE_URL is not"):
        state_database.settings.store_url()
