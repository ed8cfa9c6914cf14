"""Small tables as a newcomer may bring them: one for each kind of problem, with common faults."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd

FIRST = date(2025, 3, 3)
NASTY = 'note\n"""; import os'
"""A column's name that would do harm, were it pasted as code."""


def orders(count: int = 60, rows: int = 60) -> pd.DataFrame:
    """Orders that are returned or not; with an id, a constant, leaks, codes and odd names."""
    random = np.random.default_rng(0)
    size = count * rows
    start = pd.Timestamp(FIRST) + pd.to_timedelta(np.repeat(np.arange(count), rows), unit="D")
    ordered = start + pd.to_timedelta(random.integers(0, 86_400, size), unit="s")
    amount = random.normal(50, 10, size)
    town = random.integers(0, 25, size)
    lean = (amount - 50) / 10 + town % 3 - 1 + random.normal(size=size)
    returned = lean > 1.5
    fees = np.where(returned, amount, 0.0)
    return pd.DataFrame(
        {
            "order_id": np.arange(size) + 7_000,
            "ordered_at": ordered,
            "amount": amount,
            "town": [f"town {number}" for number in town],
            "class": random.choice(["gold", "silver", None], size),
            "shop_id": random.integers(1, 9, size),
            "vip": pd.array(
                np.where(random.random(size) < 0.1, None, random.random(size) < 0.4), "boolean"
            ),
            NASTY: random.choice(["ä", "b'\"", "\\c"], size),
            "country": "DE",
            "closed_at": ordered + pd.to_timedelta(random.integers(1, 4, size), unit="D"),
            "fee": fees,
            "returned": np.where(returned, "yes", "no"),
        }
    )


def weather(count: int = 120) -> pd.DataFrame:
    """One row a day: how much it rains, which grows with the clouds."""
    random = np.random.default_rng(1)
    day = pd.Timestamp(FIRST) + pd.to_timedelta(np.arange(count), unit="D")
    clouds = random.uniform(0, 8, count).round(1)
    rain = np.maximum(0, clouds - 2 + 3 * random.normal(size=count)).round(1)
    kind = np.select([rain == 0, rain < 5], ["dry", "wet"], "storm")
    return pd.DataFrame({"date": day, "clouds": clouds, "rain": rain, "kind": kind})


def demand(count: int = 42) -> pd.DataFrame:
    """What shops sell at noon and in the evening: each has its weeks, and repeats them."""
    rows = pd.MultiIndex.from_product(
        [pd.date_range(FIRST, periods=count), (12, 19), (f"shop {number}" for number in range(12))],
        names=["day", "hour", "shop"],
    ).to_frame(index=False)
    random = np.random.default_rng(3)
    usual = random.normal(100, 50, (12, 7, 2))
    place = rows["shop"].str[5:].astype("int64"), rows["day"].dt.day_of_week, rows["hour"] // 19
    at = rows["day"] + pd.to_timedelta(rows["hour"], "h")
    sold = usual[place] + random.normal(size=len(rows))
    return pd.DataFrame(
        {"at": at, "shop": rows["shop"], "last_week": random.normal(size=len(rows)), "sold": sold}
    )


def ratings(count: int = 60, users: int = 30, items: int = 60) -> pd.DataFrame:
    """Users of two tastes who rate each film once."""
    random = np.random.default_rng(2)
    taste = random.random((users, items)) + 0.8 * (
        np.arange(users)[:, None] % 2 != np.arange(items) % 2
    )
    left = {user: list(np.argsort(taste[user])) for user in range(users)}
    rows = []
    for number in range(count):
        moment = pd.Timestamp(FIRST) + pd.Timedelta(days=number, hours=20)
        for user in random.choice(users, 8, replace=False):
            seen, left[user] = left[user][:2], left[user][2:]
            rows += [(moment, user, film, 4.5 if film % 2 == user % 2 else 1.5) for film in seen]
    return pd.DataFrame(rows, columns=["rated_at", "userId", "film", "stars"])


def write_daily(folder: Path, rows: pd.DataFrame, time: str) -> Path:
    """A folder of one Parquet file a day."""
    folder.mkdir(parents=True, exist_ok=True)
    for day, part in rows.groupby(rows[time].dt.date):
        part.to_parquet(folder / f"{day}.parquet", index=False)
    return folder
