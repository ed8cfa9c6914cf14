"""``python -m tasks.cli.warm_process FOLDER``: a process that has the libraries forks for each run.

Importing Prefect, MLflow and scikit-learn takes a run five CPU seconds and more, each night and at
each hourly look. ``deployments/serve.py`` keeps this process, which has imported libraries and
forgotten what it knows of the project. The worker starts ``start_run.py`` for a run, which asks
here. The fork has the folder, the environment and the output of that process, reads the project's
code anew, and becomes ``python -m prefect.engine``. Where libraries might have read something else
as they were imported, another environment or other files, it starts as a new interpreter.
"""

from __future__ import annotations

import contextlib
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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.clean_process import template
from tasks.cli.environment import COLLECT_AFTER
from tasks.cli.start_run import ENGINE, address

LIBRARIES = (
    "matplotlib.figure",
    "pandera.pandas",
    "prefect.flow_engine",
    "prefect.runner",
    "prefect.task_engine",
    "pyarrow.feather",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
)
NOT_READ_AT_IMPORT = ("NIGHTLY_", "OLDPWD", "PREFECT_", "PWD", "SHLVL", "_")
"""Beginnings of variables that may differ; Prefect's are compared as it reads them."""


def main() -> None:
    """Wait for runs, until told to end; in each fork, be the run."""
    folder = os.open(sys.argv[1], os.O_RDONLY)
    gc.set_threshold(COLLECT_AFTER)
    path, environment = sys.path[1:], dict(os.environ)
    template.import_libraries()
    for name in LIBRARIES:
        importlib.import_module(name)
    if threads := template.other_threads():
        sys.exit(f"A fork would lose the threads {', '.join(threads)}, so runs start without one.")
    template.forget_project(template.hidden_folders())
    asked = wait_for_run(folder)
    os.environ.clear()
    os.environ.update(asked["environment"])
    if read_at_import(environment) != read_at_import(os.environ) or prefect_reads_otherwise():
        os.execv(sys.executable, [sys.executable, *ENGINE])
    sys.argv[1:], sys.path[:] = [], [asked["folder"], *path]
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # or draws without a seed were the same in every run
    leave_clean_process()
    runpy.run_module(ENGINE[1], run_name="__main__", alter_sys=True)


def wait_for_run(folder: int) -> dict[str, Any]:
    """Listen in an open folder and fork for each run; in the fork, what was asked for."""
    installed = packages()
    Path(address(folder)).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address(folder))
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a keeper ended
    gc.collect()
    gc.freeze()
    while True:
        line, _ = listener.accept()
        if packages() != installed:  # who asked starts without a fork, and later runs have new ones
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
        if os.fork() == 0:
            os.close(folder)
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return keep_run(line)
        line.close()


def packages() -> list[tuple[str, int]]:
    """Folders of installed packages, and when something was last installed there."""
    return [(each, Path(each).stat().st_mtime_ns) for each in site.getsitepackages()]


def keep_run(line: socket.socket) -> dict[str, Any]:
    """Fork the run, pass it the signals that the line brings, and say how it ended.

    Where the line ends, whoever asked is gone: then the run is killed, as it would be with it.

    Returns:
        What was asked for, in the run; its keeper ends here.
    """
    content, files, _, _ = socket.recv_fds(line, 1 << 20, 3)
    try:
        line.send(b"begun")  # refused where who asked has gone, or no longer waits
    except OSError:
        os._exit(0)
    os.setsid()
    run = os.fork()
    if run == 0:
        line.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        asked: dict[str, Any] = json.loads(content)
        os.chdir(asked["folder"])
        return asked
    for file in files:
        os.close(file)
    ended = os.pidfd_open(run)
    while line.fileno() in select.select([line.fileno(), ended], [], [])[0]:
        said = line.recv(100)
        os.kill(run, int(said or signal.SIGKILL))
        if not said:
            os._exit(0)
    _, status, used = os.wait4(run, 0)
    code = os.waitstatus_to_exitcode(status)
    line.send(str(code).encode())
    print(f"{run} ended with {code}: {used.ru_utime + used.ru_stime:.1f} CPU s", flush=True)
    os._exit(0)


def read_at_import(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that a library may have read as it was imported."""
    return {n: v for n, v in environment.items() if not n.startswith(NOT_READ_AT_IMPORT)}


def prefect_reads_otherwise() -> bool:
    """Whether Prefect reads other settings now than when it was imported."""
    from prefect import context

    before = context.get_settings_context()
    context.refresh_global_settings_context()
    return before != context.get_settings_context()


def leave_clean_process() -> None:
    """Leave a fork from which the run checks packages, by the project's code as it is now."""
    from tasks.clean_process.template import leave_template
    from tasks.errors import NightlyError

    with contextlib.suppress(NightlyError):  # a wrong setting, which the run says in its place
        leave_template()


if __name__ == "__main__":
    main()
