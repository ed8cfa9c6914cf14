"""What must always be so holds in random sequences of nights, edits, kills and rollbacks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nights import MLFLOW_WARNINGS
from tests.sequences import run_sequences

pytestmark = [
    pytest.mark.usefixtures("warm_processes"),
    *(pytest.mark.filterwarnings(text) for text in MLFLOW_WARNINGS),
]


def test_random_sequences_keep_what_must_hold(empty_registry: Path) -> None:
    run_sequences(empty_registry, count=3, steps=6)
