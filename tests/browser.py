"""Where Chromium is, or in one line how to get it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

import pytest

HOW = "found no Chromium to look at the pages with; get it with: apt-get install chromium"
REQUIRED = "NIGHTLY_CI"
"""Variable under which no test may be skipped."""


def find_chromium(environment: Mapping[str, str] = os.environ) -> str:
    """The command ``chromium``.

    Raises:
        pytest.skip.Exception: Where there is none.
        pytest.fail.Exception: Where there is none and every test has to run.
    """
    found = shutil.which("chromium", path=environment.get("PATH"))
    if found:
        return found
    if environment.get(REQUIRED):
        pytest.fail(HOW, pytrace=False)
    pytest.skip(HOW)
