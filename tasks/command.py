"""The command line of the flows: what is asked, what is shown, how it ends."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State
    from pydantic import BaseModel
    from rich.progress import Progress

Settings = TypeVar("Settings", bound="BaseModel")

QUIET = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the UI still gets every line
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}
AGAIN = "Run the same command again: it ends what was begun, and does nothing twice."
OUTAGE = (
    "The champion stays until another has passed every check. When the server answers again, run "
    "the same command: it ends what was begun, and does nothing twice."
)
DEFAULTS = {
    "OMP_NUM_THREADS": "1",  # two threads on a busy machine are slower than one
    "PREFECT_LOGGING_EXTRA_LOGGERS": "nightly",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # what we print there is the report
}


def set_defaults() -> None:
    """Before Prefect and MLflow are imported: what they read from the environment."""
    verbose = {"-v", "--verbose"} & set(sys.argv[1:])
    for name, value in (DEFAULTS if verbose else DEFAULTS | QUIET).items():
        os.environ.setdefault(name, value)


def answer_if_decided() -> None:
    """Before anything heavy is imported: answer what needs no night, and exit.

    That is a check, or a night that was decided before.
    """
    asked = retrain_parser().parse_args()
    set_defaults()
    if asked.check:
        sys.exit(_check(asked))
    from tasks.decided import recall

    report = recall(asked.model, asked.as_of, datetime.now(ZoneInfo("UTC")))
    if report is not None:
        sys.exit(_show(report, asked, again=True))


def _check(asked: argparse.Namespace) -> int:
    """Say what a night would do; nothing is written, not even compiled code."""
    from tasks.spec import SpecError, load_spec

    sys.dont_write_bytecode = True
    try:
        spec = load_spec(asked.model)
    except SpecError as error:
        return _fail(str(error), 2)
    from tasks.checkup import check_model
    from tasks.findings import OUTCOMES, to_json, to_text

    found = check_model(spec, asked.as_of, datetime.now(ZoneInfo("UTC")))
    text = json.dumps(to_json(found), indent=1, ensure_ascii=False)
    _print(text if asked.json else to_text(found))
    return OUTCOMES[found.outcome][1]


def run_retrain(retrain: Callable[..., Any]) -> None:
    """Run the flow for what the command line asks, show the report, and exit with its code."""
    from tasks.night import RetrainConfig

    asked = retrain_parser().parse_args()
    with _embedded_server() as ready, _shown_progress(asked.verbose):
        _import_model(asked.model)
        config = _settings(RetrainConfig, model=asked.model, as_of=asked.as_of)
        ready()
        state = retrain(config, return_state=True)
    sys.exit(_end(state, asked))


def run_rollback(rollback: Callable[..., Any]) -> None:
    """Run the rollback the command line asks for, say what it did, and exit with its code."""
    from tasks.restore import ROLLED_BACK, RollbackConfig, RollbackError, to_text

    asked = rollback_parser().parse_args()
    config = _settings(RollbackConfig, model=asked.model, to=asked.to, why=asked.why)
    with _embedded_server() as ready, _shown_progress(asked.verbose):
        ready()
        state = rollback(config, return_state=True)
    found = state.result(raise_on_failure=False)
    if state.name != ROLLED_BACK:
        if isinstance(found, RollbackError):
            sys.exit(_fail(str(found), 2))
        sys.exit(_fail_outside(found))
    _print(to_text(found))
    sys.exit(0)


def run_backtest(backtest: Callable[..., Any]) -> None:
    """Replay the nights the command line asks for, show what was found, and exit with its code."""
    from tasks.backtest import BacktestError
    from tasks.rehearse import REPLAYED, BacktestConfig
    from tasks.review import to_terminal
    from tasks.sources import SourceSettingsError

    asked = backtest_parser().parse_args()
    config = _settings(
        BacktestConfig,
        model=asked.model,
        nights=asked.nights,
        every=asked.every,
        as_of=asked.as_of,
    )
    with _embedded_server() as ready, _shown_progress(asked.verbose):
        _import_model(asked.model)
        ready()
        state = backtest(config, return_state=True)
    found = state.result(raise_on_failure=False)
    if state.name != REPLAYED:
        wrong = isinstance(found, BacktestError | SourceSettingsError)
        sys.exit(_fail(f"{type(found).__name__}: {found}", 2 if wrong else 1))
    _print(to_terminal(found))
    sys.exit(0)


def run_predict(predict: Callable[..., Any]) -> None:
    """Predict for the day the command line asks for, say what was published, and exit."""
    _run_named(predict, predict_parser(), {"PUBLISHED": 0, "NOTHING ASKED": 0, "REFUSED": 3})


def run_monitor(monitor: Callable[..., Any]) -> None:
    """Grade what the command line asks for, say how it did, and exit."""
    _run_named(monitor, monitor_parser(), {"GRADED": 0, "REVERTED": 0})


def _run_named(
    flow: Callable[..., Any], parser: argparse.ArgumentParser, codes: Mapping[str, int]
) -> None:
    """Run a flow of one model and one date; its last state's message is what is said."""
    from tasks.night import RetrainConfig

    asked = parser.parse_args()
    with _embedded_server() as ready, _shown_progress(asked.verbose):
        _import_model(asked.model)
        config = _settings(RetrainConfig, model=asked.model, as_of=asked.as_of)
        ready()
        state = flow(config, return_state=True)
    if state.name in {**codes, "HELD": 0}:
        _print(f"{state.name}. {state.message}")
        sys.exit(codes.get(state.name, 0))
    sys.exit(_end_failed(state.result(raise_on_failure=False)))


def backtest_parser() -> argparse.ArgumentParser:
    """The options of ``flows/backtest.py``."""
    parser = argparse.ArgumentParser(
        prog="flows/backtest.py",
        description="Replay many nights as if each were tonight; champion and registry stay.",
        epilog="Exit code: 0 replayed; 2 wrong call, or too little history; 1 failure.",
    )
    parser.add_argument("--model", default="groceries", metavar="NAME", help="as for retrain.py")
    parser.add_argument("--nights", type=int, default=60, metavar="N", help="default: 60")
    parser.add_argument(
        "--every", type=int, default=1, metavar="K", help="days between two nights (default: 1)"
    )
    parser.add_argument(
        "--as-of", type=_date, metavar="YYYY-MM-DD", help="last day whose data may be used"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show the log")
    return parser


def rollback_parser() -> argparse.ArgumentParser:
    """The options of ``flows/rollback.py``."""
    parser = argparse.ArgumentParser(
        prog="flows/rollback.py",
        description="Put an earlier champion back, after proving that it loads and predicts.",
        epilog="Exit code: 0 rolled back; 2 nothing fit to go back to; 1 failure.",
    )
    parser.add_argument("--model", required=True, metavar="NAME", help="name in the registry")
    parser.add_argument("--to", type=int, metavar="VERSION", help="default: the champion before")
    parser.add_argument("--why", default="no reason given", help="kept on the rolled back version")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the log")
    return parser


def predict_parser() -> argparse.ArgumentParser:
    """The options of ``flows/predict.py``."""
    return _night_parser(
        "flows/predict.py",
        "Answer what the app asks of the day after the as-of date, with the champion.",
        "Exit code: 0 published or held; 3 refused; 2 wrong call or spec; 1 failure.",
    )


def monitor_parser() -> argparse.ArgumentParser:
    """The options of ``flows/monitor.py``."""
    return _night_parser(
        "flows/monitor.py",
        "Grade past answers on labels that have come; a champion that does worse goes back.",
        "Exit code: 0 graded, reverted or held; 2 wrong call or spec; 1 failure.",
    )


def retrain_parser() -> argparse.ArgumentParser:
    """The options of ``flows/retrain.py``."""
    parser = _night_parser(
        "flows/retrain.py",
        "Retrain one model for one as-of date.",
        "Exit code: 0 promoted, kept or held; 3 rejected; 2 wrong call or spec; 1 failure.",
    )
    parser.add_argument(
        "--json", action="store_true", help="print report.json instead of the screen"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="say in seconds what a night would do; nothing is written",
    )
    return parser


def _night_parser(prog: str, description: str, epilog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=description, epilog=epilog)
    parser.add_argument(
        "--model",
        default="groceries",
        metavar="NAME",
        help="a name under deployments/, a path/to/file.py, or package.module:NAME "
        "(default: groceries)",
    )
    parser.add_argument(
        "--as-of",
        type=_date,
        metavar="YYYY-MM-DD",
        help="last day whose data may be used (default: the newest complete day)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show the log")
    return parser


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected a day such as 2026-11-21"
        ) from None


def _settings(kind: type[Settings], **given: object) -> Settings:
    """What a flow takes; the first wrong setting is named, and the command ends."""
    from pydantic import ValidationError

    from tasks.spec import shown

    try:
        return kind(**given)
    except ValidationError as error:
        fault = error.errors()[0]
        words = f"--{fault['loc'][0]}: found {shown(fault['input'])}, {fault['msg']}"
        sys.exit(_fail(words, 2))


def _import_model(model: str) -> None:
    from tasks.spec import SpecError, load_spec

    try:
        load_spec(model)
    except SpecError as error:
        sys.exit(_fail(str(error), 2))


def _end(state: State, asked: argparse.Namespace) -> int:
    from tasks.report import EXIT_CODES

    found = state.result(raise_on_failure=False)
    if state.name in EXIT_CODES and isinstance(found, dict):
        return _show(found, asked, again=False)
    return _end_failed(found)


def _end_failed(found: BaseException) -> int:
    from tasks.prepare import HistoryError
    from tasks.settings import SettingsError
    from tasks.sources import SourceSettingsError
    from tasks.spec import SpecError
    from tasks.train import FitError

    message = f"{type(found).__name__}: {found}"
    if isinstance(found, SpecError | HistoryError | SettingsError | SourceSettingsError):
        return _fail(message, 2)
    return _fail(message, 1) if isinstance(found, FitError) else _fail_outside(found)


def _show(report: dict[str, Any], asked: argparse.Namespace, *, again: bool) -> int:
    from tasks.report import EXIT_CODES, to_terminal

    text = json.dumps(report, indent=1, ensure_ascii=False)
    _print(text if asked.json else to_terminal(report, again=again))
    return EXIT_CODES[report["verdict"]]


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # such as `| head`: what is left has no reader
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int, then: str = "The champion is untouched.") -> int:
    print(f"nightly: {message}\n{then}", file=sys.stderr)
    return code


def _fail_outside(error: BaseException) -> int:
    """A failure that the same command again may get past."""
    from tasks.registry import outage

    failed = outage(error)
    if failed:
        return _fail(failed, 1, OUTAGE)
    return _fail(f"{type(error).__name__}: {error}", 1, AGAIN)


@contextmanager
def _embedded_server() -> Iterator[Callable[[], None]]:
    """Prefect's embedded server, where no other is named, started while the model is imported.

    Yields:
        A function that waits until the server answers.
    """
    from prefect.settings import PREFECT_API_URL

    from tasks.settings import SettingsError, ensure_home
    from tasks.store import StoreError, write_json

    if PREFECT_API_URL.value():
        yield lambda: None
        return
    from prefect.server.api.server import SubprocessASGIServer

    try:
        record = ensure_home() / "embedded-server.json"
    except SettingsError as error:
        sys.exit(_fail(str(error), 2))
    _end_orphan(record)
    server = SubprocessASGIServer()
    starting = threading.Thread(target=server.start)
    starting.start()
    while server.server_process is None and starting.is_alive():
        time.sleep(0.01)
    if server.server_process is not None:
        try:
            write_json(record, {"pid": server.server_process.pid, "started_by": os.getpid()})
        except StoreError as error:
            starting.join()
            sys.exit(_fail(str(error), 1))
    yield starting.join  # Prefect stops the server at exit, after the last log has been sent


def _end_orphan(record: Path) -> None:
    """End the embedded server of a run that was killed before it could."""
    import psutil

    from tasks.store import read_json

    try:
        left = read_json(record)
        server = psutil.Process(left["pid"])
        ours = any("prefect.server.api.server" in part for part in server.cmdline())
        if ours and not psutil.pid_exists(left["started_by"]):
            server.terminate()
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return  # no record, or it is gone: nothing to end


@contextmanager
def _shown_progress(verbose: bool) -> Iterator[None]:
    """Show the newest step and a bar while a person watches and has not asked for the log."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    console = Console(stderr=True)
    if console.is_terminal and not verbose:
        logger = logging.getLogger("nightly")
        logger.setLevel(logging.DEBUG)
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            logger.addHandler(_BarHandler(bar))
            yield
    else:
        yield


class _BarHandler(logging.Handler):
    """Shows the newest line of the log beside a bar."""

    def __init__(self, bar: Progress) -> None:
        super().__init__()
        self.bar = bar
        self.line = bar.add_task("start", total=None)

    def emit(self, record: logging.LogRecord) -> None:
        self.bar.update(
            self.line,
            description=record.getMessage()[:70],
            completed=getattr(record, "done", 0),
            total=getattr(record, "total", None),
        )
