"""Who decides: the gate alone, or a person."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tasks.promotion.checks import Check, Status, Verdict
from tasks.promotion.gate import confirm, for_person, judge_in_order
from tasks.promotion.waiting import why_not_approved
from tasks.registry.waiting import Waiting
from tasks.spec import Gate

GOOD = Check("slices", True, "None worse.")
BAD = Check("slices", False, "One worse.")
ODD = Check("no surprise", False, "30% better overnight.", for_person=True)
ASKING = Gate(approve=True)
ONE = Waiting("4", "tree", "2026-11-20", "3", "30% better", "toy")


@pytest.mark.parametrize(
    ("status", "checks", "gate", "expected"),
    [
        ("PROMOTED", [GOOD], Gate(), "PROMOTED"),
        ("PROMOTED", [GOOD], ASKING, "WAITING"),
        ("KEPT", [GOOD, ODD], Gate(), "WAITING"),
        ("KEPT", [GOOD, ODD], ASKING, "WAITING"),
        ("KEPT", [BAD, ODD], Gate(), "KEPT"),
        ("KEPT", [BAD], ASKING, "KEPT"),
        ("KEPT", [GOOD], ASKING, "KEPT"),  # refused for a reason that is no check
        ("KEPT", [], ASKING, "KEPT"),
        ("HELD", [], ASKING, "HELD"),
    ],
)
def test_a_person_is_asked_where_the_gate_says_so_or_only_a_person_can_tell(
    status: str, checks: list[Check], gate: Gate, expected: str
) -> None:
    found = for_person(Verdict(Status(status), ("why",), tuple(checks)), gate)
    assert (found.status, found.reasons[-1], found.checks) == (expected, "why", tuple(checks))


def test_one_that_waits_keeps_none_out_that_passes() -> None:
    verdicts = {
        "poor": Verdict(Status.KEPT, ("poor",), (BAD,)),
        "odd": Verdict(Status.WAITING, ("odd",), (ODD,)),
        "fine": Verdict(Status.PROMOTED, ("fine",), (GOOD,)),
    }
    judge = verdicts.__getitem__
    name, verdict = judge_in_order(["odd", "fine"], judge)
    assert (name, verdict.reasons[-1]) == ("fine", "odd is passed over: 30% better overnight.")
    name, verdict = judge_in_order(["poor", "odd"], judge)
    assert (name, verdict.status) == ("odd", "WAITING")
    assert verdict.reasons == ("odd", "poor is not promoted either: One worse.")
    assert judge_in_order(["poor", "odd"], judge, {"odd": "It was refused."})[0] == "poor"
    assert judge_in_order(["poor"], judge)[0] == "poor"


def test_a_version_that_fails_its_package_check_does_not_wait() -> None:
    waits = Verdict(Status.WAITING, ("odd",), (ODD,))
    assert confirm(waits, "4", [GOOD]).status is Status.WAITING
    assert confirm(waits, "4", [BAD]).status is Status.KEPT


@pytest.mark.parametrize(
    ("against", "champion", "words"),
    [
        ("3", "3", None),
        (None, None, None),
        ("3", "5", "was judged against version 3, but version 5 is the champion now"),
        (None, "5", "was judged when there was no champion, but version 5 is the champion now"),
        ("3", None, "was judged against version 3, but there is no champion now"),
    ],
)
def test_only_what_was_judged_against_the_champion_of_now_is_approved(
    against: str | None, champion: str | None, words: str | None
) -> None:
    found = why_not_approved("toy", replace(ONE, against=against), champion)
    assert (found is None) if words is None else (words in str(found))


@pytest.mark.parametrize("wrong", [None, 1, "yes"])
def test_approve_is_yes_or_no(wrong: object) -> None:
    gate = Gate(approve=wrong)  # type: ignore[arg-type]
    assert gate.faults() == [f"gate.approve: found {wrong!r}, allowed True or False"]
