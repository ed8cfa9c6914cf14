"""Sequences of nights on made scores, decided as nights decide them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.spec import Revert
from tests.benchmarks.champions import Figures, live_through
from tests.benchmarks.creep import YEAR, decayed, synthetic

HONEST = synthetic(0.01, np.random.default_rng(1))


def turned(since: int, loss: float, edits: tuple[int, ...] = ()) -> Figures:
    """Versions from a night on are worse by a share of days that vary, which the gate can't see."""
    bad = 1 - loss + np.random.default_rng(2).normal(0, 0.12, HONEST.live.shape[1])
    live = HONEST.live.copy()
    live[since:] *= bad
    return replace(HONEST, live=live, edits=edits)


def test_a_year_of_small_losses_ends_within_two_percent() -> None:
    anchored = live_through(decayed(HONEST, 1e-3), YEAR)
    assert 1 - 0.999 ** max(anchored.champions) <= 0.02
    without = live_through(decayed(HONEST, 1e-3), YEAR, anchored=False)
    assert 1 - 0.999 ** max(without.champions) > 0.25


def test_honest_versions_are_promoted_and_none_is_reverted() -> None:
    """Newer data gain nothing here, so that the yearly anchor keeps some of them back."""
    found = live_through(HONEST, 120)
    assert (found.reverts, len(found.promoted) >= 80) == ({}, True)


@pytest.mark.parametrize("since", [10, 30, 50, 70])
def test_a_bad_line_goes_back_also_where_the_anchor_was_to_be_renewed(since: int) -> None:
    found = live_through(turned(since, 0.1), since + 60)
    assert found.reverts
    assert min(found.reverts.values()) >= since


@pytest.mark.parametrize("since", [10, 50])
def test_a_bad_edit_goes_back_soon_and_is_held(since: int) -> None:
    found = live_through(turned(since, 0.1, (since,)), since + 30)
    night = min(found.reverts)
    assert night - since <= 25
    assert not {*range(night, night + Revert().hold.days + 1)} & {*found.promoted}
