"""The days behind the old state: the same rows for the maker and for the test."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

FIRST = date(2026, 1, 1)
USERS, ITEMS = 40, 30


def nth_day(number: int) -> date:
    """Day ``number``, counted from 1."""
    return FIRST + timedelta(days=number - 1)


def visits_of(day: date, rows: int = 100) -> pd.DataFrame:
    """Visitors of one day; the label follows ``size``."""
    random = np.random.default_rng(day.toordinal())
    size = random.normal(size=rows).round(3)
    return pd.DataFrame(
        {
            "number": np.arange(rows) + 1000 * day.toordinal(),
            "size": size,
            "shop": np.where(random.random(rows) < 0.5, "a", "b"),
            "bought": (size + random.normal(size=rows) > 0).astype("int64"),
        }
    )


def baskets_of(day: date) -> pd.DataFrame:
    """What a third of the users bought; each has a few items that it comes back for."""
    random = np.random.default_rng(day.toordinal())
    rows = []
    for user in np.sort(random.choice(USERS, USERS // 3, replace=False)):
        usual = [(7 * user + step) % ITEMS for step in (0, 1, 5)]
        other = random.choice(ITEMS, 3, replace=False)
        rows += [(int(user), int(item)) for item in {*random.choice(usual, 2), *other[:1]}]
    return pd.DataFrame(rows, columns=["user", "item"])


def write_days(folder: Path, first: int, last: int) -> None:
    """Write both sources' days below a folder, and of the visitors who comes the day after."""
    for name, made in (("visits", visits_of), ("baskets", baskets_of)):
        place = folder / f"{name}-days"
        place.mkdir(parents=True, exist_ok=True)
        for number in range(first, last + 1):
            day = nth_day(number)
            made(day).to_parquet(place / f"{day}.parquet", index=False)
    announced = folder / "announced"
    announced.mkdir(exist_ok=True)
    for number in range(first + 1, last + 2):
        coming = visits_of(nth_day(number))[["number", "size", "shop"]]
        coming.to_parquet(announced / f"{nth_day(number)}.parquet", index=False)
