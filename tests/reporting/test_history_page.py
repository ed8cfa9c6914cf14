"""The page of the last nights is whole, well formed, and holds whatever a night can hand it."""

from __future__ import annotations

import re
from datetime import date, timedelta
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.promotion.checks import Status
from tasks.reporting import history_charts, history_page, history_rows, plots

LAST = date(2026, 11, 22)
VOID = {"meta", "br", "input", "img", "link"}


def night(
    age: int, verdict: str = "KEPT", version: str | None = "2", **more: Any
) -> dict[str, Any]:
    """The report of the night ``age`` days before the newest; the champion is 3 days old."""
    as_of = LAST - timedelta(days=age)
    since = as_of if verdict == "PROMOTED" else as_of - timedelta(days=3)
    counted = verdict != "HELD"
    return {
        "model": "groceries",
        "question": "What will each household buy?",
        "as_of": str(as_of),
        "verdict": verdict,
        "reasons": [f"The reason of {as_of}.", "Another."],
        "metric": "ndcg_10",
        "greater_is_better": True,
        "titles": {"ndcg_10": "NDCG@10"},
        "champion": {
            "version": version,
            "candidate": "ranker" if version else None,
            "since": str(since) if version else None,
        },
        "metrics": {},
        "rows": {
            "in": 7000 * counted,
            "accepted": 6990 * counted,
            "quarantined": 10 * counted,
            "duplicates": 0,
        },
    } | more


def graded(age: int, value: float | None, **more: Any) -> dict[str, Any]:
    """The day ``age`` days before the newest night, promised 0.19 to 0.26."""
    return {
        "day": str(LAST - timedelta(days=age)),
        "version": "2",
        "candidate": "ranker",
        "previous_version": "1",
        "asked": 2470,
        "labelled": 412,
        "unasked": 0,
        "metrics": {} if value is None else {"ndcg_10": value},
        "previous": {"ndcg_10": 0.214},
        "promised": {"value": 0.227, "low": 0.19, "high": 0.26},
        "slices": {},
    } | more


SIXTY = [night(age, "PROMOTED" if age % 4 == 0 else "KEPT") for age in range(59, -1, -1)]
GRADED = [graded(age, 0.2 + age / 1000) for age in range(58, 0, -1)]


class Reader(HTMLParser):
    """Elements as they open, their text, and whether each is closed in its turn."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def tags(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


def drawings(html: str) -> list[ElementTree.Element]:
    """The page's pictures, parsed as XML; an HTML page names no namespace for them."""
    body = html.split("<body>")[1].split("</body>")[0].replace("<br>", "<br/>")
    return ElementTree.fromstring(f"<body>{body}</body>").findall(".//svg")


def strip(html: str) -> list[str]:
    """The names of the marks in the strip of nights, in order."""
    weeks = html.split('class="weeks"')[1].split("<ul>")[0]
    return re.findall(r'aria-label="([^"]*)"', weeks)


def cells(html: str) -> list[dict[str, str]]:
    """The table: title to text, newest first."""
    lines = re.findall(r"<tr>(<td.*?)</tr>", html, re.DOTALL)
    found = [re.findall(r'<td data-title="([^"]*)">(.*?)</td>', line) for line in lines]
    return [
        {title: " ".join(re.sub("<[^>]*>", "", cell).split()) for title, cell in line}
        for line in found
    ]


def state(html: str) -> str:
    """The sentence at the top."""
    found = re.search(r'<p class="state">(.*?)</p>', html, re.DOTALL)
    assert found
    return re.sub("<[^>]*>", "", found[1])


def chart(html: str, label: str) -> ElementTree.Element:
    (found,) = [each for each in drawings(html) if label in each.get("aria-label", "")]
    return found


def tips(element: ElementTree.Element) -> list[str]:
    return [each.text or "" for each in element.iter("title") if each.text]


def test_a_first_night_says_that_nothing_is_graded_yet() -> None:
    html = history_page.to_html([night(0, "PROMOTED", "1")], [])
    assert state(html) == (
        "PROMOTED on 2026-11-22, a new champion: version 1 (ranker), 0 days old; "
        "no live day is graded yet."
    )
    assert "No day has been graded yet" in html
    assert "<h2>The first night</h2>" in html
    assert strip(html) == ["2026-11-22: PROMOTED"]
    assert cells(html) == [
        {
            "As of": "2026-11-22",
            "Verdict": "PROMOTED",
            "Why": "The reason of 2026-11-22.",
            "Interval": "",
            "Live": "",
            "Champion": "1",
            "Age": "0 days",
            "Rows": "6,990 + 10 quarantined",
        }
    ]


def test_estimates_are_told_apart_from_graded_days() -> None:
    newest: Any = night(0)
    plain = history_page.to_html([night(1), newest], [graded(1, 0.2)])
    day = {"value": 0.41, "low": 0.38, "high": 0.44, "version": "2", "promised": None}
    newest["estimated"] = [{"day": "2026-11-21", **day}, {"day": "2026-11-23", **day}]
    html = history_page.to_html([night(1), newest], [graded(1, 0.2)])
    said = '<p class="quiet">Estimated from the probabilities alone, before labels come, '
    at = html.index(said)
    told = html[at : html.index("</p>", at)]
    assert told.endswith(": 2026-11-23: 0.410 (0.380 to 0.440).")  # the 21st has been graded since
    assert html.replace(f"{told}</p>\n", "\n") == plain


def test_sixty_nights_are_each_there_once() -> None:
    html = history_page.to_html(SIXTY, GRADED)
    dates = [report["as_of"] for report in SIXTY]
    assert strip(html) == [f"{each['as_of']}: {each['verdict']}" for each in SIXTY]
    assert [row["As of"] for row in cells(html)] == dates[::-1]
    for label, name in (("Age of", "age"), ("accepted", "accepted"), ("in quar", "quarantined")):
        bars = [each for each in chart(html, label).iter("rect") if each.get("class") == name]
        assert [tip[:10] for each in bars for tip in tips(each)] == dates
    assert len(html) < 130_000


def test_only_the_last_sixty_dates_are_shown() -> None:
    html = history_page.to_html(
        [night(100), night(70, "PROMOTED"), night(59), night(0)], [graded(65, 0.2)]
    )
    assert len(strip(html)) == len([row for row in cells(html) if "As of" in row]) == 60
    assert strip(html)[0] == "2026-09-24: KEPT"
    assert history_charts.EMPTY["live"] in html


def test_a_date_without_a_report_is_shown_as_missing() -> None:
    html = history_page.to_html([night(3), night(0)], [graded(2, 0.2)])
    assert [mark.split(": ")[1] for mark in strip(html)] == [
        "KEPT",
        "NO REPORT",
        "NO REPORT",
        "KEPT",
    ]
    assert "NO REPORT <b>2</b>" in html
    missing = cells(html)[2]
    assert (missing["As of"], missing["Why"]) == ("2026-11-20", "There is no report of this night.")
    assert (missing["Champion"], missing["Age"], missing["Rows"]) == ("", "", "")
    assert missing["Live"] == "0.200"


def test_what_a_night_took_is_shown_and_an_empty_chart_says_when_it_fills() -> None:
    html = history_page.to_html([night(0, "HELD", None, seconds={"total": 71.4, "clean": 2})], [])
    assert tips(chart(html, "Seconds a night took")) == ["2026-11-22: 71"]
    for look in ("live", "age", "accepted"):
        assert history_charts.EMPTY[look] in html


@pytest.mark.parametrize("verdict", ["HELD", "REJECTED"])
def test_nights_that_judged_nothing(verdict: str) -> None:
    html = history_page.to_html([night(1, "PROMOTED"), night(0, verdict)], [])
    assert state(html).startswith(f"{verdict} on 2026-11-22, {Status(verdict).words}: version 2 (")
    assert history_charts.EMPTY["seconds"] in html  # of reports that name no time
    counted = tips(chart(html, "Rows accepted"))
    assert counted == ["2026-11-21: 6,990", "2026-11-22: 6,990"][: 1 + (verdict != "HELD")]


def test_a_model_that_never_had_a_champion() -> None:
    html = history_page.to_html([night(0, "REJECTED", None)], [])
    assert state(html) == (
        "REJECTED on 2026-11-22; there is no champion yet; no live day is graded yet."
    )
    assert cells(html)[0]["Champion"] == ""


def test_old_reports_lack_keys() -> None:
    known = ("model", "question", "as_of", "verdict", "metric")
    old = {name: value for name, value in night(1).items() if name in known}
    html = history_page.to_html([old, night(0)], [])
    assert [row["Why"] for row in cells(html)] == ["The reason of 2026-11-22.", ""]
    html = history_page.to_html([night(1), old | {"as_of": str(LAST), "metric": "log_loss"}], [])
    assert "Lower is better." in html
    assert "Log loss: prediction interval against live" in html
    bare = {name: value for name, value in graded(0, 0.5).items() if name not in ("previous",)}
    assert "0.500" in history_page.to_html([night(0)], [bare | {"promised": None}])


def test_live_days_are_held_to_the_promise_in_its_direction() -> None:
    live = [graded(3, 0.18), graded(2, 0.2), graded(1, 0.3), graded(0, None)]
    reports = [night(age) for age in (3, 2, 1, 0)]
    html = history_page.to_html(reports, live)
    assert "Higher is better." in html
    assert ("was inside the prediction interval on 1 of 3 days, worse on 1, better on 1.") in state(
        html
    )
    assert [row["Live"] for row in cells(html)] == ["", "0.300, better", "0.200", "0.180, worse"]
    assert tips(chart(html, "NDCG@10"))[0] == (
        "2026-11-19: 0.180, worse than the prediction interval 0.190 to 0.260; "
        "412 of 2,470 labelled"
    )
    lower = [report | {"greater_is_better": False} for report in reports]
    html = history_page.to_html(lower, live)
    assert "Lower is better." in html
    assert [row["Live"] for row in cells(html)] == ["", "0.300, worse", "0.200", "0.180, better"]


def test_intervals_are_shown_beside_the_level_they_promise() -> None:
    assert "Labels inside" not in history_page.to_html([night(1), night(0)], [graded(1, 0.2)])
    more = [
        graded(age, 0.2, calibration={"predicted": 0.8, "observed": share})
        for age, share in ((3, 0.65), (2, 0.85), (1, 0.72))
    ]
    for record, share in zip(more, (0.65, 0.85, 0.72), strict=True):
        record["metrics"]["interval_coverage"] = share
    told = {"told": "prediction intervals held 78.5% of the labels", "off": False}
    html = history_page.to_html([night(3), night(2), night(1), night(0, coverage=told)], more)
    drawn = chart(html, "Share of labels inside their interval on each live day")
    assert [tip for tip in tips(drawn) if tip] == [
        "2026-11-19: held 65.0%, nominal 80.0%",
        "2026-11-20: held 85.0%, nominal 80.0%",
        "2026-11-21: held 72.0%, nominal 80.0%",
    ]
    odd = [each for each in drawn.iter() if each.get("class") == "orange open"]
    assert len(odd) == 1, "misses of 35 % where 20 % are nominal"
    assert "Prediction intervals held 78.5% of the labels." in html
    assert cells(html)[1]["Live"].endswith("intervals 72% of 80%")


def test_inside_is_filled_and_outside_is_open() -> None:
    html = history_page.to_html([night(1), night(0)], [graded(1, 0.2), graded(0, 0.1)])
    dots = [(each.get("class"), tips(each)[0]) for each in chart(html, "NDCG@10").findall("svg")]
    assert [(look, tip[:10]) for look, tip in dots] == [
        ("blue", "2026-11-21"),
        ("orange open", "2026-11-22"),
    ]


def test_a_live_day_without_a_promise_is_not_counted_as_kept() -> None:
    html = history_page.to_html([night(0)], [graded(0, 0.2, promised=None)])
    assert "no live day has a prediction interval yet." in state(html)
    assert cells(html)[0]["Live"] == "0.200, no interval"


def test_the_predecessor_is_a_line_between_days_that_follow_each_other() -> None:
    live = [graded(4, 0.2), graded(3, 0.2), graded(1, 0.2, previous={}), graded(0, 0.2)]
    html = history_page.to_html([night(5), night(0)], live)
    drawn = [each for each in chart(html, "NDCG@10").iter("line") if each.get("class") == "thin"]
    assert len(drawn) == 1


def test_promotions_and_ways_back_are_marked_on_the_age() -> None:
    text = "Version 3 was reverted, and version 2 is the champion again: 9 graded days."
    reports = [
        night(4, "PROMOTED", "2"),
        night(3, "PROMOTED", "3"),
        night(2, "KEPT", "3"),
        night(1, "KEPT", "2", reverted=text),
        night(0, "KEPT", "2"),
    ]
    html = history_page.to_html(reports, [])
    marks = [tips(each)[0] for each in chart(html, "Age of the champion").findall("svg")]
    assert marks == [
        "2026-11-18: version 2 promoted",
        "2026-11-19: version 3 promoted",
        "2026-11-21: version 2 went back",
    ]
    assert cells(html)[1]["Why"] == f"{text} The reason of 2026-11-21."


def test_the_state_after_a_revert_names_the_restored_champion() -> None:
    reports = [night(1, "PROMOTED", "3"), {**night(0, "KEPT", "2"), "has_reverted": True}]
    html = history_page.to_html(reports, [])
    assert "version 2 is the champion again" in html
    assert "the champion stays" not in html


def test_a_way_back_is_seen_over_a_night_that_knew_no_champion() -> None:
    reports = [night(2, "PROMOTED", "3"), night(1, "HELD", None), night(0, "KEPT", "2")]
    marks = chart(history_page.to_html(reports, []), "Age of the champion").findall("svg")
    assert tips(marks[-1]) == ["2026-11-22: version 2 went back"]


def test_every_bar_stands_on_the_line_of_nought() -> None:
    rows = [{"in": 10**6, "accepted": 10**6, "quarantined": bad} for bad in (0, 1, 500)]
    html = history_page.to_html([night(2 - n, rows=each) for n, each in enumerate(rows)], [])
    for label in ("Rows accepted", "Rows in quarantine", "Age of the champion"):
        bars = [each.attrib for each in chart(html, label).iter("rect")]
        assert len({float(bar["y"]) + float(bar["height"]) for bar in bars}) == 1
        assert all(float(bar["height"]) >= 1.5 for bar in bars)


def test_a_look_back_has_no_negative_age() -> None:
    later = {"version": "9", "candidate": "ranker", "since": "2026-11-25"}
    html = history_page.to_html([night(0, champion=later)], [])
    assert cells(html)[0]["Age"] == ""
    assert history_charts.EMPTY["age"] in html


def test_a_verdict_is_told_by_its_shape_too() -> None:
    verdicts = ("PROMOTED", "KEPT", "HELD", "REJECTED")
    reports = [night(age, verdict) for age, verdict in zip((5, 4, 3, 2), verdicts, strict=True)]
    html = history_page.to_html([*reports, night(0, "NEW WORD")], [])
    shapes = dict.fromkeys([*verdicts, "NO REPORT", "NEW WORD"])
    for drawn in drawings(html):
        verdict = drawn.get("aria-label", "").partition(": ")[2]
        if verdict in shapes:
            shapes[verdict] = ElementTree.tostring(drawn[1])
    assert None not in shapes.values()
    assert len(set(shapes.values())) == len(shapes)


def test_the_page_is_well_formed_and_has_names() -> None:
    read = Reader(history_page.to_html(SIXTY, GRADED))
    assert read.tags("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in read.tags(
        "meta"
    )
    assert "groceries · 2026-11-22 · PROMOTED" in read.text
    drawn = read.tags("svg")
    named = [each for each in drawn if each.get("role") == "img"]
    assert all(each["aria-label"] for each in named)
    assert len([each for each in named if each["class"] == "plot"]) == 4
    assert {"script", "img", "link", "iframe", "object", "use"}.isdisjoint(
        tag for tag, _ in read.found
    )


def test_nothing_is_loaded_from_elsewhere() -> None:
    html = history_page.to_html(SIXTY, GRADED)
    assert not re.search(r"http|src\s*=|href|url\(|@import|//", html)


def test_colours_are_those_of_the_other_pictures() -> None:
    html = history_page.to_html(SIXTY, GRADED)
    for colour in (plots.BLUE, plots.ORANGE, plots.GREEN, plots.PURPLE, plots.GREY):
        assert colour in html
    assert "$" not in html


EVIL = "<script>alert('\"&amp;')</script></svg></table>"


def test_text_of_the_reports_is_never_markup() -> None:
    plain = Reader(history_page.to_html([night(1), night(0, "KEPT", "1")], [graded(0, 0.2)]))
    evil = night(
        0,
        model=EVIL,
        question=EVIL,
        reasons=[EVIL],
        reverted=EVIL,
        titles={"ndcg_10": EVIL},
        champion={"version": EVIL, "candidate": EVIL, "since": "2026-11-22"},
    )
    html = history_page.to_html([night(1), evil], [graded(0, 0.2)])
    read = Reader(html)
    assert "<script" not in html
    assert drawings(html)
    assert [tag for tag, _ in read.found] == [tag for tag, _ in plain.found]
    assert "".join(read.text).count(EVIL) == 11
    assert Reader(history_page.to_html([night(0, EVIL)], [])).open == []


NUMBERS = st.floats(allow_nan=True, allow_infinity=True)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
COUNTS = st.integers(min_value=0, max_value=10**18)


def coordinates(element: ElementTree.Element, height: float) -> None:
    """Everything drawn lies within the picture."""
    for each in element.iter():
        if each is element or each.tag in {"path", "circle", "g", "title"}:
            continue
        for name in ("x", "x1", "x2", "width"):
            if value := each.get(name):
                assert re.fullmatch(r"\d+(\.\d+)?%", value), ElementTree.tostring(each)
                assert 0 <= float(value[:-1]) <= 100
        across = [float((each.get(name) or "0%")[:-1]) for name in ("x", "width")]
        assert sum(across) <= 100.02
        for name in ("y", "y1", "y2", "height"):
            if value := each.get(name):
                assert re.fullmatch(r"\d+(\.\d+)?", value), ElementTree.tostring(each)
                assert 0 <= float(value) <= height
        assert float(each.get("y") or 0) + float(each.get("height") or 0) <= height


@given(
    st.lists(
        st.tuples(st.integers(0, 70), FINITE, FINITE, FINITE, FINITE, COUNTS, COUNTS),
        min_size=1,
        max_size=8,
        unique_by=lambda drawn: drawn[0],
    )
)
def test_any_finite_figures_lie_inside_the_charts(drawn: list[tuple[Any, ...]]) -> None:
    reports, live = [], []
    for age, value, one, other, previous, accepted, quarantined in sorted(drawn)[::-1]:
        rows = {"in": 1 + accepted, "accepted": accepted, "quarantined": quarantined}
        reports.append(night(age, rows=rows))
        promised = {"value": one, "low": min(one, other), "high": max(one, other)}
        live.append(graded(age, value, promised=promised, previous={"ndcg_10": previous}))
    html = history_page.to_html(reports, live)
    charts = [each for each in drawings(html) if each.get("class") == "plot"]
    assert len(charts) >= 3
    for each in charts:
        coordinates(each, float(each.get("height") or 0))


@given(NUMBERS, NUMBERS)
def test_figures_that_are_none_break_nothing(value: float, bound: float) -> None:
    promised = {"value": bound, "low": bound, "high": bound}
    html = history_page.to_html([night(0)], [graded(0, value, promised=promised)])
    assert not re.search(r"\b(nan|inf)\b", html.split("</style>")[1])


@given(FINITE.filter(lambda low: abs(low) < 1e150), st.floats(0, 1e150))
@example(0.4, 0.0)
def test_an_axis_has_a_few_lines_at_round_figures_within(low: float, more: float) -> None:
    bottom, top = history_charts.span([low, low + more])
    assert bottom < low <= low + more < top
    ticks = history_charts.ticks(bottom, top)
    assert 2 <= len(ticks) <= 5
    assert all(bottom <= tick <= top for tick in ticks)


@given(st.text(), st.text())
def test_any_text_leaves_the_page_well_formed(reason: str, version: str) -> None:
    champion = {"version": version, "candidate": reason, "since": "2026-11-20"}
    read = Reader(
        history_page.to_html([night(1), night(0, reasons=[reason], champion=champion)], [])
    )
    assert len(read.tags("tr")) == 3


def test_a_rollback_since_the_newest_night_is_told_and_the_champion_of_now_named() -> None:
    promoted = night(0, "PROMOTED", "2", challenger={"version": "2"})
    since = LAST - timedelta(days=1)
    standing = history_rows.Standing("1", "ranker", since, {"2": "late <answers>"})
    html = history_page.to_html([night(1, "PROMOTED", "1"), promoted], [], standing)
    read = Reader(html)
    said = " ".join(read.text)
    assert "since then version 2 was rolled back: late <answers>" in said
    assert "version 1 (ranker) is the champion" in said
    assert "version 2 (ranker)" not in said
    assert f"{LAST}: version 1 went back" in said
    assert f"{LAST}: version 2 promoted" not in said
    same = history_rows.Standing("2", "ranker", LAST, {})
    reports = [night(1, "PROMOTED", "1"), promoted]
    assert history_page.to_html(reports, [], same) == history_page.to_html(reports, [])


def test_a_version_that_failed_its_check_is_no_change_of_champion() -> None:
    kept = night(0, "KEPT", None, challenger={"version": "1"})
    assert "went back</title>" not in history_page.to_html([kept], [])
