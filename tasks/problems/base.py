"""What can be predicted: requests, labels, inputs, scores, metrics and the trivial baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from tasks.metrics.base import Metric, greater_is_better
from tasks.problems.columns import inputs_of

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from tasks.metrics.base import Floats, Ints
    from tasks.problems.columns import Slice
    from tasks.problems.predictions import Matched


class Problem(Protocol):
    """The part of a model that depends on what kind of thing is predicted."""

    @property
    def unit(self) -> str:
        """Name of one holdout unit in the report, plural."""

    @property
    def method(self) -> str:
        """Method an estimator must have: ``predict_proba`` or ``predict``."""

    @property
    def user_column(self) -> str | None:
        """Column that names the user, where items are ranked for users; else None."""

    @property
    def target_column(self) -> str | None:
        """Column of the clean rows that holds the label of each, where there is one; else None."""

    @property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of the clean rows that hold the outcome."""

    @property
    def scores_classes(self) -> bool:
        """Whether each of ``score_columns`` is the probability of one class."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Columns of the examples that are not inputs of an estimator."""

    @property
    def answer_keys(self) -> tuple[str, ...]:
        """Columns by which the app looks a prediction up."""

    @property
    def answer_column(self) -> str:
        """Main column of the predictions: it has to vary, and its drift is watched."""

    @property
    def score_columns(self) -> tuple[str, ...]:
        """Columns of the predictions that hold the score: one, or one for each class or level."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Custom metrics."""

    @property
    def primary(self) -> str:
        """Name of the metric that decides a verdict."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Every metric that is reported, the primary one first."""

    @property
    def live_metrics(self) -> tuple[str, ...]:
        """Metrics that need only the predictions and the labels, the primary one first."""

    @property
    def greater_is_better(self) -> bool:
        """Orientation of the primary metric."""

    @property
    def guarded(self) -> tuple[str, ...]:
        """Metrics besides the primary one, larger is better, of which a challenger must not lose
        more than a slice may."""

    def faults(self, known_ahead: Sequence[str] = ()) -> list[str]:
        """A sentence for every invalid setting."""

    def label_fault(self, clean_rows: pd.DataFrame) -> str:
        """What is wrong with the labels of these rows, or an empty string.

        Raises:
            SpecError: Where they lack a column that the problem names, or it has another type.
        """

    def requests(self, clean_rows: pd.DataFrame, known_ahead: Sequence[str]) -> pd.DataFrame:
        """The requests of a day, with only what is known before it begins."""

    def ask(
        self, named: pd.DataFrame | None, history: pd.DataFrame, known_ahead: Sequence[str]
    ) -> pd.DataFrame:
        """The requests of the app for the day after the history.

        Args:
            named: Clean rows of the spec's ``requests``; None where the spec defines none.
            history: Clean rows of the days before.
            known_ahead: Columns that are known before a day.
        """

    def ask_for_anyone(self, requests: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame | None:
        """The request of an unknown user, whose predictions serve every user without a request."""

    def batches(self, requests: pd.DataFrame) -> Iterator[pd.DataFrame]:
        """The requests in parts that can be predicted one after the other."""

    def answers(
        self, requests: pd.DataFrame, features: pd.DataFrame, scores: Floats
    ) -> pd.DataFrame:
        """The predictions the app reads, unique by ``answer_keys``."""

    def match(self, answered: Mapping[str, pd.DataFrame], happened: pd.DataFrame) -> Matched:
        """The predictions of one day, by scorer, joined with the clean rows of that day."""

    def label(self, features: pd.DataFrame, clean_rows: pd.DataFrame) -> pd.DataFrame:
        """Examples of one day: features, ``day``, ``target`` and, for rankings, ``relevant``."""

    def inputs(self, examples: pd.DataFrame) -> pd.DataFrame:
        """The inputs of an estimator: the examples without ``keys``."""

    def score(self, estimator: Any, inputs: pd.DataFrame) -> Floats:
        """Scores from a fitted estimator, shape (rows,) or (rows, classes or levels)."""

    def baseline_scores(self, train: pd.DataFrame, holdout: pd.DataFrame) -> Floats:
        """Scores of the trivial baseline for the holdout examples."""

    def training_fault(self, train: pd.DataFrame) -> str:
        """Why nothing can be trained on these labels, or an empty string."""

    def check_split(self, train: pd.DataFrame, holdout: pd.DataFrame) -> None:
        """Raise ``JudgementError`` where the holdout has labels that training has not."""

    def check_examples(self, examples: pd.DataFrame) -> None:
        """Raise ``JudgementError`` where the labels do not allow an evaluation."""

    def defined_metrics(self, names: Sequence[str], examples: pd.DataFrame) -> tuple[str, ...]:
        """Those of these metrics that the labels of a single day can define."""

    def slice_values(self, examples: pd.DataFrame, by: Slice) -> pd.Series[Any]:
        """The group of each row; raises ``SpecError`` where the slice cannot be used."""

    def score_fault(self, score: Floats) -> str:
        """Why finite scores cannot be used, or an empty string."""

    def count_units(self, examples: pd.DataFrame) -> int:
        """Number of holdout units: rows, or queries for a ranking."""

    def calibration(self, examples: pd.DataFrame, score: Floats) -> tuple[float, float] | None:
        """Predicted share and observed share; None where the problem predicts no shares."""

    def outcomes(self, examples: pd.DataFrame) -> list[npt.NDArray[Any]]:
        """The labels as yes/no columns, each of shape (rows,)."""

    def measure(
        self,
        examples: pd.DataFrame,
        scores: Mapping[str, Floats],
        day: Ints,
        counts: Floats,
        names: Sequence[str],
    ) -> dict[str, dict[str, Floats]]:
        """Scorer to metric to one value per row of ``counts`` (resamples x days)."""


class ProblemBase:
    """What all problems answer alike unless they say otherwise."""

    metrics: tuple[Metric, ...]
    answer_column: ClassVar[str]

    @property
    def guarded(self) -> tuple[str, ...]:
        return ()

    @property
    def user_column(self) -> str | None:
        return None

    @property
    def target_column(self) -> str | None:
        return None

    @property
    def label_columns(self) -> tuple[str, ...]:
        return (self.target_column,) if self.target_column else ()

    @property
    def scores_classes(self) -> bool:
        return False

    def defined_metrics(
        self,
        names: Sequence[str],
        examples: pd.DataFrame,  # noqa: ARG002
    ) -> tuple[str, ...]:
        return tuple(names)

    @property
    def keys(self) -> tuple[str, ...]:
        raise NotImplementedError

    @property
    def score_columns(self) -> tuple[str, ...]:
        return (self.answer_column,)

    @property
    def primary(self) -> str:
        raise NotImplementedError

    @property
    def greater_is_better(self) -> bool:
        return greater_is_better(self.primary, self.metrics)

    def inputs(self, examples: pd.DataFrame) -> pd.DataFrame:
        return inputs_of(examples, self.keys)

    def check_split(self, train: pd.DataFrame, holdout: pd.DataFrame) -> None:
        pass

    def calibration(
        self,
        examples: pd.DataFrame,  # noqa: ARG002
        score: Floats,  # noqa: ARG002
    ) -> tuple[float, float] | None:
        return None

    def outcomes(self, examples: pd.DataFrame) -> list[npt.NDArray[Any]]:
        return [examples["target"].to_numpy() == 1]

    def _own_and_built_in(self, names: Sequence[str]) -> tuple[list[Metric], list[str]]:
        """Custom metrics among these names, and the names of the others."""
        own = [metric for metric in self.metrics if metric.name in names]
        custom = {metric.name for metric in own}
        return own, [name for name in names if name not in custom]
