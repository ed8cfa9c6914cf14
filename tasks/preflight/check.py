"""A check within seconds of what a night would do: the newest days, tiny fits, nothing written."""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tasks import settings
from tasks.errors import SpecError
from tasks.features import cleaning
from tasks.features.as_of import day_start_of, last_complete_day, reasons_to_hold
from tasks.features.contract import ContractError, accept_rows, as_declared, repeated
from tasks.features.examples import (
    build_examples,
    day_and_history,
    label_nights,
    labelled,
)
from tasks.features.partitions import as_text
from tasks.features.scoring import (
    clean_requests,
    clean_rows,
    comes_after,
    days_before,
    hide_unknown,
    inputs_from,
    late_columns,
    night_after,
)
from tasks.features.split import HistoryError, most_training_days, split_days, without_strays
from tasks.preflight.file_reads import noted, unknown
from tasks.preflight.rehearsal import rehearse
from tasks.preflight.result import Checkup, Part, told
from tasks.preflight.schedules import FILE, schedules_of
from tasks.preflight.trial_fit import (
    input_faults,
    input_notes,
    interval_notes,
    slice_faults,
    target_faults,
    thin,
    try_candidate,
)
from tasks.promotion import leaks
from tasks.shown import counted, few
from tasks.sources.base import ColumnsError, SourceError, SourceSettingsError
from tasks.spec.calendar import WEEKDAYS
from tasks.spec.fingerprint import code_files, data_files
from tasks.spec.fleet import PartitionSpec
from tasks.spec.tuned import Tuned
from tasks.training.tuning import next_search

if TYPE_CHECKING:
    import pandas as pd

    from tasks.features.contract import Accepted
    from tasks.features.split import Split
    from tasks.preflight.result import Trial
    from tasks.spec.model_spec import ModelSpec


FEWEST_ROWS = 1_000
"""Rows that the training days should have, so that they hold every class."""
MOST_ROWS, MOST_VALUES = 150_000, 15_000_000
"""Most rows and values read, unless single days are larger; bounds the time of a check."""
SIGN_ROWS = 5_000
"""Rows of the night's holdout in which signs of leaks are looked for."""
MANY_EQUAL = 0.01
"""Share of rows equal to an earlier one from which a person is told."""


@dataclass(frozen=True)
class Sample:
    """Which days a check looks at.

    Attributes:
        read: All of them: history, training days, holdout days, newest days.
        training: Training days, at least one.
        holdout: Later days to score; their labels are final.
        signs: Days of the night's holdout that are searched for signs of leaks, as the night does.
    """

    read: tuple[date, ...]
    training: tuple[date, ...]
    holdout: tuple[date, ...]
    signs: tuple[date, ...]

    @property
    def built(self) -> tuple[date, ...]:
        """Days whose examples are built."""
        return tuple(sorted({*self.training, *self.holdout, *self.signs}))


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
    listed, days = _look_at_days(spec, as_of, until)
    calendar = spec.calendar_of(listed)
    newest = calendar.last_open(as_of) if as_of else max(listed, default=None)
    parts.append(days)
    if listed and newest:
        split, lengths = _look_at_split(spec, list(listed), newest)
        parts.append(lengths)
        for part, tried in _look_inside(spec, list(listed), newest, split, seen):
            parts.append(part)
            trials = tried or trials
    parts.append(_look_at_schedule(spec))
    return newest, parts, trials


def choose_days(
    spec: ModelSpec, listed: Sequence[date], as_of: date, rows: int, most: int = MOST_ROWS
) -> Sample | None:
    """The newest days with final labels, and as much earlier history as can be read quickly.

    Args:
        spec: The model.
        listed: Days of the source up to ``as_of``, ascending.
        as_of: Last day whose data may be used.
        rows: Rows of one day.
        most: Most rows that are read.

    Returns:
        None where fewer than two days have final labels.
    """
    matured = [day for day in listed if day <= as_of - spec.label_delay]
    each = min(max(2, -(-FEWEST_ROWS // max(rows, 1))), 7)
    holdout = matured[-2:] if len(matured) > 3 else matured[-1:]
    training = matured[: len(matured) - len(holdout)][-each:]
    if not training:
        return None
    enough = max(-(-SIGN_ROWS // max(rows, 1)), len(holdout))
    signs = matured[-min(enough, max(spec.holdout.days, len(holdout))) :]
    first = min(training[0], signs[0])
    since = [day for day in listed if day >= first]
    room = max(most // max(rows, 1) - len(since), 1)
    past = [day for day in listed if first - spec.lookback <= day < first][-room:]
    return Sample((*past, *since), tuple(training), tuple(holdout), tuple(signs))


def _look_at_days(spec: ModelSpec, as_of: date | None, until: date) -> tuple[dict[date, str], Part]:

    try:
        found = dict(spec.source.list_days(until))
    except SourceSettingsError as error:
        return {}, Part("Days", faults=(str(error),))
    except SourceError as error:
        return {}, Part("Days", held=(str(error),))
    except Exception as error:
        return {}, Part("Days", faults=(told(spec, "The source", error),))
    days = {day: mark for day, mark in found.items() if day not in spec.skip}
    calendar = spec.calendar_of(found)
    newest = as_of or max(days, default=until)
    expected = calendar.without(spec.skip)
    held = reasons_to_hold(days, expected.last_open(newest))
    if not days:
        return {}, Part("Days", held=held)
    known = without_strays(list(days))
    first, last = known[0], known[-1]
    gaps = [d for d in _calendar(first, last) if d not in found and calendar.is_open(d)]
    line = f"{len(days):,} days in the source, {first} to {last}, "
    line += f"{len(gaps):,} missing ({few(gaps)})" if gaps else "none missing"
    closed = [day for day in WEEKDAYS if day not in calendar.weekdays]
    line += f"; never on {', '.join(closed)}" if closed else ""
    old = (expected.last_open(until) - last).days
    notes = []
    if strays := len(days) - len(known):
        notes.append(
            f"{counted(strays, 'day')} long before all others, from {min(days)} on: not used for "
            "training. Correct their times, or name them in skip."
        )
    if as_of is None and old > 1:
        notes.append(
            f"The newest day, {last}, is {old} days before the last complete one, {until}: "
            "a scheduled night would be HELD."
        )
    if spec.skip:
        line += f"; {len(spec.skip)} left out by skip"
    return days, Part("Days", (line,), held=held, notes=tuple(notes))


def _look_at_split(
    spec: ModelSpec, listed: Sequence[date], as_of: date
) -> tuple[Split | None, Part]:
    try:
        split = split_days(spec, listed, as_of)
    except HistoryError as error:
        return None, Part("Split", faults=(str(error),))
    line = (
        f"training on {len(split.train):,} days ({split.train[0]} to {split.train[-1]}), holdout "
        f"{len(split.holdout)} days ({split.holdout[0]} to {split.holdout[-1]})"
    )
    notes = [*lookback_notes(listed, split.wanted, spec.lookback)]
    asked = most_training_days(spec, listed, split.holdout[0])
    if len(split.refit) < asked < 10_000:
        notes.append(
            f"The window has {asked:,} training days, but the source has only "
            f"{len(split.refit):,}: all of them are used."
        )
    if len(split.holdout) < spec.gate.min_days:
        notes.append(
            f"The holdout has {len(split.holdout)} days, but the gate requires "
            f"{spec.gate.min_days} (min_days): no version would be promoted."
        )
    return split, Part("Split", (line,), notes=tuple(notes))


def lookback_notes(
    listed: Sequence[date], wanted: Sequence[date], lookback: timedelta
) -> tuple[str, ...]:
    """What to say where the days before some days are closed, so that these see no history.

    Args:
        listed: Days of the source, ascending.
        wanted: Days of training and holdout, ascending.
        lookback: Of the spec.
    """
    before = {day: listed[place - 1] for day in wanted if (place := bisect_left(listed, day))}
    blind = {day: day - past for day, past in before.items() if day - past > lookback}
    if not lookback or not blind:
        return ()
    return (
        f"lookback: found days({lookback.days}), which is a span of time; on {len(blind):,} of "
        f"{len(wanted):,} days, such as {max(blind)}, the source has no day in it, so that "
        f"features get an empty history; expected at least days({max(blind.values()).days}).",
    )


def _look_inside(
    spec: ModelSpec, listed: Sequence[date], as_of: date, split: Split | None, seen: set[str]
) -> Iterable[tuple[Part, tuple[Trial, ...]]]:
    """Check contract, cleaning, features and candidates; each step needs the one before."""
    started = time.perf_counter()
    raw, part = _read(spec, listed, as_of)
    yield part, ()
    if raw is None:
        return
    sample, rows = raw
    accepted, part = _look_at_rows(spec, rows)
    yield part, ()
    if accepted is None:
        return
    with noted(seen):
        clean, part = _clean(spec, accepted)
    yield part, ()
    if clean is None:
        return
    yield _look_for_leaks(spec, rows, sample, clean), ()
    if spec.partition is not None:
        yield _look_at_partitions(spec, clean, len(sample.read)), ()
    cleaned = time.perf_counter()
    with noted(seen):
        examples, part = _look_at_features(spec, sample, clean)
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
        asked, part = _look_at_requests(spec, clean, as_of, next_day)
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


def _read(
    spec: ModelSpec, listed: Sequence[date], as_of: date
) -> tuple[tuple[Sample, pd.DataFrame] | None, Part]:

    try:
        newest = spec.source.read_days(listed[-1:])
        most = min(MOST_ROWS, MOST_VALUES // len(newest.columns))
        sample = choose_days(spec, listed, as_of, len(newest), most)
        if sample is None:
            return None, Part(
                "Rows",
                faults=(
                    "Fewer than two days have final labels, but a check needs one for training and "
                    "one for the holdout. Add history.",
                ),
            )
        rows = spec.source.read_days(list(sample.read))
    except SourceSettingsError as error:
        return None, Part("Rows", faults=(str(error),))
    except ColumnsError as error:
        return None, Part("Rows", rejected=(str(error),))
    except SourceError as error:
        return None, Part("Rows", held=(str(error),))
    except Exception as error:
        return None, Part("Rows", faults=(told(spec, "The source", error),))
    if rows.empty:
        return None, Part("Rows", held=(f"The days from {sample.read[0]} on have no rows.",))
    some = rows.groupby("day", sort=False).head(most).reset_index(drop=True)
    cut = f"Of {len(rows):,} rows only the first {most:,} of each day were checked."
    return (sample, some), Part(notes=(cut,) if len(some) < len(rows) else ())


def _look_at_rows(spec: ModelSpec, rows: pd.DataFrame) -> tuple[Accepted | None, Part]:

    try:
        found = accept_rows(rows, spec.contract)
    except ContractError as error:
        return None, Part("Rows", rejected=(str(error),))
    except Exception as error:
        return None, Part("Rows", faults=(told(spec, "The contract", error),))
    totals = {str(name): int(found.counts[name].sum()) for name in found.counts}
    lines = [
        f"{len(found.counts)} days read: {totals['rows_in']:,} rows in = {totals['accepted']:,} "
        f"accepted + {totals['quarantined']:,} quarantined + {totals['duplicates']:,} duplicates"
    ]
    why = found.quarantine["reason"].value_counts().head(3)
    lines += [f"quarantined: {count:,} x {reason}" for reason, count in why.items()]
    over = cleaning.refusals(spec, found)
    held = (
        ()
        if len(found.rows) or over
        else ("The contract leaves no row of these days. Correct the contract or the data.",)
    )
    part = Part(
        "Rows",
        tuple(lines),
        rejected=tuple(over.values()),
        held=held,
        notes=_equal_rows(found.rows),
    )
    return (found if len(found.rows) else None), part


def _equal_rows(rows: pd.DataFrame) -> tuple[str, ...]:
    """That many rows are there more than once, for a person to say whether they should be."""
    twice = int(repeated(rows).sum())
    if twice <= MANY_EQUAL * len(rows):
        return ()
    return (
        f"{twice:,} of {len(rows):,} rows equal an earlier row of their day in every column. All "
        "of them stay. Where each should be there once, name its key in the contract's Config, "
        'such as unique = ["order", "line"]: equal rows are then counted as duplicates.',
    )


def _clean(spec: ModelSpec, accepted: Accepted) -> tuple[pd.DataFrame | None, Part]:
    try:
        rows = clean_rows(spec, accepted.rows)
        cleaning.check_named_columns(spec, accepted.rows, [rows])
    except SpecError as error:
        return None, Part("Clean", faults=(str(error),))
    except Exception as error:
        return None, Part("Clean", faults=(told(spec, "clean", error),))
    if "day" not in rows:
        return None, Part(
            "Clean",
            faults=(
                "clean: found no column 'day' in what it returns; expected it. Keep the column.",
            ),
        )
    lines, notes = known_later(spec, rows)
    notes = (*_other_days(spec, accepted, rows), *notes, *never_used(spec, rows))
    return rows, Part("Clean" if lines else "", lines, notes=notes)


def known_later(spec: ModelSpec, rows: pd.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the newest day's night does not know yet, and times after it that ``late`` has not.

    Args:
        spec: The model.
        rows: Clean rows ascending by ``day``.

    Returns:
        Lines of moments that ``late`` has, and notes on other columns of times.
    """
    if rows.empty:
        return (), ()
    newest = rows["day"].iloc[-1]
    today, night = rows[rows["day"] == newest], night_after(spec, newest)
    lines, notes = [], []
    for name in today.select_dtypes(["datetime", "datetimetz"]).columns.drop("day"):
        after = int(comes_after(spec, today[name], night).sum())
        said = (
            f"{name}: {after:,} of {len(today):,} rows of {newest:%Y-%m-%d} are after {night:%H:%M}"
        )
        if names := [other for other in late_columns(spec).get(name, ()) if other != name]:
            lines.append(f"{said}, when the night runs; missing until then: {few(names)}")
        elif after and name not in spec.known_ahead:
            notes.append(
                f"{said}, when their night runs at the earliest. If other columns are known only "
                f"then, say so with late={{'other_column': '{name}'}}."
            )
    return tuple(lines), tuple(notes)


def never_used(spec: ModelSpec, rows: pd.DataFrame) -> tuple[str, ...]:
    """That labels come so late that no night uses them, where ``late`` has their moment.

    Args:
        spec: The model.
        rows: Clean rows ascending by ``day``.
    """
    import pandas as pd

    listed = [stamp.date() for stamp in rows["day"].drop_duplicates()]
    nights = {day: last for day, (_, last) in label_nights(spec, listed, listed).items()}
    over = {day: last for day, last in nights.items() if last <= listed[-1]}
    own = rows[rows["day"].isin(pd.to_datetime([*over]))]
    if own.empty:
        return ()
    labels = int(own[str(spec.problem.target_column)].notna().sum())
    lost = labels - int(labelled(spec, own, over).sum())
    if not lost:
        return ()
    return (
        f"late: found {lost:,} of {labels:,} labels of {listed[0]} to {max(over)} whose moment is "
        "after the second night that may use them, and which are never used. Expected "
        f"a longer label_delay than {counted(spec.label_delay.days, 'day')}: what comes late may "
        "differ from the rest.",
    )


def _other_days(spec: ModelSpec, accepted: Accepted, alone: pd.DataFrame) -> tuple[str, ...]:
    """That ``clean`` uses other days where it gets several, which no night gives it."""
    if spec.clean is None:
        return ()
    try:
        whole = spec.clean(accepted.rows).sort_values("day", kind="stable").reset_index(drop=True)
    except Exception as error:
        said = told(spec, "clean, given several days at once,", error)
        return (f"{said}. Nights give it one day at a time, which it takes.",)
    if whole.astype(object).equals(alone.astype(object)):
        return ()
    return (
        "clean makes other rows of several days at once than of each day alone. It gets one day at "
        "a time, so that a day is the same whatever is read with it: compute what needs other days "
        "in features, from history.",
    )


def _look_at_partitions(spec: ModelSpec, clean: pd.DataFrame, days: int) -> Part:
    """How many partitions the sample has, and which would be judged alone; or of one of them."""
    title = "Partitions"
    try:
        counts = as_text(clean[str(spec.partition)]).value_counts()
    except (KeyError, SpecError) as error:
        return Part(title, faults=(told(spec, "partition", error),))
    units = counts / days * spec.holdout.days
    few_rows = units < spec.gate.min_units
    rule = f"fewer than {spec.gate.min_units:,} rows in {spec.holdout.days} days of holdout"
    if not isinstance(spec, PartitionSpec):
        line = f"{len(counts):,} in the days read; about {int(few_rows.sum()):,} have {rule}"
        return Part(title, (f"{line}: the common model serves those",))
    if spec.value not in counts.index:
        some = few(counts.index)
        return Part(
            title, faults=(f"No row of {spec.value!r} in the days read; there are {some}.",)
        )
    found = f"{spec.value}: {counts[spec.value] / days:,.1f} rows a day"
    alone = f"{rule}: the common model serves it" if few_rows[spec.value] else "judged alone"
    return Part(title, (f"{found}, {alone}; the candidates were tried on the rows of all",))


def _look_for_leaks(
    spec: ModelSpec, raw: pd.DataFrame, sample: Sample, clean: pd.DataFrame
) -> Part:

    around = leaks.rebuild_days(dict.fromkeys(sample.read, ""), sample.holdout)
    tested = sample.holdout[len(sample.holdout) // 2]
    try:
        some = raw[raw["day"].isin(_stamps(around))].reset_index(drop=True)
        checks = [
            leaks.rebuilt_without_outcomes(spec, some, tested),
            leaks.missing_like_label(spec, clean),
        ]
        asked = leaks.rows_by_outcome(spec, some, tested)
    except Exception as error:
        return Part("Leaks", faults=(told(spec, "clean", error),))
    signs = [check.detail for check in checks if not check.passed]
    return Part("Leaks", notes=(*signs, *([asked] if asked else ())))


def _look_at_features(
    spec: ModelSpec, sample: Sample, clean: pd.DataFrame
) -> tuple[tuple[pd.DataFrame, pd.DataFrame] | None, Part]:
    import pandas as pd

    try:
        made = {
            day: build_examples(spec, *day_and_history(spec, clean, day)) for day in sample.built
        }
    except Exception as error:
        return None, Part("Features", faults=(told(spec, "features", error),))
    training = pd.concat([made[day] for day in sample.training], ignore_index=True)
    holdout = pd.concat([made[day] for day in sample.holdout], ignore_index=True)
    inputs = spec.problem.inputs(training)
    if not len(training) or not len(holdout):
        what = f"{len(training):,} training and {len(holdout):,} holdout examples"
        fault = f"The days from {sample.training[0]} on give {what}; expected examples for both."
        return None, Part("Features", faults=(fault,))
    faults = [*input_faults(inputs), *target_faults(spec, training, holdout)]
    faults += slice_faults(spec, holdout)
    count = sum(map(len, made.values()))
    lines = [f"{len(inputs.columns)} columns for {count:,} examples of {len(made)} days"]
    for kind in dict.fromkeys(inputs.dtypes.astype("str")):
        named = inputs.columns[inputs.dtypes.astype("str") == kind]
        lines.append(f"{len(named)} {kind}: {few(named, 8)}")
    gone = inputs.isna().mean()
    missing = [f"{name} {share:.0%}" for name, share in gone[gone > 0].items()]
    lines.append(f"missing: {few(missing) or 'none'}")
    notes = list(input_notes(inputs))
    searched = pd.concat([made[day] for day in sample.signs], ignore_index=True)
    strongest = leaks.strongest_feature(spec, searched)
    (lines if strongest.passed else notes).append(strongest.detail)
    part = Part("Features", tuple(lines), tuple(faults), notes=tuple(notes))
    return (None if faults else (training, holdout)), part


def _look_at_requests(
    spec: ModelSpec, clean: pd.DataFrame, as_of: date, ahead: date
) -> tuple[pd.DataFrame | None, Part]:
    """The inputs of some of the app's requests for the next day, and what is wrong with them."""
    if spec.requests is None and spec.problem.user_column is None:
        return None, Part("Requests", ("none defined: the app gets no predictions",))
    import pandas as pd

    stamp = pd.Timestamp(ahead)
    try:
        named = spec.requests(as_of) if spec.requests else None
        if named is not None and named.empty:
            none = f"There are no requests for {stamp:%Y-%m-%d}."
            return None, Part("Requests", notes=(none,))
        past = days_before(spec, clean, stamp)
        named = named if named is None else as_declared(named, spec.contract, spec.timezone)
        asked = clean_requests(spec, named, stamp) if named is not None else None
        requests = spec.problem.ask(asked, past, spec.known_ahead)
        if fault := _same_key(spec, requests):
            return None, Part("Requests", faults=(fault,))
        first = next(iter(spec.problem.batches(requests)))
        made = spec.features(first, hide_unknown(spec, past))
    except Exception as error:
        return None, Part("Requests", faults=(told(spec, "requests", error),))
    line = f"{len(requests):,} for {stamp:%Y-%m-%d}"
    return inputs_from(spec.problem, made), Part("Requests", (line,))


def _same_key(spec: ModelSpec, requests: pd.DataFrame) -> str:
    """That the app could not tell some of the requests apart, or an empty string."""
    key = [] if spec.problem.user_column else list(spec.problem.answer_keys)
    if absent := [name for name in key if name not in requests]:
        return (
            f"problem.key: found {absent[0]!r}, which the requests do not have; expected columns "
            "of the clean rows that known_ahead names"
        )
    twice = int(requests.duplicated(key).sum()) if key else 0
    if not twice:
        return ""
    return (
        f"requests: found {twice:,} of {len(requests):,} rows with the same {', '.join(key)} as "
        "another, so that the app could not tell them apart, and their predictions would be "
        "refused. Return each once, or name in key of the problem what tells them apart"
    )


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


def _look_at_schedule(spec: ModelSpec) -> Part:

    try:
        crons = schedules_of(FILE.read_text(encoding="utf-8"), spec.name)
    except (OSError, ValueError) as error:
        return Part("Schedule", notes=(f"{FILE.name} cannot be read: {error}",))
    if not crons:
        return Part("Schedule", ("none in prefect.yaml: nights only run when started by hand",))
    return Part("Schedule", tuple(crons), notes=schedule_notes(spec, crons))


def schedule_notes(spec: ModelSpec, crons: Sequence[str]) -> tuple[str, ...]:
    """That a schedule starts nights at another time of day than the spec says.

    Args:
        spec: The model.
        crons: From ``schedules_of``.
    """
    clock, zone = spec.night_start, f" {spec.timezone}"
    return tuple(
        f"night_start: found {clock!r}, but {cron}: expected the same, so that training has what "
        "the night will have."
        for cron in crons
        if clock
        and cron.endswith(zone)
        and not re.search(rf": 0?{int(clock[3:])} 0?{int(clock[:2])} ", cron)
    )


def _estimate(spent: Mapping[str, float]) -> str:
    parts = " · ".join(f"{name} {_duration(seconds)}" for name, seconds in spent.items())
    return (
        f"the first night takes about {_duration(sum(spent.values()) + 20)}: {parts}; later nights "
        "take less"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _calendar(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _stamps(days: Sequence[date]) -> Any:
    import pandas as pd

    return pd.to_datetime(list(days))
