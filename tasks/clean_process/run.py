"""Run a script in a process that sees the libraries but not this project."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.clean_process import template
from tasks.errors import NightlyError
from tasks.store.files import disk_fault

KILL = 9
TIME_OUT = 180
"""Time limit of the clean process, in seconds."""


class CleanProcessError(NightlyError, RuntimeError):
    """The clean process failed, or took too long."""


def run_by_itself(script: Path, *arguments: str | Path) -> str:
    """Output of a script that runs with only the libraries on its path.

    Raises:
        CleanProcessError: With the last line of its output, or after ``TIME_OUT`` seconds.
        DiskError: Where that line says that the disk failed or is full.
    """
    named = list(map(str, arguments))
    with tempfile.TemporaryDirectory() as place:
        try:
            environment = clean_environment()
            forked = template.run_in_fork(script, named, place, environment, TIME_OUT)
            code, out, err = forked or _run_anew(script, named, place, environment)
        except TimeoutError as error:
            raise CleanProcessError(
                f"it did not end within its time limit of {TIME_OUT} s"
            ) from error
    if code:
        last = err.strip().splitlines()[-1:] or [_ended_with(code)]
        raise disk_fault("A clean process failed", last[0]) or CleanProcessError(last[0])
    return out


def _run_anew(
    script: Path, arguments: Sequence[str], place: str, environment: Mapping[str, str]
) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a script in a new interpreter.

    Raises:
        TimeoutError: After ``TIME_OUT`` seconds.
    """
    try:
        ended = subprocess.run(
            [sys.executable, "-P", str(script), *arguments],
            cwd=place,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIME_OUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    return ended.returncode, ended.stdout, ended.stderr


def clean_environment() -> dict[str, str]:
    """Variables of a process that runs a packaged model: without our settings and passwords."""
    hidden = ("PYTHON", "PREFECT_", "MLFLOW_", "NIGHTLY_")
    quiet = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "ignore",
    }
    return {name: v for name, v in os.environ.items() if not name.startswith(hidden)} | quiet


def _ended_with(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    named = signal.Signals(-code).name
    return f"it was ended by {named}" + (", as where memory runs out" if -code == KILL else "")
