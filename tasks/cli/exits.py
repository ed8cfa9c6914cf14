"""How a command ends: what it prints, and its exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from tasks.cli import prefect_failures
from tasks.cli.interrupt import AGAIN
from tasks.errors import NightlyError, to_message
from tasks.registry.client import outage
from tasks.shown import clean, shown
from tasks.store import files

OUTAGE = (
    "No version becomes the champion without having passed every check. When the server answers "
    "again, run the same command: it continues where this run stopped and repeats nothing."
)


def end_failed(found: BaseException) -> int:
    """Say what a run failed with, and whether the same command again may get past it."""
    if isinstance(found, NightlyError) and not found.may_pass:
        return fail(str(found), found.exit_code)
    return fail_outside(found)


@contextmanager
def own_stdout() -> Iterator[None]:
    """Meanwhile what a model's code prints goes to stderr: on stdout stands the answer alone."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def print_text(text: str) -> None:
    """Print what a command answers, without secrets and control characters."""
    try:
        print(clean(text), flush=True)
    except BrokenPipeError:  # such as `| head`: what is left has no reader
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(message: str, code: int, then: str = "The champion is unchanged.") -> int:
    print(f"nightly: {shown(message)}\n{then}", file=sys.stderr)
    return code


def fail_outside(error: BaseException) -> int:
    """End with a failure after which the same command may succeed."""

    failed = outage(error)
    if failed:
        return fail(failed, 1, OUTAGE)
    if told := prefect_failures.of_server(error):
        return fail(told, 1, AGAIN)
    if isinstance(error, OSError) and error.errno in files.FAILED and error.filename:
        return fail(files.unwritable(error.filename, error), 1, AGAIN)
    return fail(to_message(error), 1, AGAIN)
