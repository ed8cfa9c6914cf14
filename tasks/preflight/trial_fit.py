"""A few examples looked at, and each candidate tried on them: fitted, stored, built, scored."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tasks.errors import JudgementError, SpecError
from tasks.evaluation.evaluate import measure_once
from tasks.preflight.result import Trial, few
from tasks.store import frames, models
from tasks.training import fit
from tasks.training.fit_process import fit_by_itself

if TYPE_CHECKING:
    import pandas as pd

    from tasks.spec.model_spec import ModelSpec


MANY_MISSING, FEW_TO_TELL = 0.5, 20
"""Share of missing values that is told of, and rows below which nothing is told of a column."""
MANY_VALUES = 0.9
"""Share of the rows from which the values of a text are said to be no categories."""
FIT_ROWS = 5_000
"""Rows a candidate is tried on."""
LONGEST = timedelta(seconds=60)
"""Longest time the fit of so few rows may take where the spec limits the time of a fit."""


def input_faults(inputs: pd.DataFrame) -> list[str]:
    """What no estimator can learn from, by column: mixed types, lists, infinite numbers."""
    import numpy as np
    import pandas as pd

    found = []
    if not len(inputs.columns):
        found.append("features: found no column besides the keys; expected one input at least.")
    doubled = inputs.columns[inputs.columns.duplicated()].unique()
    found += [f"features: found column {name!r} twice; give each a name." for name in doubled]
    for name in inputs.columns.difference(doubled, sort=False):
        values = inputs[name]
        if pd.api.types.is_object_dtype(values):
            kinds = sorted({type(value).__name__ for value in values.dropna().head(10_000)})
            if len(kinds) > 1 or kinds in (["list"], ["dict"], ["set"], ["tuple"]):
                found.append(
                    f"features: found {' and '.join(kinds)} in column {name!r}; expected one plain "
                    "type. Convert it in clean or features."
                )
        elif pd.api.types.is_float_dtype(values):
            infinite = int(np.isinf(values.to_numpy(dtype=np.float64, na_value=np.nan)).sum())
            if infinite:
                found.append(
                    f"features: found {infinite:,} infinite values in column {name!r}; expected "
                    "finite or missing ones. Is something divided by zero?"
                )
    return found


def input_notes(inputs: pd.DataFrame) -> Iterable[str]:
    """What is odd about the inputs: constant columns, as many values as rows, mostly missing."""
    if len(inputs) < FEW_TO_TELL:
        return
    same = [str(name) for name in inputs if inputs[name].nunique(dropna=False) < 2]
    if same:
        yield f"Constant in these days: {few(same)}."
    texts = inputs.select_dtypes(["object", "string", "category"])
    many = [str(name) for name in texts if texts[name].nunique() > MANY_VALUES * len(texts)]
    if many:
        yield f"Nearly every row has another value: {few(many)}. Is that a number of the row?"
    gone = inputs.isna().mean()
    often = [f"{name} {share:.0%}" for name, share in gone.items() if share > MANY_MISSING]
    if often:
        yield f"Mostly missing in these days: {few(often)}."


def target_faults(spec: ModelSpec, taught: pd.DataFrame, judged: pd.DataFrame) -> list[str]:
    """Why nothing can be learned of these targets, or judged by them."""

    name = spec.problem.target_column or "target"
    if taught["target"].nunique() < 2:
        value = taught["target"].iloc[0]
        return [
            f"{name}: found {value!s} in all of {len(taught):,} examples; expected more than one "
            "value, or there is nothing to learn."
        ]
    try:
        spec.problem.check_examples(judged)
    except JudgementError as error:
        return [f"{name}: cannot judge: {error}."]
    return []


def thin(examples: pd.DataFrame, most: int = FIT_ROWS) -> pd.DataFrame:
    """Rows at even distances, so many at most; all of them where these have one target only."""
    some = examples.iloc[:: max(1, -(-len(examples) // most))]
    return some if some["target"].nunique() > 1 else examples


def slice_faults(spec: ModelSpec, judged: pd.DataFrame) -> list[str]:
    """Slices that no verdict could look at, in words."""
    found = []
    for wanted in spec.slices:
        try:
            spec.problem.slice_values(judged, wanted)
        except SpecError as error:
            found.append(str(error))
    return found


def try_candidate(
    spec: ModelSpec, candidate: str, taught: pd.DataFrame, judged: pd.DataFrame
) -> Trial:
    """Fit a candidate on a few rows, store it in memory, build it again, and score later rows.

    Args:
        spec: The model.
        candidate: Name in ``spec.candidates``.
        taught: Examples to learn from.
        judged: Later examples.
    """
    import numpy as np

    try:
        made, estimator = _fitted(spec, candidate, taught)
        scores = fit.score(spec, f"Candidate {candidate!r}", estimator, judged)
        built = _stored_and_built(spec, estimator)
        again = fit.score(spec, f"Candidate {candidate!r} as stored", built, judged)
    except fit.FitError as error:
        return Trial(candidate, len(taught), fault=str(error))
    except models.TypesError as error:
        return dataclasses.replace(made, fault=f"Candidate {candidate!r}: {error}")
    if not np.array_equal(scores, again):
        gap = float(np.abs(scores - again).max())
        return dataclasses.replace(
            made, fault=f"Candidate {candidate!r} answers otherwise once stored: {gap:g} apart."
        )
    try:
        measured = measure_once(spec.problem, judged, scores, spec.problem.metric_names)
    except JudgementError as error:
        return dataclasses.replace(made, fault=f"Candidate {candidate!r}: cannot judge: {error}.")
    return dataclasses.replace(made, metric=measured[spec.problem.primary])


def _fitted(spec: ModelSpec, candidate: str, taught: pd.DataFrame) -> tuple[Trial, Any]:
    """As a night would fit it: in a process of its own where the spec limits its time."""
    if spec.fit_limit is None:
        started = time.perf_counter()
        estimator = fit.fit(spec, candidate, taught)
        return Trial(candidate, len(taught), time.perf_counter() - started), estimator

    refs = list(frames.write_days("examples", {"trial": taught}).values())
    fitted = fit_by_itself(spec, candidate, refs, {}, min(spec.fit_limit, LONGEST))
    estimator = models.read_model("models", fitted.key, fit.trusted_types(spec))
    return Trial(candidate, fitted.rows, fitted.seconds), estimator


def _stored_and_built(spec: ModelSpec, estimator: Any) -> Any:
    trusted = fit.trusted_types(spec)
    return models.build_model(models.model_content(estimator, trusted), trusted, "What was stored")
