"""A champion is judged through its own code, on the same raw rows as tonight's models."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.clean_process import version_answers
from tasks.clean_process.version_answers import AlignError
from tasks.problems import Classification, Multiclass, Recommendation
from tests import nights
from tests.nights import nth_day, run_night, write_model, write_more
from tests.toy import toy

HONEST = 'usual=day["shop"].map(usual).astype("float64").fillna(0.5),'
EDITS = {
    "as it was": (),
    "another scale": ((HONEST, HONEST.replace(",", " * 1000,")),),
    "another name": ((HONEST, HONEST.replace("usual=", "often=")),),
}
DAY = pd.Timestamp("2026-03-02")


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


def rows(count: int = 6) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "day": DAY,
            "shop": list("ababab")[:count],
            "bought": [1.0, np.nan, 0.0, 1.0, 0.0, 1.0][:count],
        }
    )


SPEC = replace(
    toy, problem=Classification("bought"), requests=None, known_ahead=("shop",), slices=()
)
HOLDOUT = pd.DataFrame({"day": DAY, "target": [1, 0, 1, 0, 1]})


def answers(positions: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"day": DAY, "row": positions, "score": [p / 10 for p in positions]})


def test_scores_are_laid_beside_the_rows_they_belong_to() -> None:
    added, scores = version_answers.align(SPEC, HOLDOUT, rows(), answers([5, 4, 3, 2, 1, 0]))
    assert len(added) == 0
    assert scores.tolist() == [0.0, 0.2, 0.3, 0.4, 0.5]


def test_rows_the_champion_leaves_out_are_too_many() -> None:
    with pytest.raises(AlignError, match="no predictions for 20% of tonight's rows"):
        version_answers.align(SPEC, HOLDOUT, rows(), answers([0, 1, 2, 3, 4]))


def test_rows_that_lost_their_index_are_not_guessed() -> None:
    spec = replace(SPEC, clean=lambda raw: raw.iloc[::-1].reset_index(drop=True))
    with pytest.raises(AlignError, match="does not keep the index"):
        version_answers.align(spec, HOLDOUT, rows(), answers([0, 1, 2, 3, 4, 5]))
    other_day = answers([0, 1, 2, 3, 4, 5]).assign(day=pd.Timestamp("2026-03-01"))
    with pytest.raises(AlignError, match="does not keep the index"):
        version_answers.align(SPEC, HOLDOUT, rows(), other_day)


def test_of_several_classes_each_is_laid_beside_its_row() -> None:
    spec = replace(SPEC, problem=Multiclass("bought", (0, 1)))
    found = answers([5, 4, 3, 2, 1, 0]).rename(columns={"score": "probability_1"})
    said = found.assign(probability_0=1 - found["probability_1"])
    added, scores = version_answers.align(spec, HOLDOUT, rows(), said)
    assert len(added) == 0
    np.testing.assert_allclose(scores[:, 1], [0.0, 0.2, 0.3, 0.4, 0.5])
    np.testing.assert_allclose(scores.sum(axis=1), 1.0)
    for other in (answers([0, 1, 2, 3, 4, 5]), said.rename(columns={"probability_0": "x"})):
        with pytest.raises(AlignError, match="predicts other classes or other quantiles"):
            version_answers.align(spec, HOLDOUT, rows(), other)
    more = replace(spec, problem=Multiclass("bought", (0, 1, 2)))
    _, scores = version_answers.align(more, HOLDOUT, rows(), said)
    assert scores[:, 2].tolist() == [0.0] * 5


def test_candidates_of_both_pipelines_are_judged_together() -> None:
    spec = replace(
        toy,
        problem=Recommendation("user", "item", "often", repeat="count"),
        known_ahead=("user",),
        slices=("town",),
        clean=None,
    )
    bought = pd.DataFrame({"day": DAY, "user": [1, 1, 2], "item": [10, 12, 11]})
    holdout = pd.DataFrame(
        {
            "day": DAY,
            "user": [1, 1, 2],
            "item": [10, 11, 11],
            "target": np.array([1, 0, 1], dtype=np.int8),
            "relevant": [2, 2, 1],
            "count": [3, 1, 2],
            "town": ["x", "x", "y"],
        }
    )
    said = pd.DataFrame(
        {"day": DAY, "user": [1, 1, 2], "item": [12, 10, 13], "score": [0.9, 0.5, 0.4]}
    )
    added, scores = version_answers.align(spec, holdout, bought, said)
    assert added[["user", "item", "target", "relevant", "town"]].to_numpy().tolist() == [
        [1, 12, 1, 2, "x"],
        [2, 13, 0, 1, "y"],
    ]
    assert scores.tolist() == [0.5, -1.0, -1.0, 0.9, 0.4]
    assert version_answers.pad(np.array([0.2, 0.7]), 2).tolist() == [0.2, 0.7, -0.8, -0.8]
    holdout, added = pd.DataFrame({"item": [10, 11]}), pd.DataFrame({"item": [12]})
    scored = {"tree": np.array([0.2, 0.7])}
    every, scores = version_answers.add_examples(holdout, scored, added)
    assert every["item"].tolist() == [10, 11, 12]
    assert scores["tree"].tolist() == [0.2, 0.7, -0.8]


def test_the_history_the_champion_needs_is_its_own() -> None:
    listed = [date(2026, 3, n) for n in range(1, 20)]
    found = version_answers.days_needed(listed, listed[14:], lookback=3)
    assert found == listed[11:]
