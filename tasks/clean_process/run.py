"""Run a script in a process that sees the libraries but not this project."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

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
    with tempfile.TemporaryDirectory() as place:
        try:
            ended = subprocess.run(
                [sys.executable, "-P", str(script), *map(str, arguments)],
                cwd=place,
                env=clean_environment(),
                capture_output=True,
                text=True,
                timeout=TIME_OUT,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise CleanProcessError(
                f"it did not end within its time limit of {TIME_OUT} s"
            ) from error
    if ended.returncode:
        last = ended.stderr.strip().splitlines()[-1:] or [_ended_with(ended.returncode)]
        raise disk_fault("A clean process failed", last[0]) or CleanProcessError(last[0])
    return ended.stdout


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
