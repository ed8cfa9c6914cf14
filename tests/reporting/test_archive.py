"""Past nights are read from their reports; what cannot be read is left out."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path

from tasks.reporting.archive import (
    forget_old,
    keep_days,
    last_judged,
    newest_contests,
    past_reports,
    report_folder,
    revised_days,
)

FIRST = date(2026, 11, 1)


def keep(night: date, verdict: str, *, backfill: bool = False, model: str = "toy") -> None:
    folder = report_folder(model, night, backfill=backfill)
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(
        json.dumps({"as_of": night.isoformat(), "verdict": verdict})
    )


def test_reports_come_in_order_up_to_a_date(home: Path) -> None:
    for age in (3, 0, 2, 1):
        keep(FIRST + timedelta(days=age), "KEPT")
    found = past_reports("toy", FIRST + timedelta(days=2))
    assert [report["as_of"][-2:] for report in found] == ["01", "02", "03"]
    assert [report["as_of"][-2:] for report in past_reports("toy", FIRST, 9)] == ["01"]
    assert len(past_reports("toy", date.max, 2)) == 2
    assert past_reports("another", date.max) == []


def test_the_newest_nights_stay_and_the_one_that_runs(home: Path) -> None:
    nights = [FIRST + timedelta(days=age) for age in range(4)]
    for night in nights:
        keep(night, "KEPT", backfill=True)
        keep_days("toy", night, {night: "mark"})
    forget_old("toy", nights[0], 2)
    left = sorted(folder.name for folder in report_folder("toy", FIRST).parent.iterdir())
    assert left == [night.isoformat() for night in (nights[0], *nights[2:])]
    forget_old("toy", nights[3], 2)
    forget_old("never seen", FIRST, 2)
    assert not report_folder("toy", nights[0]).exists()
    assert (report_folder("toy", nights[2], backfill=True) / "report.json").is_file()


def test_reports_of_partitions_go_with_those_of_their_fleet(home: Path) -> None:
    nights = [FIRST + timedelta(days=age) for age in range(3)]
    names = ("shops", "shops.north", "shops-2")
    for night in nights:
        for name in names:
            keep(night, "KEPT", model=name)
    forget_old("shops", nights[2], 2)
    assert [len(past_reports(name, date.max)) for name in names] == [2, 2, 3]


def test_the_last_judged_night_is_one_with_a_challenger(home: Path) -> None:
    assert last_judged("toy") is None
    keep(FIRST, "PROMOTED")
    keep(FIRST + timedelta(days=1), "HELD")
    keep(FIRST + timedelta(days=2), "REJECTED")
    assert last_judged("toy") == FIRST


def test_contests_go_on_from_the_newest_night_that_kept_some(home: Path) -> None:
    assert newest_contests("toy", FIRST) is None
    for age, kept in enumerate(({"begun": 1}, None, {"begun": 2})):
        keep(FIRST + timedelta(days=age), "KEPT")
        file = report_folder("toy", FIRST + timedelta(days=age)) / "report.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "contests": kept}))
    keep(FIRST - timedelta(days=1), "KEPT")  # a night of an earlier release has no such key
    keep(FIRST + timedelta(days=3), "HELD")
    assert newest_contests("toy", FIRST - timedelta(days=1)) is None
    assert newest_contests("toy", FIRST + timedelta(days=1)) == {"begun": 1}
    assert newest_contests("toy", date.max) == {"begun": 2}


def test_a_torn_or_foreign_report_is_left_out(home: Path) -> None:
    keep(FIRST, "KEPT")
    keep(FIRST + timedelta(days=1), "KEPT")
    torn = report_folder("toy", FIRST + timedelta(days=1)) / "report.json"
    torn.write_text(torn.read_text()[:9])
    (torn.parent.parent / "2026-99-99").mkdir()
    (torn.parent.parent / "backtest").mkdir()
    assert [report["as_of"] for report in past_reports("toy", date.max)] == [str(FIRST)]


def test_what_became_of_days_is_told_against_the_newest_earlier_night(home: Path) -> None:
    days = {FIRST + timedelta(days=n): f"mark {n}" for n in (0, 2, 3)}
    assert revised_days("toy", FIRST + timedelta(days=3), days) is None
    keep_days("toy", FIRST, {FIRST: "older"})
    keep_days("toy", FIRST + timedelta(days=3), days)
    keep_days("toy", FIRST + timedelta(days=4), {})
    now = days | {
        FIRST: "another",
        FIRST + timedelta(days=1): "late",
        FIRST + timedelta(days=5): "x",
    }
    assert revised_days("toy", FIRST + timedelta(days=5), now) == {
        "since": "2026-11-04",
        "changed": [{"day": "2026-11-01", "was": "mark 0", "now": "another"}],
        "late": ["2026-11-02"],
    }
    again = revised_days("toy", FIRST + timedelta(days=3), days)
    assert again is not None
    assert again["since"] == "2026-11-01", "a night does not look at itself"
    assert again["late"] == []
    assert [each["day"] for each in again["changed"]] == ["2026-11-01"]


def test_a_backfill_lies_beside_its_night_and_is_no_night(home: Path) -> None:
    keep(FIRST, "PROMOTED")
    for day in (FIRST, FIRST + timedelta(days=1)):
        keep(day, "KEPT", backfill=True)
    assert [report["verdict"] for report in past_reports("toy", date.max)] == ["PROMOTED"]
    assert last_judged("toy") == FIRST
