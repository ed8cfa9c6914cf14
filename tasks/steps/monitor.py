"""The steps that watch the champion at work: its predictions graded, itself reverted if need be."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType

from tasks.metrics.base import title
from tasks.monitoring import drift, live_days, live_performance
from tasks.predictions import publish
from tasks.registry import versions
from tasks.registry.client import open_registry
from tasks.spec.loading import load_spec
from tasks.steps import rollback
from tasks.steps.config import RollbackConfig
from tasks.steps.events import announce
from tasks.steps.history import draw_history
from tasks.steps.retries import OUTSIDE
from tasks.store.files import write_json
from tasks.training import fit

if TYPE_CHECKING:
    from tasks.steps.state import Cleaned, Examples, Night


log = logging.getLogger("nightly")


@task(task_run_name="grade past predictions", **OUTSIDE)
def grade_predictions(night: Night, clean: Cleaned) -> live_days.Live:
    """Lay past predictions beside what happened, for days whose labels are final by now.

    A backfill looks back on the days that are graded, and grades none.
    """

    spec, client = load_spec(night.model), open_registry()
    champion = versions.read_alias(client, night.name, versions.CHAMPION)
    previous = versions.read_alias(client, night.name, versions.PREVIOUS)
    if night.backfill:
        days = live_days.past_days(night.name, night.as_of)
        return live_days.Live((), tuple(days), champion, previous)
    new = [
        live_days.grade_one(spec, night.days[day], record, clean.refs[day])
        for day, record in live_days.ungraded(spec, night.as_of, night.days).items()
        if day in clean.refs
    ]
    for found in new:
        write_json(live_days.live_folder(night.name) / f"{found['day']}.json", found)
        log.info("grade     %s", live_performance.to_text(found, *live_days.metric_shown(spec)))
    days = live_days.past_days(night.name, night.as_of)
    both = [d for d in days if (d["version"], d["previous_version"]) == (champion, previous)]
    loss = live_performance.compare(
        both, spec.problem.primary, spec.problem.greater_is_better, spec.revert
    )
    return live_days.Live(tuple(new), tuple(days), champion, previous, loss)


@task(task_run_name="compare the newest week", cache_policy=NO_CACHE)
def measure_drift(night: Night, clean: Cleaned, examples: Examples) -> drift.Drifted:
    """Compare inputs, published predictions and row counts with those of earlier weeks."""
    import pandas as pd

    spec, split = load_spec(night.model), examples.split
    parts = [fit.read_examples(examples.of(days)) for days in (split.train, split.holdout)]
    since = pd.Timestamp(night.as_of) - pd.Timedelta(weeks=drift.WEEKS)
    rows = pd.concat([part[part["day"] > since] for part in parts], ignore_index=True)
    inputs = spec.problem.inputs(rows).assign(day=rows["day"])
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
    """Make the predecessor champion again after checking that it loads and predicts; otherwise the
    champion stays.

    The version that is reverted is never promoted again from the same code and data.
    """
    spec = load_spec(night.model)
    assert live.loss is not None
    why = (
        f"{live.loss.days} graded days: {title(spec.problem.primary)} {live.loss.relative:+.1%} "
        f"against version {live.previous} on the same rows, worse at the confidence level "
        f"{spec.revert.confidence:.1%}"
    )
    config = RollbackConfig(model=night.name, to=int(live.previous or 0), why=why)
    target = str(config.to)
    try:
        rollback.prove_version(config, target)
    except rollback.RollbackError as error:
        text = (
            f"Version {live.champion} should be reverted ({why}), but the predecessor is not "
            f"usable: {error}"
        )
        log.warning("revert    %s", text)
        announce(night.name, night.as_of, {"nightly.champion.not-reverted": text})
        return replace(live, reverted=text)
    hold = spec.revert.hold
    found = rollback.restore_champion(config, target, night.as_of + hold if hold else None)
    text = f"Version {live.champion} was reverted, version {target} is the champion again: {why}."
    text = " ".join(filter(None, (text, found["held"])))
    log.warning("revert    %s", text)
    return replace(live, reverted=text, has_reverted=True)


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
    name = "REVERTED" if live.has_reverted else "BACKFILL" if night.backfill else "GRADED"
    return State(type=StateType.COMPLETED, name=name, message=said, data=json.loads(_dump(live)))


def _dump(live: live_days.Live) -> str:
    return json.dumps({"days": live.days, "reverted": live.reverted})
