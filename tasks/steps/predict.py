"""The steps from a champion to what the app reads, as Prefect tasks."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext

from tasks import settings
from tasks.clean_process import version_answers
from tasks.clean_process.run import CleanProcessError
from tasks.clean_process.version_answers import AlignError
from tasks.features import scoring
from tasks.features.contract import as_declared
from tasks.predictions import publish, sql_table
from tasks.predictions.publish import Predictions, to_json
from tasks.registry import packages, versions
from tasks.registry.client import RegistryError, open_registry
from tasks.spec.fingerprint import digest
from tasks.spec.loading import load_spec
from tasks.spec.values import days
from tasks.steps.events import announce
from tasks.steps.retries import OUTSIDE
from tasks.store import files, frames, models
from tasks.training import fit

if TYPE_CHECKING:
    import pandas as pd

    from tasks.registry.client import Client
    from tasks.registry.versions import Champion
    from tasks.spec.model_spec import ModelSpec
    from tasks.steps.state import Cleaned, Night


log = logging.getLogger("nightly")
INPUTS_AT_MOST = 1_000_000
"""Rows of inputs that are kept beside the predictions, for single requests."""


def predicts(spec: ModelSpec) -> bool:
    """Whether it is known what the app asks of the model."""
    return spec.requests is not None or hasattr(spec.problem, "user")


@task(task_run_name="predict the day after {night.as_of}", **OUTSIDE)
def predict_ahead(night: Night, clean: Cleaned) -> Predictions | None:
    """Answer what the app asks of the next day, with the champion and with the one before it.

    The answers of both are kept for the day their labels arrive; the app reads the champion's.
    """

    spec, day = load_spec(night.model), night.as_of + timedelta(days=1)
    if not predicts(spec):
        log.info("predict   the spec names no requests: nothing is predicted")
        return None
    client, last = open_registry(), publish.last_published(night.name)
    stays = last["as_of"] if last else None
    champion = versions.read_champion(client, night.name)
    if champion is None:
        return Predictions(day, fault="there is no champion yet", stays=stays)
    if last and last["as_of"] > night.as_of.isoformat():
        why = f"this is a look back, those of {last['as_of']} are newer"
        return Predictions(day, champion.version, fault=why, stays=stays)
    if night.as_of not in clean.refs:
        why = f"the data of {night.as_of} cannot be used"
        return Predictions(day, champion.version, fault=why, stays=stays)
    named = spec.requests(night.as_of) if spec.requests else None
    if named is not None and named.empty:
        return Predictions(day, champion.version, fault="nothing is asked", stays=stays)
    named = named if named is None else as_declared(named, spec.contract)
    answers, inputs = _answer(client, spec, champion, night, clean, named)
    fault = publish.fault_of(
        answers,
        spec.problem.answer_keys,
        spec.problem.answer_column,
        last["rows"] if last and last["as_of"] < night.as_of.isoformat() else None,
        spec.least_answers,
    )
    if fault is None:
        folder, made_at = publish.folder_of(night.name), _started()
        rows = publish.stamped(answers, day, champion.version, made_at)
        files.write_parquet(folder / f"{night.as_of}.parquet", rows)
        if inputs is not None:
            files.write_parquet(folder / publish.INPUTS, inputs)
        else:  # none is better than those of another version
            (folder / publish.INPUTS).unlink(missing_ok=True)
        _keep_previous(client, spec, night, clean, named)
    log.info(
        "predict   %s answers for %s by version %s", f"{len(answers):,}", day, champion.version
    )
    return Predictions(
        day,
        champion.version,
        len(answers),
        fault,
        stays,
        candidate=champion.candidate,
        promised=champion.promised,
    )


@task(task_run_name="publish the predictions", **OUTSIDE)
def publish_predictions(night: Night, made: Predictions | None) -> Predictions | None:
    """Put the answers before the app, all at once; refused ones leave it with what it has."""
    if made is None:
        return None
    if made.fault:
        stays = f"Those of {made.stays} stay." if made.stays else "The app has none."
        text = f"Predictions of {night.name} for {made.day} are refused: {made.fault}. {stays}"
        log.warning("publish   %s", text)
        announce(night.name, night.as_of, {"nightly.predictions.refused": text})
        return made
    import pandas as pd

    spec = load_spec(night.model)
    folder, url = publish.folder_of(night.name), settings.predictions_url()
    answers = pd.read_parquet(folder / f"{night.as_of}.parquet")
    publish.publish(night.name, night.as_of, answers, spec.problem.answer_keys, url)
    record = {
        "as_of": night.as_of.isoformat(),
        "day": made.day.isoformat(),
        "version": made.version,
        "candidate": made.candidate,
        "promised": made.promised,
        "rows": made.rows,
    }
    files.write_json(folder / f"{night.as_of}.json", record)
    publish.forget_old(night.name)
    table = f" and table {sql_table.table_name(night.name)}" if url else ""
    log.info("publish   %s rows in %s%s", f"{made.rows:,}", folder / publish.CURRENT, table)
    return Predictions(**{**vars(made), "current": True})


def deliver_predictions(night: Night, clean: Cleaned) -> Predictions | None:
    """Predict and publish; what fails here fails no night, and the app keeps what it has."""
    found: Any = predict_ahead(night, clean, return_state=True).result(raise_on_failure=False)
    if not isinstance(found, BaseException):
        state = publish_predictions(night, found, return_state=True)
        found = state.result(raise_on_failure=False)
    if not isinstance(found, BaseException):
        return found  # type: ignore[no-any-return]
    last = publish.last_published(night.name)
    stays = last["as_of"] if last else None
    fault = f"{type(found).__name__}: {found}"
    text = f"The predictions of {night.name} were not made anew: {fault}"
    announce(night.name, night.as_of, {"nightly.predictions.refused": text})
    return Predictions(night.as_of + timedelta(days=1), fault=fault, stays=stays, failed=True)


def end_predict(night: Night, made: Predictions | None) -> State:
    """The flow's last state: ``PUBLISHED``, or why not."""
    if made is None:
        text = "The spec names no requests: nothing is predicted."
        return State(type=StateType.COMPLETED, name="NOTHING ASKED", message=text)
    if made.fault:
        text = f"The predictions for {made.day} are refused: {made.fault}."
        return State(type=StateType.FAILED, name="REFUSED", message=text, data=to_json(made))
    text = f"{made.rows:,} answers of {night.name} for {made.day}, by version {made.version}."
    return State(type=StateType.COMPLETED, name="PUBLISHED", message=text, data=to_json(made))


def _answer(
    client: Client,
    spec: ModelSpec,
    version: Champion,
    night: Night,
    clean: Cleaned,
    named: pd.DataFrame | None,
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """A version's answers, and the inputs they were made of where its code is tonight's."""
    import pandas as pd

    day = night.as_of + timedelta(days=1)
    with packages.downloaded(client, night.name, version.version) as package:
        if version.digest != digest(spec):
            past = [d for d in night.days if d >= day - days(version.lookback)]
            accepted = version_answers.accept(spec, spec.source.read_days(past))
            found = version_answers.ask_ahead(version, night.name, package, accepted, named, day)
            return found, None
        version_answers.check_unaltered(version, package)
        estimator = models.load_checked_model(
            version_answers.shipped_file(package), fit.trusted_types(spec)
        )
    refs = [ref for d, ref in clean.refs.items() if d >= day - spec.lookback]
    rows = frames.read_days(refs)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        stamp = pd.Timestamp(day)
        return scoring.answer_ahead(spec, estimator, rows, named, stamp, keep=INPUTS_AT_MOST)


def _keep_previous(
    client: Client,
    spec: ModelSpec,
    night: Night,
    clean: Cleaned,
    named: pd.DataFrame | None,
) -> None:
    """The predecessor's answers to the same requests; one that can not answer fails no night."""

    file = publish.folder_of(night.name) / f"{night.as_of}.previous.parquet"
    previous = versions.read_previous(client, night.name)
    if previous is None:
        file.unlink(missing_ok=True)
        return
    try:
        answers, _ = _answer(client, spec, previous, night, clean, named)
    except (AlignError, CleanProcessError, RegistryError, files.StoreError) as error:
        log.warning("predict   version %s can not be asked: %s", previous.version, error)
        file.unlink(missing_ok=True)
        return
    files.write_parquet(file, answers.assign(version=previous.version))


def _started() -> datetime:
    context = FlowRunContext.get()
    assert context is not None
    return context.start_time.astimezone(UTC)
