"""Fits of a night: the usable ones, the faults of the others, and failures that are neither."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from tasks.training.fit import Fit, FitError
from tasks.training.fit_results import usable_fits

FITS = {name: Fit(name, f"key of {name}", 10, 1.0, 1.0) for name in ("tree", "logistic")}


def test_candidates_that_raised_are_told_and_the_others_used() -> None:
    made = [asdict(FITS["tree"]), FitError("'broken' raised."), asdict(FITS["logistic"])]
    assert usable_fits(made) == (FITS, ("'broken' raised.",))


def test_without_any_candidate_the_night_fails_with_every_fault() -> None:
    with pytest.raises(FitError, match=r"'a' raised\. 'b' raised\."):
        usable_fits([FitError("'a' raised."), FitError("'b' raised.")])


def test_a_failure_that_is_no_fault_of_a_candidate_is_raised_as_it_is() -> None:
    with pytest.raises(OSError, match="disk"):
        usable_fits([asdict(FITS["tree"]), OSError("The disk is full.")])
