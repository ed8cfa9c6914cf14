"""The contracts of the layers hold, and each goes red where it is broken."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.nights import PROJECT

LINT = "from importlinter.cli import lint_imports_command as lint; sys.exit(lint())"


def lint(project: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says of a project."""
    return subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(project)!r}); {LINT}"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("project")
    shutil.copyfile(PROJECT / "pyproject.toml", place / "pyproject.toml")
    shutil.copytree(
        PROJECT / "tasks", place / "tasks", ignore=shutil.ignore_patterns("__pycache__")
    )
    return place


def test_the_contracts_hold(project: Path) -> None:
    found = lint(project)
    assert found.returncode == 0, found.stdout
    assert "0 broken" in found.stdout


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("store/files.py", "from tasks.steps import judge", "Imports run down"),
        ("store/files.py", "from tasks.metrics import base", "Imports run down"),
        ("spec/values.py", "from tasks.spec import loading", "No circle inside a package"),
        ("training/fit.py", "import prefect", "Only steps and cli know Prefect"),
        (
            "steps/judge.py",
            "import mlflow",
            "Only registry and what loads a package alone know MLflow",
        ),
        ("promotion/gate.py", "import matplotlib", "Only reporting knows matplotlib"),
        ("features/scoring.py", "from tasks.store import files", "inside the packages of older"),
    ],
)
def test_a_broken_contract_is_red(project: Path, file: str, line: str, contract: str) -> None:
    place = project / "tasks" / file
    text = place.read_text()
    place.write_text(f"{text}\n{line}\n")
    try:
        found = lint(project)
    finally:
        place.write_text(text)
    assert found.returncode == 1
    said = " ".join(found.stdout.partition("Broken contracts")[2].split())
    assert contract in said, found.stdout


def test_every_package_has_its_place(project: Path) -> None:
    (project / "tasks/attic").mkdir()
    (project / "tasks/attic/__init__.py").touch()
    try:
        assert "attic" in lint(project).stdout
    finally:
        shutil.rmtree(project / "tasks/attic")
