"""A clean row is followed to its raw row, whatever ``clean`` does to index, order and columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tasks.features.scoring import below, clean_each, clean_rows, follow_rows
from tests.toy import toy

Clean = Callable[[pd.DataFrame], pd.DataFrame]
DAY = pd.Timestamp("2026-03-02")
SHOPS = pd.DataFrame({"shop": ["a", "b"], "town": ["x", "y"]})


def raw(count: int = 8, day: pd.Timestamp = DAY) -> pd.DataFrame:
    """Rows of one day; the first two are equal."""
    rows = pd.DataFrame(
        {
            "day": np.full(count, day.to_datetime64(), dtype="datetime64[s]"),
            "at": pd.date_range(day, periods=count, freq="h", tz="UTC"),
            "shop": list("abababab")[:count],
            "size": np.arange(count) * 1.5,
            "bought": np.arange(count) % 2,
        }
    )
    rows.loc[1] = rows.loc[0]
    return rows


def zoned(rows: pd.DataFrame) -> pd.DataFrame:
    """As the start writes it."""
    return rows.assign(at=rows["at"].dt.tz_convert("Asia/Tokyo").dt.tz_localize(None))


FOLLOWED: dict[str, tuple[Clean, list[int]]] = {
    "as they are": (lambda rows: rows, [*range(8)]),
    "changed": (lambda rows: rows.assign(size=rows["size"] // 4, shop="b"), [*range(8)]),
    "local times": (zoned, [*range(8)]),
    "filtered": (lambda rows: rows[rows["size"] > 4], [3, 4, 5, 6, 7]),
    "filtered, index reset": (
        lambda rows: rows[rows["size"] > 4].reset_index(drop=True),
        [3, 4, 5, 6, 7],
    ),
    "another order": (lambda rows: rows.iloc[::-1].reset_index(drop=True), [*range(7, -1, -1)]),
    "joined": (lambda rows: rows.merge(SHOPS, on="shop").drop(columns="size"), [*range(8)]),
    "joined, columns chosen": (
        lambda rows: rows[rows["size"] > 4].merge(SHOPS, on="shop")[["day", "town", "bought"]],
        [3, 4, 5, 6, 7],
    ),
    "without repeated rows": (lambda rows: rows.drop_duplicates(), [0, *range(2, 8)]),
    "by position": (lambda rows: rows.assign(n=pd.Series(np.arange(len(rows)))), [*range(8)]),
    "another index": (lambda rows: rows.set_index("size", drop=False), [*range(8)]),
    "none left": (lambda rows: rows[rows["size"] > 99], []),
}


@pytest.mark.parametrize("case", FOLLOWED)
def test_a_clean_row_is_followed_to_its_raw_row(case: str) -> None:
    clean, expected = FOLLOWED[case]
    rows, spec = raw(), replace(toy, clean=clean)
    found = follow_rows(spec, rows, clean_each(spec, rows)[DAY])
    assert found is not None
    assert found.tolist() == expected


NEW: dict[str, Clean] = {
    "sums": lambda rows: rows.groupby(["day", "shop"], as_index=False)["size"].sum(),
    "each twice": lambda rows: pd.concat([rows, rows]),
    "by chance": lambda rows: rows.assign(size=np.random.default_rng().random(len(rows))),
}


@pytest.mark.parametrize("case", NEW)
def test_rows_that_clean_makes_anew_are_not_guessed(case: str) -> None:
    rows, spec = raw(), replace(toy, clean=NEW[case])
    assert follow_rows(spec, rows, clean_each(spec, rows)[DAY]) is None


def test_a_name_that_a_table_has_too_is_not_taken() -> None:
    spec = replace(toy, clean=lambda rows: rows[rows["size"] > 4].merge(SHOPS, on="shop"))
    rows = raw().assign(**{"nightly row": 5})
    found = follow_rows(spec, rows, clean_each(spec, rows)[DAY])
    assert found is not None
    assert found.tolist() == [3, 4, 5, 6, 7]


def test_a_day_is_cleaned_the_same_whatever_is_read_with_it() -> None:
    spec = replace(toy, clean=lambda rows: rows.assign(usual=rows["size"].mean(), rank=rows.index))
    days = [raw(8, DAY), raw(3, DAY + pd.Timedelta(days=1))]
    alone = [clean_rows(spec, rows) for rows in days]
    together = clean_rows(spec, pd.concat(days, ignore_index=True))
    pd.testing.assert_frame_equal(together, pd.concat(alone, ignore_index=True))
    assert together.groupby("day")["usual"].nunique().tolist() == [1, 1]


def test_categories_of_several_days_stay_categories() -> None:
    parts = [pd.DataFrame({"kind": pd.Categorical([name]), "size": [1.0]}) for name in "ba"]
    empty = pd.DataFrame({"kind": [np.nan], "size": [2]})
    found = below([*parts, parts[0].head(0)])
    assert found["kind"].tolist() == ["b", "a"]
    assert found["kind"].cat.categories.tolist() == ["a", "b"]
    texts = [pd.DataFrame({"kind": ["x"], "size": [1.0]}), empty]
    assert below(texts)["kind"].dtype == "str"
