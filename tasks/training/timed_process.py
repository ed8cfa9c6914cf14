"""Run a module of this project in a separate process that the kernel ends when its time is up.

The process sets itself an alarm and leaves the signal to the kernel. That ends it even inside
compiled code, and even if the night that started it was killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.settings import PROJECT

START = 300
"""Seconds that a process may take to import the libraries and to read its data."""


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        found: What it printed as its last line, as JSON; None where it printed nothing.
        late: Whether its time limit was reached.
        fault: Why it printed nothing.
    """

    found: Any = None
    late: bool = False
    fault: str = ""


def run_apart(module: str, job: Mapping[str, Any], seconds: float) -> Ended:
    """Run ``python -m module JOB.json`` to its end.

    Args:
        module: A module with a ``main`` that reads the job and prints one line of JSON.
        job: Plain JSON types.
        seconds: Its time limit from the moment it calls ``set_alarm``.
    """
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "job.json"
        file.write_text(json.dumps(job), encoding="utf-8")
        no_bytecode = ["-B"] if sys.dont_write_bytecode else []
        process = subprocess.Popen(
            [sys.executable, *no_bytecode, "-W", "ignore", "-m", module, str(file)],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        out, err, late = "", "", False
        try:
            out, err = process.communicate(timeout=START + seconds)
        except subprocess.TimeoutExpired:
            late = True
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # it, and what it started
            code = process.wait()
    if late or code == -signal.SIGALRM:
        return Ended(late=True, fault="its time limit was reached")
    if code:
        return Ended(fault=(err.strip().splitlines() or [_how(code)])[-1])
    return Ended(json.loads(out.splitlines()[-1]))


def read_job() -> tuple[dict[str, Any], Callable[[Mapping[str, Any]], None]]:
    """The job of this process, read from its file, and a function that says how it ended.

    What other code prints from now on goes to stderr: the last line of stdout is the answer.
    """
    stdout = os.dup(1)
    os.dup2(2, 1)

    def answer(found: Mapping[str, Any]) -> None:
        with os.fdopen(stdout, "w") as asker:
            print(json.dumps(found), file=asker)

    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return job, answer


def set_alarm(seconds: float) -> None:
    """Let the kernel end this process after so many seconds; 0 removes the limit."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _how(code: int) -> str:
    if code == -signal.SIGKILL:
        return "it was killed, probably because the machine ran out of memory"
    return f"signal {-code}" if code < 0 else f"exit code {code}"
