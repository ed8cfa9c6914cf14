"""What must always be so holds in random sequences of nights, edits, kills and rollbacks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.column_sequences import ColumnNights
from tests.nights import MLFLOW_WARNINGS
from tests.sequences import run_sequences

pytestmark = [
    pytest.mark.usefixtures("warm_processes"),
    *(pytest.mark.filterwarnings(text) for text in MLFLOW_WARNINGS),
]


@pytest.mark.long
def test_random_sequences_keep_what_must_hold(empty_registry: Path) -> None:
    """Many more, for hours, with ``NIGHTLY_CI=1 SEQUENCES=500 SEED=1``."""
    count = int(os.environ.get("SEQUENCES", 1))
    seed = os.environ.get("SEED")
    run_sequences(empty_registry, count, steps=8, seed=int(seed) if seed else None)


@pytest.mark.long
def test_random_sequences_of_changing_files_keep_what_must_hold(empty_registry: Path) -> None:
    run_sequences(empty_registry, 1, steps=4, nights=ColumnNights)
