"""The step of a night that follows a version in its shadow nights, and ends them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from tasks.monitoring import shadow_days
from tasks.promotion.checks import Status, Verdict
from tasks.promotion.gate import overtaken, refuse
from tasks.promotion.holds import held_candidates
from tasks.promotion.shadow import Outcome, Shadow, is_overdue, judge_shadow, why_ended
from tasks.promotion.waiting import how_to_answer
from tasks.registry import aliases, versions, waiting
from tasks.registry.champion_alias import ChampionMovedError
from tasks.registry.client import list_versions, open_registry
from tasks.reporting.waited import note_decision
from tasks.spec.fingerprint import digest
from tasks.spec.loading import load_spec
from tasks.steps import rollback
from tasks.steps.config import RollbackConfig
from tasks.steps.retries import OUTSIDE
from tasks.steps.spoken import task
from tasks.steps.waiting import close_shadows, close_waiting

if TYPE_CHECKING:
    from tasks.monitoring.live_days import Live
    from tasks.registry.client import Client
    from tasks.steps.state import Cleaned, Judged, Night


log = logging.getLogger("nightly")
NIGHTS = "its shadow nights"
"""Who decides where no person does."""
NAMES = (shadow_days.SHADOW, shadow_days.CHAMPION)


@task(task_run_name="follow the version in the shadow", **OUTSIDE)
def follow_shadow(
    night: Night, clean: Cleaned, live: Live, judged: Judged
) -> tuple[Judged, str | None]:
    """Judge the version in the shadow on its graded days; while it is there, no other goes there.

    A night that runs again finds what it decided before.

    Returns:
        The night's verdict, and the version it is about where that is the one in the shadow:
        tonight's challenger is not registered then. None where it is about the challenger.
    """
    client = open_registry()
    listed = list_versions(client, night.name)
    for waited, decision in waiting.read_decided(client, night.name, listed):
        note_decision(night.name, waited.as_of, waited.version, decision)  # its run was cut off
    decided = waiting.read_decisions(client, night.name, listed)
    if before := _decided_before(client, night, live, judged, decided):
        return before
    waits = waiting.read_waiting(client, night.name, listed)
    one = next((one for one in waits if one.shadow and one.night != night.key), None)
    if one is None:
        return judged, None
    spec, champion = load_spec(night.model), judged.incumbent.champion
    ended = why_ended(
        one,
        champion=champion.version if champion else None,
        digest=digest(spec),
        refused=_withheld(night, one, judged),
    )
    if ended:
        return _end(client, night, one.version, ended, judged), None
    shadow, graded = _shadow_of(night, one, live)
    found = shadow_days.compare(spec, graded, clean.refs) if len(graded) >= one.shadow else None
    outcome, told = judge_shadow(found, shadow, spec.gate, NAMES)
    log.info("shadow    %s", told)
    judged = replace(judged, shadow=shadow)
    if outcome is Outcome.WORSE:
        return _refuse(client, night, shadow, told, judged), None
    if outcome is Outcome.NOT_WORSE and not spec.gate.approve:
        return _promote(client, night, shadow, told, judged)
    if outcome is Outcome.NOT_WORSE:
        said = f"Version {one.version} waits for a person after its shadow nights. {told}"
        reasons = (said, how_to_answer(night.name), *judged.verdict.reasons)
        verdict = replace(judged.verdict, status=Status.WAITING, reasons=reasons)
        return replace(judged, verdict=verdict), one.version
    if is_overdue(shadow, night.as_of, spec.label_delay):
        why = f"only {shadow.graded} of {shadow.nights} days could be compared"
        return _end(client, night, one.version, why, judged), None
    return replace(judged, verdict=refuse(judged.verdict, told)), None


def _shadow_of(
    night: Night, one: waiting.Waiting, live: Live
) -> tuple[Shadow, list[Mapping[str, Any]]]:
    """The version as this night finds it, and its graded days."""
    metric = load_spec(night.model).problem.primary
    graded = shadow_days.graded_days(live.days, one.version, one.against, metric)
    before = shadow_days.count_nights(night.name, one.version, night.as_of - timedelta(days=1))
    since, nights = date.fromisoformat(one.as_of), one.shadow
    shadow = Shadow(one.version, one.candidate, since, one.against, before + 1, nights, len(graded))
    return shadow, graded


def _decided_before(
    client: Client,
    night: Night,
    live: Live,
    judged: Judged,
    decided: Mapping[str, waiting.Decision],
) -> tuple[Judged, str | None] | None:
    """What the night decided when it ran before, if it did."""
    for version, decision in decided.items():
        if (decision.by, decision.on) == (NIGHTS, night.as_of.isoformat()):
            shadow, _ = _shadow_of(night, waiting.read_waited(client, night.name, version), live)
            judged = replace(judged, shadow=shadow)
            if decision.outcome == waiting.REFUSED:
                return _refused(judged, shadow, decision.why), None
            if versions.read_alias(client, night.name, versions.CHAMPION) == version:
                return _promoted(judged, shadow, decision.why), version
    return None


def _withheld(night: Night, one: waiting.Waiting, judged: Judged) -> dict[str, str]:
    held, code = judged.incumbent.holds, digest(load_spec(night.model))
    return held_candidates(night.name, held, [one.candidate], code, night.as_of)


def _promote(
    client: Client, night: Night, shadow: Shadow, why: str, judged: Judged
) -> tuple[Judged, str | None]:
    """Prove the package again, and make the version champion."""
    config = RollbackConfig(model=night.name, to=int(shadow.version), why=NIGHTS)
    try:
        rollback.prove_version(config, shadow.version)
    except rollback.RollbackError as error:
        return _end(client, night, shadow.version, str(error), judged), None
    decision = waiting.Decision(waiting.APPROVED, NIGHTS, why, night.as_of.isoformat())
    try:
        aliases.promote(client, night.name, shadow.version, shadow.against, decision)
    except ChampionMovedError as moved:
        verdict = overtaken(judged.verdict, shadow.version, shadow.against, moved.champion)
        return replace(judged, verdict=verdict), None
    close_waiting(client, night.name, shadow.version, "became the champion", decision.on)
    note_decision(night.name, shadow.since.isoformat(), shadow.version, decision)
    return _promoted(judged, shadow, why), shadow.version


def _promoted(judged: Judged, shadow: Shadow, why: str) -> Judged:
    told = f"Version {shadow.version} is promoted after its shadow nights. {why}"
    aside = "Tonight's challenger was compared, and not registered."
    verdict = Verdict(Status.PROMOTED, (told, aside))
    return replace(judged, verdict=verdict, shadow=replace(shadow, ended=True))


def _refuse(client: Client, night: Night, shadow: Shadow, why: str, judged: Judged) -> Judged:
    """Withdraw the version; its recipe is not held, as the next one has to prove itself as well."""
    decision = waiting.Decision(waiting.REFUSED, NIGHTS, why, night.as_of.isoformat())
    aliases.refuse(client, night.name, shadow.version, decision, None)
    note_decision(night.name, shadow.since.isoformat(), shadow.version, decision)
    return _refused(judged, shadow, why)


def _refused(judged: Judged, shadow: Shadow, why: str) -> Judged:
    told = f"Version {shadow.version} is refused after its shadow nights. {why}"
    verdict = refuse(judged.verdict, told)
    return replace(judged, verdict=verdict, shadow=replace(shadow, ended=True))


def _end(client: Client, night: Night, version: str, why: str, judged: Judged) -> Judged:
    """End the shadow nights without a judgement; the night goes on as if there were none."""
    close_shadows(client, night.name, "a night", why, night.as_of.isoformat())
    told = f"Version {version} predicts in the shadow no more: {why.removesuffix('.')}."
    verdict = replace(judged.verdict, reasons=(*judged.verdict.reasons, told))
    return replace(judged, verdict=verdict, shadow=None)
