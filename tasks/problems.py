"""What can be predicted: requests, labels, inputs, scores, metrics and the trivial baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from tasks import answers
from tasks import metrics as measures
from tasks.answers import Matched
from tasks.metrics import Floats, Ints, JudgementError

if TYPE_CHECKING:
    import pandas as pd

RESERVED = ("day", "target", "relevant")
USERS_AT_ONCE = 2_000
"""Users answered in one go: bounds the memory that their candidates take."""
_REGRESSION = (
    "mean_absolute_error",
    "root_mean_squared_error",
    "median_absolute_error",
    "r2",
)


class Problem(Protocol):
    """The part of a model that depends on what kind of thing is predicted."""

    @property
    def unit(self) -> str:
        """What one judged unit is called, plural, for the report."""

    @property
    def method(self) -> str:
        """Method an estimator must have: ``predict_proba`` or ``predict``."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns of the examples that are no inputs of an estimator."""

    @property
    def answer_keys(self) -> tuple[str, ...]:
        """Columns by which the app looks an answer up."""

    @property
    def answer_column(self) -> str:
        """Column of the answers that holds the score."""

    @property
    def primary(self) -> str:
        """Name of the metric a verdict rests on."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric that is reported, the primary one first."""

    @property
    def live_metrics(self) -> tuple[str, ...]:
        """Those that can be told of the answers alone, the primary one first."""

    @property
    def greater_is_better(self) -> bool:
        """Orientation of the primary metric."""

    def faults(self, known_ahead: Sequence[str] = ()) -> list[str]:
        """Every setting out of bounds, in words."""

    def requests(self, clean_rows: pd.DataFrame, known_ahead: Sequence[str]) -> pd.DataFrame:
        """What is asked before the day begins, nothing that is known only later."""

    def ask(
        self, named: pd.DataFrame | None, history: pd.DataFrame, known_ahead: Sequence[str]
    ) -> pd.DataFrame:
        """What the app asks of the day after the history.

        Args:
            named: Clean rows of what the spec's ``requests`` names; None where it names nothing.
            history: Clean rows of the days before.
            known_ahead: Columns that are known before a day.
        """

    def ask_for_anyone(self, requests: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame | None:
        """The request of somebody never seen, whose answers serve all who were not asked for."""

    def batches(self, requests: pd.DataFrame) -> Iterator[pd.DataFrame]:
        """The requests in parts that may be answered one after the other."""

    def answers(
        self, requests: pd.DataFrame, features: pd.DataFrame, scores: Floats
    ) -> pd.DataFrame:
        """What the app reads, each row once by ``answer_keys``."""

    def match(self, answered: Mapping[str, pd.DataFrame], happened: pd.DataFrame) -> Matched:
        """The answers of one day, by scorer, beside the clean rows of what happened on it."""

    def label(self, features: pd.DataFrame, clean_rows: pd.DataFrame) -> pd.DataFrame:
        """Examples of one day: features, ``day``, ``target`` and, for rankings, ``relevant``."""

    def inputs(self, examples: pd.DataFrame) -> pd.DataFrame:
        """What an estimator sees: the examples without ``keys``."""

    def score(self, estimator: Any, inputs: pd.DataFrame) -> Floats:
        """One score per row from a fitted estimator."""

    def baseline_scores(self, train: pd.DataFrame, holdout: pd.DataFrame) -> Floats:
        """Scores of the trivial baseline for the holdout examples."""

    def check_examples(self, examples: pd.DataFrame) -> None:
        """Raise ``JudgementError`` where the labels allow no judgement."""

    def check_slice(self, examples: pd.DataFrame, column: str) -> None:
        """Raise ``ValueError`` where a slice column cannot be judged by."""

    def score_fault(self, score: Floats) -> str:
        """Why finite scores cannot be used, or an empty string."""

    def count_units(self, examples: pd.DataFrame) -> int:
        """Number of judged units: rows, or queries for a ranking."""

    def measure(
        self,
        examples: pd.DataFrame,
        scores: Mapping[str, Floats],
        day: Ints,
        counts: Floats,
        names: Sequence[str],
    ) -> dict[str, dict[str, Floats]]:
        """Scorer to metric to one value per row of ``counts`` (resamples x days)."""


class _Tabular:
    """What classification and regression share: one row is asked, one row is labelled."""

    target: str
    metric: str
    unit: str
    key: tuple[str, ...]
    answer_column: ClassVar[str]

    @property
    def keys(self) -> tuple[str, ...]:
        return ("day", "target")

    @property
    def answer_keys(self) -> tuple[str, ...]:
        return self.key

    @property
    def metrics(self) -> tuple[str, ...]:
        raise NotImplementedError

    @property
    def live_metrics(self) -> tuple[str, ...]:
        return self.metrics

    @property
    def primary(self) -> str:
        return self.metric

    @property
    def greater_is_better(self) -> bool:
        return measures.greater_is_better(self.metric)

    def requests(self, clean_rows: pd.DataFrame, known_ahead: Sequence[str]) -> pd.DataFrame:
        """The day's rows with ``day`` and those of the columns known ahead that were kept."""
        return clean_rows[["day", *(n for n in known_ahead if n != "day" and n in clean_rows)]]

    def ask(
        self,
        named: pd.DataFrame | None,
        history: pd.DataFrame,  # noqa: ARG002
        known_ahead: Sequence[str],
    ) -> pd.DataFrame:
        """The named rows with what is known of them ahead.

        Raises:
            ValueError: Where nothing is named.
        """
        if named is None:
            raise ValueError("requests: found None, expected a function that names the rows to ask")
        return self.requests(named, known_ahead)

    def ask_for_anyone(
        self,
        requests: pd.DataFrame,  # noqa: ARG002
        history: pd.DataFrame,  # noqa: ARG002
    ) -> pd.DataFrame | None:
        return None

    def batches(self, requests: pd.DataFrame) -> Iterator[pd.DataFrame]:
        """All at once: a feature may look at the whole plan of a day."""
        yield requests

    def answers(
        self, requests: pd.DataFrame, features: pd.DataFrame, scores: Floats
    ) -> pd.DataFrame:
        """The key of each request and its score; raises ValueError where they do not fit."""
        return answers.keyed_answers(requests, features, scores, self.key, self.answer_column)

    def match(self, answered: Mapping[str, pd.DataFrame], happened: pd.DataFrame) -> Matched:
        return answers.match_keyed(answered, happened, self.key, self.answer_column, self.target)

    def inputs(self, examples: pd.DataFrame) -> pd.DataFrame:
        return _inputs(examples, self.keys)

    def check_slice(self, examples: pd.DataFrame, column: str) -> None:
        _check_column(examples, column)

    def count_units(self, examples: pd.DataFrame) -> int:
        return len(examples)

    def _labelled(
        self, features: pd.DataFrame, clean_rows: pd.DataFrame
    ) -> tuple[pd.DataFrame, pd.Series[Any]]:
        if len(features) != len(clean_rows) or not features.index.equals(clean_rows.index):
            raise ValueError(
                f"features gave {len(features):,} rows for {len(clean_rows):,} requests, or another"
                " index: give one row per request and keep the index of the requests"
            )
        labels = clean_rows[self.target]
        known = labels.notna()
        kept = features[known].drop(columns=[c for c in RESERVED if c in features])
        return kept.assign(day=clean_rows.loc[known, "day"]), labels[known]


@dataclass(frozen=True)
class Classification(_Tabular):
    """Probability that a column is 1.

    Attributes:
        target: Column of the clean rows with 0 or 1; rows without a value are not labelled.
        metric: Primary metric.
        unit: What a row is, plural, for the report.
        key: Columns of the clean rows, known ahead, by which the app looks a row up; needed where
            the spec names ``requests``.
    """

    target: str
    metric: str = "average_precision"
    unit: str = "rows"
    key: tuple[str, ...] = ()
    answer_column = "probability"

    @property
    def method(self) -> str:
        return "predict_proba"

    @property
    def metrics(self) -> tuple[str, ...]:
        every = ("average_precision", "roc_auc", "log_loss", "brier", "calibration_error")
        return (self.metric, *(name for name in every if name != self.metric))

    def faults(self, known_ahead: Sequence[str] = ()) -> list[str]:
        allowed = ("average_precision", "roc_auc", "log_loss", "brier")
        return _tabular_faults(self, allowed, known_ahead)

    def label(self, features: pd.DataFrame, clean_rows: pd.DataFrame) -> pd.DataFrame:
        """Features with ``day`` and ``target`` (int8); rows without a label dropped.

        Raises:
            ValueError: Other labels than 0 and 1, or features that do not fit the requests.
        """
        kept, labels = self._labelled(features, clean_rows)
        if not labels.isin([0, 1]).all():
            found = sorted(map(str, labels.unique()))[:5]
            raise ValueError(f"target {self.target!r}: found {', '.join(found)}; expected 0 and 1")
        return kept.assign(target=labels.astype("int8"))

    def score(self, estimator: Any, inputs: pd.DataFrame) -> Floats:
        return _probability(estimator, inputs)

    def baseline_scores(self, train: pd.DataFrame, holdout: pd.DataFrame) -> Floats:
        """The base rate of the training examples for every row."""
        return np.full(len(holdout), float(train["target"].mean()))

    def check_examples(self, examples: pd.DataFrame) -> None:
        positives = int(examples["target"].sum())
        if positives in (0, len(examples)):
            raise JudgementError(
                f"the holdout has one class only: {positives:,} of {len(examples):,} {self.unit}"
                f" have {self.target} = 1"
            )

    def score_fault(self, score: Floats) -> str:
        outside = int(((score < 0) | (score > 1)).sum())
        return f"{outside:,} of {len(score):,} scores are no probabilities" if outside else ""

    def measure(
        self,
        examples: pd.DataFrame,
        scores: Mapping[str, Floats],
        day: Ints,
        counts: Floats,
        names: Sequence[str],
    ) -> dict[str, dict[str, Floats]]:
        target = examples["target"].to_numpy()
        return {
            scorer: measures.binary_metrics(target, score, day, counts, names)
            for scorer, score in scores.items()
        }


@dataclass(frozen=True)
class Regression(_Tabular):
    """Value of a numeric column.

    Attributes:
        target: Column of the clean rows; rows without a value are not labelled.
        metric: Primary metric.
        unit: What a row is, plural, for the report.
        key: Columns of the clean rows, known ahead, by which the app looks a row up; needed where
            the spec names ``requests``.
    """

    target: str
    metric: str = "mean_absolute_error"
    unit: str = "rows"
    key: tuple[str, ...] = ()
    answer_column = "prediction"

    @property
    def method(self) -> str:
        return "predict"

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.metric, *(name for name in _REGRESSION if name != self.metric))

    def faults(self, known_ahead: Sequence[str] = ()) -> list[str]:
        return _tabular_faults(self, _REGRESSION, known_ahead)

    def label(self, features: pd.DataFrame, clean_rows: pd.DataFrame) -> pd.DataFrame:
        """Features with ``day`` and ``target`` (float64); rows without a label dropped.

        Raises:
            ValueError: An infinite label, or features that do not fit the requests.
        """
        kept, labels = self._labelled(features, clean_rows)
        target = labels.astype("float64")
        if not np.isfinite(target.to_numpy()).all():
            raise ValueError(f"target {self.target!r}: found infinite values; expected finite ones")
        return kept.assign(target=target)

    def score(self, estimator: Any, inputs: pd.DataFrame) -> Floats:
        return np.asarray(estimator.predict(inputs), dtype=np.float64)

    def baseline_scores(self, train: pd.DataFrame, holdout: pd.DataFrame) -> Floats:
        """The median of the training examples for every row."""
        return np.full(len(holdout), float(train["target"].median()))

    def check_examples(self, examples: pd.DataFrame) -> None:
        target = examples["target"].to_numpy()
        if not np.isfinite(target).all():
            raise JudgementError(f"the holdout has labels of {self.target} that are not finite")
        if (target == target[0]).all():
            raise JudgementError(f"the holdout has one value of {self.target} only: {target[0]:g}")

    def score_fault(self, score: Floats) -> str:  # noqa: ARG002
        return ""

    def measure(
        self,
        examples: pd.DataFrame,
        scores: Mapping[str, Floats],
        day: Ints,
        counts: Floats,
        names: Sequence[str],
    ) -> dict[str, dict[str, Floats]]:
        target = examples["target"].to_numpy()
        return {
            scorer: measures.regression_metrics(target, score, day, counts, names)
            for scorer, score in scores.items()
        }


@dataclass(frozen=True)
class Recommendation:
    """Order of a user's candidate items by how likely each is bought on the day.

    A query is a (day, user) pair. Items bought but absent from the candidates count as missed.

    Attributes:
        user: Column of the clean rows that names the user.
        item: Column of the clean rows that names the item.
        baseline: Feature column whose order is the trivial baseline, such as an item's popularity.
        metric: Primary metric, ``ndcg`` or ``recall``.
        k: Places that NDCG looks at.
        recall_k: Places that recall looks at.
        repeat: Feature column above 0 where the user has bought the item before; None leaves the
            metrics of repeats and discoveries out.
        unit: What a query is, plural, for the report.
    """

    user: str
    item: str
    baseline: str
    metric: str = "ndcg"
    k: int = 10
    recall_k: int = 20
    repeat: str | None = None
    unit: str = "baskets"
    answer_column = "score"

    @property
    def method(self) -> str:
        return "predict_proba"

    @property
    def keys(self) -> tuple[str, ...]:
        return ("day", "target", "relevant", self.user, self.item)

    @property
    def answer_keys(self) -> tuple[str, ...]:
        return (self.user, "place")

    @property
    def primary(self) -> str:
        return f"ndcg_{self.k}" if self.metric == "ndcg" else f"recall_{self.recall_k}"

    @property
    def metrics(self) -> tuple[str, ...]:
        every = [f"ndcg_{self.k}", f"recall_{self.recall_k}"]
        if self.repeat is not None:
            for kind in ("repeats", "discoveries"):
                every.append(f"ndcg_{self.k}_among_{kind}")
                every.append(f"recall_{self.recall_k}_from_{kind}")
        return (self.primary, *(name for name in every if name != self.primary))

    @property
    def live_metrics(self) -> tuple[str, ...]:
        return tuple(
            name for name in self.metrics if "_from_" not in name and "_among_" not in name
        )

    @property
    def greater_is_better(self) -> bool:
        return True

    def faults(self, known_ahead: Sequence[str] = ()) -> list[str]:
        found = _metric_faults(self.metric, ("ndcg", "recall"))
        for name in ("user", "item", "baseline"):
            found += _name_faults(name, getattr(self, name))
        if self.repeat is not None:
            found += _name_faults("repeat", self.repeat)
        if self.user == self.item:
            found.append(f"item: found {self.item!r}, allowed another column than user")
        for name in ("k", "recall_k"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= 1000:
                found.append(f"{name}: found {value!r}, allowed a whole number from 1 to 1000")
        if self.item in known_ahead:
            found.append(
                f"item: found {self.item!r} among known_ahead, allowed a column known only"
                " after the day"
            )
        return found

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
        """The users named, else all of the history."""
        import pandas as pd

        if named is not None:
            return self.requests(named, known_ahead)
        tomorrow = history["day"].max() + pd.Timedelta(days=1)
        return self.requests(history[[self.user]].assign(day=tomorrow), known_ahead)

    def ask_for_anyone(self, requests: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame | None:
        """A user of whom nothing is known."""
        import pandas as pd

        every = pd.concat([requests[self.user], history[self.user]])
        return requests.head(1).assign(**{self.user: answers.stranger(every)})

    def batches(self, requests: pd.DataFrame) -> Iterator[pd.DataFrame]:
        """Some users at a time: what is said of one does not hang on who else is asked."""
        for start in range(0, len(requests), USERS_AT_ONCE):
            yield requests.iloc[start : start + USERS_AT_ONCE].reset_index(drop=True)

    def answers(
        self,
        requests: pd.DataFrame,  # noqa: ARG002
        features: pd.DataFrame,
        scores: Floats,
    ) -> pd.DataFrame:
        """The ``recall_k`` best items of each user, with place, score and kind."""
        return answers.ranked_answers(
            features, scores, self.user, self.item, self.repeat, self.recall_k
        )

    def match(self, answered: Mapping[str, pd.DataFrame], happened: pd.DataFrame) -> Matched:
        return answers.match_ranked(answered, happened, self.user, self.item, self.repeat)

    def label(self, features: pd.DataFrame, clean_rows: pd.DataFrame) -> pd.DataFrame:
        """Candidates with ``day``, ``target`` (int8) and ``relevant`` (int32), RangeIndex.

        Args:
            features: Candidates of one day: user, item, inputs. A user without any would drop
                out of the metrics, so each user of the day needs one (popular items serve) unless
                nobody has one, as on the first day of all.
            clean_rows: The day's purchases.

        Raises:
            ValueError: More than one day, missing or doubled (user, item) pairs, users without
                candidates.
        """
        if clean_rows["day"].nunique() > 1:
            raise ValueError("label takes the rows of one day; found several")
        keys = [self.user, self.item]
        if missing := [name for name in keys if name not in features]:
            raise ValueError(f"features: columns {', '.join(missing)} are missing")
        candidates = features.drop(columns=[c for c in RESERVED if c in features])
        candidates = candidates.reset_index(drop=True)
        if doubled := int(candidates.duplicated(keys).sum()):
            raise ValueError(
                f"features: {doubled:,} candidates are doubled; give each {self.user} an item once"
            )
        bought = clean_rows[keys].drop_duplicates()
        relevant = bought.groupby(self.user, observed=True).size()
        without = ~relevant.index.isin(candidates[self.user])
        if len(candidates) and without.any():
            raise ValueError(
                f"features: {int(without.sum()):,} of {len(relevant):,} users have no candidates,"
                " so their purchases would go unjudged; give each user some, such as popular items"
            )
        hit = candidates[keys].merge(bought, how="left", on=keys, indicator=True)["_merge"]
        count = candidates[self.user].map(relevant)
        if count.isna().any():
            strangers = int(candidates.loc[count.isna(), self.user].nunique())
            raise ValueError(f"features: candidates for {strangers:,} users who were not asked for")
        day = clean_rows["day"].iloc[0] if len(clean_rows) else None
        return candidates.assign(
            day=np.full(len(candidates), day, dtype="datetime64[s]"),
            target=(hit == "both").to_numpy(dtype=np.int8),
            relevant=count.to_numpy(dtype=np.int32),
        )

    def inputs(self, examples: pd.DataFrame) -> pd.DataFrame:
        return _inputs(examples, self.keys)

    def score(self, estimator: Any, inputs: pd.DataFrame) -> Floats:
        return _probability(estimator, inputs)

    def baseline_scores(
        self,
        train: pd.DataFrame,  # noqa: ARG002
        holdout: pd.DataFrame,
    ) -> Floats:
        """The popularity column of the holdout's own candidates, known before their day."""
        _check_column(holdout, self.baseline)
        return holdout[self.baseline].to_numpy(dtype=np.float64)

    def check_examples(self, examples: pd.DataFrame) -> None:
        if not examples["target"].any():
            raise JudgementError(
                f"none of the {len(examples):,} candidates of the holdout was bought"
            )

    def check_slice(self, examples: pd.DataFrame, column: str) -> None:
        _check_column(examples, column)
        import pandas as pd

        query, _ = self._queries(examples)
        value = pd.factorize(examples[column], use_na_sentinel=False)[0]
        first = np.unique(query, return_index=True)[1]
        if (value != value[first][query]).any():
            raise ValueError(
                f"slices: column {column!r} differs within one {self.user}'s candidates; "
                f"expected a column that describes the {self.user}"
            )

    def score_fault(self, score: Floats) -> str:  # noqa: ARG002
        return ""

    def count_units(self, examples: pd.DataFrame) -> int:
        return self._queries(examples)[1]

    def measure(
        self,
        examples: pd.DataFrame,
        scores: Mapping[str, Floats],
        day: Ints,
        counts: Floats,
        names: Sequence[str],
    ) -> dict[str, dict[str, Floats]]:
        from pandas.util import hash_array

        ranking = measures.Ranking(
            query=self._queries(examples)[0],
            tie=hash_array(examples[self.item].to_numpy()),
            target=examples["target"].to_numpy() == 1,
            relevant=examples["relevant"].to_numpy(dtype=np.float64),
            day=day,
            repeat=None if self.repeat is None else examples[self.repeat].to_numpy() > 0,
        )
        return measures.ranking_metrics(ranking, scores, counts, names, self.k, self.recall_k)

    def _queries(self, examples: pd.DataFrame) -> tuple[Ints, int]:
        """Code of the (day, user) pair of each candidate, and how many there are."""
        import pandas as pd

        day, _ = pd.factorize(examples["day"])
        user, users = pd.factorize(examples[self.user])
        codes, pairs = pd.factorize(day.astype(np.int64) * len(users) + user)
        return codes.astype(np.int64), len(pairs)


def _inputs(examples: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    return examples.drop(columns=[name for name in keys if name in examples])


def _probability(estimator: Any, inputs: pd.DataFrame) -> Floats:
    scores = np.asarray(estimator.predict_proba(inputs), dtype=np.float64)
    if scores.shape != (len(inputs), 2):
        raise ValueError(
            f"predict_proba gave shape {scores.shape}, expected ({len(inputs)}, 2): "
            "was the estimator fitted on both classes?"
        )
    return scores[:, 1]


def _check_column(examples: pd.DataFrame, column: str) -> None:
    if column not in examples:
        raise ValueError(
            f"column {column!r} is not among the features; found {', '.join(map(str, examples))}"
        )


def _metric_faults(metric: object, allowed: Sequence[str]) -> list[str]:
    return [] if metric in allowed else [f"metric: found {metric!r}, allowed {', '.join(allowed)}"]


def _name_faults(field: str, value: object) -> list[str]:
    if isinstance(value, str) and value and value not in RESERVED:
        return []
    return [f"{field}: found {value!r}, allowed a column name other than {', '.join(RESERVED)}"]


def _tabular_faults(
    problem: Classification | Regression, allowed: Sequence[str], known_ahead: Sequence[str]
) -> list[str]:
    found = _metric_faults(problem.metric, allowed)
    if not isinstance(problem.target, str) or not problem.target or problem.target == "day":
        found.append(f"target: found {problem.target!r}, allowed a column of the clean rows")
    if problem.target in known_ahead:
        found.append(
            f"target: found {problem.target!r} among known_ahead, allowed a column known only"
            " after the day"
        )
    if unknown := [name for name in problem.key if name not in known_ahead]:
        found.append(f"key: found {unknown[0]!r}, allowed columns that known_ahead names")
    return found
