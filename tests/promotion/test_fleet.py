"""The error that the models of a fleet share."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.promotion.fleet import Ledger, enroll
from tasks.spec import Gate
from tests.samples import samples

FIRST = date(2026, 1, 1)


def test_the_first_partitions_share_with_the_common_model() -> None:
    ledger = enroll(Ledger(), ["a", "b", "c"], FIRST)
    assert ledger.common == ledger.members["a"].share == 1 / 8
    assert ledger.of_tonight("since", FIRST) == ("a", "b", "c")


def test_a_share_never_changes_and_the_same_night_changes_nothing() -> None:
    first = enroll(Ledger(), ["a", "b"], FIRST)
    later = enroll(first, ["a", "new"], FIRST + timedelta(days=1))
    assert later.common == first.common == later.members["a"].share
    assert later.members["new"].share == 1 / 6
    assert later.of_tonight("gone", FIRST + timedelta(days=1)) == ("b",)
    assert enroll(later, ["a", "new"], FIRST + timedelta(days=1)) == later
    assert Ledger.from_json(later.to_json()) == later


def test_one_that_comes_back_has_its_share_still() -> None:
    first = enroll(Ledger(), ["a", "b"], FIRST)
    gone = enroll(first, ["a"], FIRST + timedelta(days=1))
    assert enroll(gone, ["a"], FIRST + timedelta(days=2)) == gone
    assert enroll(gone, ["a", "b"], FIRST + timedelta(days=3)) == first


@settings(max_examples=samples(30))
@given(st.lists(st.sets(st.integers(0, 40).map(str), max_size=20), max_size=12))
def test_the_shares_sum_to_one_at_most(nights: list[set[str]]) -> None:
    ledger = Ledger(common=0.0)
    for number, values in enumerate(nights):
        ledger = enroll(ledger, values, FIRST + timedelta(days=number))
    assert ledger.common + sum(one.share for one in ledger.members.values()) <= 1 + 1e-9


def test_the_gate_within_a_share() -> None:
    assert Gate().within(1 / 8).recipe_confidence == pytest.approx(1 - 0.05 / 8)
    assert Gate().within(1.0) == Gate()
