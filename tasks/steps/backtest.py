"""The steps of a backtest, as Prefect tasks."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from prefect import runtime
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from tasks import settings
from tasks.backtest import replay, report
from tasks.features.as_of import day_start_of, last_complete_day
from tasks.features.cleaning import clean_keys
from tasks.features.examples import days_to_prepare
from tasks.spec.loading import load_spec
from tasks.steps.ending import end_run, name_run, show_page
from tasks.steps.prepare import clean_ahead, extract_ahead
from tasks.steps.progress import tell_progress
from tasks.steps.retries import OUTSIDE
from tasks.steps.spoken import task
from tasks.steps.task_runner import has_workers, largest, spread
from tasks.store import files, frames

if TYPE_CHECKING:
    from tasks.spec.model_spec import ModelSpec
    from tasks.steps.config import BacktestConfig


log = logging.getLogger("nightly")
log.setLevel(logging.INFO)
REPLAYED = "REPLAYED"


@task(task_run_name="prepare {config.nights} nights of {config.model}", **OUTSIDE)
def prepare_nights(config: BacktestConfig) -> replay.Plan:
    """Clean the days and extract the features of all nights; days in the store are reused.

    Raises:
        BacktestError: Where there is too little history; says how much there is.
    """
    spec = load_spec(config.model)
    due, begins = runtime.flow_run.scheduled_start_time, day_start_of(spec.source)
    until = config.as_of or last_complete_day(due, spec.timezone, begins)
    listed = [day for day in spec.source.list_days(until) if day not in spec.skip]
    if not listed:
        raise replay.BacktestError(f"The source of {spec.name} has no day up to {until}.")
    as_of = max(listed)
    dates = replay.list_nights(listed, spec.label_delay, config.nights, config.every)
    name_run(f"{spec.name} · {config.nights} nights to {as_of}")
    tell = tell_progress("prepare", "days")
    _prepare_ahead(spec, config.model, dates, as_of)
    nights = replay.prepare_nights(spec, dates, config.every, as_of, tell)
    log.info("prepare   %d nights from %s to %s", len(nights), dates[0], dates[-1])
    return replay.Plan(config.model, as_of, config.every, replay.keep_nights(nights))


def _prepare_ahead(spec: ModelSpec, model: str, nights: Sequence[date], as_of: date) -> None:
    """Let workers, if there are any, clean the days of all nights and extract their features."""
    if not has_workers():
        return
    days, wanted = replay.needed_days(spec, nights, as_of)
    clean_ahead(spec, model, days)
    keys = clean_keys(spec, days)
    found = frames.find_days("clean", list(keys.values()))
    clean = {day: found[key] for day, key in keys.items() if key in found}
    days = {day: days[day] for day in clean}
    listed = [day for day in wanted if day in clean]
    extract_ahead(model, days, clean, days_to_prepare(spec, days, listed))


def _every_candidate(parameters: Mapping[str, Any]) -> dict[str, float]:
    return largest(load_spec(parameters["plan"].model).resources.values())


@task(task_run_name="fit night {number}", cache_policy=NO_CACHE, needs=_every_candidate)
def fit_night(plan: replay.Plan, number: int) -> replay.Fitted:
    """Fit every candidate as the night would have; what was fitted before is reused."""
    spec, started = load_spec(plan.model), time.perf_counter()
    fitted = replay.fit_night(spec, plan.nights[number])
    log.info(
        "fit       night %d of %d in %.1f s",
        number + 1,
        len(plan.nights),
        time.perf_counter() - started,
        extra={"done": number + 1, "total": len(plan.nights)},
    )
    return fitted


@task(task_run_name="follow the gate policies", cache_policy=NO_CACHE)
def follow_policies(plan: replay.Plan, fitted: Sequence[replay.Fitted]) -> dict[str, replay.Path]:
    """What each gate policy would have done, night after night."""
    spec = load_spec(plan.model)
    paths = replay.follow_policies(spec, plan.nights, fitted, tell_progress("policies", "nights"))
    for name, path in paths.items():
        log.info("policies  %s: %d promotions", name, path.promotions)
    return paths


@task(task_run_name="measure the staleness curve", cache_policy=NO_CACHE)
def measure_staleness(plan: replay.Plan, fitted: Sequence[replay.Fitted]) -> dict[str, Any]:
    """Every candidate refitted nightly, and the best of them refitted less often."""

    spec = load_spec(plan.model)
    nightly = {name: [each.shipped[name] for each in fitted] for name in spec.candidates}
    recipes = replay.measure(spec, plan.nights, nightly)
    sign = 1 if recipes.greater_is_better else -1
    leader = max(nightly, key=lambda name: sign * recipes.primary(name).value)
    curve = {}
    for period in (plan.every, *replay.PERIODS, None):
        if period is None or plan.every <= period < len(plan.nights) * plan.every:
            made = replay.refit_every(period, len(plan.nights), plan.every)
            curve[report.period_name(period)] = [nightly[leader][index] for index in made]
    log.info("staleness %s leads", leader)
    staleness = replay.measure(spec, plan.nights, curve)
    return {"leader": leader, "recipes": recipes.to_json(), "staleness": staleness.to_json()}


def _leader(parameters: Mapping[str, Any]) -> Mapping[str, float]:
    spec = load_spec(parameters["plan"].model)
    return spec.resources.get(parameters["leader"], {})


@task(task_run_name="fit the windows of a part of the nights", cache_policy=NO_CACHE, needs=_leader)
def fit_windows(plan: replay.Plan, leader: str, part: Sequence[int]) -> None:
    """Fit the candidate on shorter windows of some of the nights, into the store."""
    spec, nights = load_spec(plan.model), plan.nights
    for number in part:
        for days in replay.windows_to_try(nights):
            replay.fit_window(spec, nights[number], leader, days)


@task(task_run_name="measure the windows of {leader}", cache_policy=NO_CACHE)
def measure_windows(
    plan: replay.Plan, fitted: Sequence[replay.Fitted], leader: str
) -> dict[str, Any]:
    """The best candidate on shorter windows."""
    spec = load_spec(plan.model)
    spread(fit_windows, range(len(plan.nights)), plan, leader)
    longest = max(len(night.matured) for night in plan.nights)
    served = {f"{longest} days, as in the spec": [each.shipped[leader] for each in fitted]}
    for days in replay.windows_to_try(plan.nights):
        tell = tell_progress(f"{days} days", "nights")
        served[f"{days} days"] = []
        for done, night in enumerate(plan.nights, start=1):
            served[f"{days} days"].append(replay.fit_window(spec, night, leader, days))
            tell(done, len(plan.nights))
    log.info("windows   %s", ", ".join(served))
    return replay.measure(spec, plan.nights, served).to_json()


@task(task_run_name="publish the backtest", cache_policy=NO_CACHE)
def publish_backtest(
    plan: replay.Plan,
    fitted: Sequence[replay.Fitted],
    paths: Mapping[str, replay.Path],
    staleness: Mapping[str, Any],
    windows: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the result to disk and to Prefect, as text, tables and a plot."""

    spec = load_spec(plan.model)
    served = {
        name: [fitted[made].shipped[recipe] for recipe, made in path.champions]
        for name, path in paths.items()
    }
    policies = replay.measure(spec, plan.nights, served).to_json()
    found = report.build_review(spec, plan, staleness, windows, policies, paths)
    picture = report.draw_review(found)
    dates = f"{plan.nights[0].as_of}-to-{plan.nights[-1].as_of}-every-{plan.every}"
    folder = settings.home() / "reports" / spec.name / "backtest" / dates
    found["folder"] = str(folder)
    report.write_review(folder, found, picture)
    said = f"{spec.name} · {len(plan.nights)} nights to {plan.as_of}"
    show_page("backtest", spec.name, report.to_markdown(found, picture), said)
    files.remove(replay.nights_file(plan.file))
    log.info("report    %s", folder / "backtest.md")
    return found


def end_backtest(found: dict[str, Any]) -> State:
    """The flow's last state holds the result."""
    run = f"{found['model']} · {found['nights']} nights to {found['last_day']}"
    return end_run(REPLAYED, run, " ".join(found["answer"])[:1000], found)
