"""A backtest from the command line: what it says, where it writes, and what it leaves alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm
from tests.nights import PROJECT, command_environment, nth_day, write_model, write_more

DAYS, NIGHTS = 42, 12
COMMAND = [sys.executable, "-W", "ignore", str(PROJECT / "flows" / "backtest.py")]


def run_backtest(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``python flows/backtest.py`` against the Prefect server of the tests."""
    return warm.run([*COMMAND, *arguments], env=command_environment(home))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    write_more(place / "days", 1, DAYS)
    return write_model(place / "toy.py", place / "days")


@pytest.mark.long
def test_a_backtest_answers_and_touches_no_registry(
    home: Path, model: Path, warm_processes: None
) -> None:
    asked = ("--model", str(model), "--nights", str(NIGHTS))
    ended = run_backtest(home, *asked)
    assert ended.returncode == 0, ended.stderr
    assert f"{NIGHTS} nights replayed" in ended.stdout
    assert "Retraining every night is not proven to pay for toy" in ended.stdout
    assert not (home / "mlflow.db").exists()
    (folder,) = (home / "reports" / "toy" / "backtest").iterdir()
    assert (folder / "backtest.png").read_bytes().startswith(b"\x89PNG")
    assert "| two questions |" in (folder / "backtest.md").read_text()
    found = json.loads((folder / "backtest.json").read_text())
    assert found["leader"] == "logistic"
    assert (found["first_day"], found["last_day"]) == (str(nth_day(31)), str(nth_day(DAYS)))
    candidates, curve, windows, policies = found["tables"].values()
    assert [row["name"] for row in candidates] == ["constant", "logistic", "tree"]
    assert [row["name"] for row in curve] == ["every night", "every 7 nights", "fitted once"]
    assert len(windows) == 3
    assert {row["name"]: row["promotions"] for row in policies}["always promote"] == NIGHTS - 1

    again = run_backtest(home, *asked)
    assert again.stdout == ended.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nights", "3"], "--nights: found 3, Input should be greater than or equal to 8"),
        (["--nights", "70"], "history is too short"),
        (["--as-of", "2020-01-01"], "has no day up to 2020-01-01"),
    ],
)
def test_what_cannot_be_replayed_says_why(
    arguments: list[str], message: str, home: Path, model: Path, warm_processes: None
) -> None:
    ended = run_backtest(home, "--model", str(model), *arguments)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
