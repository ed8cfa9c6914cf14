"""The steps from a champion to published predictions, as Prefect tasks."""

from __future__ import annotations

import logging
import shlex
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext

from tasks import settings
from tasks.clean_process import version_answers
from tasks.errors import NightlyError, SpecError, to_message
from tasks.features.contract import as_declared
from tasks.features.scoring import frame_of
from tasks.predictions import publish, sql_table
from tasks.registry import aliases, anchors, versions, waiting
from tasks.registry.client import open_registry
from tasks.reporting.decisions import full_name
from tasks.reporting.wording import also_by
from tasks.shown import all_shown
from tasks.spec.fleet import fleet_of, value_of
from tasks.spec.loading import file_of, load_spec
from tasks.spec.model_code import told_errors
from tasks.steps.ending import end_run
from tasks.steps.events import announce
from tasks.steps.prepare import clean_days
from tasks.steps.retries import OUTSIDE
from tasks.steps.spoken import task
from tasks.steps.state import Cleaned, Night
from tasks.training import explanation

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from tasks.registry.client import Client
    from tasks.spec.model_spec import ModelSpec


log = logging.getLogger("nightly")


def predicts(spec: ModelSpec) -> bool:
    """Whether the model makes predictions for an app."""
    return spec.requests is not None or spec.problem.user_column is not None


@task(task_run_name="predict the day after {night.as_of}", **OUTSIDE)
def predict_ahead(night: Night, clean: Cleaned) -> publish.Predictions | None:
    """Predict for the next day, with the champion, its predecessor, and a version that waits.

    The predictions of all are kept for the day their labels arrive; the app reads the champion's.
    """
    spec, day = load_spec(night.model), night.next_day
    if not predicts(spec):
        log.info("predict   the spec defines no requests, so there are no predictions")
        return None
    client, last = open_registry(), publish.last_published(night.name)
    champion = versions.read_champion(client, night.name)
    made = publish.Predictions(day, stays=last["as_of"] if last else None)
    if champion is None:
        return replace(made, fault="there is no champion yet")
    made = replace(made, version=champion.version)
    fault = publish.why_not_now(night.as_of, last, night.newest in clean.refs) or night.backfill
    if fault:
        return replace(made, fault=fault)
    with told_errors(spec, f"requests for {day}"):
        requests = frame_of(spec.requests(night.as_of)) if spec.requests else None
    if requests is not None and requests.empty:
        return replace(made, fault="there are no requests")
    requests = requests if requests is None else as_declared(requests, spec.contract, spec.timezone)
    ahead = version_answers.DayAhead(day, requests, list(night.days), clean.refs)
    usual = explanation.recent_usual(spec, night.days, night.as_of) if spec.explain else None
    found, inputs, moved = version_answers.predict_ahead(client, spec, champion, ahead, usual)
    if spec.explain and explanation.COLUMNS[0] not in found:
        found = found.assign(**explanation.no_explanation(len(found)))
    if spec.partition is not None:
        return _predict_fleet(client, night, ahead, made, champion, (found, inputs), last)
    fault = _fault_of(spec, night, found, last, champion.candidate)
    if fault is None:
        rows = publish.stamped(found, day, champion.version, _started(), night.as_of)
        previous = version_answers.predict_by_previous(client, spec, ahead)
        known = {champion.version: None, _version_of(previous): previous}
        fixed = _predict_by_anchor(client, spec, ahead, known)
        shadow = _predict_in_shadow(client, spec, ahead, champion.version)
        publish.keep(night.name, night.as_of, rows, inputs, previous, fixed, shadow)
    count = f"{len(found):,}"
    log.info("predict   %s predictions for %s by version %s", count, day, champion.version)
    return replace(
        made,
        rows=len(found),
        fault=fault,
        candidate=champion.candidate,
        code=champion.digest,
        promised=champion.promised,
        moved=moved or None,
        moved_before=publish.moved_before(night.name, night.as_of) if moved else None,
    )


def _predict_fleet(
    client: Client,
    night: Night,
    ahead: version_answers.DayAhead,
    made: publish.Predictions,
    common: versions.Champion,
    by_common: tuple[pd.DataFrame, pd.DataFrame | None],
    last: dict[str, Any] | None,
) -> publish.Predictions:
    """The predictions of a fleet in one table: each partition's by its champion, if it has one."""
    spec, (found, inputs) = load_spec(night.model), by_common
    those = versions.champions_of(client, spec.name)
    own = {str(value_of(name)): version for name, version in those.items()}
    rows, failed = version_answers.predict_for_partitions(client, spec, own, ahead, found, inputs)
    rows["version"] = rows["version"].replace("", common.version)
    fault = _fault_of(spec, night, rows, last, common.candidate)
    if fault is None:
        kept = publish.stamped(rows, made.day, common.version, _started(), night.as_of)
        publish.keep(night.name, night.as_of, kept.assign(version=rows["version"]), inputs, None)
    count = int(rows.loc[rows["model"] != spec.name, "model"].nunique())
    log.info("predict   %s predictions for %s, %d partitions", f"{len(rows):,}", made.day, count)
    return replace(
        made,
        rows=len(rows),
        fault=fault,
        candidate=common.candidate,
        code=common.digest,
        promised=common.promised,
        own=count,
        failed_parts=failed,
    )


@task(task_run_name="publish the predictions", **OUTSIDE)
def publish_predictions(
    night: Night, made: publish.Predictions | None
) -> publish.Predictions | None:
    """Put the predictions before the app, all at once; refused ones leave it with what it has."""
    if made is None:
        return None
    if made.fault:
        stays = (
            (f"The app still reads those of {made.stays}.")
            if made.stays
            else "The app has no predictions."
        )
        text = f"Predictions of {night.name} for {made.day} are refused: {made.fault}. {stays}"
        log.warning("publish   %s", text)
        if not night.backfill:
            announce(night.name, night.as_of, {"nightly.predictions.refused": text})
        return made
    spec = load_spec(night.model)
    folder, url = publish.folder_of(night.name), settings.predictions_url()
    record = {
        "model": full_name(night.model),
        "as_of": night.as_of.isoformat(),
        "day": made.day.isoformat(),
        "version": made.version,
        "candidate": made.candidate,
        "code": made.code,
        "promised": made.promised,
        "rows": made.rows,
        "moved": made.moved,
    }
    publish.publish(night.name, night.as_of, spec.problem.answer_keys, url, record)
    publish.forget_old(night.name, spec.label_delay)
    table = f" and table {sql_table.table_name(night.name)}" if url else ""
    log.info("publish   %s rows in %s%s", f"{made.rows:,}", folder / publish.CURRENT, table)
    return replace(made, current=True)


def deliver_predictions(night: Night, clean: Cleaned) -> publish.Predictions | None:
    """Predict and publish; a failure here does not fail the night, and the app keeps its
    predictions."""
    found: Any = predict_ahead(night, clean, return_state=True).result(raise_on_failure=False)
    if not isinstance(found, BaseException):
        state = publish_predictions(night, found, return_state=True)
        found = state.result(raise_on_failure=False)
    if not isinstance(found, BaseException):
        return found  # type: ignore[no-any-return]
    last = publish.last_published(night.name)
    stays = last["as_of"] if last else None
    fault = to_message(found)
    text = f"The predictions of {night.name} were not renewed: {fault}"
    announce(night.name, night.as_of, {"nightly.predictions.refused": text})
    return publish.Predictions(night.next_day, fault=fault, stays=stays, failed=True)


def publish_champion(night: Night) -> str:
    """In a run that predicts nothing: where the app reads another version's predictions, publish
    anew those of the champion, as of the date that the app reads; what that led to, in words.

    Of a fleet the same where that is so of one partition. The run that made it the champion was cut
    off, could not publish, or was one of another machine.
    """
    if night.backfill:
        return ""
    client, last = open_registry(), publish.last_published(night.name)
    for ended in aliases.finish_changes(client, night.name):
        log.warning("champion  %s", ended.told)
    champion = versions.read_champion(client, night.name)
    if last is None or champion is None:
        return ""
    if last["version"] == champion.version and _shows_partitions(client, load_spec(night.model)):
        return ""
    said = publish_after_rollback(night.name)
    log.info("predict   %s", said)
    return said


def _shows_partitions(client: Client, spec: ModelSpec) -> bool:
    """Whether the app reads of each partition the rows of its champion; so of one model."""
    if spec.partition is None:
        return True
    those = versions.champions_of(client, spec.name)
    own = {str(value_of(name)): (name, version) for name, version in those.items()}
    return publish.shows(spec.name, spec.partition, own)


def publish_after_rollback(name: str) -> str:
    """Publish anew what the app reads, with the champion of now; what that led to, in words.

    Args:
        name: Name of the model in the registry.
    """
    name = fleet_of(name)
    last = publish.last_published(name)
    if last is None:
        return ""
    model, day = last.get("model", name), date.fromisoformat(last["day"])
    return say_published(name, publish_anew(name, model, last["as_of"], day))


def publish_anew(
    name: str, model: str, as_of: str, ahead: date | None = None
) -> publish.Predictions | None:
    """Publish what the app reads as of a date, with the champion of now.

    Nothing that goes wrong here is raised: the champion has changed, whatever the app reads. Of all
    a rollback or an approval does this alone needs the model's file and its data.

    Args:
        name: Name of the model in the registry.
        model: The model as its night named it.
        as_of: As-of date of the predictions.
        ahead: The day they are for; None for the next one of the model's calendar.
    """
    until = date.fromisoformat(as_of)
    day = ahead or until + timedelta(days=1)
    try:
        spec = load_spec(model)
        if spec.name != name:
            raise SpecError(f"{model} is the model {spec.name}, not {name}.")
        listed = spec.source.list_days(until)
        days = {day: mark for day, mark in listed.items() if day not in spec.skip}
        day = ahead or spec.calendar_of(listed).next_open(until)
        night = Night(model, name, until, days, key="", ahead=day)
        return deliver_predictions(night, clean_days(night))
    except Exception as error:  # a model file and a source may raise anything
        shown = publish.Predictions(day, fault=to_message(error))
        unknown = None if isinstance(error, NightlyError) else error
        log.warning("predict   nothing is published: %s", shown.fault, exc_info=unknown)
        announce(name, until, {"nightly.predictions.refused": say_published(name, shown)})
        return shown


def publish_after_revert(night: Night, clean: Cleaned) -> str:
    """The same in a run that has the newest days at hand."""
    if night.newest in clean.refs:
        return say_published(night.name, deliver_predictions(night, clean))
    return publish_after_rollback(night.name)


def say_published(name: str, shown: publish.Predictions | None) -> str:
    """After the champion was changed by hand: whose predictions the app reads, in words."""
    last = publish.last_published(name)
    if shown is None or last is None:
        return ""
    if shown.current:
        by = f"by version {shown.version}{also_by(shown.own)}"
        made = f"{shown.rows:,} predictions for {shown.day} {by}"
        return f"The app reads {made} now."
    named = str(last.get("model", name))
    if (file := file_of(named)[0]) and not file.is_file():
        named = "PATH_OF_THE_MODEL_FILE"
    tags = versions.read_withdrawn(open_registry(), name)
    withdrawn = ", which was withdrawn" if last["version"] in tags else ""
    return (
        f"The app still reads the predictions of version {last['version']}{withdrawn}: "
        f"{str(shown.fault).removesuffix('.')}. Mend that, then publish anew: "
        f"python flows/predict.py --model {shlex.quote(named)}"
    )


def end_predict(night: Night, made: publish.Predictions | None) -> State:
    """The last state of a flow that predicts: ``PUBLISHED``, or why not."""
    run = f"{night.name} · {night.as_of}"
    if made is None:
        text = "The spec defines no requests, so there are no predictions."
        return end_run("NOTHING ASKED", run, text)
    outcome = "REFUSED" if made.fault else "PUBLISHED"
    by = f"version {made.version}{also_by(made.own)}"
    text = f"{made.rows:,} predictions of {night.name} for {made.day}, by {by}."
    if made.fault:
        text = f"The predictions for {made.day} are refused: {made.fault.removesuffix('.')}."
    data = all_shown(publish.to_json(made))
    return end_run(outcome, run, text, data, failed=bool(made.fault))


def _predict_by_anchor(
    client: Client,
    spec: ModelSpec,
    ahead: version_answers.DayAhead,
    known: Mapping[str | None, pd.DataFrame | None],
) -> pd.DataFrame | None:
    """What the anchor predicts, unless it is the champion; nobody predicts twice."""
    anchor = anchors.read_anchor(client, spec.name)
    if anchor is None or anchor.version in known:
        return known[anchor.version] if anchor else None
    return version_answers.predict_by_version(client, spec, anchor.version, ahead)


def _predict_in_shadow(
    client: Client, spec: ModelSpec, ahead: version_answers.DayAhead, champion: str
) -> pd.DataFrame | None:
    """What the version predicts that waits beside this champion, if one does."""
    for one in waiting.read_waiting(client, spec.name):
        if one.against == champion:
            return version_answers.predict_by_version(client, spec, one.version, ahead)
    return None


def _version_of(predictions: pd.DataFrame | None) -> str | None:
    return None if predictions is None else str(predictions["version"].iloc[0])


def _fault_of(
    spec: ModelSpec,
    night: Night,
    found: pd.DataFrame,
    last: dict[str, Any] | None,
    candidate: str,
) -> str | None:
    before = last["rows"] if last and last["as_of"] < night.as_of.isoformat() else None
    keys, column = spec.problem.answer_keys, spec.problem.answer_column
    naive = candidate == spec.baseline
    return publish.fault_of(found, keys, column, before, spec.least_answers, naive=naive)


def _started() -> datetime:
    context = FlowRunContext.get()
    assert context is not None
    return context.start_time.astimezone(UTC)
