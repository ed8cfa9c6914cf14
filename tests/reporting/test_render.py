"""What is said of a night and of the last nights, beside what the night's own tests see."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from tasks.reporting import night_plots, render
from tasks.steps.report import SUPERSEDED, end_again
from tasks.steps.state import Night

KEY = "average_precision"


def night(as_of: str, verdict: str, value: float | None) -> dict[str, Any]:
    estimate = {"value": value, "low": (value or 0) - 0.1, "high": (value or 0) + 0.1}
    return {
        "question": "Will this visitor buy?",
        "as_of": as_of,
        "verdict": verdict,
        "reasons": ["The reason."],
        "metric": KEY,
        "titles": {KEY: "average precision"},
        "metrics": {"challenger": {KEY: estimate}} if value else {},
        "champion": {"version": "2", "since": "2026-11-01"},
    }


NIGHTS = [
    night("2026-11-20", "PROMOTED", 0.8),
    night("2026-11-21", "HELD", None),
    night("2026-11-22", "KEPT", 0.75),
]


def test_the_table_of_nights_is_newest_first_and_whole() -> None:
    lines = render.nights_table(NIGHTS).splitlines()
    assert lines[0] == "2026-11-22: KEPT, the champion stays. Will this visitor buy?"
    assert [line.split(" | ")[0] for line in lines[4:]] == [
        "| 2026-11-22",
        "| 2026-11-21",
        "| 2026-11-20",
    ]
    assert lines[4] == "| 2026-11-22 | KEPT | 0.750 (0.650 to 0.850) | 2 |"
    assert lines[5] == "| 2026-11-21 | HELD | - | 2 |"
    assert len(render.nights_table(NIGHTS[:1] * 30)) < 5000


def test_a_night_that_reverts_and_promotes_nothing_does_not_say_that_the_champion_stays() -> None:
    reverted = {**night("2026-11-22", "KEPT", 0.75), "has_reverted": True}
    (first, *_) = render.nights_table([reverted]).splitlines()
    assert first == "2026-11-22: KEPT, version 2 is the champion again. Will this visitor buy?"
    failed = {**reverted, "has_reverted": False, "reverted": "It could not be reverted."}
    assert "KEPT, the champion stays." in render.nights_table([failed])


def test_the_last_nights_are_drawn_from_two_judged_ones_on() -> None:
    assert night_plots.draw_nights(NIGHTS[:2]) == {}
    assert list(night_plots.draw_nights(NIGHTS)) == ["Nights"]


@pytest.mark.parametrize(
    ("due", "state"),
    [(None, "KEPT"), (date(2026, 11, 22), "KEPT"), (date(2026, 11, 19), SUPERSEDED)],
)
def test_a_night_already_decided_ends_as_it_did_or_as_superseded(
    due: date | None, state: str
) -> None:
    report = NIGHTS[-1] | {"model": "toy"}
    decided = Night("toy", "toy", date(2026, 11, 22), {}, "key", decided=report, due=due)
    ended = end_again(decided)
    assert (ended.name, ended.type.value) == ("Completed", "COMPLETED")
    if state == "KEPT":
        assert ended.message == "KEPT. Decided before. The reason."
    else:
        assert ended.message == (
            "SUPERSEDED. The night of 2026-11-19 was missed; the night of 2026-11-22 has used "
            "every day since then and ended KEPT. There is nothing left to do."
        )


def test_days_that_were_revised_are_named_and_of_many_the_first() -> None:
    told = render._told([f"2026-11-0{n}" for n in range(1, 8)], "revised")
    assert told == [
        "7 days revised: 2026-11-01, 2026-11-02, 2026-11-03, 2026-11-04, 2026-11-05 and 2 more"
    ]
    assert render._told([], "revised") == []
