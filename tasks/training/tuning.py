"""When the hyperparameters of a candidate are searched, and where they are kept.

    python -m tasks.training.tuning JOB.json

The search runs in a separate process that ends when the budget is spent; the best parameters so far
are kept after each fit.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import JudgementError
from tasks.evaluation.evaluate import measure_once
from tasks.features.examples import label_nights
from tasks.problems.input_form import FormedEstimator, form_of, in_form
from tasks.settings import home
from tasks.spec.fingerprint import digest
from tasks.spec.loading import address_of, load_spec
from tasks.spec.tuned import Tuned
from tasks.spec.values import days
from tasks.store import files, frames
from tasks.training import fit
from tasks.training.search import (
    FACTOR,
    draws_of,
    plain_parameters,
    search_by_halving,
    search_with_optuna,
)
from tasks.training.timed_process import read_job, run_apart, set_alarm

if TYPE_CHECKING:
    import pandas as pd

    from tasks.spec.model_spec import ModelSpec
    from tasks.spec.tuned import Parameters


log = logging.getLogger("nightly")
NOTHING: dict[str, Any] = {"parameters": {}, "tried": 0}


@dataclass(frozen=True)
class Settled:
    """The hyperparameters a candidate is fitted with.

    Attributes:
        parameters: Those that differ from the estimator as written; empty for a candidate that is
            not searched.
        searched: As-of date of the night that searched; None where nothing is searched.
        through: Last day the search saw.
        tried: How many fits the search scored.
        seconds: Seconds it took.
    """

    parameters: Parameters
    searched: date | None = None
    through: date | None = None
    tried: int = 0
    seconds: float = 0.0

    def told(self, candidate: str) -> str:
        """What the search found and when, as a sentence; empty where nothing is searched."""
        if self.searched is None:
            return ""
        found = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        return (
            f"Candidate {candidate} is fitted with {found or 'the parameters in the spec'}, found "
            f"by the search of {self.searched} ({self.tried} fits in {self.seconds:.0f} s)."
        )


def period_of(as_of: date, every: int) -> date:
    """First day of the search period that a night belongs to: whole periods from a fixed day."""
    return date.fromordinal(max(as_of.toordinal() // every * every, 1))


def recall(
    spec: ModelSpec, candidate: str, as_of: date, training: Sequence[frames.Ref]
) -> Settled | None:
    """The parameters of a night, or None where they have to be searched.

    Parameters are valid for the code and the period of their search, and only where the search saw
    no day later than tonight's training days: a backfill never uses parameters found on its own
    holdout.

    Args:
        spec: The model.
        candidate: Name in ``spec.candidates``.
        as_of: The night.
        training: Training examples of the judged twin, ascending.
    """
    tuned = spec.candidates[candidate]
    if not isinstance(tuned, Tuned):
        return Settled({})
    last = _last_day(training)
    for file in _records(spec, candidate, as_of, tuned):
        try:
            found = files.read_json(file)
            made = {name: date.fromisoformat(found[name]) for name in ("searched", "through")}
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if made["through"] <= last:
            return Settled(
                found["parameters"], **made, tried=found["tried"], seconds=found["seconds"]
            )
    return None


def settle(spec: ModelSpec, candidate: str, as_of: date, training: Sequence[frames.Ref]) -> Settled:
    """The parameters of a night, searched where they have to be, and kept.

    Raises:
        FitError: Where the estimator cannot be fitted with any parameters.
        StoreError: Where the parameters cannot be kept.
    """
    known, tuned = recall(spec, candidate, as_of, training), spec.candidates[candidate]
    if known is not None:
        return known
    period, night = _records(spec, candidate, as_of, tuned)
    log.info("tune      %s for %.0f s by %s", candidate, tuned.budget, tuned.method)
    found = _search_by_itself(spec, candidate, as_of, training)
    record = {**asdict(found), "searched": as_of.isoformat(), "through": str(found.through)}
    files.write_json(night if period.exists() else period, record)
    log.info("tune      %s", found.told(candidate))
    return found


def _records(spec: ModelSpec, candidate: str, as_of: date, tuned: Tuned) -> tuple[Path, Path]:
    """Files of the found parameters: of the whole period, and of one backfill."""
    period = period_of(as_of, tuned.every.days)
    names = [
        hashlib.sha256("\n".join([digest(spec), candidate, kind, str(day)]).encode()).hexdigest()
        for kind, day in (("period", period), ("night", as_of))
    ]
    folder = home() / "store" / "tuned"
    return folder / f"{names[0]}.json", folder / f"{names[1]}.json"


def _last_day(training: Sequence[frames.Ref]) -> date:
    for ref in reversed(training):
        if ref.rows:
            found: date = frames.read_days([ref], columns=["day"])["day"].iloc[-1].date()
            return found
    return date.min


def _search_by_itself(
    spec: ModelSpec, candidate: str, as_of: date, training: Sequence[frames.Ref]
) -> Settled:
    started, tuned = time.perf_counter(), spec.candidates[candidate]
    who, budget = f"Candidate {candidate!r} of model {spec.name}", float(tuned.budget)
    if tuned.missing():
        raise fit.FitError(f"{who}: {tuned.missing()}")
    with tempfile.TemporaryDirectory() as alone:  # searches of other nights may run beside it
        best = Path(alone) / "best.json"
        job = {
            "model": address_of(spec),
            "candidate": candidate,
            "training": [asdict(ref) for ref in training],
            "best": str(best),
            "seconds": budget,
        }
        ended = run_apart("tasks.training.tuning", job, budget)
        found: dict[str, Any] = files.read_json(best) if best.exists() else NOTHING
    if ended.fault and not ended.late:
        raise fit.FitError(
            f"{who}: the process that searches its parameters failed: {ended.fault}."
        )
    if ended.found and "fault" in ended.found:
        raise fit.FitError(ended.found["fault"])
    seconds = round(time.perf_counter() - started, 1)
    return Settled(found["parameters"], as_of, _last_day(training), found["tried"], seconds)


def main() -> None:
    """Search, and keep the best so far in a file; the alarm may end it at any moment."""
    job, answer = read_job()
    spec, candidate = load_spec(job["model"]), job["candidate"]
    examples = fit.read_examples([frames.Ref(**ref) for ref in job["training"]])
    try:
        found = search(
            spec,
            candidate,
            examples,
            keep=lambda best: files.write_json(Path(job["best"]), best),
            begin=lambda: set_alarm(job["seconds"]),
        )
    except (fit.FitError, JudgementError) as error:
        found = {"fault": str(error)}
    set_alarm(0)
    answer(found)


def search(
    spec: ModelSpec,
    candidate: str,
    examples: pd.DataFrame,
    keep: Callable[[dict[str, Any]], None],
    begin: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Search until the budget is spent; the estimator as written is tried first.

    The examples are split by time: the last days score what was fitted on the days whose labels
    were final when the last days began.

    Args:
        spec: The model.
        candidate: Name in ``spec.candidates``, a ``Tuned``.
        examples: Examples of the training days, ascending by day.
        keep: Called with ``parameters``, ``score`` and ``tried`` each time something better is
            found.
        begin: Called once everything is imported and split.

    Returns:
        What was kept last.

    Raises:
        FitError: Where neither the estimator as written nor any draw can be fitted.
    """
    import numpy as np
    import pandas as pd
    from sklearn.base import clone
    from threadpoolctl import threadpool_limits

    tuned: Tuned = spec.candidates[candidate]
    training, holdout = split_inside(spec, examples)
    primary, sign = spec.problem.primary, 1.0 if spec.problem.greater_is_better else -1.0
    best: dict[str, Any] = {"parameters": {}, "score": -np.inf, "tried": 0}
    tried = 0

    def score(estimator: Any, parameters: Parameters) -> float:
        nonlocal best, tried
        scores = fit.score(spec, f"Candidate {candidate!r}", estimator, holdout)
        found = sign * measure_once(spec.problem, holdout, scores, [primary])[primary]
        tried += 1
        if found > best["score"]:
            best = {"parameters": plain_parameters(parameters), "score": found}
        best = {**best, "tried": tried}
        keep(best)
        return found

    def measure(parameters: Parameters, rows: pd.DataFrame = training) -> float:
        return score(fit.fit(spec, candidate, rows, parameters), parameters)

    def measure_or_miss(parameters: Parameters) -> float:
        try:
            return measure(parameters)
        except fit.FitError:
            return -np.inf

    begin()
    with threadpool_limits(1):
        started = time.perf_counter()
        measure({}, training)
        whole = time.perf_counter() - started
        if tuned.method == "optuna":
            search_with_optuna(tuned, measure_or_miss, spec.seed)
            return best
        both = pd.concat([training, holdout], ignore_index=True)
        form = form_of(spec.problem.inputs(training))

        def score_fitted(fitted: Any) -> float:
            formed = FormedEstimator(fitted).of(form, fitted)
            return score(formed, {n: fitted.get_params()[n] for n in tuned.search})

        alone = replace(tuned, estimator=fit.on_one_thread(clone(tuned.estimator)))
        search_by_halving(
            alone,
            (in_form(form, spec.problem.inputs(both)), both["target"].to_numpy()),
            len(training),
            score_fitted,
            draws_of(tuned.budget - whole, whole / FACTOR**2),
            spec.seed,
        )
    return best


def split_inside(spec: ModelSpec, examples: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the training days: earlier days to fit on, and the last days to score on.

    The labels of the earlier days were all there when the last days began.

    Raises:
        FitError: Where there are too few days.
    """
    import pandas as pd

    every = examples["day"].drop_duplicates().sort_values()
    count = max(1, min(spec.holdout.days, len(every) // 4))
    first = every.iloc[-count:].min()
    evening = every.iloc[:-count].max()
    final = [stamp for stamp in every.iloc[:-count] if stamp <= evening - spec.label_delay]
    listed = [stamp.date() for stamp in every]
    nights = label_nights(spec, listed, [stamp.date() for stamp in final])
    late = [day for day, (_, last) in nights.items() if pd.Timestamp(last) > evening]
    training = examples[examples["day"].isin(final) & ~examples["day"].isin(pd.to_datetime(late))]
    if training.empty:
        raise fit.FitError(
            f"Model {spec.name}: {len(every)} training days are too few to search parameters on. "
            "Add history, or use the estimator without a search."
        )
    return training, examples[examples["day"] >= first]


def next_search(as_of: date, tuned: Tuned) -> date:
    """As-of date of the next night that starts a new search."""
    return period_of(as_of, tuned.every.days) + days(tuned.every.days)


if __name__ == "__main__":
    main()
