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


def test_a_wide_table_is_scored_in_few_calls_and_each_column_as_if_alone() -> None:
    wide = pd.DataFrame(RANDOM.normal(size=(300, 500)), columns=[f"c{n}" for n in range(500)])
    calls = []

    def first_and_last(rows: pd.DataFrame) -> np.ndarray:
        calls.append(len(rows))
        return (rows["c0"] + 2 * rows["c499"]).to_numpy()

    found = permutation_importance(first_and_last, wide, seed=0)
    assert 1.6 < found["c499"] / found["c0"] < 2.4
    assert {name for name, moved in found.items() if moved} == {"c0", "c499"}
    assert (len(calls), max(calls)) == (9, 19_800)


def test_of_a_very_wide_table_the_columns_of_the_groups_that_move_most_are_looked_at() -> None:
    wide = pd.DataFrame(RANDOM.normal(size=(100, 2_000)), columns=[f"c{n}" for n in range(2_000)])
    calls = []

    def first_and_last(rows: pd.DataFrame) -> np.ndarray:
        calls.append(rows.size)
        return (rows["c0"] + 2 * rows["c1999"]).to_numpy()

    found = permutation_importance(first_and_last, wide, seed=0)
    assert 1.6 < found["c1999"] / found["c0"] < 2.4
    assert {name for name, moved in found.items() if moved} == {"c0", "c1999"}
    assert len(found) == 248
    assert max(calls) <= 10_000_000
    assert sum(calls) == 2_000 * 100 * (1 + 250 + 248)


def test_a_model_with_several_values_a_row_is_measured_over_all_of_them() -> None:
    def both(rows: pd.DataFrame) -> np.ndarray:
        return np.column_stack([rows["strong"], -rows["strong"], rows["weak"]])

    found = permutation_importance(both, INPUTS, seed=0)
    assert 1.5 < found["strong"] / found["weak"] < 2.5
    assert found["shop"] == 0


def test_a_very_wide_table_uses_fewer_rows() -> None:
    wide = pd.DataFrame(np.tile(RANDOM.normal(size=(500, 1)), 1_000))
    rows = []

    def first(frame: pd.DataFrame) -> np.ndarray:
        rows.append(len(frame))
        return frame["0"].to_numpy()

    permutation_importance(first, wide.rename(columns=str), seed=0)
    assert rows[0] == 400
