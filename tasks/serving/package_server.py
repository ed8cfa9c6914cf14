"""Answer requests with one packaged model, as ``mlflow models serve`` does, on a Unix socket.

    python -P package_server.py MODEL_FOLDER SOCKET

Run by ``tasks.serving.champions`` with only the libraries on the path: a model brings its own code.
It ends with the process that started it.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time

IDLE = 3600
"""Seconds after which an unused connection is closed: the one that uses them opens few."""


def main() -> None:
    """Load the model and answer until told to end."""
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    gc.set_threshold(50_000)  # importing the libraries makes a million objects and no garbage
    folder, socket = sys.argv[1:]
    import skops.io  # noqa: F401, I001  # first: it looks through all modules loaded by then
    import mlflow
    import uvicorn
    from mlflow.pyfunc import scoring_server

    model = mlflow.pyfunc.load_model(folder, suppress_warnings=True)
    uvicorn.run(
        scoring_server.init(model), uds=socket, log_level="warning", timeout_keep_alive=IDLE
    )


def _end_with(parent: int) -> None:
    """End this process once its parent is gone, however that ended."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
