"""How a run ends in Prefect, whose pages find and colour runs by Prefect's own names of states."""

from __future__ import annotations

from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext

from tasks.shown import shown


def end_run(outcome: str, run: str, said: str, data: Any = None, *, failed: bool = False) -> State:
    """The last state of a flow, ``Completed`` or ``Failed``; the outcome begins its message.

    The run's name ends with the outcome and its tags hold it, so that lists of runs show it and
    can be filtered by it.

    Args:
        outcome: In capitals: a verdict, or how another flow ended.
        run: What the run did, such as the model and its as-of date.
        said: The message after the outcome.
        data: The flow's result.
        failed: Whether a person has to look.
    """
    context = FlowRunContext.get()
    if context and context.flow_run:
        tags = sorted({*context.flow_run.tags, outcome})
        with get_client(sync_client=True) as client:
            client.update_flow_run(context.flow_run.id, name=f"{run} · {outcome}", tags=tags)
    kind = StateType.FAILED if failed else StateType.COMPLETED
    return State(type=kind, message=f"{outcome}. {shown(said)}", data=data)


def artifact_key(kind: str, model: str) -> str:
    """Key of an artifact about a model: Prefect allows lower-case letters, digits and dashes."""
    return f"{kind}-{model}".replace("_", "-").replace(".", "-")


def outcome_of(state: State) -> str:
    """The outcome that a last state of ``end_run`` begins with; of another, whatever it says."""
    return (state.message or "").partition(". ")[0]


def said_of(state: State) -> str:
    """What a last state of ``end_run`` says after its outcome."""
    return (state.message or "").partition(". ")[2]
