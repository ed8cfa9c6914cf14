"""Ranking metrics equal a naive loop over queries, day resamples equal scoring the drawn rows."""

import math

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation.bootstrap import day_counts
from tasks.metrics.ranking import keep_places
from tasks.problems import Recommendation

RECOMMENDATION = Recommendation("user", "item", "popularity", repeat="bought_before")


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
    values = {name: [] for name in RECOMMENDATION.metric_names}
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
    monkeypatch.setattr("tasks.metrics.ranking.BLOCK_CELLS", cells)
    examples = _ranking()
    score = np.random.default_rng(1).random(len(examples)).round(1)
    day = pd.factorize(examples["day"])[0]
    counts = day_counts(4, 5, seed=1)
    found = RECOMMENDATION.measure(
        examples, {"a": score}, day, counts, RECOMMENDATION.metric_names
    )["a"]
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
    ones, names = np.ones((1, 4)), RECOMMENDATION.metric_names
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
        examples,
        {"a": np.array([2.0, 1.0])},
        np.zeros(2, int),
        np.ones((1, 1)),
        problem.metric_names,
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


@pytest.mark.parametrize(("k", "count"), [(1, 1), (5, 2), (5, 5), (40, 3), (5, 0)])
def test_kept_places_equal_a_naive_loop(k, count):
    examples = _ranking(users=20)
    tie = pd.util.hash_array(examples["item"].to_numpy())
    score = np.random.default_rng(1).random(len(examples)).round(1)
    query = pd.factorize(examples["day"].astype(str) + examples["user"].astype(str))[0]
    kept = examples["bought_before"].to_numpy() == 0
    found = keep_places(query, tie, score, kept, k, count)
    for code in range(query.max() + 1):
        rows = sorted(np.flatnonzero(query == code), key=lambda row: (-score[row], tie[row]))
        first, rest = rows[:k], rows[k:]
        lacking = count - sum(kept[first])
        risen = [row for row in rest if kept[row]][: max(0, lacking)]
        fallen = [row for row in first if not kept[row]][::-1][: len(risen)]
        top = [row for row in rows if (row in first and row not in fallen) or row in risen]
        expected = [*top, *(row for row in rows if row not in top)]
        assert sorted(np.flatnonzero(query == code), key=lambda row: -found[row]) == expected
        assert sum(kept[expected[:k]]) >= min(count, sum(kept[expected]))
