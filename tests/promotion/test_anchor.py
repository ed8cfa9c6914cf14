"""Small losses do not add up: what is held against the anchor, and when the anchor is another."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.evaluation.estimates import Difference, Estimate, Evaluation
from tasks.promotion.anchor import (
    ANCHOR,
    FEWEST,
    NIGHTS,
    OLDEST,
    OLDEST_YEARLY,
    YEARLY,
    AnchorFacts,
    after_failure,
    check_anchor,
    gains_of,
    is_level,
    line_gain,
    margin_left,
    next_anchor,
    next_yearly,
    past_gains,
)
from tasks.registry.anchors import Anchor
from tests.samples import samples

NIGHT = date(2026, 11, 20)
NOW = Anchor("3", NIGHT - timedelta(days=19), NIGHT - timedelta(days=9))
OLD = replace(NOW, as_of=NIGHT - OLDEST)
FACTS = AnchorFacts("3", 0.01)


@pytest.mark.parametrize(
    ("gains", "level"),
    [
        ([0.0], True),
        ([-0.010], False),  # the mean over the nights there are
        ([0.01, -0.010], True),
        ([0.01, -0.011], False),
        ([0.02, -0.011, -0.001], False),  # behind, until it is as good again
        ([0.02, -0.011, 0.0], True),
        ([0.0, 0.0, -0.004], True),
        ([-0.006] * NIGHTS, False),  # each night alone would do
        ([-0.004] * NIGHTS, True),
        ([-0.5] + [0.0] * NIGHTS, True),  # long ago
        ([0.0, float("nan")], False),
    ],
)
def test_a_recipe_is_level_with_the_anchor_or_behind(gains: list[float], level: bool) -> None:
    assert is_level(gains, 0.01) is level


@given(st.lists(st.floats(-0.03, 0.03), min_size=1, max_size=40), st.floats(0, 0.02))
@settings(max_examples=samples(60))
def test_better_nights_never_put_a_recipe_behind(gains: list[float], more: float) -> None:
    assert not is_level(gains, 0.01) or is_level([gain + more for gain in gains], 0.01)


def found(gain: float, scorer: str = ANCHOR) -> Evaluation:
    difference = Difference(*(Estimate(gain, gain - 0.01, gain + 0.01),) * 2)
    return Evaluation(
        "average_precision",
        greater_is_better=True,
        confidence=0.9,
        days=14,
        units=1000,
        unit="rows",
        first_day="2026-11-01",
        last_day="2026-11-14",
        metrics={},
        differences={"tree": {scorer: difference}},
        unusable={},
    )


def test_the_check_says_what_it_compared_and_fails_without_a_number() -> None:
    passed = check_anchor(found(-0.004), "tree", FACTS)
    assert (passed.name, passed.passed) == ("anchor", True)
    assert passed.detail.startswith("Against the anchor, version 3: -0.4% on the same days")
    assert not check_anchor(found(-0.02), "tree", FACTS).passed
    assert not check_anchor(found(0.02), "line", FACTS).passed
    assert not check_anchor(found(float("nan")), "tree", FACTS).passed
    broken = check_anchor(found(0.02), "tree", replace(FACTS, fault="It is broken."))
    assert (broken.passed, broken.detail) == (False, "It is broken.")
    behind = check_anchor(found(-0.001), "tree", replace(FACTS, past={"tree": [0.01, -0.015]}))
    assert not behind.passed
    assert behind.detail.endswith("It fell behind before: it must be as good as the anchor again.")


@pytest.mark.parametrize(
    ("past", "tonight", "passed"),
    [
        ([], -0.5, True),  # what one night shows is the anchor's
        ([-0.5] * (FEWEST - 2), -0.5, True),
        ([-0.002] * (FEWEST - 1), -0.002, False),
        ([-0.0009] * (NIGHTS - 1), -0.0009, True),
        ([-0.5] + [0.01] * (NIGHTS - 1), 0.01, True),  # long ago
        ([0.0] * NIGHTS, float("nan"), False),
    ],
)
def test_against_the_yearly_anchor_many_nights_count_and_one_does_not(
    past: list[float], tonight: float, passed: bool
) -> None:
    facts = AnchorFacts("2", 0.01, YEARLY, yearly=True, past={"tree": past})
    check = check_anchor(found(tonight, YEARLY), "tree", facts)
    assert (check.name, check.passed) == ("yearly anchor", passed)
    assert "the yearly anchor, version 2" in check.detail
    broken = check_anchor(found(0.1, YEARLY), "tree", replace(facts, fault="It is broken."))
    assert (broken.passed, broken.detail) == (False, "It is broken.")


def report(gains: dict[str, float], version: str = "3", digest: str = "code") -> dict[str, Any]:
    return {"anchor": {"version": version, "digest": digest, "gains": gains}}


def test_gains_are_those_over_the_same_anchor_from_the_same_code() -> None:
    assert gains_of(found(-0.02).to_json(), ANCHOR) == {"tree": -0.02}
    assert gains_of(None, ANCHOR) == {}
    reports = [
        {},
        {"anchor": None},
        report({"tree": 0.5}, version="2"),
        report({"tree": 0.1, "champion": -0.01}),
        report({"tree": 0.2, "line": 0.3, "champion": -0.03}, digest="older"),
        report({"tree": 0.4}),
    ]
    assert past_gains(reports, "3", "code") == {"tree": [0.1, 0.4], "champion": [-0.01]}
    assert line_gain(reports, "3") == pytest.approx(-0.02)
    aged = {
        "anchor": reports[-1]["anchor"] | {"version": "5"},
        "yearly_anchor": reports[-1]["anchor"],
    }
    assert past_gains([*reports, aged], "3", "code")["tree"] == [0.1, 0.4, 0.4]
    assert line_gain(reports, "9") == 0.0


@pytest.mark.parametrize(
    ("now", "champion", "facts", "expected"),
    [
        (None, None, {}, None),
        (None, "1", {"usable": False}, Anchor("1", NIGHT, NIGHT)),
        (NOW, "7", {}, NOW),
        (NOW, "7", {"gain": -0.01}, NOW),
        (NOW, "7", {"proven": "6"}, Anchor("6", NIGHT, NIGHT)),
        (NOW, "3", {}, replace(NOW, since=NIGHT)),
        (replace(NOW, spent=0.004), "7", {"usable": False}, Anchor("7", NIGHT, NIGHT, 0.004)),
        (OLD, "7", {"gain": -0.006}, Anchor("7", NIGHT, NIGHT, 0.006)),
        (OLD, "7", {"gain": -0.006, "behind": True}, OLD),
        (OLD, "3", {}, replace(OLD, since=NIGHT)),
    ],
)
def test_the_anchor_stays_unless_it_is_gone_old_or_clearly_beaten(
    now: Anchor | None, champion: str | None, facts: dict[str, Any], expected: Anchor | None
) -> None:
    assert next_anchor(now, champion, NIGHT, **facts) == expected


@pytest.mark.parametrize(
    ("now", "anchor", "facts", "expected"),
    [
        (None, None, {}, None),
        (NOW, NOW, {}, NOW),
        (NOW, Anchor("7", NIGHT, NIGHT), {}, NOW),  # the anchor before it stays for a year
        (NOW, Anchor("7", NIGHT, NIGHT), {"usable": False}, Anchor("7", NIGHT, NIGHT)),
        (
            replace(NOW, as_of=NIGHT - OLDEST_YEARLY),
            Anchor("7", NIGHT - timedelta(days=9), NIGHT),
            {"gain": -0.002},
            Anchor("7", NIGHT, NIGHT, 0.002),
        ),
    ],
)
def test_the_yearly_anchor_is_the_first_one_for_a_year(
    now: Anchor | None, anchor: Anchor | None, facts: dict[str, Any], expected: Anchor | None
) -> None:
    asked: dict[str, Any] = {"usable": True, "gain": 0.0} | facts
    kept = next_yearly(now, anchor, NIGHT, **asked)
    assert kept == (expected and replace(expected, since=expected.as_of))


def test_an_anchor_that_cannot_be_scored_costs_one_night_and_forgives_nothing() -> None:
    noted = after_failure(NOW, "7", -0.004, NIGHT)
    assert noted == replace(NOW, failing=NIGHT)
    assert after_failure(noted, "7", -0.004, NIGHT) == noted  # the same night again
    renewed = after_failure(noted, "7", -0.004, NIGHT + timedelta(days=1))
    assert (renewed.version, renewed.failing) == ("7", None)
    assert margin_left(0.01, renewed) == pytest.approx(0.006)
    assert margin_left(0.01, replace(renewed, spent=0.03)) == 0.0
    assert margin_left(0.01, replace(renewed, spent=-0.03)) == 0.01
