"""The model spec: everything a night needs to know, checked when it is built."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from tasks.errors import SpecError
from tasks.shown import counted
from tasks.sources.base import DAY_START
from tasks.spec.calendar import Calendar, learned
from tasks.spec.gate import Gate, Revert
from tasks.spec.values import (
    EXPANDING,
    are_files,
    are_names,
    are_slices,
    has_methods,
    is_dotted,
    is_number,
    is_timezone,
    is_whole_days,
    plain_types,
    shown,
    takes,
)

if TYPE_CHECKING:
    import pandas as pd
    from pandera.pandas import DataFrameModel

    from tasks.problems.base import Problem
    from tasks.sources.base import Source


SHORTEST_FIT = timedelta(seconds=1)
"""Smallest ``fit_limit``."""


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """One model kept fresh: its data, contract, features, candidates and gate.

    Attributes:
        name: Name of the model in the registry, the reports and the schedules.
        question: What the model predicts, as one sentence, shown in every report.
        source: Where the days come from (``tasks.sources.serialize``).
        contract: pandera model of a day's raw rows.
        problem: What is predicted and how it is scored (``tasks.problems.base``).
        known_ahead: Columns, raw or clean, that are known before the day begins. Only these reach
            ``features``; all others exist only in its history, and each night tests that no input
            of a day changes with them.
        features: ``features(day, history)`` returns the inputs for one day's requests.
            ``history`` holds whole earlier days only, ``lookback`` of them.
        lookback: How much history ``features`` may see, as a span of time: 28 days are four weeks
            on every calendar, and ``days(1)`` shows nothing on a Monday after a closed weekend.
        candidates: Name to scikit-learn compatible estimator, or to one whose hyperparameters are
            searched (``tasks.spec.Tuned``); each night fits a clone, side by side with the others,
            on one thread unless it names a number (``n_jobs``).
        baseline: Name of the candidate that the others have to beat, such as a naive forecast of
            ``tasks.problems.naive``; None for the trivial baseline of the problem. Where none beats
            it, it can be the first champion itself, unless the trivial baseline is better.
        trusted: Types a stored model may hold besides those of ``tasks.store.trusted_types`` and
            the classes of the model's own file, such as ``lightgbm.basic.Booster``. A check or a
            fit that finds another type names it. A listed type is built from what the file holds:
            do not list a type that runs code it is given.
        fit_limit: Longest time one fit may take, or None. Where it is set each fit runs in a
            separate process, which is killed when the time is over, also inside compiled code, and
            the candidate is left out of that night. The process first imports the libraries, which
            takes about 3 s and does not count.
        requests: Optional ``requests(as_of)``: raw rows of the app's requests for the day after,
            with the raw columns of ``known_ahead``. Without it a recommendation predicts for every
            user of ``lookback``, and other problems make no predictions.
        explain: Whether each published row names the three inputs that moved it most, and by how
            much (``moved_1``, ``moved_1_by``, ...): each input in turn is set to its usual value,
            the median or most frequent one of the newest training days. It costs one scoring of
            all published rows for each input.
        drift_limit: Population stability index (``tasks.monitoring.drift``) above which a column
            whose newest week is far from usual keeps the champion until a person has looked; None
            for never.
        drift_ignored: Columns of the features whose drift is not measured, because they change with
            the calendar, such as a season or a month.
        least_answers: Share of the rows published the last time below which predictions are
            refused.
        revert: When a champion that does worse than its predecessor is reverted automatically.
        clean: Optional pure function from the accepted rows of one day to its clean rows. It may
            filter, order, join and change them; versions are compared on the same raw rows.
        files: Files that the model's code reads, beside its own file, such as ``holidays.csv``:
            they are packaged with it, and an edit counts as one of the code. Those whose name
            stands in the code as a text are found without being named here.
        calendar: The days that have rows (``tasks.spec.Calendar``), where the source does not show
            it. Without it a weekday that never had a row in the last half year is closed. A closed
            day is no missing day, and the next day is the next one of the calendar. No night
            before the next open day has the rows of a closed day: they are history after it.
        window: How many days the window of training and holdout has, with those between them
            whose labels come too late, or ``EXPANDING``. It, ``holdout`` and the nights of a
            backtest count days that the source has.
        holdout: The last days, not used for training, on which candidates and champion are
            compared.
        label_delay: How long after its day a label is final, as a span of time: weekends and
            holidays pass as well. A night has the labels that are final with its as-of date: of
            ``days(1)`` Friday's, after which Monday is predicted, has those through Thursday, and
            Monday's those through Friday. In the history that ``features`` gets on the evening
            before a day, the target is missing where it is not final yet (whole numbers and flags
            then are ``float64``); in a recommendation such rows are left out.
        late: Columns, raw or clean, that are known later than their day ends, and are missing in
            the history until then. Named in a tuple, they are final with the label, such as a
            refund. In a dict each has the clean column of the moment from which it is known,
            ``{"delay": "landed"}``, or None for with the label; the target may be among them.
            Moments without a time zone are in ``timezone``; a value without a moment is known with
            its day. Each night has what was known at its own hour, in training too. A label that
            comes after it is used from the next night on; one that comes after that as well is not
            used: then ``label_delay`` is too short, and ``--check`` says for how many.
        night_start: Time of day, ``HH:MM`` in ``timezone``, at which the schedule starts the night;
            None for the end of the day. It is what the moments of ``late`` are compared with.
        skip: Days to leave out, such as a day that cannot be repaired. A night of such a day uses
            the days before it.
        slices: Groups that must not become worse: names of feature columns, or functions that
            return the group of each row, ``age_band(examples) -> Series``; the slice has the
            function's name.
        quarantine_limit: Largest share of one day's rows that may break the contract.
        timezone: Time zone in which a day begins and ends.
        oldest_champion: Age of the champion from which an alarm is raised, as a span of time.
        gate: Bounds that a challenger must meet to be promoted.
        seed: Seed of everything random.
        partition: A column of ``known_ahead``, raw and clean, such as ``shop_id``: each of its
            values gets a model of its own beside the common one of all rows, which serves those
            that have too few rows (``deployments/OPERATIONS.md``, "Fleets"). ``features`` sees the
            rows of all values. None for one model.
        resources: Candidate to what the machine that fits it must have, ``{"boosting": {"GPU":
            1}}``: a name that workers of ``NIGHTLY_DASK_ADDRESS`` were started with, and how much
            of it one fit takes. Any other run fits it where it is, as if nothing were said: it
            changes where a fit runs and not what is fitted.

    Raises:
        SpecError: With every fault of the spec in one message.
    """

    name: str
    question: str
    source: Source
    contract: type[DataFrameModel]
    problem: Problem
    known_ahead: tuple[str, ...]
    features: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]
    lookback: timedelta
    candidates: Mapping[str, Any]
    baseline: str | None = None
    trusted: tuple[str, ...] = ()
    fit_limit: timedelta | None = None
    clean: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    files: tuple[str, ...] = ()
    requests: Callable[[date], pd.DataFrame] | None = None
    least_answers: float = 0.5
    explain: bool = False
    drift_limit: float | None = 4.0
    drift_ignored: tuple[str, ...] = ()
    revert: Revert = field(default_factory=Revert)
    calendar: Calendar | None = None
    window: timedelta = EXPANDING
    holdout: timedelta = timedelta(days=14)
    label_delay: timedelta = timedelta(0)
    late: tuple[str, ...] | Mapping[str, str | None] = ()
    night_start: str | None = None
    skip: tuple[date, ...] = ()
    slices: tuple[str | Callable[[pd.DataFrame], pd.Series[Any]], ...] = ()
    quarantine_limit: float = 0.02
    timezone: str = "UTC"
    oldest_champion: timedelta = timedelta(14)
    gate: Gate = field(default_factory=Gate)
    seed: int = 20_170_101
    partition: str | None = None
    resources: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults = _spec_faults(self)
        if faults:
            lines = "\n".join(f"  - {fault}" for fault in faults)
            raise SpecError(
                f"The spec of model {self.name!r} has {counted(len(faults), 'fault')}:\n{lines}"
            )
        if hasattr(self.source, "with_types"):
            typed = self.source.with_types(plain_types(self.contract))
            object.__setattr__(self, "source", typed)

    @property
    def whole(self) -> ModelSpec:
        """The spec as its file has it: of one partition's spec, that of the fleet."""
        return self

    def calendar_of(self, listed: Collection[date]) -> Calendar:
        """The calendar that is said, or what the days of the source show."""
        return self.calendar or learned(listed)


def _spec_faults(spec: ModelSpec) -> list[str]:
    faults: list[str] = []

    def expect(name: str, holds: bool, allowed: str) -> None:
        if not holds:
            faults.append(f"{name}: found {shown(getattr(spec, name))}, allowed {allowed}")

    name_ok = isinstance(spec.name, str) and re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", spec.name)
    expect("name", bool(name_ok), "lower-case letters, digits, - and _, at most 63")
    expect("question", isinstance(spec.question, str) and bool(spec.question.strip()), "a sentence")
    expect(
        "source", has_methods(spec.source, "list_days", "read_days"), "a source of tasks.sources"
    )
    expect("contract", has_methods(spec.contract, "to_schema"), "a pandera DataFrameModel class")
    problem_ok = has_methods(spec.problem, "requests", "label", "faults")
    expect("problem", problem_ok, "a problem of tasks.problems")
    if problem_ok:
        faults += [f"problem.{fault}" for fault in spec.problem.faults(spec.known_ahead)]
    expect("known_ahead", are_names(spec.known_ahead) and bool(spec.known_ahead), "column names")
    expect("features", takes(spec.features, 2), "a function features(day, history)")
    expect("clean", spec.clean is None or takes(spec.clean, 1), "None or a function clean(rows)")
    expect("files", are_files(spec.files), "a tuple of files beside the model's file")
    asks = spec.requests is None or takes(spec.requests, 1)
    expect("requests", asks, "None or a function requests(as_of)")
    if spec.requests is not None and problem_ok and not spec.problem.answer_keys:
        faults.append(
            "problem.key: found none, expected columns of known_ahead by which the app looks a row "
            "up, because there are requests. Name them, such as key=('order_no',); where a day "
            "has one row, its date alone does"
        )
    expect("explain", type(spec.explain) is bool, "True or False")
    published = spec.requests is not None or (problem_ok and spec.problem.user_column is not None)
    if spec.explain is True and not published:
        faults.append(
            "explain: found True, allowed only where predictions are published. Define requests, "
            "or leave explain out"
        )
    types_ok = isinstance(spec.trusted, tuple) and all(map(is_dotted, spec.trusted))
    expect("trusted", types_ok, "a tuple of full names such as 'lightgbm.basic.Booster'")
    limit_ok = spec.fit_limit is None or (
        isinstance(spec.fit_limit, timedelta) and spec.fit_limit >= SHORTEST_FIT
    )
    expect("fit_limit", limit_ok, f"None or a timedelta of at least {SHORTEST_FIT.seconds} s")
    share_ok = is_number(spec.least_answers) and 0 <= spec.least_answers <= 1
    expect("least_answers", share_ok, "a share from 0 to 1")
    drift_ok = spec.drift_limit is None or (is_number(spec.drift_limit) and spec.drift_limit > 0)
    expect("drift_limit", drift_ok, "None or a number above 0")
    expect("drift_ignored", are_names(spec.drift_ignored), "column names of the features")
    expect("slices", are_slices(spec.slices), "a tuple of column names and functions by(examples)")
    expect("seed", type(spec.seed) is int and 0 <= spec.seed < 2**32, "a whole number below 2**32")
    limit_ok = is_number(spec.quarantine_limit) and 0 <= spec.quarantine_limit < 1
    expect("quarantine_limit", limit_ok, "a share from 0 to below 1")
    expect("timezone", is_timezone(spec.timezone), "a time zone such as Europe/Berlin")
    cut_by_time = getattr(spec.source, "time", None)
    zone = getattr(spec.source, "timezone", spec.timezone) if cut_by_time else spec.timezone
    expect("timezone", zone == spec.timezone, f"the time zone of its source, {zone!r}")
    for name, least in (
        ("lookback", 0),
        ("window", 2),
        ("holdout", 1),
        ("label_delay", 0),
        ("oldest_champion", 1),
    ):
        expect(name, is_whole_days(getattr(spec, name), least), f"days(n), n at least {least}")
    if all(is_whole_days(getattr(spec, n), 0) for n in ("window", "holdout", "label_delay")):
        expect(
            "window",
            spec.window > spec.holdout + spec.label_delay,
            "more than holdout and label_delay together "
            f"({(spec.holdout + spec.label_delay).days} days), because otherwise no training day "
            "is left",
        )
    faults += _late_faults(spec, problem_ok)
    if spec.partition is not None:
        faults += _partition_faults(spec, problem_ok)
    if isinstance(spec.calendar, Calendar):
        faults += [f"calendar.{fault}" for fault in spec.calendar.faults()]
    else:
        expect("calendar", spec.calendar is None, "None or a Calendar of tasks.spec")
    if isinstance(spec.revert, Revert):
        faults += spec.revert.faults()
    else:
        expect("revert", False, "a Revert")
    if isinstance(spec.gate, Gate):
        faults += spec.gate.faults()
        if spec.gate.shadow and problem_ok and not (spec.requests or spec.problem.user_column):
            faults.append(
                f"gate.shadow: found {shown(spec.gate.shadow)}, allowed only where the model "
                "predicts for an app, because there is nothing to predict in the shadow otherwise. "
                "Define requests, or leave shadow out"
            )
    else:
        expect("gate", False, "a Gate")
    known = spec.candidates if isinstance(spec.candidates, Mapping) else ()
    baseline_ok = spec.baseline is None or spec.baseline in known
    expect("baseline", baseline_ok, f"None or a candidate: {', '.join(map(str, known)) or 'none'}")
    return faults + _resource_faults(spec, known) + _candidate_faults(spec.candidates)


def _resource_faults(spec: ModelSpec, known: Collection[str]) -> list[str]:
    said = f"resources: found {shown(spec.resources)}, allowed"
    if not isinstance(spec.resources, Mapping):
        return [f'{said} a dict such as {{"boosting": {{"GPU": 1}}}}']
    if spec.resources and spec.partition is not None:
        return [f"{said} none where there is a partition, whose models are fitted in one process"]
    good = all(
        isinstance(needs, Mapping)
        and all(isinstance(n, str) and is_number(much) and much > 0 for n, much in needs.items())
        for needs in spec.resources.values()
    )
    if not good or not {*spec.resources} <= {*known}:
        return [f"{said} candidates to names of resources and numbers above 0"]
    return []


def _partition_faults(spec: ModelSpec, problem_ok: bool) -> list[str]:
    """What is wrong with ``partition``, or does not go together with it."""
    found = f"partition: found {shown(spec.partition)}, allowed"
    if not isinstance(spec.partition, str) or spec.partition not in spec.known_ahead:
        return [f"{found} None or a column of known_ahead"]
    faults = []
    if problem_ok and spec.problem.user_column is not None:
        faults.append(f"{found} None in a recommendation, whose users share one model")
    if spec.fit_limit is not None:
        faults.append(f"{found} None where there is a fit_limit. Leave one of the two out")
    if isinstance(spec.gate, Gate) and spec.gate.shadow:
        faults.append(f"{found} None where the gate has shadow nights. Leave one of the two out")
    known = spec.candidates if isinstance(spec.candidates, Mapping) else {}
    searched = [name for name, each in known.items() if has_methods(each, "faults")]
    if searched:
        faults.append(
            f"{found} None where hyperparameters are searched ({', '.join(map(str, searched))}). "
            "Write the found ones into the candidate in place of Tuned"
        )
    if spec.explain:
        faults.append(f"{found} None where predictions are explained (explain=True)")
    if problem_ok and "model" in spec.problem.answer_keys:
        faults.append(f"{found} None where problem.key names 'model', a column of its predictions")
    return faults


def _late_faults(spec: ModelSpec, problem_ok: bool) -> list[str]:
    found, ahead = f"late: found {shown(spec.late)}, allowed", spec.known_ahead
    names: tuple[str, ...]
    moments: Collection[str | None]
    if isinstance(spec.late, Mapping):
        names, moments = tuple(spec.late), spec.late.values()
    else:
        names, moments = spec.late, (None,) * bool(spec.late)
    times = tuple(moment for moment in moments if moment is not None)
    if not are_names(names) or not are_names(times) or "day" in (*names, *times):
        return [f"{found} column names other than day, in a tuple or a dict with their moments"]
    faults = []
    if are_names(ahead) and {*names} & {*ahead}:
        faults.append(f"{found} no column of known_ahead")
    if None in moments and not spec.label_delay:
        faults.append(f"{found} none without a label_delay")
    if spec.partition and times and problem_ok and spec.problem.target_column in names:
        faults.append(f"{found} no moment of the target where there is a partition")
    clock = spec.night_start
    if clock is not None and not (times and DAY_START.fullmatch(str(clock))):
        faults.append(
            f"night_start: found {shown(clock)}, allowed HH:MM such as '03:30' where late has "
            "moments, otherwise None"
        )
    return faults


def _candidate_faults(candidates: object) -> list[str]:
    if not isinstance(candidates, Mapping) or not candidates:
        return [f"candidates: found {shown(candidates)}, allowed a dict of name to estimator"]
    found = []
    for name, estimator in candidates.items():
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
            found.append(
                f"candidates: found the name {name!r}, allowed lower-case letters, digits, _"
            )
        if name in ("champion", "baseline"):
            found.append(
                f"candidates: found the name {name!r}, allowed any other name, because this "
                "one is reserved for a role"
            )
        if has_methods(estimator, "faults"):  # a Tuned
            found += [f"candidates[{name!r}].{fault}" for fault in estimator.faults()]
            estimator = estimator.estimator
        missing = [m for m in ("fit", "predict", "get_params") if not hasattr(type(estimator), m)]
        if missing or isinstance(estimator, type):
            is_class = isinstance(estimator, type)
            problem = "this is a class" if is_class else f"it has no {', '.join(missing)}"
            found.append(
                f"candidates[{name!r}]: found {shown(estimator)}, allowed an instance of a "
                f"scikit-learn estimator ({problem})"
            )
    return found
