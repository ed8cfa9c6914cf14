"""The problem that predicts an order: which items a user will want."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.errors import JudgementError, SpecError
from tasks.metrics.base import Metric, daily_mean
from tasks.metrics.ranking import Ranking, keep_places, ranking_metrics
from tasks.problems import predictions
from tasks.problems.base import ProblemBase
from tasks.problems.classification import probability
from tasks.problems.columns import (
    check_column,
    metric_faults,
    name_faults,
    slice_name,
    slice_values,
    unreserved,
)
from tasks.shown import NAMED_COLUMNS, few

if TYPE_CHECKING:
    import pandas as pd

    from tasks.metrics.base import Floats, Ints
    from tasks.problems.columns import Slice
    from tasks.problems.predictions import Matched


USERS_AT_ONCE = 2_000
"""Users predicted at once: bounds the memory of their item candidates."""


@dataclass(frozen=True)
class Recommendation(ProblemBase):
    """Order of a user's candidate items by how likely each is wanted on the day.

    A query is a (day, user) pair. Items wanted but absent from the item candidates count as missed.
    Feedback is implicit (each row means that the user wanted the item) or, with ``rating``,
    explicit.

    Attributes:
        user: Column of the clean rows that names the user.
        item: Column of the clean rows that names the item.
        baseline: Feature column whose order is the trivial baseline, such as an item's popularity.
        metric: Primary metric, ``ndcg`` or ``recall``, or one of ``metrics``.
        k: Places that NDCG looks at.
        recall_k: Places that recall looks at.
        repeat: Feature column above 0 where the user has had the item before; None leaves the
            metrics of repeats and discoveries out.
        discoveries: Of the first ``k`` places, how many are kept for items that the user has never
            had, where there are so many item candidates. Every figure is of the list so made, and
            a challenger must not find clearly fewer discoveries than the champion (the gate's
            ``slice_tolerance``).
        unit: What a query is, plural, for the report.
        rating: Column of the clean rows that says how the user liked the item; an item below
            ``liked`` is known to the user, but not wanted. Days and users without a liked item are
            not scored.
        liked: Least rating of an item that was wanted.
        metrics: Custom metrics, per query.
    """

    user: str
    item: str
    baseline: str
    metric: str = "ndcg"
    k: int = 10
    recall_k: int = 20
    repeat: str | None = None
    discoveries: int = 0
    unit: str = "baskets"
    rating: str | None = None
    liked: float | None = None
    metrics: tuple[Metric, ...] = ()
    answer_column = "score"

    @property
    def method(self) -> str:
        return "predict_proba"

    @property
    def user_column(self) -> str:
        return self.user

    @property
    def label_columns(self) -> tuple[str, ...]:
        return (self.item, self.rating) if self.rating else (self.item,)

    @property
    def keys(self) -> tuple[str, ...]:
        return ("day", "target", "relevant", self.user, self.item)

    @property
    def answer_keys(self) -> tuple[str, ...]:
        return (self.user, "place")

    @property
    def primary(self) -> str:
        places = {"ndcg": self.k, "recall": self.recall_k}
        return f"{self.metric}_{places[self.metric]}" if self.metric in places else self.metric

    @property
    def metric_names(self) -> tuple[str, ...]:
        every = [f"ndcg_{self.k}", f"recall_{self.recall_k}"]
        if self.repeat is not None:
            for kind in ("repeats", "discoveries"):
                every.append(f"ndcg_{self.k}_among_{kind}")
                every.append(f"recall_{self.recall_k}_from_{kind}")
        every += [own.name for own in self.metrics]
        return (self.primary, *(name for name in every if name != self.primary))

    @property
    def guarded(self) -> tuple[str, ...]:
        return (f"recall_{self.recall_k}_from_discoveries",) if self.discoveries else ()

    @property
    def live_metrics(self) -> tuple[str, ...]:
        return tuple(
            name for name in self.metric_names if "_from_" not in name and "_among_" not in name
        )

    def faults(self, known_ahead: Sequence[str] = ()) -> list[str]:
        found = metric_faults(self.metric, ("ndcg", "recall"), self.metrics)
        for name in ("user", "item", "baseline"):
            found += name_faults(name, getattr(self, name))
        for name in ("repeat", "rating"):
            if getattr(self, name) is not None:
                found += name_faults(name, getattr(self, name))
        number = isinstance(self.liked, int | float) and not isinstance(self.liked, bool)
        if number is (self.rating is None) or (self.liked is not None and not number):
            allowed = "None without a rating" if self.rating is None else "the least liked rating"
            found.append(f"liked: found {self.liked!r}, allowed {allowed}")
        columns = ("place", "score", "kind", *predictions.PUBLISHED)
        for name in ("user", "item"):
            if (value := getattr(self, name)) in columns:
                found.append(
                    f"{name}: found {value!r}, allowed a name that is not a column of the "
                    f"predictions ({', '.join(columns)}): rename the column in clean, such as "
                    f"rows.rename(columns={{{value!r}: 'own_{value}'}})"
                )
        if self.user == self.item:
            found.append(f"item: found {self.item!r}, allowed a column other than user")
        for name in ("k", "recall_k"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= 1000:
                found.append(f"{name}: found {value!r}, allowed a whole number from 1 to 1000")
        if type(self.discoveries) is not int or not 0 <= self.discoveries <= self.k:
            found.append(
                f"discoveries: found {self.discoveries!r}, allowed a whole number from 0 to k "
                f"({self.k})"
            )
        elif self.discoveries and self.repeat is None:
            found.append(
                f"discoveries: found {self.discoveries} without repeat, expected repeat to name "
                "the feature column that is above 0 where the user has had the item before"
            )
        for name in ("item", "rating"):
            if (value := getattr(self, name)) is not None and value in known_ahead:
                found.append(
                    f"{name}: found {value!r} among known_ahead, allowed a column known only"
                    " after the day"
                )
        return found

    def label_fault(self, clean_rows: pd.DataFrame) -> str:
        import pandas as pd

        for name in ("user", "item", "rating"):
            column = getattr(self, name)
            if column is not None and column not in clean_rows:
                raise SpecError(
                    f"problem.{name}: found {column!r}, but the clean rows have no such column; "
                    f"allowed one of {few(clean_rows, NAMED_COLUMNS)}"
                )
        if self.rating and not pd.api.types.is_numeric_dtype(clean_rows[self.rating]):
            raise SpecError(
                f"problem.rating: found {self.rating!r} of type {clean_rows[self.rating].dtype}, "
                "expected numbers. Convert it in clean"
            )
        return ""

    def wanted(self, clean_rows: pd.DataFrame) -> pd.DataFrame:
        """User and item of what was wanted, with its day, each once."""
        rows = clean_rows
        if self.rating is not None:
            rows = rows[rows[self.rating] >= self.liked]
        return rows[["day", self.user, self.item]].drop_duplicates()

    def requests(
        self,
        clean_rows: pd.DataFrame,
        known_ahead: Sequence[str],  # noqa: ARG002
    ) -> pd.DataFrame:
        """One row per user of the day, ``day`` and the user, ordered by user."""
        users = clean_rows[["day", self.user]].drop_duplicates()
        return users.sort_values(["day", self.user]).reset_index(drop=True)

    def ask(
        self,
        named: pd.DataFrame | None,
        history: pd.DataFrame,
        known_ahead: Sequence[str],
    ) -> pd.DataFrame:
        """The users in ``named``, else all users of the history."""
        import pandas as pd

        if named is not None:
            return self.requests(named, known_ahead)
        tomorrow = history["day"].max() + pd.Timedelta(days=1)
        return self.requests(history[[self.user]].assign(day=tomorrow), known_ahead)

    def ask_for_anyone(self, requests: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame | None:
        """The request of an unknown user."""
        import pandas as pd

        every = pd.concat([requests[self.user], history[self.user]])
        return requests.head(1).assign(**{self.user: predictions.stranger(every)})

    def batches(self, requests: pd.DataFrame) -> Iterator[pd.DataFrame]:
        """Some users at a time: a user's predictions do not depend on the other users."""
        for start in range(0, len(requests), USERS_AT_ONCE):
            yield requests.iloc[start : start + USERS_AT_ONCE].reset_index(drop=True)

    def answers(
        self,
        requests: pd.DataFrame,  # noqa: ARG002
        features: pd.DataFrame,
        scores: Floats,
    ) -> pd.DataFrame:
        """The best items of each user, as many as the metrics look at, with place, score, kind."""
        import pandas as pd

        order = self._order(features, scores, pd.factorize(features[self.user])[0])
        places = max(self.k, self.recall_k)
        return predictions.ranked_predictions(
            features, scores, self.user, self.item, self.repeat, places, order
        )

    def match(self, answered: Mapping[str, pd.DataFrame], happened: pd.DataFrame) -> Matched:
        wanted = self.wanted(happened)
        return predictions.match_ranked(answered, wanted, self.user, self.item, self.repeat)

    def label(self, features: pd.DataFrame, clean_rows: pd.DataFrame) -> pd.DataFrame:
        """Item candidates with ``day``, ``target`` (int8) and ``relevant`` (int32), RangeIndex.

        Args:
            features: Item candidates of one day: user, item, inputs. A user without item candidates
                would drop out of the metrics, so each user of the day needs one (such as a popular
                item) unless nobody has one, as on the very first day.
            clean_rows: The day's purchases.

        Raises:
            SpecError: More than one day, missing or repeated (user, item) pairs, users without item
                candidates.
        """
        if clean_rows["day"].nunique() > 1:
            raise SpecError("label: found rows of several days, expected those of one day")
        keys = [self.user, self.item]
        if missing := [name for name in keys if name not in features]:
            raise SpecError(f"features: columns {', '.join(missing)} are missing")
        candidates = unreserved(features, self.keys).reset_index(drop=True)
        if doubled := int(candidates.duplicated(keys).sum()):
            raise SpecError(
                f"features: {doubled:,} item candidates are repeated; expected each item once "
                f"per {self.user}"
            )
        asked = clean_rows[self.user].drop_duplicates()
        wanted = self.wanted(clean_rows)[keys]
        without = ~asked.isin(candidates[self.user])
        if len(candidates) and without.any():
            raise SpecError(
                f"features: {int(without.sum()):,} of {len(asked):,} users have no item "
                "candidates, so their purchases could not be scored. Return item candidates for "
                "each user, such as popular items"
            )
        hit = candidates[keys].merge(wanted, how="left", on=keys, indicator=True)["_merge"]
        relevant = wanted.groupby(self.user, observed=True).size()
        count = candidates[self.user].map(relevant.reindex(asked, fill_value=0))
        if count.isna().any():
            strangers = int(candidates.loc[count.isna(), self.user].nunique())
            raise SpecError(
                f"features: found item candidates for {strangers:,} users who are not in the "
                "requests; expected only users of the requests"
            )
        day = clean_rows["day"].iloc[0] if len(clean_rows) else None
        return candidates.assign(
            day=np.full(len(candidates), day, dtype="datetime64[s]"),
            target=(hit == "both").to_numpy(dtype=np.int8),
            relevant=count.to_numpy(dtype=np.int32),
        )

    def score(self, estimator: Any, inputs: pd.DataFrame) -> Floats:
        return probability(estimator, inputs)

    def baseline_scores(
        self,
        train: pd.DataFrame,  # noqa: ARG002
        holdout: pd.DataFrame,
    ) -> Floats:
        """The popularity column of the holdout's item candidates, known before their day."""
        check_column(holdout, self.baseline, "problem.baseline")
        return holdout[self.baseline].to_numpy(dtype=np.float64)

    def training_fault(self, train: pd.DataFrame) -> str:
        if train["target"].any():
            return ""
        return f"none of the {len(train):,} item candidates of the training days was {self._verb}"

    def check_examples(self, examples: pd.DataFrame) -> None:
        if not examples["target"].any():
            raise JudgementError(
                f"none of the {len(examples):,} item candidates of the holdout was {self._verb}"
            )

    def slice_values(self, examples: pd.DataFrame, by: Slice) -> pd.Series[Any]:
        """The group of each item candidate's user; a function gets the first row of each query."""
        query, _ = self._queries(examples)
        first = np.unique(query, return_index=True)[1]
        if not isinstance(by, str):
            own = slice_values(examples.iloc[first], by)
            return own.iloc[query].set_axis(examples.index)
        import pandas as pd

        values = slice_values(examples, by)
        codes = pd.factorize(values, use_na_sentinel=False)[0]
        if (codes != codes[first][query]).any():
            raise SpecError(
                f"slices: column {slice_name(by)!r} differs within one {self.user}'s item "
                f"candidates; expected a column that describes the {self.user}"
            )
        return values

    def score_fault(self, score: Floats) -> str:  # noqa: ARG002
        return ""

    def count_units(self, examples: pd.DataFrame) -> int:
        """Queries in which something was wanted."""
        return self._queries(examples[examples["relevant"] > 0])[1]

    def measure(
        self,
        examples: pd.DataFrame,
        scores: Mapping[str, Floats],
        day: Ints,
        counts: Floats,
        names: Sequence[str],
    ) -> dict[str, dict[str, Floats]]:
        query = self._queries(examples)[0]
        scores = {scorer: self._order(examples, score, query) for scorer, score in scores.items()}
        tie = self._tie(examples)
        ranking = Ranking(
            query=query,
            tie=tie,
            target=examples["target"].to_numpy() == 1,
            relevant=examples["relevant"].to_numpy(dtype=np.float64),
            day=day,
            repeat=None if self.repeat is None else examples[self.repeat].to_numpy() > 0,
        )
        own, known = self._own_and_built_in(names)
        found = ranking_metrics(ranking, scores, counts, known, self.k, self.recall_k)
        for scorer, score in scores.items() if own else ():
            placed = examples.assign(place=_places(query, tie, score))
            for metric in own:
                values = metric.of_rows(placed, score)
                found[scorer][metric.name] = _mean_of_queries(ranking, values, counts)
        return found

    def _order(self, examples: pd.DataFrame, score: Floats, query: Ints) -> Floats:
        """Scores in whose order items are shown: those given, unless places are kept."""
        if not self.discoveries:
            return score
        fresh = ~(examples[self.repeat].to_numpy() > 0)
        return keep_places(query, self._tie(examples), score, fresh, self.k, self.discoveries)

    def _tie(self, examples: pd.DataFrame) -> npt.NDArray[np.uint64]:
        from pandas.util import hash_array

        return np.asarray(hash_array(examples[self.item].to_numpy()))

    def _queries(self, examples: pd.DataFrame) -> tuple[Ints, int]:
        """Code of the (day, user) pair of each item candidate, and how many there are."""
        import pandas as pd

        day, _ = pd.factorize(examples["day"])
        user, users = pd.factorize(examples[self.user])
        codes, pairs = pd.factorize(day.astype(np.int64) * len(users) + user)
        return codes.astype(np.int64), len(pairs)

    @property
    def _verb(self) -> str:
        return "bought" if self.rating is None else "liked"


def _places(query: Ints, tie: npt.NDArray[np.uint64], score: Floats) -> Ints:
    """Place of each row in its query, 1 for the best."""
    order = np.lexsort((tie, -score, query))
    ordered = query[order]
    places = np.empty(len(query), dtype=np.int64)
    places[order] = np.arange(len(query)) - np.searchsorted(ordered, ordered) + 1
    return places


def _mean_of_queries(ranking: Ranking, values: Floats, counts: Floats) -> Floats:
    """Sum of the rows of each query in which something was wanted, averaged over the queries.

    A query of which no row counts is left out.
    """
    counted = (ranking.relevant > 0) & ~np.isnan(values)
    first = np.unique(ranking.query, return_index=True)[1]
    sums = np.bincount(ranking.query, np.where(counted, values, 0.0))
    some = np.bincount(ranking.query, counted) > 0
    return daily_mean(np.where(some, sums, np.nan), ranking.day[first], counts)
