"""What answers hang on is found, and what they do not hang on is zero."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.training.importance import permutation_importance

RANDOM = np.random.default_rng(0)
INPUTS = pd.DataFrame(
    {"strong": RANDOM.normal(size=3_000), "weak": RANDOM.normal(size=3_000), "shop": ["a"] * 3_000}
)


def score(rows: pd.DataFrame) -> np.ndarray:
    return (4 * rows["strong"] + rows["weak"]).to_numpy()


def test_inputs_are_ranked_by_what_the_answers_hang_on() -> None:
    before = INPUTS.copy()
    found = permutation_importance(score, INPUTS, seed=0)
    assert found["strong"] > 3 * found["weak"] > 0
    assert found["shop"] == 0
    assert found == permutation_importance(score, INPUTS, seed=0)
    pd.testing.assert_frame_equal(INPUTS, before)


def test_a_constant_model_hangs_on_nothing() -> None:
    assert set(
        permutation_importance(lambda rows: np.ones(len(rows)), INPUTS, seed=0).values()
    ) == {0.0}
