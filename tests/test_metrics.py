"""Metrics equal scikit-learn's, day resamples equal scoring the drawn rows, intervals cover."""

import json
import math
import time

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from tasks import metrics
from tasks.metrics import Evaluation, JudgementError
from tasks.problems import Classification, Recommendation, Regression

BINARY = {
    "average_precision": reference.average_precision_score,
    "roc_auc": reference.roc_auc_score,
    "log_loss": reference.log_loss,
    "brier": reference.brier_score_loss,
}
NUMERIC = {
    "mean_absolute_error": reference.mean_absolute_error,
    "root_mean_squared_error": reference.root_mean_squared_error,
    "median_absolute_error": reference.median_absolute_error,
    "r2": reference.r2_score,
}
RECOMMENDATION = Recommendation("user", "item", "popularity", repeat="bought_before")


def _binary(rows=600, days=7, decimals=2, seed=3):
    rng = np.random.default_rng(seed)
    score = rng.random(rows).round(decimals)
    return (rng.random(rows) < score * 0.6).astype(np.int8), score, rng.integers(0, days, rows)


def _drawn(day, counts):
    """Row positions of one resample, written out."""
    return np.repeat(np.arange(len(day)), counts[day].astype(int))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("decimals", [1, 2, 9])
def test_binary_metric_equals_reference_on_every_resample(name, decimals):
    target, score, day = _binary(decimals=decimals)
    counts = metrics.day_counts(7, 20, seed=1)
    found = metrics.binary_metrics(target, score, day, counts, [name])[name]
    for weights, value in zip(counts, found, strict=True):
        rows = _drawn(day, weights)
        assert value == pytest.approx(BINARY[name](target[rows], score[rows]), abs=1e-12)


@pytest.mark.parametrize("name", NUMERIC)
@pytest.mark.parametrize("rows", [300, 301])
def test_numeric_metric_equals_reference_on_every_resample(name, rows):
    rng = np.random.default_rng(5)
    target = rng.normal(1000, 5, rows)
    score, day = target + rng.normal(0, 3, rows), rng.integers(0, 7, rows)
    counts = metrics.day_counts(7, 20, seed=1)
    found = metrics.regression_metrics(target, score, day, counts, [name])[name]
    for weights, value in zip(counts, found, strict=True):
        drawn = _drawn(day, weights)
        assert value == pytest.approx(NUMERIC[name](target[drawn], score[drawn]), abs=1e-10)


def test_average_precision_of_a_constant_is_the_prevalence():
    target, _, day = _binary()
    found = metrics.binary_metrics(
        target, np.full(len(target), 0.2), day, np.ones((1, 7)), ["average_precision", "roc_auc"]
    )
    assert found["average_precision"][0] == pytest.approx(target.mean(), abs=1e-12)
    assert found["roc_auc"][0] == 0.5


def test_blocks_do_not_change_average_precision(monkeypatch):
    target, score, day = _binary()
    counts = metrics.day_counts(7, 50, seed=1)
    whole = metrics.binary_metrics(target, score, day, counts, ["average_precision"])
    monkeypatch.setattr(metrics, "BLOCK_CELLS", 200)
    parts = metrics.binary_metrics(target, score, day, counts, ["average_precision"])
    np.testing.assert_allclose(whole["average_precision"], parts["average_precision"], atol=1e-13)


def test_calibration_error_by_hand():
    score = np.repeat([0.1, 0.3, 0.9], 100)
    target = np.concatenate([np.arange(100) < 20, np.arange(100) < 30, np.arange(100) < 70])
    found = metrics.binary_metrics(
        target, score, np.zeros(300, int), np.ones((1, 1)), ["calibration_error"]
    )
    assert found["calibration_error"][0] == pytest.approx((0.1 + 0.0 + 0.2) / 3)


def test_one_class_in_a_resample_is_undefined():
    found = metrics.binary_metrics(
        [1, 0], np.array([0.4, 0.2]), np.array([0, 1]), np.eye(2), ["average_precision", "roc_auc"]
    )
    assert np.isnan(found["roc_auc"]).all()
    assert found["average_precision"][0] == 1
    assert np.isnan(found["average_precision"][1])


def _ranking(days=4, users=6, seed=2, items=30):
    rng = np.random.default_rng(seed)
    frames = []
    for day in range(days):
        for user in range(users):
            size = int(rng.integers(1, items))
            frame = pd.DataFrame({"item": rng.permutation(items)[:size], "user": user})
            frame["day"] = pd.Timestamp("2017-03-01") + pd.Timedelta(days=day)
            frame["target"] = (rng.random(size) < 0.25).astype(np.int8)
            frame["relevant"] = frame["target"].sum() + 1 + int(rng.integers(0, 3))
            frame["bought_before"] = (rng.random(size) < 0.5).astype(float)
            frame["popularity"] = rng.integers(0, 5, size).astype(float)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def _naive(examples, score, k=10, recall_k=20):
    """Means over queries, one query at a time, with no shared code but the tie order."""
    ties = pd.util.hash_array(examples["item"].to_numpy())
    frame = examples.assign(score=score, tie=ties)
    values = {name: [] for name in RECOMMENDATION.metrics}
    for _, query in frame.groupby(["day", "user"]):
        query = query.sort_values(["score", "tie"], ascending=[False, True])
        relevant = query["relevant"].iloc[0]

        def ndcg(ranked, best):
            dcg = sum(1 / math.log2(i + 2) for i, hit in enumerate(ranked[:k]) if hit)
            return dcg / sum(1 / math.log2(i + 2) for i in range(min(k, best)))

        top = query.head(recall_k)
        old = query["bought_before"] > 0
        values[f"ndcg_{k}"].append(ndcg(query["target"].tolist(), relevant))
        values[f"recall_{recall_k}"].append(top["target"].sum() / relevant)
        for kind, member in (("repeats", old), ("discoveries", ~old)):
            part = top.loc[member[top.index], "target"].sum() / relevant
            values[f"recall_{recall_k}_from_{kind}"].append(part)
            alone = query.loc[member, "target"].tolist()
            if sum(alone):
                values[f"ndcg_{k}_among_{kind}"].append(ndcg(alone, sum(alone)))
    return {name: np.mean(found) for name, found in values.items()}


@pytest.mark.parametrize("cells", [250_000, 40])
def test_ranking_metrics_equal_a_naive_loop(monkeypatch, cells):
    monkeypatch.setattr(metrics, "BLOCK_CELLS", cells)
    examples = _ranking()
    score = np.random.default_rng(1).random(len(examples)).round(1)
    day = pd.factorize(examples["day"])[0]
    counts = metrics.day_counts(4, 5, seed=1)
    found = RECOMMENDATION.measure(examples, {"a": score}, day, counts, RECOMMENDATION.metrics)["a"]
    for name, value in _naive(examples, score).items():
        assert found[name][0] == pytest.approx(value, abs=1e-12), name
    drawn = [
        examples[day == d].assign(day=pd.Timestamp("2018-01-01") + pd.Timedelta(days=copy))
        for copy, d in enumerate(np.repeat(np.arange(4), counts[3].astype(int)))
    ]
    score = pd.Series(score, examples.index)
    again = _naive(pd.concat(drawn), np.concatenate([score[part.index] for part in drawn]))
    for name, value in again.items():
        assert found[name][3] == pytest.approx(value, abs=1e-12), name


def test_recall_parts_add_up_and_row_order_does_not_matter():
    examples = _ranking()
    day = pd.factorize(examples["day"])[0]
    score = examples["popularity"].to_numpy()
    order = np.argsort(-examples["target"].to_numpy(), kind="stable")
    ones, names = np.ones((1, 4)), RECOMMENDATION.metrics
    found = RECOMMENDATION.measure(examples, {"a": score}, day, ones, names)["a"]
    moved = RECOMMENDATION.measure(
        examples.iloc[order], {"a": score[order]}, day[order], ones, names
    )["a"]
    parts = found["recall_20_from_repeats"] + found["recall_20_from_discoveries"]
    assert parts[0] == pytest.approx(found["recall_20"][0])
    assert {n: v[0] for n, v in found.items()} == pytest.approx({n: v[0] for n, v in moved.items()})


def test_items_outside_the_candidates_count_as_missed():
    examples = pd.DataFrame(
        {"day": [0, 0], "user": 1, "item": [5, 6], "target": [1, 0], "relevant": 4}
    )
    problem = Recommendation("user", "item", "popularity")
    found = problem.measure(
        examples, {"a": np.array([2.0, 1.0])}, np.zeros(2, int), np.ones((1, 1)), problem.metrics
    )["a"]
    assert found["recall_20"][0] == 0.25
    assert found["ndcg_10"][0] == pytest.approx(1 / sum(1 / np.log2(np.arange(2, 6))))


def test_fewer_relevant_than_bought_is_an_error():
    examples = _ranking().assign(relevant=0)
    with pytest.raises(ValueError, match="relevant"):
        RECOMMENDATION.measure(
            examples,
            {"a": examples["popularity"].to_numpy()},
            pd.factorize(examples["day"])[0],
            np.ones((1, 4)),
            ["ndcg_10"],
        )


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
        found = metrics.evaluate(problem, examples, scores, **SETTINGS)
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
    found = metrics.evaluate(LATE, examples, {"a": scores["s1"], "b": scores["s1"]}, **SETTINGS)
    assert found.difference("a", "b").absolute == metrics.Estimate(0, 0, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1.5])
def test_one_bad_score_excludes_its_scorer_only(bad):
    examples, scores = _flights(2000)
    broken = scores["s1"].copy()
    broken[7] = bad
    found = metrics.evaluate(LATE, examples, {"a": scores["s0"], "b": broken}, **SETTINGS)
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
            metrics.evaluate(LATE, case, score, **SETTINGS)
    with pytest.raises(JudgementError, match="no examples"):
        metrics.evaluate(LATE, examples.iloc[:0], {"a": np.empty(0)}, **SETTINGS)
    with pytest.raises(JudgementError, match="one value"):
        metrics.evaluate(Regression("x"), examples.assign(target=2.0), score, **SETTINGS)


def test_days_alone_and_slices():
    examples, scores = _flights(6000)
    alone = metrics.evaluate_days(LATE, examples, {"a": scores["s0"]})["a"]
    day = examples["day"] == pd.Timestamp("2013-05-03")
    expected = BINARY["average_precision"](examples["target"][day], scores["s0"][day])
    assert alone["2013-05-03"] == pytest.approx(expected, abs=1e-12)
    assert len(alone) == 14
    found = metrics.evaluate_slices(
        LATE, examples, scores["s4"], scores["s0"], ["carrier"], **SETTINGS
    )
    assert [s.group for s in found] == ["AA", "DL", "missing"]
    assert sum(s.units for s in found) == 6000
    assert found[2].relative is None
    rows = (examples["carrier"] == "AA").to_numpy()
    expected = BINARY["average_precision"](examples["target"][rows], scores["s4"][rows])
    assert found[0].scorer == pytest.approx(expected)
    assert found[0].relative.high < 0


def test_a_slice_may_not_split_a_query():
    examples = _ranking()
    score = examples["popularity"].to_numpy()
    with pytest.raises(ValueError, match="differs within one user"):
        metrics.evaluate_slices(
            RECOMMENDATION, examples, score, score, ["bought_before"], **SETTINGS
        )


@pytest.mark.parametrize("days", [7, 14])
def test_intervals_cover_the_true_paired_difference(days):
    """Means of independent days: 90 % asked, 86 to 94 % found."""
    rng = np.random.default_rng(days)
    held = 0
    for seed in range(600):
        samples = metrics.day_counts(days, 400, seed) @ rng.normal(0.1, 1, days) / days
        found = metrics.interval(samples, days, 0.9)
        held += found.low <= 0.1 <= found.high
    assert 0.86 <= held / 600 <= 0.94


def test_a_resample_that_is_not_finite_makes_the_estimate_so():
    assert not metrics.interval(np.array([1.0, np.nan, 1.0]), 7, 0.9).finite()
    assert not metrics.interval(np.array([1.0, 1.0]), 1, 0.9).finite()


def test_titles_for_people():
    assert metrics.title("ndcg_10") == "NDCG@10"
    assert metrics.title("recall_20_from_repeats") == "recall@20 from repeats"
    assert metrics.title("average_precision") == "average precision"
    assert metrics.title("r2") == "R²"


def test_a_thousand_resamples_are_cheap():
    examples, scores = _flights()
    metrics.evaluate(LATE, examples[::50], {"a": scores["s0"][::50]}, **SETTINGS)
    started = time.process_time()
    metrics.evaluate(LATE, examples, scores, **SETTINGS)
    assert time.process_time() - started < 1.5


def test_a_fortnight_of_baskets_is_cheap():
    days, users, items = 14, 330, 250
    rows, rng = days * users * items, np.random.default_rng(0)
    first = pd.Timestamp("2017-03-01")
    examples = pd.DataFrame(
        {
            "day": np.repeat(pd.date_range(first, periods=days), users * items),
            "user": np.tile(np.repeat(np.arange(users), items), days),
            "item": np.tile(np.arange(items), days * users),
            "target": (rng.random(rows) < 0.02).astype(np.int8),
            "relevant": 40,
            "bought_before": rng.integers(0, 2, rows),
        }
    )
    scores = {f"s{i}": rng.random(rows) for i in range(5)}
    started = time.process_time()
    found = metrics.evaluate(RECOMMENDATION, examples, scores, **SETTINGS)
    assert time.process_time() - started < 3
    assert found.units == days * users
    assert set(found.metrics["s0"]) == set(RECOMMENDATION.metrics)
