"""What is said of the partitions of a fleet."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from tasks.reporting import fleet_page

AS_OF = date(2026, 2, 9)


def row(value: str, status: str = "KEPT", gain: float | None = 0.1) -> Any:
    return {
        "value": value,
        "model": f"shops.{value}",
        "status": status,
        "why": f"why of {value}",
        "champion": "3",
        "since": "2026-02-01",
        "candidate": "tree",
        "metric": {"value": 0.8, "low": 0.7, "high": 0.9},
        "gain": gain,
        "rows": 1234,
    }


def part_of(*rows: Any, **changes: Any) -> Any:
    known = {"new": [], "gone": [], "lost": 0, "page": "partitions.html", "error": 0.05}
    return fleet_page.fleet_part("shop", rows, **known | changes)


MIXED = (
    row("good"),
    row("worse", gain=-0.2),
    row("none", "FALLBACK", None),
    row("ask", "WAITING"),
    row("dirty", "REJECTED", None),
    row("broken", "FAILED", None),
)


def test_the_counts_of_all_and_the_worst_first() -> None:
    part = part_of(*MIXED)
    assert fleet_page.told(part) == (
        "6 partitions: 2 kept, 1 waiting for a person, 1 rejected, 1 served by the common model, "
        "1 failed"
    )
    worst = [one["value"] for one in part["worst"]]
    assert worst == ["broken", "dirty", "ask", "worse", "good", "none"]
    assert fleet_page.worst_lines(part)[0] == "broken: failed. why of broken"
    assert len(part_of(*(row(f"shop {i}") for i in range(30)))["worst"]) == 10


@pytest.mark.parametrize(
    ("status", "fails", "code"),
    [("KEPT", False, 0), ("FALLBACK", False, 0), ("REJECTED", True, 3), ("FAILED", True, 1)],
)
def test_how_the_night_ends(status: str, fails: bool, code: int) -> None:
    part = part_of(row("a", status), row("b"))
    assert (fleet_page.fails(part), fleet_page.exit_code(part)) == (fails, code)


def test_one_message_where_versions_wait() -> None:
    waiting = part_of(*(row(name, "WAITING") for name in ("O'Hare", "b")), row("c"))
    assert fleet_page.alarm("shops", "2026-02-09", waiting) == (
        "shops · 2026-02-09: of 3 partitions 2 have a version that waits for a person, such as "
        "O'Hare: why of O'Hare To answer: python flows/approve.py --model shops --partition "
        "'O'\"'\"'Hare'"
    )
    assert fleet_page.alarm("shops", "2026-02-09", part_of(row("c", "FAILED"))) == ""


def test_new_ones_those_gone_and_rows_of_none_are_told() -> None:
    part = part_of(row("a"), new=["a", *map(str, range(9))], gone=["z"], lost=7)
    assert fleet_page.lines(part)[1:] == [
        "new: 0, 1, 2, 3, 4 and 5 more",
        "gone: no row in the whole holdout: z",
        "7 rows of the newest day name no shop: the common model serves them",
    ]


def test_the_page_has_a_row_for_each() -> None:
    rows = [*MIXED, row("<b>")]
    page = fleet_page.to_html("shops", AS_OF, part_of(*rows), rows, "roc_auc", greater=True)
    assert page.count("<tr>") == len(rows) + 1
    assert "<b>" not in page
    assert "ROC AUC: higher is better. In at most 5 % of years" in page
    assert 'href="../shops.good/2026-02-09/report.md"' in page
