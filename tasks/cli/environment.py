"""What Prefect and MLflow read from the environment before they are imported."""

from __future__ import annotations

import os
import sys
import warnings

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


def set_defaults() -> None:
    """Set what Prefect and MLflow read from the environment, before they are imported."""
    verbose = {"-v", "--verbose"} & set(sys.argv[1:])
    for name, value in (DEFAULTS if verbose else DEFAULTS | QUIET).items():
        os.environ.setdefault(name, value)
    if not verbose and not sys.warnoptions:
        warnings.simplefilter("ignore")  # of libraries: they are no lines of ours
