"""The steps from fresh days to examples."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from prefect.cache_policies import NO_CACHE

from tasks.features import cleaning
from tasks.features.contract import ContractError
from tasks.features.examples import days_to_prepare, known_by_night, prepare_examples
from tasks.features.split import HistoryError, split_days
from tasks.sources.base import ColumnsError, SourceError, SourceOutageError, SourceSettingsError
from tasks.spec.loading import load_spec
from tasks.steps.beside import extract_beside
from tasks.steps.progress import tell_progress
from tasks.steps.retries import OUTSIDE
from tasks.steps.spoken import task
from tasks.steps.state import Cleaned, Examples, seconds_since
from tasks.steps.task_runner import has_workers, spread
from tasks.store import frames

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from tasks.spec.model_spec import ModelSpec
    from tasks.steps.state import Night


log = logging.getLogger("nightly")


def name_clean(parameters: dict[str, Any]) -> str:
    """Name of the task's run: how many days it cleans."""
    night: Night = parameters["night"]
    new = cleaning.days_to_clean(load_spec(night.model), night.days)
    return f"clean {len(new)} new of {len(night.days)} days"


@task(task_run_name=name_clean, **OUTSIDE)
def clean_days(night: Night) -> Cleaned:
    """Accept or quarantine the rows of new days, and clean them."""

    spec, started = load_spec(night.model), time.perf_counter()
    new = tuple(clean_ahead(spec, night.model, night.days))
    try:
        found = cleaning.clean_days(spec, night.days, tell_progress("clean", "days"))
    except (SourceSettingsError, SourceOutageError):
        raise
    except (ContractError, ColumnsError) as error:
        return Cleaned({}, (), {night.as_of: str(error)}, {}, seconds_since(started))
    except SourceError as error:
        return Cleaned({}, (), {}, {}, seconds_since(started), held=(str(error),))
    totals = {str(name): int(found.counts[name].sum()) for name in found.counts}
    log.info(
        "clean     %d new of %d days: %s rows in, %s accepted, %s quarantined, %s duplicates",
        len(new or found.new),
        len(night.days),
        *(f"{totals[name]:,}" for name in ("rows_in", "accepted", "quarantined", "duplicates")),
    )
    held = _without_rows(night, found)
    return Cleaned(
        found.refs, new or found.new, found.rejected, totals, seconds_since(started), held
    )


def name_extract(parameters: dict[str, Any]) -> str:
    """Name of the task's run: how many days it prepares."""
    night: Night = parameters["night"]
    spec = load_spec(night.model)
    try:
        wanted = split_days(spec, list(night.days), night.as_of).wanted
    except HistoryError:
        return "extract features"  # the task itself says what is wrong
    new = days_to_prepare(spec, night.days, wanted)
    return f"extract features of {len(new)} new of {len(wanted)} days"


@task(task_run_name=name_extract, cache_policy=NO_CACHE)
def extract_features(night: Night, clean: Cleaned) -> Examples:
    """Prepare the days that are not in the store yet, and split them by time."""
    spec, started = load_spec(night.model), time.perf_counter()
    split = split_days(spec, list(night.days), night.as_of)
    tell = tell_progress("features", "days")
    new = tuple(days_to_prepare(spec, night.days, split.wanted))
    if not extract_ahead(night.model, night.days, clean.refs, new):
        extract_beside(night.model, night.days, clean.refs, new, tell)
    refs, _ = prepare_examples(spec, night.days, clean.refs, split.wanted, tell)
    ends = known_by_night(spec, night.days, clean.refs, refs, split)
    training = frames.read_days([refs[day] for day in split.train], columns=["target"])
    if fault := spec.problem.training_fault(training):
        raise HistoryError(
            f"Model {spec.name}: training is not possible: {fault}. Use a longer window, or check "
            "the labels that clean returns."
        )
    log.info(
        "features  %d new of %d days: training %s to %s, holdout %s to %s",
        len(new),
        len(split.wanted),
        split.train[0],
        split.train[-1],
        split.holdout[0],
        split.holdout[-1],
    )
    return Examples(
        refs, split, new, tuple(spec.candidates), seconds_since(started), time.time(), ends=ends
    )


@task(task_run_name="clean a part of the days", cache_policy=NO_CACHE)
def clean_part(model: str, days: dict[date, str], part: Sequence[date]) -> None:
    """Clean some of the days into the store."""
    cleaning.clean_days(load_spec(model), {day: days[day] for day in part})


@task(task_run_name="extract features of a part of the days", cache_policy=NO_CACHE)
def extract_part(
    model: str, days: dict[date, str], clean: dict[date, frames.Ref], part: Sequence[date]
) -> None:
    """Extract the features of some of the days into the store."""
    prepare_examples(load_spec(model), days, clean, part)


def clean_ahead(spec: ModelSpec, model: str, days: dict[date, str]) -> Sequence[date]:
    """Let workers clean what is not in the store yet; the days where they did, else none."""
    new = cleaning.days_to_clean(spec, days) if has_workers() else []
    return new if spread(clean_part, new, model, days) else ()


def extract_ahead(
    model: str, days: dict[date, str], clean: dict[date, frames.Ref], new: Sequence[date]
) -> bool:
    """Let workers, if there are any, extract the features of days into the store."""
    return has_workers() and spread(extract_part, new, model, days, clean)


def _without_rows(night: Night, found: cleaning.CleanDays) -> tuple[str, ...]:
    newest = found.refs.get(night.newest)
    if newest is None or newest.rows:
        return ()
    import pandas as pd

    counts = found.counts.reindex([pd.Timestamp(night.newest)], fill_value=0).sum()
    return (
        f"The data of {night.newest} have no usable row: {counts['rows_in']:,} rows in, "
        f"{counts['quarantined']:,} quarantined, none left after cleaning. If there was no "
        "business on that day, name it in the holidays of the spec's calendar; if it cannot be "
        "repaired, in skip.",
    )
