"""Every operation of a run fails once: the harness.

A run of a flow is a fork of this process, which has everything imported. In it the ``n``-th
operation that changes something fails, or ends the process: a file opened for writing, a write, an
fsync, a rename, a removal, a folder made, a statement or a commit of a database. Prefect's tasks
run in their own engine, one after another and without a server.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import io
import itertools
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from select import select
from types import SimpleNamespace
from typing import Any

from tasks.steps.ending import outcome_of
from tests.nights import champion_of, nth_day, write_model, write_more

FIRST = 30
ONE_RECIPE = (
    ('        "constant": DummyClassifier(),\n', ""),
    ('        "tree": DecisionTreeClassifier(max_depth=3, random_state=0),\n', ""),
    ("resamples=200", "resamples=100"),
)
SPOILT = (
    ("LogisticRegression(),", "DecisionTreeClassifier(max_depth=1),"),
    (
        "gate=Gate(min_units=100,",
        "gate=Gate(min_units=100, tolerance=1.0, anchor_tolerance=1.0, slice_tolerance=1.0,",
    ),
)
"""A worse recipe under the name of the good one, and a gate that lets it pass."""
ASKING = (("gate=Gate(", "gate=Gate(approve=True, "),)
ERRORS = (errno.ENOSPC, errno.EIO, errno.EINTR)
KILLED = 137
CHANGES = re.compile(r"\s*(INSERT|UPDATE|DELETE|CREATE|DROP|ALTER|REPLACE)\b", re.IGNORECASE)
ONE_PATH = {"os.remove": "unlink", "os.mkdir": "mkdir", "os.rmdir": "rmdir"}
TWO_PATHS = {"os.rename": "rename", "os.link": "link", "os.symlink": "symlink"}


@dataclass
class Operations:
    """Counts the operations of this process, and lets one of them fail.

    Attributes:
        root: Only what happens below this folder counts, and databases.
        fails: Number of the operation that fails; 0 for none.
        error: Number of the error that it fails with; None where it ends the process instead.
        seen: What was done, in order.
        active: Whether operations count now.
    """

    root: str = ""
    fails: int = 0
    error: int | None = errno.EIO
    seen: list[str] = field(default_factory=list)
    active: bool = False

    def meet(self, kind: str, what: str) -> OSError | None:
        """Count an operation; the error that it fails with, if it is its turn.

        Of the code of a package, copied file by file, the first file counts.
        """
        label = re.sub(
            r"(run/\*|code)/(tasks/.*|tasks|(nightly_model_\w+_)?toy\w*.py)$",
            r"\1/(code)",
            f"{kind} {what}",
        )
        if not self.active or (label.endswith("(code)") and label in self.seen[-3:]):
            return None
        self.seen.append(label)
        if len(self.seen) != self.fails:
            return None
        if self.error is None:
            os._exit(KILLED)
        return OSError(self.error, os.strerror(self.error), what)

    def must_not(self, kind: str, what: Any) -> None:
        """Count an operation on a file below the root, and raise where it fails."""
        if self.active and isinstance(what, (str, bytes, os.PathLike)):
            path = os.fsdecode(what)
            if path.startswith(self.root) and (error := self.meet(kind, self.short(path))):
                raise error

    def short(self, path: str) -> str:
        """A path below the root without what differs between two runs."""
        shown = path.removeprefix(self.root).strip("/")
        shown = re.sub(r"nightly-run-\w{8}", "run", shown)
        return re.sub(r"[0-9a-f]{16,}|tmp\w{8}|\.\w{8}\.tmp|\.\d+\.tmp", "*", shown)


NOW = Operations()


def path_of(number: int) -> str:
    """The file that a descriptor is of."""
    return str(Path(f"/proc/self/fd/{number}").readlink())


class Written:
    """An open file, each of whose writes counts; one that fails has written half."""

    def __init__(self, file: Any, path: str) -> None:
        self._file, self._path = file, path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> Written:
        self._file.__enter__()
        return self

    def __exit__(self, *ended: Any) -> Any:
        return self._file.__exit__(*ended)

    def __iter__(self) -> Any:
        return iter(self._file)

    def write(self, content: Any) -> Any:
        if NOW.active and NOW.fails == len(NOW.seen) + 1:
            self._file.write(content[: len(content) // 2])
            self._file.flush()
        NOW.must_not("write", self._path)
        return self._file.write(content)


def watch_operations() -> None:
    """From now on the operations of this process and its forks count."""
    from sqlalchemy import Engine, event
    from sqlalchemy.exc import OperationalError

    def audit(name: str, arguments: tuple[Any, ...]) -> None:
        if not NOW.active:
            return
        if name == "open":
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR):
                NOW.must_not("open", path)
        elif name in ONE_PATH:
            if Path(os.fsdecode(arguments[0])).exists() != (name == "os.mkdir"):
                NOW.must_not(ONE_PATH[name], arguments[0])
        elif name in TWO_PATHS:
            NOW.must_not(TWO_PATHS[name], arguments[1])

    sys.addaudithook(audit)
    sync, opened, by_number = os.fsync, io.open, os.fdopen

    def fsync(number: int) -> None:
        NOW.must_not("fsync", path_of(number))
        sync(number)

    def watched(file: Any, path: str, mode: str) -> Any:
        below = NOW.active and path.startswith(NOW.root)
        return Written(file, path) if below and set(mode) & set("wax+") else file

    def open_file(path: Any, mode: str = "r", *more: Any, **named: Any) -> Any:
        file = opened(path, mode, *more, **named)
        return watched(file, str(path), mode) if isinstance(path, Path) else file

    def open_number(number: int, mode: str = "r", *more: Any, **named: Any) -> Any:
        file = by_number(number, mode, *more, **named)
        return watched(file, path_of(number), mode)

    os.fsync, os.fdopen, io.open = fsync, open_number, open_file  # type: ignore[assignment]

    def failed(kind: str, statement: str) -> None:
        if error := NOW.meet(kind, " ".join(statement.split())[:60]):
            import sqlite3

            said = "database or disk is full" if error.errno == errno.ENOSPC else "disk I/O error"
            raise OperationalError(statement, None, sqlite3.OperationalError(said))

    @event.listens_for(Engine, "before_cursor_execute")
    def execute(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if CHANGES.match(statement):
            connection.info["changed"] = True
            failed("sql", statement)

    @event.listens_for(Engine, "commit")
    def commit(connection: Any) -> None:
        if connection.info.pop("changed", False):
            failed("commit", "")


def use_no_server() -> None:
    """Prefect's tasks run where they are called, one after another; nothing is sent anywhere."""
    import prefect
    import prefect.artifacts
    import prefect.client.orchestration
    import prefect.events
    import prefect.events.utilities
    import prefect.results
    from prefect.client.schemas.objects import State

    from tasks.reporting import plots, problem_plots
    from tasks.steps import (
        approve,
        ending,
        judge,
        monitor,
        opening,
        predict,
        prepare,
        progress,
        release,
        report,
        rollback,
        shadow,
        train,
        waiting,
    )

    class Run:
        """What a task knows of its flow's run."""

        start_time = datetime.now(UTC)

        @classmethod
        def get(cls) -> Any:
            return SimpleNamespace(start_time=cls.start_time, flow_run=None)

    class Future:
        def __init__(self, state: State) -> None:
            self.state = state

        def result(self, raise_on_failure: bool = True) -> Any:
            return self.state.result(raise_on_failure=raise_on_failure)

    class Client:
        def __enter__(self) -> Client:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update_flow_run(self, *_: object, **__: object) -> None:
            pass

    def submit(task: Any, *given: Any, **named: Any) -> Future:
        return Future(task(*given, return_state=True, **named))

    def nothing(*_: object, **__: object) -> None:
        pass

    rooms = (
        approve, ending, judge, monitor, opening, predict, prepare, progress, release, report,
        rollback, shadow, train, waiting,
    )  # fmt: skip
    for room in rooms:
        for name, found in list(vars(room).items()):
            if isinstance(found, prefect.Task):
                found.retry_delay_seconds, found.retry_jitter_factor = 0, None
            if name == "FlowRunContext":
                setattr(room, name, Run)
            if name == "create_markdown_artifact":
                setattr(room, name, nothing)
    for drawn in (plots, problem_plots):
        drawn.to_png = lambda _: b"\x89PNG, not drawn"
    prefect.Task.submit = submit  # type: ignore[method-assign,assignment]
    progress.tell_progress = prepare.tell_progress = lambda *_: nothing  # type: ignore[assignment]
    prefect.events.emit_event = nothing  # type: ignore[assignment]
    prefect.events.utilities.should_emit_events = lambda: False
    prefect.results._read_server_default_result_storage_block_id = nothing  # type: ignore[assignment]
    real = prefect.client.orchestration.get_client
    prefect.client.orchestration.get_client = (  # type: ignore[assignment]
        lambda *a, **k: Client() if sys._getframe(1).f_globals["__name__"].startswith("tasks.")
        else real(*a, **k)
    )  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        code: Exit code of its process.
        state: Name of its last state; ``raised`` where it ended with an error.
        said: What its command would print.
        seen: Its operations, unless it was killed.
        broken: What does not hold afterwards.
    """

    code: int
    state: str = ""
    said: str = ""
    seen: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scenario:
    """A run whose operations fail.

    Attributes:
        name: Its name.
        begins: State that it begins with.
        ends: Name of its last state.
        run: Runs it.
        then: What is run after one that is over; None for the same again.
        over: The operation after which it is over.
        then_ends: Other names of the last state of what is run after one that failed.
    """

    name: str
    begins: str
    ends: str
    run: Callable[[Path], str]
    then: Callable[[Path], str] | None = None
    over: str = ""
    then_ends: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where the runs of a scenario happen; ``states`` holds what they begin with."""

    root: Path
    machine: str = "home"

    @property
    def home(self) -> Path:
        return self.root / "live" / self.machine

    @property
    def live(self) -> Path:
        return self.root / "live"

    def begin_with(self, state: str) -> None:
        """Put a kept state in place."""
        shutil.rmtree(self.live, ignore_errors=True)
        shutil.copytree(self.root / "states" / state, self.live)

    def keep_as(self, state: str) -> None:
        """Keep what is in place as a state."""
        shutil.copytree(self.live, self.root / "states" / state)


def model_file(place: Path) -> str:
    """The model file of a state: its one, or that with another recipe or gate."""
    return str(next(place.glob("toy_*.py"), place / "toy.py"))


def run_night(place: Path, number: int) -> str:
    from flows.retrain import retrain
    from tasks.steps.config import RetrainConfig

    config = RetrainConfig(model=model_file(place), as_of=nth_day(number))
    return outcome_of(retrain.fn(config))


def run_interrupted(place: Path, number: int) -> str:
    """A night of which every system call that waits is interrupted by a signal, all 5 ms."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    try:
        return run_night(place, number)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def run_predict(place: Path, number: int) -> str:
    from flows.predict import predict
    from tasks.steps.config import RetrainConfig

    config = RetrainConfig(model=model_file(place), as_of=nth_day(number))
    return outcome_of(predict.fn(config))


def run_monitor(place: Path, number: int) -> str:
    from flows.monitor import monitor
    from tasks.steps.config import RetrainConfig

    config = RetrainConfig(model=model_file(place), as_of=nth_day(number))
    return outcome_of(monitor.fn(config))


def decide(place: Path, refuse: bool) -> str:
    """A person approves the version that waits, or refuses it."""
    from flows.approve import approve
    from tasks.steps.config import ApproveConfig

    config = ApproveConfig(model="toy", by="Ada", why="a person looked", refuse=refuse)
    outcome = outcome_of(approve.fn(config))
    NOW.active = False
    assert (champion_of() == "2") != refuse, f"{outcome}, the champion is {champion_of()}"
    return outcome


def run_rollback(place: Path) -> str:
    """Back to the one before, as a person types it: the same command again goes no further."""
    NOW.active = False
    (place / "rolled back").touch()
    NOW.active = True
    from flows.rollback import rollback
    from tasks.steps.config import RollbackConfig

    return outcome_of(rollback.fn(RollbackConfig(model="toy", why="a person asked")))


def run_clean_up(place: Path) -> str:
    """The step of a night, with limits that leave almost nothing."""
    from tasks import settings
    from tasks.steps.config import RetrainConfig
    from tasks.steps.opening import only_night, open_night
    from tasks.steps.release import clean_up

    settings.store_bytes = lambda: 0
    settings.keep_versions = lambda: 2
    config = RetrainConfig(model=model_file(place), as_of=nth_day(FIRST + 3))
    with only_night(config.model):
        clean_up(open_night(config))
    return "CLEAN"


SCENARIOS = (
    Scenario("first night", "no night", "PROMOTED", lambda place: run_night(place, FIRST)),
    Scenario("next night", "one night", "PROMOTED", lambda place: run_night(place, FIRST + 1)),
    Scenario(
        "interrupted night", "no night", "PROMOTED", lambda place: run_interrupted(place, FIRST)
    ),
    Scenario("predict", "two nights", "PUBLISHED", lambda place: run_predict(place, FIRST + 2)),
    Scenario("monitor", "two nights", "GRADED", lambda place: run_monitor(place, FIRST + 2)),
    Scenario(
        "revert",
        "bad days",
        "REVERTED",
        lambda place: run_monitor(place, FIRST + 5),
        then_ends=("GRADED",),
    ),
    Scenario("approve", "waiting", "APPROVED", lambda place: decide(place, refuse=False)),
    Scenario("refuse", "waiting", "REFUSED", lambda place: decide(place, refuse=True)),
    Scenario(
        "rollback",
        "three nights",
        "ROLLED BACK",
        run_rollback,
        lambda place: run_predict(place, FIRST + 2),
        "unlink home/rollbacks",
        ("PUBLISHED",),
    ),
    Scenario("clean up", "four nights", "CLEAN", run_clean_up),
)


@dataclass(frozen=True)
class Made:
    """How a state is made that scenarios begin with.

    Attributes:
        of: The state before it.
        runs: Runs one after another, and how each ends.
        model: Model file with another recipe or gate, and its changes.
    """

    of: str
    runs: tuple[tuple[Callable[[Path], str], str], ...]
    model: tuple[str, tuple[tuple[str, str], ...]] = ("", ())


def _night(number: int, ends: str = "PROMOTED") -> tuple[Callable[[Path], str], str]:
    return lambda place: run_night(place, number), ends


STATES = {
    "one night": Made("no night", (_night(FIRST),)),
    "two nights": Made("one night", (_night(FIRST + 1),)),
    "three nights": Made("two nights", (_night(FIRST + 2),)),
    "four nights": Made("three nights", (_night(FIRST + 3),)),
    "waiting": Made("one night", (_night(FIRST + 1, "WAITING"),), ("toy_asking.py", ASKING)),
    "bad days": Made(
        "one night",
        (
            _night(FIRST + 1),
            *(
                ((lambda place, run=run, n=number: run(place, n)), ends)
                for number in range(FIRST + 2, FIRST + 5)
                for run, ends in ((run_monitor, "GRADED"), (run_predict, "PUBLISHED"))
            ),
        ),
        ("toy_spoilt.py", SPOILT),
    ),
}


def make_states(place: Place, empty_registry: Path, wanted: Collection[str]) -> None:
    """Keep the states that scenarios begin with, and those that they are made of."""
    place.home.mkdir(parents=True)
    (place.live / "tmp").mkdir()
    shutil.copyfile(empty_registry, place.home / "mlflow.db")
    write_more(place.root / "days", 1, FIRST + 5)
    model = write_model(place.live / "toy.py", place.root / "days", *ONE_RECIPE)
    _remember_what_is_slow(model)
    place.keep_as("no night")
    kept = {"no night"}

    def make(name: str) -> None:
        if name in kept:
            return
        made = STATES[name]
        make(made.of)
        place.begin_with(made.of)
        if file := made.model[0]:
            changes = (*ONE_RECIPE, *made.model[1])
            _remember_what_is_slow(write_model(place.live / file, place.root / "days", *changes))
        for run, ends in made.runs:
            ended = forked(place, run)
            assert ended.state == ends, (name, ended.code, ended.state, ended.said)
            import_as_forks_did(place)
        place.keep_as(name)
        kept.add(name)

    for name in wanted:
        make(name)


def import_as_forks_did(place: Place) -> None:
    """Import here what the last fork has imported, so that the next one need not."""
    for module in json.loads((place.root / "modules.json").read_text()):
        if module not in sys.modules:
            with suppress(Exception):
                import_module(module)


def _remember_what_is_slow(model: Path) -> None:
    """Let this process know what each of its forks would find out again."""
    from mlflow.utils import requirements_utils

    from tasks.spec.fingerprint import digest
    from tasks.spec.loading import load_spec

    digest(load_spec(str(model)))
    requirements_utils._init_modules_to_packages_map()
    requirements_utils._init_packages_to_modules_map()


def forked(
    place: Place,
    run: Callable[[Path], str],
    fails: int = 0,
    error: int | None = errno.EIO,
    kill_after: float | None = None,
) -> Ended:
    """Run in a fork of this process.

    Args:
        place: Where it runs.
        run: What runs.
        fails: Number of the operation that fails; 0 for none.
        error: Number of the error that it fails with; None where the run is killed at it.
        kill_after: Seconds after which it is killed with all processes of its group.
    """
    with tempfile.TemporaryFile() as told:
        child = os.fork()
        if not child:
            code = 1
            if kill_after is not None:
                os.setpgid(0, 0)
            try:
                code = _as_child(place, run, fails, error, told)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        if kill_after is not None:
            with suppress(PermissionError):  # it has done it itself
                os.setpgid(child, child)
            if not select([pidfd := os.pidfd_open(child)], [], [], kill_after)[0]:
                os.killpg(child, signal.SIGKILL)
            os.close(pidfd)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        told.seek(0)
        found = json.loads(told.read() or b"{}")
    return Ended(code, **{name: _tuple(value) for name, value in found.items()})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_child(
    place: Place, run: Callable[[Path], str], fails: int, error: int | None, told: Any
) -> int:
    from tasks.cli.exits import end_failed

    faulthandler.dump_traceback_later(300, exit=True)
    os.environ["NIGHTLY_HOME"] = str(place.home)
    os.environ["NIGHTLY_PREDICTIONS_URL"] = f"sqlite:///{place.live / 'app.db'}"
    os.environ["TMPDIR"] = tempfile.tempdir = str(place.live / "tmp")
    (place.live / "rolled back").unlink(missing_ok=True)
    NOW.root, NOW.fails, NOW.error, NOW.active = str(place.live), fails, error, True
    said = io.StringIO()
    try:
        state = run(place.live)
    except Exception as error:
        NOW.active = False
        state = "raised"
        with contextlib.redirect_stderr(said):
            end_failed(error)
    NOW.active = False
    broken = () if fails or state == "raised" else broken_now(place)
    found = {"state": state, "said": said.getvalue(), "seen": NOW.seen, "broken": broken}
    (place.root / "modules.json").write_text(
        json.dumps([n for n in sys.modules if n.partition(".")[0] != "toy"])
    )
    told.write(json.dumps(found).encode())
    told.flush()
    return 0


def broken_now(place: Place) -> list[str]:
    """What must hold after a run that ended well, and does not."""
    return list(_broken(place))


def _broken(place: Place) -> Iterator[str]:
    import sqlite3
    from contextlib import closing

    import mlflow
    import numpy as np
    import pandas as pd

    from tasks import settings
    from tasks.predictions import publish
    from tasks.registry.client import open_registry
    from tests.sequences import ASKED

    left = [f for f in place.live.rglob("*") if f.name.endswith((".tmp", "-journal"))]
    left += (place.live / "tmp").iterdir()
    if left:
        yield f"left behind: {NOW.short(str(left[0]))}"
    client, champion = open_registry(), champion_of()
    mlflow.set_tracking_uri(settings.tracking_uri())
    found = mlflow.pyfunc.load_model("models:/toy@champion").predict(ASKED)
    if not np.isfinite(np.asarray(found)).all():
        yield "the champion does not predict"
    made = Counter(v.tags["night"] for v in client.search_model_versions("name = 'toy'"))
    if made and max(made.values()) > 1:
        yield f"a night has {max(made.values())} versions"
    if (place.live / "rolled back").exists() and champion != "2":
        yield f"rolled back to version {champion}, asked was 2"
    if "nightly.change" in client.get_registered_model("toy").tags:
        yield "a change of champion is not finished"
    rows = pd.read_parquet(publish.folder_of("toy") / publish.CURRENT)
    with closing(sqlite3.connect(place.live / "app.db")) as app:
        table = app.execute("SELECT version, count(*) FROM toy_predictions GROUP BY 1").fetchall()
    if [*rows["version"].value_counts().items()] != [(str(v), n) for v, n in table]:
        yield f"the app's file and table differ: {rows['version'].unique()}, {table}"
    if {*rows["version"]} != {champion}:
        yield f"the app reads version {rows['version'].unique()}, the champion is {champion}"
    waiting = [*(publish.folder_of("toy") / publish.NEXT).glob("*")]
    if waiting:
        yield f"predictions made and not published: {waiting[0].name}"
    experiment = client.get_experiment_by_name("toy")
    assert experiment is not None
    running = client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'")
    if running:
        yield f"{len(running)} runs of MLflow are RUNNING"
    for journal in place.home.glob("store/*/index.jsonl"):
        lines = journal.read_bytes()
        if lines and not lines.endswith(b"\n"):
            yield f"half a line in {journal.parent.name}"
    for folder in (place.home / "reports" / "toy").glob("????-??-??"):
        if not (folder / "report.json").is_file():
            yield f"no report of {folder.name}"
    if not (place.home / "reports" / "toy" / "history.html").is_file():
        yield "no page of nights"


@dataclass(frozen=True)
class Point:
    """One operation that failed, of how many, and what came of it."""

    scenario: str
    number: int
    how: str
    operation: str
    state: str
    said: str
    lost: tuple[str, ...]
    of: int


TRACE = re.compile(r"Traceback|File \"|^\w+$")


def leaves_a_trace(seen: Sequence[str], number: int) -> bool:
    """Whether a run killed at an operation leaves what one killed before does not leave."""
    before = seen[number - 2].split()[0] if number > 1 else "mkdir"
    lasting = ("rename", "unlink", "rmdir", "symlink", "commit")
    return seen[number - 1].startswith("write ") or before in lasting


def walk(place: Place, scenario: Scenario, every: int = 1, first: int = 1) -> Iterator[Point]:
    """Let each operation of a run fail once, and kill the run at it once.

    Of those between two that fail, it is killed at the first that leaves a trace.

    Args:
        place: With its states made.
        scenario: The run.
        every: Only each so-manieth operation.
        first: The first of them.
    """
    place.begin_with(scenario.begins)
    calm = forked(place, scenario.run)
    import_as_forks_did(place)
    assert (calm.state, calm.broken) == (scenario.ends, ()), (calm.state, calm.said, calm.broken)
    count = len(calm.seen) + 1
    errors = itertools.cycle(ERRORS)
    for start in range(first, count, every):
        between = range(start, min(start + every, count))
        traced = [n for n in between if leaves_a_trace(calm.seen, n)][:1]
        for number, error in ((start, next(errors)), *((n, None) for n in traced)):
            place.begin_with(scenario.begins)
            failed = forked(place, scenario.run, number, error)
            lost = []
            if failed.code not in (0, KILLED):
                lost.append(f"the run ended with {failed.code}")
            if failed.state == "raised" and TRACE.search(failed.said):
                lost.append(f"no reason in words: {failed.said}")
            for half in place.live.rglob(".*.tmp"):  # as when the next run begins the night after
                os.utime(half, (0, 0), follow_symlinks=False)
            over = failed.state == scenario.ends or any(
                scenario.over and done.startswith(scenario.over) for done in calm.seen[: number - 1]
            )
            then = scenario.then if over and scenario.then else scenario.run
            again = forked(place, then)
            if again.state not in (scenario.ends, *scenario.then_ends):
                lost.append(f"the next run ended {again.state}: {again.said}")
            lost += again.broken
            yield Point(
                scenario.name,
                number,
                errno.errorcode[error] if error else "killed",
                calm.seen[number - 1],
                failed.state if error else "killed",
                failed.said,
                tuple(lost),
                count - 1,
            )


@contextmanager
def place_of_runs(wanted: Collection[str], empty_registry: Path | None) -> Iterator[Place]:
    """A place with the states that are wanted, in a process that counts its operations.

    Args:
        wanted: Of ``STATES``.
        empty_registry: A database that MLflow has initialised; None to make one.
    """
    from prefect.context import SyncClientContext
    from prefect.settings import (
        PREFECT_API_URL,
        PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED,
        PREFECT_LOGGING_TO_API_ENABLED,
        temporary_settings,
    )

    use_no_server()
    watch_operations()
    nobody = {
        PREFECT_API_URL: "http://127.0.0.1:9/api",
        PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED: False,
        PREFECT_LOGGING_TO_API_ENABLED: False,
    }
    with (
        temporary_settings(nobody),
        SyncClientContext.get_or_create(),
        tempfile.TemporaryDirectory(prefix="nightly-operations-") as folder,
    ):
        place = Place(Path(folder))
        if empty_registry is None:
            empty_registry = new_registry(place)
        make_states(place, empty_registry, wanted)
        yield place


def new_registry(place: Place) -> Path:
    """A database that MLflow has initialised, made where there is none yet."""
    file = place.root / "empty" / "mlflow.db"
    if not file.exists():
        forked(place, lambda _: _make_registry(file))
    return file


def _make_registry(file: Path) -> str:
    from tasks.registry.client import open_registry

    NOW.active = False
    os.environ["NIGHTLY_HOME"] = str(file.parent)
    open_registry()
    os._exit(0)
