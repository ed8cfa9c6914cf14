"""One address for single requests: ``python deployments/answer.py``.

The champion of every model answers, whichever that is by then. ``deployments/serve.py --answers``
starts it beside the pages; by itself it serves a machine that only answers, with the registry that
``MLFLOW_TRACKING_URI`` names.
"""

from __future__ import annotations

from tasks.cli.environment import set_defaults

if __name__ == "__main__":
    set_defaults()

import argparse
import logging
import sys

from tasks import settings
from tasks.cli.passwords import ensure_password
from tasks.errors import NightlyError
from tasks.store.scratch import own_folder

PORT = 5080
PASSWORD = "answers-password"
"""File in ``serve/`` of the state directory."""


def answer_parser() -> argparse.ArgumentParser:
    """The options of ``deployments/answer.py``."""
    parser = argparse.ArgumentParser(
        prog="deployments/answer.py",
        description="Answer requests with the champion of every model, whichever that is by then.",
    )
    parser.add_argument("--port", type=int, default=PORT, help=f"on 127.0.0.1 (default: {PORT})")
    return parser


def main() -> None:
    """Answer until Ctrl-C or SIGTERM."""
    asked = answer_parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("nightly").setLevel(logging.INFO)
    import uvicorn

    from tasks.serving.champions import Champions
    from tasks.serving.front import make_app

    try:
        folder = settings.ensure_home() / "serve"
        folder.mkdir(mode=0o700, exist_ok=True)
        app = make_app(Champions(), ensure_password(folder / PASSWORD))
        with own_folder():
            uvicorn.run(app, host="127.0.0.1", port=asked.port, log_level="warning")
    except NightlyError as error:
        sys.exit(f"nightly: {error}")
    except KeyboardInterrupt:
        print("Ended.")


if __name__ == "__main__":
    main()
