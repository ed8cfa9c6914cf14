"""A proxy that stands between a night and its MLflow server and spoils chosen requests."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

FRAMING = ("Content-Length", "Transfer-Encoding", "Connection")


@dataclass
class Fault:
    """What is done to requests whose ``METHOD /path`` matches.

    ``hang``: never answered; ``fail``: answered with 500 and not passed on; ``lose``: passed on,
    and answered with 500 when the server has done it.
    """

    where: str
    what: Literal["hang", "fail", "lose"]
    times: float = float("inf")
    met: int = 0


class Proxy(ThreadingHTTPServer):
    """Passes everything on to the server at ``port``, but for what ``faults`` spoil."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port, self.ended = port, threading.Event()
        self.faults: tuple[Fault, ...] = ()

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

    def meet(self, request: str) -> Literal["hang", "fail", "lose"] | None:
        for fault in self.faults:
            if re.search(fault.where, request):
                fault.met += 1
                return fault.what if fault.met <= fault.times else None
        return None


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
            self.close_connection = True
            return
        status, answer, kept = 500, b"spoiled by the proxy", []
        if what != "fail":
            onward = HTTPConnection("127.0.0.1", self.server.port, timeout=60)
            headers = {name: text for name, text in self.headers.items() if name not in FRAMING}
            onward.request(self.command, self.path, content, headers)
            found = onward.getresponse()
            if what is None:
                status, answer, kept = found.status, found.read(), found.getheaders()
            onward.close()
        self.send_response_only(status)
        for name, text in kept:
            if name.title() not in FRAMING:
                self.send_header(name, text)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def read_content(self) -> bytes:
        if "Transfer-Encoding" not in self.headers:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size + 2)[:size]
        self.rfile.readline()
        return content
