"""Flows without Prefect's engine: their own functions, one after another in this process.

Order of steps, errors and the state in which a flow ends are those of the flow. What Prefect adds
is not there: records of runs, retries, results of an earlier run, artifacts and events.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import prefect
import pytest
from prefect.client import orchestration
from prefect.client.schemas.objects import State, StateType

from tasks.steps import approve, ending, predict, spoken


@contextmanager
def without_engine() -> Iterator[None]:
    """Flows and tasks that are called are called at once."""
    context = SimpleNamespace(get=lambda: SimpleNamespace(start_time=datetime.now(UTC)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefect.Flow, "__call__", _run_flow)
        for kind in (prefect.Task, spoken._Task):
            patch.setattr(kind, "__call__", _run_task)
            patch.setattr(kind, "submit", _submit)
        patch.setattr(orchestration, "get_client", MagicMock())
        patch.setattr(approve, "FlowRunContext", context)
        patch.setattr(predict, "FlowRunContext", context)
        patch.setattr(ending, "create_markdown_artifact", lambda **_: None)
        patch.setattr("prefect.events.emit_event", lambda **_: None)
        yield


def _run_flow(flow: Any, config: Any, *, return_state: bool = False) -> Any:
    try:
        state = flow.fn(config)
    except Exception as error:
        if not return_state:
            raise
        return State(type=StateType.FAILED, message=str(error), data=error)
    run = SimpleNamespace(parameters={"config": config})
    for hook in flow.on_completion_hooks if state.is_completed() else ():
        hook(flow, run, state)
    return state if return_state else state.result()


def _run_task(task: Any, *arguments: Any, return_state: bool = False, **named: Any) -> Any:
    if not return_state:
        return task.fn(*arguments, **named)
    try:
        return State(type=StateType.COMPLETED, data=task.fn(*arguments, **named))
    except Exception as error:
        return State(type=StateType.FAILED, message=str(error), data=error)


def _submit(task: Any, *arguments: Any, **named: Any) -> Any:
    return _run_task(task, *arguments, return_state=True, **named)
