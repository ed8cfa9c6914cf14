"""Each policy promotes exactly what its name says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.backtest.policies import POLICIES, Look
from tasks.evaluation.estimates import Difference, Estimate, Evaluation
from tasks.promotion.contests import Proof
from tasks.spec import Gate


def estimate(value: float, half: float = 0.0) -> Estimate:
    return Estimate(value, value - half, value + half)


def look(gain: float, half: float = 0.01, last: float = 0.0, e_value: float = 100.0) -> Look:
    """A candidate that is ``gain`` (relative) better than the champion, of another recipe."""
    values = {"new": 0.4 * (1 + gain), "old": 0.4, "champion": 0.4, "baseline": 0.2}
    names = list(values)

    def difference(one: str, other: str) -> Difference:
        share = values[one] / values[other] - 1
        width = 0.0 if {one, other} == {"old", "champion"} else half
        absolute = values[one] - values[other]
        return Difference(estimate(absolute, width), estimate(share, width))

    figures = Evaluation(
        metric="average_precision",
        greater_is_better=True,
        confidence=0.9,
        days=14,
        units=5000,
        unit="rows",
        first_day="2026-01-01",
        last_day="2026-01-14",
        metrics={name: {"average_precision": estimate(v, 0.01)} for name, v in values.items()},
        differences={a: {b: difference(a, b) for b in names if b != a} for a in names},
        unusable={},
    )
    by_day = {"new": 0.4 + last, "old": 0.4, "champion": 0.4}
    proofs = {"new": Proof(30, e_value, 40.0)}
    return Look(figures, by_day, ["old", "new"], "champion", "old", Gate(), proofs)


@pytest.mark.parametrize(
    ("name", "seen", "promoted"),
    [
        ("always promote", look(0.05), "new"),
        ("always promote", look(-0.05), "old"),
        ("metric is larger", look(0.001), "new"),
        ("metric is larger", look(-0.001), None),
        ("metric is larger, 1 day", look(-0.05, last=0.1), "new"),
        ("metric is larger, 1 day", look(0.05, last=-0.1), None),
        ("not worse by 1 %", look(-0.005), "old"),
        ("clearly better", look(0.05), "new"),
        ("clearly better", look(0.01), None),
        ("two questions", look(0.08), "new"),
        ("two questions", look(0.08, e_value=39), "old"),
        ("two questions", look(0.004), "old"),
        ("two questions", look(-0.05), "old"),
    ],
)
def test_a_policy_promotes_what_it_says(name: str, seen: Look, promoted: str | None) -> None:
    assert POLICIES[name](seen) == promoted


@pytest.mark.parametrize("name", POLICIES)
def test_the_first_night_needs_no_champion(name: str) -> None:
    first = replace(look(0.05), champion=None, recipe=None)
    assert POLICIES[name](first) in ("old", "new")
