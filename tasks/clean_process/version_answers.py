"""Predictions of a registered version, with its own code where tonight's is different."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.clean_process.alignment import AlignError, align
from tasks.clean_process.package_check import content_digest, files_digest
from tasks.clean_process.run import CleanProcessError, run_by_itself
from tasks.errors import RegistryError, to_message
from tasks.features import partitions, scoring
from tasks.features.cleaning import Absent, absent_columns, clean_keys
from tasks.features.contract import accept_rows
from tasks.features.examples import label_night, labelled
from tasks.registry import packages, versions
from tasks.registry.seals import SealError
from tasks.spec.fingerprint import digest
from tasks.spec.fleet import PartitionSpec, spec_of
from tasks.spec.values import days
from tasks.store import files, frames, models
from tasks.training import explanation, fit

if TYPE_CHECKING:
    import pandas as pd

    from tasks.registry.client import Client
    from tasks.registry.versions import Champion
    from tasks.spec.model_spec import ModelSpec


log = logging.getLogger("nightly")
INPUTS_AT_MOST = 1_000_000
"""Most rows of inputs kept beside the predictions, for single requests."""

VERSION_FAILS = (AlignError, CleanProcessError, RegistryError, files.StoreError, fit.FitError)
"""Errors of a version that cannot predict; none of them is a fault of tonight's code.

``DiskError`` is none of the version: catch it before.
"""


@dataclass(frozen=True)
class DayAhead:
    """A future day, and its requests.

    Attributes:
        day: The day.
        requests: Raw rows of the requests, or None where the spec defines none.
        listed: Every day of the source before it.
        clean: Those days' clean rows, as tonight's code makes them.
    """

    day: date
    requests: pd.DataFrame | None
    listed: Sequence[date]
    clean: Mapping[date, frames.Ref]


def score_champion(
    client: Client,
    spec: ModelSpec,
    champion: Champion,
    fingerprints: Mapping[date, str],
    held_out: Sequence[date],
    holdout: pd.DataFrame,
) -> tuple[pd.DataFrame, np.ndarray]:
    """The scores of tonight's holdout from the champion's judged twin.

    Args:
        client: From ``open_registry``.
        spec: Tonight's model.
        champion: The version behind the alias.
        fingerprints: Every day of the source with its fingerprint.
        held_out: Days of the holdout.
        holdout: Tonight's examples of these days.

    Returns:
        Examples that only the champion's own pipeline has (none for most problems), and its
        score of each example, those last.

    Raises:
        AlignError, CleanProcessError, RegistryError, StoreError, FitError: See ``VERSION_FAILS``.
    """
    if champion.digest == digest(spec):
        twin = packages.read_twin(client, champion, fit.trusted_types(spec))
        scores = fit.score(spec, f"Champion {champion.version}", twin, holdout)
        return holdout.head(0), scores
    needed = days_needed(list(fingerprints), held_out, champion.lookback)
    accepted = accept(spec, spec.source.read_days(needed))
    absent = absent_columns(spec, accepted)
    with (
        packages.downloaded(client, spec.name, champion.version) as package,
        packages.downloaded_twin(client, champion) as twin,
    ):
        said = ask_champion(champion, spec.whole.name, package, twin, accepted, absent, held_out)
    kept = _kept_rows(spec, {day: fingerprints[day] for day in held_out})
    listed = list(fingerprints)
    nights = label_night(spec, listed, held_out, listed[-1])
    more, scores = align(spec, holdout, kept, accepted, said, nights, absent)
    return more, scores[_own(spec, kept)] if isinstance(spec, PartitionSpec) else scores


def _own(spec: PartitionSpec, kept: pd.DataFrame) -> np.ndarray:
    """Which examples of a fleet are of this partition: the rows it was made of, with a label."""
    asked = kept[labelled(spec, kept, {})]
    texts = partitions.as_text(asked[str(spec.partition)])
    return (texts == spec.value).to_numpy(dtype=np.bool_)


def predict_ahead(
    client: Client,
    spec: ModelSpec,
    version: Champion,
    ahead: DayAhead,
    usual: Mapping[str, Any] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame | None, dict[str, float]]:
    """Predictions of a shipped version for a future day.

    Args:
        client: From ``open_registry``.
        spec: Tonight's model.
        version: The version.
        ahead: The day, its requests and its history.
        usual: Usual values of the inputs, where each prediction is to be explained.

    Returns:
        Predictions as from ``Problem.answers``, with what moved each where that is asked for and
        the version's code is tonight's; their inputs where it is; and what the version leans on.

    Raises:
        AlignError, CleanProcessError, RegistryError, StoreError: See ``VERSION_FAILS``.
    """
    import pandas as pd
    from threadpoolctl import threadpool_limits

    with packages.downloaded(client, spec.name, version.version) as package:
        if version.digest != digest(spec):
            past = history_days(ahead.listed, ahead.day, days(version.lookback))
            accepted = accept(spec, spec.source.read_days(past))
            absent, named = absent_columns(spec, accepted), ahead.requests
            key = None if spec.problem.user_column else list(spec.problem.answer_keys)
            found = ask_ahead(
                version, spec.whole.name, package, accepted, absent, named, ahead.day, key
            )
            return found, None, {}
        check_unaltered(version, package)
        stored = shipped_file(package)
        estimator = models.load_checked_model(stored, fit.trusted_types(spec))
    past = history_days(list(ahead.clean), ahead.day, spec.lookback)
    rows = frames.read_days([ahead.clean[day] for day in past])
    with threadpool_limits(1):
        stamp = pd.Timestamp(ahead.day)
        found, inputs = scoring.answer_ahead(
            spec, estimator, rows, ahead.requests, stamp, keep=INPUTS_AT_MOST
        )
        means: dict[str, float] = {}
        if usual and inputs is not None:
            rows = explanation.explained_rows(spec.problem, found, inputs)
            named = rows[[str(column["name"]) for column in estimator.form_]]
            why, means = explanation.explain(spec.problem, estimator, named, usual)
            found = found.assign(**{name: why[name].to_numpy() for name in explanation.COLUMNS})
    if inputs is not None:
        posted = packages.posted(estimator, inputs)
        inputs = inputs.assign(**{str(name): posted[name] for name in posted})
    return found, inputs, means


def predict_for_partitions(
    client: Client,
    spec: ModelSpec,
    champions: Mapping[str, str],
    ahead: DayAhead,
    found: pd.DataFrame,
    inputs: pd.DataFrame | None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The same with the rows of each partition predicted by its own champion.

    Args:
        client: From ``open_registry``.
        spec: The fleet.
        champions: Partition to the version of its champion.
        ahead: The day and its requests.
        found: What the common model predicts, a row for each request.
        inputs: Its inputs; None where its code is not tonight's.

    Returns:
        The predictions, with the partition column, ``model`` and ``version`` of the model that made
        each; and each partition whose champion failed, with the reason: the common model's
        predictions stand in.
    """
    import pandas as pd

    assert spec.partition is not None and ahead.requests is not None
    asked = scoring.clean_requests(spec, ahead.requests, pd.Timestamp(ahead.day))
    if len(asked) != len(found):
        raise AlignError("the requests and the predictions differ in number")
    values = asked[spec.partition].reset_index(drop=True)
    texts, failed = partitions.as_text(values), dict[str, str]()
    columns = list(spec.problem.score_columns)
    every = found[columns].to_numpy(dtype=np.float64, copy=True)
    models_of, versions_of = [spec.name] * len(found), [""] * len(found)
    for value, own in texts.groupby(texts).indices.items():
        if (version := champions.get(str(value))) is None:
            continue
        part = spec_of(spec, str(value))
        try:
            champion = versions.read_promoted(client, part.name, version)
            if inputs is None or champion.digest != digest(spec):
                asks = replace(ahead, requests=ahead.requests.iloc[own].reset_index(drop=True))
                scores = predict_ahead(client, part, champion, asks)[0][columns].to_numpy()
            else:
                scores = _scores_of(client, part, champion, inputs.iloc[own])
            if len(scores) != len(own) or not np.isfinite(scores).all():
                raise AlignError("its predictions are not a finite number for each request")
        except files.DiskError:
            raise
        except Exception as error:  # one bad version harms no other
            failed[str(value)] = to_message(error)
            log.warning("predict   %s: %s", part.name, failed[str(value)], exc_info=error)
            continue
        every[own] = scores
        for row in own:
            models_of[row], versions_of[row] = part.name, version
    made = found.assign(**{spec.partition: values, "model": models_of, "version": versions_of})
    return made.assign(**dict(zip(columns, every.T, strict=True))), failed


def _scores_of(
    client: Client, spec: ModelSpec, version: Champion, inputs: pd.DataFrame
) -> np.ndarray:
    """Scores of these inputs, shape (rows, scores), from a version whose code is tonight's."""
    package = packages.read_package(client, spec.name, version.version)
    _check_digest(version, content_digest(package))
    (stored,) = (name for name in package if name.endswith(".skops") and "/" not in name)
    where = f"{stored} of version {version.version}"
    estimator = models.build_model(package[stored], fit.trusted_types(spec), where)
    named = [str(column["name"]) for column in estimator.form_]
    scores = fit.score(spec, f"Version {version.version}", estimator, inputs[named])
    return scores.reshape(len(inputs), -1)


def predict_by_previous(client: Client, spec: ModelSpec, ahead: DayAhead) -> pd.DataFrame | None:
    """Predictions of the champion's predecessor for a future day, with its ``version``.

    None where there is no predecessor, or it cannot predict: that does not fail the night.
    """
    previous = versions.read_alias(client, spec.name, versions.PREVIOUS)
    return predict_by_version(client, spec, previous, ahead) if previous else None


def predict_by_version(
    client: Client, spec: ModelSpec, version: str, ahead: DayAhead
) -> pd.DataFrame | None:
    """The same by any version; None where it cannot predict, or is gone."""
    try:
        found, _, _ = predict_ahead(
            client, spec, versions.read_version(client, spec.name, version), ahead
        )
    except files.DiskError:
        raise
    except VERSION_FAILS as error:
        log.warning("predict   version %s cannot predict: %s", version, error)
        return None
    return found.assign(version=version)


def history_days(listed: Sequence[date], ahead: date, lookback: timedelta) -> list[date]:
    """Days to read for a future day: those of its lookback.

    Where there is none, it is the newest one: its rows tell the columns, and features see no row.

    Args:
        listed: Earlier days, ascending, at least one.
        ahead: The future day.
        lookback: How much history features see.
    """
    return [day for day in listed if day >= ahead - lookback] or [listed[-1]]


def days_needed(listed: Sequence[date], held_out: Sequence[date], lookback: int) -> list[date]:
    """Days whose raw rows the champion's pipeline needs for the days of the holdout."""
    return [day for day in listed if held_out[0] - days(lookback) <= day <= held_out[-1]]


def ask_champion(
    champion: Champion,
    model: str,
    package: Path,
    twin: Path,
    accepted: pd.DataFrame,
    absent: Absent,
    held_out: Sequence[date],
) -> pd.DataFrame:
    """Scores of the champion's twin for these days, computed with its own code.

    Args:
        champion: The version behind the alias.
        model: Name of the model.
        package: Its package, downloaded; its code runs only if the files are those that were
            checked.
        twin: File of its judged twin, digest checked.
        accepted: Raw rows of the holdout and of the history before it.
        absent: From ``absent_columns``.
        held_out: Days of the holdout.

    Returns:
        ``day``, ``row`` (position in ``accepted``, -1 where unknown) and the key, or user and item,
        and ``score``.

    Raises:
        AlignError: Where the package was altered.
        CleanProcessError: Where its code fails.
    """
    asked = {"days": [day.isoformat() for day in held_out]}
    return _ask_with_its_own_code(champion, model, package, twin, accepted, absent, None, asked)


def ask_ahead(
    version: Champion,
    model: str,
    package: Path,
    accepted: pd.DataFrame,
    absent: Absent,
    named: pd.DataFrame | None,
    day: date,
    key: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Predictions of a shipped version for a future day, computed with its own code.

    Args:
        version: The version.
        model: Name of the model.
        package: Its package, downloaded; its code runs only if the files are those that were
            checked.
        accepted: Raw rows of the history.
        absent: From ``absent_columns``.
        named: Raw rows of the requests, or None where the spec defines none.
        day: The day.
        key: Columns by which the app looks a row up now; None for those of the version.

    Returns:
        As ``Problem.answers``.

    Raises:
        AlignError: Where the package was altered.
        CleanProcessError: Where its code fails.
    """
    ahead = {"ahead": day.isoformat(), "key": None if key is None else list(key)}
    shipped = shipped_file(package)
    return _ask_with_its_own_code(version, model, package, shipped, accepted, absent, named, ahead)


def shipped_file(package: Path) -> Path:
    """The stored estimator inside a checked package."""
    (file,) = package.glob("*.skops")
    return file


def _ask_with_its_own_code(
    version: Champion,
    model: str,
    package: Path,
    stored: Path,
    accepted: pd.DataFrame,
    absent: Absent,
    named: pd.DataFrame | None,
    asked: Mapping[str, Any],
) -> pd.DataFrame:
    import pandas as pd

    check_unaltered(version, package)
    module, file = version.spec_module
    job = {"module": module, "file": file, "model": model, "trusted": list(version.trusted)}
    other = {"absent": {str(day): names for day, names in absent.items()}}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "job.json").write_text(json.dumps({**job, **other, **asked}), encoding="utf-8")
        accepted.to_feather(place / "rows.feather")
        requests = []
        if named is not None:
            requests = [place / "requests.feather"]
            named.reset_index(drop=True).to_feather(requests[0])
        run_by_itself(
            Path(scoring.__file__),
            package / "code",
            place / "job.json",
            place / "rows.feather",
            stored,
            place / "predictions.feather",
            *requests,
        )
        return pd.read_feather(place / "predictions.feather")


def check_unaltered(version: Champion, package: Path) -> None:
    """Check that a downloaded package has the files that were checked.

    Raises:
        AlignError: Where a file differs.
        SealError: Where the version must not be loaded.
    """
    _check_digest(version, files_digest(package))


def _check_digest(version: Champion, sha256: str) -> None:
    if version.unsealed:
        raise SealError(version.unsealed)
    if sha256 != version.files_sha256:
        raise AlignError("a file of its package was altered since it was checked")


def accept(spec: ModelSpec, raw: pd.DataFrame) -> pd.DataFrame:
    """The rows tonight's contract accepts: the same raw rows for both pipelines."""
    accepted = accept_rows(raw, spec.contract)
    return partitions.set_aside(spec, accepted).accepted.rows if spec.partition else accepted.rows


def _kept_rows(spec: ModelSpec, fingerprints: Mapping[date, str]) -> pd.DataFrame:
    """The clean rows that tonight's examples of these days were made of."""
    keys = list(clean_keys(spec, fingerprints).values())
    found = frames.find_days("clean", keys)
    if len(found) < len(keys):
        raise files.StoreError("clean rows of the holdout are missing. Run the night again")
    return frames.read_days([found[key] for key in keys])
