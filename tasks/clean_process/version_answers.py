"""Predictions of a registered version, with its own code where tonight's is different."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.clean_process.package_check import files_digest
from tasks.clean_process.run import CleanProcessError, run_by_itself
from tasks.errors import NightlyError
from tasks.features import scoring
from tasks.features.contract import accept_rows
from tasks.registry import packages, versions
from tasks.registry.client import RegistryError
from tasks.spec.fingerprint import digest
from tasks.spec.values import days
from tasks.store import files, frames, models
from tasks.training import fit

if TYPE_CHECKING:
    import pandas as pd

    from tasks.registry.client import Client
    from tasks.registry.versions import Champion
    from tasks.spec.model_spec import ModelSpec


log = logging.getLogger("nightly")
UNANSWERED = 0.05
"""Largest share of tonight's rows that the champion's own pipeline may leave out."""
INPUTS_AT_MOST = 1_000_000
"""Most rows of inputs kept beside the predictions, for single requests."""


class AlignError(NightlyError, RuntimeError):
    """The champion's predictions cannot be matched with tonight's examples."""


VERSION_FAILS = (AlignError, CleanProcessError, RegistryError, files.StoreError, fit.FitError)
"""Errors of a version that cannot predict; none of them is a fault of tonight's code."""


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
    listed: Sequence[date],
    held_out: Sequence[date],
    holdout: pd.DataFrame,
) -> tuple[pd.DataFrame, np.ndarray]:
    """The scores of tonight's holdout from the champion's judged twin.

    Args:
        client: From ``open_registry``.
        spec: Tonight's model.
        champion: The version behind the alias.
        listed: Every day of the source.
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
    needed = days_needed(listed, held_out, champion.lookback)
    accepted = accept(spec, spec.source.read_days(needed))
    with (
        packages.downloaded(client, spec.name, champion.version) as package,
        packages.downloaded_twin(client, champion) as twin,
    ):
        said = ask_champion(champion, spec.name, package, twin, accepted, held_out)
    return align(spec, holdout, accepted, said)


def predict_ahead(
    client: Client, spec: ModelSpec, version: Champion, ahead: DayAhead
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Predictions of a shipped version for a future day.

    Returns:
        Predictions as from ``Problem.answers``, and their inputs where the version's code is
        tonight's.

    Raises:
        AlignError, CleanProcessError, RegistryError, StoreError: See ``VERSION_FAILS``.
    """
    import pandas as pd
    from threadpoolctl import threadpool_limits

    with packages.downloaded(client, spec.name, version.version) as package:
        if version.digest != digest(spec):
            past = [day for day in ahead.listed if day >= ahead.day - days(version.lookback)]
            accepted = accept(spec, spec.source.read_days(past))
            named = ahead.requests
            found = ask_ahead(version, spec.name, package, accepted, named, ahead.day)
            return found, None
        check_unaltered(version, package)
        stored = shipped_file(package)
        estimator = models.load_checked_model(stored, fit.trusted_types(spec))
    since = ahead.day - spec.lookback
    rows = frames.read_days([ref for day, ref in ahead.clean.items() if day >= since])
    with threadpool_limits(1):
        stamp = pd.Timestamp(ahead.day)
        return scoring.answer_ahead(
            spec, estimator, rows, ahead.requests, stamp, keep=INPUTS_AT_MOST
        )


def predict_by_previous(client: Client, spec: ModelSpec, ahead: DayAhead) -> pd.DataFrame | None:
    """Predictions of the champion's predecessor for a future day, with its ``version``.

    None where there is no predecessor, or it cannot predict: that does not fail the night.
    """
    previous = versions.read_previous(client, spec.name)
    if previous is None:
        return None
    try:
        found, _ = predict_ahead(client, spec, previous, ahead)
    except VERSION_FAILS as error:
        log.warning("predict   version %s cannot predict: %s", previous.version, error)
        return None
    return found.assign(version=previous.version)


def add_examples(
    holdout: pd.DataFrame, scores: Mapping[str, np.ndarray], added: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """The holdout with the examples that only the champion has, which others score lowest.

    Args:
        holdout: Tonight's examples of the holdout.
        scores: Scorer to its scores of these.
        added: Examples to add.
    """
    import pandas as pd

    every = pd.concat([holdout, added], ignore_index=True)
    return every, {name: pad(score, len(added)) for name, score in scores.items()}


def days_needed(listed: Sequence[date], held_out: Sequence[date], lookback: int) -> list[date]:
    """Days whose raw rows the champion's pipeline needs for the days of the holdout."""
    return [day for day in listed if held_out[0] - days(lookback) <= day <= held_out[-1]]


def ask_champion(
    champion: Champion,
    model: str,
    package: Path,
    twin: Path,
    accepted: pd.DataFrame,
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
        held_out: Days of the holdout.

    Returns:
        ``day``, ``row`` (position in ``accepted``) or user and item, and ``score``.

    Raises:
        AlignError: Where the package was altered.
        CleanProcessError: Where its code fails.
    """
    asked = {"days": [day.isoformat() for day in held_out]}
    return _ask_with_its_own_code(champion, model, package, twin, accepted, None, asked)


def ask_ahead(
    version: Champion,
    model: str,
    package: Path,
    accepted: pd.DataFrame,
    named: pd.DataFrame | None,
    day: date,
) -> pd.DataFrame:
    """Predictions of a shipped version for a future day, computed with its own code.

    Args:
        version: The version.
        model: Name of the model.
        package: Its package, downloaded; its code runs only if the files are those that were
            checked.
        accepted: Raw rows of the history.
        named: Raw rows of the requests, or None where the spec defines none.
        day: The day.

    Returns:
        As ``Problem.answers``.

    Raises:
        AlignError: Where the package was altered.
        CleanProcessError: Where its code fails.
    """
    ahead = {"ahead": day.isoformat()}
    shipped = shipped_file(package)
    return _ask_with_its_own_code(version, model, package, shipped, accepted, named, ahead)


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
    named: pd.DataFrame | None,
    asked: Mapping[str, Any],
) -> pd.DataFrame:
    import pandas as pd

    check_unaltered(version, package)
    module, file = version.spec_module
    job = {"module": module, "file": file, "model": model, "trusted": list(version.trusted)}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "job.json").write_text(json.dumps({**job, **asked}), encoding="utf-8")
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
    """
    if files_digest(package) != version.files_sha256:
        raise AlignError("a file of its package was altered since it was checked")


def accept(spec: ModelSpec, raw: pd.DataFrame) -> pd.DataFrame:
    """The rows tonight's contract accepts: the same raw rows for both pipelines."""
    return accept_rows(raw, spec.contract).rows


def align(
    spec: ModelSpec, holdout: pd.DataFrame, accepted: pd.DataFrame, said: pd.DataFrame
) -> tuple[pd.DataFrame, np.ndarray]:
    """Match the champion's predictions with tonight's examples.

    In a recommendation each pipeline has its own item candidates: those of the champion alone are
    added to the examples, and items that one of the two does not rank come last in its order. In
    other problems an example that the champion's pipeline left out gets its mean score, and a class
    added since gets probability 0.

    Args:
        spec: Tonight's model.
        holdout: Tonight's examples.
        accepted: The raw rows both were made of.
        said: From ``ask_champion``.

    Returns:
        Examples to add (none for most problems), and the champion's score of each example, the
        added ones last.

    Raises:
        AlignError: Where they cannot be matched row by row.
    """
    if spec.problem.user_column is not None:
        return _align_pairs(spec, holdout, accepted, said)
    place = _places(spec, holdout, accepted)
    if not np.array_equal(accepted["day"].reindex(said["row"]), said["day"]):
        raise AlignError(
            "its function clean does not keep the index of the rows, so its predictions cannot "
            "be matched with tonight's rows"
        )
    several = len(spec.problem.score_columns) > 1
    columns = list(spec.problem.score_columns) if several else ["score"]
    named = set(said) - {"day", "row"}
    fewer_classes = spec.problem.scores_classes and named < set(columns)
    if named != set(columns) and not fewer_classes:
        raise AlignError(
            "it predicts other classes or other quantiles than tonight's spec. Use another model "
            "name: a new name starts without a champion"
        )
    given = said.set_index("row").reindex(columns=columns, fill_value=0.0)
    scores = given.reindex(place)
    left_out = float(scores.isna().any(axis=1).mean())
    if left_out > UNANSWERED:
        raise AlignError(
            f"its own pipeline has no predictions for {left_out:.0%} of tonight's rows"
        )
    values = scores.fillna(scores.mean()).to_numpy(dtype=np.float64)
    return holdout.head(0), values[:, 0] if len(columns) == 1 else values


def pad(scores: np.ndarray, count: int) -> np.ndarray:
    """The scores, followed by a lower one for each item candidate the scorer did not rank."""
    return np.concatenate([scores, np.full(count, scores.min() - 1)]) if count else scores


def _places(spec: ModelSpec, holdout: pd.DataFrame, accepted: pd.DataFrame) -> pd.Index:
    """Positions in the accepted rows of tonight's examples."""
    cleaned = spec.clean(accepted) if spec.clean else accepted
    cleaned = cleaned.sort_values("day", kind="stable")
    target = cleaned[spec.problem.target]  # type: ignore[attr-defined]
    kept = cleaned[target.notna() & cleaned["day"].isin(holdout["day"].unique())]
    same = [name for name in kept if name in spec.known_ahead and name in accepted]
    matched = (
        len(kept) == len(holdout)
        and kept.index.isin(accepted.index).all()
        and kept[["day", *same]].equals(accepted.loc[kept.index, ["day", *same]])
        and np.array_equal(spec.problem.encode(target[kept.index]), holdout["target"])  # type: ignore[attr-defined]
    )
    if not matched:
        raise AlignError("clean does not keep the index of the rows, so they cannot be matched")
    return kept.index


def _align_pairs(
    spec: ModelSpec, holdout: pd.DataFrame, accepted: pd.DataFrame, said: pd.DataFrame
) -> tuple[pd.DataFrame, np.ndarray]:
    import pandas as pd

    user, item = spec.problem.user, spec.problem.item  # type: ignore[attr-defined]
    keys = ["day", user, item]
    stamp = holdout["day"].dtype
    asked = said.assign(day=said["day"].astype(stamp))
    merged = holdout[keys].merge(asked, how="outer", on=keys, indicator=True)
    described = [by for by in spec.slices if isinstance(by, str)]
    queries = holdout.drop_duplicates(["day", user])[["day", user, "relevant", *described]]
    only = asked.merge(holdout[keys], how="left", on=keys, indicator=True)
    only = only[only["_merge"] == "left_only"].drop(columns="_merge")
    added = only.merge(queries, how="inner", on=["day", user])
    both = float((merged["_merge"] == "both").sum()) / max(1, len(holdout))
    if both == 0:
        raise AlignError("its own pipeline has no item candidate in common with tonight's")
    cleaned = spec.clean(accepted) if spec.clean else accepted
    bought = spec.problem.wanted(cleaned).assign(target=np.int8(1))  # type: ignore[attr-defined]
    bought["day"] = bought["day"].astype(stamp)
    added = added.merge(bought, how="left", on=keys)
    extra = added.assign(target=added["target"].fillna(0).astype(np.int8))
    repeat = spec.problem.repeat  # type: ignore[attr-defined]
    if repeat is not None:
        extra[repeat] = 0
    known = holdout[keys].merge(asked, how="left", on=keys)["score"]
    last = min(float(asked["score"].min()), 0.0) - 1
    scores = pd.concat([known.fillna(last), extra["score"]])
    return extra.drop(columns="score"), scores.to_numpy(dtype=np.float64)
