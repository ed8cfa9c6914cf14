"""Metrics equal scikit-learn's, day resamples equal scoring the drawn rows."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from tasks import metrics
from tasks.evaluate import day_counts
from tasks.problems import Recommendation

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
    counts = day_counts(7, 20, seed=1)
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
    counts = day_counts(7, 20, seed=1)
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
    counts = day_counts(7, 50, seed=1)
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
    counts = day_counts(4, 5, seed=1)
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


def test_titles_for_people():
    assert metrics.title("ndcg_10") == "NDCG@10"
    assert metrics.title("recall_20_from_repeats") == "recall@20 from repeats"
    assert metrics.title("average_precision") == "average precision"
    assert metrics.title("r2") == "R²"
