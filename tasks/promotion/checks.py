"""One check before a promotion, and the verdict of a night."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

STAYS = "the champion stays"


class Status(StrEnum):
    """How a night can end. A member is equal to its name, which is what reports hold."""

    PROMOTED = "PROMOTED"
    KEPT = "KEPT"
    WAITING = "WAITING"
    SHADOW = "SHADOW"
    HELD = "HELD"
    REJECTED = "REJECTED"

    @property
    def exit_code(self) -> int:
        """Exit code of the command line."""
        return _MEANINGS[self].exit_code

    @property
    def fails(self) -> bool:
        """Whether the run ends as failed in Prefect: a person has to look."""
        return _MEANINGS[self].fails

    @property
    def registers(self) -> bool:
        """Whether the challenger becomes a version in the registry."""
        return self in (Status.PROMOTED, Status.WAITING, Status.SHADOW)

    @property
    def words(self) -> str:
        """What became of the champion."""
        return _MEANINGS[self].words


class _Meaning(NamedTuple):
    exit_code: int
    fails: bool
    words: str


_MEANINGS = {
    Status.PROMOTED: _Meaning(0, False, "a new champion"),
    Status.KEPT: _Meaning(0, False, STAYS),
    Status.WAITING: _Meaning(0, False, f"a version waits for a person, {STAYS}"),
    Status.SHADOW: _Meaning(0, False, f"a version predicts in the shadow, {STAYS}"),
    Status.HELD: _Meaning(0, False, f"no fresh data, {STAYS}"),
    Status.REJECTED: _Meaning(3, True, f"bad data, {STAYS}"),
}


@dataclass(frozen=True)
class Check:
    """One condition of a promotion.

    Attributes:
        name: What is checked.
        passed: Whether the condition holds.
        detail: The numbers, as a sentence.
        for_person: Whether a person may overrule it where it fails.
    """

    name: str
    passed: bool
    detail: str
    for_person: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a night decided.

    Attributes:
        status: How the night ends.
        reasons: Plain words with numbers, the deciding one first.
        checks: Every check that was made, in the order of making.
    """

    status: Status
    reasons: tuple[str, ...]
    checks: tuple[Check, ...] = ()
