"""A check within seconds of what a night would do: the newest days, tiny fits, nothing written."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

from tasks import settings
from tasks.errors import SpecError
from tasks.features.as_of import day_start_of, last_complete_day
from tasks.preflight.days import look_at_days, look_at_split
from tasks.preflight.file_reads import noted, unknown
from tasks.preflight.inputs import look_at_features, look_at_requests
from tasks.preflight.rehearsal import rehearse
from tasks.preflight.result import Checkup, Part
from tasks.preflight.rows import (
    clean_sample,
    look_at_partitions,
    look_at_rows,
    look_for_leaks,
    read_sample,
)
from tasks.preflight.schedules import look_at_schedule
from tasks.preflight.trial_fit import interval_notes, thin, try_candidate
from tasks.spec.fingerprint import code_files, data_files
from tasks.spec.tuned import Tuned
from tasks.training.tuning import next_search

if TYPE_CHECKING:
    from tasks.features.split import Split
    from tasks.preflight.result import Trial
    from tasks.spec.model_spec import ModelSpec


def check_model(
    spec: ModelSpec, as_of: date | None, now: datetime, read: Iterable[str] = ()
) -> Checkup:
    """Check everything a night needs; a fault stops only the steps that depend on it.

    The state directory is not changed: the check uses a temporary one.

    Args:
        spec: The model.
        as_of: Last day whose data may be used; None for the newest complete day.
        now: The current time, with its time zone.
        read: Files that were opened while the model was imported.
    """
    started, seen = time.perf_counter(), set(read)
    with settings.borrowed_home():
        complete = last_complete_day(now, spec.timezone, day_start_of(spec.source))
        newest, parts, trials = _look(spec, as_of, complete, seen)
        parts.append(_look_at_files(spec, seen))
    return Checkup(
        spec.name,
        spec.question,
        newest,
        tuple(parts),
        trials,
        spec.problem.primary,
        round(time.perf_counter() - started, 1),
    )


def _look(
    spec: ModelSpec, as_of: date | None, complete: date, seen: set[str]
) -> tuple[date | None, list[Part], tuple[Trial, ...]]:
    until = as_of or complete
    parts: list[Part] = []
    trials: tuple[Trial, ...] = ()
    listed, days = look_at_days(spec, as_of, until)
    calendar = spec.calendar_of(listed)
    newest = calendar.last_open(as_of) if as_of else max(listed, default=None)
    parts.append(days)
    if listed and newest:
        split, lengths = look_at_split(spec, list(listed), newest)
        parts.append(lengths)
        for part, tried in _look_inside(spec, list(listed), newest, split, seen):
            parts.append(part)
            trials = tried or trials
    parts.append(look_at_schedule(spec))
    return newest, parts, trials


def _look_inside(
    spec: ModelSpec, listed: Sequence[date], as_of: date, split: Split | None, seen: set[str]
) -> Iterable[tuple[Part, tuple[Trial, ...]]]:
    """Check contract, cleaning, features and candidates; each step needs the one before."""
    started = time.perf_counter()
    raw, part = read_sample(spec, listed, as_of)
    yield part, ()
    if raw is None:
        return
    sample, rows = raw
    accepted, part = look_at_rows(spec, rows)
    yield part, ()
    if accepted is None:
        return
    with noted(seen):
        clean, part = clean_sample(spec, accepted)
    yield part, ()
    if clean is None:
        return
    yield look_for_leaks(spec, rows, sample, clean), ()
    if spec.partition is not None:
        yield look_at_partitions(spec, clean, len(sample.read)), ()
    cleaned = time.perf_counter()
    with noted(seen):
        examples, part = look_at_features(spec, sample, clean)
    yield part, ()
    if examples is None:
        return
    built = time.perf_counter()
    training, holdout = examples

    some = thin(training)
    tried = {name: try_candidate(spec, name, some, holdout) for name in spec.candidates}
    trials = tuple(trial for trial, _ in tried.values())
    faults = tuple(trial.fault for trial in trials if trial.fault)
    if faults and len(sample.read) < spec.lookback.days:
        shown = len(sample.read) - len(sample.built)
        faults = (*faults, f"(The check used {shown} of {spec.lookback.days} days of history.)")
    searches = {n: c for n, c in spec.candidates.items() if isinstance(c, Tuned)}
    faults += tuple(f"Candidate {n!r}: {c.missing()}" for n, c in searches.items() if c.missing())
    yield Part("Candidates", faults=faults, notes=tuple(interval_notes(spec))), trials
    due = [
        f"{name}: hyperparameters searched for {each.budget:.0f} s by "
        f"{each.method} on the first night and after an edit, then every {each.every.days} days "
        f"from {next_search(as_of, each)} on"
        for name, each in searches.items()
    ]
    yield Part("Tuning", tuple(due)), ()
    with noted(seen):
        next_day = spec.calendar_of(listed).next_open(as_of)
        asked, part = look_at_requests(spec, clean, as_of, next_day)
    yield part, ()
    if not any(trial.fault for trial in trials) and not part.faults:
        fitted = {name: estimator for name, (_, estimator) in tried.items()}
        later = [spec.problem.inputs(holdout), *([] if asked is None else [asked])]
        yield rehearse(spec, fitted, later), ()
    if split is not None:
        spent = {
            "clean": (cleaned - started) / len(sample.read) * len(listed),
            "features": (built - cleaned) / len(sample.built) * len(split.wanted),
        }
        share = len(training) / len(sample.training) * len(split.train) / max(len(some), 1)
        if searches:
            spent["tune"] = sum(each.budget for each in searches.values())
        spent["fit"] = share * sum(trial.seconds for trial in trials)
        yield Part("Time", (_estimate(spent),)), ()


def _look_at_files(spec: ModelSpec, seen: set[str]) -> Part:
    """The files that the model reads beside its code, and those of them that it would miss."""
    try:
        own = data_files(spec)
        lines = (f"read beside the code: {', '.join(own)}",) if own else ()
        missed = unknown(seen, code_files(spec))
    except SpecError as error:
        return Part("Files", faults=(str(error),))
    notes = tuple(
        f"{file} is read, but is not part of the model: an edit would not be noticed, and a "
        "version could not be asked again without it. Put it beside the model's file and name it "
        "in files=."
        for file in missed
    )
    return Part("Files", lines, notes=notes)


def _estimate(spent: Mapping[str, float]) -> str:
    parts = " · ".join(f"{name} {_duration(seconds)}" for name, seconds in spent.items())
    return (
        f"the first night takes about {_duration(sum(spent.values()) + 20)}: {parts}; later nights "
        "take less"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
