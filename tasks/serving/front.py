"""One address for all models: ``/MODEL/invocations`` is answered by the model's champion, and
``/FLEET/invocations?partition=VALUE`` by that of a partition.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tasks.errors import SpecError
from tasks.serving.champions import Answering, Champions, answer_partition, followed
from tasks.spec.fleet import model_name

if TYPE_CHECKING:
    Handler = Callable[[Request], Awaitable[Response]]

LARGEST = 64 * 1024 * 1024
"""Bytes of a body; a larger one is refused."""
MODEL, VERSION = "X-Nightly-Model", "X-Nightly-Version"
"""Headers of each answer: who gave it."""
PATIENCE = 30.0
"""Seconds that a request waits where the process of its version has died."""


def make_app(champions: Champions, password: str) -> Starlette:
    """The application, which follows the registry while it runs.

    Args:
        champions: Which version answers for each model; none at the start.
        password: ``user:password`` that each request must send, as basic authentication.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with followed(champions):
            yield

    async def overview(_: Request) -> Response:
        return JSONResponse(describe(champions))

    async def invocations(request: Request) -> Response:
        return await answer(champions, request)

    return Starlette(
        routes=[
            Route("/health", _health),
            Route("/", _guarded(overview, password)),
            Route("/{model}/invocations", _guarded(invocations, password), methods=["POST"]),
        ],
        lifespan=lifespan,
    )


def describe(champions: Champions) -> dict[str, object]:
    """What ``GET /`` says: the version that answers for each model, and what is wrong."""
    found = {
        name: {"version": one.version, "as_of": one.as_of, "requests_now": one.asked}
        for name, one in sorted(champions.answering.items())
    }
    return {"models": found, "faults": dict(sorted(champions.faults.items()))}


async def answer(champions: Champions, request: Request) -> Response:
    """Pass a request on to the version that answers for its model, or for the partition it names.

    A partition without a champion, or whose champion cannot be loaded, is answered by the model of
    its fleet, as in the table of predictions.

    A version that is replaced meanwhile still answers what it was asked. Where its process dies,
    the request is asked again of the one that takes its place: a prediction changes nothing.
    """
    model, value = request.path_params["model"], request.query_params.get("partition")
    try:
        named = None if value is None else model_name(model, value)
    except SpecError as error:
        return _refuse(400, str(error))
    body = await _read(request)
    if body is None:
        return _refuse(413, f"A body may have {LARGEST // 2**20} MB. Send the rows in parts.")
    loop = asyncio.get_running_loop()
    until = loop.time() + PATIENCE
    kind = request.headers.get("content-type")
    while True:
        one = await answer_partition(champions, named) if named else None
        one = one or champions.answering.get(model)
        if one is None:
            return _refuse(404, _missing(champions, model))
        try:
            return await _ask(one, body, {"Content-Type": kind} if kind else {})
        except httpx.TransportError:
            if loop.time() > until:
                return _refuse(503, f"Version {one.version} of {model} does not answer.")
            await asyncio.sleep(0.2)


async def _ask(one: Answering, body: bytes, headers: dict[str, str]) -> Response:
    one.asked += 1
    try:
        said = await one.client.post("/invocations", content=body, headers=headers)
    finally:
        one.asked -= 1
    named = {MODEL: one.model, VERSION: one.version}
    kind = said.headers.get("content-type")
    return Response(said.content, said.status_code, headers=named, media_type=kind)


async def _read(request: Request) -> bytes | None:
    """The body, or None where it is too large."""
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > LARGEST:
            return None
    return b"".join(parts)


def _missing(champions: Champions, model: str) -> str:
    if model in champions.faults:
        return champions.faults[model]
    known = ", ".join(sorted(champions.answering)) or "none yet"
    return f"There is no champion of a model {model!r}. Models that answer: {known}."


def _refuse(status: int, message: str) -> Response:
    return JSONResponse({"message": message}, status)


async def _health(_: Request) -> Response:
    return Response("ok\n")


def _guarded(handler: Handler, password: str) -> Handler:
    """A handler that asks for the password first."""

    async def guarded(request: Request) -> Response:
        if not _may(request.headers.get("authorization", ""), password):
            return Response(
                "This address asks for a user and a password.\n",
                401,
                {"WWW-Authenticate": 'Basic realm="nightly"'},
            )
        return await handler(request)

    return guarded


def _may(said: str, password: str) -> bool:
    scheme, _, sent = said.partition(" ")
    try:
        given = base64.b64decode(sent, validate=True)
    except binascii.Error:
        return False
    return scheme.lower() == "basic" and hmac.compare_digest(given, password.encode())
