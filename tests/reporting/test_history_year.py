"""A year of nights at a glance: live days by week, nights by month."""

from __future__ import annotations

from tasks.reporting import history_page
from tasks.reporting.history_rows import read_rows
from tasks.reporting.history_year import by_month, by_week
from tests.reporting.test_history_page import (
    GRADED,
    SIXTY,
    Reader,
    cells,
    chart,
    graded,
    night,
    tips,
)

YEAR = [
    night(age, "HELD" if age % 50 == 7 else "PROMOTED" if age % 4 == 0 else "KEPT")
    for age in range(399, -1, -1)
]
LIVE = [graded(age, 0.3 if age == 200 else 0.2 + age / 10_000) for age in range(399, 0, -1)]


def test_sixty_nights_have_no_year() -> None:
    assert "week by week" not in history_page.to_html(SIXTY, GRADED)


def test_a_year_is_shown_by_week_and_by_month() -> None:
    html = history_page.to_html(YEAR, LIVE)
    Reader(html)
    assert "The last 365 nights, week by week" in html
    weeks = chart(html, "NDCG@10 of each week")
    assert len([each for each in weeks.iter("rect") if each.get("class") == "promised"]) == 53
    months = [row for row in cells(html) if "Month" in row]
    assert [months[0]["Month"], months[-1]["Month"]] == ["November 2026", "November 2025"]
    assert (months[0]["Nights"], months[0]["Live days"]) == (
        "PROMOTED 6 KEPT 15 HELD 1",
        "21 of 21 inside",
    )
    assert len([row for row in cells(html) if "As of" in row]) == 60
    assert len(html) < 200_000


def test_a_week_is_the_mean_of_its_live_days_with_its_last_champion() -> None:
    rows = read_rows(YEAR[-14:], [graded(2, 0.125), graded(1, 0.375)], "ndcg_10", True, 365)
    before, week = by_week(rows, greater=True)[-2:]
    assert str(week.day) == "2026-11-16"
    assert (week.live, week.low, week.high, week.place) == (0.25, 0.19, 0.26, "inside")
    assert week.told == "0.250, mean of 2 live days, inside"
    assert (before.live, before.place) == (None, "")
    assert week.change == "promoted"


def test_a_month_tells_of_champions_that_went_back_and_of_missing_nights() -> None:
    reports = [night(9, "PROMOTED", "3"), night(5, "KEPT", "2", seconds={"total": 70.0})]
    (month,) = by_month(read_rows(reports, [], "ndcg_10", True, 365))
    assert "NO REPORT 3" in month[1]
    assert month[2:] == ("", "", "1 new, 1 went back", "70")


def test_a_mark_tells_its_week() -> None:
    html = history_page.to_html(YEAR, LIVE)
    assert any(tip.startswith("2026-11-16: 0.200") for tip in tips(chart(html, "of each week")))
