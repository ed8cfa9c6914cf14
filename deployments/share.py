"""Take a laptop's state to several machines, and back: see the page of operations."""

from __future__ import annotations

from tasks.cli.environment import set_defaults

if __name__ == "__main__":
    set_defaults()

import argparse
import sys
from collections.abc import Sequence

from tasks import settings
from tasks.cli.exits import fail
from tasks.errors import NightlyError
from tasks.registry.moving import copy_registry
from tasks.store import blobs, mirror

ARTIFACTS = "artifacts"


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
    parser.add_argument(
        "--mlflow",
        metavar="URL",
        help="also take MLflow's database and artifacts there or back: the database that machines "
        "share, which is empty before --push",
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
        if asked.mlflow and settings.store_url() is None:
            raise settings.SettingsError(
                "--mlflow takes the artifacts along, and NIGHTLY_STORE_URL does not say where to."
            )
        if asked.mlflow:
            _move_registry(asked.mlflow, push=asked.push)
        if asked.push:
            print(f"{len(mirror.push(replace=asked.replace)):,} files are shared now.")
        else:
            mirror.leave()
            print("Everything is here. Unset NIGHTLY_STATE_URL to go on without it.")
    except NightlyError as error:
        return fail(str(error), error.exit_code)
    return 0


def _move_registry(shared: str, *, push: bool) -> None:
    """Take MLflow's own database of the state directory there, or bring that one here."""
    place, file = settings.artifact_root(), settings.home() / "mlflow.db"
    own, there = place.as_uri(), f"{(settings.store_url() or '').rstrip('/')}/{ARTIFACTS}"
    if push:
        files = blobs.put_folder(place, ARTIFACTS)
        rows = copy_registry(f"sqlite:///{file}", shared, own, there)
        print(f"{rows:,} rows and {files:,} artifacts of MLflow are shared now.")
        return
    if file.exists():
        before = file.replace(file.with_name(f"{file.name}.before"))
        print(f"The database that was here is {before} now.")
    files = blobs.fetch_folder(ARTIFACTS, place)
    rows = copy_registry(shared, f"sqlite:///{file}", there, own)
    print(f"{rows:,} rows and {files:,} artifacts of MLflow are here.")


if __name__ == "__main__":
    sys.exit(main())
