"""The page of all models: who needs a person comes first, and every text from data is escaped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tasks.reporting import index_page
from tasks.store import files


def newest(model: str, verdict: str, **more: Any) -> dict[str, Any]:
    champion = {"version": "2", "candidate": "tree", "since": "2026-11-20"}
    told = {"model": model, "verdict": verdict, "as_of": "2026-11-22", "champion": champion}
    return told | {"live_lines": [f"2026-11-21: {model} <b>0.8</b>"]} | more


NEWEST = [
    newest("calm", "PROMOTED"),
    newest("kept", "KEPT"),
    newest("late", "KEPT", as_of="2026-11-19"),
    newest("bad", "REJECTED"),
    newest("silent", "KEPT", predictions={"current": False}),
    newest("asks", "WAITING", waiting={"version": "3", "decision": None}),
]
CHAMPIONS = {report["model"]: "2" for report in NEWEST}


def test_models_that_need_a_person_come_first_and_old_nights_before_new_ones() -> None:
    page = index_page.to_html(NEWEST, CHAMPIONS)
    order = re.findall(r'href="(\w+)/history\.html"', page)
    assert order == ["bad", "asks", "silent", "late", "kept", "calm"]
    assert "3 of 6 need a person." in page
    assert "python flows/approve.py --model asks" in page
    assert "&lt;b&gt;0.8" in page
    assert "<b>0.8" not in page
    assert "Nothing to do." in index_page.to_html(NEWEST[:2], CHAMPIONS)


def test_the_champion_is_that_of_now_whatever_the_newest_report_said() -> None:
    page = index_page.to_html(NEWEST[:3], {"calm": "2", "kept": "1"})
    cells = re.findall(r'data-title="Champion">(.*?)</td>', page)
    assert cells == [
        "none",
        "version 1 <small>since the newest night</small>",
        "version 2 <small>as of 2026-11-20</small>",
    ]


def test_it_is_written_of_the_newest_report_of_each_model(home: Path) -> None:
    assert index_page.write_index({}) is None
    for model, day, verdict in (
        ("calm", "2026-11-21", "KEPT"),
        ("calm", "2026-11-22", "PROMOTED"),
        ("bad", "2026-11-22", "REJECTED"),
    ):
        report = newest(model, verdict, as_of=day)
        files.write_json(home / "reports" / model / day / "report.json", report)
    page = index_page.write_index({"calm": "2"})
    assert page == home / "reports" / "index.html"
    text = page.read_text()
    assert text.index("bad/history.html") < text.index("calm/history.html")
    assert "KEPT" not in text.partition("<tbody>")[2]
