"""What the worker of ``deployments/serve.py`` starts for a run: it asks for a fork.

``tasks/cli/warm_process.py`` forks itself for the run; this process lives as long as that fork,
passes signals on to it and ends as it ends. Where nothing answers, it becomes the run itself. It
imports nothing of the project, and little else.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

ENGINE = ("-m", "prefect.engine")
SOCKET = "runs.socket"
"""Where the process that forks listens, in the folder ``serve`` of the state directory."""
PATIENCE = 30.0
"""Seconds it may take to answer."""


def address(folder: int) -> str:
    """Address of the socket in an open folder; the folder's own name may be too long for one."""
    return f"/proc/self/fd/{folder}/{SOCKET}"


def ask_for_fork() -> socket.socket | None:
    """A line to the fork that is the run now; None where there is none."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    asked = {"folder": str(Path.cwd()), "environment": dict(os.environ)}
    line.settimeout(PATIENCE)
    with contextlib.suppress(OSError):  # nothing listens, it has just ended, or it hangs
        folder = os.open(Path(os.environ.get("NIGHTLY_HOME", "")) / "serve", os.O_RDONLY)
        line.connect(address(folder))
        os.close(folder)
        socket.send_fds(line, [json.dumps(asked).encode()], [0, 1, 2])
        if line.recv(100):
            line.settimeout(None)
            return line
    line.close()
    return None


def follow(line: socket.socket) -> int:
    """Pass signals on until the run has ended; its exit code, or less than 0 for a signal."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: line.send(str(int(received)).encode()))
    return int(line.recv(100) or -signal.SIGKILL)


if __name__ == "__main__":
    if (found := ask_for_fork()) is None:
        os.execv(sys.executable, [sys.executable, *ENGINE])
    if (code := follow(found)) < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no other handler
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
