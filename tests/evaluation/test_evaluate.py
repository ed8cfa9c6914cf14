"""Scorers are compared on the same rows, bad scores exclude only their own, intervals cover."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from tasks.evaluation.bootstrap import day_counts, interval
from tasks.evaluation.estimates import Estimate, Evaluation
from tasks.evaluation.evaluate import evaluate, evaluate_days, evaluate_slices
from tasks.metrics import JudgementError
from tasks.problems import Classification, Recommendation, Regression


def _flights(rows=12_000, days=14, seed=0):
    rng = np.random.default_rng(seed)
    day = np.sort(rng.integers(0, days, rows))
    logit = rng.normal(size=rows) + rng.normal(0, 0.5, days)[day] - 1.4
    examples = pd.DataFrame(
        {
            "day": pd.Timestamp("2013-05-01") + pd.to_timedelta(day, unit="D"),
            "target": (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int8),
            "carrier": rng.choice(["AA", "DL", None], rows, p=[0.6, 0.395, 0.005]),
        }
    )
    noise = rng.normal(0, 1, (5, rows))
    scores = {f"s{i}": 1 / (1 + np.exp(-(logit + i / 5 * noise[i]))) for i in range(5)}
    return examples, scores


SETTINGS = {"resamples": 1000, "confidence": 0.9, "seed": 1}
LATE = Classification("late", unit="flights")


def test_evaluation_orients_differences_and_survives_json():
    examples, scores = _flights(3000)
    for problem in (LATE, Classification("late", metric="log_loss")):
        found = evaluate(problem, examples, scores, **SETTINGS)
        best = found.difference("s0", "s4")
        assert best.absolute.low > 0
        assert best.relative.low > 0
        assert found.difference("s4", "s0").absolute.value == -best.absolute.value
        gap = found.primary("s0").value - found.primary("s4").value
        assert abs(gap) == pytest.approx(best.absolute.value)
        theirs = found.primary("s4").value
        assert best.relative.value == pytest.approx(abs(gap) / theirs)
        assert Evaluation.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert (found.days, found.units, found.first_day) == (14, 3000, "2013-05-01")


def test_same_scores_differ_by_exactly_nothing():
    examples, scores = _flights(2000)
    found = evaluate(LATE, examples, {"a": scores["s1"], "b": scores["s1"]}, **SETTINGS)
    assert found.difference("a", "b").absolute == Estimate(0, 0, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.5])
def test_one_bad_score_excludes_its_scorer_only(bad):
    examples, scores = _flights(2000)
    broken = scores["s1"].copy()
    broken[7] = bad
    found = evaluate(LATE, examples, {"a": scores["s0"], "b": broken}, **SETTINGS)
    assert set(found.metrics) == {"a"}
    assert "1 of 2,000" in found.unusable["b"]


def test_holdouts_that_cannot_be_judged():
    examples, scores = _flights(200)
    score = {"a": scores["s0"]}
    cases = {
        "one class": examples.assign(target=0),
        "1 day": examples.assign(day=pd.Timestamp("2013-05-01")),
        "undefined": examples.assign(target=np.arange(200) == 0),
    }
    for words, case in cases.items():
        with pytest.raises(JudgementError, match=words):
            evaluate(LATE, case, score, **SETTINGS)
    with pytest.raises(JudgementError, match="no examples"):
        evaluate(LATE, examples.iloc[:0], {"a": np.empty(0)}, **SETTINGS)
    with pytest.raises(JudgementError, match="one value"):
        evaluate(Regression("x"), examples.assign(target=2.0), score, **SETTINGS)


def test_days_alone_and_slices():
    examples, scores = _flights(6000)
    alone = evaluate_days(LATE, examples, {"a": scores["s0"]})["a"]
    day = examples["day"] == pd.Timestamp("2013-05-03")
    expected = average_precision_score(examples["target"][day], scores["s0"][day])
    assert alone["2013-05-03"] == pytest.approx(expected, abs=1e-12)
    assert len(alone) == 14
    found = evaluate_slices(LATE, examples, scores["s4"], scores["s0"], ["carrier"], **SETTINGS)
    assert [s.group for s in found] == ["AA", "DL", "missing"]
    assert sum(s.units for s in found) == 6000
    assert found[2].relative is None
    rows = (examples["carrier"] == "AA").to_numpy()
    expected = average_precision_score(examples["target"][rows], scores["s4"][rows])
    assert found[0].scorer == pytest.approx(expected)
    assert found[0].relative.high < 0


def test_a_slice_may_not_split_a_query():
    basket = pd.DataFrame(
        {
            "day": pd.to_datetime(["2017-03-01", "2017-03-01", "2017-03-02"]),
            "user": 1,
            "item": [5, 6, 5],
            "target": 1,
            "relevant": 2,
            "old": [0, 1, 1],
        }
    )
    score = np.ones(3)
    with pytest.raises(ValueError, match="differs within one user"):
        evaluate_slices(
            Recommendation("user", "item", "popularity"), basket, score, score, ["old"], **SETTINGS
        )


@pytest.mark.parametrize("days", [7, 14])
def test_intervals_cover_the_true_paired_difference(days):
    """Means of independent days: 90 % asked, 86 to 94 % found."""
    rng = np.random.default_rng(days)
    held = 0
    for seed in range(600):
        samples = day_counts(days, 400, seed) @ rng.normal(0.1, 1, days) / days
        found = interval(samples, days, 0.9)
        held += found.low <= 0.1 <= found.high
    assert 0.86 <= held / 600 <= 0.94


def test_a_resample_that_is_not_finite_makes_the_estimate_so():
    assert not interval(np.array([1.0, np.nan, 1.0]), 7, 0.9).finite()
    assert not interval(np.array([1.0, 1.0]), 1, 0.9).finite()


@pytest.mark.parametrize(
    ("mine", "theirs", "worse"),
    [(0.0, 0.0, False), (2e-12, 1e-12, False), (1e-12, 0.0, False), (0.5, 0.0, True)],
)
def test_a_group_in_which_nobody_errs_is_no_worse(mine, theirs, worse):
    day = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.repeat(np.arange(8), 30), unit="D")
    closed = np.tile([True, False], 120)
    sold = np.where(closed, 0.0, np.arange(240) % 7 + 3.0)
    examples = pd.DataFrame({"day": day, "target": sold, "shop": np.where(closed, "shut", "open")})
    scores = [np.where(closed, error, sold + 1) for error in (mine, theirs)]
    found = evaluate_slices(Regression("sold"), examples, *scores, ["shop"], **SETTINGS)
    assert [each.relative.finite() for each in found] == [True, True]
    assert (found[1].group, found[1].relative.high < -0.1) == ("shut", worse)
