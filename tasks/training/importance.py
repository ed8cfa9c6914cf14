"""Permutation importance: how much the predictions change when one input is shuffled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
AT_ONCE, CELLS = 20_000, 10_000_000
"""Rows scored in one call: what a call costs besides its rows is paid once for many columns. And
the values in them, which bound the memory."""
ONE_BY_ONE = 500
"""Most columns of which each is shuffled alone."""


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

    Returns:
        Of more than 500 columns only some: 250 groups of neighbours are shuffled together, and of
        those that change the predictions most, 250 columns at most one by one.
    """
    random = np.random.default_rng(seed)
    most = min(ROWS, max(100, ALL_ROWS // max(1, len(inputs.columns))))
    taken = np.sort(random.permutation(len(inputs))[:most])
    sample = inputs.iloc[taken].reset_index(drop=True)
    usual = np.asarray(score(sample), dtype=np.float64)
    spread = float(usual.std())
    if not spread > 0:
        return dict.fromkeys(map(str, inputs.columns), 0.0)
    names = list(inputs.columns)
    if len(names) > ONE_BY_ONE:
        size = -(-2 * len(names) // ONE_BY_ONE)
        groups = [names[first : first + size] for first in range(0, len(names), size)]
        moved = _changes(score, sample, usual, groups, random)
        largest = np.argsort(-moved, kind="stable")[: ONE_BY_ONE // 2 // size]
        names = [name for place in sorted(largest.tolist()) for name in groups[place]]
    means = _changes(score, sample, usual, [[name] for name in names], random) / spread
    return dict(zip(map(str, names), means.tolist(), strict=True))


def _changes(
    score: Callable[[pd.DataFrame], np.ndarray],
    sample: pd.DataFrame,
    usual: np.ndarray,
    groups: Sequence[Sequence[str]],
    random: np.random.Generator,
) -> np.ndarray:
    """Mean absolute change of the predictions when the columns of each group are shuffled."""
    import pandas as pd

    rows = min(AT_ONCE, CELLS // len(sample.columns))
    size, found = max(1, rows // len(sample)), []
    for some in (groups[first : first + size] for first in range(0, len(groups), size)):
        orders = [random.permutation(len(sample)) for _ in some]
        shuffled = [
            sample.assign(**{name: sample[name].array[order] for name in group})
            for group, order in zip(some, orders, strict=True)
        ]
        moved = np.asarray(score(pd.concat(shuffled, ignore_index=True)), dtype=np.float64)
        changes = np.abs(moved.reshape(len(some), *usual.shape) - usual)
        found.append(changes.reshape(len(some), -1).mean(axis=1))
    return np.concatenate(found)


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
