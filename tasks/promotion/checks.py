"""One check before a promotion, and the verdict of a night."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["PROMOTED", "KEPT", "HELD", "REJECTED"]


@dataclass(frozen=True)
class Check:
    """One condition of a promotion.

    Attributes:
        name: What is checked.
        passed: Whether it holds.
        detail: The numbers, in words.
    """

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class Verdict:
    """What a night decided.

    Attributes:
        status: PROMOTED, KEPT, HELD (no fresh data) or REJECTED (bad data).
        reasons: Plain words with numbers, the deciding one first.
        checks: Every check that was made, in the order of making.
    """

    status: Status
    reasons: tuple[str, ...]
    checks: tuple[Check, ...] = ()
