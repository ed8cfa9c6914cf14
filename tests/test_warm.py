"""A forked command is what it would be if it had started from nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm

TELL = """
import json, os, sys, warnings
found = {
    "arguments": sys.argv, "folder": os.getcwd(), "environment": dict(os.environ),
    "path": sys.path, "name": __name__, "in": sys.stdin.read(), "bytecode": sys.dont_write_bytecode,
    "ours": sorted(name for name in sys.modules if name.split(".")[0] in ("tasks", "tests")),
}
warnings.warn("heard")
print(json.dumps(found, sort_keys=True))
sys.exit(3)
"""
HIDDEN = ("LC_CTYPE", warm.ADDRESS)
"""What the interpreter sets as it starts, and what is of the tests alone."""


pytestmark = pytest.mark.usefixtures("warm_address")


@pytest.mark.parametrize("options", [[], ["-P"], ["-B", "-m"], ["-W", "ignore"]])
@pytest.mark.parametrize("more", [{}, {"PYTHONPATH": "/nowhere", "PYTHONDONTWRITEBYTECODE": "1"}])
def test_it_finds_what_a_new_process_finds(
    options: list[str], more: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "code" / "tell.py"
    script.parent.mkdir()
    script.write_text(TELL)
    environment = {n: v for n, v in os.environ.items() if n not in HIDDEN} | more
    environment["LC_ALL"] = "C.UTF-8"  # without any locale the interpreter sets one itself
    by_name = "-m" in options
    command = [sys.executable, *options, "tell" if by_name else str(script), "--some", "option"]
    place = script.parent if by_name else tmp_path
    forked = warm.run(command, place, environment, 60)
    new = subprocess.run(
        command,
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert forked.stdout == new.stdout
    assert ("heard" in forked.stderr) == ("heard" in new.stderr) == ("-W" not in options)
    assert forked.returncode == new.returncode == 3


def test_it_fails_as_a_new_process_does() -> None:
    ended = warm.run([sys.executable, "-c", "import sys; print(sys.argv); 1 / 0", "x"])
    assert (ended.returncode, ended.stdout) == (1, "['-c', 'x']\n")
    assert ended.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"


def test_the_clean_process_of_a_forked_command_is_a_fork_too() -> None:
    tell = "import sys; print('mlflow' in sys.modules)"
    command = f"[sys.executable, '-P', '-c', {tell!r}]"
    nested = (
        "import gc, os, subprocess, sys; gc.collect();"
        f"print(subprocess.run({command}, cwd='.', env=dict(os.environ)).stdout)"
    )
    ended = warm.run([sys.executable, "-c", nested])
    assert ended.stdout.strip() == "True", ended.stderr


def test_it_can_be_killed_and_takes_no_longer_than_allowed() -> None:
    hang = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(600)"]
    process = warm.Process(hang)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.poll() == process.wait() == -signal.SIGKILL
    with pytest.raises(subprocess.TimeoutExpired):
        warm.run(hang, timeout=0.1)
