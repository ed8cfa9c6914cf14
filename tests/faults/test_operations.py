"""A sample of the operations of a first night fails once each; the whole walk is a benchmark."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tasks.settings import PROJECT
from tests import warm
from tests.nights import command_environment

WALK = PROJECT / "tests" / "benchmarks" / "operations.py"


@pytest.mark.long
def test_whatever_fails_once_the_next_run_makes_good(
    home: Path, empty_registry: Path, warm_processes: None
) -> None:
    sample = ("--only", "first night", "--every", "150", "--first", "23", "--verbose")
    command = [sys.executable, "-W", "ignore", str(WALK), "--registry", str(empty_registry)]
    environment = command_environment(home) | {"PYTHONPATH": str(PROJECT)}
    ended = warm.run([*command, *sample], PROJECT, environment)
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    points = [line for line in ended.stdout.splitlines() if " -> " in line]
    assert len(points) >= 3
    assert any(" killed " in line for line in points)
