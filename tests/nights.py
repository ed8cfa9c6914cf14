"""Nights of the toy model for tests: in this process, or as the command a person types."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from tasks.settings import PROJECT
from tasks.steps.ending import outcome_of
from tests import warm
from tests.toy import FIRST, write_day

TOY = PROJECT / "tests" / "toy.py"
COMMAND = [sys.executable, "-W", "ignore", str(PROJECT / "flows" / "retrain.py")]

MLFLOW_WARNINGS = (
    "ignore:Operation with range",  # MLflow 3.17 with pandas 3.1
    "ignore:.*Any type hint",
)


def nth_day(number: int) -> date:
    """The toy's day ``number``, counted from 1."""
    return FIRST + timedelta(days=number - 1)


def write_model(file: Path, folder: Path, *changes: tuple[str, str]) -> Path:
    """A copy of the toy model on the days of ``folder``, with some of its text replaced."""
    text = TOY.read_text()
    for old, new in (('os.environ.get("TOY_DAYS", "toy-days")', repr(str(folder))), *changes):
        assert text.count(old) == 1, f"found {text.count(old)} x {old!r} in {TOY}, expected 1"
        text = text.replace(old, new)
    file.write_text(text)
    return file


def write_more(folder: Path, first: int, last: int) -> None:
    """Write the toy's days from ``first`` to ``last``, counted from 1."""
    for number in range(first, last + 1):
        write_day(folder, nth_day(number))


@dataclass(frozen=True)
class Ended:
    """How the command ended."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """What ``--json`` printed."""
        found: dict[str, Any] = json.loads(self.out)
        return found


def command_environment(home: Path) -> dict[str, str]:
    """The environment of a command on this state and the Prefect server of the tests."""
    from prefect.settings import PREFECT_API_URL

    server = PREFECT_API_URL.value()
    assert server, "use the fixture prefect_server"
    inherited = {n: v for n, v in os.environ.items() if not n.startswith("MLFLOW_")}
    places = {"NIGHTLY_HOME": str(home), "PREFECT_API_URL": server}
    return inherited | {"MLFLOW_DISABLE_TELEMETRY": "true"} | places


def start_command(
    home: Path, model: Path, *arguments: str, environment: dict[str, str] | None = None
) -> warm.Process:
    """``python flows/retrain.py --model ...``, forked: use the fixture ``warm_processes``."""
    command = [*COMMAND, "--model", str(model), *arguments]
    return warm.Process(command, env=command_environment(home) | (environment or {}))


def end_command(process: warm.Process) -> Ended:
    """Wait for the command."""
    out, err = process.communicate(timeout=900)
    return Ended(process.wait(), out, err)


def run_command(home: Path, model: Path, *arguments: str, **environment: str) -> Ended:
    """Run the command to its end."""
    return end_command(start_command(home, model, *arguments, environment=environment))


def type_command(home: Path, model: Path, *arguments: str) -> Ended:
    """The command as a person types it: a process that starts from nothing."""
    ended = subprocess.run(
        [*COMMAND, "--model", str(model), *arguments],
        env=command_environment(home),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def copy_home(made: Path, home: Path) -> None:
    """Copy a state directory; where its registry names a file in it, the copy names its own."""
    shutil.copytree(made, home, dirs_exist_ok=True)
    move_database(home / "mlflow.db", f"{made}/", f"{home}/")


def move_database(file: Path, old: str, new: str) -> None:
    """Write another place into every text of MLflow's database, as after a move."""
    with closing(sqlite3.connect(file)) as database, database:
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (table,) in tables:
            for _, column, *_ in database.execute(f"PRAGMA table_info({table})").fetchall():
                database.execute(
                    f"UPDATE {table} SET {column} = replace({column}, ?, ?) "
                    f"WHERE typeof({column}) = 'text' AND instr({column}, ?)",
                    (old, new, old),
                )


def run_night(model: Path, as_of: date | None = None) -> dict[str, Any]:
    """Run the flow in this process and give its report; the state is named after the verdict."""
    from flows.retrain import retrain
    from tasks.steps.config import RetrainConfig

    state = retrain(RetrainConfig(model=str(model), as_of=as_of), return_state=True)
    report: dict[str, Any] = state.result()
    assert outcome_of(state) == report["verdict"]
    return report


def champion_of(model: str = "toy") -> str | None:
    """Version behind the alias."""
    from tasks.registry import client, versions

    found = versions.read_champion(client.open_registry(), model)
    return found.version if found else None


def versions_of(model: str = "toy") -> list[str]:
    """All versions, in order."""
    from tasks.registry import client

    found = client.open_registry().search_model_versions(f"name = '{model}'")
    return sorted((str(v.version) for v in found), key=int)


def one_message(ended: Ended) -> str:
    """The one thing the command says to its user; no traceback, no noise."""
    everything = ended.out + ended.err
    assert "Traceback" not in everything, everything
    assert not re.search(r"\b(DEBUG|INFO|WARNING|ERROR)\b", everything), everything
    return everything


def without_times(report: dict[str, Any]) -> dict[str, Any]:
    """Of a report what must be equal between two runs of one night."""
    candidates: Sequence[str] = sorted(report["candidates"])
    return {
        "verdict": report["verdict"],
        "reasons": report["reasons"],
        "metrics": report["metrics"],
        "checks": [(check["name"], check["passed"]) for check in report["checks"]],
        "challenger": report["challenger"]["candidate"],
        "candidates": {name: report["candidates"][name]["metrics"] for name in candidates},
        "rows": report["rows"],
    }


def say(capsys: Any, monkeypatch: Any, model: Path, *arguments: str) -> Ended:
    """The command in this process: its exit code and what it says."""
    from flows.retrain import retrain
    from tasks.cli import commands

    monkeypatch.setattr(sys, "argv", ["retrain.py", "--model", str(model), *arguments])
    capsys.readouterr()
    code: Any = 0
    try:
        commands.run_retrain(retrain)
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if " | " not in line]
    return Ended(int(code or 0), said.out, "\n".join(lines))
