"""The anchor of a night, and which graded days are compared with it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from tasks.monitoring.champion_line import follow
from tasks.monitoring.live_performance import PROVEN_DAYS
from tasks.registry.anchors import Anchor
from tasks.spec import Revert

NIGHT = date(2026, 11, 20)
NOW = Anchor("3", NIGHT - timedelta(days=40), NIGHT - timedelta(days=40))


def _graded(ours: float, theirs: float, count: int = PROVEN_DAYS) -> list[dict[str, Any]]:
    return [
        {
            "day": str(NIGHT - timedelta(days=count - number)),
            "version": str(4 + number),
            "metrics": {"m": ours + number % 2 / 100},
            "anchor": {"m": theirs},
            "anchor_version": "3",
            "promised": {"low": 0.0, "high": 1.0},
        }
        for number in range(count)
    ]


def _follow(
    now: Anchor | None,
    graded: list[dict[str, Any]],
    withdrawn: tuple[str, ...] = (),
    gone: tuple[str, ...] = (),
) -> tuple[Anchor | None, list[Any]]:
    return follow(
        now,
        "40",
        NIGHT,
        graded=graded,
        reports=[],
        withdrawn=withdrawn,
        exists=lambda version: version not in gone,
        metric="m",
        greater=True,
        policy=Revert(),
    )


def test_a_line_is_all_champions_since_the_anchor_but_those_that_were_taken_back() -> None:
    graded = _graded(0.5, 0.5)
    anchor, line = _follow(NOW, graded, withdrawn=("4", "6"))
    assert anchor == NOW
    assert [day["version"] for day in line] == ["5", *(day["version"] for day in graded[3:])]


def test_a_new_anchor_has_no_line_yet() -> None:
    champion = Anchor("40", NIGHT, NIGHT)
    assert _follow(None, _graded(0.5, 0.5)) == (champion, [])
    assert _follow(NOW, _graded(0.5, 0.5), withdrawn=("3",)) == (champion, [])
    assert _follow(NOW, _graded(0.5, 0.5), gone=("3",)) == (champion, [])


def test_a_version_that_was_removed_is_no_anchor_however_good_it_was() -> None:
    better = _graded(0.6, 0.5)
    newest = better[-1]["version"]
    assert _follow(NOW, better) == (Anchor(newest, NIGHT, NIGHT), [])
    assert _follow(NOW, better, gone=(newest,)) == (NOW, better)


def test_an_old_anchor_stays_while_its_line_is_behind_on_live_days() -> None:
    old = Anchor("3", NIGHT - timedelta(days=70), NIGHT - timedelta(days=40))
    assert _follow(old, _graded(0.495, 0.5)) == (Anchor("40", NIGHT, NIGHT), [])
    behind = _graded(0.45, 0.5)
    assert _follow(old, behind) == (old, behind)
