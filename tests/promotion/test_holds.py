"""What was withdrawn is held for a while: that recipe from that code, and nothing else."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tasks.promotion.holds import held_candidates, length_of_hold
from tasks.registry.holds import Hold

UNTIL = date(2026, 11, 20)
HOLD = Hold("7", "tree", "code", UNTIL, "late answers.")


@pytest.mark.parametrize(
    ("candidates", "digest", "as_of", "held"),
    [
        (["tree"], "code", date(2026, 11, 14), {"tree"}),
        (["tree"], "code", UNTIL, {"tree"}),
        (["tree"], "code", date(2026, 11, 21), set()),
        (["tree"], "edited", date(2026, 11, 14), set()),
        (["line"], "code", date(2026, 11, 14), set()),
        (["line", "tree"], "code", date(2026, 11, 14), {"tree"}),
        ([], "code", date(2026, 11, 14), set()),
    ],
)
def test_the_withdrawn_recipe_from_the_same_code_is_held_until_the_date(
    candidates: list[str], digest: str, as_of: date, held: set[str]
) -> None:
    assert set(held_candidates("toy", [HOLD], candidates, digest, as_of)) == held


@pytest.mark.parametrize(
    ("before", "days"),
    [
        ([], 7),
        ([("3", "tree", "code")], 14),
        ([("3", "tree", "code"), ("4", "tree", "code")], 28),
        ([("3", "tree", "code")] * 40, 365),
        ([("3", "tree", "edited"), ("4", "line", "code")], 7),
        ([("7", "tree", "code")], 7),  # its own, where a rollback is repeated
    ],
)
def test_what_comes_back_bad_is_held_twice_as_long(
    before: list[tuple[str, str, str]], days: int
) -> None:
    holds = [Hold(*made, UNTIL, "bad") for made in before]
    week = timedelta(days=7)
    assert length_of_hold(week, holds, "7", "tree", "code") == timedelta(days=days)
    assert length_of_hold(timedelta(0), holds, "7", "tree", "code") == timedelta(0)


def test_of_two_holds_the_longer_counts_and_says_what_ends_it() -> None:
    longer = Hold("9", "tree", "code", date(2026, 11, 23), "late again")
    for holds in ([HOLD, longer], [longer, HOLD]):
        assert held_candidates("toy", holds, ["tree"], "code", UNTIL) == {
            "tree": (
                "Version 9 was rolled back: late again. Its recipe (tree) and code are held "
                "through 2026-11-23; to release them: "
                "python flows/rollback.py --model toy --release."
            )
        }
    assert held_candidates("toy", [], ["tree"], "code", UNTIL) == {}
