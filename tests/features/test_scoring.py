"""What a model answers for a day to come, however many users ask."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier

from deployments.groceries import groceries
from tasks.features import scoring
from tasks.features.scoring import answer_ahead, make_features, split_requests
from tasks.predictions.publish import fault_of
from tasks.problems import Recommendation, recommendation
from tests.deployments.test_groceries import DAY as MORNING
from tests.deployments.test_groceries import clean_history, requests_of
from tests.toy import FIRST as TOY_FIRST
from tests.toy import make_day, toy

BASKET = Recommendation("user", "item", "popularity", k=2, recall_k=3, repeat="bought_before")
DAY = pd.Timestamp("2026-01-05")
HISTORY = pd.DataFrame(
    {"day": DAY - pd.Timedelta(days=1), "user": [3, 1, 2, 1, 5], "item": [1, 1, 2, 3, 3]}
)


def features(requests: pd.DataFrame, past: pd.DataFrame) -> pd.DataFrame:
    pairs = requests[["user"]].merge(pd.DataFrame({"item": range(6)}), how="cross")
    bought = pairs.merge(past[["user", "item"]].drop_duplicates(), how="left", indicator=True)
    return pairs.assign(bought_before=(bought["_merge"] == "both").astype("int64"))


class Order:
    def predict_proba(self, inputs: pd.DataFrame) -> np.ndarray:
        score = inputs["bought_before"].to_numpy() + np.arange(len(inputs)) % 6 / 10
        return np.c_[1 - score, score]


SPEC = SimpleNamespace(
    problem=BASKET,
    features=features,
    known_ahead=("user",),
    lookback=pd.Timedelta(days=9),
    label_delay=pd.Timedelta(0),
)


def asked_for(*users: int) -> pd.DataFrame:
    return pd.DataFrame({"day": DAY, "user": users})


def parts_of(requests: pd.DataFrame, past: pd.DataFrame) -> list[tuple[Any, Any]]:
    return list(split_requests(SPEC, requests, past))


@pytest.mark.parametrize("crowd", [3, 100])
@pytest.mark.parametrize("at_once", [2, 100])
def test_every_user_and_anyone_is_answered_with_all_candidates_kept(
    at_once: int, crowd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recommendation, "USERS_AT_ONCE", at_once)
    monkeypatch.setattr(scoring, "CROWD", crowd)
    answers, inputs = answer_ahead(SPEC, Order(), HISTORY, None, DAY, keep=30)
    assert sorted(answers["user"].dropna().unique()) == [1, 2, 3, 5]
    assert answers.groupby("user", dropna=False).size().tolist() == [3] * 5
    assert answers.loc[answers["user"] == 1, "item"].tolist() == [3, 1, 5]
    assert answers.loc[answers["user"].isna(), "item"].tolist() == [5, 4, 3]
    assert set(answers.loc[answers["user"].isna(), "kind"]) == {"popular"}
    assert inputs.groupby("user", dropna=False).size().tolist() == [6] * 5
    assert {"user", "item", "bought_before"} == set(inputs)


@pytest.mark.parametrize("keep", [0, 11, 29])
def test_more_inputs_than_may_be_kept_are_not(keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommendation, "USERS_AT_ONCE", 1)
    whole, _ = answer_ahead(SPEC, Order(), HISTORY, None, DAY, keep=30)
    answers, inputs = answer_ahead(SPEC, Order(), HISTORY, None, DAY, keep=keep)
    assert inputs is None
    pd.testing.assert_frame_equal(answers, whole)


def test_only_the_days_of_the_lookback_are_seen() -> None:
    seen: list[pd.DataFrame] = []

    def spy(requests: pd.DataFrame, past: pd.DataFrame) -> pd.DataFrame:
        seen.append(past)
        return features(requests, past)

    days = [DAY - pd.Timedelta(days=n) for n in (10, 9, 1, 0)]
    rows = pd.DataFrame({"day": days, "user": [7, 1, 2, 8], "item": 1})
    spec = SimpleNamespace(**{**vars(SPEC), "features": spy})
    answers, _ = answer_ahead(spec, Order(), rows, None, DAY, keep=0)
    assert sorted(answers["user"].dropna().unique()) == [1, 2]
    assert all(past["user"].tolist() == [1, 2] and past.index[0] == 0 for past in seen)


@given(
    users=st.lists(st.integers(0, 30), min_size=1, max_size=80),
    asked=st.sets(st.integers(0, 40), min_size=1, max_size=12),
    crowd=st.integers(1, 35),
    at_once=st.integers(1, 5),
)
def test_each_part_sees_a_crowd_with_all_it_bought(
    users: list[int], asked: set[int], crowd: int, at_once: int
) -> None:
    past = pd.DataFrame({"user": users, "item": range(len(users))})
    requests = asked_for(*sorted(asked))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(recommendation, "USERS_AT_ONCE", at_once)
        patched.setattr(scoring, "CROWD", crowd)
        parts = parts_of(requests, past)
        again = parts_of(requests, past)
    pd.testing.assert_frame_equal(
        pd.concat([part for part, _ in parts], ignore_index=True), requests
    )
    for (part, seen), (_, same) in zip(parts, again, strict=True):
        pd.testing.assert_frame_equal(seen, same)
        own = set(part["user"]) & set(users)
        assert own <= set(seen["user"])
        assert seen["user"].nunique() == min(max(crowd, len(own)), len(set(users)))
        everything = past[past["user"].isin(seen["user"])]
        assert seen["item"].tolist() == everything["item"].tolist()


def test_the_others_are_the_same_from_part_to_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommendation, "USERS_AT_ONCE", 10)
    monkeypatch.setattr(scoring, "CROWD", 100)
    past = pd.DataFrame({"user": np.arange(1000) % 500})
    parts = parts_of(asked_for(*range(500)), past)
    others = [set(seen["user"]) - set(part["user"]) for part, seen in parts]
    assert all(len(mine & others[0]) >= 80 for mine in others)


def test_features_made_part_by_part_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_features(SPEC, asked_for(1, 2, 3, 5), HISTORY)
    monkeypatch.setattr(recommendation, "USERS_AT_ONCE", 3)
    pd.testing.assert_frame_equal(make_features(SPEC, asked_for(1, 2, 3, 5), HISTORY), whole)
    assert make_features(SPEC, asked_for(), HISTORY).empty


def test_of_the_groceries_households_none_is_left_out() -> None:
    history = clean_history(households=2_469, products=300, days=60, lines=20_000)
    parts = list(split_requests(groceries, requests_of(*range(1, 2_470)), history))
    assert [len(part) for part, _ in parts] == [2_000, 469]
    assert all(seen is history for _, seen in parts)
    assert history["day"].max() < MORNING


def test_users_are_asked_for_the_day_that_is_predicted_whenever_the_history_ends() -> None:
    monday, seen = DAY + pd.Timedelta(days=2), []

    def watched(requests: pd.DataFrame, past: pd.DataFrame) -> pd.DataFrame:
        seen.append(requests["day"])
        return features(requests, past)

    spec = SimpleNamespace(**{**vars(SPEC), "features": watched})
    answer_ahead(spec, Order(), HISTORY, None, monday, keep=0)
    assert seen
    assert all((days == monday).all() and days.dtype == "datetime64[s]" for days in seen)


def test_a_version_made_before_the_app_had_this_key_predicts_with_the_new_one() -> None:
    spec = dataclasses.replace(toy, requests=None, problem=dataclasses.replace(toy.problem, key=()))
    rows = make_day(TOY_FIRST).assign(day=pd.Timestamp(TOY_FIRST))
    stamp = pd.Timestamp(TOY_FIRST) + pd.Timedelta(days=1)
    named = make_day(stamp.date(), 5)[["shop", "number", "size"]].iloc[::-1]
    estimator = DummyClassifier().fit(named, [0, 1, 0, 1, 1])
    made, _ = answer_ahead(spec, estimator, rows, named, stamp, 0, ["number", "shop"])
    assert list(made) == ["number", "shop", "probability"]
    assert made["number"].tolist() == named["number"].tolist()
    again, _ = answer_ahead(toy, estimator, rows, named, stamp, 0, ["shop"])
    assert list(again) == ["shop", "probability"]
    assert fault_of(again, ["number"], "probability", None, 0.5) == (
        "they have no column 'number', because the champion was made when the model's problem was "
        "another"
    )
    with pytest.raises(ValueError, match="found 'gone', which the requests do not have"):
        answer_ahead(toy, estimator, rows, named, stamp, 0, ["gone"])
