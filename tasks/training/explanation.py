"""Why this prediction: the inputs that moved each one most, and by how much."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.features.cleaning import clean_keys
from tasks.features.examples import example_keys
from tasks.features.split import HistoryError, split_days
from tasks.store import frames

if TYPE_CHECKING:
    import pandas as pd

    from tasks.metrics.base import Floats
    from tasks.problems.base import Problem
    from tasks.spec.model_spec import ModelSpec


TOP = 3
COLUMNS = tuple(f"moved_{place}{end}" for place in range(1, TOP + 1) for end in ("", "_by"))
"""Columns of the published table: the name of an input, and by how much it moved the row."""
USUAL_ROWS = 20_000
"""Newest training rows, about, that say what is usual."""
SCORED = 10_000_000
"""Most rows scored for it: of a larger night the first rows are explained, and the others not."""


def usual_values(inputs: pd.DataFrame) -> dict[str, Any]:
    """The usual value of each input: the median that occurs, or the most frequent value."""
    import pandas as pd

    found: dict[str, Any] = {}
    for name, values in inputs.items():
        known = values.dropna()
        kind = known.dtype.kind if isinstance(known.dtype, np.dtype) else ""
        if known.empty:
            found[str(name)] = None
        elif kind and kind in "iufmM":
            found[str(name)] = known.sort_values().iloc[(len(known) - 1) // 2]
        else:
            found[str(name)] = known.astype(object).mode().iloc[0]
    return {name: None if value is pd.NaT else value for name, value in found.items()}


def recent_usual(spec: ModelSpec, fingerprints: Mapping[date, str], as_of: date) -> dict[str, Any]:
    """The usual values of the newest training days; empty where the store has none of them.

    Args:
        spec: The model.
        fingerprints: Every day of the source up to the as-of date with its fingerprint.
        as_of: The night.
    """
    try:
        days = split_days(spec, list(fingerprints), as_of).refit
    except HistoryError:
        return {}
    keys = example_keys(spec, clean_keys(spec, fingerprints), days)
    refs = frames.find_days("examples", list(keys.values()))
    taken: list[frames.Ref] = []
    for day in reversed(days):
        if keys[day] in refs and sum(ref.rows for ref in taken) < USUAL_ROWS:
            taken.append(refs[keys[day]])
    return usual_values(spec.problem.inputs(frames.read_days(taken))) if taken else {}


def explained_rows(problem: Problem, found: pd.DataFrame, inputs: pd.DataFrame) -> pd.DataFrame:
    """The inputs of each published row; of a user's item candidates, those of the items shown.

    Args:
        problem: What is predicted.
        found: The predictions, as from ``Problem.answers``.
        inputs: What they were made from, with the columns that name a row.

    Returns:
        As many rows as ``found``, in its order, with a RangeIndex.
    """
    if problem.user_column is None:
        return inputs
    keys = [problem.user_column, *problem.label_columns[:1]]
    places = inputs[keys].drop_duplicates(keys).reset_index(names="at")
    shown = found[keys].merge(places, how="left", on=keys)["at"]
    return inputs.loc[shown].reset_index(drop=True)


def explain(
    problem: Problem, estimator: Any, inputs: pd.DataFrame, usual: Mapping[str, Any]
) -> tuple[pd.DataFrame, dict[str, float]]:
    """The inputs that moved each prediction most, and what the model leans on over all rows.

    Each input in turn is set to its usual value; how much lower the prediction is then is what its
    own value added (occlusion). That works for any estimator, and costs one scoring of all rows for
    each input. One input at a time: what two do only together is not seen, and inputs that say the
    same hide behind each other. Of several classes it is the probability of the likeliest, of
    quantiles the median.

    Args:
        problem: What is predicted.
        estimator: The fitted estimator.
        inputs: Its inputs, one row for each prediction.
        usual: From ``usual_values``; inputs without one are left out.

    Returns:
        ``COLUMNS`` for each row, and each input's mean absolute effect, the largest first.
    """

    names = [str(name) for name in inputs if str(name) in usual]
    some = inputs.head(SCORED // max(len(names) + 1, 1))
    base = np.asarray(problem.score(estimator, some), dtype=np.float64)
    shown = _shown(problem, base)
    effects = np.zeros((len(some), len(names)))
    for place, name in enumerate(names):
        plain = some.assign(**{name: _all(usual[name], some[name])})
        scores = np.asarray(problem.score(estimator, plain), dtype=np.float64)
        effects[:, place] = shown(base) - shown(scores)
    found = no_explanation(len(inputs))
    order = np.argsort(-np.abs(effects), axis=1, kind="stable")[:, :TOP]
    for rank in range(order.shape[1]):
        by = np.take_along_axis(effects, order[:, [rank]], axis=1)[:, 0]
        there = np.flatnonzero(by)
        found.iloc[there, 2 * rank] = [names[order[row, rank]] for row in there]
        found.iloc[there, 2 * rank + 1] = by[there]
    means = dict(zip(names, np.abs(effects).mean(axis=0).tolist(), strict=True))
    return found, dict(sorted(means.items(), key=lambda each: -each[1]))


def no_explanation(rows: int) -> pd.DataFrame:
    """The same columns without any: where nothing can be explained."""
    import pandas as pd

    empty = {c: np.nan if c.endswith("_by") else None for c in COLUMNS}
    kinds = {c: "float64" if c.endswith("_by") else "object" for c in COLUMNS}
    return pd.DataFrame(empty, index=range(rows)).astype(kinds)


def _shown(problem: Problem, base: Floats) -> Callable[[Floats], Floats]:
    """Of several scores a row: the one that is explained."""
    if base.ndim == 1:
        return lambda scores: scores
    columns: Sequence[str] = problem.score_columns
    if problem.scores_classes:
        likeliest = base.argmax(axis=1)[:, None]
        return lambda scores: np.take_along_axis(scores, likeliest, axis=1)[:, 0]
    place = columns.index(problem.answer_column)
    return lambda scores: scores[:, place]


def _all(value: Any, like: pd.Series[Any]) -> pd.Series[Any]:
    """A column of one value, of the kind of another."""
    import pandas as pd

    if isinstance(like.dtype, pd.CategoricalDtype):
        return pd.Series([value] * len(like), index=like.index, dtype=object).astype("category")
    column = pd.Series([value] * len(like), index=like.index)
    return column if pd.api.types.is_numeric_dtype(column) else column.astype(like.dtype)
