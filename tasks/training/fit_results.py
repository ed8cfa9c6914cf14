"""Fits that came back from their tasks: the usable ones, and what is wrong with the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.training.fit import Fit, FitError


def usable_fits(
    made: Sequence[dict[str, Any] | BaseException],
) -> tuple[dict[str, Fit], tuple[str, ...]]:
    """Candidates that could be fitted and scored, by name, and the faults of the others.

    Args:
        made: Each candidate's fit as plain JSON types, or what its fit raised.

    Raises:
        FitError: Where no candidate could be fitted and scored.
        BaseException: The first failure that is no fault of a candidate.
    """
    fits = {each["candidate"]: Fit(**each) for each in made if isinstance(each, dict)}
    failed = [each for each in made if isinstance(each, BaseException)]
    for error in failed:
        if not isinstance(error, FitError):
            raise error
    if not fits:
        raise FitError(" ".join(map(str, failed)))
    return fits, tuple(map(str, failed))
