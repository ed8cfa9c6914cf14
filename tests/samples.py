"""How much a test draws where any number would do: all of it in CI, a part where a person waits.

What is asserted is the same. ``NIGHTLY_CI=1 pytest`` draws all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

from tests.browser import REQUIRED

ALL = bool(os.environ.get(REQUIRED))
PART = 3
"""Of so many samples one is drawn."""
Each = TypeVar("Each")


def samples(count: int) -> int:
    """Examples of a property."""
    return count if ALL else max(4, count // PART)


def some(each: Sequence[Each]) -> Sequence[Each]:
    """Steps of a walk: the first, the last and some between them."""
    return each if ALL else each[:: (len(each) - 1) // PART]
