"""A champion is judged through its own code, on the same raw rows as tonight's models."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from tasks.clean_process import version_answers
from tasks.spec import days
from tests import nights
from tests.nights import nth_day, run_night, write_model, write_more

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
