"""The steps that open a night: its lock, its date, its days."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from prefect import runtime
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext

from tasks.features.as_of import (
    day_start_of,
    last_complete_day,
    last_due,
    reasons_to_hold,
    resolve_as_of,
)
from tasks.promotion.checks import Status
from tasks.promotion.verdict import why_backfill
from tasks.registry import versions
from tasks.registry.client import open_registry, reach_server
from tasks.reporting.archive import last_judged
from tasks.reporting.decisions import fingerprint, recall
from tasks.reporting.held import NOTHING, night_to_take_up
from tasks.sources.base import SourceError, SourceOutageError, SourceSettingsError
from tasks.spec.fingerprint import digest, policy_text
from tasks.spec.fleet import fleet_of
from tasks.spec.loading import load_spec
from tasks.steps.ending import end_run, name_run
from tasks.steps.retries import OUTSIDE
from tasks.steps.spoken import task
from tasks.steps.state import Night
from tasks.steps.sweep import noted_run
from tasks.store import locks, mirror

if TYPE_CHECKING:
    from tasks.steps.config import RetrainConfig


log = logging.getLogger("nightly")


def only_night(model: str) -> AbstractContextManager[None]:
    """Hold the lock of this model, named as by the caller."""
    return only_change(load_spec(model).name)


@contextmanager
def only_change(name: str) -> Iterator[None]:
    """Hold the lock of the model of this name: another night or change of it waits for this one.

    The models of a fleet have one lock.
    """
    with noted_run(), locks.lock_between_machines(f"night-{fleet_of(name)}", wait=6 * 3600):
        mirror.pull()
        yield


@task(task_run_name="open the night", **OUTSIDE)
def open_night(config: RetrainConfig) -> Night:
    """Find the as-of date and the source's days, and whether there is anything fresh.

    Raises:
        SourceSettingsError: Where a person must correct the source's settings.
        SourceOutageError: Where the file system or database does not answer.
    """
    reach_server()
    spec, context = load_spec(config.model), FlowRunContext.get()
    due = runtime.flow_run.scheduled_start_time
    started = context.start_time if context else due
    begins = day_start_of(spec.source)
    newest_due = last_due(due, started, spec.timezone)
    until = config.as_of or last_complete_day(newest_due, spec.timezone, begins)
    listed: dict[date, str] = {}
    held: tuple[str, ...] = ()
    try:
        listed = dict(spec.source.list_days(until))
    except (SourceSettingsError, SourceOutageError):
        raise
    except SourceError as error:
        held = (str(error),)
    by_hand = runtime.deployment.id is None
    calendar = spec.calendar_of(listed)
    clock = (due, started, spec.timezone)
    as_of = resolve_as_of(config.as_of, list(listed), *clock, by_hand=by_hand, day_start=begins)
    was_due = config.as_of or (as_of if by_hand else last_complete_day(due, spec.timezone, begins))
    as_of, was_due = calendar.last_open(as_of), calendar.last_open(was_due)
    days = {day: mark for day, mark in listed.items() if day <= as_of and day not in spec.skip}
    earlier = recall(config.model, as_of, due)
    superseded = earlier is not None and was_due < as_of
    name = f"{spec.name} · {was_due if superseded else as_of}"
    name_run(name)
    later = [] if held or listed else list(spec.source.list_days(date.max))
    held = held or reasons_to_hold(days, calendar.without(spec.skip).last_open(as_of), later)
    log.info("open      %s as of %s: %d days in the source", spec.name, as_of, len(days))
    if was_due < as_of:
        log.info("open      due for %s: this night replaces every night due since then", was_due)
    parts = (digest(spec), policy_text(spec), as_of, fingerprint(days))
    key = hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()
    backfill = _why_backfill(spec.name, as_of)
    ahead = calendar.next_open(as_of)
    return Night(config.model, spec.name, as_of, days, key, held, earlier, was_due, backfill, ahead)


def end_held(night: Night) -> State:
    """The last state of a flow without fresh data."""
    return end_run(Status.HELD.value, f"{night.name} · {night.as_of}", " ".join(night.held))


def look_again(config: RetrainConfig) -> RetrainConfig:
    """What a look asks for: the held night whose data are there now, or no night."""
    mirror.pull()
    return config.model_copy(update={"as_of": night_to_take_up(config.model)})


def end_look(config: RetrainConfig) -> State:
    """The last state of a look that found no night to take up."""
    return end_run(NOTHING, Path(config.model).stem, "No held night can run now.")


def _why_backfill(name: str, as_of: date) -> str | None:
    champion = versions.read_champion(open_registry(), name)
    backfill = why_backfill(as_of, champion, last_judged(name))
    if backfill:
        log.info("open      %s Nothing is changed.", backfill)
    return backfill
