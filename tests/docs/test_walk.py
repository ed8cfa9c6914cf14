"""The walk from an empty folder to a scheduled model: each command is typed, in its order."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import pages, warm
from tests.nights import PROJECT, command_environment

WALK = pages.section("deployments/README.md", "Your own data, in an hour")
BLOCKS = pages.FENCED.findall(WALK)
TYPED = ("python deployments/new_model.py", "python flows/")


@pytest.fixture
def project(tmp_path: Path, empty_registry: Path) -> Path:
    """A copy of the project, as somebody has it who just came."""
    place = tmp_path / "nightly"
    for name in ("tasks", "flows", "deployments"):
        shutil.copytree(
            PROJECT / name, place / name, ignore=shutil.ignore_patterns("__pycache__", ".*")
        )
    for name in ("pyproject.toml", "prefect.yaml"):
        shutil.copy(PROJECT / name, place)
    (place / ".nightly").mkdir(mode=0o700)
    shutil.copyfile(empty_registry, place / ".nightly" / "mlflow.db")
    return place


def run(project: Path, *arguments: str) -> str:
    """What a command says that ends well."""
    environment = command_environment(project / ".nightly") | {"PYTHONPATH": str(project)}
    command = [sys.executable, "-W", "ignore", *arguments]
    if arguments[0].startswith("flows/"):
        ended = warm.run(command, project, environment)
    else:
        ended = subprocess.run(
            command, cwd=project, env=environment, capture_output=True, text=True, check=False
        )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def without_figures(text: str) -> list[str]:
    """The lines of a text, with every number and date alike."""
    lines = [re.sub(r"\d[\d.,-]*", "N", line).strip() for line in text.splitlines()]
    return [re.sub(r"\s+", " ", line) for line in lines if line]


@pytest.mark.long
def test_the_walk_ends_with_a_scheduled_model(project: Path, warm_processes: None) -> None:
    said = ""
    for kind, block in BLOCKS:
        if kind == "python":
            run(project, "-c", block)
        elif kind == "text":
            heard = without_figures(said)
            for line in without_figures(block):
                assert any(line in other for other in heard), f"{line!r} is not in {said}"
        elif block.startswith(TYPED):
            said = run(project, *shlex.split(block)[1:])
    night, look = move_the_entries(project)
    assert said.splitlines()[0].endswith("PROMOTED: version 1 is the champion")
    assert_a_schedule(night, "0 3 * * *")
    assert_a_schedule(look, "40 * * * *")


def move_the_entries(project: Path) -> list[dict[str, Any]]:
    """Do what step 7 says: the file's end, without the #, into prefect.yaml."""
    text = (project / "deployments" / "orders.py").read_text()
    lines = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("#   ")]
    with (project / "prefect.yaml").open("a", encoding="utf-8") as file:
        file.write("\n" + "\n".join(lines) + "\n")
    every = yaml.safe_load((project / "prefect.yaml").read_text())["deployments"]
    night, look = every[-2:]
    assert f"prefect deploy -n {night['name']} -n {look['name']}\n" in WALK
    return [night, look]


def assert_a_schedule(entry: dict[str, Any], cron: str) -> None:
    """The entry is one that Prefect reads in full and that the flow takes."""
    from prefect.cli.deploy import _models as known

    from flows.retrain import retrain

    assert set(entry) <= set(known.DeploymentConfig.model_fields)
    assert "concurrency_limit" not in entry
    assert entry["work_pool"]["name"] == "nightly"
    (schedule,) = entry["schedules"]
    assert schedule == {"cron": cron, "timezone": "Europe/Berlin"}
    assert retrain.validate_parameters(entry["parameters"])["config"].model == "orders"


def test_every_command_of_the_walk_is_typed_or_checked_elsewhere() -> None:
    commands = [
        line for kind, block in BLOCKS if kind == "bash" for line in block.strip().splitlines()
    ]
    readme = pages.read("README.md")
    for command in commands:
        elsewhere = command in readme or command.startswith(("source ", "prefect deploy -n "))
        installs = command.startswith("python3 -m venv") and command in readme
        assert command.startswith(TYPED) or elsewhere or installs, command
