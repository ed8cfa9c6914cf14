"""A champion is judged through its own code, on the same raw rows as tonight's models."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tasks.clean_process import version_answers
from tasks.spec import ModelSpec, days
from tasks.spec.fingerprint import digest
from tests import nights
from tests.nights import nth_day, run_night, write_model, write_more
from tests.toy import toy

HONEST = 'usual=day["shop"].map(usual).astype("float64").fillna(0.5),'
EDITS = {
    "as it was": (),
    "another name and scale": (
        (HONEST, HONEST.replace("usual=", "often=").replace(",", " * 1000,")),
    ),
}


@pytest.fixture(scope="module")
def one_night(
    tmp_path_factory: pytest.TempPathFactory, empty_registry: Path, warm_processes: None
) -> Path:
    """Days, and a state directory with one champion."""
    place = tmp_path_factory.mktemp("one")
    (place / "home").mkdir()
    shutil.copyfile(empty_registry, place / "home" / "mlflow.db")
    write_more(place / "days", 1, 31)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTLY_HOME", str(place / "home"))
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.delenv(name, raising=False)
        first = run_night(write_model(place / "toy.py", place / "days"), nth_day(30))
    assert first["verdict"] == "PROMOTED"
    return place


@pytest.mark.long
@pytest.mark.usefixtures("warm_processes")
@pytest.mark.filterwarnings(*nights.MLFLOW_WARNINGS)
def test_the_champion_is_the_same_whatever_tonights_code_makes_of_its_features(
    one_night: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champions = {}
    for name, edits in EDITS.items():
        place = tmp_path / name.replace(" ", "-")
        shutil.copytree(one_night / "home", place / "home")
        monkeypatch.setenv("NIGHTLY_HOME", str(place / "home"))
        for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            monkeypatch.delenv(variable, raising=False)
        model = write_model(place / "toy.py", one_night / "days", *edits)
        report = run_night(model, nth_day(31))
        champions[name] = report["metrics"]["champion"]
        asked = "scored with its own code" in " ".join(report["reasons"])
        assert asked is bool(edits), report["reasons"]
    assert champions["as it was"]["average_precision"]["value"] > 0.7
    assert all(found == champions["as it was"] for found in champions.values())


def test_where_features_see_no_earlier_day_the_newest_still_tells_the_columns() -> None:
    listed = [date(2026, 3, day) for day in (2, 3, 6)]
    ahead = date(2026, 3, 9)
    assert version_answers.history_days(listed, ahead, days(3)) == listed[2:]
    assert version_answers.history_days(listed, ahead, days(1)) == listed[2:]
    assert version_answers.history_days(listed, ahead, days(0)) == listed[2:]
    assert version_answers.history_days(listed, ahead, days(30)) == listed


def test_the_history_the_champion_needs_is_its_own() -> None:
    listed = [date(2026, 3, n) for n in range(1, 20)]
    found = version_answers.days_needed(listed, listed[14:], lookback=3)
    assert found == listed[11:]


def test_each_row_of_a_fleet_is_its_partitions_and_the_common_models_where_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fleet = replace(toy, partition="shop")
    asked = pd.DataFrame({"size": [1.0, 2.0, 3.0, 4.0, 5.0], "shop": ["b", "a", None, "b", "c"]})
    scores = {"toy.a": 0.2, "toy.b": 0.3, "toy.c": np.nan}

    def scores_of(_: object, part: ModelSpec, __: object, inputs: pd.DataFrame) -> np.ndarray:
        return inputs[["size"]].to_numpy() + scores[part.name]

    promoted = SimpleNamespace(digest=digest(fleet))
    monkeypatch.setattr(version_answers.versions, "read_promoted", lambda *_: promoted)
    monkeypatch.setattr(version_answers, "_scores_of", scores_of)
    monkeypatch.setattr(version_answers.scoring, "clean_requests", lambda *_: asked)
    (column,) = fleet.problem.score_columns
    common = pd.DataFrame({"number": range(5), column: 0.1})
    ahead = version_answers.DayAhead(date(2026, 3, 2), asked, [], {})
    made, failed = version_answers.predict_for_partitions(
        None,  # type: ignore[arg-type]
        fleet,
        {"a": "7", "b": "8", "c": "9", "gone": "1"},
        ahead,
        common,
        asked,
    )
    assert made[column].tolist() == [1.3, 2.2, 0.1, 4.3, 0.1]
    assert made["model"].tolist() == ["toy.b", "toy.a", "toy", "toy.b", "toy"]
    assert made["version"].tolist() == ["8", "7", "", "8", ""]
    assert list(failed) == ["c"]
    assert list(made) == ["number", column, "shop", "model", "version"]
    assert common[column].eq(0.1).all()
