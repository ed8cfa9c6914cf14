"""Checks of a few examples, and a trial of each candidate: fitted, stored, loaded, scored."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tasks.errors import JudgementError, SpecError
from tasks.evaluation.evaluate import measure_once
from tasks.monitoring.coverage import COVERAGE
from tasks.preflight.result import Trial
from tasks.shown import few
from tasks.store import frames, models
from tasks.training import fit
from tasks.training.fit_process import fit_by_itself

if TYPE_CHECKING:
    import pandas as pd

    from tasks.spec.model_spec import ModelSpec


MANY_MISSING, FEW_TO_TELL = 0.5, 20
"""Share of missing values that is reported, and fewest rows to report on a column."""
MANY_VALUES = 0.9
"""Share of distinct values from which a text column is reported as not categorical."""
FIT_ROWS, FIT_VALUES, FEWEST_FIT_ROWS = 5_000, 1_000_000, 500
"""Rows a candidate is tried on: of a wide table fewer, but not fewer than these."""
LONGEST = timedelta(seconds=60)
"""Longest time a trial fit may take where the spec limits the time of a fit."""


def input_faults(inputs: pd.DataFrame) -> list[str]:
    """Columns that no estimator accepts: mixed types, lists, infinite numbers."""
    import numpy as np
    import pandas as pd

    found = []
    if not len(inputs.columns):
        found.append("features: found no column besides the keys; expected at least one input.")
    doubled = inputs.columns[inputs.columns.duplicated()].unique()
    found += [
        f"features: found column {name!r} twice; expected each name once. Rename one of them."
        for name in doubled
    ]
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
                    "finite or missing values. Check for a division by zero."
                )
    return found


def input_notes(inputs: pd.DataFrame) -> Iterable[str]:
    """Warnings about constant columns, columns with a value per row, and mostly missing ones."""
    if len(inputs) < FEW_TO_TELL:
        return
    gone = inputs.isna().mean()
    one = [name for name in inputs if inputs[name].nunique(dropna=False) < 2]
    same = [str(name) for name in one if not inputs[name].isna().all()]
    if same:
        yield (
            f"Constant on these days: {few(same)}. An input that never changes decides nothing: "
            "take it out of features, unless it changes on other days."
        )
    texts = inputs.select_dtypes(["object", "string", "category"])
    many = [str(name) for name in texts if texts[name].nunique() > MANY_VALUES * len(texts)]
    if many:
        yield (
            f"Nearly every row has a different value: {few(many)}. Check that these columns are "
            "not ids of the rows."
        )
    often = [f"{name} {share:.0%}" for name, share in gone.items() if share > MANY_MISSING]
    if often:
        yield f"Mostly missing on these days: {few(often)}."


def interval_notes(spec: ModelSpec) -> Iterable[str]:
    """Warnings about prediction intervals that nothing makes hold, over all or in a slice."""
    from tasks.problems.conformal import ConformalQuantiles

    if COVERAGE not in spec.problem.metric_names:
        return
    for name in spec.candidates:
        estimator = fit.estimator_of(spec, name)
        if not isinstance(estimator, ConformalQuantiles):
            yield (
                f"Candidate {name!r}: nothing makes its prediction intervals hold. Put it into "
                "ConformalQuantiles of tasks.problems.conformal."
            )
        elif missing := [
            by for by in spec.slices if isinstance(by, str) and by not in estimator.by
        ]:
            yield (
                f"Candidate {name!r}: its prediction intervals hold over all rows, and not in each "
                f"slice of {few(missing)}. Name these in by of its ConformalQuantiles."
            )


def target_faults(spec: ModelSpec, training: pd.DataFrame, holdout: pd.DataFrame) -> list[str]:
    """Why these targets do not allow training, or an evaluation."""

    name = spec.problem.target_column or "target"
    if training["target"].nunique() < 2:
        value = training["target"].iloc[0]
        return [
            f"{name}: found {value!s} in all of {len(training):,} examples; expected at least two "
            "different values."
        ]
    try:
        spec.problem.check_examples(holdout)
    except JudgementError as error:
        return [f"{name}: cannot be evaluated: {error}."]
    return []


def thin(examples: pd.DataFrame, most: int = FIT_ROWS) -> pd.DataFrame:
    """At most this many evenly spaced rows; all rows where the spaced ones have only one target."""
    most = min(most, max(FIT_VALUES // len(examples.columns), FEWEST_FIT_ROWS))
    some = examples.iloc[:: max(1, -(-len(examples) // most))]
    return some if some["target"].nunique() > 1 else examples


def slice_faults(spec: ModelSpec, holdout: pd.DataFrame) -> list[str]:
    """A sentence for every slice that cannot be used."""
    found = []
    for wanted in spec.slices:
        try:
            spec.problem.slice_values(holdout, wanted)
        except SpecError as error:
            found.append(str(error))
    return found


def try_candidate(
    spec: ModelSpec, candidate: str, training: pd.DataFrame, holdout: pd.DataFrame
) -> tuple[Trial, Any]:
    """Fit a candidate on a few rows, store it in memory, load it again, and score later rows.

    Args:
        spec: The model.
        candidate: Name in ``spec.candidates``.
        training: Examples to training from.
        holdout: Later examples.

    Returns:
        What came of it, and the estimator as loaded again; None where it has a fault.
    """
    import numpy as np

    try:
        made, estimator = _fitted(spec, candidate, training)
        scores = fit.score(spec, f"Candidate {candidate!r}", estimator, holdout)
        built = _stored_and_built(spec, estimator)
        again = fit.score(spec, f"Candidate {candidate!r} as stored", built, holdout)
    except fit.FitError as error:
        return Trial(candidate, len(training), fault=str(error)), None
    except models.TypesError as error:
        return dataclasses.replace(made, fault=f"Candidate {candidate!r}: {error}"), None
    if not np.array_equal(scores, again):
        gap = float(np.abs(scores - again).max())
        told = f"scores differ by up to {gap:g}"
        fault = (
            f"Candidate {candidate!r} predicts differently once stored and loaded again: {told}."
        )
        return dataclasses.replace(made, fault=fault), None
    try:
        measured = measure_once(spec.problem, holdout, scores, spec.problem.metric_names)
    except JudgementError as error:
        fault = f"Candidate {candidate!r}: cannot be evaluated: {error}."
        return dataclasses.replace(made, fault=fault), None
    return dataclasses.replace(made, metric=measured[spec.problem.primary]), built


def _fitted(spec: ModelSpec, candidate: str, training: pd.DataFrame) -> tuple[Trial, Any]:
    """Fit as a night does: in a separate process where the spec limits its time."""
    if spec.fit_limit is None:
        started = time.perf_counter()
        estimator = fit.fit(spec, candidate, training)
        return Trial(candidate, len(training), time.perf_counter() - started), estimator

    refs = list(frames.write_days("examples", {"trial": training}).values())
    fitted = fit_by_itself(spec, candidate, refs, {}, min(spec.fit_limit, LONGEST))
    estimator = models.read_model("models", fitted.key, fit.trusted_types(spec))
    return Trial(candidate, fitted.rows, fitted.seconds), estimator


def _stored_and_built(spec: ModelSpec, estimator: Any) -> Any:
    trusted = fit.trusted_types(spec)
    return models.build_model(models.model_content(estimator, trusted), trusted, "Stored model")
