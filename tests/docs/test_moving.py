"""The model file at the end of the move from elsewhere is one that a night takes."""

from __future__ import annotations

import ast
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests import pages

PAGE = "deployments/MOVING.md"
CODE = pages.blocks(PAGE, "python")


def visits(count: int) -> pd.DataFrame:
    random = np.random.default_rng(3)
    size = 40 * count
    pages = random.integers(1, 60, size)
    bought = random.random(size) < pages / 100
    day = pd.Timestamp("2026-03-02") + pd.to_timedelta(np.repeat(np.arange(count), 40), unit="D")
    return pd.DataFrame(
        {
            "came_at": day + pd.to_timedelta(random.integers(0, 86_400, size), unit="s"),
            "shop": random.choice(["a", "b", "c"], size),
            "pages": pages,
            "spent": np.where(bought, 9.5, 0.0),
        }
    )


def test_every_block_is_python() -> None:
    assert len(CODE) == 3
    for block in CODE:
        ast.parse(block)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:.*Any type hint")
def test_the_new_file_is_one_that_a_night_takes(tmp_path: Path) -> None:
    from tasks.preflight.check import check_model
    from tasks.preflight.result import OUTCOMES, to_text
    from tasks.spec.loading import load_spec

    visits(80).to_csv(tmp_path / "visits.csv", index=False)
    (code,) = (block for block in CODE if "ModelSpec(" in block)
    model = tmp_path / "visits.py"
    model.write_text(code.replace("/data/visits.csv", str(tmp_path / "visits.csv")))
    found = check_model(load_spec(str(model)), None, datetime(2026, 5, 21, tzinfo=UTC))
    assert OUTCOMES[found.outcome][1] == 0, to_text(found)


def test_what_was_written_in_the_old_steps_is_told_of() -> None:
    table = pages.section(PAGE, "What replaces what")
    for name in ("read_csv", "clean", "extract", "train_test_split", "copy", "schedule"):
        assert f"{name}" in table
