"""The steps by which a person decides on a version that waits."""

from __future__ import annotations

import logging
from datetime import UTC, date
from typing import TYPE_CHECKING, Any

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext

from tasks.errors import WrongInputError
from tasks.predictions import publish
from tasks.promotion.holds import told
from tasks.promotion.waiting import why_not_approved
from tasks.registry import aliases, versions, waiting
from tasks.registry.client import open_registry
from tasks.registry.holds import read_holds
from tasks.reporting.decisions import forget
from tasks.reporting.waited import note_decision
from tasks.spec.fleet import fleet_of
from tasks.steps.ending import end_run, name_run, show_page
from tasks.steps.events import announce
from tasks.steps.predict import publish_after_rollback, publish_anew, say_published
from tasks.steps.rollback import draw_history_anew
from tasks.steps.spoken import task
from tasks.steps.waiting import close_waiting

if TYPE_CHECKING:
    from tasks.registry.client import Client
    from tasks.steps.config import ApproveConfig


log = logging.getLogger("nightly")
log.setLevel(logging.INFO)


class ApprovalError(WrongInputError, ValueError):
    """No version can be approved or refused; nothing was changed."""


@task(task_run_name="choose the version that waits", cache_policy=NO_CACHE)
def choose_waiting(config: ApproveConfig) -> str:
    """The version that waits, or the one on which the same was decided before.

    Raises:
        ApprovalError: Where none waits, or another than is meant, or it cannot be promoted.
    """
    client = open_registry()
    if ended := aliases.finish_change(client, config.model):
        log.warning("decide    %s", ended.told)
    version = _chosen(client, config)
    asked = "refuse" if config.refuse else "approve"
    name_run(f"{config.model} · {asked} version {version}")
    return version


@task(task_run_name="approve version {version}", cache_policy=NO_CACHE)
def approve_version(config: ApproveConfig, version: str) -> dict[str, Any]:
    """Make the version champion, as a night would have, and note who decided and why."""
    client = open_registry()
    decision = _decision(client, config, version)
    against = waiting.read_waited(client, config.model, version).against
    aliases.promote(client, config.model, version, against, decision)
    close_waiting(client, config.model, version, "became the champion", decision.on)
    text = (
        f"Version {version} of {config.model} is the champion: {decision.told()}. Its files are "
        "unaltered, and it predicts as it did when it was checked."
    )
    return _note(client, config, version, decision, text)


@task(task_run_name="refuse version {version}", cache_policy=NO_CACHE)
def refuse_version(config: ApproveConfig, version: str, held_until: date | None) -> dict[str, Any]:
    """Withdraw the version, hold its recipe and code, and note who decided and why."""
    client = open_registry()
    decision = _decision(client, config, version)
    aliases.refuse(client, config.model, version, decision, held_until)
    hold = next((h for h in read_holds(client, config.model) if h.version == version), None)
    held = told(config.model, hold) if hold else "Its recipe and code are not held."
    champion = versions.version_by_alias(client, config.model, versions.CHAMPION)
    stays = "The champion stays." if champion else "There is still no champion."
    text = f"Version {version} of {config.model} was {decision.told()}. {stays} {held}"
    return _note(client, config, version, decision, text)


def publish_after_approval(model: str, version: str) -> str:
    """Publish anew what the app reads, with the version just approved; the result in words."""
    if fleet_of(model) != model:
        return publish_after_rollback(model)
    waited = waiting.read_waited(open_registry(), model, version)
    last = publish.last_published(model) or {"as_of": waited.as_of}
    day = date.fromisoformat(last["day"]) if "day" in last else None
    shown = publish_anew(model, last.get("model", waited.model), last["as_of"], day)
    return say_published(model, shown)


def end_decision(found: dict[str, Any], published: str = "") -> State:
    """The flow's last state, named after the decision, says what happened.

    Args:
        found: From ``approve_version`` or ``refuse_version``.
        published: What the app reads now, in words.
    """
    said = " ".join(filter(None, (found["text"], published)))
    return end_run(found["outcome"], found["model"], said, found)


def _chosen(client: Client, config: ApproveConfig) -> str:
    decisions = waiting.read_decisions(client, config.model)
    champion = versions.read_alias(client, config.model, versions.CHAMPION)
    asked = waiting.REFUSED if config.refuse else waiting.APPROVED
    newest = max(decisions, key=int, default=None)
    for one in waiting.read_waiting(client, config.model):
        if config.version and str(config.version) != one.version:
            raise ApprovalError(
                f"Version {config.version} of {config.model} does not wait: version {one.version} "
                "does."
            )
        fault = None if config.refuse else why_not_approved(config.model, one, champion)
        if fault:
            raise ApprovalError(fault)
        return one.version
    if newest is None:
        raise ApprovalError(f"No version of {config.model} waits for a person.")
    same = decisions[newest].outcome == asked and config.version in (None, int(newest))
    if same and (config.refuse or newest == champion):
        return newest  # what was cut off then is done now
    last = f"Version {newest} was {decisions[newest].told()}."
    raise ApprovalError(f"No version of {config.model} waits for a person. {last}")


def _decision(client: Client, config: ApproveConfig, version: str) -> waiting.Decision:
    """The decision: the one that was made before, or that of this run."""
    if found := waiting.read_decisions(client, config.model).get(version):
        return found
    context = FlowRunContext.get()
    assert context is not None
    outcome = waiting.REFUSED if config.refuse else waiting.APPROVED
    on = context.start_time.astimezone(UTC).date().isoformat()
    return waiting.Decision(outcome, config.by, config.why.removesuffix("."), on)


def _note(
    client: Client, config: ApproveConfig, version: str, decision: waiting.Decision, text: str
) -> dict[str, Any]:
    """The decision in report, artifact, event and page; decided nights are forgotten."""
    model, outcome = config.model, decision.outcome.lower()
    as_of = waiting.read_waited(client, model, version).as_of
    forget(model)
    note_decision(model, as_of, version, decision)
    said = f"{model} · version {version} was {outcome}"
    show_page("decision", model, f"# {model}\n\n{text}\n", said)
    announce(model, date.fromisoformat(as_of), {f"nightly.version.{outcome}": text})
    draw_history_anew(model)
    log.info("decide    %s", text)
    return {"model": model, "version": version, "outcome": decision.outcome, "text": text}
