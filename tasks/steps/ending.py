"""How a run ends in Prefect, whose pages find and colour runs by Prefect's own names of states."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext

from tasks.shown import shown

log = logging.getLogger("nightly")


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
    name_run(f"{run} · {outcome}", outcome)
    kind = StateType.FAILED if failed else StateType.COMPLETED
    return State(type=kind, message=f"{outcome}. {shown(said)}", data=data)


def name_run(name: str, *tags: str) -> None:
    """Name the run on Prefect's pages, and add tags to it."""
    context = FlowRunContext.get()
    if context and context.flow_run:
        every = sorted({*context.flow_run.tags, *tags})
        with only_shown("the run is not named"), get_client(sync_client=True) as client:
            client.update_flow_run(context.flow_run.id, name=name, tags=every)


def is_deployed() -> bool:
    """Whether the run is of a deployment; Prefect's own answer asks the server each time."""
    context = FlowRunContext.get()
    return bool(context and context.flow_run and context.flow_run.deployment_id)


def show_page(kind: str, model: str, markdown: str, description: str) -> None:
    """Show a page about a model beside the run, as Prefect's artifact."""
    with only_shown(f"the page of {description} is not shown"):
        key = artifact_key(kind, model)
        create_markdown_artifact(key=key, markdown=markdown, description=description)


@contextmanager
def only_shown(what: str) -> Iterator[None]:
    """What is done here for Prefect's pages alone does not stop a run where the server fails.

    Args:
        what: What is missing then.
    """
    import httpx

    try:
        yield
    except (httpx.HTTPError, ValueError) as error:  # ValueError: an answer that is no JSON
        log.warning("server    %s: %s", what, type(error).__name__)
        log.debug("server    in full", exc_info=error)


def artifact_key(kind: str, model: str) -> str:
    """Key of an artifact about a model: Prefect allows lower-case letters, digits and dashes."""
    return f"{kind}-{model}".replace("_", "-").replace(".", "-")


def outcome_of(state: State) -> str:
    """The outcome that a last state of ``end_run`` begins with; of another, whatever it says."""
    return (state.message or "").partition(". ")[0]


def said_of(state: State) -> str:
    """What a last state of ``end_run`` says after its outcome."""
    return (state.message or "").partition(". ")[2]
