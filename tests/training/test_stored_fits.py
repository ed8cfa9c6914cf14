"""The model that was shipped before the holdout began is tonight's twin, and is still there."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import psutil
import pytest

from tasks.features.split import Split, split_days
from tasks.registry.versions import coming_twins, night_tags
from tasks.spec import EXPANDING, days
from tasks.spec.fingerprint import digest
from tasks.store import cleanup
from tasks.store.frames import Ref
from tasks.training import stored_fits
from tasks.training.fit import model_key
from tests.toy import toy

FIRST = date(2026, 1, 5)


def weekday(day: date) -> bool:
    return day.weekday() < 5


def business_day(day: date) -> bool:
    return weekday(day) and day != date(2026, 4, 6)


def any_day(day: date) -> bool:
    return day.year == 2026


@pytest.mark.parametrize(
    ("open_on", "delay", "window", "fewest"),
    [
        (any_day, 0, days(60), 30),
        (any_day, 7, EXPANDING, 30),
        (business_day, 0, days(60), 30),
        (weekday, 7, EXPANDING, 30),
        (weekday, 1, days(60), 30),
    ],
)
def test_a_twin_is_the_model_shipped_before_its_holdout_and_is_still_in_the_store(
    open_on: Callable[[date], bool], delay: int, window: timedelta, fewest: int
) -> None:
    spec = dataclasses.replace(
        toy, lookback=days(7), holdout=days(14), label_delay=days(delay), window=window
    )
    listed = [day for day in (FIRST + days(n) for n in range(160)) if open_on(day)]
    versions: list[Any] = []
    used: dict[str, date] = {}
    found = 0
    for night in listed[-60:]:
        split = split_days(spec, [day for day in listed if day <= night], night)
        found += night >= listed[-30] and key_of(split.train) in used
        since = split.train[-1] + spec.label_delay
        used |= dict.fromkeys(used.keys() & coming_twins(versions, digest(toy), since), night)
        key = key_of(split.refit)
        used[key] = night
        versions.append(version_of(split, night, key))
        used = {key: last for key, last in used.items() if night - last < cleanup.LEFT}
    assert found == fewest
    assert len(used) < 40, "what no night will look for goes"


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("memory", "most"), [(1 << 40, 2), (1, 1)])
def test_large_examples_are_fitted_by_one_candidate_at_a_time(
    memory: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, at_once = threading.Barrier(2), []

    def fit(*_: Any) -> str:
        try:
            both.wait(5 if most == 2 else 0.1)
            at_once.append(2)
        except threading.BrokenBarrierError:
            at_once.append(1)
        return "fitted"

    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=memory))
    monkeypatch.setattr(stored_fits, "read_examples", lambda _: pd.DataFrame({"x": [1.0] * 9}))
    monkeypatch.setattr(stored_fits, "fit", fit)
    monkeypatch.setattr(stored_fits, "keep", lambda *_: None)
    with ThreadPoolExecutor(2) as threads:
        fits = [
            threads.submit(stored_fits.fit_and_keep, toy, name, ()) for name in ("logistic", "tree")
        ]
        assert [made.result()[1] for made in fits] == ["fitted"] * 2
    assert at_once == [most] * 2


def key_of(training: tuple[date, ...]) -> str:
    return model_key(toy, "logistic", [Ref("", "", 0, 9, content=f"{day}") for day in training])


def version_of(split: Split, night: date, key: str) -> Any:
    """The version that a night has registered."""
    tags = night_tags(
        toy,
        split,
        night=f"{night}",
        as_of=night,
        candidate="logistic",
        shipped_key=key,
        prediction_interval=None,
    )
    return SimpleNamespace(tags=tags)
