"""The address of all models: who may ask, who answers, and what happens when a process dies."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tasks.serving import champions, front
from tasks.serving.champions import Answering, Champions

LOGIN = "nightly:pässword"
Reply = Callable[[httpx.Request], httpx.Response]


def answering(version: str, reply: Reply) -> Answering:
    process = subprocess.Popen(["true"])
    process.wait()
    client = httpx.AsyncClient(transport=httpx.MockTransport(reply), base_url="http://model")
    return Answering("toy", version, "2026-02-08", process, client, Path("/nowhere"))


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
