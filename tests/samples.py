"""How much is drawn and proven: all of it in CI, a part where a person waits.

A property draws fewer examples. Tests that take long to prove one rare order of nights, one fault
after another or the state of an earlier release are marked ``long`` and skipped: what they prove
depends on the code and not on the machine. ``NIGHTLY_CI=1 pytest`` draws and runs all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import pytest

from tests.browser import REQUIRED

ALL = bool(os.environ.get(REQUIRED))
PART = 3
"""Of so many samples one is drawn."""
LATER = f"takes long and is run in CI; run it here with: {REQUIRED}=1 pytest"


def samples(count: int) -> int:
    """Examples of a property."""
    return count if ALL else max(4, count // PART)


def in_part(cases: Iterable[object], *always: object) -> list[Any]:
    """Cases to parametrize a test with: these run always, the others only where all is proven.

    Where none is named, one of so many samples runs always.
    """
    every = [*cases]
    kept = always or every[::PART]
    return [pytest.param(case, marks=() if case in kept else pytest.mark.long) for case in every]


def skip_long(item: pytest.Item, *, everything: bool = ALL) -> None:
    """Skip a test that is marked ``long`` unless all have to run.

    Raises:
        pytest.skip.Exception: Where it is skipped.
    """
    if item.get_closest_marker("long") and not everything:
        pytest.skip(LATER)
