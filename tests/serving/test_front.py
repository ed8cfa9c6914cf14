"""The address of all models: who may ask, who answers, and what happens when a process dies."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pandas as pd
import pytest

from tasks.serving import champions, front
from tasks.serving.champions import Answering, Champions

LOGIN = "nightly:pässword"
Reply = Callable[[httpx.Request], httpx.Response]


def answering(version: str, reply: Reply, model: str = "toy") -> Answering:
    process = subprocess.Popen(["true"])
    process.wait()
    client = httpx.AsyncClient(transport=httpx.MockTransport(reply), base_url="http://model")
    return Answering(model, version, "2026-02-08", process, client, Path("/nowhere"))


def echo(request: httpx.Request) -> httpx.Response:
    kind = {"Content-Type": request.headers.get("content-type", "none")}
    return httpx.Response(200, content=request.content, headers=kind)


def ask(
    found: Champions, method: str, path: str, *, login: str | None = LOGIN, content: bytes = b""
) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(front.make_app(found, LOGIN))
        sent = None if login is None else httpx.BasicAuth(*login.split(":"))
        async with httpx.AsyncClient(transport=transport, base_url="http://front") as client:
            return await client.request(method, path, content=content, auth=sent)

    return asyncio.run(asked())


@pytest.mark.parametrize("login", [None, "nightly:wrong", "other:pässword"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/toy/invocations")])
def test_nothing_is_told_without_the_password(method: str, path: str, login: str | None) -> None:
    found = Champions({"toy": answering("1", echo)})
    answer = ask(found, method, path, login=login, content=b"rows")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")
    assert "toy" not in answer.text


def test_its_health_is_told_to_everybody() -> None:
    assert ask(Champions(), "GET", "/health", login=None).text == "ok\n"


@pytest.mark.parametrize("said", ["", "Basic", "Basic ===", "Bearer bmlnaHRseTpw", "Basic Og=="])
def test_a_header_that_is_no_password_is_refused(said: str) -> None:
    assert not front._may(said, LOGIN)


def test_the_answer_is_the_versions_own_and_names_it() -> None:
    answer = ask(Champions({"toy": answering("7", echo)}), "POST", "/toy/invocations", content=b"x")
    assert (answer.status_code, answer.content) == (200, b"x")
    assert answer.headers[front.VERSION] == "7"
    assert answer.headers[front.MODEL] == "toy"


def test_a_refusal_of_the_version_is_passed_on() -> None:
    found = Champions({"toy": answering("7", lambda _: httpx.Response(400, text="no column b"))})
    answer = ask(found, "POST", "/toy/invocations")
    assert (answer.status_code, answer.text) == (400, "no column b")
    assert answer.headers[front.VERSION] == "7"


def test_a_model_that_is_not_there_is_said_with_those_that_are() -> None:
    found = Champions({"toy": answering("1", echo)}, {"sick": "Version 3 of sick does not answer."})
    assert "Models that answer: toy." in ask(found, "POST", "/other/invocations").text
    assert "Version 3 of sick does not answer." in ask(found, "POST", "/sick/invocations").text
    assert "none yet" in ask(Champions(), "POST", "/toy/invocations").text


def test_too_large_a_body_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "LARGEST", 10)
    found = Champions({"toy": answering("1", echo)})
    assert ask(found, "POST", "/toy/invocations", content=b"0123456789").status_code == 200
    assert ask(found, "POST", "/toy/invocations", content=b"0123456789a").status_code == 413


def test_a_request_of_a_process_that_dies_is_asked_again_of_the_next() -> None:
    found = Champions()

    def die(_: httpx.Request) -> httpx.Response:
        found.answering["toy"] = answering("1", echo)
        raise httpx.RemoteProtocolError("gone")

    found.answering["toy"] = answering("1", die)
    answer = ask(found, "POST", "/toy/invocations", content=b"x")
    assert (answer.status_code, answer.content) == (200, b"x")


def test_one_that_stays_dead_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "PATIENCE", 0.0)

    def die(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    one = answering("1", die)
    assert ask(Champions({"toy": one}), "POST", "/toy/invocations").status_code == 503
    assert one.asked == 0


def test_the_overview_names_versions_and_faults() -> None:
    found = Champions({"toy": answering("1", echo)}, {"sick": "why"})
    assert ask(found, "GET", "/").json() == {
        "models": {"toy": {"version": "1", "as_of": "2026-02-08", "requests_now": 0}},
        "faults": {"sick": "why"},
    }


# --- partitions of a fleet ------------------------------------------------------------------


def ask_partitions(found: Champions, *values: str) -> list[tuple[int, str | None]]:
    """Status and model of the answer for each partition in turn."""

    async def asked() -> list[tuple[int, str | None]]:
        transport = httpx.ASGITransport(front.make_app(found, LOGIN))
        login = httpx.BasicAuth(*LOGIN.split(":"))
        said = []
        async with httpx.AsyncClient(transport=transport, base_url="http://f", auth=login) as app:
            for value in values:
                answer = await app.post("/shops/invocations", params={"partition": value})
                said.append((answer.status_code, answer.headers.get(front.MODEL)))
        await asyncio.gather(*found.ending)
        return said

    return asyncio.run(asked())


def test_a_partition_is_asked_by_its_value_and_started_when_it_is_first_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[str] = []

    async def start(model: str, version: str) -> Answering:
        started.append(model)
        if version == "3":
            raise champions.ServingError("it is broken.")
        return answering(version, echo, model)

    monkeypatch.setattr(champions, "start_version", start)
    monkeypatch.setattr(champions, "PARTITIONS", 2)
    found = Champions({"shops": answering("9", echo, "shops")})
    found.wanted = {"shops": "9", "shops._new__20_york": "1", "shops.a": "2", "shops.b": "1"}
    found.wanted |= {"shops.sick": "3"}
    values = ["New York", "a", "New York", "thin", "sick", "b"]
    york, own = "shops._new__20_york", ["shops.a", "shops", "shops", "shops.b"]
    assert ask_partitions(found, *values) == [(200, n) for n in (york, own[0], york, *own[1:])]
    assert started == [york, "shops.a", "shops.sick", "shops.b"]
    assert {*found.answering} == {"shops", york, "shops.b"}, "a was asked longest ago"
    assert "Version 3 of shops.sick" in found.faults["shops.sick"]
    assert ask_partitions(found, "", "x" * 200) == [(400, None)] * 2
    assert ask_partitions(Champions(), "a") == [(404, None)]


# --- which version answers --------------------------------------------------------------------


class Registry:
    """Versions that start, and those that do not."""

    def __init__(self, *broken: str) -> None:
        self.broken = set(broken)
        self.started: list[str] = []

    async def start(self, model: str, version: str) -> Answering:
        self.started.append(version)
        if version in self.broken:
            raise champions.ServingError("it is broken.")
        made = answering(version, echo)
        made.process = subprocess.Popen(["sleep", "60"])
        return made


def follow(found: Champions, *wanted: str | None) -> list[str | None]:
    """The version that answers after each look."""

    async def looks() -> list[str | None]:
        seen = []
        for version in wanted:
            replaced = await champions.follow_model(found, "toy", version)
            if replaced is not None:
                replaced.process.kill()
                replaced.process.wait()
            now = found.answering.get("toy")
            seen.append(now.version if now else None)
        return seen

    try:
        return asyncio.run(looks())
    finally:
        for one in found.answering.values():
            one.process.kill()
            one.process.wait()


@pytest.mark.parametrize(
    ("wanted", "answers", "started"),
    [
        (["1", "1", "2", "2"], ["1", "1", "2", "2"], ["1", "2"]),
        (["1", "2", "1"], ["1", "2", "1"], ["1", "2", "1"]),
        (["1", "3", "3", "2"], ["1", "1", "1", "2"], ["1", "3", "2"]),  # 3 is tried once a minute
        (["3", "3"], [None, None], ["3"]),
        ([None, "1", None], [None, "1", None], ["1"]),
    ],
)
def test_the_champion_answers_and_the_one_before_where_it_cannot(
    wanted: list[str | None],
    answers: list[str | None],
    started: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry, found = Registry("3"), Champions()
    monkeypatch.setattr(champions, "start_version", registry.start)
    assert follow(found, *wanted) == answers
    assert registry.started == started
    broken = wanted[-1] == "3"
    said = "Version 3 of toy does not answer: it is broken"
    assert found.faults == ({"toy": said} if broken else {})


@pytest.mark.parametrize("champion", ["1", "3"])
def test_a_version_whose_process_died_is_started_again(
    champion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the champion is another one, which cannot be loaded."""
    registry, found = Registry("3"), Champions()
    monkeypatch.setattr(champions, "start_version", registry.start)
    follow(found, "1")
    assert follow(found, champion) == ["1"]
    assert [each for each in registry.started if each == "1"] == ["1", "1"]


# --- a change-over that is killed -------------------------------------------------------------

SERVER = """
import os, signal, socket, sys

moment = open(os.path.join(sys.argv[1], "dies")).read()


def at(name):
    if name == moment:
        os.kill(os.getpid(), signal.SIGKILL)


at("started")
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[2])
at("bound")
listener.listen()
while True:
    line = listener.accept()[0].makefile("rwb")
    while asked := line.readline():
        size = 0
        while (header := line.readline().strip().lower()):
            size = int(header.split()[1]) if header.startswith(b"content-length") else size
        line.read(size)
        at(asked.split()[1].decode())
        body = b'{"predictions": [0.5]}'
        line.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(body), body))
        line.flush()
"""


@pytest.mark.parametrize("moment", ["started", "bound", "/ping", "/invocations", "never"])
def test_the_old_version_answers_on_where_the_new_one_is_killed(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any moment of its start; the process is real, and answers as MLflow's would."""
    server = tmp_path / "server.py"
    server.write_text(SERVER)

    def fetch(model: str, version: str, place: Path) -> Any:
        del model
        place.mkdir()
        (place / "dies").write_text("never" if version == "1" else moment)
        probe = pd.DataFrame({"x": [1.0]})
        return SimpleNamespace(as_of="2026-02-08", probe=probe, predictions=[0.5])

    monkeypatch.setattr(champions, "_fetch", fetch)
    monkeypatch.setattr(champions.package_server, "__file__", str(server))
    monkeypatch.setattr(champions.tempfile, "tempdir", str(tmp_path))
    found = Champions()

    async def change() -> tuple[list[str], str]:
        assert await champions.follow_model(found, "toy", "1") is None
        one, said = found.answering["toy"], list[str]()
        change = asyncio.create_task(champions.follow_model(found, "toy", "2"))
        while not change.done():
            said.append((await one.client.post("/invocations")).text)
            await asyncio.sleep(0.01)
        if (replaced := await change) is not None:
            await champions._end(replaced)
        now = found.answering["toy"]
        said.append((await now.client.post("/invocations")).text)
        await champions._end(now)
        return said, now.version

    said, version = asyncio.run(change())
    assert {*said} == {'{"predictions": [0.5]}'}
    assert version == ("2" if moment == "never" else "1")
    assert ("toy" in found.faults) == (moment != "never")
    assert [*tmp_path.iterdir()] == [server]
