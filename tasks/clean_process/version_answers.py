"""Predictions of a version from its own code, where tonight's code is different."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.clean_process.package_check import files_digest
from tasks.clean_process.run import run_by_itself
from tasks.features import scoring
from tasks.features.contract import accept_rows
from tasks.spec.values import days

if TYPE_CHECKING:
    import pandas as pd

    from tasks.registry.versions import Champion
    from tasks.spec.model_spec import ModelSpec


UNANSWERED = 0.05
"""Largest share of tonight's rows that the champion's own pipeline may leave out."""


class AlignError(RuntimeError):
    """The champion's predictions cannot be matched with tonight's examples."""


def days_needed(listed: Sequence[date], holdout: Sequence[date], lookback: int) -> list[date]:
    """Days whose raw rows the champion's pipeline needs for the holdout days."""
    return [day for day in listed if holdout[0] - days(lookback) <= day <= holdout[-1]]


def ask_champion(
    champion: Champion,
    model: str,
    package: Path,
    twin: Path,
    accepted: pd.DataFrame,
    holdout: Sequence[date],
) -> pd.DataFrame:
    """Scores of the champion's twin for these days, computed with its own code.

    Args:
        champion: The version behind the alias.
        model: Name of the model.
        package: Its package, downloaded; its code runs only if the files are those that were
            checked.
        twin: File of its judged twin, digest checked.
        accepted: Raw rows of the holdout days and of the history before them.
        holdout: Days to score.

    Returns:
        ``day``, ``row`` (position in ``accepted``) or user and item, and ``score``.

    Raises:
        AlignError: Where the package was altered.
        CleanProcessError: Where its code fails.
    """
    days = {"days": [day.isoformat() for day in holdout]}
    return _ask_with_its_own_code(champion, model, package, twin, accepted, None, days)


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
        named: Raw rows of what is asked, or None where the spec names nothing.
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
            place / "answers.feather",
            *requests,
        )
        return pd.read_feather(place / "answers.feather")


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
    spec: ModelSpec, holdout: pd.DataFrame, accepted: pd.DataFrame, answers: pd.DataFrame
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
        answers: From ``ask_champion``.

    Returns:
        Examples to add (none for most problems), and the champion's score of each example, the
        added ones last.

    Raises:
        AlignError: Where they cannot be matched row by row.
    """
    if hasattr(spec.problem, "user"):
        return _align_pairs(spec, holdout, accepted, answers)
    place = _places(spec, holdout, accepted)
    if not np.array_equal(accepted["day"].reindex(answers["row"]), answers["day"]):
        raise AlignError(
            "its function clean does not keep the index of the rows, so its predictions cannot "
            "be matched with tonight's rows"
        )
    several = len(spec.problem.score_columns) > 1
    columns = list(spec.problem.score_columns) if several else ["score"]
    said = set(answers) - {"day", "row"}
    fewer_classes = hasattr(spec.problem, "classes") and said < set(columns)
    if said != set(columns) and not fewer_classes:
        raise AlignError(
            "it predicts other classes or other quantiles than tonight's spec. Use another model "
            "name: a new name starts without a champion"
        )
    given = answers.set_index("row").reindex(columns=columns, fill_value=0.0)
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
    spec: ModelSpec, holdout: pd.DataFrame, accepted: pd.DataFrame, answers: pd.DataFrame
) -> tuple[pd.DataFrame, np.ndarray]:
    import pandas as pd

    user, item = spec.problem.user, spec.problem.item  # type: ignore[attr-defined]
    keys = ["day", user, item]
    stamp = holdout["day"].dtype
    asked = answers.assign(day=answers["day"].astype(stamp))
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
