"""A process that has imported the libraries and nothing else, forked for each clean process.

To import scikit-learn and MLflow takes a new interpreter four seconds, and what it has then is what
this command had before it imported the model's file. So a command that will need a clean process
imports them first, and leaves a fork of itself to wait: the template. A clean process is a fork of
that, in which the modules of this project are forgotten and its folders are off the path, with the
environment and the folder that a new interpreter would get.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import site
import socket
import sys
import sysconfig
import tempfile
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from tasks.registry.client import import_ahead
from tasks.settings import PROJECT
from tasks.spec.lean_imports import as_if_missing

FIRST = ("scipy.special", "skops.io")
"""skops looks for functions in all modules that are loaded, in their order; most are scipy's."""
LIBRARIES = ("pandas", "pyarrow.parquet", "mlflow.pyfunc", "mlflow.sklearn")
OURS = ("deployments", "flows", "tasks", "tests")
SAFE = "jemalloc_bg_thd"
"""The thread of pyarrow's allocator, which stands a fork: it is started again in it."""
_waiting: list[socket.socket] = []
_ONE_AT_A_TIME = threading.Lock()


def leave_template(*, registry: bool = True) -> None:
    """Import the libraries and leave a fork that waits, before any code of the model is imported.

    None is left where a fork would not be safe or clean: elsewhere than on Linux, and in a process
    with several threads. Then each clean process is a new interpreter.

    Args:
        registry: Whether the command will open the registry.
    """
    if sys.platform != "linux" or _waiting:
        return
    import_libraries(registry=registry)
    if other_threads():
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    hidden = hidden_folders()
    template = os.fork()
    if template == 0:
        ours.close()
        _wait_for_jobs(theirs, hidden)
    theirs.close()
    _waiting.append(ours)
    atexit.register(_end, template)


def import_libraries(*, registry: bool = True) -> None:
    """Import what a night needs of the libraries, skops before what it would look through.

    Args:
        registry: Whether the registry will be opened.
    """
    with as_if_missing("dask"):  # that scikit-learn has a module for, and skops asks all modules
        for name in FIRST:
            importlib.import_module(name)
    import_ahead(stores=registry)
    for name in LIBRARIES:
        importlib.import_module(name)


def has_template() -> bool:
    """Whether this process has left one, and no other thread uses it."""
    return bool(_waiting) and not _ONE_AT_A_TIME.locked()


def run_in_fork(
    script: Path,
    arguments: Sequence[str],
    place: str,
    environment: Mapping[str, str],
    limit: float | None,
) -> tuple[int, str, str] | None:
    """Exit code, stdout and stderr of a script in a fork of the template.

    None where there is no template, another thread uses it, or it has ended: then a new interpreter
    has to run the script.

    Args:
        script: The script.
        arguments: Its arguments.
        place: Its working directory.
        environment: All its environment variables.
        limit: Seconds it may take; None for any number.

    Raises:
        TimeoutError: Where it takes longer.
    """
    if not _waiting or not _ONE_AT_A_TIME.acquire(blocking=False):
        return None
    out, err = os.memfd_create("stdout"), os.memfd_create("stderr")
    try:
        job = {"argv": [str(script), *arguments], "place": place, "environment": dict(environment)}
        code = _ask(_waiting[0], json.dumps(job).encode(), [out, err], limit)
        return None if code is None else (code, _text(out), _text(err))
    finally:
        os.close(out)
        os.close(err)
        _ONE_AT_A_TIME.release()


def _ask(template: socket.socket, job: bytes, files: list[int], limit: float | None) -> int | None:
    try:
        template.settimeout(None)
        socket.send_fds(template, [job], files)
        forked = int(template.recv(100))
        template.settimeout(limit)
        return int(template.recv(100))
    except TimeoutError:
        os.killpg(forked, signal.SIGKILL)
        template.settimeout(None)
        template.recv(100)
        raise
    except (OSError, ValueError):  # too much to send, or the template has ended
        return None


def _text(file: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, encoding="utf-8", errors="replace", closefd=False) as text:
        return text.read()


def _end(template: int) -> None:
    """At the end of the command: what the template used counts as used by it."""
    _waiting.pop().close()
    try:
        os.waitpid(template, 0)
    except ChildProcessError:
        return


def other_threads() -> list[str]:
    """Names of the other threads of this process that a fork would lose, unknown to Python too."""
    own = str(threading.get_native_id())
    tasks = Path("/proc/self/task").iterdir()
    names = [(task / "comm").read_text().strip() for task in tasks if task.name != own]
    return [name for name in names if name != SAFE]


def hidden_folders() -> set[str]:
    """Folders that a new interpreter with ``-P`` and without ``PYTHONPATH`` has not on its path."""
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    script = Path(sys.argv[0]).resolve().parent
    return {os.path.realpath(each) for each in (*named, "", str(script), str(PROJECT))}


def _wait_for_jobs(command: socket.socket, hidden: set[str]) -> NoReturn:
    """Be the template, until the command has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command ends it
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    gc.freeze()
    try:
        forget_project(hidden)
        while True:
            text, files, _, _ = socket.recv_fds(command, 1 << 20, 2)
            if not text:
                break
            forked = os.fork()
            if forked == 0:
                command.close()
                _be_clean(json.loads(text), files)
            for file in files:
                os.close(file)
            os.setpgid(forked, forked)  # what it starts itself ends with it
            command.send(str(forked).encode())
            _kill_without(command, forked)
            _, status = os.waitpid(forked, 0)
            command.send(str(os.waitstatus_to_exitcode(status)).encode())
    finally:
        os._exit(0)


def _kill_without(command: socket.socket, forked: int) -> None:
    """Wait until the fork ends; where the command ends before it, it is killed."""
    ended = os.pidfd_open(forked)
    if command.fileno() in select.select([command.fileno(), ended], [], [])[0]:
        os.killpg(forked, signal.SIGKILL)
    os.close(ended)


def forget_project(hidden: set[str]) -> None:
    """Forget every module that is not a library's, and where those of this project lie."""
    libraries = tuple(
        os.path.realpath(folder) + os.sep
        for folder in {
            *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
            *site.getsitepackages(),
        }
    )
    real = functools.cache(os.path.realpath)
    for name, module in list(sys.modules.items()):
        file = vars(module).get("__file__") if module is not None else None
        place = real(file.rpartition(os.sep)[0]) + os.sep if isinstance(file, str) else ""
        below = any(place.startswith(folder + os.sep) for folder in hidden)
        if name.split(".")[0] in OURS or (below and not place.startswith(libraries)):
            del sys.modules[name]
    sys.path[:] = [folder for folder in sys.path if os.path.realpath(folder) not in hidden]
    importlib.invalidate_caches()


def _be_clean(job: Mapping[str, object], files: Sequence[int]) -> NoReturn:
    """Run the script of a job as a new interpreter would, and end."""
    code = 1
    try:
        for number, file in enumerate(files, start=1):
            os.dup2(file, number)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(job["environment"])  # type: ignore[call-overload]
        os.chdir(str(job["place"]))
        tempfile.tempdir = None
        warnings.simplefilter("ignore")
        sys.dont_write_bytecode = True
        sys.argv = list(job["argv"])  # type: ignore[call-overload]
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
