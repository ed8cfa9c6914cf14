"""Shadow nights, step by step and without a server: begun, judged on live days, and cut short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.clean_process import version_answers
from tasks.predictions import publish
from tasks.registry import packages, versions, waiting
from tasks.registry.client import open_registry
from tasks.steps import rollback
from tasks.steps.config import RollbackConfig
from tasks.store.files import DiskError
from tests.nights import MLFLOW_WARNINGS, champion_of, nth_day, versions_of, write_model, write_more
from tests.steps.test_anchor import ALONE, live_through, quick

pytestmark = [
    pytest.mark.usefixtures("registry_home", "warm_processes", quick.__name__),
    *(pytest.mark.filterwarnings(words) for words in MLFLOW_WARNINGS),
]
assert quick


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model whose challengers predict for two nights in the shadow."""
    write_more(tmp_path / "days", 1, 38)
    gate = ("gate=Gate(", "gate=Gate(shadow=days(2), ")
    return write_model(tmp_path / "toy.py", tmp_path / "days", *ALONE, gate)


def app() -> set[str]:
    """Versions whose predictions the app reads."""
    return {*pd.read_parquet(publish.folder_of("toy") / publish.CURRENT)["version"]}


def dark(number: int) -> Path:
    """What was predicted in the shadow on a night."""
    return publish.folder_of("toy") / f"{nth_day(number)}.shadow.parquet"


def reason(night: dict[str, Any]) -> str:
    found: str = night["reasons"][0]
    return found


def full(*_: Any) -> Any:
    raise OSError(28, "No space left on device")


@pytest.mark.long
def test_a_version_is_promoted_on_live_days_refused_on_live_days_or_ended_by_a_rollback(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert live_through(model, nth_day(30))["verdict"] == "PROMOTED"
    assert not dark(30).exists()
    with monkeypatch.context() as patch:
        patch.setattr(version_answers, "run_by_itself", full)
        patch.setattr(packages, "_download", full)
        with pytest.raises(DiskError, match="No space left on device"):
            live_through(model, nth_day(31))  # and does not end KEPT, for good
    begun = live_through(model, nth_day(31))
    assert (begun["verdict"], champion_of(), app()) == ("SHADOW", "1", {"1"})
    assert reason(begun).startswith("Version 2 predicts in the shadow, night 1 of 2. It passed")
    assert {*pd.read_parquet(dark(31))["version"]} == {"2"}
    goes_on = live_through(model, nth_day(32))
    assert (goes_on["verdict"], versions_of(), app()) == ("KEPT", ["1", "2"], {"1"})
    assert reason(goes_on).startswith(
        "Version 2 predicts in the shadow, night 2 of 2; 1 of 2 days are graded."
    )
    (graded,) = goes_on["live"]
    assert (graded["version"], graded["shadow_version"]) == ("1", "2")
    assert graded["shadow"].keys() == graded["metrics"].keys()
    assert " in the shadow" in goes_on["live_lines"][0]
    made = live_through(model, nth_day(33))
    assert (made["verdict"], champion_of(), app()) == ("PROMOTED", "2", {"2"})
    assert "Version 2 is promoted after its shadow nights. Average precision 0." in reason(made)
    assert "against version 1's 0." in reason(made)
    assert "over 2 days, 400 rows" in reason(made)
    assert not dark(33).exists()
    assert live_through(model, nth_day(33))["verdict"] == "PROMOTED"  # the same night again
    assert (versions_of(), champion_of()) == (["1", "2"], "2")

    assert live_through(model, nth_day(34))["verdict"] == "SHADOW"
    spoil(34)
    live_through(model, nth_day(35))
    spoil(35)
    worse = live_through(model, nth_day(36))
    assert (worse["verdict"], champion_of(), app()) == ("KEPT", "2", {"2"})
    assert "Version 3 is refused after its shadow nights. Average precision 0." in reason(worse)
    client = open_registry()
    assert "On live days, but" in versions.read_withdrawn(client, "toy")["3"]
    assert waiting.read_decisions(client, "toy")["3"].by == "its shadow nights"
    assert not waiting.read_waiting(client, "toy")

    assert live_through(model, nth_day(37))["verdict"] == "SHADOW"
    assert champion_of() == "2"
    rollback.restore_champion(RollbackConfig(model="toy", why="late answers."), "1", None)
    ended = waiting.read_decisions(client, "toy")["4"]
    assert (ended.outcome, ended.by) == ("SUPERSEDED", "a rollback")
    assert ended.why == "the champion beside it was withdrawn: late answers"
    again = live_through(model, nth_day(38))
    assert (again["verdict"], again["waiting"]["version"], champion_of()) == ("SHADOW", "5", "1")


@pytest.mark.long
def test_edited_code_ends_it_and_where_a_person_is_asked_as_well_the_judged_version_waits(
    model: Path,
) -> None:
    assert live_through(model, nth_day(30))["verdict"] == "PROMOTED"
    assert live_through(model, nth_day(31))["verdict"] == "SHADOW"
    gate = ("gate=Gate(", "gate=Gate(approve=True, shadow=days(2), ")
    asking = write_model(model.with_name("asking.py"), model.with_name("days"), *ALONE, gate)
    begun = live_through(asking, nth_day(32))
    assert (begun["verdict"], begun["shadow"]["version"], champion_of()) == ("SHADOW", "3", "1")
    assert begun["reasons"][-1] == (
        "Version 2 predicts in the shadow no more: the model's code has changed since."
    )
    assert live_through(asking, nth_day(33))["verdict"] == "KEPT"
    for number in (34, 35):  # a refit of the same code does not take its place
        judged = live_through(asking, nth_day(number))
        assert (judged["verdict"], judged["waiting"]["version"]) == ("WAITING", "3")
        assert reason(judged).startswith("Version 3 waits for a person after its shadow nights.")
        assert "flows/approve.py" in judged["reasons"][1]
        assert judged["challenger"]["version"] is None
        assert (champion_of(), app(), versions_of()) == ("1", {"1"}, ["1", "2", "3"])


def spoil(number: int) -> None:
    """What was predicted in the shadow, at random."""
    rows = pd.read_parquet(dark(number))
    score = next(c for c in rows if rows[c].dtype.kind == "f")
    noise = np.random.default_rng(number).random(len(rows))
    rows.assign(**{score: noise}).to_parquet(dark(number), index=False)
