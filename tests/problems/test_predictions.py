"""What the app reads, and those answers laid beside what happened."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.features.scoring import for_anyone
from tasks.problems import Classification, Recommendation
from tasks.problems.predictions import match_keyed, match_ranked, ranked_predictions, stranger
from tests.samples import samples

LATE = Classification("late", key=("carrier", "flight"))
BASKET = Recommendation("user", "item", "popularity", k=2, recall_k=3, repeat="bought_before")
DAY = pd.Timestamp("2026-01-05")


def _candidates(users: int, items: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(seed)
    user, item = np.divmod(np.arange(users * items), items)
    rows = pd.DataFrame(
        {"user": user + 10, "item": item, "bought_before": random.integers(0, 2, len(user))}
    )
    return rows, random.choice([0.1, 0.2, 0.3, 0.4], len(user))


@given(st.integers(1, 6), st.integers(1, 8), st.integers(1, 10), st.integers(0, 99))
@settings(max_examples=samples(60), deadline=None)
def test_each_user_gets_the_best_items_once_in_order(
    users: int, items: int, count: int, seed: int
) -> None:
    rows, scores = _candidates(users, items, seed)
    shuffled = np.random.default_rng(seed).permutation(len(rows))
    found = ranked_predictions(
        rows.iloc[shuffled].reset_index(drop=True),
        scores[shuffled],
        "user",
        "item",
        "bought_before",
        count,
    )
    assert not found.duplicated(["user", "item"]).any()
    for user, own in found.groupby("user"):
        best = np.sort(scores[rows["user"] == user])[::-1][:count]
        assert own["place"].tolist() == list(range(1, len(best) + 1))
        assert own["score"].tolist() == best.tolist()
    again = found.merge(rows, on=["user", "item"])
    assert ((again["kind"] == "repeat") == (again["bought_before"] == 1)).all()


def test_rows_about_nobody_in_particular_have_no_name() -> None:
    rows, scores = _candidates(1, 3, 0)
    found = for_anyone(ranked_predictions(rows, scores, "user", "item", None, 3), "user")
    assert found["user"].isna().all()
    assert found["user"].dtype == "Int64"
    assert set(found["kind"]) == {"popular"}
    assert for_anyone(pd.DataFrame({"user": ["a"], "x": [1]}), "user")["user"].isna().all()


@pytest.mark.parametrize("known", [pd.Series([3, 9, 4]), pd.Series(["ann", "zoe"])])
def test_a_stranger_is_nobody_known(known: pd.Series) -> None:
    assert stranger(known) not in set(known)


def _departures() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "day": DAY,
            "carrier": ["AA", "AA", "DL", "UA"],
            "flight": [1, 2, 1, 7],
            "late": [1.0, 0.0, None, 1.0],
        }
    )


def _said(**scores: float) -> pd.DataFrame:
    rows = [(name[:2], int(name[2:]), score) for name, score in scores.items()]
    return pd.DataFrame(rows, columns=["carrier", "flight", "probability"])


def test_answers_meet_their_labels_by_key_and_everything_is_counted() -> None:
    champion = _said(AA1=0.9, AA2=0.2, DL1=0.5, ZZ9=0.4)  # UA7 was not asked, ZZ9 never left
    previous = _said(AA2=0.7, AA1=0.6)
    examples, scores, counts = LATE.match(
        {"champion": champion, "previous": previous}, _departures()
    )
    assert counts == {"asked": 4, "labelled": 2, "unasked": 1}
    assert examples["target"].tolist() == [1.0, 0.0]
    assert (examples["day"] == DAY).all()
    assert scores["champion"].tolist() == [0.9, 0.2]
    assert scores["previous"].tolist() == [0.6, 0.7]


def test_a_row_the_predecessor_did_not_answer_is_no_number() -> None:
    answered = {"champion": _said(AA1=0.9, AA2=0.2), "previous": _said(AA1=0.6)}
    _, scores, _ = match_keyed(
        answered, _departures(), ["carrier", "flight"], ["probability"], "late"
    )
    assert np.isnan(scores["previous"]).tolist() == [False, True]


def test_labels_count_once_where_a_key_happens_twice() -> None:
    twice = pd.concat([_departures(), _departures()], ignore_index=True)
    examples, _, counts = LATE.match({"champion": _said(AA1=0.9, AA2=0.2)}, twice)
    assert len(examples) == 2
    assert counts["unasked"] == 2


def _shown(rows: list[tuple[int | None, int, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["user", "item", "score"]).astype({"user": "Int64"})
    kind = np.where(frame["user"].isna(), "popular", "discovery")
    return frame.assign(kind=kind, place=frame.groupby("user", dropna=False).cumcount() + 1)


def _bought(*pairs: tuple[int, int]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["user", "item"]).assign(day=DAY)


def test_who_was_not_asked_was_shown_what_anyone_is_shown() -> None:
    champion = _shown([(1, 100, 0.9), (1, 101, 0.8), (None, 500, 0.3), (None, 501, 0.2)])
    examples, scores, counts = match_ranked(
        {"champion": champion}, _bought((1, 101), (7, 500), (7, 999)), "user", "item", None
    )
    assert counts == {"asked": 1, "labelled": 1, "unasked": 1}
    own = examples.assign(score=scores["champion"]).set_index(["user", "item"])
    assert own.loc[(7, 500), ["target", "relevant", "score"]].tolist() == [1, 2, 0.3]
    assert own.loc[(1, 101), "target"] == 1
    assert len(own) == 4


def test_the_metric_of_answers_is_that_of_all_candidates() -> None:
    """The places that the metric looks at are published, so nothing is lost."""
    rows, scores = _candidates(20, 12, 3)
    random = np.random.default_rng(3)
    hits = rows[random.random(len(rows)) < 0.2]
    bought = hits[["user", "item"]].assign(day=DAY)
    asked = rows[rows["user"].isin(bought["user"])].reset_index(drop=True)
    examples = BASKET.label(asked.assign(popularity=0), bought)
    kept = scores[rows["user"].isin(bought["user"]).to_numpy()]
    day, one = np.zeros(len(examples), dtype=np.int64), np.ones((1, 1))
    names = ("ndcg_2", "recall_3")
    whole = BASKET.measure(examples, {"x": kept}, day, one, names)["x"]
    published = BASKET.answers(rows, rows, scores)
    matched, live, _ = BASKET.match({"x": published}, bought)
    day = np.zeros(len(matched), dtype=np.int64)
    found = BASKET.measure(matched, live, day, one, names)["x"]
    for name in names:
        assert found[name][0] == pytest.approx(whole[name][0])


def test_the_predecessors_own_items_come_last_for_the_champion() -> None:
    champion = _shown([(1, 100, 0.9), (1, 101, 0.8)])
    previous = _shown([(1, 200, 0.9), (1, 101, 0.8)])
    examples, scores, _ = match_ranked(
        {"champion": champion, "previous": previous}, _bought((1, 200)), "user", "item", None
    )
    table = examples.assign(**scores).set_index("item")
    assert table["champion"].idxmin() == 200
    assert table["previous"].idxmin() == 100
    assert table["target"].to_dict() == {100: 0, 101: 0, 200: 1}


def test_a_day_on_which_nobody_bought_has_no_examples() -> None:
    examples, _, counts = BASKET.match(
        {"champion": _shown([(1, 100, 0.9), (None, 5, 0.1)])}, _bought()
    )
    assert len(examples) == 0
    assert counts == {"asked": 1, "labelled": 0, "unasked": 0}


def test_a_key_that_the_requests_lack_is_named() -> None:
    requests = pd.DataFrame({"carrier": ["AA"]})
    with pytest.raises(
        ValueError, match=r"problem\.key: found flight, which the requests do not have"
    ):
        LATE.answers(requests, requests, np.array([0.5]))


def test_features_with_another_index_are_refused() -> None:
    requests = pd.DataFrame({"carrier": ["AA"], "flight": [1]})
    with pytest.raises(ValueError, match="a different index than that of the requests"):
        LATE.answers(requests, requests.set_axis([4]), np.array([0.5]))


def test_a_table_may_have_a_column_target_of_its_own() -> None:
    happened = pd.DataFrame(
        {"day": pd.Timestamp("2026-11-21"), "carrier": "a", "flight": [1, 2], "late": [1, 0]}
    ).assign(target="gate", version=7, score=0.1)
    shown = pd.DataFrame({"carrier": "a", "flight": [1, 2], "probability": [0.9, 0.2]})
    shown = shown.assign(version="3")
    examples, scores, counts = LATE.match({"champion": shown}, happened)
    assert examples["target"].tolist() == [1, 0]
    assert scores["champion"].tolist() == [0.9, 0.2]
    assert counts == {"asked": 2, "labelled": 2, "unasked": 0}


def test_a_key_that_the_table_of_predictions_has_itself_is_told() -> None:
    (fault,) = Classification("late", key=("version",)).faults(("version",))
    assert "key: found 'version', allowed a name that is not a column of the predictions" in fault
    assert "rows.rename(columns={'version': 'own_version'})" in fault
