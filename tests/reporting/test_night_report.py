"""The report of a night from plain values: every section, and what is not there yet."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from tasks.features.split import Split
from tasks.monitoring.drift import Drifted, Shift
from tasks.monitoring.live_days import Live
from tasks.predictions.publish import Predictions
from tasks.promotion.betting import Capital
from tasks.promotion.checks import Check, Status, Verdict
from tasks.promotion.contests import Contest, Contests
from tasks.promotion.shadow import Shadow
from tasks.registry.versions import Champion
from tasks.reporting import history_page, night_report
from tasks.reporting.night_report import DataFacts, JudgedFacts, NightFacts, build_report
from tasks.reporting.render import to_do, to_markdown, to_terminal
from tasks.reporting.report_schema import Report
from tasks.training.fit import Fit
from tests.toy import toy

AS_OF = date(2026, 3, 10)
HELD = NightFacts(toy, AS_OF, Verdict(Status.HELD, ("The source is stale.",)))
BEFORE = cast(Champion, SimpleNamespace(version="2", candidate="tree", as_of=date(2026, 3, 9)))


def measured(value: float) -> dict[str, dict[str, float]]:
    return {"average_precision": {"value": value, "low": value - 0.1, "high": value + 0.1}}


LOOK = {"relative": {"value": 0.1, "low": 0.05, "high": 0.15}}
FIGURES = {
    "metrics": {
        "logistic": measured(0.8),
        "tree": measured(0.7),
        "champion": measured(0.6),
        "baseline": measured(0.5),
    },
    "differences": {"logistic": {"tree": LOOK}, "tree": {"logistic": {}}},
}
FITS = {
    "broken": Fit("broken", "k0", 90, 0.5, 0.5),
    "logistic": Fit("logistic", "k1", 100, 1.5, 1.0),
    "tree": Fit("tree", "k2", 100, 2.5, 1.0),
}
SPLIT = Split(
    train=tuple(AS_OF - timedelta(days=n) for n in range(14, 7, -1)),
    holdout=(date(2026, 3, 8), date(2026, 3, 9)),
    refit=(),
)
JUDGED = JudgedFacts(
    "logistic", FITS, SPLIT, FIGURES, {"value": 0.8, "low": 0.7, "high": 0.9}, "run", "3"
)
DATA = DataFacts(12, 3, 1, {"rows_in": 10, "accepted": 7, "quarantined": 2, "duplicates": 1})
PROMOTED = replace(
    HELD,
    verdict=Verdict(Status.PROMOTED, ("Better.",), (Check("slices", True, "None worse."),)),
    data=DATA,
    judged=JUDGED,
    champion=BEFORE,
    seconds={"clean": 1.0, "total": 9.0},
    links={"report": "report.md"},
)


NOT_MADE = {"current": True, "rows": 3, "day": "2026-03-11", "version": "3"}


def test_a_night_that_came_to_nothing_has_every_key_and_no_figures() -> None:
    found = build_report(HELD)
    assert set(found) == set(Report.__annotations__)
    assert (found["model"], found["as_of"], found["verdict"]) == ("toy", "2026-03-10", "HELD")
    assert found["reasons"] == ["The source is stale."]
    assert found["rows"] == {"in": 0, "accepted": 0, "quarantined": 0, "duplicates": 0}
    assert found["days"] == {"new": 0, "reused": 0, "rejected": 0}
    assert found["champion"] == {"version": None, "candidate": None, "since": None}
    assert found["challenger"] == {"version": None, "run_id": None, "candidate": None}
    assert (found["metrics"], found["candidates"], found["looks"]) == ({}, {}, {})
    assert (found["split"], found["promised"], found["drift"]) == (None, None, None)
    assert (found["live"], found["live_lines"], found["reverted"]) == ([], [], None)


def test_a_promoted_night_is_plain_json_and_can_be_told() -> None:
    found = build_report(PROMOTED)
    assert json.loads(json.dumps(found)) == found
    assert found["checks"] == [
        {"name": "slices", "passed": True, "detail": "None worse.", "for_person": False}
    ]
    assert found["promised"] == {"value": 0.8, "low": 0.7, "high": 0.9}
    assert found["metric"] == "average_precision"
    assert found["titles"]["roc_auc"] == "ROC AUC"
    assert "version 3 is the champion" in to_terminal(found)
    assert "# toy · 2026-03-10 · PROMOTED" in to_markdown(found, {})


def test_the_time_is_that_of_the_whole_command_also_where_no_step_ran() -> None:
    assert "Time        9.0 s: clean 1.0" in to_terminal(build_report(PROMOTED))
    assert "Time        84.0 s: start 75.0 · clean 1.0" in to_terminal(
        build_report(PROMOTED), outside=75.0
    )
    held = build_report(replace(HELD, seconds={"total": 5.6}, links=PROMOTED.links))
    assert "Time        84.0 s: start 78.4" in to_terminal(held, outside=78.4)
    assert "Time        5.6 s\n" in to_terminal(held)


def test_what_a_person_needs_is_on_the_first_screen() -> None:
    failed = Check("size", False, "30 MB, bound 20 MB.")
    verdict = Verdict(Status.WAITING, ("Version 3 waits.",), (*PROMOTED.verdict.checks, failed))
    found = build_report(replace(PROMOTED, verdict=verdict))
    pictures = {"Candidates": "candidates.png", "Slices": "slices.png"}
    lines = [line for line in to_markdown(found, pictures, titled=False).splitlines() if line]
    assert lines[0].startswith("**A version waits for a person, the champion stays.**")
    todo = "Decide on the version that waits: python flows/approve.py --model toy."
    assert lines[2] == f"To do: {todo}"
    assert lines[4] == "![Candidates](candidates.png)"
    assert lines.index("- **failed**: size. 30 MB, bound 20 MB.") + 1 == lines.index(
        "- 1 passed: slices"
    )
    assert lines.index("![Slices](slices.png)") < lines.index("- slices. None worse.")
    assert f"To do       {todo}" in to_terminal(found)
    decided = cast("Report", {**found, "waiting": {"version": "3", "decision": {"by": "Ada"}}})
    assert to_do(decided) == "Nothing."


NO_DAY = Verdict(Status.HELD, ("No fresh day.",))


def test_what_to_do_is_mostly_nothing() -> None:
    assert to_do(build_report(PROMOTED)) == "Nothing."
    held = build_report(replace(PROMOTED, verdict=NO_DAY))
    assert to_do(held).startswith("Nothing if the day comes")
    unread = replace(PROMOTED, verdict=NO_DAY, data=None, judged=None)
    assert "no day was read" in to_markdown(build_report(unread), {})
    refused = {**build_report(PROMOTED), "predictions": {"current": False}}
    assert to_do(refused) == "Repair the predictions, then python flows/predict.py --model toy."
    of_file = {
        **refused,
        "named": build_report(replace(PROMOTED, named="my models/toy.py"))["named"],
    }
    assert to_do(of_file).endswith("python flows/predict.py --model 'my models/toy.py'.")
    stays = {"current": False, "day": "2026-11-22", "fault": "none", "stays": None}
    named = "/srv/a-folder/with-hyphens/and-a-long/path-to/a-model.py"
    long = cast("Report", {**refused, "predictions": stays, "named": named})
    assert named in to_terminal(long), "a command to be copied"
    nobody = {**refused, "champion": {**refused["champion"], "version": None}}
    assert to_do(nobody) == "Nothing.", "predictions come with the first champion"


def test_days_and_rows_add_up() -> None:
    assert night_report.days(DATA) == {"new": 3, "reused": 9, "rejected": 1}
    assert night_report.rows(DATA) == {"in": 10, "accepted": 7, "quarantined": 2, "duplicates": 1}
    assert night_report.rows(replace(DATA, rows={}))["in"] == 0


def test_the_split_names_the_rows_of_the_challenger() -> None:
    assert night_report.split(JUDGED) == {
        "train_days": 7,
        "train_rows": 100,
        "holdout_days": 2,
        "holdout_from": "2026-03-08",
    }


def test_the_champion_is_the_new_version_only_where_it_was_promoted() -> None:
    new = {"version": "3", "candidate": "logistic", "since": "2026-03-10"}
    old = {"version": "2", "candidate": "tree", "since": "2026-03-09"}
    assert night_report.champion(PROMOTED) == new
    refused = replace(PROMOTED, verdict=Verdict(Status.KEPT, ("Version 3 is not promoted: size.",)))
    assert night_report.champion(refused) == old
    assert night_report.challenger(refused)["version"] == "3"
    assert night_report.champion(replace(refused, judged=None)) == old
    assert night_report.champion(replace(refused, champion=None))["version"] is None


def test_a_version_in_the_shadow_is_told_until_it_is_judged() -> None:
    dark = Shadow("7", "tree", date(2026, 3, 8), "2", night=2, nights=5, graded=1)
    kept = replace(
        PROMOTED,
        verdict=Verdict(Status.KEPT, (f"{dark.told()}.",)),
        judged=replace(JUDGED, version=None, shadow=dark),
    )
    found = build_report(kept)
    assert json.loads(json.dumps(found)) == found
    assert found["shadow"] == {
        "version": "7", "against": "2", "since": "2026-03-08", "night": 2, "nights": 5, "graded": 1,
    }  # fmt: skip
    said = "version 7 predicts in the shadow, night 2 of 5, the champion stays"
    assert f"KEPT: {said}" in to_terminal(found)
    assert said in history_page.to_html([found], [])
    begun = replace(kept, verdict=Verdict(Status.SHADOW, ("Fine.",)))
    assert f"SHADOW: {said}" in to_terminal(build_report(begun))
    judged = replace(JUDGED, version="7", shadow=replace(dark, ended=True))
    found = build_report(replace(PROMOTED, judged=judged))
    assert found["shadow"] is None
    assert found["champion"] == {"version": "7", "candidate": "tree", "since": "2026-03-08"}
    assert found["challenger"]["version"] is None
    assert "PROMOTED: version 7 is the champion" in to_terminal(found)


def test_candidates_that_could_not_be_measured_are_left_out() -> None:
    found = night_report.candidates(JUDGED)
    assert list(found) == ["logistic", "tree"]
    assert found["tree"] == {"metrics": measured(0.7), "seconds": 2.5, "rows": 100}
    assert night_report.candidates(replace(JUDGED, figures=None)) == {}


@pytest.mark.parametrize("missing", ["champion", "baseline", None])
def test_the_comparison_has_who_was_measured(missing: str | None) -> None:
    metrics = {name: each for name, each in FIGURES["metrics"].items() if name != missing}
    found = night_report.comparison(replace(JUDGED, figures={**FIGURES, "metrics": metrics}))
    assert list(found) == [n for n in ("challenger", "champion", "baseline") if n != missing]
    assert found["challenger"] == measured(0.8)


def test_looks_are_at_other_recipes_than_the_champions() -> None:
    assert night_report.looks(JUDGED, BEFORE, 0.95) == {"logistic": LOOK}
    assert night_report.looks(JUDGED, None, 0.95) == {}


def test_a_look_tells_what_speaks_for_the_recipe_and_what_is_needed() -> None:
    running = (Contest("logistic", "tree", 0.5, AS_OF, Capital(31, 1.0, (3.0,) * 4)),)
    contests = Contests(AS_OF, "code", 1, running).to_json()
    found = night_report.looks(replace(JUDGED, contests=contests), BEFORE, 0.95)["logistic"]
    assert found["relative"] == LOOK["relative"]
    assert (found["days"], found["e_value"]) == (31, pytest.approx(math.exp(3)))
    assert found["needed"] == pytest.approx(40)


def test_a_late_night_says_that_it_stands_for_others() -> None:
    assert build_report(replace(HELD, late=True))["reasons"] == [
        "The source is stale.",
        "Earlier nights were missed: this night uses every day since the last one.",
    ]


def test_of_many_columns_those_that_drifted_most_are_kept_and_the_others_counted() -> None:
    shifts = tuple(Shift(f"c{n}", 0.01, 0.1, 0.0, 0.0, 0.0) for n in range(3_000))
    found = build_report(replace(PROMOTED, drifted=Drifted(shifts, None, Check("d", True, ""))))
    assert found["drift"] is not None
    assert (len(found["drift"]["shifts"]), found["drift"]["columns"]) == (100, 3_000)
    assert "2,990 more columns drifted less." in to_markdown(found, {})


def test_drift_live_days_and_predictions_are_handed_on() -> None:
    shift = Shift("size", psi=0.5, usual=0.1, missing=0.0, new=0.0, vanished=0.0)
    found = build_report(
        replace(
            PROMOTED,
            drifted=Drifted((shift,), None, Check("drift", True, "")),
            live=Live(
                new=({"day": "2026-03-09"},), reverted="Version 2 was reverted.", has_reverted=True
            ),
            delivered=Predictions(date(2026, 3, 11), "3", 200, current=True),
        )
    )
    assert found["drift"] is not None
    assert found["drift"]["rows"] is None
    assert found["drift"]["shifts"][0]["alarming"] is True
    assert found["drift"]["shifts"][0]["column"] == "size"
    assert found["live"] == [{"day": "2026-03-09"}]
    assert found["reverted"] == "Version 2 was reverted."
    assert found["has_reverted"] is True
    assert found["predictions"] is not None
    assert (found["predictions"]["day"], found["predictions"]["rows"]) == ("2026-03-11", 200)


def test_an_input_that_moves_twice_as_much_as_before_stands_out() -> None:
    made = {
        "moved": {"size": 0.4, "shop": 0.1, "new": 0.05},
        "moved_before": {"size": 0.1, "shop": 0.09},
    }
    told = to_markdown({**build_report(PROMOTED), "predictions": {**NOT_MADE, **made}}, {})
    assert "| size | **0.4** | 0.1 |" in told
    assert "| shop | 0.1 | 0.09 |" in told
    assert "| new | 0.05 | - |" in told
