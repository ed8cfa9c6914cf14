"""The commands of the flows."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast
from zoneinfo import ZoneInfo

from tasks.clean_process.template import leave_template
from tasks.cli import prefect_failures
from tasks.cli.embedded_server import embedded_server
from tasks.cli.environment import set_defaults
from tasks.cli.exits import end_failed, fail, own_stdout, print_text
from tasks.cli.interrupt import AGAIN, end_on_interrupt
from tasks.cli.parsers import (
    approve_parser,
    backtest_parser,
    monitor_parser,
    predict_parser,
    retrain_parser,
    rollback_parser,
)
from tasks.cli.progress_bar import shown_progress
from tasks.errors import NightlyError, SpecError, WrongInputError, to_message
from tasks.promotion.checks import Status
from tasks.reporting.decisions import recall
from tasks.reporting.held import NOTHING, night_to_take_up
from tasks.settings import SettingsError, check_home, check_workers
from tasks.spec.fleet import model_name, spec_of
from tasks.spec.loading import load_spec
from tasks.spec.values import shown
from tasks.store import mirror
from tasks.store.scratch import own_folder

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State
    from pydantic import BaseModel

    from tasks.preflight.result import Checkup
    from tasks.reporting.report_schema import Report
    from tasks.spec.model_spec import ModelSpec


Settings = TypeVar("Settings", bound="BaseModel")
log = logging.getLogger("nightly")
NO_NAME = "expected the name of a model in the registry, such as groceries, or its path/to/file.py"


def begin(parser: argparse.ArgumentParser, *, loads: bool = False) -> None:
    """Set up a command; before heavy imports, ``--help`` or a wrong call ends it.

    Args:
        parser: Of its options.
        loads: Whether it loads a package in a clean process.
    """
    parser.parse_args()
    end_on_interrupt()
    set_defaults()
    if loads:
        _leave_template()


def _leave_template(*, registry: bool = True) -> None:
    try:
        leave_template(registry=registry)
    except SettingsError as error:
        sys.exit(fail(str(error), error.exit_code))


def answer_if_decided() -> float:
    """Handle --check and a night decided before, before heavy imports, and exit.

    Returns where a night has to run: when the command began, by ``time.monotonic``.
    """
    began = time.monotonic()
    asked = retrain_parser().parse_args()
    end_on_interrupt()
    set_defaults()
    try:
        check_home()
        if not asked.check:
            mirror.pull(patience=0)
    except NightlyError as error:
        sys.exit(fail(str(error), error.exit_code))
    if asked.check:
        _leave_template(registry=False)
        sys.exit(_check(asked))
    if asked.report:
        sys.exit(fail("--report: found without --check, expected both", 2))
    if asked.partition is not None:
        told = "--partition goes with --check: a night is of all partitions. Leave it out."
        sys.exit(fail(told, WrongInputError.exit_code))
    if asked.look:
        if night_to_take_up(asked.model) is None:
            print_text(f"{NOTHING}: no held night of {asked.model} can run now.")
            sys.exit(0)
        return began

    report = recall(asked.model, asked.as_of, datetime.now(ZoneInfo("UTC")))
    if report is not None:
        sys.exit(_show(report, asked, again=True))
    _leave_template()
    return began


def _check(asked: argparse.Namespace) -> int:
    """Show what a night would do; nothing is written, not even compiled code."""

    sys.dont_write_bytecode = True
    from tasks.preflight.file_reads import noted

    read: set[str] = set()
    try:
        with own_stdout(), noted(read):
            spec = load_spec(asked.model)
            if asked.partition is not None:
                spec = spec_of(spec, asked.partition)
    except SpecError as error:
        return fail(str(error), error.exit_code)
    from tasks.preflight.check import check_model
    from tasks.preflight.result import OUTCOMES, to_json, to_text

    with own_stdout(), own_folder():
        found = check_model(spec, asked.as_of, datetime.now(ZoneInfo("UTC")), read)
    text = json.dumps(to_json(found), indent=1, ensure_ascii=False)
    page = _describe_data(spec, found) if asked.report else ""
    said = to_text(found)
    if page:
        said = f"{said.removesuffix(' Nothing was written.')}\n\n{page}"
    print_text(text if asked.json else said)
    return OUTCOMES[found.outcome][1]


def _describe_data(spec: ModelSpec, found: Checkup) -> str:
    """Write the page of the data; where it is, or why there is none."""
    from tasks.scaffold.data_page import write_data_page

    said = [*found.all("faults"), *found.all("rejected"), *found.all("notes")]
    try:
        with own_stdout():
            place = write_data_page(spec, found.as_of, said) if found.as_of else None
    except NightlyError as error:
        return f"There is no page of the data: {error}"
    return f"Data        {place}" if place else "There is no page of the data: no day was found."


def run_retrain(retrain: Callable[..., Any], began: float | None = None) -> None:
    """Run the flow with the command's options, show the report, and exit with its code.

    Args:
        retrain: The flow.
        began: From ``answer_if_decided``; None where the time of the command is not shown.
    """
    from tasks.steps.config import RetrainConfig

    asked = retrain_parser().parse_args()
    _import_model(asked.model)  # what is wrong with it is said before a server is started
    _check_workers()
    config = _settings(RetrainConfig, model=asked.model, as_of=asked.as_of, look=asked.look)
    state = _run_flow(retrain, config, verbose=asked.verbose)
    sys.exit(_end(state, asked, began))


def run_rollback(rollback: Callable[..., Any]) -> None:
    """Run the rollback, print what it did, and exit with its code."""
    from tasks.steps.config import RollbackConfig
    from tasks.steps.rollback import ENDED, RollbackError

    asked = rollback_parser().parse_args()
    config = _settings(
        RollbackConfig,
        model=registered_model(asked),
        to=asked.to,
        why=asked.why,
        release=asked.release,
        retire=asked.retire,
    )
    _run_change(rollback, config, asked.verbose, ENDED, RollbackError)


def run_approve(approve: Callable[..., Any]) -> None:
    """Run the approval or refusal, print what it did, and exit with its code."""
    from tasks.registry.waiting import APPROVED, REFUSED
    from tasks.steps.config import ApproveConfig

    asked = approve_parser().parse_args()
    config = _settings(
        ApproveConfig,
        model=registered_model(asked),
        by=asked.by,
        why=asked.why,
        refuse=asked.refuse,
        version=asked.version,
    )
    _run_change(approve, config, asked.verbose, (APPROVED, REFUSED), WrongInputError)


def _run_change(
    change: Callable[..., Any],
    config: Any,
    verbose: bool,
    ended: Collection[str],
    wrong: type[NightlyError],
) -> NoReturn:
    """Run a flow that a person starts to change the champion, and exit with its code.

    Args:
        change: The flow.
        config: Its settings.
        verbose: Whether the log is shown.
        ended: Its outcomes where it did what was asked.
        wrong: Error that says what the person must ask instead.
    """
    state = _run_flow(change, config, verbose=verbose)
    from tasks.steps.ending import outcome_of, said_of

    found = _result_of(state)
    if outcome_of(state) in ended:
        print_text(said_of(state))
        sys.exit(0)
    sys.exit(fail(str(found), found.exit_code) if isinstance(found, wrong) else end_failed(found))


def run_backtest(backtest: Callable[..., Any]) -> None:
    """Run the backtest, show its result, and exit with its code."""
    from tasks.backtest.report import to_terminal
    from tasks.steps.backtest import REPLAYED
    from tasks.steps.config import BacktestConfig
    from tasks.steps.ending import outcome_of

    asked = backtest_parser().parse_args()
    config = _settings(
        BacktestConfig,
        model=asked.model,
        nights=asked.nights,
        every=asked.every,
        as_of=asked.as_of,
    )
    _import_model(asked.model)
    if asked.against:
        sys.exit(_review(asked))
    _check_workers()
    state = _run_flow(backtest, config, verbose=asked.verbose)
    found = _result_of(state)
    if outcome_of(state) != REPLAYED:
        code = found.exit_code if isinstance(found, NightlyError) else 1
        sys.exit(fail(to_message(found), code))
    print_text(to_terminal(found) if found else state.message or "")
    sys.exit(0)


def _review(asked: argparse.Namespace) -> int:
    """Compare the model's file with that of a git revision; only the table goes to stdout."""
    from tasks.backtest import against
    from tasks.features.as_of import day_start_of, last_complete_day

    try:
        with own_stdout(), own_folder():
            spec = load_spec(asked.model)
            now, begins = datetime.now(ZoneInfo("UTC")), day_start_of(spec.source)
            as_of = asked.as_of or last_complete_day(now, spec.timezone, begins)
            newest = max(spec.source.list_days(as_of), default=as_of)
            found = against.review(spec, asked.against, asked.nights, asked.every, newest)
    except NightlyError as error:
        return end_failed(error)
    print_text(against.to_markdown(found))
    return against.WORSE_CODE if found.outcome is against.Outcome.WORSE else 0


def run_predict(predict: Callable[..., Any]) -> None:
    """Run the predictions, print what was published, and exit."""
    _run_named(predict, predict_parser(), {"PUBLISHED": 0, "NOTHING ASKED": 0, "REFUSED": 3})


def run_monitor(monitor: Callable[..., Any]) -> None:
    """Run the monitoring, print its result, and exit."""
    _run_named(monitor, monitor_parser(), {"GRADED": 0, "REVERTED": 0, "BACKFILL": 0})


def _run_named(
    flow: Callable[..., Any], parser: argparse.ArgumentParser, codes: Mapping[str, int]
) -> None:
    """Run a flow of one model and one date, and print the message of its last state."""
    from tasks.steps.config import RetrainConfig
    from tasks.steps.ending import outcome_of

    asked = parser.parse_args()
    _import_model(asked.model)
    config = _settings(RetrainConfig, model=asked.model, as_of=asked.as_of)
    state = _run_flow(flow, config, verbose=asked.verbose)
    ends = {**codes, Status.HELD: Status.HELD.exit_code}
    if (outcome := outcome_of(state)) in ends:
        print_text(state.message or "")
        sys.exit(ends[outcome])
    sys.exit(end_failed(state.result(raise_on_failure=False)))


def _run_flow(flow: Callable[..., Any], config: Any, *, verbose: bool) -> State:
    """Run a flow beside its server; its last state.

    An error of the flow is in that state. What is raised here is of Prefect: its server failed.
    """
    with own_stdout(), embedded_server(), shown_progress(verbose):
        try:
            state: State = flow(config, return_state=True)
        except Exception as error:
            log.debug("Prefect's error in full", exc_info=error)
            sys.exit(fail(prefect_failures.in_words(error), 1, AGAIN))
    return state


def _settings(kind: type[Settings], **given: object) -> Settings:
    """The parameters of a flow; a wrong one ends the command with a message."""
    from pydantic import ValidationError

    try:
        return kind(**given)
    except ValidationError as error:
        fault = error.errors()[0]
        said = NO_NAME if fault["type"] == "string_pattern_mismatch" else fault["msg"]
        words = f"--{fault['loc'][0]}: found {shown(fault['input'])}, {said}"
        sys.exit(fail(words, 2))


def registered_model(asked: argparse.Namespace) -> str:
    """The name in the registry of the model that a command is about.

    A file or a module gives the name in its spec. Where the command names a partition, it is that
    partition's model.
    """
    model = str(asked.model)
    try:
        if model.endswith(".py") or ":" in model:
            with own_stdout():
                model = load_spec(model).name
        return model if asked.partition is None else model_name(model, asked.partition)
    except SpecError as error:
        sys.exit(fail(str(error), error.exit_code))


def _check_workers() -> None:
    """End the command where the workers that the environment names cannot be used."""
    from prefect.settings import PREFECT_API_URL

    try:
        check_workers(PREFECT_API_URL.value())
    except SettingsError as error:
        sys.exit(fail(str(error), error.exit_code))


def _import_model(model: str) -> None:

    try:
        with own_stdout():
            load_spec(model)
    except SpecError as error:
        sys.exit(fail(str(error), error.exit_code))


def _end(state: State, asked: argparse.Namespace, began: float | None) -> int:
    from tasks.steps.ending import outcome_of

    found, outcome = _result_of(state), outcome_of(state)
    if outcome == NOTHING:
        print_text(state.message or "")
        return 0
    if outcome in set(Status):
        now = datetime.now(ZoneInfo("UTC"))
        report = found if isinstance(found, dict) else recall(asked.model, asked.as_of, now)
        if report:
            return _show(cast("Report", report), asked, again=False, began=began)
        print_text(state.message or "")
        return Status(outcome).exit_code
    return end_failed(found)


def _result_of(state: State) -> Any:
    """What a flow gave; None where its last state was read from the server, as after a lost answer.

    An error where it failed.
    """
    from prefect.exceptions import MissingResult

    try:
        return state.result(raise_on_failure=False)
    except MissingResult:
        return None


def _show(
    report: Report, asked: argparse.Namespace, *, again: bool, began: float | None = None
) -> int:
    from tasks.reporting.fleet_page import exit_code
    from tasks.reporting.render import to_terminal

    night = report["seconds"].get("total", 0.0)
    outside = None if began is None else max(time.monotonic() - began - night, 0.0)
    text = json.dumps(report, indent=1, ensure_ascii=False)
    print_text(text if asked.json else to_terminal(report, again=again, outside=outside))
    fleet = report.get("fleet")
    return Status(report["verdict"]).exit_code or (exit_code(fleet) if fleet else 0)
