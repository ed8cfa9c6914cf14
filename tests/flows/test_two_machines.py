"""Two machines with one database of the shared state and one registry: a night of each at once.

Each has a state directory and a copy of the model file of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.reporting import archive
from tasks.steps.ending import outcome_of
from tasks.store import state_database
from tests import nights, warm
from tests.nights import (
    champion_of,
    end_command,
    nth_day,
    one_message,
    run_night,
    start_command,
    versions_of,
    write_model,
    write_more,
)
from tests.sequences import ONE_RECIPE

pytestmark = [
    pytest.mark.usefixtures("warm_processes", "prefect_server"),
    *(pytest.mark.filterwarnings(text) for text in nights.MLFLOW_WARNINGS),
]
TOKENS = "SELECT max(token) FROM nightly_leases WHERE name = 'night-toy'"


@pytest.fixture
def machines(
    tmp_path: Path, postgres: str, empty_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], tuple[Path, Path]]:
    """Go to a machine; its state directory and model file."""
    shutil.copyfile(empty_registry, tmp_path / "mlflow.db")
    write_more(tmp_path / "days", 1, 32)
    shared = {
        "NIGHTLY_STATE_URL": postgres,
        "NIGHTLY_STORE_URL": (tmp_path / "shared").as_uri(),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "NIGHTLY_SEAL_KEY": "one key of at least 32 characters",
    }
    for name, value in shared.items():
        monkeypatch.setenv(name, value)

    def go(name: str) -> tuple[Path, Path]:
        home = tmp_path / name / "home"
        home.parent.mkdir(exist_ok=True)
        monkeypatch.setenv("NIGHTLY_HOME", str(home))
        model = home.parent / "toy.py"
        if not model.exists():
            write_model(model, tmp_path / "days", *ONE_RECIPE)
        return home, model

    return go


def start(go: Callable[[str], tuple[Path, Path]], name: str, number: int) -> warm.Process:
    home, model = go(name)
    own = {n: os.environ[n] for n in ("MLFLOW_TRACKING_URI",)}
    return start_command(home, model, "--as-of", str(nth_day(number)), "--json", environment=own)


def ask(text: str) -> int | None:
    return state_database.run(lambda c: c.exec_driver_sql(text).scalar())


@pytest.mark.long
def test_two_machines_with_one_state(
    machines: Callable[[str], tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = [start(machines, name, 30) for name in "AB"]
    ended = [end_command(process) for process in both]
    assert [one.code for one in ended] == [0, 0], ended
    assert [one.report["verdict"] for one in ended] == ["PROMOTED", "PROMOTED"]
    assert (versions_of(), champion_of()) == (["1"], "1")
    assert ask("SELECT count(*) FROM nightly_changes") == 1
    assert ask(TOKENS) == 2

    monkeypatch.setenv("NIGHTLY_LEASE_SECONDS", "4")
    stopped = start(machines, "A", 31)
    while ask(TOKENS) != 3:
        assert stopped.poll() is None
        time.sleep(0.05)
    stopped.send_signal(signal.SIGSTOP)
    assert end_command(start(machines, "B", 31)).report["verdict"] == "PROMOTED"
    stopped.send_signal(signal.SIGCONT)
    late = end_command(stopped)
    assert late.code == 1
    assert "has lost its lease night-toy: process" in one_message(late)
    assert (versions_of(), champion_of()) == (["1", "2"], "2")

    _, model = machines("A")
    backfill = run_night(model, nth_day(29))
    assert any("backfill" in reason for reason in backfill["reasons"]), backfill["reasons"]
    assert archive.last_judged("toy") == nth_day(31)
    assert (versions_of(), champion_of()) == (["1", "2"], "2")

    from flows.rollback import rollback
    from tasks.steps.config import RollbackConfig

    state = rollback(RollbackConfig(model="toy", why="odd"), return_state=True)
    assert outcome_of(state) == "ROLLED BACK", state.message
    home, model = machines("A")
    home.parent.rename(home.parent.with_name("switched off"))
    _, model = machines("B")
    after = run_night(model, nth_day(32))
    assert after["verdict"] == "KEPT"
    assert any("rolled back" in reason and "odd" in reason for reason in after["reasons"])
    assert after["days"]["new"] == 1
    assert champion_of() == "1"
