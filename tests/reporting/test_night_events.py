"""Which events a night has."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tasks.reporting.night_events import night_events

LIMIT = timedelta(days=14)


def night(as_of: str, verdict: str, since: str | None = "2026-11-20") -> dict[str, Any]:
    return {
        "model": "toy",
        "as_of": as_of,
        "verdict": verdict,
        "reasons": ["The reason."],
        "champion": {"version": "3" if since else None, "since": since},
    }


@pytest.mark.parametrize("verdict", ["PROMOTED", "KEPT", "WAITING", "SHADOW", "HELD", "REJECTED"])
def test_each_verdict_is_an_event(verdict: str) -> None:
    found = night_events(night("2026-11-22", verdict), None, LIMIT)
    assert found == {
        f"nightly.night.{verdict.lower()}": f"toy · 2026-11-22 · {verdict}: The reason."
    }


def test_held_twice_in_a_row_is_said_and_once_is_not() -> None:
    held = night("2026-11-22", "HELD")
    again = night_events(held, night("2026-11-21", "HELD"), LIMIT)
    assert again["nightly.night.held-again"].startswith("toy has been held since 2026-11-21")
    assert "nightly.night.held-again" not in night_events(held, night("2026-11-21", "KEPT"), LIMIT)
    kept = night_events(night("2026-11-22", "KEPT"), night("2026-11-21", "HELD"), LIMIT)
    assert list(kept) == ["nightly.night.kept"]


def test_a_champion_is_old_after_the_limit_not_on_it() -> None:
    on_it = night("2026-11-22", "KEPT", since="2026-11-08")
    assert "nightly.champion.old" not in night_events(on_it, None, LIMIT)
    after = night_events(night("2026-11-23", "KEPT", since="2026-11-08"), None, LIMIT)
    assert "version 3, is of 2026-11-08" in after["nightly.champion.old"]
    assert "14 days" in after["nightly.champion.old"]
    assert list(night_events(night("2026-11-22", "HELD", None), None, LIMIT)) == [
        "nightly.night.held"
    ]


def test_intervals_that_leave_their_level_are_told_once() -> None:
    off = {"coverage": {"off": True, "told": "prediction intervals held 61.0% of the labels"}}
    before, tonight = night("2026-11-21", "KEPT"), night("2026-11-22", "KEPT") | off
    said = night_events(tonight, before, LIMIT)["nightly.coverage.off"]
    assert said == "toy: prediction intervals held 61.0% of the labels."
    assert "nightly.coverage.off" not in night_events(tonight, before | off, LIMIT)
    held = {"coverage": {"off": False, "told": "held"}}
    assert "nightly.coverage.off" not in night_events(before | held, None, LIMIT)
