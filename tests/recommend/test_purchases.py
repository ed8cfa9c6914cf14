"""The recommenders against plain slow references, and the estimators over candidate rows."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier

from tasks.recommend import (
    LatentFactors,
    PersonalFrequency,
    Popularity,
    Purchases,
    RankBy,
    TifuKnn,
    purchase_features,
    selection,
)
from tasks.recommend.rankers import CandidateRanker
from tests.samples import samples

DAY = pd.Timestamp("2026-03-02")


def log_of(rows: list[tuple[str, str, int]], asked: list[str]) -> Purchases:
    """A log of (user, item, age) rows, with columns named as no example names them."""
    ordered = sorted(set(rows), key=lambda row: -row[2])
    history = pd.DataFrame(ordered, columns=["reader", "book", "age"])
    history["day"] = (DAY - pd.to_timedelta(history["age"], unit="D")).astype("datetime64[s]")
    requests = pd.DataFrame({"day": DAY.as_unit("s"), "reader": asked})
    return Purchases.encode(requests, history, "reader", "book")


def scores(model: object, log: Purchases) -> dict[tuple[str, str], float]:
    user, item = selection.for_everyone(log.asked, np.arange(len(log.items)))
    values = model.score(user, item)  # type: ignore[attr-defined]
    return {
        (log.users[u], log.items[i]): float(v) for u, i, v in zip(user, item, values, strict=True)
    }


def plain_tifu(rows, asked, group, within, across, neighbours, own):
    """TIFU-kNN by the paper's own words, one user and basket after the other."""
    users = sorted({user for user, _, _ in rows})
    items = sorted({item for _, item, _ in rows})
    vectors = {}
    for user in users:
        ages = sorted({age for u, _, age in rows if u == user})
        groups = [ages[i : i + group] for i in range(0, len(ages), group)]
        vector = dict.fromkeys(items, 0.0)
        for g, members in enumerate(groups):
            for place, age in enumerate(members):
                for item in {i for u, i, a in rows if u == user and a == age}:
                    vector[item] += within**place / len(members) * across**g / len(groups)
        vectors[user] = np.array([vector[item] for item in items])
    found = {}
    for user in asked:
        near = sorted(
            (u for u in users if u != user),
            key=lambda u: -vectors[u] @ vectors[user] / np.linalg.norm(vectors[u]),
        )[:neighbours]
        others = np.mean([vectors[u] for u in near], axis=0)
        mixed = own * vectors[user] + (1 - own) * others
        found |= {(user, item): value for item, value in zip(items, mixed, strict=True)}
    return found


def random_rows(seed: int, count: int = 260) -> list[tuple[str, str, int]]:
    random = np.random.default_rng(seed)
    return sorted(
        {
            (f"u{random.integers(9)}", f"i{random.zipf(1.4) % 15}", int(random.integers(1, 60)))
            for _ in range(count)
        }
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tifu_knn_equals_the_plain_method(seed: int) -> None:
    rows = random_rows(seed)
    setting = {"group": 3, "within": 0.9, "across": 0.6, "neighbours": 4, "own": 0.7}
    fast = scores(
        TifuKnn(**setting, common=99).fit(log_of(rows, ["u3", "u1"])), log_of(rows, ["u3", "u1"])
    )
    slow = plain_tifu(rows, ["u3", "u1"], **setting)
    assert fast.keys() == slow.keys()
    assert max(abs(fast[pair] - slow[pair]) for pair in slow) < 1e-6


purchases = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("wxyz"), st.integers(1, 90)), min_size=1
)


@settings(max_examples=samples(40), deadline=None)
@given(rows=purchases, half_life=st.sampled_from([1.0, 7.0, 60.0]))
def test_personal_frequency_is_the_sum_of_halved_purchases(rows, half_life) -> None:
    log = log_of(rows, ["a", "stranger"])
    fast = scores(PersonalFrequency(half_life).fit(log), log)
    for (user, item), value in fast.items():
        slow = sum(0.5 ** (age / half_life) for u, i, age in set(rows) if (u, i) == (user, item))
        assert value == pytest.approx(slow, rel=1e-5)


@settings(max_examples=samples(40), deadline=None)
@given(rows=purchases)
def test_habits_equal_a_plain_count(rows) -> None:
    log = log_of(rows, ["b", "stranger"])
    user, item = selection.for_everyone(log.asked, np.arange(len(log.items)))
    with np.errstate(all="raise"):
        found = purchase_features.habits(log, user, item)
    trips = sorted({age for u, _, age in rows if u == "b"})
    for place, (u, i) in enumerate(zip(user, item, strict=True)):
        ages = sorted({a for who, what, a in rows if (who, what) == (log.users[u], log.items[i])})
        if u == 1:
            ages = []
        assert found["count"][place] == len(ages)
        assert found["days_since"][place] == (ages[0] if ages else purchase_features.FAR)
        assert found["trips_since"][place] == (
            trips.index(ages[0]) if ages else purchase_features.FAR
        )
        if len(ages) > 1:
            gap = (ages[-1] - ages[0]) / (len(ages) - 1)
            assert found["due"][place] == pytest.approx(ages[0] / gap, rel=1e-5)
        else:
            assert np.isnan(found["due"][place])


def test_a_rhythm_is_drawn_to_that_of_others() -> None:
    """User a buys x after 4 and 4 days, b after 16, and y after one, whose logarithm is 0."""
    rows = [("a", "x", 10), ("a", "x", 6), ("a", "x", 2), ("b", "x", 17), ("b", "x", 1)]
    log = log_of([*rows, ("b", "y", 3), ("b", "y", 2)], ["a", "b"])
    assert list(log.items) == ["x", "y"]
    user, item = selection.for_everyone(2, np.arange(2))
    since = np.array([2, purchase_features.FAR, 1, 2], dtype=np.float32)
    found = purchase_features.rhythm(log, user, item, since)
    four = np.log(4)  # the mean of all gaps, too
    x, y = 14 / 13 * four, 10 / 11 * four
    own = [(2 * four + 2 * x) / 4, y, (2 * four + 2 * x) / 3, 2 * y / 3]
    assert found["usual_log_gap"] == pytest.approx([x, y, x, y])
    assert found["log_gap"] == pytest.approx(own)
    around = [2 * (four - own[0]) ** 2, (2 * four - own[2]) ** 2, own[3] ** 2]
    usual_variance = (around[0] + around[1] + 10 * sum(around) / 4) / 13
    spread = np.sqrt((around[0] + 4 * usual_variance) / 6)
    assert found["log_gap_spread"][0] == pytest.approx(spread)
    assert found["late"][0] == pytest.approx((np.log(2) - own[0]) / spread)
    assert found["usual_late"][0] == pytest.approx((np.log(2) - x) / np.sqrt(usual_variance))
    normal = NormalDist(own[0], spread)
    chance = (normal.cdf(np.log(3)) - normal.cdf(np.log(2))) / (1 - normal.cdf(np.log(2)))
    assert found["due_today"][0] == pytest.approx(chance, rel=1e-4)
    assert np.isnan([found[name][1] for name in ("late", "usual_late", "due_today")]).all()


def test_a_rhythm_of_a_log_without_a_second_purchase_is_a_month() -> None:
    log = log_of([("a", "x", 3)], ["a", "stranger"])
    user, item = selection.for_everyone(2, np.arange(1))
    since = np.array([3, purchase_features.FAR], dtype=np.float32)
    with np.errstate(all="raise"):
        found = purchase_features.rhythm(log, user, item, since, prefix="kind_")
    assert found["kind_log_gap"] == pytest.approx([np.log(30)] * 2)


def test_popularity_counts_the_last_days_only() -> None:
    log = log_of([("a", "x", 7), ("b", "x", 8), ("b", "y", 1), ("c", "y", 2)], ["a"])
    assert scores(Popularity(days=7).fit(log), log) == {("a", "x"): 1.0, ("a", "y"): 2.0}


def test_latent_factors_of_full_rank_rebuild_the_order() -> None:
    rows = random_rows(5)
    log = log_of(rows, ["u0", "u2"])
    full = scores(LatentFactors(factors=99, half_life=30.0).fit(log), log)
    raw = scores(PersonalFrequency(half_life=30.0).fit(log), log)
    for user in ("u0", "u2"):
        mine = [item for item in log.items if raw[user, item] > 0]
        by_latent = sorted(mine, key=lambda item: -full[user, item])
        ordered = [raw[user, item] for item in by_latent]
        assert ordered == pytest.approx(sorted(ordered, reverse=True), rel=1e-9)


def test_history_that_reaches_into_the_day_is_refused() -> None:
    with pytest.raises(ValueError, match="not ascending by day, or not before the requested day"):
        log_of([("a", "x", 1), ("a", "y", 0)], ["a"])


def test_best_pairs_and_union_keep_each_pair_once() -> None:
    log = log_of([("a", "x", 1), ("a", "y", 2), ("b", "z", 3)], ["a", "b"])
    user, item = np.array([0, 0, 0, 1]), np.array([2, 1, 0, 0])
    best = selection.best_pairs(user, item, np.array([1.0, 3.0, 2.0, 0.0]), 2)
    assert sorted(zip(*map(list, best), strict=True)) == [(0, 0), (0, 1), (1, 0)]
    both = selection.union(log, best, (np.array([0]), np.array([1])))
    assert [tuple(pair) for pair in np.transpose(both)] == [(0, 0), (0, 1), (1, 0)]


def test_rank_by_keeps_the_order_of_its_column() -> None:
    X = pd.DataFrame({"a": [0.0, 5.0, -2.0, 90.0]})  # noqa: N806
    model = clone(RankBy("a")).fit(X, np.array([0, 1, 0, 1]))
    assert list(np.argsort(model.predict_proba(X)[:, 1])) == [2, 0, 1, 3]
    with pytest.raises(ValueError, match="found no column 'b'; expected one of a"):
        RankBy("b").fit(X, np.array([0, 1, 0, 1]))


def ranker_and_rows() -> tuple[CandidateRanker, pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(3)
    X = pd.DataFrame(random.random((4000, 3)), columns=["a", "b", "c"]).astype("float32")  # noqa: N806
    y = (random.random(4000) < 0.1 * X["a"]).to_numpy().astype(np.int8)
    trees = HistGradientBoostingClassifier(max_iter=5, early_stopping=False, random_state=0)
    return CandidateRanker(trees, negatives=4), X, y


def test_ranker_is_the_same_twice_and_keeps_the_level() -> None:
    ranker, X, y = ranker_and_rows()  # noqa: N806
    first, second = (clone(ranker).fit(X, y).predict_proba(X)[:, 1] for _ in range(2))
    assert (first == second).all()
    assert first.mean() == pytest.approx(y.mean(), rel=0.15)
    assert (clone(ranker).fit(X, y).predict_proba(X[["c", "a", "b"]])[:, 1] == first).all()


def test_ranker_is_stored_without_pickle() -> None:
    ranker, X, y = ranker_and_rows()  # noqa: N806
    fitted = ranker.fit(X, y)
    stored = skops.io.dumps(fitted)
    types = skops.io.get_untrusted_types(data=stored)
    again = skops.io.loads(stored, trusted=types)
    assert (again.predict_proba(X) == fitted.predict_proba(X)).all()
    assert all(name.startswith(("tasks.", "sklearn.", "numpy.")) for name in types)
