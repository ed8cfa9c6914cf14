"""What must always be so holds in random sequences of nights, edits, kills and rollbacks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import samples
from tests.nights import MLFLOW_WARNINGS
from tests.sequences import run_sequences

pytestmark = [
    pytest.mark.usefixtures("warm_processes"),
    *(pytest.mark.filterwarnings(text) for text in MLFLOW_WARNINGS),
]


def test_random_sequences_keep_what_must_hold(empty_registry: Path) -> None:
    """Many more, for hours: ``SEQUENCES=500 SEED=1 pytest tests/flows/test_sequences.py``."""
    count = int(os.environ.get("SEQUENCES", 3 if samples.ALL else 2))
    seed = os.environ.get("SEED")
    run_sequences(empty_registry, count, steps=5, seed=int(seed) if seed else None)
