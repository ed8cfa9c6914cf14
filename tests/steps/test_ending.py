"""How a run ends, also where Prefect's server fails."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from unittest.mock import Mock
from uuid import uuid4

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.steps import ending

GONE = "http://127.0.0.1:9/api"


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), ValueError("no JSON")])
def test_a_run_whose_server_fails_at_its_end_ends_as_it_would(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its version was promoted: a name and a page less do not make that a failure."""
    run = SimpleNamespace(id=uuid4(), tags=["nightly"], deployment_id=None)
    context = SimpleNamespace(get=lambda: SimpleNamespace(flow_run=run))
    monkeypatch.setattr(ending, "FlowRunContext", context)
    monkeypatch.setattr(ending, "create_markdown_artifact", Mock(side_effect=error))
    with temporary_settings({PREFECT_API_URL: GONE}), caplog.at_level(logging.WARNING, "nightly"):
        ending.show_page("report", "toy", "# toy", "toy · 2026-02-01")
        state = ending.end_run("PROMOTED", "toy · 2026-02-01", "It is better.")
    assert state.is_completed()
    assert ending.outcome_of(state) == "PROMOTED"
    assert [record.getMessage() for record in caplog.records] == [
        "server    the page of toy · 2026-02-01 is not shown: " + type(error).__name__,
        "server    the run is not named: ConnectError",
    ]
