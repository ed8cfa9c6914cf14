"""Runs without a process are ended; those that have one are left alone."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from tasks import settings
from tasks.steps import sweep
from tasks.store import locks


def begun(client: Any, kind: str, flow: str = "retrain") -> UUID:
    """A flow run that the server counts as begun."""
    from prefect import Flow
    from prefect.client.schemas.objects import State, StateType

    run = client.create_flow_run(Flow(lambda: None, name=flow), state=State(type=StateType.PENDING))
    if kind != "PENDING":
        client.set_flow_run_state(run.id, State(type=StateType(kind)), force=True)
    return UUID(str(run.id))


@pytest.mark.usefixtures("prefect_server")
def test_only_runs_without_a_process_are_ended(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.client.orchestration import get_client

    own = {name: f"{name}-{uuid4()}" for name in ("retrain", "predict", "monitor")}
    monkeypatch.setattr(sweep, "FLOWS", tuple(own.values()))  # other tests' runs stay
    with get_client(sync_client=True) as client:
        cut, elsewhere, pending, held, stopped, foreign = (
            begun(client, kind, own.get(flow, flow))
            for kind, flow in (
                ("RUNNING", "retrain"),
                ("RUNNING", "retrain"),
                ("PENDING", "predict"),
                ("RUNNING", "monitor"),
                ("CANCELLING", "retrain"),
                ("RUNNING", "somebody-elses"),
            )
        )
        every = (cut, elsewhere, pending, held, stopped, foreign)

        def states() -> list[str]:
            return [client.read_flow_run(run).state_type.value for run in every]

        settings.ensure_home()
        for run in (cut, stopped):
            with locks.lock(f"run-{run}"):
                pass  # as after a SIGKILL: the note is there, and nobody holds it
        assert sweep.end_dead_runs(alone=False) == [], "a run may be between making and locking it"
        for run in (cut, stopped):
            note = home / "locks" / f"run-{run}.lock"
            os.utime(note, (note.stat().st_atime, note.stat().st_mtime - sweep.YOUNG - 1))
        with locks.lock(f"run-{held}"):
            ended = sweep.end_dead_runs(alone=False)
            assert states() == ["CRASHED", "RUNNING", "PENDING", "RUNNING", "CANCELLED", "RUNNING"]
            assert len(ended) == 2
            assert any("was Running without a process" in line for line in ended)
            monkeypatch.setattr(sweep, "STARTING", timedelta(0))
            sweep.end_dead_runs(alone=False)
            assert states()[2] == "CRASHED"
            sweep.end_dead_runs(alone=True)
        assert states() == ["CRASHED", "CRASHED", "CRASHED", "RUNNING", "CANCELLED", "RUNNING"]
        said = client.read_flow_run(cut).state.message
        assert (
            said
            == "It was Running, and its process is gone: the machine or the worker was stopped."
        )
        client.delete_flow_run(held)
        client.delete_flow_run(foreign)
