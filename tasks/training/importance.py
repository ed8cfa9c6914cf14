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
ALL_ROWS = 400_000
"""Most rows shuffled over all columns: a wide table uses fewer of its rows for each."""
AT_ONCE = 20_000
"""Rows scored in one call: what a call costs besides its rows is paid once for many columns."""


def permutation_importance(
    score: Callable[[pd.DataFrame], np.ndarray], inputs: pd.DataFrame, seed: int
) -> dict[str, float]:
    """Mean change of the predictions when a column is shuffled, in their standard deviations.

    It needs no labels and no metric, so it means the same for every problem. Correlated columns
    share their importance. After the model reliance of Fisher, Rudin and Dominici (2019), with the
    change of the prediction instead of the change of its loss.

    Args:
        score: The model: inputs of shape (rows, columns) to predictions of shape (rows,) or (rows,
            values), each row for itself.
        inputs: Rows to predict; at most 2,000 of them are used, and at most 400,000 divided by the
            number of columns where that is less, but never fewer than 100.
        seed: Seed of the draw of rows and of the shuffles.
    """
    import pandas as pd

    random = np.random.default_rng(seed)
    most = min(ROWS, max(100, ALL_ROWS // max(1, len(inputs.columns))))
    taken = np.sort(random.permutation(len(inputs))[:most])
    sample = inputs.iloc[taken].reset_index(drop=True)
    usual = np.asarray(score(sample), dtype=np.float64)
    spread = float(usual.std())
    if not spread > 0:
        return dict.fromkeys(map(str, inputs.columns), 0.0)
    names, size = list(inputs.columns), max(1, AT_ONCE // len(sample))
    found: dict[str, float] = {}
    for columns in (names[first : first + size] for first in range(0, len(names), size)):
        shuffled = [
            sample.assign(**{column: sample[column].array[random.permutation(len(sample))]})
            for column in columns
        ]
        moved = np.asarray(score(pd.concat(shuffled, ignore_index=True)), dtype=np.float64)
        changes = np.abs(moved.reshape(len(columns), *usual.shape) - usual) / spread
        means = changes.reshape(len(columns), -1).mean(axis=1)
        found.update(zip(map(str, columns), means.tolist(), strict=True))
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
