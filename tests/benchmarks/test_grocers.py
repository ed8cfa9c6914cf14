"""The published protocol and methods, on values worked by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from tests.benchmarks import grocers
from tests.benchmarks import next_basket as methods
from tests.benchmarks.next_basket import DAY, Log


def log_of(*lines: tuple[int, int, float]) -> Log:
    """Lines of user, item and day."""
    user, item, day = (np.array(each) for each in zip(*lines, strict=True))
    return Log.of(user, item, (day * DAY).astype(np.int64))


def test_baskets_are_counted_from_the_last() -> None:
    log = log_of((0, 5, 3), (1, 2, 9), (0, 4, 1), (0, 6, 3))
    assert list(zip(log.user, log.item, log.ago, strict=True)) == [
        (0, 4, 1), (0, 5, 0), (0, 6, 0), (1, 2, 0)
    ]  # fmt: skip
    assert list(log.baskets()) == [2, 1]
    assert list(log.before(0).item) == [4]
    assert list(log.before(0).ago) == [0]


def test_the_ideal_of_ndcg_is_the_whole_basket() -> None:
    basket = csr_matrix(np.array([[1, 0, 1, 1], [0, 2, 0, 0]]))  # the second has a line twice
    recall, ndcg = methods.recall_and_ndcg(np.array([[3, 1], [0, 1]]), basket)
    third = 1 / np.log2(3)
    assert recall == pytest.approx([1 / 3, 1 / 2])
    assert ndcg == pytest.approx([1 / (1 + third + 1 / 2), third / (1 + third)])


def test_weights_of_tifu_are_means_of_groups_of_which_the_last_are_larger() -> None:
    """Five baskets in three groups: one, two, two. Decay .5 a basket, .1 a group."""
    found = methods.group_weights(np.full(5, 5), np.arange(5), 3, 0.5, 0.1)
    hand = [1 / 6, 0.5 / 6, 0.25 * 0.1 / 6, 0.125 * 0.1 / 6, 0.0625 * 0.01 / 3]
    assert found == pytest.approx(hand)


def test_fewer_baskets_than_groups_are_a_group_each() -> None:
    found = methods.group_weights(np.array([2, 2]), np.array([0, 1]), 3, 1.0, 0.1)
    assert found == pytest.approx([1 / 2, 0.1 / 2])


def test_timed_weights_of_tifu_decay_with_the_logarithm_of_days() -> None:
    """Days 0, 1 and 12 back with groups of ten days: two groups, of two baskets and one."""
    log = log_of((0, 0, 20), (0, 1, 19), (0, 2, 8))
    found = methods.timed_tifu_vectors(log, 10, 0.9, 0.5).toarray()[0]
    assert found == pytest.approx([1 / 4, 0.9 ** np.log(2) / 4, 0.5 * 0.9 ** np.log(3) / 2])


def test_up_cf_sums_the_shares_of_like_users() -> None:
    """The first user has items 0 and 1, the second 1; of the first's two baskets both had 1."""
    log = log_of((0, 1, 1), (0, 0, 2), (0, 1, 2), (1, 1, 1))
    found = methods.up_cf(log, recent=2, alpha=0.25, power=2, count=2)(slice(0, 2))
    to_second = (1 / 2**0.25) ** 2
    to_first = (1 / 2**0.75) ** 2
    assert found == pytest.approx(np.array([[0.5, 1 + to_second], [0.5 * to_first, to_first + 1]]))


def test_neighbours_are_found_by_angle_and_share_one_weight() -> None:
    vectors = csr_matrix(np.array([[1.0, 0], [5, 1], [0, 2]]))
    found = methods.knn(vectors, vectors, 2, 0.6)(slice(0, 1))
    assert found == pytest.approx(np.array([[0.6 + 0.4 * 3, 0.4 * 0.5]]))


def test_a_curve_fades_and_comes_back() -> None:
    curves = np.array([[0.25], [2.0], [0.5], [1.0]])  # share, mean, width, fade
    found, _ = methods.curve(curves, np.zeros(2, dtype=np.int64), np.array([0.0, 2.0]))
    peak = 1 / (0.5 * np.sqrt(2 * np.pi))
    assert found == pytest.approx(
        [0.75 + 0.25 * peak * np.exp(-8), 0.75 * np.exp(-2) + 0.25 * peak]
    )


@pytest.mark.parametrize("parameter", range(4))
def test_the_slopes_of_a_curve_are_its_differences(parameter: int) -> None:
    curves, item, past = np.array([[0.3], [1.0], [0.7], [0.8]]), np.zeros(1, dtype=np.int64), 0.4
    step = np.zeros_like(curves)
    step[parameter] = 1e-6
    above, below = (
        methods.curve(curves + sign * step, item, np.array([past]))[0] for sign in (1, -1)
    )
    slope = methods.curve(curves, item, np.array([past]))[1][parameter]
    assert slope == pytest.approx((above - below) / 2e-6, rel=1e-5)


def test_curves_learn_when_an_item_comes_back() -> None:
    """Item 0 comes back every week, item 1 after ten: its curve moves to where it is bought."""
    week = 7
    lines = [(user, 0, week * n) for user in range(4) for n in range(10)]
    lines += [(user, 1, 10 * week * n) for user in range(4) for n in range(4)]
    log = log_of(*lines)
    curves = methods.fit_curves(
        log, lambda _: 0.0, seed=0, rate=0.05, batch=16, epochs=20, patience=99
    )
    assert methods.mean_gap(log) == pytest.approx((36 * 0.1 + 12 * 1) / 48)
    weights = methods.curve(curves, np.array([0, 1]), np.array([0.1, 0.1]))[0]
    assert weights[0] > 2 * weights[1]


def test_what_else_a_list_does() -> None:
    best = np.array([[0, 1], [0, 2]])
    basket = csr_matrix(np.array([[1, 1, 0, 0], [0, 0, 1, 1]]))
    known = csr_matrix(np.array([[1, 0, 0, 0], [1, 0, 0, 0]]))
    assert methods.shelf(best, basket, known) == pytest.approx(
        {"discoveries": (1 + 1 / 2) / 2, "offered": 2 / 4, "coverage": 3 / 4, "largest": 1.0}
    )


def test_the_protocol_keeps_usual_households_of_five_baskets() -> None:
    """Household 2 has four baskets, 3 bought all in a day; product 9 has too few lines."""
    day = pd.Timestamp("2017-03-01")
    parts = [(1, 7, n) for n in range(20)] + [(4, 7, n) for n in range(0, 40, 4)]
    parts += [(2, 7, n) for n in range(4)] + [(3, 7, n / 24) for n in range(6)] + [(1, 9, 3)]
    lines = pd.DataFrame(parts, columns=["household_id", "product_id", "days"])
    lines["transaction_timestamp"] = day + pd.to_timedelta(lines.pop("days") * 86_400, unit="s")
    kept = grocers.keep(lines)
    assert set(kept["household_id"]) == {1, 4}
    assert set(kept["product_id"]) == {7}


def receipts(last: int) -> pd.DataFrame:
    """Three households, a basket a week of two products, the last of which holds another."""
    parts = [
        (user, product, 7 * week + user)
        for user in range(3)
        for week in range(6)
        for product in ((week + user) % 4, last if week == 5 else 4)
    ]
    lines = pd.DataFrame(parts, columns=["household_id", "product_id", "days"])
    when = pd.Timestamp("2017-03-01 10:00") + pd.to_timedelta(lines.pop("days"), unit="D")
    paid = {"store_id": 1, "quantity": 1, "sales_value": 2.0, "retail_disc": 0.0}
    kinds = {"product_category": "a", "product_type": "b"}
    return lines.assign(transaction_timestamp=when, **paid, **kinds)


def test_no_basket_is_known_to_its_own_features() -> None:
    found = []
    for last in (2, 3):
        lines = receipts(last)
        log = grocers.encode(lines)
        found.append(grocers.examples_before(log, grocers.of_baskets(log, lines), 0))
    labels = ["target", "size"]
    pd.testing.assert_frame_equal(*(each.drop(columns=labels) for each in found))
    assert not found[0]["target"].equals(found[1]["target"])
    before = grocers.examples_before(log, grocers.of_baskets(log, lines), 1)
    assert before.loc[before["target"], "size"].eq(2).all()


def test_what_the_second_of_a_basket_says() -> None:
    """A household that buys item 0 each week at eight, and item 1 ten minutes later once."""
    eight, later = 8 / 24, 8 / 24 + 10 / 1440
    log = log_of(*((0, 0, 7 * week + eight) for week in range(4)), (0, 1, 21 + later))
    pair = np.zeros(2, dtype=np.int64), np.array([0, 1])
    soon = grocers.moments(log, np.array([int((28 + later) * DAY)]), *pair)
    assert soon["moment_hour"] == pytest.approx([24 * later] * 2, abs=1e-3)
    assert soon["moment_since"] == pytest.approx(np.log([(7 + 10 / 1440) * DAY, 7 * DAY]))
    assert soon["moment_gap_rate"] == pytest.approx([3 / 4, 0])  # after 3 of 3 gaps of a week
    assert soon["moment_gap_share"] == pytest.approx([3 / 5, 0])
    again = grocers.moments(log, np.array([int((21 + 2 * later - eight) * DAY)]), *pair)
    assert again["moment_gap_rate"] == pytest.approx([0, 1 / 2])
    assert again["moment_gap_lift"][1] > 1 > again["moment_gap_lift"][0]
    assert again["moment_gap_size"] == pytest.approx([1, 1])
