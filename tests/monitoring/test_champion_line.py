"""The anchors of a night, and which graded days are compared with the first."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from tasks.monitoring.champion_line import Followed, follow
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
    yearly: Anchor | None = None,
) -> Followed:
    return follow(
        now,
        yearly,
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
    anchor, _, line = _follow(NOW, graded, withdrawn=("4", "6"))
    assert anchor == NOW
    assert [day["version"] for day in line] == ["5", *(day["version"] for day in graded[3:])]


def test_a_new_anchor_has_no_line_yet() -> None:
    champion = Anchor("40", NIGHT, NIGHT)
    assert _follow(None, _graded(0.5, 0.5)) == (champion, champion, [])
    assert _follow(NOW, _graded(0.5, 0.5), withdrawn=("3",)) == (champion, champion, [])
    assert _follow(NOW, _graded(0.5, 0.5), gone=("3",)) == (champion, champion, [])


def test_a_version_that_was_removed_is_no_anchor_however_good_it_was() -> None:
    better = _graded(0.6, 0.5)
    newest = better[-1]["version"]
    proven = Anchor(newest, NIGHT, NIGHT)
    yearly = replace(NOW, version="1")
    assert _follow(NOW, better, yearly=yearly) == (proven, yearly, [])
    assert _follow(NOW, better, gone=(newest,)) == (NOW, NOW, better)


def test_an_old_anchor_stays_while_its_line_is_behind_on_live_days() -> None:
    old = Anchor("3", NIGHT - timedelta(days=70), NIGHT - timedelta(days=40))
    yearly = replace(old, since=old.as_of)
    renewed = Anchor("40", NIGHT, NIGHT)
    assert _follow(old, _graded(0.495, 0.5)) == (renewed, yearly, [])
    behind = _graded(0.45, 0.5)
    assert _follow(old, behind) == (old, yearly, behind)


def test_the_yearly_anchor_stays_where_the_anchor_is_renewed_and_falls_by_itself() -> None:
    yearly, old = (
        Anchor(v, d, d) for v, d in (("1", NIGHT - timedelta(days=300)), ("3", NOW.as_of))
    )
    assert _follow(old, [], withdrawn=("3",), yearly=yearly)[:2] == (
        Anchor("40", NIGHT, NIGHT),
        yearly,
    )
    assert _follow(old, [], gone=("1",), yearly=yearly)[:2] == (old, Anchor("3", NIGHT, NIGHT))
