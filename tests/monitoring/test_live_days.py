"""Published days without labels: how they should do, and how such estimates did before."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from tasks.monitoring import live_days
from tasks.predictions import publish
from tasks.problems import Regression
from tasks.spec import ModelSpec
from tests.toy import toy

FIRST = date(2026, 3, 1)


def publish_day(number: int, **columns: Any) -> str:
    folder = publish.folder_of("toy")
    folder.mkdir(parents=True, exist_ok=True)
    as_of, day = FIRST + timedelta(days=number - 1), str(FIRST + timedelta(days=number))
    record = {"as_of": str(as_of), "day": day, "version": "2", "candidate": "tree"}
    (folder / f"{as_of}.json").write_text(json.dumps({**record, "promised": None}))
    score = np.random.default_rng(number).beta(2, 2, size=300)
    rows = pd.DataFrame({"number": np.arange(300), "probability": score} | columns)
    rows.to_parquet(folder / f"{as_of}.parquet", index=False)
    return day


def test_days_without_labels_are_estimated_and_graded_ones_are_not(home: Path) -> None:
    first, second, third = (publish_day(number) for number in range(3))
    graded = live_days.live_folder("toy")
    graded.mkdir(parents=True)
    (graded / f"{first}.json").write_text("{}")
    (publish.folder_of("toy") / f"{FIRST + timedelta(days=1)}.parquet").unlink()  # the third's
    (found,) = live_days.estimated_days(toy)
    assert (found["day"], found["version"], found["promised"]) == (second, "2", None)
    assert found["low"] < found["value"] < found["high"]
    assert found["value"] == pytest.approx(0.7, abs=0.1)
    assert third not in str(found)


def test_predictions_are_credited_to_the_version_that_made_them(home: Path) -> None:
    day = publish_day(0, version="3")  # the record beside them says 2: the disk failed in between
    file = publish.folder_of("toy") / f"{FIRST - timedelta(days=1)}.json"
    record = publish.read_record(file)
    assert (record["version"], record["candidate"], record["promised"]) == ("3", None, None)
    (estimated,) = live_days.estimated_days(toy)
    assert (estimated["day"], estimated["version"]) == (day, "3")
    found = live_days.ungraded(toy, FIRST + timedelta(days=9), {FIRST: "as it is"})
    assert {at: due["version"] for at, due in found.items()} == {FIRST: "3"}
    graded = live_days.live_folder("toy")
    graded.mkdir(parents=True)
    done = {"fingerprint": "as it is", "version": "3"}
    (graded / f"{FIRST}.json").write_text(json.dumps(done))
    assert live_days.ungraded(toy, FIRST + timedelta(days=9), {FIRST: "as it is"}) == {}


def test_predictions_of_an_earlier_problem_are_not_estimated(home: Path) -> None:
    folder, day = publish.folder_of("toy"), publish_day(0)
    pd.DataFrame({"other": [1]}).to_parquet(folder / f"{FIRST - timedelta(days=1)}.parquet")
    assert day
    assert live_days.estimated_days(toy) == []


def test_estimates_are_marked_as_such_and_say_how_far_off_they_were() -> None:
    day = {"day": "2026-03-02", "version": "2", "value": 0.41, "low": 0.38, "high": 0.44}
    graded = [
        {"estimated": {"value": 0.40}, "metrics": {"average_precision": 0.43}},
        {"estimated": {"value": 0.40}, "metrics": {"average_precision": 0.39}},
        {"estimated": None, "metrics": {"average_precision": 0.1}},
        {"metrics": {"average_precision": 0.1}},  # graded by an earlier release
    ]
    said = live_days.estimated_lines([day], graded, toy)
    assert said == [
        "2026-03-02: average precision ESTIMATED at 0.410 (0.380 to 0.440) from the probabilities "
        "alone; no labels yet",
        "such estimates were off by 0.020 on average, over 2 graded days",
    ]
    assert live_days.estimated_lines([], graded, toy) == []


def test_a_metric_that_probabilities_do_not_tell_is_said_not_to_be_estimated() -> None:
    amount = cast(ModelSpec, SimpleNamespace(problem=Regression("amount")))
    (said,) = live_days.estimated_lines([], [], amount)
    assert "is not estimated" in said
