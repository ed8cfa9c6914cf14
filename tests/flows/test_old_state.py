"""State that earlier code left behind: its champions are scored, served and gone back to.

``tests/old_state/make.py`` says what the archive holds. The state is driven as a user drives it, by
the flows, the app's files and the registry; what its own code went on to say is in
``expected.json``.
"""

from __future__ import annotations

import json
import os
import sys
import tarfile
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from tasks.steps.ending import outcome_of
from tests import warm
from tests.nights import MLFLOW_WARNINGS, move_database
from tests.old_state.rows import nth_day, write_days
from tests.served import PARQUET, parquet_body, served

pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("warm_processes"),
    *(pytest.mark.filterwarnings(text) for text in MLFLOW_WARNINGS),
]

OLD = Path(__file__).parents[1] / "old_state"
EXPECTED: dict[str, Any] = json.loads((OLD / "expected.json").read_text())
EDITS = {
    "visits": ('day[["size"]].assign(', '(0 * day[["size"]]).assign('),
    "baskets": ("count=20)", "count=2)"),
}
"""Edits that spoil the features of tonight's models, which the old champions must not feel."""
CLOSE = {"visits": 1e-9, "baskets": 0.01}
"""How far a figure may be from what another processor found, where items have scores that are equal
but for rounding."""
NIGHT, ANSWERED = nth_day(32), nth_day(31)


def unpack(place: Path, *, edited: bool = False) -> Path:
    """The old state moved to a place, beside its models and two more days."""
    place.mkdir()
    with tarfile.open(OLD / "state.tar.xz") as archive:
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.4
        archive.extractall(place, **safe)  # type: ignore[arg-type]
    move_database(place / "home" / "mlflow.db", EXPECTED["place"], str(place))
    for name, (old, new) in EDITS.items():
        text = (OLD / f"{name}.py").read_text()
        assert text.count(old) == 1
        (place / f"{name}.py").write_text(text.replace(old, new) if edited else text)
    write_days(place, 1, 32)
    return place


@pytest.fixture(scope="module")
def as_it_was(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state for nights of models that nobody edited."""
    return unpack(tmp_path_factory.mktemp("as_it_was") / "place")


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state for nights of models that were edited since."""
    return unpack(tmp_path_factory.mktemp("edited") / "place", edited=True)


def run(place: Path, flow: Any, **config: Any) -> Any:
    """The last state of a flow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTLY_HOME", str(place / "home"))
        for variable in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.delenv(variable, raising=False)
        return flow(config, return_state=True)


def assert_published(place: Path, name: str, file: str, version: str) -> None:
    """A file of predictions holds what that version said when it was new."""
    found = pd.read_parquet(place / "home" / "predictions" / name / file)
    assert {*found["version"]} == {version}
    wanted = pd.read_csv(StringIO(EXPECTED[name]["published"][version]))
    text = found[list(wanted)].to_csv(index=False)
    read = pd.read_csv(StringIO(text))
    if "place" not in wanted:
        pd.testing.assert_frame_equal(read, wanted, rtol=1e-9)
        return
    # Where features round otherwise on another processor, a tree may send an item another way.
    both = read.merge(wanted, on=["user", "item", "kind"], suffixes=("", "_wanted"))
    assert len(read) == len(wanted)
    assert len(both) > 0.95 * len(wanted)
    assert np.isclose(both["score"], both["score_wanted"], rtol=1e-9).mean() > 0.7


def assert_figures(found: Mapping[str, Any], name: str) -> None:
    """The champion's figures of a night are those that the old code found.

    Left out is what a recommendation says of repeats: which they are, tonight's features say.
    """
    expected = EXPECTED[name]["figures"]
    assert set(found) == set(expected)
    compared = [each for each in expected if not each.endswith(("repeats", "discoveries"))]
    assert compared
    for metric in compared:
        assert found[metric] == pytest.approx(expected[metric], rel=CLOSE[name]), metric


def probe(name: str, version: str) -> tuple[pd.DataFrame, np.ndarray]:
    """A few rows of inputs, and what that version predicted for them when it was new."""
    found = EXPECTED[name]["probes"][version]
    rows = pd.DataFrame(**found["rows"]).astype(found["dtypes"])
    return rows, np.asarray(found["predictions"])


def predictions_of(place: Path, name: str, rows: pd.DataFrame) -> np.ndarray:
    """What an app gets that loads the champion in a process with none of this project's code."""
    rows.to_parquet(place / "rows.parquet", index=False)
    code = (
        "import json, sys, mlflow, pandas\n"
        "model = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "print(json.dumps(model.predict(pandas.read_parquet(sys.argv[2])).tolist()))"
    )
    database = f"sqlite:///{place / 'home' / 'mlflow.db'}"
    hidden = ("PYTHON", "PREFECT_", "MLFLOW_", "NIGHTLY_")
    asked = [f"models:/{name}@champion", str(place / "rows.parquet")]
    ended = warm.run(
        [sys.executable, "-P", "-W", "ignore", "-c", code, *asked],
        env={n: v for n, v in os.environ.items() if not n.startswith(hidden)}
        | {"MLFLOW_TRACKING_URI": database, "MLFLOW_DISABLE_TELEMETRY": "true"},
        cwd=place,
    )
    assert ended.returncode == 0, ended.stderr
    return np.asarray(json.loads(ended.stdout.splitlines()[-1]))


def test_the_next_night_scores_the_old_champion(as_it_was: Path) -> None:
    from flows.retrain import retrain

    report = run(as_it_was, retrain, model=str(as_it_was / "visits.py"), as_of=NIGHT).result()
    assert report["verdict"] in ("PROMOTED", "KEPT"), report["reasons"]
    assert "against the champion's" in " ".join(report["reasons"])
    assert_figures(report["metrics"]["champion"], "visits")


def test_reports_before_it_are_told_with_it(as_it_was: Path) -> None:
    """Needs the night before this test."""
    folder = as_it_was / "home" / "reports" / "visits"
    page = (folder / "history.html").read_text()
    for number, verdict in enumerate(("PROMOTED", "PROMOTED", "KEPT", "HELD"), start=28):
        assert str(nth_day(number)) in page
        old = json.loads((folder / str(nth_day(number)) / "report.json").read_text())
        assert old["verdict"] == verdict
    assert str(NIGHT) in page
    report = json.loads((folder / str(NIGHT) / "report.json").read_text())
    since = {"since": str(nth_day(31)), "changed": [], "late": [str(nth_day(31))]}
    assert report["revised"] == since


def test_old_predictions_are_graded_once_their_labels_come(as_it_was: Path) -> None:
    """Needs the night before these tests."""
    live = as_it_was / "home" / "live" / "visits"
    found = json.loads((live / f"{ANSWERED}.json").read_text())
    (wanted,) = (day for day in EXPECTED["visits"]["live"] if day["day"] == str(ANSWERED))
    if "estimated" not in wanted:  # the oldest code said nothing of what to expect
        assert found.pop("estimated") is not None
    assert found == wanted
    assert (found["version"], found["previous_version"]) == ("2", "1")


@pytest.mark.parametrize(
    ("name", "version", "previous"), [("visits", "2", "1"), ("baskets", "1", None)]
)
def test_old_champions_are_scored_and_publish_through_their_own_code(
    edited: Path, name: str, version: str, previous: str | None
) -> None:
    from flows.retrain import retrain

    report = run(edited, retrain, model=str(edited / f"{name}.py"), as_of=NIGHT).result()
    said = " ".join(report["reasons"])
    assert report["verdict"] == "KEPT", said
    assert f"code has changed since version {version} was made" in said
    assert "against the champion's" in said
    assert_figures(report["metrics"]["champion"], name)
    assert report["predictions"]["fault"] is None, report["predictions"]
    assert_published(edited, name, "current.parquet", version)
    if previous:
        assert_published(edited, name, f"{NIGHT}.previous.parquet", previous)


def test_a_rollback_goes_back_to_the_old_predecessor(tmp_path: Path) -> None:
    from flows.predict import predict
    from flows.rollback import rollback

    place = unpack(tmp_path / "place")
    state = run(place, rollback, model="visits", why="it was better")
    assert outcome_of(state) == "ROLLED BACK", state.message
    assert state.message.startswith("ROLLED BACK. Version 1 of visits is the champion again")
    rows, wanted = probe("visits", "1")
    np.testing.assert_allclose(predictions_of(place, "visits", rows), wanted, rtol=1e-9)
    state = run(place, predict, model=str(place / "visits.py"), as_of=NIGHT)
    assert outcome_of(state) == "PUBLISHED", state.message
    assert_published(place, "visits", "current.parquet", "1")


def test_an_old_champion_answers_single_requests(edited: Path, tmp_path: Path) -> None:
    """It holds a class of this project's, which its own package knows under the old name."""
    rows, wanted = probe("baskets", "1")
    body, kind = parquet_body(rows), {"Content-Type": PARQUET}
    with served(edited / "home", "baskets", tmp_path / "log") as server:
        found = httpx.post(server.url, content=body, headers=kind, timeout=60)
    assert np.array_equal(found.raise_for_status().json()["predictions"], wanted)
