"""Predictions for the app, and their comparison with what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.metrics.base import Floats

if TYPE_CHECKING:
    import pandas as pd

    from tasks.metrics.base import Ints


REPEAT, DISCOVERY = "repeat", "discovery"
PUBLISHED = ("as_of", "version", "made_at")
"""Columns that every table of predictions has, besides the day, the key and the scores."""
Matched = tuple["pd.DataFrame", dict[str, Floats], dict[str, int]]
"""Examples, each scorer's scores of them, and the counts ``asked``, ``labelled``, ``unasked``."""


def keyed_predictions(
    requests: pd.DataFrame,
    features: pd.DataFrame,
    scores: Floats,
    key: Sequence[str],
    columns: Sequence[str],
) -> pd.DataFrame:
    """The key of each request and its scores.

    Args:
        requests: The requests.
        features: Their inputs, with the same index.
        scores: Shape (rows,), or (rows, columns) where there are several.
        key: Columns that name a request.
        columns: Names of the scores.

    Raises:
        ValueError: Where the requests lack a column of the key, or the features their index.
    """
    if missing := [name for name in key if name not in requests]:
        raise ValueError(
            f"problem.key: found {', '.join(missing)}, which the requests do not have; expected "
            "columns of the clean rows that known_ahead names"
        )
    if not features.index.equals(requests.index):
        raise ValueError(
            "features: found a different index than that of the requests; expected the same "
            "index, so keep it"
        )
    each = scores.reshape(len(requests), len(columns)).T
    found = requests[list(key)].reset_index(drop=True)
    return found.assign(**dict(zip(columns, each, strict=True)))


def match_keyed(
    answered: Mapping[str, pd.DataFrame],
    happened: pd.DataFrame,
    key: Sequence[str],
    columns: Sequence[str],
    target: str,
) -> Matched:
    """Predictions joined with the rows of the same key; the label is the column ``target``.

    Args:
        answered: Scorer to its predictions; those of the first scorer define the requests.
        happened: Clean rows of the day.
        key: Columns that name a row, once each.
        columns: Columns of the predictions that hold the scores.
        target: Column of the clean rows that holds the label.
    """
    keys = list(key)
    named = {name: {c: f"\0{name} {c}" for c in columns} for name in answered}
    aside = ["target"] if target != "target" and "target" in happened else []  # of another meaning
    truth = happened.drop(columns=aside).drop_duplicates(keys).rename(columns={target: "target"})
    first, *others = answered
    asked = answered[first].rename(columns=named[first]).drop(columns="day", errors="ignore")
    for name in others:
        other = answered[name].rename(columns=named[name])
        asked = asked.merge(other[[*keys, *named[name].values()]], how="left", on=keys)
    asked = asked.drop(columns=[c for c in asked if c in truth and c not in keys])
    found = asked.merge(truth, how="left", on=keys)
    labelled = found[found["target"].notna()].reset_index(drop=True)
    counts = {
        "asked": len(asked),
        "labelled": len(labelled),
        "unasked": len(truth) - int(found["day"].notna().sum()),
    }
    scores = {}
    for name, own in named.items():
        values = labelled[list(own.values())].to_numpy(dtype=np.float64)
        scores[name] = values[:, 0] if len(columns) == 1 else values
    examples = labelled.drop(columns=[c for own in named.values() for c in own.values()])
    return examples, scores, counts


def ranked_predictions(
    features: pd.DataFrame,
    scores: Floats,
    user: str,
    item: str,
    repeat: str | None,
    count: int,
    order: Floats | None = None,
) -> pd.DataFrame:
    """The best items of each user: ``place`` from 1 on, the item, its score and its kind.

    They are in the order of ``order``, else of ``scores``, the largest first; ties are broken as in
    the metrics. ``kind`` is ``repeat`` or ``discovery``.
    """
    import pandas as pd
    from pandas.util import hash_array

    who, _ = pd.factorize(features[user])
    tie = hash_array(features[item].to_numpy())
    rows = np.lexsort((tie, -(scores if order is None else order), who))
    place = _place(who[rows])
    top, place = rows[place < count], place[place < count]
    again = features[repeat].to_numpy()[top] > 0 if repeat else np.zeros(len(top), dtype=bool)
    return pd.DataFrame(
        {
            user: features[user].to_numpy()[top],
            "place": (place + 1).astype(np.int32),
            item: features[item].to_numpy()[top],
            "score": scores[top],
            "kind": np.where(again, REPEAT, DISCOVERY),
        }
    )


def match_ranked(
    answered: Mapping[str, pd.DataFrame],
    happened: pd.DataFrame,
    user: str,
    item: str,
    repeat: str | None,
) -> Matched:
    """The predictions of the users who bought; without a request, those for everyone else.

    An item that a scorer did not rank comes last in its order.

    Args:
        answered: Scorer to its predictions; those of the first scorer define the requests.
        happened: Clean rows of the day: the purchases.
        user: Column of the user.
        item: Column of the item.
        repeat: Column that ``measure`` reads repeats from, if any.
    """
    keys = [user, item]
    bought = happened[["day", *keys]].drop_duplicates()
    buyers = bought[user].drop_duplicates()
    shown = {name: _shown_to(buyers, answers, user) for name, answers in answered.items()}
    examples = _union([rows[[*keys, "kind"]] for rows in shown.values()], keys)
    hits = bought[keys].assign(target=np.int8(1))
    examples = examples.merge(hits, how="left", on=keys)
    examples["target"] = examples["target"].fillna(0).astype(np.int8)
    examples["relevant"] = examples[user].map(bought.groupby(user).size()).astype(np.int32)
    examples["day"] = happened["day"].iloc[0] if len(happened) else None
    if repeat:
        examples[repeat] = (examples["kind"] == REPEAT).astype(np.int8)
    scores = {}
    for name, rows in shown.items():
        own = examples[keys].merge(rows[[*keys, "score"]], how="left", on=keys)["score"]
        scores[name] = own.fillna(own.min() - 1).to_numpy(dtype=np.float64)
    asked = next(iter(answered.values()))[user].dropna().unique()
    met = int(buyers.isin(asked).sum())
    counts = {"asked": len(asked), "labelled": met, "unasked": len(buyers) - met}
    return examples.drop(columns="kind"), scores, counts


def stranger(known: pd.Series[Any]) -> Any:
    """A user id of the same type that no known user has."""
    return known.max() + 1 if known.dtype.kind in "iu" else f"{known.max()}~"


def _shown_to(users: pd.Series[Any], answers: pd.DataFrame, user: str) -> pd.DataFrame:
    import pandas as pd

    known = answers[answers[user].notna()].astype({user: users.dtype})
    others = users[~users.isin(known[user])].to_frame()
    anyone = answers[answers[user].isna()].drop(columns=user)
    own = known[known[user].isin(users)]
    return pd.concat([own, others.merge(anyone, how="cross")[own.columns]], ignore_index=True)


def _union(parts: Sequence[pd.DataFrame], keys: list[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.concat(parts, ignore_index=True).drop_duplicates(keys, ignore_index=True)


def _place(groups: npt.NDArray[Any]) -> Ints:
    """Place of each row within its run of equal values, from 0 on."""
    first = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])[: len(groups)]
    lengths = np.diff(np.r_[first, len(groups)])
    place: Ints = np.arange(len(groups)) - np.repeat(first, lengths)
    return place
