"""What features make of the rows of a check, and of the app's requests."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from tasks.features.contract import as_declared
from tasks.features.examples import build_examples, day_and_history
from tasks.features.scoring import clean_requests, days_before, hide_unknown, inputs_from
from tasks.preflight.days import Sample
from tasks.preflight.result import Part
from tasks.preflight.trial_fit import input_faults, input_notes, slice_faults, target_faults
from tasks.promotion import leaks
from tasks.shown import few
from tasks.spec.model_code import told

if TYPE_CHECKING:
    import pandas as pd

    from tasks.spec.model_spec import ModelSpec


def look_at_features(
    spec: ModelSpec, sample: Sample, clean: pd.DataFrame
) -> tuple[tuple[pd.DataFrame, pd.DataFrame] | None, Part]:
    import pandas as pd

    try:
        made = {
            day: build_examples(spec, *day_and_history(spec, clean, day)) for day in sample.built
        }
    except Exception as error:
        return None, Part("Features", faults=(told(spec, "features", error),))
    training = pd.concat([made[day] for day in sample.training], ignore_index=True)
    holdout = pd.concat([made[day] for day in sample.holdout], ignore_index=True)
    inputs = spec.problem.inputs(training)
    if not len(training) or not len(holdout):
        what = f"{len(training):,} training and {len(holdout):,} holdout examples"
        fault = f"The days from {sample.training[0]} on give {what}; expected examples for both."
        return None, Part("Features", faults=(fault,))
    faults = [*input_faults(inputs), *target_faults(spec, training, holdout)]
    faults += slice_faults(spec, holdout)
    count = sum(map(len, made.values()))
    lines = [f"{len(inputs.columns)} columns for {count:,} examples of {len(made)} days"]
    for kind in dict.fromkeys(inputs.dtypes.astype("str")):
        named = inputs.columns[inputs.dtypes.astype("str") == kind]
        lines.append(f"{len(named)} {kind}: {few(named, 8)}")
    gone = inputs.isna().mean()
    missing = [f"{name} {share:.0%}" for name, share in gone[gone > 0].items()]
    lines.append(f"missing: {few(missing) or 'none'}")
    notes = list(input_notes(inputs))
    searched = pd.concat([made[day] for day in sample.signs], ignore_index=True)
    strongest = leaks.strongest_feature(spec, searched)
    (lines if strongest.passed else notes).append(strongest.detail)
    part = Part("Features", tuple(lines), tuple(faults), notes=tuple(notes))
    return (None if faults else (training, holdout)), part


def look_at_requests(
    spec: ModelSpec, clean: pd.DataFrame, as_of: date, ahead: date
) -> tuple[pd.DataFrame | None, Part]:
    """The inputs of some of the app's requests for the next day, and what is wrong with them."""
    if spec.requests is None and spec.problem.user_column is None:
        return None, Part("Requests", ("none defined: the app gets no predictions",))
    import pandas as pd

    stamp = pd.Timestamp(ahead)
    try:
        named = spec.requests(as_of) if spec.requests else None
        if named is not None and named.empty:
            none = f"There are no requests for {stamp:%Y-%m-%d}."
            return None, Part("Requests", notes=(none,))
        past = days_before(spec, clean, stamp)
        named = named if named is None else as_declared(named, spec.contract, spec.timezone)
        asked = clean_requests(spec, named, stamp) if named is not None else None
        requests = spec.problem.ask(asked, past, spec.known_ahead)
        if fault := _same_key(spec, requests):
            return None, Part("Requests", faults=(fault,))
        first = next(iter(spec.problem.batches(requests)))
        made = spec.features(first, hide_unknown(spec, past))
    except Exception as error:
        return None, Part("Requests", faults=(told(spec, "requests", error),))
    line = f"{len(requests):,} for {stamp:%Y-%m-%d}"
    return inputs_from(spec.problem, made), Part("Requests", (line,))


def _same_key(spec: ModelSpec, requests: pd.DataFrame) -> str:
    """That the app could not tell some of the requests apart, or an empty string."""
    key = [] if spec.problem.user_column else list(spec.problem.answer_keys)
    if absent := [name for name in key if name not in requests]:
        return (
            f"problem.key: found {absent[0]!r}, which the requests do not have; expected columns "
            "of the clean rows that known_ahead names"
        )
    twice = int(requests.duplicated(key).sum()) if key else 0
    if not twice:
        return ""
    return (
        f"requests: found {twice:,} of {len(requests):,} rows with the same {', '.join(key)} as "
        "another, so that the app could not tell them apart, and their predictions would be "
        "refused. Return each once, or name in key of the problem what tells them apart"
    )
