"""Take a laptop's state to several machines, and back: see the page of operations."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tasks import settings
from tasks.cli.exits import fail
from tasks.errors import NightlyError
from tasks.store import mirror


def share_parser() -> argparse.ArgumentParser:
    """The options of ``deployments/share.py``."""
    parser = argparse.ArgumentParser(
        prog="deployments/share.py",
        description="Take this state directory to the machines that share NIGHTLY_STATE_URL, or "
        "bring back here all that they have.",
    )
    way = parser.add_mutually_exclusive_group(required=True)
    way.add_argument("--push", action="store_true", help="share what this state directory has")
    way.add_argument(
        "--pull", action="store_true", help="bring everything here, to go on without a shared state"
    )
    parser.add_argument(
        "--replace", action="store_true", help="with --push: where both differ, this directory wins"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    asked = share_parser().parse_args(arguments)
    try:
        if settings.state_url() is None:
            raise settings.SettingsError(
                "NIGHTLY_STATE_URL is not set: name the database that the machines share."
            )
        if asked.push:
            print(f"{len(mirror.push(replace=asked.replace)):,} files are shared now.")
        else:
            mirror.leave()
            print("Everything is here. Unset NIGHTLY_STATE_URL to go on without it.")
    except NightlyError as error:
        return fail(str(error), error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
