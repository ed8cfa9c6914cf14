"""The steps that watch the champion at work: its predictions graded, itself reverted if need be."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from tasks.errors import RegistryError
from tasks.metrics.base import title
from tasks.monitoring import champion_line, drift, live_days, live_performance
from tasks.predictions import publish
from tasks.promotion.anchor import NIGHTS
from tasks.registry import aliases, anchors, versions
from tasks.registry.client import list_versions, open_registry, read_registered
from tasks.reporting.archive import past_reports
from tasks.shown import all_shown
from tasks.spec.loading import load_spec
from tasks.steps import rollback
from tasks.steps.config import RollbackConfig
from tasks.steps.ending import end_run
from tasks.steps.events import announce
from tasks.steps.history import draw_history
from tasks.steps.retries import OUTSIDE
from tasks.steps.spoken import task
from tasks.store.files import write_json
from tasks.training import fit

if TYPE_CHECKING:
    from tasks.registry.client import Client, Registered
    from tasks.steps.state import Cleaned, Examples, Night


log = logging.getLogger("nightly")


@task(task_run_name="grade past predictions", **OUTSIDE)
def grade_predictions(night: Night, clean: Cleaned) -> live_days.Live:
    """Lay past predictions beside what happened, for days whose labels are final by now.

    First a change of champion that was cut off is ended.

    A backfill looks back on the days that are graded, and grades none.
    """

    spec, client = load_spec(night.model), open_registry()
    if not night.backfill and (ended := aliases.finish_change(client, night.name)):
        log.warning("champion  %s", ended.told)
    registered = read_registered(client, night.name)
    champion, previous = map(registered.aliases.get, (versions.CHAMPION, versions.PREVIOUS))
    if night.backfill:
        days = live_days.past_days(night.name, night.as_of)
        return live_days.Live((), tuple(days), champion, previous)
    new = [
        live_days.grade_one(spec, night.days[day], record, clean.refs[day], night.as_of)
        for day, record in live_days.ungraded(spec, night.as_of, night.days).items()
        if day in clean.refs
    ]
    for found in new:
        write_json(live_days.live_folder(night.name) / f"{found['day']}.json", found)
        log.info("grade     %s", live_performance.to_text(found, *live_days.metric_shown(spec)))
    days = live_days.past_days(night.name, night.as_of)
    line = _compare_line(client, night, days, registered)
    both = [d for d in days if (d["version"], d["previous_version"]) == (champion, previous)]
    loss = live_performance.compare(
        both, spec.problem.primary, spec.problem.greater_is_better, spec.revert
    )
    return live_days.Live(tuple(new), tuple(days), champion, previous, loss, line=line)


def _compare_line(
    client: Client, night: Night, days: Sequence[Mapping[str, Any]], registered: Registered
) -> live_days.Line | None:
    """Lay the line of champions beside the anchor; anchors are renewed where they have to be."""
    spec, listed = load_spec(night.model), list_versions(client, night.name)
    now = anchors.anchor_in(registered.tags)
    kept = anchors.anchor_in(registered.tags, anchors.YEARLY)
    anchor, yearly, line = champion_line.follow(
        now,
        kept,
        registered.aliases.get(versions.CHAMPION),
        night.as_of,
        graded=days,
        reports=past_reports(night.name, night.as_of, NIGHTS),
        withdrawn=versions.read_withdrawn(client, night.name, listed),
        exists=lambda version: version in {str(each.version) for each in listed},
        metric=spec.problem.primary,
        greater=spec.problem.greater_is_better,
        policy=spec.revert,
    )
    if anchor and anchor != now:
        anchors.write_anchor(client, night.name, anchor)
    if anchor and yearly and yearly != kept and (kept or yearly.version != anchor.version):
        anchors.write_anchor(client, night.name, yearly, anchors.YEARLY)
    if anchor is None or now is None or anchor.version != now.version:
        log.info("anchor    version %s from now on", anchor.version if anchor else "none")
        return None
    if not line:
        return None
    made = versions.read_version(client, night.name, anchor.version)
    return live_days.compare_with_anchor(spec, line, anchor.version, (made.candidate, made.digest))


@task(task_run_name="compare the newest week", cache_policy=NO_CACHE)
def measure_drift(night: Night, clean: Cleaned, examples: Examples) -> drift.Drifted:
    """Compare inputs, published predictions and row counts with those of earlier weeks."""
    import pandas as pd

    spec, split = load_spec(night.model), examples.split
    parts = [fit.read_examples(examples.of(days)) for days in (split.train, split.holdout)]
    since = pd.Timestamp(night.as_of) - pd.Timedelta(weeks=drift.WEEKS)
    rows = pd.concat([part[part["day"] > since] for part in parts], ignore_index=True)
    watched = spec.problem.inputs(rows).drop(columns=[*spec.drift_ignored], errors="ignore")
    inputs = watched.assign(day=rows["day"])
    shown = publish.recent_predictions(
        spec.name, spec.problem.answer_column, 7 * drift.WEEKS, drift.ROWS, spec.seed
    )
    found = [
        *drift.measure_drift(inputs, split.holdout[-1], spec.seed),
        *drift.measure_drift(shown, night.as_of, spec.seed),
    ]
    shifts = sorted(found, key=lambda shift: -shift.psi)
    counted = drift.count_rows({day: ref.rows for day, ref in clean.refs.items()}, night.as_of)
    check = drift.check_drift(shifts, spec.drift_limit)
    far = [shift.column for shift in shifts if shift.alarming]
    log.info("drift     %s", f"drifted: {', '.join(far)}" if far else check.detail)
    return drift.Drifted(tuple(shifts), counted, check)


@task(task_run_name="revert the champion", **OUTSIDE)
def revert_champion(night: Night, live: live_days.Live) -> live_days.Live:
    """Make the predecessor champion again, or the anchor where the whole line is worse than it.

    That it loads and predicts is checked before; otherwise the champion stays.

    The version that is reverted is never promoted again from the same code and data.
    """
    spec = load_spec(night.model)
    to, why = _why_revert(live, title(spec.problem.primary))
    config = RollbackConfig(model=night.name, to=int(to), why=why)
    target = str(config.to)
    try:
        if fault := versions.read_promoted(open_registry(), night.name, target).unsealed:
            raise rollback.RollbackError(fault)
        rollback.prove_version(config, target)
    except (rollback.RollbackError, RegistryError) as error:
        text = (
            f"Version {live.champion} should be reverted ({why}), but version {target} is not "
            f"usable: {error}"
        )
        log.warning("revert    %s", text)
        announce(night.name, night.as_of, {"nightly.champion.not-reverted": text})
        return replace(live, reverted=text)
    held_until = rollback.held_through(night.name, since=night.as_of, shortest=spec.revert.hold)
    found = rollback.restore_champion(config, target, held_until)
    text = f"Version {live.champion} was reverted, version {target} is the champion again: {why}."
    text = " ".join(filter(None, (text, found["held"])))
    log.warning("revert    %s", text)
    return replace(live, reverted=text, has_reverted=True)


def _why_revert(live: live_days.Live, metric: str) -> tuple[str, str]:
    """The version to go back to, and why: the anchor where the line is worse, else the pair."""
    if live.line and live.line.loss.revert:
        lost, to = live.line.loss, live.line.anchor
        who, whom = f" of {live.line}", f"the anchor, version {to},"
    else:
        assert live.loss is not None and live.previous is not None
        lost, to = live.loss, live.previous
        who, whom = "", f"version {to}"
    return to, (
        f"{lost.days} graded days{who}: {metric} {lost.relative:+.1%} against {whom} on the same "
        f"rows, worse at the confidence level {lost.confidence * 100:.10g}%"
    )


def end_monitor(night: Night, live: live_days.Live, published: str) -> State:
    """Draw the page of nights again; the last state is ``REVERTED``, ``GRADED`` or ``BACKFILL``.

    Args:
        night: The run.
        live: What it graded and did.
        published: What the app reads after a revert, in words.
    """
    if not night.backfill:
        draw_history(night.name)
    spec = load_spec(night.model)
    said = (
        "; ".join(live_days.lines(live, spec)) or "There is no day with final labels to grade yet."
    )
    ahead = [] if night.backfill else live_days.estimated_days(spec)
    guess = "; ".join(live_days.estimated_lines(ahead, live.days, spec)) if ahead else ""
    said = " ".join(filter(None, (night.backfill, said, published, guess)))
    data = all_shown(json.loads(_dump(live)))
    outcome = "REVERTED" if live.has_reverted else "BACKFILL" if night.backfill else "GRADED"
    return end_run(outcome, f"{night.name} · {night.as_of}", said, data)


def _dump(live: live_days.Live) -> str:
    return json.dumps({"days": live.days, "reverted": live.reverted})
