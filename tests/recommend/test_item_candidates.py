"""Candidates out of a log: one call, whatever the log looks like."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.recommend.item_candidates import candidates_of

DAY = pd.Timestamp("2026-03-01").as_unit("s")


def ratings(users: int = 40, items: int = 60, lines: int = 900) -> pd.DataFrame:
    """Users like the items of their own taste; ascending by day."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "day": DAY - pd.to_timedelta(np.sort(random.integers(1, 200, lines))[::-1], unit="D"),
            "user": random.integers(0, users, lines),
            "item": random.integers(0, items, lines),
        }
    ).drop_duplicates(["user", "item"])
    same = frame["user"] % 2 == frame["item"] % 2
    return frame.assign(stars=np.where(same, 5.0, 1.0)).reset_index(drop=True)


def asked(*users: int) -> pd.DataFrame:
    return pd.DataFrame({"day": DAY, "user": users})


@pytest.mark.parametrize("repeats", [True, False])
def test_everyone_gets_candidates_once_and_numbers_to_rank_them(repeats: bool) -> None:
    history = ratings()
    before = history.copy()
    found = candidates_of(asked(3, 8, 777), history, "user", "item", repeats=repeats, count=30)
    pd.testing.assert_frame_equal(history, before)
    assert not found.duplicated(["user", "item"]).any()
    assert set(found["user"]) == {3, 8, 777}
    assert found.groupby("user").size().max() <= 30
    assert (found.drop(columns=["user", "item"]).dtypes == np.float32).all()
    had = found.merge(history, on=["user", "item"])
    assert had.empty is not repeats
    assert ({"frequency", "reorder", "count"} <= set(found)) is repeats
    if repeats:
        assert (found["count"] > 0).sum() == len(had)
    numbers = candidates_of(asked(*range(40)), history, "user", "item", repeats=repeats)
    constant = [name for name in numbers if numbers[name].nunique(dropna=False) < 2]
    assert not constant or repeats  # nobody has had what is proposed: nothing follows that alone


def test_what_was_not_liked_is_known_but_speaks_for_nothing() -> None:
    history = ratings()
    found = candidates_of(
        asked(*range(40)), history, "user", "item", rating="stars", liked=4, repeats=False
    )
    own = found["user"] % 2 == found["item"] % 2
    assert found["neighbours"][own].mean() > 3 * found["neighbours"][~own].mean()
    assert found.merge(history, on=["user", "item"]).empty
    assert {"item_rating", "user_rating", "item_ratings", "user_ratings"} < set(found)


def test_who_has_had_everything_gets_what_is_popular() -> None:
    history = ratings(users=3, items=5, lines=400)
    assert len(history) == 15
    found = candidates_of(asked(0, 1), history, "user", "item", repeats=False)
    assert found.groupby("user").size().tolist() == [5, 5]


def test_an_empty_history_gives_no_candidates_but_their_columns() -> None:
    history = ratings()
    full = candidates_of(asked(1), history, "user", "item", rating="stars")
    none = candidates_of(asked(1), history.head(0), "user", "item", rating="stars")
    assert len(none) == 0
    assert list(none) == list(full)
