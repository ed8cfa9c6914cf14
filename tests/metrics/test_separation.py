"""The area under the ROC curve of many columns and outcomes at once is that of each alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from tasks.metrics import separation

RANDOM = np.random.default_rng(0)
TRUTHS = np.column_stack([RANDOM.random(400) < share for share in (0.5, 0.1)])
VALUES = np.column_stack([RANDOM.normal(size=400), RANDOM.integers(0, 3, 400), TRUTHS[:, 0]])


def test_each_area_is_that_of_its_column_and_outcome_in_the_better_direction() -> None:
    found = separation.separations(TRUTHS, VALUES)
    for outcome in range(2):
        for column in range(3):
            area = roc_auc_score(TRUTHS[:, outcome], VALUES[:, column])
            np.testing.assert_allclose(found[outcome, column], max(area, 1 - area))
    np.testing.assert_allclose(separation.separations(TRUTHS, -VALUES), found)


def test_a_value_that_is_missing_counts_by_being_missing() -> None:
    half = np.where(np.arange(400)[:, None] % 2 == 0, VALUES, np.nan)
    some = np.arange(400) % 2 == 0
    found = separation.separations(TRUTHS, half)
    alone = separation.separations(TRUTHS[some], VALUES[some])
    there = roc_auc_score(TRUTHS[:, 1], some)
    np.testing.assert_allclose(found[1], np.maximum(alone[1], max(there, 1 - there)))
    only = np.where(TRUTHS[:, [0]], VALUES, np.inf)
    assert (separation.separations(TRUTHS, only)[0] == 1).all()


def test_one_outcome_or_no_value_separates_nothing() -> None:
    one = np.zeros((400, 1), dtype=bool)
    assert (separation.separations(one, VALUES) == 0.5).all()
    assert (separation.separations(TRUTHS, np.full((400, 1), np.nan)) == 0.5).all()


def test_the_columns_of_a_frame_are_ranked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pd.DataFrame(VALUES, columns=["a", "b", "c"]).astype({"b": "Int64", "c": "bool"})
    whole = separation.best_separations(TRUTHS, frame)
    assert whole["c"] == 1
    monkeypatch.setattr(separation, "VALUES", 800)
    assert separation.best_separations(TRUTHS, frame) == whole
    assert separation.best_separations(TRUTHS, frame[[]]) == {}
