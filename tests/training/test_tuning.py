"""Parameters are searched when they are due, in a process that ends, and used the nights after."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from threading import Barrier
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.tree import DecisionTreeClassifier

from tasks.features.examples import build_examples
from tasks.spec import ModelSpec, days
from tasks.spec.loading import load_spec
from tasks.spec.tuned import Tuned
from tasks.store import frames
from tasks.training import fit, stored_fits, tuning
from tasks.training.timed_process import Ended
from tests.nights import MLFLOW_WARNINGS, champion_of, nth_day, run_night, write_model, write_more
from tests.toy import toy, write_day

SLOW = '''

class Slow(DecisionTreeClassifier):
    """A stump is quick; anything deeper never ends, in compiled code."""

    def fit(self, X, y):
        import re

        if self.max_depth != 1:
            re.match(r"(a+)+$", "a" * 60 + "b")
        return super().fit(X, y)


class Hangs(LogisticRegression):
    def fit(self, X, y):
        import re

        re.match(r"(a+)+$", "a" * 60 + "b")


toy = ModelSpec('''
PLAIN = '"tree": DecisionTreeClassifier(max_depth=3, random_state=0),'
OTHERS = '"constant": DummyClassifier(),\n        "logistic": LogisticRegression(),'


def searched(tmp_path: Path, candidate: str, *changes: tuple[str, str]) -> Path:
    """The toy with one candidate, which is searched."""
    return write_model(
        tmp_path / "searched.py",
        tmp_path / "days",
        ("\n\ntoy = ModelSpec(", SLOW),
        ("from tasks.spec import", "from tasks.spec import Tuned\nfrom tasks.spec import"),
        (PLAIN, f'"tree": {candidate},'),
        *(changes or ((OTHERS, ""),)),
    )


def examples(spec: ModelSpec, place: Path, number_of_days: int = 9) -> list[frames.Ref]:
    """Examples of some days."""
    made = {}
    for number in range(1, number_of_days + 1):
        write_day(place, nth_day(number), rows=60)
        rows = pd.read_parquet(place / f"{nth_day(number)}.parquet")
        rows.insert(0, "day", pd.Timestamp(nth_day(number)))
        made[f"day{number}"] = build_examples(spec, rows, rows.head(0))
    return list(frames.write_days("examples", made).values())


def records(home: Path) -> list[dict[str, Any]]:
    """What searches have left."""
    return [json.loads(file.read_text()) for file in (home / "store" / "tuned").glob("[!.]*")]


def test_a_search_is_paid_for_once_a_period(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidate = (
        "Tuned(DecisionTreeClassifier(max_depth=9, random_state=0), "
        '{"max_depth": [1, 2, 3, 4]}, budget=4)'
    )
    spec = load_spec(str(searched(tmp_path, candidate)))
    refs = examples(spec, tmp_path / "days")
    sunday = date(2026, 2, 8)
    assert tuning.recall(spec, "tree", sunday, refs) is None
    found = tuning.settle(spec, "tree", sunday, refs)
    assert found.parameters["max_depth"] in (1, 2, 3, 4)
    assert (found.searched, found.through) == (sunday, nth_day(9))
    assert found.tried > 1
    depth = found.parameters["max_depth"]
    assert f"max_depth={depth}, found by the search of 2026-02-08" in found.told("t")
    assert len(records(home)) == 1
    monkeypatch.setattr(tuning, "run_apart", None)
    assert tuning.settle(spec, "tree", sunday + days(6), refs) == found
    assert tuning.recall(spec, "tree", sunday + days(7), refs) is None
    assert tuning.recall(spec, "tree", sunday - days(1), refs) is None
    assert tuning.recall(spec, "tree", sunday + days(1), refs[:8]) is None  # it saw a later day
    edited = dataclasses.replace(spec, seed=1)
    monkeypatch.setattr(tuning, "digest", lambda _: "another")
    assert tuning.recall(edited, "tree", sunday, refs) is None


def test_a_fit_is_known_by_what_was_found(tmp_path: Path) -> None:
    spec = dataclasses.replace(
        toy, candidates={"tree": Tuned(DecisionTreeClassifier(), {"max_depth": [1, 2]})}
    )
    refs = examples(spec, tmp_path / "days", 3)
    keys = [fit.model_key(spec, "tree", refs, found) for found in ({}, {"max_depth": 2})]
    assert keys[0] == fit.model_key(spec, "tree", refs) != keys[1]
    made, estimator = stored_fits.fit_and_keep(spec, "tree", refs, {"max_depth": 2})
    assert (made.key, estimator.estimator.max_depth) == (keys[1], 2)
    assert spec.candidates["tree"].estimator.max_depth is None


def test_a_search_that_never_ends_keeps_the_best_so_far(
    tmp_path: Path, home: Path, warm_fits: None
) -> None:
    candidate = 'Tuned(Slow(max_depth=1, random_state=0), {"max_depth": [5, 6]}, budget=4)'
    spec = load_spec(str(searched(tmp_path, candidate)))
    refs = examples(spec, tmp_path / "days")
    found = tuning.settle(spec, "tree", date(2026, 2, 8), refs)
    assert (found.parameters, found.tried) == ({}, 1)
    assert "the parameters in the spec, found by the search of 2026-02-08 (1 fits" in found.told(
        "t"
    )
    assert [record["parameters"] for record in records(home)] == [{}]
    assert not list((home / "store" / "tuned").glob(".*"))


def test_an_estimator_that_fails_as_written_is_a_fault_of_the_candidate(
    tmp_path: Path, warm_fits: None
) -> None:
    candidate = 'Tuned(DecisionTreeClassifier(max_depth="deep"), {"min_samples_leaf": [1]})'
    spec = load_spec(str(searched(tmp_path, candidate)))
    refs = examples(spec, tmp_path / "days")
    with pytest.raises(fit.FitError, match=r"fit on .* rows raised InvalidParameterError"):
        tuning.settle(spec, "tree", date(2026, 2, 8), refs)


def test_the_search_judges_later_days_by_earlier_ones_with_final_labels(tmp_path: Path) -> None:
    spec = dataclasses.replace(toy, label_delay=days(2), window=days(60))
    rows = frames.read_days(examples(spec, tmp_path / "days", 12))
    learned, judged = tuning.split_inside(spec, rows)
    assert judged["day"].min().date() == nth_day(10)
    assert learned["day"].max().date() == nth_day(7)
    closed = rows[~rows["day"].isin(pd.to_datetime([nth_day(9), nth_day(10)]))]
    learned, judged = tuning.split_inside(spec, closed)
    assert judged["day"].min().date() == nth_day(11)
    assert learned["day"].max().date() == nth_day(6), "as the night of day 8 had them"
    timed = dataclasses.replace(spec, late={"bought": "paid"})
    learned, judged = tuning.split_inside(timed, rows)
    assert judged["day"].min().date() == nth_day(10)
    assert learned["day"].max().date() == nth_day(6), "the night of day 9 had some labels of day 7"
    with pytest.raises(fit.FitError, match="2 training days are too few to search"):
        tuning.split_inside(spec, rows[rows["day"] <= pd.Timestamp(nth_day(2))])


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(1, 400))
def test_every_day_lies_in_one_period(day: date, every: int) -> None:
    first = tuning.period_of(day, every)
    assert first <= day < first + timedelta(days=every)
    assert tuning.period_of(first, every) == first


@pytest.mark.long
@pytest.mark.filterwarnings(*MLFLOW_WARNINGS)
def test_a_night_searches_and_goes_on_without_what_hangs(
    tmp_path: Path, registry_home: Path, warm_processes: None, warm_fits: None
) -> None:
    from tasks.registry.client import open_registry

    model = searched(
        tmp_path,
        'Tuned(DecisionTreeClassifier(max_depth=1, random_state=0), {"max_depth": [3]}, budget=2)',
        (OTHERS, '"hangs": Hangs(),'),
        ("    lookback=days(7),", "    lookback=days(7),\n    fit_limit=days(1) / 28800,"),
    )
    write_more(tmp_path / "days", 1, 40)
    report = run_night(model)
    assert report["verdict"] == "PROMOTED"
    assert list(report["candidates"]) == ["tree"]
    told, fault = report["reasons"][-2:]
    assert "Candidate tree is fitted with max_depth=3, found by the search of 2026-02-09" in told
    assert "Candidate 'hangs' of model toy: its fit took longer than 0:00:03" in fault
    assert champion_of() == "1"
    client = open_registry()
    version = client.get_model_version("toy", "1")
    parent = f"tags.mlflow.parentRunId = '{version.run_id}'"
    experiment = client.get_run(version.run_id).info.experiment_id
    (run,) = client.search_runs([experiment], parent)
    assert run.data.params["max_depth"] == "3"
    assert run.data.params["searched"] == "2026-02-09"


def test_searches_at_the_same_time_do_not_share_what_they_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two nights of a backtest search the same candidate beside each other."""
    together, depths = Barrier(2), count(1)

    def search(_: str, job: dict[str, Any], __: float) -> Ended:
        together.wait(60)
        found = {"parameters": {"max_depth": next(depths)}, "score": 1.0, "tried": 1}
        Path(job["best"]).write_text(json.dumps(found))
        together.wait(60)
        return Ended(found)

    monkeypatch.setattr(tuning, "run_apart", search)
    monkeypatch.setattr(tuning, "address_of", lambda _: "toy")
    tree = Tuned(DecisionTreeClassifier(), {"max_depth": [1, 2]})
    spec = dataclasses.replace(toy, candidates={"tree": tree})
    with ThreadPoolExecutor(2) as pool:
        nights = [nth_day(8), nth_day(9)]
        found = pool.map(lambda night: tuning._search_by_itself(spec, "tree", night, []), nights)
    assert sorted(each.parameters["max_depth"] for each in found) == [1, 2]
