"""The steps of a fleet's night: its partitions found, judged in chunks, and told together."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from prefect.cache_policies import NO_CACHE

from tasks import settings
from tasks.errors import NightlyError, SpecError, to_message
from tasks.features import partitions
from tasks.features.cleaning import clean_keys
from tasks.features.split import fewest_training_days
from tasks.promotion.checks import Check, Status
from tasks.promotion.fleet import Ledger, enroll
from tasks.registry import aliases, runs, versions
from tasks.registry.client import OutageError, open_registry, read_ahead, remembered
from tasks.reporting import archive, fleet_page, night_report, render
from tasks.reporting.decisions import full_name
from tasks.shown import shown
from tasks.spec.fleet import model_name
from tasks.spec.loading import load_spec
from tasks.steps.judge import judge_night, score_champion
from tasks.steps.mlflow_run import partition_run
from tasks.steps.monitor import grade_predictions
from tasks.steps.release import Registered, check_versions, promote_version, register_version
from tasks.steps.report import anchors_of, data_facts, judged_facts
from tasks.steps.retries import OUTSIDE
from tasks.steps.spoken import task
from tasks.steps.state import Cleaned, Examples, Judged, Night
from tasks.steps.task_runner import spread
from tasks.steps.train import find_left_out, fit_candidate, refit_challenger
from tasks.steps.waiting import wait_for_person
from tasks.store import files, frames
from tasks.store.leases import LeaseLostError
from tasks.store.state_database import StateOutageError
from tasks.training import stored_fits

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd

    from tasks.promotion.left_out import LeftOut
    from tasks.reporting.report_schema import FleetPart, PartitionRow
    from tasks.spec.model_spec import ModelSpec


log = logging.getLogger("nightly")
P = ParamSpec("P")
T = TypeVar("T")
CHUNK, MOST = 25, 5000
"""Most partitions in one task, and in a fleet: more are a wrong column."""
PAUSES = (2, 4, 8)
"""Seconds after which a partition is tried again while the registry does not answer."""


@dataclass(frozen=True)
class Plan:
    """What a night does with one partition.

    Attributes:
        value: The partition.
        name: Its model.
        share: Its share of the fleet's error.
        status: How it ended before it was judged: ``HELD``, ``REJECTED``, ``KEPT``, ``FALLBACK``
            or ``FAILED``; an empty text where it is to be judged.
        why: The reason, as a sentence.
        champion: Version of its champion, if any.
        rows: Its examples in training and holdout.
        left_out: Recipes that are not fitted tonight.
    """

    value: str
    name: str
    share: float
    status: str = ""
    why: str = ""
    champion: str | None = None
    rows: int = 0
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)


@dataclass(frozen=True)
class Fleet:
    """The partitions of a night.

    Attributes:
        plans: Each partition with rows in the holdout or later, by value.
        share: The common model's share of the error.
        new: Partitions that start tonight.
        gone: Partitions that have had no row in a whole holdout, first noticed tonight.
        lost: Rows of the newest day that name no partition.
    """

    plans: tuple[Plan, ...]
    share: float
    new: tuple[str, ...]
    gone: tuple[str, ...]
    lost: int


def open_fleet(night: Night, clean: Cleaned, examples: Examples) -> Fleet | None:
    """The partitions of a fleet's night; None for one model, and for a backfill."""
    if load_spec(night.model).partition is None or night.backfill:
        return None
    return find_partitions(night, clean, examples)


def share_error(night: Night, fleet: Fleet | None) -> Night:
    """The common model's night, with its share of the error; of one model the night as it is."""
    return replace(night, share=fleet.share) if fleet else night


@task(task_run_name="find the partitions of {night.name}", **OUTSIDE)
@frames.unpacked_once()
def find_partitions(night: Night, clean: Cleaned, examples: Examples) -> Fleet:
    """Find the partitions in the clean rows, give new ones their share of the error, and say which
    are judged tonight.

    Raises:
        SpecError: Where there are more than ``MOST``.
    """
    import pandas as pd

    spec, client = load_spec(night.model), open_registry()
    parts = _parts(spec, night, clean)
    since = pd.Timestamp(examples.split.holdout[0])
    recent = parts[parts["day"] >= since]
    values = sorted(recent["value"].unique())
    if len(values) > MOST:
        raise SpecError(
            f"Model {spec.name}: partition: found {len(values):,} values in {spec.partition!r}, at "
            f"most {MOST:,} are allowed. Name a column with fewer."
        )
    place = settings.home() / "fleets" / f"{spec.name}.json"
    for ended in aliases.finish_changes(client, spec.name):
        log.warning("champion  %s", ended.told)
    before = Ledger.from_json(files.read_json(place)) if place.is_file() else Ledger()
    ledger = enroll(before, values, night.as_of)
    if ledger != before:
        files.write_json(place, ledger.to_json())
    champions = versions.champions_of(client, spec.name)
    by_value = dict(iter(parts.groupby("value")))
    plans = []
    for value in values:
        share = ledger.members[value].share
        plans.append(_plan(spec, night, examples, value, by_value[value], share, champions))
    newest = clean.refs[night.newest].rows if night.newest in clean.refs else 0
    known = int(parts.loc[parts["day"] == pd.Timestamp(night.newest), "rows"].sum())
    told = {name: ledger.of_tonight(name, night.as_of) for name in ("since", "gone")}
    judged = sum(not plan.status for plan in plans)
    log.info("fleet     %d partitions, %d to judge", len(plans), judged)
    return Fleet(tuple(plans), ledger.common, told["since"], told["gone"], newest - known)


def judge_partitions(
    night: Night,
    clean: Cleaned,
    examples: Examples,
    signs: Sequence[Check],
    run: str,
    fleet: Fleet | None,
) -> FleetPart | None:
    """Judge every partition, in as many tasks as there are chunks; None for one model."""
    if fleet is None:
        return None
    due = [plan for plan in fleet.plans if not plan.status]
    given = partitions.chunks(due, CHUNK)
    # A sign concerns all partitions: the common model's night asks the person.
    plain = [replace(sign, for_person=False) for sign in signs]
    rows = [_row(plan, plan.status, plan.why) for plan in fleet.plans if plan.status]
    spread(fit_partitions, due, night, clean, examples)
    for at, chunk in enumerate(given, start=1):  # MLflow writes no two versions side by side
        state = judge_chunk(
            night, clean, examples, plain, run, chunk, at, len(given), return_state=True
        )
        found: Any = state.result(raise_on_failure=False)
        if isinstance(found, BaseException):
            found = [_failed(plan, found) for plan in chunk]
        rows += found
    spec = load_spec(night.model)
    part = fleet_page.fleet_part(
        str(spec.partition),
        rows,
        new=fleet.new,
        gone=fleet.gone,
        lost=fleet.lost,
        page=str(archive.fleet_page(night.name)),
        error=1 - spec.gate.recipe_confidence,
    )
    archive.keep_partitions(night.name, night.as_of, rows)
    log.info("fleet     %s", fleet_page.told(part))
    return part


@task(task_run_name="fit a part of the partitions", cache_policy=NO_CACHE)
@frames.unpacked_once()
def fit_partitions(night: Night, clean: Cleaned, examples: Examples, part: Sequence[Plan]) -> None:
    """Fit every candidate of some of the partitions into the store; one that raises does so again
    where it is judged."""
    spec = load_spec(night.model)
    by_value = dict(iter(_parts(spec, night, clean).groupby("value")))
    for plan in part:
        member = _member(night, clean, examples, plan, by_value[plan.value])
        training = member.examples.of(member.examples.split.train)
        for name in member.examples.candidates:
            with suppress(Exception):
                stored_fits.fit_and_keep(load_spec(member.night.model), name, training)


@task(task_run_name="judge partitions, chunk {number} of {count}", **OUTSIDE)
@remembered()
@frames.unpacked_once()
def judge_chunk(
    night: Night,
    clean: Cleaned,
    examples: Examples,
    signs: Sequence[Check],
    run: str,
    plans: Sequence[Plan],
    number: int,  # noqa: ARG001
    count: int,  # noqa: ARG001
) -> list[PartitionRow]:
    """The night of each of these partitions, by the steps of a single model's night.

    What one of them raises is told by its name; the others go on. Only this night changes their
    models, so each is read once.
    """
    spec = load_spec(night.model)
    by_value = dict(iter(_parts(spec, night, clean).groupby("value")))
    _attempt(read_ahead, [plan.name for plan in plans])  # where it fails, each is read by itself
    rows: dict[str, PartitionRow] = {}
    made: list[tuple[Plan, _Member, Registered]] = []
    for plan in plans:
        member = _member(night, clean, examples, plan, by_value[plan.value])
        found = _attempt(_judge, plan, member, signs, run)
        if isinstance(found, Registered):
            made.append((plan, member, found))
        else:
            rows[plan.value] = _failed(plan, found) if isinstance(found, Exception) else found
    checked = _checked([one for _, _, one in made])
    for (plan, member, one), outcome in zip(made, checked, strict=True):
        if isinstance(outcome, Exception):
            rows[plan.value] = _failed(plan, outcome)
            continue
        done = _attempt(_release, plan, member, one, outcome)
        rows[plan.value] = _failed(plan, done) if isinstance(done, Exception) else done
    return [rows[plan.value] for plan in plans]


def refuse_fleet(model: str, what: str) -> None:
    """Raise SpecError where this is a fleet, whose partitions a flow cannot do.

    Args:
        model: The model as named by the caller.
        what: What the flow does, as a clause.
    """
    spec = load_spec(model)
    if spec.partition is not None:
        raise SpecError(
            f"Model {spec.name} is a fleet (partition={spec.partition!r}), and {what}. "
            'See "Fleets" in deployments/OPERATIONS.md.'
        )


@dataclass(frozen=True)
class _Member:
    """One partition's night: what a single model's night has, cut out of the fleet's."""

    night: Night
    clean: Cleaned
    examples: Examples


def _parts(spec: ModelSpec, night: Night, clean: Cleaned) -> pd.DataFrame:
    return partitions.read_parts(
        {day: key for day, key in clean_keys(spec, night.days).items() if day in clean.refs}
    )


def _plan(
    spec: ModelSpec,
    night: Night,
    examples: Examples,
    value: str,
    parts: pd.DataFrame,
    share: float,
    champions: dict[str, str],
) -> Plan:
    try:
        name = model_name(spec.name, value)
    except SpecError as error:
        return Plan(value, "", share, fleet_page.FAILED, str(error))
    plan = Plan(value, name, share, champion=champions.get(name))
    labelled = {
        stamp.date(): int(count)
        for stamp, count in zip(parts["day"], parts["labelled"], strict=True)
    }
    held = [labelled[day] for day in examples.split.holdout if labelled.get(day)]
    trained = [labelled[day] for day in examples.split.train if labelled.get(day)]
    plan = replace(plan, rows=sum(held) + sum(trained))
    newest = parts[parts["day"].dt.date == night.newest]
    if len(newest) and newest["fault"].iloc[0]:
        return replace(plan, status=Status.REJECTED, why=newest["fault"].iloc[0])
    thin = partitions.why_thin(
        days=len(held),
        least_days=spec.gate.min_days,
        units=sum(held),
        least_units=spec.gate.min_units,
        trained=len(trained),
        least_trained=fewest_training_days(spec),
    )
    if not thin and not newest.empty:
        own = partitions.part_refs(parts, examples.refs, examples=True)
        labels = frames.read_days([own[day] for day in examples.split.train], columns=["target"])
        thin = spec.problem.training_fault(labels)
    if thin and plan.champion is None:
        return replace(plan, status=fleet_page.FALLBACK, why=thin)
    if not len(newest) or not newest["rows"].iloc[0]:
        why = f"it has no row on {night.newest}"
        return replace(plan, status=Status.HELD, why=why)
    if thin:
        return replace(plan, status=Status.KEPT, why=f"{thin}; its champion stays")
    return replace(plan, left_out=find_left_out(_night_of(night, plan), examples))


def _night_of(night: Night, plan: Plan) -> Night:
    return replace(
        night,
        model=f"{full_name(night.model)}@{plan.value}",
        name=plan.name,
        key=hashlib.sha256(f"{night.key} {plan.name}".encode()).hexdigest(),
        share=plan.share,
    )


def _member(
    night: Night, clean: Cleaned, examples: Examples, plan: Plan, parts: pd.DataFrame
) -> _Member:
    refs = partitions.part_refs(parts, clean.refs, examples=False)
    made = partitions.part_refs(parts, examples.refs, examples=True)
    rows = sum(ref.rows for ref in refs.values())
    counts = {"rows_in": rows, "accepted": rows, "quarantined": 0, "duplicates": 0}
    return _Member(
        _night_of(night, plan),
        replace(clean, refs=refs, rows=counts, rejected={}),
        _examples_of(examples, plan, made, tuple(load_spec(night.model).candidates)),
    )


def _examples_of(
    common: Examples, plan: Plan, refs: dict[date, frames.Ref], candidates: tuple[str, ...]
) -> Examples:
    """The partition's examples, with those of the spec's candidates that it fits."""
    own = replace(common, refs=refs, done=time.time(), candidates=candidates)
    return own.without(plan.left_out)


def _judge(
    plan: Plan, member: _Member, signs: Sequence[Check], run: str
) -> PartitionRow | Registered:
    """Fit and judge one partition: its row, or the version it registered where it passed."""
    night, examples = member.night, member.examples
    spec, client = load_spec(night.model), open_registry()
    grade_predictions.fn(night, member.clean)  # keeps the anchor
    made = _fits(night, examples, examples.candidates)
    if not any(isinstance(one, dict) for one in made):
        made += _fits(night, examples, tuple(examples.left_out))
    champion = score_champion.fn(night, examples)
    judged = judge_night.fn(night, examples, made, champion, signs, drawn=False)
    child = runs.log_night(client, partition_run(night, judged, run))
    if not judged.verdict.status.registers:
        client.set_terminated(child)
        return _report(plan, member, judged, None)
    shipped = refit_challenger.fn(night, examples, judged)
    version = register_version.fn(night, examples, judged, shipped, child)
    client.set_terminated(child)
    log.info("fleet     %s: version %s is registered", spec.name, version)
    return Registered(night, examples, judged, shipped, version)


def _fits(night: Night, examples: Examples, names: Sequence[str]) -> list[Any]:
    """Each candidate's fit, or the error it raised."""
    made: list[Any] = []
    for name in names:
        try:
            made.append(fit_candidate.fn(night, examples, name))
        except NightlyError as error:
            made.append(error)
    return made


def _checked(made: Sequence[Registered]) -> list[Judged | Exception]:
    """Each version's verdict after its check, or what the check raised.

    Where the one process that checks all of them ends, each is checked in its own.
    """
    if not made:
        return []
    found = _attempt(check_versions, made)
    if isinstance(found, Exception):
        if len(made) == 1 or isinstance(found, OutageError):
            return [found] * len(made)
        log.info("fleet     each version is checked by itself: %s", to_message(found))
        found = []
    failed = [one for one in found if not one.verdict.status.registers]
    if len(made) > 1 and (not found or len(failed) == len(made)):
        return [each for one in made for each in _checked([one])]
    return list(found)


def _release(plan: Plan, member: _Member, made: Registered, judged: Judged) -> PartitionRow:
    """Promote the checked version, or let it wait for a person."""
    night, client = member.night, open_registry()
    if judged.verdict.status is Status.PROMOTED:
        judged = promote_version.fn(night, made.version, judged)
    elif judged.verdict.status is Status.WAITING:
        judged = wait_for_person.fn(night, judged, made.version)
    if int(made.version) > settings.keep_versions():  # else there cannot be as many
        versions.retire(client, night.name, settings.keep_versions())
    return _report(plan, member, judged, made.version)


def _report(plan: Plan, member: _Member, judged: Judged, version: str | None) -> PartitionRow:
    """Write the partition's report, and give its row of the fleet's page."""
    night = member.night
    spec, folder = load_spec(night.model), archive.report_folder(night.name, night.as_of)
    found = night_report.build_report(
        night_report.NightFacts(
            spec=spec,
            as_of=night.as_of,
            verdict=judged.verdict,
            late=night.late,
            data=data_facts(night, member.clean),
            judged=judged_facts(member.examples, judged, None, version),
            champion=judged.incumbent.champion,
            anchors=anchors_of(judged),
            seconds=judged.seconds,
            links={"report": str(folder / "report.md")},
            share=night.share,
        )
    )
    render.write_report(folder, found, {})
    measured = judged.figures or {"metrics": {}, "differences": {}}
    metric = measured["metrics"].get(judged.challenger, {}).get(spec.problem.primary)
    against = measured["differences"].get(judged.challenger, {}).get("baseline")
    champion = found["champion"]
    row = _row(plan, found["verdict"], found["reasons"][0])
    row["champion"], row["since"] = champion["version"], champion["since"]
    row["candidate"], row["metric"] = champion["candidate"], metric
    row["gain"] = against["relative"]["value"] if against else None
    return row


def _row(plan: Plan, status: str, why: str) -> PartitionRow:
    return {
        "value": plan.value,
        "model": plan.name,
        "status": str(status),
        "why": shown(why),
        "champion": plan.champion,
        "since": None,
        "candidate": None,
        "metric": None,
        "gain": None,
        "rows": plan.rows,
    }


def _failed(plan: Plan, error: BaseException) -> PartitionRow:
    why = to_message(error)
    log.warning("fleet     %s failed: %s", plan.name, why, exc_info=error)
    return _row(plan, fleet_page.FAILED, why)


def _attempt(step: Callable[P, T], *given: P.args, **named: P.kwargs) -> T | Exception:
    """What a step of one partition gives or raises, tried again while the registry is out.

    Raises:
        DiskError, LeaseLostError, StateOutageError: Those are no fault of a partition.
    """
    pauses = iter(PAUSES)
    while True:
        try:
            return step(*given, **named)
        except (files.DiskError, LeaseLostError, StateOutageError):
            raise
        except Exception as error:
            pause = next(pauses, None) if isinstance(error, OutageError) else None
            if pause is None:
                return error
        time.sleep(pause)
