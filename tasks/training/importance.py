"""Permutation importance: how much the predictions change when one input is shuffled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from tasks.store import models
from tasks.training.fit import trusted_types

if TYPE_CHECKING:
    import pandas as pd

    from tasks.spec.model_spec import ModelSpec
    from tasks.training.fit import Fit


ROWS = 2_000
"""Most rows shuffled: enough for a plot, and takes a second at most."""


def permutation_importance(
    score: Callable[[pd.DataFrame], np.ndarray], inputs: pd.DataFrame, seed: int
) -> dict[str, float]:
    """Mean change of the predictions when a column is shuffled, in their standard deviations.

    It needs no labels and no metric, so it means the same for every problem. Correlated columns
    share their importance. After the model reliance of Fisher, Rudin and Dominici (2019), with the
    change of the prediction instead of the change of its loss.

    Args:
        score: The model: inputs of shape (rows, columns) to predictions of shape (rows,).
        inputs: Rows to predict; at most 2,000 of them are used.
        seed: Seed of the draw of rows and of the shuffles.
    """
    random = np.random.default_rng(seed)
    taken = np.sort(random.permutation(len(inputs))[:ROWS])
    sample = inputs.iloc[taken].reset_index(drop=True)
    usual = np.asarray(score(sample), dtype=np.float64)
    spread = float(usual.std())
    if not spread > 0:
        return dict.fromkeys(map(str, inputs.columns), 0.0)
    found = {}
    for column in inputs.columns:
        shuffled = sample[column].iloc[random.permutation(len(sample))].reset_index(drop=True)
        moved = np.asarray(score(sample.assign(**{column: shuffled})), dtype=np.float64)
        found[str(column)] = float(np.abs(moved - usual).mean()) / spread
    return found


def measure_importance(spec: ModelSpec, fitted: Fit, examples: pd.DataFrame) -> dict[str, float]:
    """Permutation importance of each input of a fitted candidate.

    Args:
        spec: The model.
        fitted: The candidate.
        examples: Rows it has not seen.
    """
    from threadpoolctl import threadpool_limits

    model = models.read_model("models", fitted.key, trusted_types(spec))
    with threadpool_limits(1):
        return permutation_importance(
            lambda rows: spec.problem.score(model, rows), spec.problem.inputs(examples), spec.seed
        )
