"""The steps of a night whose challenger waits: for a person, or for its shadow nights."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from tasks.promotion.checks import Status, Verdict
from tasks.promotion.shadow import Shadow
from tasks.promotion.waiting import how_to_answer
from tasks.registry import waiting
from tasks.registry.client import open_registry
from tasks.reporting.decisions import full_name
from tasks.reporting.waited import note_decision
from tasks.spec.loading import load_spec
from tasks.steps.retries import OUTSIDE
from tasks.steps.spoken import task

if TYPE_CHECKING:
    from tasks.registry.client import Client
    from tasks.steps.state import Judged, Night


log = logging.getLogger("nightly")


@task(task_run_name="version {version} waits for a person", **OUTSIDE)
def wait_for_person(night: Night, judged: Judged, version: str) -> Judged:
    """Let the version wait; one that waits already is closed as superseded.

    A night that runs again after the decision finds it, and changes nothing.
    """
    if decided := _wait(night, judged, version, "waits in its place"):
        return decided
    verdict = judged.verdict
    told = f"Version {version} waits for a person. {verdict.reasons[0]}"
    log.info("wait      %s", told)
    reasons = (told, how_to_answer(night.name), *verdict.reasons[1:])
    return replace(judged, verdict=replace(verdict, reasons=reasons))


@task(task_run_name="version {version} goes into the shadow", **OUTSIDE)
def begin_shadow(night: Night, judged: Judged, version: str) -> Judged:
    """Let the version predict beside the champion from tonight on; as ``wait_for_person``."""
    nights = load_spec(night.model).gate.shadow.days
    if decided := _wait(night, judged, version, "is in the shadow in its place", nights):
        return decided
    champion = judged.incumbent.champion
    against = champion.version if champion else None
    shadow = Shadow(version, judged.challenger, night.as_of, against, 1, nights, 0)
    log.info("shadow    %s", shadow.told())
    reasons = (f"{shadow.told()}. {judged.verdict.reasons[0]}", *judged.verdict.reasons[1:])
    return replace(judged, shadow=shadow, verdict=replace(judged.verdict, reasons=reasons))


def _wait(night: Night, judged: Judged, version: str, why: str, nights: int = 0) -> Judged | None:
    """Let a version wait; what was decided on it, where that was before."""
    client, verdict = open_registry(), judged.verdict
    decision = waiting.read_decisions(client, night.name).get(version)
    if decision and decision.outcome != waiting.SUPERSEDED:
        approved = decision.outcome == waiting.APPROVED
        told = f"Version {version} was {decision.told()}."
        status = Status.PROMOTED if approved else Status.KEPT
        return replace(judged, verdict=Verdict(status, (told, *verdict.reasons), verdict.checks))
    champion = judged.incumbent.champion
    waiting.begin_waiting(
        client,
        night.name,
        version,
        against=champion.version if champion else None,
        why=verdict.reasons[0],
        named=full_name(night.model),
        shadow=nights,
    )
    close_waiting(client, night.name, version, why, night.as_of.isoformat())
    return None


def close_waiting(client: Client, model: str, version: str, why: str, on: str) -> None:
    """Close what waits as superseded by a version, also in the reports of its nights."""
    for one in waiting.supersede(client, model, version, why, on):
        decision = waiting.read_decisions(client, model)[one.version]
        _note(model, one, decision)


def close_shadows(client: Client, model: str, by: str, why: str, on: str) -> None:
    """End the shadow nights of every version without a judgement, as ``close_waiting``."""
    for one in waiting.read_waiting(client, model):
        if one.shadow:
            decision = waiting.Decision(waiting.SUPERSEDED, by, why, on)
            waiting.end_waiting(client, model, one.version, decision)
            _note(model, one, decision)


def _note(model: str, one: waiting.Waiting, decision: waiting.Decision) -> None:
    note_decision(model, one.as_of, one.version, decision)
    log.info("wait      version %s was %s", one.version, decision.told())
