"""A fleet over several nights: each partition stands alone, and none harms another."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.steps import fleet, judge, release, report
from tasks.training import stored_fits
from tests import nights
from tests.fleets import write_fleet, write_shops
from tests.nights import champion_of, nth_day, versions_of

pytestmark = [pytest.mark.filterwarnings(text) for text in nights.MLFLOW_WARNINGS]
SHOPS = {"north": 60, "south": 60, "New York": 60, "thin": 4}
LATER = {"north": 60, "south": 60, "west": 60, "thin": 4}
NORTH, SOUTH, YORK = "shops.north", "shops.south", "shops._new__20_york"


def run(model: Path, day: int) -> tuple[Any, dict[str, Any]]:
    from flows.retrain import retrain
    from tasks.steps.config import RetrainConfig

    state = retrain(RetrainConfig(model=str(model), as_of=nth_day(day)), return_state=True)
    return state, state.result(raise_on_failure=False)


def poisoned(spec: Any, *given: Any, fit_twin: Any = stored_fits.fit_twin) -> Any:
    """A fit that raises for one partition."""
    if spec.name == SOUTH:
        raise RuntimeError("poisoned")
    return fit_twin(spec, *given)


class Killed(BaseException):
    """The run ends here, as if its process were killed."""


def killed(*_: Any) -> Any:
    raise Killed


def statuses(home: Path, day: int) -> dict[str, str]:
    file = home / "reports" / "shops" / str(nth_day(day)) / "partitions.json"
    return {row["value"]: row["status"] for row in json.loads(file.read_text())}


def current(home: Path) -> pd.DataFrame:
    rows = pd.read_parquet(home / "predictions" / "shops" / "current.parquet")
    return rows.groupby("shop").agg(model=("model", "unique"), version=("version", "unique"))


@pytest.mark.long
def test_a_fleet_over_its_nights(
    prefect_server: None,
    blank_pictures: None,
    registry_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "days"
    for day in range(1, 41):
        write_shops(folder, nth_day(day), SHOPS)
    model = write_fleet(tmp_path / "shops.py", folder)

    # The first night is killed in the chunk, with its versions registered and none promoted.
    with monkeypatch.context() as cut:
        cut.setattr(fleet, "_checked", killed)
        with pytest.raises(Killed):
            run(model, 40)
    assert (versions_of(NORTH), champion_of(NORTH), champion_of("shops")) == (["1"], None, "1")

    # Run again: three stand alone, the thin one is served by the common model.
    state, found = run(model, 40)
    assert state.is_completed(), found
    first = {"north": "PROMOTED", "south": "PROMOTED", "New York": "PROMOTED", "thin": "FALLBACK"}
    assert statuses(registry_home, 40) == first
    assert sorted(found["fleet"]["new"]) == sorted(SHOPS)
    assert {name: champion_of(name) for name in ("shops", NORTH, SOUTH, YORK)} == dict.fromkeys(
        ("shops", NORTH, SOUTH, YORK), "1"
    )
    assert champion_of("shops.thin") is None
    assert {s: list(m) for s, m in current(registry_home)["model"].items()} == {
        "New York": [YORK],
        "north": [NORTH],
        "south": [SOUTH],
        "thin": ["shops"],
    }
    assert "New York" in (registry_home / "reports" / "shops" / "partitions.html").read_text()

    # From here on without pictures and without the process that checks packages.
    monkeypatch.setattr(judge, "_draw", lambda *_: {})
    monkeypatch.setattr(report, "_draw", lambda *_: {})
    monkeypatch.setattr(release, "check_packages", lambda made, **_: [() for _ in made])

    # The same night again, with nothing remembered: nothing changes.
    shutil.rmtree(registry_home / "decisions")
    state, again = run(model, 40)
    assert statuses(registry_home, 40) == first
    assert versions_of(NORTH) == versions_of("shops") == ["1"]
    assert again["fleet"] == found["fleet"]

    # A week later one raises, one has bad data, one is new, one has vanished.
    for day in range(41, 48):
        write_shops(folder, nth_day(day), LATER, broken={"north": 10} if day == 47 else {})
    with monkeypatch.context() as night:
        night.setattr(stored_fits, "fit_twin", poisoned)
        state, found = run(model, 47)
    assert state.is_failed()
    assert "south: failed. RuntimeError" in state.message
    assert statuses(registry_home, 47) == {
        "north": "REJECTED",
        "south": "FAILED",
        "thin": "FALLBACK",
        "west": "FALLBACK",
    }
    assert (found["fleet"]["new"], found["fleet"]["gone"]) == (["west"], ["New York"])
    assert champion_of("shops") == "2"
    assert [champion_of(name) for name in (NORTH, SOUTH, YORK)] == ["1", "1", "1"]

    # The next night south is whole again; then a person takes its champion back.
    write_shops(folder, nth_day(48), LATER)
    state, found = run(model, 48)
    assert statuses(registry_home, 48)["south"] == "PROMOTED", found["fleet"]
    assert champion_of(SOUTH) == "2"
    from flows.rollback import rollback
    from tasks.steps.config import RollbackConfig

    ended = rollback(RollbackConfig(model=SOUTH, why="a test"), return_state=True)
    assert ended.is_completed(), ended.message
    assert (champion_of(SOUTH), champion_of("shops")) == ("1", "3")
    rows = current(registry_home)
    assert list(rows.loc["south", "version"]) == ["1"]
    assert list(rows.loc["west", "version"]) == ["3"]
