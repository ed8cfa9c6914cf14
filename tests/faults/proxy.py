"""A proxy that stands between a night and a server and spoils chosen requests."""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from select import select
from typing import Literal, TypeAlias

from tests.servers import free_port

What: TypeAlias = Literal[
    "hang", "fail", "lose", "cut", "deny", "babble", "busy", "gone", "slow", "reset", "miss"
]
STATUS = {"deny": 401, "babble": 200, "busy": 503, "miss": 404}
SAID = {"busy": "SlowDown", "miss": "NoSuchKey"}
"""What S3 says in the words of its answer; else InternalError."""
AWAY = 20.0
"""Seconds for which a server that is gone does not listen."""
BUSY = 8.0
SLOW = 30.0
AT_ONCE = struct.pack("ii", 1, 0)
"""How a socket is closed: with a reset."""
FRAMING = ("Content-Length", "Transfer-Encoding", "Connection")


@dataclass
class Fault:
    """What is done to requests whose ``METHOD /path`` matches.

    ``hang``: never answered; ``fail``: answered with 500 and not passed on; ``lose``: passed on,
    and answered with 500 when the server has done it; ``cut``: passed on, and the connection closed
    in the middle of the answer, or before it where it is empty; ``deny``: answered with 401;
    ``babble``: answered with a page that is no JSON; ``busy``: answered with 503, and so is every
    request for 8 seconds; ``gone``: nothing listens for 20 seconds; ``slow``: passed on 30 seconds
    later; ``reset``: the connection is reset and nothing passed on; ``miss``: answered with 404.

    Attributes:
        where: Pattern.
        what: What is done.
        times: To how many of them.
        after: How many are let through before.
        met: How many there were.
    """

    where: str
    what: What
    times: float = float("inf")
    after: int = 0
    met: int = 0


class Proxy(ThreadingHTTPServer):
    """Passes everything on to the server at ``port``, but for what ``faults`` spoil."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port, self.ended = port, threading.Event()
        self.faults: tuple[Fault, ...] = ()
        self.seen: list[str] = []
        self.busy_until = 0.0
        self.away = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def spoiled(self, *faults: Fault) -> Iterator[None]:
        """Do this to requests, until the block ends."""
        self.faults, self.ended = faults, threading.Event()
        try:
            yield
        finally:
            self.faults = ()
            self.ended.set()

    def serve(self) -> None:
        """Pass requests on until told to end; while it is away nothing listens."""
        self.serve_forever(0.05)
        while self.away:
            self.socket.close()
            time.sleep(AWAY)
            self.socket = socket.create_server(self.server_address[:2])
            self.away = False
            self.serve_forever(0.05)

    def meet(self, request: str) -> What | None:
        self.seen.append(request)
        if time.monotonic() < self.busy_until:
            return "busy"
        for fault in self.faults:
            if re.search(fault.where, request):
                fault.met += 1
                spoiled = fault.after < fault.met <= fault.after + fault.times
                if spoiled and fault.what == "busy":
                    self.busy_until = time.monotonic() + BUSY
                return fault.what if spoiled else None
        return None


@contextmanager
def served_registry(place: Path, empty_registry: Path) -> Iterator[Proxy]:
    """A real MLflow server on a database in this folder, and a proxy in front of it."""
    port = free_port()
    shutil.copyfile(empty_registry, place / "mlflow.db")
    options = {
        "--workers": "1",
        "--host": "127.0.0.1",
        "--port": str(port),
        "--backend-store-uri": f"sqlite:///{place / 'mlflow.db'}",
        "--artifacts-destination": str(place / "artifacts"),
    }
    command = ["mlflow", "server", *(x for option in options.items() for x in option)]
    with _served(command, port, "health", place / "log"), passed_on(port) as proxy:
        yield proxy


@contextmanager
def served_store(place: Path) -> Iterator[Proxy]:
    """moto's emulator of S3 with an empty bucket ``nights``, and a proxy in front of it."""
    port = free_port()
    command = ["moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _served(command, port, "moto-api/", place / "log"), passed_on(port) as proxy:
        bucket = urllib.request.Request(f"http://127.0.0.1:{port}/nights", method="PUT")
        urllib.request.urlopen(bucket, timeout=60).close()
        yield proxy


@contextmanager
def _served(module: list[str], port: int, alive: str, log: Path) -> Iterator[None]:
    """``python -m MODULE ...`` from when it answers under a path until the block ends."""
    with log.open("w") as said:
        server = subprocess.Popen(
            [sys.executable, "-m", *module],
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=said,
            stderr=said,
        )
    try:
        deadline = time.monotonic() + 600
        while not _answers(f"http://127.0.0.1:{port}/{alive}"):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        server.terminate()
        server.wait(60)


@contextmanager
def passed_on(port: int) -> Iterator[Proxy]:
    """A proxy in front of the server at this port."""
    proxy = Proxy(port)
    threading.Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except OSError:
        return False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        content = self.read_content()
        what = self.server.meet(f"{self.command} {self.path}")
        if what == "hang":
            self.server.ended.wait()
        if what == "gone" and not self.server.away:
            self.server.away = True
            self.server.shutdown()
        if what == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        if what == "reset" or what == "hang" or self.server.away:
            self.close_connection = True
            return
        if what == "slow":
            self.server.ended.wait(SLOW)
            what = None
        if what is None and self.headers.get("Upgrade"):
            self.pass_bytes_on()
            return
        status, kept = STATUS.get(what or "", 500), list[tuple[str, str]]()
        code = SAID.get(what or "", "InternalError")
        answer = f"<Error><Code>{code}</Code><Message>spoiled</Message></Error>".encode()
        if what in (None, "lose", "cut"):
            onward = HTTPConnection("127.0.0.1", self.server.port, timeout=60)
            headers = {name: text for name, text in self.headers.items() if name not in FRAMING}
            onward.request(self.command, self.path, content, headers)
            found = onward.getresponse()
            if what in (None, "cut"):
                status, answer, kept = found.status, found.read(), found.getheaders()
            onward.close()
        if what == "cut" and not answer:
            self.close_connection = True
            return
        head = self.command == "HEAD"
        size = dict(kept).get("Content-Length", "0") if head else str(len(answer))
        self.send_response_only(status)
        for name, text in kept:
            if name.title() not in FRAMING:
                self.send_header(name, text)
        self.send_header("Content-Length", size)
        self.end_headers()
        if what == "cut":
            self.close_connection = True
            answer = answer[: len(answer) // 2]
        if not head:
            self.wfile.write(answer)

    def pass_bytes_on(self) -> None:
        """Pass on what both sides say, without looking at it."""
        self.close_connection = True
        with socket.create_connection(("127.0.0.1", self.server.port)) as onward:
            headers = "".join(f"{name}: {text}\r\n" for name, text in self.headers.items())
            onward.sendall(self.raw_requestline + headers.encode() + b"\r\n")
            sides = {onward: self.connection, self.connection: onward}
            while True:
                for side in select(sides, [], [])[0]:
                    if not (said := side.recv(65536)):
                        return
                    sides[side].sendall(said)

    def read_content(self) -> bytes:
        if "Transfer-Encoding" not in self.headers:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size + 2)[:size]
        self.rfile.readline()
        return content
