"""Python commands that start at once: each is a fork of one process that has the libraries.

Importing MLflow, Prefect and scikit-learn costs five CPU seconds a command, and a night starts a
clean process besides. The process here has imported libraries and nothing of the project: what a
command finds on its path, in its environment and in its folder is what it would find otherwise.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from pathlib import Path
from select import select
from types import SimpleNamespace
from typing import Any

LIBRARIES = (
    "matplotlib.figure",
    "mlflow",
    "mlflow.pyfunc",
    "mlflow.sklearn",
    "mlflow.store.tracking.sqlalchemy_store",
    "pandera.pandas",
    "prefect",
    "prefect.flow_engine",
    "prefect.runner",
    "prefect.task_engine",
    "pyarrow.feather",
    "pyarrow.parquet",
    "skops.io",
    "sklearn.compose",
    "sklearn.dummy",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.tree",
)
ADDRESS = "NIGHTLY_TESTS_WARM"
"""Variable with the socket of the process that forks; unset, commands start from nothing."""


class Process:
    """A command as it runs; what ``subprocess.Popen`` is to one that starts from nothing."""

    def __init__(
        self,
        command: Sequence[str | Path],
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        *,
        start_new_session: bool = False,
    ) -> None:
        self.args = list(map(str, command))
        self.returncode: int | None = None
        self._files = [os.memfd_create(name) for name in ("out", "err")]
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.connect(os.environ[ADDRESS])
        asked = {
            "arguments": self.args[1:],
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "apart": start_new_session,
        }
        socket.send_fds(self._line, [json.dumps(asked).encode()], self._files)
        self.pid = int(self._line.recv(64))

    def poll(self) -> int | None:
        if self.returncode is None and select([self._line], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select([self._line], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._line.recv(64))
            self._line.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        said = []
        for number in self._files:
            with os.fdopen(number, "rb") as file:
                file.seek(0)
                said.append(file.read().decode())
        return said[0], said[1]


def run(
    command: Sequence[str | Path],
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; one that takes longer than ``timeout`` seconds is killed."""
    process = Process(command, cwd, env)
    try:
        out, err = process.communicate(timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.wait(), out, err)


@contextmanager
def clean_processes() -> Iterator[None]:
    """The clean processes that a night starts, ``python -P ...``, are forks too."""
    real = subprocess.run

    def forked(command: Any, **options: Any) -> Any:
        if not isinstance(command, list) or command[:2] != [sys.executable, "-P"]:
            return real(command, **options)
        return run(command, options["cwd"], options["env"], options.get("timeout"))

    subprocess.run = forked  # type: ignore[assignment]
    try:
        yield
    finally:
        subprocess.run = real


@contextmanager
def fits_and_searches() -> Iterator[list[Process]]:
    """Processes with a time limit, ``python -m tasks.training...``, are forks too; lists them."""
    from tasks.training import timed_process

    real, made = timed_process.subprocess, list[Process]()

    def forked(command: Any, *, cwd: Any, start_new_session: bool, **_: Any) -> Process:
        made.append(Process(command, cwd, start_new_session=start_new_session))
        return made[-1]

    stand_in = SimpleNamespace(**vars(real) | {"Popen": forked})
    timed_process.subprocess = stand_in  # type: ignore[assignment]
    try:
        yield made
    finally:
        timed_process.subprocess = real


@contextmanager
def started(environment: Mapping[str, str], log: Path) -> Iterator[str]:
    """The process that forks, with its libraries as they read this environment; its address."""
    with tempfile.TemporaryDirectory(prefix="warm-") as place, log.open("w") as said:
        address = str(Path(place) / "socket")
        process = subprocess.Popen(
            [sys.executable, "-P", __file__, address],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
        )
        assert process.stdin and process.stdout
        try:
            assert process.stdout.readline() == b"ready\n", log.read_text()
            yield address
        finally:
            process.stdin.close()
            process.stdout.close()
            process.wait(timeout=60)


def serve(address: str) -> tuple[list[str], dict[str, str]] | None:
    """Fork for each command that is asked for; the fork returns its arguments, its environment.

    Ends when standard input is closed, which happens at the latest when the tests end.
    """
    gc.set_threshold(50_000)  # as the commands do
    for name in LIBRARIES:
        import_module(name)
    assert threading.active_count() == 1, threading.enumerate()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen()
    signal.signal(signal.SIGCHLD, reap)
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    while True:
        if 0 in select([0, listener], [], [])[0]:
            return None
        line, _ = listener.accept()
        if os.fork():
            line.close()
            continue
        listener.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        content, files, _, _ = socket.recv_fds(line, 1 << 20, 2)
        child = os.fork()
        if child:
            line.send(str(child).encode())
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            with line:
                line.send(str(status).encode())
            os._exit(0)
        line.close()
        asked = json.loads(content)
        for number, file in enumerate([os.open(os.devnull, os.O_RDONLY), *files]):
            os.dup2(file, number)
            os.close(file)
        os.chdir(asked["cwd"])
        if asked["apart"]:
            os.setsid()
        return asked["arguments"], asked["env"]


def reap(*_: object) -> None:
    """Wait for forks that have ended."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue


def behave_as(arguments: list[str], environment: dict[str, str]) -> None:
    """Run ``python [-BP] [-W ignore] (SCRIPT | -c CODE | -m NAME)``, as the interpreter would."""
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in environment
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    if environment.get("PYTHONWARNINGS") == "ignore":
        warnings.simplefilter("ignore")
    safe = False
    while (option := arguments[0]) in ("-B", "-P", "-W"):
        arguments = arguments[1:]
        if option == "-B":
            sys.dont_write_bytecode = True
        elif option == "-P":
            safe = True
        else:
            assert arguments.pop(0) == "ignore"
            warnings.simplefilter("ignore")
    with clean_processes() if ADDRESS in environment else nullcontext():
        if arguments[0] == "-c":
            sys.argv = ["-c", *arguments[2:]]
            sys.path.insert(0, "")
            exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
            return
        if arguments[0] == "-m":
            sys.argv = arguments[1:]
            sys.path.insert(0, str(Path.cwd()))
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
            return
        sys.argv = arguments
        if not safe:
            sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    asked = serve(sys.argv[1])
    if asked:
        behave_as(*asked)
