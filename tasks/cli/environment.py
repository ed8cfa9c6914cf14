"""What Prefect and MLflow read from the environment before they are imported."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import warnings

from tasks.shown import stand_any_terminal

QUIET = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the UI still gets every line
    "MLFLOW_LOGGING_LEVEL": "ERROR",
}
DEFAULTS = {
    "OMP_NUM_THREADS": "1",  # two threads on a busy machine are slower than one
    "PREFECT_LOGGING_EXTRA_LOGGERS": "nightly",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # what we print there is the report
}
COLLECT_AFTER = 50_000
"""New objects before Python looks for garbage. Its own 700 cost a second of a night's start: the
libraries make a million objects as they are imported, and none of them is garbage."""

HERE = ("127.0.0.1", "localhost", "::1")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


def set_defaults() -> None:
    """Set what Prefect and MLflow read from the environment, before they are imported."""
    gc.set_threshold(COLLECT_AFTER)
    atexit.register(gc.freeze)  # last of all: it would look through a million objects, to free none
    stand_any_terminal()
    pass_proxy_by()
    verbose = {"-v", "--verbose"} & set(sys.argv[1:])
    for name, value in (DEFAULTS if verbose else DEFAULTS | QUIET).items():
        os.environ.setdefault(name, value)
    if not verbose and not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries: they are no lines of ours
        warnings.showwarning = _show_none


def _show_none(*_: object, **__: object) -> None:
    """Filters alone let some through: threads of libraries change those of the whole process."""


def pass_proxy_by() -> None:
    """Ask no proxy for the servers of this machine, where the environment names a proxy."""
    if not any(os.environ.get(name) for name in PROXIES):
        return
    for name in ("NO_PROXY", "no_proxy"):
        said = [each.strip() for each in os.environ.get(name, "").split(",") if each.strip()]
        if said != ["*"]:
            os.environ[name] = ",".join([*said, *(each for each in HERE if each not in said)])
