"""Shadow nights: who goes there, what live days say, and what ends them."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.errors import SpecError
from tasks.evaluation.estimates import Difference, Estimate, Evaluation
from tasks.promotion.checks import Check, Status, Verdict
from tasks.promotion.shadow import (
    Shadow,
    into_shadow,
    is_overdue,
    judge_shadow,
    why_ended,
)
from tasks.registry.waiting import Waiting
from tasks.spec import Gate, days
from tests.toy import toy

GOOD = Check("slices", True, "None worse.")
ODD = Check("no surprise", False, "30% better overnight.", for_person=True)
SHADOWED = Gate(shadow=days(5))
BEGUN = date(2026, 2, 1)
ONE = Waiting("7", "tree", str(BEGUN), "6", "fine", "toy", shadow=5, night="key", digest="code")
SHADOW = Shadow("7", "tree", BEGUN, "6", night=2, nights=5, graded=1)
DONE = replace(SHADOW, night=7, graded=5)
NAMES = ("shadow", "champion")


def evaluation(low: float, value: float = 0.0) -> Evaluation:
    """The version in the shadow beside the champion, at worst ``low`` worse."""
    relative = Estimate(value, low, 0.1)
    return Evaluation(
        metric="average_precision", greater_is_better=True, confidence=0.9, days=5, units=1000,
        unit="rows", first_day="2026-02-02", last_day="2026-02-06",
        metrics={name: {"average_precision": Estimate(0.8, 0.7, 0.9)} for name in NAMES},
        differences={"shadow": {"champion": Difference(relative, relative)}},
        unusable={},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "checks", "gate", "expected"),
    [
        ("PROMOTED", [GOOD], Gate(), "PROMOTED"),
        ("PROMOTED", [GOOD], SHADOWED, "SHADOW"),
        ("WAITING", [GOOD], replace(SHADOWED, approve=True), "SHADOW"),
        ("WAITING", [GOOD, ODD], SHADOWED, "WAITING"),  # odd: a person is asked at once
        ("KEPT", [GOOD], SHADOWED, "KEPT"),
    ],
)
def test_what_passed_goes_into_the_shadow_first(
    status: str, checks: list[Check], gate: Gate, expected: str
) -> None:
    found = into_shadow(Verdict(Status(status), ("why",), tuple(checks)), gate)
    assert (found.status, found.reasons[-1], found.checks) == (expected, "why", tuple(checks))


@pytest.mark.parametrize(
    ("found", "shadow", "outcome", "words"),
    [
        (None, SHADOW, "GOES_ON", "Version 7 predicts in the shadow, night 2 of 5; 1 of 5 days"),
        (evaluation(0.0), SHADOW, "GOES_ON", "night 2 of 5"),  # too early, however good
        (None, DONE, "GOES_ON", "all 5 nights done; 5 of 5 days are graded"),
        (evaluation(float("nan")), DONE, "GOES_ON", "all 5 nights done"),
        (evaluation(-0.02), DONE, "NOT_WORSE", "against version 6's 0.800"),
        (evaluation(-0.021), DONE, "WORSE", "uncertain: it may be 2.1% worse, and the bound is"),
        (evaluation(-0.2, -0.1), DONE, "WORSE", "On live days, but 10.0% worse: beyond the bound"),
    ],
)
def test_live_days_are_judged_by_the_gates_rule_once_there_are_enough(
    found: Evaluation | None, shadow: Shadow, outcome: str, words: str
) -> None:
    said = judge_shadow(found, shadow, SHADOWED, NAMES)
    assert said[0] == outcome
    assert words in said[1]


@pytest.mark.parametrize(
    ("changes", "champion", "digest", "refused", "words"),
    [
        ({}, "6", "code", {}, None),
        ({}, "6", "code", {"logistic": "a leak"}, None),
        ({}, "5", "code", {}, "judged against version 6, but version 5 is the champion now"),
        ({}, None, "code", {}, "but there is none now"),
        ({}, "6", "edited", {}, "the model's code has changed since"),
        ({}, "6", "code", {"tree": "Held."}, "its recipe must not be promoted: Held"),
        ({"signed": False}, "6", "code", {}, "no night with the key"),
    ],
)
def test_what_ends_shadow_nights_without_a_judgement(
    changes: dict[str, Any],
    champion: str | None,
    digest: str,
    refused: dict[str, str],
    words: str | None,
) -> None:
    one = replace(ONE, **changes)
    found = why_ended(one, champion=champion, digest=digest, refused=refused)
    assert (found is None) if words is None else (words in str(found))


def test_a_version_whose_days_cannot_be_graded_does_not_keep_out_all_others_for_ever() -> None:
    last = BEGUN + timedelta(10 + 3 + 14)
    assert not is_overdue(SHADOW, last, days(3))
    assert is_overdue(SHADOW, last + days(1), days(3))


@pytest.mark.parametrize("wrong", [None, 5, days(1), days(61), days(-1), timedelta(hours=36)])
def test_shadow_is_a_number_of_whole_days(wrong: Any) -> None:
    (fault,) = Gate(shadow=wrong).faults()
    assert fault.startswith("gate.shadow: found ")
    assert fault.endswith("allowed days(n), n from 2 to 60, or days(0) for none")
    assert Gate(shadow=days(2)).faults() == Gate(shadow=days(0)).faults() == []


def test_a_model_that_predicts_nothing_has_no_shadow() -> None:
    with pytest.raises(SpecError, match=r"gate\.shadow: found 5 days.*Define requests"):
        replace(toy, requests=None, gate=SHADOWED)


def test_a_note_that_no_night_has_signed_is_not_trusted(
    registry_home: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.registry import seals, waiting

    assert registry_home
    monkeypatch.setenv("NIGHTLY_SEAL_KEY", "0" * 64)
    version = SimpleNamespace(name="toy", version=7, source="models:/m", run_id="run")
    note = {"against": "6", "why": "fine", "model": "toy", "shadow": 5}
    seal = seals.shadow_seal(version, "6", 5)

    def signed(**changes: Any) -> bool:
        import json

        kept = note | {"seal": seal} | changes
        tags = {"candidate": "tree", "as_of": "2026-02-01", "waiting": json.dumps(kept)}
        return waiting._waiting(SimpleNamespace(**vars(version), tags=tags)).signed

    assert signed()
    assert not signed(seal="")
    assert not signed(against="5")
    assert not signed(shadow=2)
