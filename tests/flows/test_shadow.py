"""Shadow nights as the flow runs them: a promotion on live days that is cut off, and a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from tasks import settings
from tasks.predictions import publish
from tasks.steps.ending import outcome_of
from tests.nights import (
    MLFLOW_WARNINGS,
    champion_of,
    nth_day,
    run_night,
    versions_of,
    write_model,
    write_more,
)
from tests.sequences import ONE_RECIPE, Killed

pytestmark = [
    pytest.mark.usefixtures("warm_processes", "registry_home"),
    *(pytest.mark.filterwarnings(words) for words in MLFLOW_WARNINGS),
]


@pytest.mark.long
def test_shadow_nights_end_on_live_days_also_where_the_night_is_killed_or_with_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.approve import approve
    from tasks.steps.config import ApproveConfig

    write_more(tmp_path / "days", 1, 34)
    gate = ("gate=Gate(", "gate=Gate(shadow=days(2), ")
    model = write_model(tmp_path / "toy.py", tmp_path / "days", *ONE_RECIPE, gate)
    verdicts = [run_night(model, nth_day(number))["verdict"] for number in (30, 31, 32)]
    assert (verdicts, champion_of()) == (["PROMOTED", "SHADOW", "KEPT"], "1")
    assert "version 2 predicts in the shadow, night 2 of 2" in page()

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "set_registered_model_alias", killed)
        with pytest.raises(Killed):
            run_night(model, nth_day(33))
    found = run_night(model, nth_day(33))
    assert (found["verdict"], champion_of(), versions_of(), app()) == (
        "PROMOTED", "2", ["1", "2"], {"2"},
    )  # fmt: skip
    assert found["champion"]["since"] == str(nth_day(31))
    assert f"Version 2 was approved by its shadow nights on {nth_day(33)}: Average" in page()
    assert f"{nth_day(33)}: version 2 promoted" in page()

    assert run_night(model, nth_day(34))["verdict"] == "SHADOW"
    ended: Any = approve(
        ApproveConfig(model="toy", by="Ada", why="it is needed now"), return_state=True
    )
    assert (outcome_of(ended), champion_of(), app()) == ("APPROVED", "3", {"3"})


def killed(*_: Any, **__: Any) -> None:
    raise Killed


def app() -> set[str]:
    """Versions whose predictions the app reads."""
    return {*pd.read_parquet(publish.folder_of("toy") / publish.CURRENT)["version"]}


def page() -> str:
    return (settings.home() / "reports" / "toy" / "history.html").read_text()
