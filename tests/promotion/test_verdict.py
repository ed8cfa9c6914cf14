"""What a night decides: closed wherever something is missing, and why, in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from tasks.errors import SpecError
from tasks.promotion.anchor import ANCHOR, AnchorFacts
from tasks.promotion.betting import BETS, Capital
from tasks.promotion.checks import Check
from tasks.promotion.contests import Contest, Contests
from tasks.promotion.verdict import (
    ChampionFacts,
    Decision,
    Evidence,
    decide,
    early_verdict,
    why_backfill,
    why_not_comparable,
    with_baselines,
)
from tasks.registry.versions import Champion
from tests.toy import toy

FACTS = ChampionFacts("2", "good")
RANDOM = np.random.default_rng(0)


def days(first: str, count: int, rows: int = 100) -> pd.DataFrame:
    stamps = pd.date_range(first, periods=count).repeat(rows)
    target = RANDOM.integers(0, 2, len(stamps))
    return pd.DataFrame({"day": stamps, "shop": target % 2, "target": target})


TRAINING, HOLDOUT = days("2026-01-01", 7), days("2026-01-08", 7)


def guess(noise: float, holdout: pd.DataFrame = HOLDOUT) -> np.ndarray:
    """Scores that follow the label, the less the more noise."""
    draw = np.random.default_rng(1).normal(size=len(holdout))
    scores: np.ndarray = 1 / (1 + np.exp(-(2 * holdout["target"] - 1 + noise * draw)))
    return np.asarray(scores)


SCORES = {
    "good": guess(1.0),
    "bad": guess(20.0),
    "baseline": np.full(len(HOLDOUT), 0.5),
    "champion": guess(1.0),
}
EVIDENCE = Evidence(TRAINING, HOLDOUT, SCORES, ["bad", "good"])
NO_CHAMPION = {name: score for name, score in SCORES.items() if name != "champion"}


def night(
    evidence: Evidence = EVIDENCE, champion: ChampionFacts | None = FACTS, **more: Any
) -> Any:
    return decide(toy, evidence, champion, **more)


def test_the_champions_recipe_on_fresh_data_is_promoted_with_its_figures() -> None:
    found: Decision = night()
    assert (found.verdict.status, found.challenger) == ("PROMOTED", "good")
    assert found.verdict.reasons[1].startswith("Same recipe on fresher data")
    assert found.figures is not None
    assert set(found.figures.metrics) == set(SCORES)
    assert {(group.column, group.group) for group in found.slices} == {("shop", "0"), ("shop", "1")}
    assert found.prediction_interval is not None
    value = found.figures.primary("good").value
    assert found.prediction_interval["value"] == pytest.approx(value, abs=0.02)
    assert found.prediction_interval["low"] < value < found.prediction_interval["high"]


def test_without_a_champion_the_best_candidate_is_the_first() -> None:
    found = night(replace(EVIDENCE, scores=NO_CHAMPION), None)
    assert (found.verdict.status, found.challenger) == ("PROMOTED", "good")
    assert found.verdict.reasons[0].startswith("First champion: ")
    assert found.slices == ()


NAIVE = replace(
    toy, baseline="usual", candidates={**toy.candidates, "usual": toy.candidates["constant"]}
)


def named(**noise: float) -> Evidence:
    """Evidence of these candidates, of which one is the baseline, and of no champion."""
    scores = {name: guess(size) for name, size in noise.items()}
    every = with_baselines(NAIVE, scores, TRAINING, HOLDOUT)
    return Evidence(TRAINING, HOLDOUT, every, list(noise))


@pytest.mark.parametrize(
    ("noise", "challenger", "first"),
    [
        ({"model": 0.5, "usual": 3.0}, "model", "First champion: Average precision"),
        ({"model": 3.05, "usual": 3.0}, "usual", "No model beats the baseline yet; usual, the"),
        ({"model": 20.0, "usual": 3.0}, "usual", "No model beats the baseline yet; usual, the"),
    ],
)
def test_where_no_model_beats_the_named_baseline_it_is_the_first_champion_itself(
    noise: dict[str, float], challenger: str, first: str
) -> None:
    found = decide(NAIVE, named(**noise))
    assert (found.verdict.status, found.challenger) == ("PROMOTED", challenger)
    assert found.verdict.reasons[0].startswith(first)
    against = "trivial baseline's" if challenger == "usual" else "baseline usual's"
    assert against in " ".join(found.verdict.reasons)


def test_a_named_baseline_that_was_not_fitted_stays_the_one_to_beat() -> None:
    found = decide(NAIVE, named(model=0.5))
    assert found.verdict.status == "KEPT"
    assert "baseline has no metrics" in found.verdict.reasons[0]


def test_a_baseline_that_serves_is_refitted_and_the_report_says_that_it_is_one() -> None:
    evidence = named(model=2.0, usual=3.0)
    evidence = replace(evidence, scores={**evidence.scores, "champion": evidence.scores["usual"]})
    found = decide(NAIVE, evidence, ChampionFacts("1", "usual"))
    assert (found.verdict.status, found.challenger) == ("PROMOTED", "usual")
    assert "No model beats the baseline yet; usual, the baseline, serves." in found.verdict.reasons
    assert found.contests is not None
    assert [contest.recipe for contest in found.contests.running] == ["model"]


def test_a_holdout_that_cannot_be_judged_keeps_the_champion() -> None:
    one_class = replace(EVIDENCE, holdout=HOLDOUT.assign(target=1))
    found = night(one_class)
    assert found.verdict.status == "KEPT"
    assert found.verdict.reasons[0].startswith("No comparison is possible: ")
    assert (found.challenger, found.figures, found.prediction_interval) == ("bad", None, None)


def test_candidates_that_are_all_unusable_keep_the_champion() -> None:
    broken = np.full(len(HOLDOUT), np.nan)
    found = night(replace(EVIDENCE, scores=SCORES | {"good": broken, "bad": broken}))
    assert found.verdict.status == "KEPT"
    assert found.verdict.reasons[0].startswith(
        "No comparison is possible: no candidate can be compared"
    )
    assert (found.figures, found.slices, found.prediction_interval) == (None, (), None)


def test_a_champion_that_cannot_be_compared_stays() -> None:
    fault = "The champion, version 2, cannot be scored: its package was altered."
    found = night(replace(EVIDENCE, scores=NO_CHAMPION), replace(FACTS, fault=fault))
    assert found.verdict.status == "KEPT"
    assert found.verdict.reasons == (fault,)
    assert not all(check.passed for check in found.verdict.checks)
    assert found.figures is not None


def test_a_champion_without_scores_is_never_replaced_even_where_no_fault_is_known() -> None:
    found = night(replace(EVIDENCE, scores=NO_CHAMPION))
    assert found.verdict.status == "KEPT"
    assert "champion has no metrics" in found.verdict.reasons[0]


def test_what_was_rolled_back_is_refused_and_only_that() -> None:
    why = "Version 3 was rolled back: complaints."
    found = night(refused={"good": why})
    assert (found.verdict.status, found.verdict.reasons[0]) == ("KEPT", why)
    assert found.verdict.reasons[1:] == night().verdict.reasons
    other = night(refused={"bad": why})  # it begins no contest
    assert replace(other, contests=None) == replace(night(), contests=None)
    assert other.contests.running == ()


BOLD = 1 / (1 + np.exp(-20 * (2 * HOLDOUT["target"] - 1 + 0.3 * RANDOM.normal(size=len(HOLDOUT)))))
RACE = Evidence(TRAINING, HOLDOUT, SCORES | {"bold": np.asarray(BOLD)}, ["bold", "good"])
STRICT = replace(toy, gate=replace(toy.gate, surprise=0.05))
LAST = date(2026, 1, 14)
PROVEN = Contests(
    LAST, "", 1, (Contest("bold", "good", 0.5, LAST, Capital(30, 1.0, (9.0,) * len(BETS))),)
)


def test_one_that_is_too_good_does_not_keep_the_champions_own_refit_out() -> None:
    found = decide(STRICT, RACE, FACTS, contests=PROVEN)
    assert (found.verdict.status, found.challenger) == ("PROMOTED", "good")
    (told,) = [reason for reason in found.verdict.reasons if "bold" in reason]
    assert told.startswith("bold is passed over: ")
    assert "a gain this large needs a person's review" in told
    assert found.verdict == replace(
        decide(STRICT, replace(RACE, candidates=["good"]), FACTS).verdict,
        reasons=found.verdict.reasons,
    )
    assert found.prediction_interval == night().prediction_interval


def test_of_a_fleet_each_model_has_only_its_share_of_the_error() -> None:
    free = replace(toy, gate=replace(toy.gate, surprise=100.0))
    alone = decide(free, RACE, FACTS, contests=PROVEN)
    assert (alone.verdict.status, alone.challenger) == ("PROMOTED", "bold")
    shared = decide(free, RACE, FACTS, contests=PROVEN, share=1 / 802)
    assert (shared.verdict.status, shared.challenger) == ("PROMOTED", "good")


def test_where_none_passes_the_best_is_told_of_first() -> None:
    worse = guess(20.0)
    evidence = replace(RACE, scores=RACE.scores | {"good": worse})
    found = decide(STRICT, evidence, FACTS, contests=PROVEN)
    assert (found.verdict.status, found.challenger) == ("WAITING", "bold")
    assert "a gain this large needs a person's review" in found.verdict.reasons[0]
    assert any(r.startswith("good is not promoted either: ") for r in found.verdict.reasons)


def test_on_the_first_night_the_next_best_is_the_first_champion() -> None:
    """The best one's probabilities are none: a gate on calibration lets the second through."""
    scores = {n: s for n, s in RACE.scores.items() if n != "champion"} | {"bold": BOLD * 0.01}
    careful = replace(toy, gate=replace(toy.gate, calibration=0.2))
    found = decide(careful, replace(RACE, scores=scores), None)
    assert (found.verdict.status, found.challenger) == ("PROMOTED", "good")
    assert any(r.startswith("bold is passed over: Calib") for r in found.verdict.reasons)


def test_one_that_was_rolled_back_does_not_keep_the_others_out() -> None:
    refused = {"bold": "Version 3 was rolled back: complaints."}
    found = night(RACE, refused=refused, contests=PROVEN)
    assert (found.verdict.status, found.challenger) == ("PROMOTED", "good")
    told = "bold is passed over: Version 3 was rolled back: complaints."
    assert told in found.verdict.reasons


def test_a_challenger_must_not_fall_behind_the_anchor_either() -> None:
    """Against the champion it is equal; the anchor was better."""
    level = replace(EVIDENCE, scores=SCORES | {ANCHOR: guess(1.0)})
    assert night(level, anchors=[AnchorFacts("1", 0.01)]).verdict.status == "PROMOTED"
    better = replace(EVIDENCE, scores=SCORES | {ANCHOR: guess(0.7)})
    found = night(better, anchors=[AnchorFacts("1", 0.01)])
    assert found.verdict.status == "KEPT"
    assert found.verdict.reasons[0].startswith("Against the anchor, version 1: -")
    assert night(better).verdict.status == "PROMOTED"


def test_without_a_score_of_the_anchor_nothing_is_promoted() -> None:
    assert night(anchors=[AnchorFacts("1", 0.01)]).verdict.status == "KEPT"
    failed = night(anchors=[AnchorFacts("1", 0.01, fault="The anchor cannot be scored.")])
    assert failed.verdict.status == "KEPT"
    assert failed.verdict.reasons[0] == "The anchor cannot be scored."


def test_a_failed_check_keeps_the_champion() -> None:
    leak = Check("no leak", False, "usual follows the outcome.")
    found = night(checked=[leak])
    assert found.verdict.status == "KEPT"
    assert found.verdict.reasons[0] == leak.detail


def test_edited_code_is_told_of_after_the_reasons_and_notes_come_last() -> None:
    plain, found = night().verdict, night(champion=replace(FACTS, edited=True), notes=["A note."])
    assert found.verdict.status == plain.status == "PROMOTED"
    *leading, edit, note = found.verdict.reasons
    assert tuple(leading) == plain.reasons
    assert edit.startswith("The model's code has changed since version 2 was made")
    assert note == "A note."


def test_a_fault_replaces_the_reasons_and_a_rollback_comes_before_it() -> None:
    facts = replace(FACTS, edited=True, fault="No comparison.")
    found = night(champion=facts, refused={"good": "Rolled back."}, notes=["A note."])
    assert found.verdict.reasons == ("Rolled back.", "No comparison.", "A note.")


def test_a_slice_without_its_column_is_a_fault_of_the_spec_on_the_first_night_too() -> None:
    blind = replace(EVIDENCE, holdout=HOLDOUT.drop(columns="shop"), scores=NO_CHAMPION)
    with pytest.raises(SpecError, match="shop"):
        night(blind, None)


CHAMPION = cast(
    Champion,
    SimpleNamespace(version="2", as_of=date(2026, 3, 10), twin_learned_through=date(2026, 3, 3)),
)


@pytest.mark.parametrize(
    ("as_of", "judged", "holdout_from", "words"),
    [
        ("2026-03-11", "2026-03-10", "2026-03-04", None),
        ("2026-03-10", "2026-03-10", "2026-03-04", None),
        ("2026-03-11", None, "2026-03-04", None),
        (
            "2026-03-09",
            None,
            "2026-03-04",
            "This night is a backfill: the champion, version 2, was made",
        ),
        (
            "2026-03-11",
            "2026-03-12",
            "2026-03-04",
            "This night is a backfill: the night of 2026-03-12",
        ),
        ("2026-03-11", None, "2026-03-03", "cannot be compared on days it was trained on"),
    ],
)
def test_a_challenger_is_compared_only_on_later_days_unseen_by_the_champion(
    as_of: str, judged: str | None, holdout_from: str, words: str | None
) -> None:
    last = date.fromisoformat(judged) if judged else None
    found = why_not_comparable(
        CHAMPION, date.fromisoformat(as_of), last, date.fromisoformat(holdout_from)
    )
    assert (found is None) == (words is None)
    assert words is None or words in str(found)


def test_a_night_without_fresh_data_is_held() -> None:
    found = early_verdict(["The source is stale."], {})
    assert (found.status, found.reasons) == ("HELD", ("The source is stale.",))


def test_bad_days_reject_the_night_and_of_many_three_are_told() -> None:
    bad = {date(2026, 3, day): f"Day {day} is bad." for day in range(1, 6)}
    found = early_verdict((), dict(list(bad.items())[:3]))
    assert (found.status, len(found.reasons)) == ("REJECTED", 3)
    many = early_verdict((), bad)
    assert many.reasons == (
        "Day 1 is bad.",
        "Day 2 is bad.",
        "Day 3 is bad.",
        "2 more days are bad, through 2026-03-05.",
    )


@pytest.mark.parametrize(
    ("champion_of", "judged", "said"),
    [
        (None, None, None),
        (None, 9, None),
        (None, 10, None),
        (None, 11, "the night of 2026-01-11 was decided before"),
        (9, 10, None),
        (10, None, None),
        (11, None, "version 3, was made as of 2026-01-11, later than 2026-01-10"),
        (9, 11, "the night of 2026-01-11 was decided before"),
        (12, 11, "was made as of 2026-01-12"),
    ],
)
def test_a_backfill_is_older_than_the_champion_or_the_last_judged_night(
    champion_of: int | None, judged: int | None, said: str | None
) -> None:
    def day(number: int) -> date:
        return date(2026, 1, number)

    made = SimpleNamespace(version="3", as_of=day(champion_of)) if champion_of else None
    version = cast(Champion | None, made)
    found = why_backfill(day(10), version, day(judged) if judged else None)
    assert (found is None) is (said is None)
    assert (said or "") in (found or "")


def test_another_recipe_is_promoted_once_its_days_have_proven_it_and_not_sooner() -> None:
    """Its holdout of 7 days is far better, but a week is too few; each new day counts once."""
    contests: Contests | None = None
    champion = ChampionFacts("2", "bad")
    spec, verdicts = replace(toy, gate=replace(toy.gate, surprise=1000.0)), []
    for night in range(14):
        holdout = days(str(date(2026, 1, 8) + timedelta(days=night)), 7)
        scores = {name: guess(noise, holdout) for name, noise in (("good", 1.0), ("bad", 20.0))}
        scores |= {"champion": guess(20.0, holdout), "baseline": np.full(len(holdout), 0.5)}
        evidence = Evidence(TRAINING, holdout, scores, ["bad", "good"])
        found = decide(spec, evidence, champion, contests=contests, code="one")
        contests = found.contests
        verdicts.append((found.challenger, found.verdict.status))
    assert contests is not None
    assert contests.running[0].capital.days == 7 + 13
    promoted = verdicts.index(("good", "PROMOTED"))
    assert 3 <= promoted < 14
    assert set(verdicts[promoted:]) == {("good", "PROMOTED")}
    assert {name for name, _ in verdicts[:promoted]} == {"bad"}


def test_contests_wait_where_a_night_cannot_be_compared() -> None:
    before = Contests(date(2026, 1, 8), "one")
    one_class = replace(EVIDENCE, holdout=HOLDOUT.assign(target=1))
    assert night(one_class, contests=before).contests == before
    assert night(replace(EVIDENCE, scores=NO_CHAMPION), None).contests is None
