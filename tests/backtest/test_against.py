"""A model's file against that of a git revision."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from tasks.backtest.against import Outcome, compare, to_markdown
from tasks.backtest.replay import BacktestError
from tasks.backtest.side import Side
from tasks.cli import commands
from tasks.cli.parsers import backtest_parser
from tasks.evaluation.estimates import Estimate
from tests.nights import PROJECT, write_model, write_more
from tests.toy import toy

FEATURES = """def features(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    usual"""


def side(shift: float, days: int = 20, offset: int = 0) -> Side:
    """Scores of 100 rows a day that follow the label, and noise of their own; less with a shift."""
    random = np.random.default_rng(7)
    stamps = pd.date_range("2026-01-01", periods=days).repeat(100)
    target = random.integers(0, 2, 100 * days)
    noise = random.normal(0, 1, 100 * days)
    score = 1 / (1 + np.exp(-(target * (1 - shift) + noise)))
    examples = pd.DataFrame({"day": stamps, "target": target})
    rows = examples.index >= 100 * offset
    gain = Estimate(0.01, -0.01, 0.03)
    return Side(examples[rows].reset_index(drop=True), score[rows], "logistic", gain, 1.25)


@pytest.mark.parametrize(
    ("now", "before", "outcome"),
    [(0.0, 0.6, Outcome.BETTER), (0.0, 0.0, Outcome.SAME), (0.6, 0.0, Outcome.WORSE)],
)
def test_the_gain_on_the_same_rows_decides(now: float, before: float, outcome: Outcome) -> None:
    found = compare(toy, side(now), side(before), "main", "0123456789abcdef", 20)
    assert (found.outcome, found.paired) == (outcome, True)
    text = to_markdown(found)
    assert "| as it is |" in text and "| main |" in text and "+1.00% (-1.00% to +3.00%)" in text
    assert ("WORSE than that of main** (0123456789)" in text) is (outcome is Outcome.WORSE)


def test_other_rows_are_compared_day_by_day_and_other_predictions_not_at_all() -> None:
    found = compare(toy, side(0.6), side(0.0, offset=3), "main", "0" * 40, 20)
    assert (found.outcome, found.paired, found.first_day) == (Outcome.WORSE, False, "2026-01-04")
    assert "different rows" in to_markdown(found)
    other = side(0.0)
    with pytest.raises(BacktestError, match="another kind of prediction"):
        compare(
            toy, side(0.0), Side(other.examples, np.zeros((2000, 3)), "", found.gain, 0), "", "", 1
        )


def git(folder: Path, *arguments: str) -> None:
    names = {
        f"GIT_{who}_{what}": "ada" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    subprocess.run(["git", "-C", folder, *arguments], check=True, env=os.environ | names)


def ask(capfd: Any, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    """The command in this process."""
    monkeypatch.setattr(sys, "argv", ["backtest.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        commands.run_backtest(lambda _: None)
    said = capfd.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.mark.long
def test_an_edit_that_makes_a_model_worse_ends_with_its_code(
    tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The revision's helper module and file are those of the revision, not of the edited folder."""
    write_more(tmp_path / "days", 1, 40)
    models = tmp_path / "repository" / "models"
    models.mkdir(parents=True)
    (models / "__init__.py").touch()
    (models / "sizes.py").write_text("def shown(size):\n    return size\n")
    (models / "factor.txt").write_text("1")
    helped = (
        "from pathlib import Path\n\nfrom models.sizes import shown\n\n\n"
        'FACTOR = float(Path(__file__).with_name("factor.txt").read_text())\n\n\n'
    )
    write_model(
        models / "shop.py",
        tmp_path / "days",
        (FEATURES, f"{helped}{FEATURES}"),
        (
            'return day[["size", "shop"]].assign(',
            'return day[["size", "shop"]].assign(\n        size=FACTOR * shown(day["size"]),',
        ),
    )
    folder = tmp_path / "repository"
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    (models / "sizes.py").write_text("def shown(size):\n    return size.round(0).abs()\n")
    (models / "factor.txt").write_text("2")
    monkeypatch.syspath_prepend(str(folder))
    called = ("--model", str(models / "shop.py"), "--nights", "8")
    code, out, err = ask(capfd, monkeypatch, *called, "--against", "main")
    assert code == 3, out + err
    assert out.startswith("**toy: the file as it is is WORSE than that of main**")
    assert "different rows" not in out, "both sides serve the same rows"
    assert "8 nights replayed, served days 2026-02-02 to 2026-02-09" in out
    code, out, err = ask(capfd, monkeypatch, *called, "--against=--output=x")
    assert (code, out) == (2, "") and err.startswith("nightly: --against: git rev-parse")
    (models / "new.py").write_text((models / "shop.py").read_text())
    called = ("--model", str(models / "new.py"), "--nights", "8")
    code, _, err = ask(capfd, monkeypatch, *called, "--against", "main")
    assert code == 2 and "--against: 'main' has no file models/new.py" in err


def test_the_example_workflow_asks_what_the_command_takes() -> None:
    flow = yaml.safe_load((PROJECT / "deployments" / "review.yml").read_text())
    job = flow["jobs"]["review"]
    assert flow["permissions"] == {"contents": "read", "pull-requests": "write"}
    asked = [step["run"] for step in job["steps"] if "flows/backtest.py" in step.get("run", "")]
    words = shlex.split(asked[0])
    assert words[:2] == ["python", "flows/backtest.py"] and words[-2:] == [">", "review.md"]
    found = backtest_parser().parse_args(words[2:-2])
    assert (found.model, found.against) == ("flights", "$BASE")
    assert not [step for step in job["steps"] if "${{" in step.get("run", "")], "no text is code"
