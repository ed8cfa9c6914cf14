"""What classification and regression share: one request and one label per row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.errors import SpecError
from tasks.metrics.base import daily_mean
from tasks.problems import predictions
from tasks.problems.base import ProblemBase
from tasks.problems.columns import metric_faults, slice_values, unreserved
from tasks.shown import NAMED_COLUMNS, few

if TYPE_CHECKING:
    import pandas as pd

    from tasks.metrics.base import Floats, Ints
    from tasks.problems.columns import Slice
    from tasks.problems.predictions import Matched


class Tabular(ProblemBase):
    """Base of the problems that have a column as target."""

    target: str
    unit: str
    key: tuple[str, ...]

    @property
    def target_column(self) -> str:
        return self.target

    @property
    def keys(self) -> tuple[str, ...]:
        return ("day", "target")

    @property
    def answer_keys(self) -> tuple[str, ...]:
        return self.key

    @property
    def built_in(self) -> tuple[str, ...]:
        """Metrics that are always reported."""
        raise NotImplementedError

    @property
    def metric_names(self) -> tuple[str, ...]:
        every = (*self.built_in, *(own.name for own in self.metrics))
        return (self.primary, *(name for name in every if name != self.primary))

    @property
    def live_metrics(self) -> tuple[str, ...]:
        return self.metric_names

    def requests(self, clean_rows: pd.DataFrame, known_ahead: Sequence[str]) -> pd.DataFrame:
        """The day's rows, with ``day`` and the clean columns of ``known_ahead``."""
        return clean_rows[["day", *(n for n in known_ahead if n != "day" and n in clean_rows)]]

    def ask(
        self,
        named: pd.DataFrame | None,
        history: pd.DataFrame,  # noqa: ARG002
        known_ahead: Sequence[str],
    ) -> pd.DataFrame:
        """The rows of ``named`` with the columns known ahead.

        Raises:
            ValueError: Where nothing is named.
        """
        if named is None:
            raise ValueError(
                "requests: found None, expected a function that returns the rows to predict"
            )
        return self.requests(named, known_ahead)

    def ask_for_anyone(
        self,
        requests: pd.DataFrame,  # noqa: ARG002
        history: pd.DataFrame,  # noqa: ARG002
    ) -> pd.DataFrame | None:
        return None

    def batches(self, requests: pd.DataFrame) -> Iterator[pd.DataFrame]:
        """All at once: a feature may use all requests of a day."""
        yield requests

    def answers(
        self, requests: pd.DataFrame, features: pd.DataFrame, scores: Floats
    ) -> pd.DataFrame:
        """The key of each request and its scores; raises ValueError where they do not fit."""
        return predictions.keyed_predictions(
            requests, features, scores, self.key, self.score_columns
        )

    def match(self, answered: Mapping[str, pd.DataFrame], happened: pd.DataFrame) -> Matched:
        examples, scores, counts = predictions.match_keyed(
            answered, happened, self.key, self.score_columns, self.target
        )
        return examples.assign(target=self.encode(examples["target"])), scores, counts

    def encode(self, labels: pd.Series[Any]) -> pd.Series[Any]:
        """Labels as numbers for an estimator."""
        raise NotImplementedError

    def label_fault(self, clean_rows: pd.DataFrame) -> str:
        if self.target not in clean_rows:
            raise SpecError(
                f"problem.target: found {self.target!r}, but the clean rows have no such column; "
                f"allowed one of {few(clean_rows, NAMED_COLUMNS)}"
            )
        return self._fault_of(clean_rows[self.target].dropna())

    def label(self, features: pd.DataFrame, clean_rows: pd.DataFrame) -> pd.DataFrame:
        """Features with ``day`` and ``target``; rows without a label dropped.

        Raises:
            SpecError: Labels that the problem does not accept, or features that do not fit the
                requests or hold the target.
        """
        if len(features) != len(clean_rows) or not features.index.equals(clean_rows.index):
            raise SpecError(
                f"features returned {len(features):,} rows for {len(clean_rows):,} requests, or a "
                "different index. Return one row per request and keep the index of the requests"
            )
        if fault := self.label_fault(clean_rows):
            raise SpecError(fault)
        labels = clean_rows[self.target]
        known = labels.notna()
        kept = unreserved(features, self.keys, self.target)[known]
        return kept.assign(day=clean_rows.loc[known, "day"], target=self.encode(labels[known]))

    def training_fault(self, train: pd.DataFrame) -> str:  # noqa: ARG002
        return ""

    def slice_values(self, examples: pd.DataFrame, by: Slice) -> pd.Series[Any]:
        return slice_values(examples, by)

    def count_units(self, examples: pd.DataFrame) -> int:
        return len(examples)

    def measure(
        self,
        examples: pd.DataFrame,
        scores: Mapping[str, Floats],
        day: Ints,
        counts: Floats,
        names: Sequence[str],
    ) -> dict[str, dict[str, Floats]]:
        target = examples["target"].to_numpy()
        own, known = self._own_and_built_in(names)
        return {
            scorer: self._measure(target, score, day, counts, known)
            | {
                metric.name: daily_mean(metric.of_rows(examples, score), day, counts)
                for metric in own
            }
            for scorer, score in scores.items()
        }

    def _fault_of(self, labels: pd.Series[Any]) -> str:
        raise NotImplementedError

    def _measure(
        self,
        target: npt.NDArray[Any],
        score: Floats,
        day: Ints,
        counts: Floats,
        names: Sequence[str],
    ) -> dict[str, Floats]:
        raise NotImplementedError

    def _faults(self, allowed: Sequence[str], known_ahead: Sequence[str]) -> list[str]:
        found = metric_faults(self.primary, allowed, self.metrics)
        found += target_faults(self.target, known_ahead)
        if unknown := [name for name in self.key if name not in known_ahead]:
            found.append(f"key: found {unknown[0]!r}, allowed columns that known_ahead names")
        columns = (*self.score_columns, *predictions.PUBLISHED)
        if taken := [name for name in self.key if name in (*columns, "target")]:
            found.append(
                f"key: found {taken[0]!r}, allowed a name that is not a column of the predictions "
                f"({', '.join(columns)}) nor target: rename the column in clean, such as "
                f"rows.rename(columns={{{taken[0]!r}: 'own_{taken[0]}'}})"
            )
        return found


def target_faults(target: object, known_ahead: Sequence[str]) -> list[str]:
    """What is wrong with the name of the target."""
    found = []
    if not isinstance(target, str) or not target or target == "day":
        found.append(f"target: found {target!r}, allowed a column of the clean rows")
    if target in known_ahead:
        found.append(
            f"target: found {target!r} among known_ahead, allowed a column known only after the day"
        )
    return found


def shares(codes: npt.NDArray[Any], classes: int) -> Floats:
    """Share of each class."""
    return np.bincount(codes.astype(np.int64), minlength=classes) / max(1, len(codes))
