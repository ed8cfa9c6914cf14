"""The process that answers for each champion, and its replacement when the champion changes."""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from tasks.clean_process.run import clean_environment
from tasks.clean_process.version_answers import check_unaltered
from tasks.errors import NightlyError, to_message
from tasks.registry import champion_alias, packages, versions
from tasks.registry.client import open_registry
from tasks.serving import package_server
from tasks.spec.fleet import SEPARATOR

if TYPE_CHECKING:
    from tasks.registry.packages import Seal

log = logging.getLogger("nightly")

LOOK = 1.0
"""Seconds between two looks at the registry."""
PATIENCE = 120.0
"""Seconds a version may take to load."""
AGAIN = 60.0
"""Seconds until a version that could not be loaded is tried again."""
GRACE = 90.0
"""Seconds in which the requests of a replaced version end: MLflow ends each after 60."""
PARTITIONS = 8
"""Champions of partitions that answer at a time, of all fleets; each takes a process."""
AT_ONCE = 64
"""Requests that one version is sent at a time; others wait."""


class ServingError(NightlyError, RuntimeError):
    """A version cannot answer; the message says why."""


@dataclass
class Answering:
    """A version that answers.

    Attributes:
        model: Registered model.
        version: Its version.
        as_of: As-of date of its night.
        process: The process that holds it.
        client: Sends requests to that process.
        folder: Its package, its socket and its log.
        asked: Requests being answered now.
    """

    model: str
    version: str
    as_of: str
    process: subprocess.Popen[bytes]
    client: httpx.AsyncClient
    folder: Path
    asked: int = 0


@dataclass
class Champions:
    """Which version answers for each model.

    Attributes:
        answering: Model to the version that answers.
        faults: Model to why its champion does not answer.
        refused: Versions that cannot answer, and when each is tried again.
        wanted: Every model to its champion, as last seen.
        starting: Held while the version of a model is started.
        ending: Versions that no new request is sent to.
    """

    answering: dict[str, Answering] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    refused: dict[tuple[str, str], float] = field(default_factory=dict)
    wanted: Mapping[str, str] = field(default_factory=dict)
    starting: dict[str, asyncio.Lock] = field(default_factory=dict)
    ending: set[asyncio.Task[None]] = field(default_factory=set)

    def end(self, one: Answering) -> None:
        """End a version in the background, once its requests have been answered."""
        self.ending.add(task := asyncio.create_task(_end(one)))
        task.add_done_callback(self.ending.discard)


@asynccontextmanager
async def followed(champions: Champions) -> AsyncIterator[None]:
    """Follow the registry meanwhile; at the end every process is ended."""
    following = asyncio.create_task(_follow(champions))
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        for one in champions.answering.values():
            await _end(one)
        await asyncio.gather(*champions.ending)


async def _follow(champions: Champions) -> None:
    said = ""
    while True:
        try:
            champions.wanted = await asyncio.to_thread(champion_alias.champions_now)
            said = ""
        except Exception as error:  # a server that is down: those that answer go on
            if to_message(error) != said:
                said = to_message(error)
                log.warning("The registry cannot be read, so no champion is replaced: %s", said)
        wanted = champions.wanted
        named = {*champions.answering, *(name for name in wanted if SEPARATOR not in name)}
        looks = (follow_model(champions, model, wanted.get(model)) for model in named)
        for replaced in await asyncio.gather(*looks):
            if replaced is not None:
                champions.end(replaced)
        await asyncio.sleep(LOOK)


async def follow_model(champions: Champions, model: str, wanted: str | None) -> Answering | None:
    """Let the champion of a model answer for it; returns what it replaced, to be ended.

    The new version answers once it has repeated its recorded predictions. Until then, and where it
    cannot, the one before goes on, in a new process where its own has died.
    """
    async with champions.starting.setdefault(model, asyncio.Lock()):
        return await _follow_model(champions, model, wanted)


async def answer_partition(champions: Champions, model: str) -> Answering | None:
    """What answers for a partition; None where the model of its fleet has to.

    Its champion is started when it is first asked. Of more than ``PARTITIONS`` the one that was
    asked longest ago ends.
    """
    if model not in champions.answering and (wanted := champions.wanted.get(model)):
        replaced = await follow_model(champions, model, wanted)
        if replaced is not None:
            champions.end(replaced)
    one = champions.answering.pop(model, None)
    if one is None:
        return None
    champions.answering[model] = one  # the last one that was asked
    started = [name for name in champions.answering if SEPARATOR in name]
    for name in started[:-PARTITIONS]:
        champions.end(champions.answering.pop(name))
    return one


async def _follow_model(champions: Champions, model: str, wanted: str | None) -> Answering | None:
    now = champions.answering.get(model)
    if wanted is None:
        champions.faults.pop(model, None)
        return champions.answering.pop(model, None)
    alive = now is not None and now.process.poll() is None
    if now is not None and alive and now.version == wanted:
        champions.faults.pop(model, None)
        return None
    made = await _try_version(champions, model, wanted)
    if made is None and now is not None and not alive and now.version != wanted:
        made = await _try_version(champions, model, now.version)
    if made is None:
        return None if alive else champions.answering.pop(model, None)
    champions.answering[model] = made
    if made.version == wanted:
        champions.faults.pop(model, None)
    before = f" in place of version {now.version}" if now is not None and alive else ""
    log.info("%s: version %s answers%s", model, made.version, before)
    return now


async def _try_version(champions: Champions, model: str, version: str) -> Answering | None:
    """Start a version, unless it failed less than a minute ago; None where it cannot answer."""
    clock = asyncio.get_running_loop().time()
    if champions.refused.get((model, version), 0.0) > clock:
        return None
    try:
        return await start_version(model, version)
    except Exception as error:
        champions.refused[model, version] = clock + AGAIN
        said = to_message(error).removesuffix(".")
        champions.faults[model] = f"Version {version} of {model} does not answer: {said}"
        log.warning("%s", champions.faults[model])
        return None


async def start_version(model: str, version: str) -> Answering:
    """Start a process that answers for a version, and wait until it repeats its predictions.

    Args:
        model: Registered model.
        version: A version with a valid seal.

    Raises:
        ServingError: Where it ends, takes too long, or predicts something else.
        RegistryError: Where the version is not sealed, or its files are missing.
        AlignError: Where its files were altered.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{model[:20]}-{version}-"))
    try:
        seal = await asyncio.to_thread(_fetch, model, version, folder / "package")
        one = _start(model, version, seal.as_of, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    try:
        async with asyncio.timeout(PATIENCE):
            await _answers(one)
        await _check_predictions(one, seal)
    except BaseException as error:
        await _end(one)
        if isinstance(error, TimeoutError):
            raise ServingError(f"it was not loaded within {PATIENCE:.0f} s") from error
        raise
    return one


def _fetch(model: str, version: str, place: Path) -> Seal:
    """Put a version's package here, sealed and unaltered, and give the record of its checks."""
    client = open_registry()
    found = versions.read_promoted(client, model, version)
    with packages.downloaded(client, model, version) as package:
        check_unaltered(found, package)
        shutil.copytree(package, place)
    return packages.read_seal(client, model, version)


def _start(model: str, version: str, as_of: str, folder: Path) -> Answering:
    socket = folder / "socket"
    with (folder / "log").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-P", package_server.__file__, str(folder / "package"), str(socket)],
            cwd=folder,
            env=clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    sent = httpx.AsyncHTTPTransport(uds=str(socket), limits=httpx.Limits(max_connections=AT_ONCE))
    client = httpx.AsyncClient(transport=sent, base_url="http://model", timeout=None)
    return Answering(model, version, as_of, process, client, folder)


async def _answers(one: Answering) -> None:
    """Wait until the process answers."""
    while True:
        if one.process.poll() is not None:
            said = (one.folder / "log").read_text(errors="replace").strip().splitlines()
            raise ServingError(said[-1] if said else f"exit code {one.process.returncode}")
        try:
            if (await one.client.get("/ping")).status_code == 200:
                return
        except httpx.TransportError:
            await asyncio.sleep(0.05)


async def _check_predictions(one: Answering, seal: Seal) -> None:
    import io

    import numpy as np

    body = io.BytesIO()
    seal.probe.to_parquet(body, index=False)
    kind = {"Content-Type": "application/vnd.apache.parquet"}
    answer = await one.client.post("/invocations", content=body.getvalue(), headers=kind)
    if answer.status_code != 200:
        raise ServingError(f"its check rows are answered with {answer.text[:300]}")
    found = np.asarray(answer.json()["predictions"], dtype=np.float64)
    expected = np.asarray(seal.predictions, dtype=np.float64)
    if found.size != expected.size or not np.allclose(found.ravel(), expected.ravel(), rtol=1e-6):
        raise ServingError("it does not repeat the predictions of its check on this machine")


async def _end(one: Answering) -> None:
    """End a version's process when its requests have been answered."""
    for _ in range(int(GRACE / 0.1)):
        if not one.asked or one.process.poll() is not None:
            break
        await asyncio.sleep(0.1)
    await one.client.aclose()
    one.process.terminate()
    try:
        await asyncio.to_thread(one.process.wait, 5)
    except subprocess.TimeoutExpired:
        one.process.kill()
        await asyncio.to_thread(one.process.wait)
    shutil.rmtree(one.folder, ignore_errors=True)
