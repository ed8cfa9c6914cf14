"""Explicit feedback and metrics of one's own; implicit feedback is in test_problems."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation.evaluate import evaluate, evaluate_slices
from tasks.metrics import Metric
from tasks.problems import Recommendation
from tasks.spec import SpecError

STARS = Recommendation("user", "film", "popularity", rating="stars", liked=4)
DAY = pd.Timestamp("2026-01-05").as_unit("s")


def rated() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "day": DAY,
            "user": [1, 1, 1, 2, 2],
            "film": [10, 11, 12, 10, 13],
            "stars": [5.0, 2.0, 4.0, 1.0, np.nan],
        }
    )


def candidates() -> pd.DataFrame:
    users = np.repeat([1, 2], 4)
    return pd.DataFrame({"user": users, "film": [10, 11, 12, 13] * 2, "popularity": 1.0})


def test_what_was_disliked_is_no_hit_and_who_liked_nothing_judges_nothing() -> None:
    examples = STARS.label(candidates(), rated())
    assert examples["target"].tolist() == [1, 0, 1, 0, 0, 0, 0, 0]
    assert examples["relevant"].tolist() == [2] * 4 + [0] * 4
    assert STARS.count_units(examples) == 1
    score = np.array([0.9, 0.8, 0.7, 0.1] * 2)
    day, one = np.zeros(8, dtype=np.int64), np.ones((1, 1))
    found = STARS.measure(examples, {"a": score}, day, one, STARS.metric_names)["a"]
    assert found["recall_20"][0] == 1.0
    assert found["ndcg_10"][0] == pytest.approx((1 + 1 / 2) / (1 + 1 / np.log2(3)))


def test_live_answers_are_held_to_what_was_liked() -> None:
    shown = pd.DataFrame(
        {"user": [1, 1, 2], "place": [1, 2, 1], "film": [12, 11, 10], "score": [0.9, 0.8, 0.7]}
    ).assign(kind="discovery")
    examples, _, counts = STARS.match({"champion": shown}, rated())
    assert examples[["user", "film", "target"]].to_numpy().tolist() == [[1, 12, 1], [1, 11, 0]]
    assert counts == {"asked": 2, "labelled": 1, "unasked": 0}


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (Recommendation("u", "i", "p", rating="r"), "liked: found None, allowed the least liked"),
        (Recommendation("u", "i", "p", liked=4), "liked: found 4, allowed None without a rating"),
        (Recommendation("u", "i", "p", rating="r", liked="4"), "liked: found '4'"),  # type: ignore[arg-type]
        (Recommendation("u", "i", "p", rating="day", liked=4), "rating: found 'day'"),
        (
            Recommendation("place", "i", "p"),
            "user: found 'place', allowed a name that is not a col",
        ),
        (Recommendation("u", "version", "p"), "rename the column in clean, such as rows.rename("),
        (
            Recommendation("u", "i", "p", metric="gain"),
            "metric: found 'gain', allowed ndcg, recall",
        ),
    ],
)
def test_each_fault_says_what_is_allowed(problem: Recommendation, words: str) -> None:
    (found,) = problem.faults()
    assert words in found


def test_columns_the_rows_do_not_have_are_named() -> None:
    with pytest.raises(SpecError, match="found 'film', but the clean rows have no such"):
        STARS.label_fault(rated().drop(columns="film"))
    with pytest.raises(SpecError, match="found 'stars' of type str, expected numbers"):
        STARS.label_fault(rated().assign(stars="good"))
    assert STARS.label_fault(rated()) == ""
    assert "candidates of the training days was liked" in STARS.training_fault(
        pd.DataFrame({"target": [0, 0]})
    )


def test_a_metric_of_ones_own_is_told_per_query_and_knows_the_place() -> None:
    def income(examples: pd.DataFrame, _: np.ndarray) -> pd.Series:
        return examples["price"] * examples["target"] * (examples["place"] <= 1)

    problem = Recommendation(
        "user", "film", "popularity", metric="income", metrics=(Metric("income", income),)
    )
    assert problem.faults() == []
    assert problem.primary == problem.metric_names[0] == "income"
    examples = pd.DataFrame(
        {
            "day": np.repeat(pd.date_range(DAY, periods=3), 4),
            "user": [1, 1, 2, 2] * 3,
            "film": [10, 11, 10, 11] * 3,
            "target": np.array([1, 0, 0, 1] * 3, dtype=np.int8),
            "relevant": 1,
            "price": [3.0, 9.0, 5.0, 7.0] * 3,
        }
    )
    scores = {"right": examples["target"] + 0.1, "wrong": 0.5 - examples["target"]}
    found = evaluate(problem, examples, scores, resamples=100, confidence=0.9, seed=1)
    assert found.primary("right").value == pytest.approx((3.0 + 7.0) / 2)
    assert found.primary("wrong").value == 0


def test_all_places_that_a_metric_looks_at_are_published() -> None:
    """NDCG at more places than recall: the live figure is that of the holdout."""
    problem = Recommendation("user", "item", "often", k=4, recall_k=2)
    pairs = pd.DataFrame({"user": 1, "item": np.arange(6)})
    scores = np.linspace(0.9, 0.1, 6)
    shown = problem.answers(pairs[["user"]].drop_duplicates(), pairs, scores)
    assert shown["place"].tolist() == [1, 2, 3, 4]
    happened = pd.DataFrame({"day": pd.Timestamp("2026-03-02"), "user": [1], "item": [3]})
    examples, found, _ = problem.match({"champion": shown}, happened)
    day, once = np.zeros(len(examples), dtype=np.int64), np.ones((1, 1))
    live = problem.measure(examples, found, day, once, ("ndcg_4",))["champion"]["ndcg_4"]
    assert live[0] == pytest.approx(1 / np.log2(5))


def test_a_query_of_which_no_row_counts_is_left_out_of_a_custom_metric() -> None:
    def stock(examples: pd.DataFrame, _: np.ndarray) -> pd.Series:
        return examples["stock"].where(examples["user"] != 2)

    problem = Recommendation(
        "user", "item", "often", metric="stock", metrics=(Metric("stock", stock),)
    )
    examples = pd.DataFrame(
        {
            "day": pd.Timestamp("2026-03-02"),
            "user": [1, 1, 2, 2],
            "item": [1, 2, 1, 2],
            "target": [1, 0, 1, 0],
            "relevant": 1,
            "stock": [3.0, 1.0, 5.0, 5.0],
        }
    )
    day, once = np.zeros(4, dtype=np.int64), np.ones((1, 1))
    score = {"champion": np.asarray([0.4, 0.3, 0.2, 0.1])}
    assert problem.measure(examples, score, day, once, ("stock",))["champion"]["stock"][0] == 4.0


SHELF = Recommendation(
    "user", "item", "score", k=3, recall_k=4, repeat="had", discoveries=2, unit="visits"
)


def shelf(days: int = 1) -> pd.DataFrame:
    """A user's six item candidates, the best first: the first four were had before."""
    day = np.repeat(pd.date_range(DAY, periods=days), 6)
    one = {"user": 1, "item": np.arange(6), "had": [1, 1, 1, 1, 0, 0], "relevant": 2}
    wanted = {"target": np.array([1, 0, 0, 0, 0, 1], dtype=np.int8), "score": np.arange(6, 0, -1.0)}
    made = pd.concat([pd.DataFrame(one | wanted)] * days, ignore_index=True)
    return made.assign(day=day)


def test_places_are_kept_for_what_the_user_has_never_had() -> None:
    rows = shelf()
    shown = SHELF.answers(rows[["user"]].drop_duplicates(), rows, rows["score"].to_numpy())
    assert shown["item"].tolist() == [0, 4, 5, 1]
    assert shown["kind"].tolist() == ["repeat", "discovery", "discovery", "repeat"]
    assert shown["score"].tolist() == [6.0, 2.0, 1.0, 5.0]
    assert shown["place"].tolist() == [1, 2, 3, 4]


def test_metrics_and_live_days_are_of_the_list_with_its_kept_places() -> None:
    rows = shelf()
    scores = {"champion": rows["score"].to_numpy()}
    day, once = np.zeros(6, dtype=np.int64), np.ones((1, 1))
    found = SHELF.measure(rows, scores, day, once, SHELF.metric_names)["champion"]
    assert found["ndcg_3"][0] == pytest.approx((1 + 1 / 2) / (1 + 1 / np.log2(3)))
    assert found["recall_4_from_discoveries"][0] == 0.5
    shown = SHELF.answers(rows[["user"]].drop_duplicates(), rows, scores["champion"])
    bought = pd.DataFrame({"day": DAY, "user": 1, "item": [0, 5]})
    examples, live, _ = SHELF.match({"champion": shown}, bought)
    day = np.zeros(len(examples), dtype=np.int64)
    again = SHELF.measure(examples, live, day, once, ("ndcg_3",))["champion"]
    assert again["ndcg_3"][0] == found["ndcg_3"][0]


def test_without_enough_discoveries_repeats_fill_the_places() -> None:
    rows = shelf().iloc[:5]
    shown = SHELF.answers(rows[["user"]].drop_duplicates(), rows, rows["score"].to_numpy())
    assert shown["item"].tolist() == [0, 1, 4, 2]


def test_a_challenger_that_finds_fewer_discoveries_is_a_slice_that_became_worse() -> None:
    rows = shelf(days=8)
    third = rows[rows["item"] == 4].assign(item=6, score=1.5)
    rows = pd.concat([rows, third]).sort_values(["day", "item"], ignore_index=True)
    fair = rows["score"] + 1.0 * (rows["item"] == 5)  # shows the discovery that is wanted
    blind = rows["score"] - 0.5 * (rows["item"] == 5)
    settings = {"resamples": 100, "confidence": 0.9, "seed": 1, "min_units": 1}
    (found,) = evaluate_slices(SHELF, rows, blind, fair, (), **settings)
    assert (found.column, found.group) == ("metric", "recall@4 from discoveries")
    assert (found.scorer, found.other) == (0.0, 0.5)
    assert found.relative is not None
    assert found.relative.high == -1.0
    plain = replace(SHELF, discoveries=0)
    assert evaluate_slices(plain, rows, blind, fair, (), **settings) == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"discoveries": 4}, "discoveries: found 4, allowed a whole number from 0 to k (3)"),
        ({"discoveries": True}, "discoveries: found True, allowed a whole number"),
        ({"repeat": None}, "discoveries: found 2 without repeat"),
    ],
)
def test_places_that_cannot_be_kept_are_refused(changes: dict[str, Any], words: str) -> None:
    (found,) = replace(SHELF, **changes).faults()
    assert words in found
