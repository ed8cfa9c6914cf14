"""A version's predictions beside tonight's examples: the same rows, whatever both made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from tasks.errors import NightlyError
from tasks.features import scoring
from tasks.features.cleaning import Absent
from tasks.features.examples import labelled

if TYPE_CHECKING:
    import pandas as pd

    from tasks.spec.model_spec import ModelSpec


UNANSWERED = 0.05
"""Largest share of tonight's rows that the champion's own pipeline may leave out."""


class AlignError(NightlyError, RuntimeError):
    """The champion's predictions cannot be matched with tonight's examples."""


def align(
    spec: ModelSpec,
    holdout: pd.DataFrame,
    kept: pd.DataFrame,
    accepted: pd.DataFrame,
    said: pd.DataFrame,
    nights: Mapping[date, date] | None = None,
    absent: Absent = scoring.NONE,
) -> tuple[pd.DataFrame, np.ndarray]:
    """Match the champion's predictions with tonight's examples.

    In a recommendation each pipeline has its own item candidates: those of the champion alone are
    added to the examples, and items that one of the two does not rank come last in its order. In
    other problems predictions of the same raw row are compared; where one of the two ``clean``
    makes new rows of the raw ones, predictions of the same key. An example that the champion's
    pipeline left out gets its mean score, and a class added since gets probability 0.

    Args:
        spec: Tonight's model.
        holdout: Tonight's examples.
        kept: The clean rows of the holdout they were made of.
        accepted: The raw rows both were made of.
        said: From ``ask_champion``.
        nights: Day of the holdout to the night up to which its labels count
            (``features.examples.label_night``); None where all count.
        absent: From ``features.cleaning.absent_columns``.

    Returns:
        Examples to add (none for most problems), and the champion's score of each example, the
        added ones last.

    Raises:
        AlignError: Where they cannot be matched row by row.
    """
    if spec.problem.user_column is not None:
        return _align_pairs(spec, holdout, accepted, said, absent)
    several = len(spec.problem.score_columns) > 1
    columns = list(spec.problem.score_columns) if several else ["score"]
    named = {name for name in said if name not in ("day", "row") and name not in _keys(said)}
    fewer_classes = spec.problem.scores_classes and named < set(columns)
    if named != set(columns) and not fewer_classes:
        raise AlignError(
            "it predicts other classes or other quantiles than tonight's spec. Use another model "
            "name: a new name starts without a champion"
        )
    place = _places(spec, kept, accepted, said, nights, absent)
    given = said[[name for name in columns if name in said]].reindex(
        columns=columns, fill_value=0.0
    )
    scores = given.reset_index(drop=True).reindex(place)
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


def _places(
    spec: ModelSpec,
    kept: pd.DataFrame,
    accepted: pd.DataFrame,
    said: pd.DataFrame,
    nights: Mapping[date, date] | None,
    absent: Absent,
) -> np.ndarray:
    """Position in the champion's predictions of each of tonight's examples; -1 where none.

    Raises:
        AlignError: Where they can be told apart neither by their raw rows nor by their keys.
    """
    is_example = labelled(spec, kept, nights or {})
    origin, why = _origins(spec, kept, accepted, absent)
    if origin is not None and (said["row"] >= 0).all():
        return _position(said["row"].to_numpy(), origin[is_example])
    if origin is not None:
        why = "its clean makes new rows of the raw ones"
    named = [name for name in getattr(spec.problem, "key", ()) if name in kept]
    if not named or len(named) != len(_keys(said)):
        raise AlignError(
            f"{why}, so its predictions cannot be matched by raw row, and the problem names no key "
            "that both have. Name in key of the problem what tells the rows of a day apart, or use "
            "another model name: a new name starts without a champion"
        )
    theirs, ours = said[["day", *_keys(said)]], kept[["day", *named]]
    mine, wanted = _same_codes([theirs, ours.set_axis(theirs.columns, axis=1)])
    if len(np.unique(mine)) < len(mine) or len(np.unique(wanted)) < len(wanted):
        raise AlignError(
            f"{why}, so its predictions cannot be matched by raw row, and the key "
            f"({', '.join(named)}) is not unique within each day. Name in key of the problem what "
            "tells the rows of a day apart"
        )
    return _position(mine, wanted[is_example])


def _origins(
    spec: ModelSpec, kept: pd.DataFrame, accepted: pd.DataFrame, absent: Absent
) -> tuple[np.ndarray | None, str]:
    """Position in the accepted rows of each clean row that is kept, or why there is none.

    The accepted rows were read anew: a database may give rows of one time in another order. Clean
    rows that are equal in every column may stand for each other.
    """
    own = accepted[accepted["day"].isin(kept["day"].unique())]
    parts = scoring.clean_each(spec, own, absent)
    found = [scoring.origins(spec, accepted, part, absent) for part in parts.values()]
    if any(place is None for place in found):
        return None, "tonight's clean makes new rows of the raw ones"
    again = scoring.below(list(parts.values()))
    other = "tonight's clean makes other rows each time it gets the same raw ones"
    if set(kept) != set(again):
        return None, other
    old, new = _same_codes([kept, again])
    if not np.array_equal(np.sort(old), np.sort(new)):
        return None, other
    origin = np.empty(len(kept), dtype=np.int64)
    origin[np.argsort(old, kind="stable")] = np.concatenate(found)[np.argsort(new, kind="stable")]
    return origin, ""


def _same_codes(tables: Sequence[pd.DataFrame]) -> list[np.ndarray]:
    """One number for each row: the same in all tables where all columns are equal."""
    import pandas as pd

    names = list(tables[0])
    columns = {}
    for place, name in enumerate(names):
        whole = pd.concat([table[name].astype(object) for table in tables], ignore_index=True)
        try:
            columns[place] = pd.factorize(whole)[0]
        except TypeError:  # lists and the like cannot be hashed
            plain = whole.map(lambda value: value.tolist() if hasattr(value, "tolist") else value)
            columns[place] = pd.factorize(plain.map(repr))[0]
    codes = pd.DataFrame(columns).groupby(list(columns), sort=False).ngroup().to_numpy()
    return np.split(codes, np.cumsum([len(table) for table in tables])[:-1])


def _position(given: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where each wanted number is among the given ones; -1 where it is not."""
    import pandas as pd

    return np.asarray(pd.Index(given).get_indexer(pd.Index(wanted)))


def _keys(said: pd.DataFrame) -> list[str]:
    """The columns of the champion's predictions that hold its key."""
    named = map(scoring.KEY.format, range(len(said.columns)))
    return [name for name in named if name in said]


def _align_pairs(
    spec: ModelSpec,
    holdout: pd.DataFrame,
    accepted: pd.DataFrame,
    said: pd.DataFrame,
    absent: Absent,
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
    cleaned = scoring.clean_rows(spec, accepted, absent)
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
