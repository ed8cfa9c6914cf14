"""Problems that predict a class: one of two, or one of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tasks.errors import JudgementError, SpecError
from tasks.metrics import classification
from tasks.metrics.base import Metric
from tasks.metrics.classification import DECIDED
from tasks.problems.tabular import Tabular, shares

if TYPE_CHECKING:
    import pandas as pd

    from tasks.metrics.base import Floats, Ints


MOST_CLASSES = 100
OF_ROWS = ("brier", "calibration_error", "log_loss")
"""Metrics that do not compare rows of one class with rows of another."""
UNEVEN = 0.001
"""Tolerance of the sum of a row's probabilities: 32-bit ones do not add up to 1 exactly."""


class _OfClasses(Tabular):
    """What a problem of two classes and one of several share."""

    metric: str

    @property
    def method(self) -> str:
        return "predict_proba"

    @property
    def primary(self) -> str:
        return self.metric

    def training_fault(self, train: pd.DataFrame) -> str:
        return self._one_class("training days have", train)

    def check_examples(self, examples: pd.DataFrame) -> None:
        if fault := self._one_class("holdout has", examples):
            raise JudgementError(fault)

    def defined_metrics(self, names: Sequence[str], examples: pd.DataFrame) -> tuple[str, ...]:
        one_class = self._one_class("day has", examples)
        return tuple(name for name in names if name in OF_ROWS or not one_class)

    def _one_class(self, whose: str, examples: pd.DataFrame) -> str:
        """That these labels are of one class only, or an empty string."""
        raise NotImplementedError


@dataclass(frozen=True)
class Classification(_OfClasses):
    """Probability that a column is 1.

    Attributes:
        target: Column of the clean rows with 0 or 1, or a truth value; rows without a value are
            not labelled.
        metric: Primary metric: average_precision, roc_auc, log_loss, brier, with a threshold also
            precision, recall or f1, or one of ``metrics``.
        unit: What a row is, plural, for the report.
        key: Columns of the clean rows, known ahead, by which the app looks a row up; needed where
            the spec names ``requests``.
        threshold: Probability from which a row is flagged: precision, recall, F1 and the share
            flagged are reported at it, and the predictions get a ``decision`` of 0 or 1.
        metrics: Custom metrics.
    """

    target: str
    metric: str = "average_precision"
    unit: str = "rows"
    key: tuple[str, ...] = ()
    threshold: float | None = None
    metrics: tuple[Metric, ...] = ()
    answer_column = "probability"

    @property
    def built_in(self) -> tuple[str, ...]:
        every = ("average_precision", "roc_auc", "log_loss", "brier", "calibration_error")
        return every if self.threshold is None else (*every, *DECIDED)

    def faults(self, known_ahead: Sequence[str] = ()) -> list[str]:
        left_out = ("calibration_error", "share_flagged")
        found = self._faults([n for n in self.built_in if n not in left_out], known_ahead)
        number = isinstance(self.threshold, int | float) and 0 < self.threshold < 1
        if self.threshold is not None and not number:
            found.append(f"threshold: found {self.threshold!r}, allowed None or 0 to 1")
        return found

    def encode(self, labels: pd.Series[Any]) -> pd.Series[Any]:
        """0 and 1, int8."""
        return labels.astype("int8")

    def answers(
        self, requests: pd.DataFrame, features: pd.DataFrame, scores: Floats
    ) -> pd.DataFrame:
        """The key of each request, its probability and, with a threshold, the decision."""
        found = super().answers(requests, features, scores)
        if self.threshold is None:
            return found
        return found.assign(decision=(scores >= self.threshold).astype(np.int8))

    def score(self, estimator: Any, inputs: pd.DataFrame) -> Floats:
        return probability(estimator, inputs)

    def baseline_scores(self, train: pd.DataFrame, holdout: pd.DataFrame) -> Floats:
        """The base rate of the training examples for every row."""
        return np.full(len(holdout), float(train["target"].mean()))

    def score_fault(self, score: Floats) -> str:
        outside = int(((score < 0) | (score > 1)).sum())
        return (
            (f"{outside:,} of {len(score):,} scores are not probabilities between 0 and 1")
            if outside
            else ""
        )

    def calibration(self, examples: pd.DataFrame, score: Floats) -> tuple[float, float] | None:
        return float(score.mean()), float(examples["target"].mean())

    def _one_class(self, whose: str, examples: pd.DataFrame) -> str:
        positives = int(examples["target"].sum())
        if 0 < positives < len(examples):
            return ""
        return (
            f"the {whose} only one class: {positives:,} of {len(examples):,} {self.unit} have "
            f"{self.target} = 1"
        )

    def _fault_of(self, labels: pd.Series[Any]) -> str:
        if labels.isin([0, 1]).all():
            return ""
        import pandas as pd

        found = ", ".join(sorted(map(str, labels.unique()))[:5])
        fault = (
            f"target {self.target!r}: found {found}; expected 0 and 1. Convert it in clean, or "
            "use Multiclass"
        )
        if not pd.api.types.is_numeric_dtype(labels):
            raise SpecError(f"problem.{fault}")
        return fault

    def _measure(
        self,
        target: npt.NDArray[Any],
        score: Floats,
        day: Ints,
        counts: Floats,
        names: Sequence[str],
    ) -> dict[str, Floats]:
        return classification.binary_metrics(
            target, score, day, counts, names, self.threshold or 0.5
        )


@dataclass(frozen=True)
class Multiclass(_OfClasses):
    """Probability of each of several classes.

    An estimator is trained on the position of a class in ``classes``, from 0 on, and its
    probabilities come in that order; a class that was not in the training days has a probability of
    0. The predictions for the app have the likeliest class as ``prediction``, its ``probability``,
    and ``probability_<class>`` of each; a single request gets the probabilities of the classes in
    the training days, in the same order.

    Attributes:
        target: Column of the clean rows with one of ``classes``; rows without a value are not
            labelled.
        classes: Every class, as written in the target: texts or whole numbers.
        metric: Primary metric: log_loss, accuracy, balanced_accuracy, f1_macro, roc_auc, or one of
            ``metrics``.
        unit: What a row is, plural, for the report.
        key: Columns of the clean rows, known ahead, by which the app looks a row up; needed where
            the spec names ``requests``.
        metrics: Custom metrics; ``target`` is the position of the class.
    """

    target: str
    classes: tuple[str | int, ...]
    metric: str = "log_loss"
    unit: str = "rows"
    key: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = ()
    answer_column = "probability"

    @property
    def scores_classes(self) -> bool:
        return True

    @property
    def score_columns(self) -> tuple[str, ...]:
        return tuple(f"probability_{name}" for name in self.classes)

    @property
    def built_in(self) -> tuple[str, ...]:
        some = ("log_loss", "accuracy", "balanced_accuracy", "f1_macro", "roc_auc")
        return (*some, "calibration_error")

    def faults(self, known_ahead: Sequence[str] = ()) -> list[str]:
        found = self._faults(self.built_in[:-1], known_ahead)
        names = self.classes if isinstance(self.classes, tuple) else ()
        plain = [n for n in names if type(n) is int or (isinstance(n, str) and 0 < len(n) <= 40)]
        different = len({str(name) for name in names}) == len(names) == len(plain)
        if not different or not 2 <= len(names) <= MOST_CLASSES:
            shown = repr(self.classes)
            shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
            found.append(
                f"classes: found {shown}, allowed a tuple of 2 to {MOST_CLASSES} different texts "
                "of up to 40 letters, or whole numbers"
            )
        return found

    def encode(self, labels: pd.Series[Any]) -> pd.Series[Any]:
        """Positions in ``classes``, int8.

        Raises:
            ValueError: Where a label is not one of them.
        """
        import pandas as pd

        place = {name: code for code, name in enumerate(self.classes)}
        codes = labels.astype(object).map(place)
        if codes.isna().any():
            raise ValueError(self._fault_of(labels))
        return pd.Series(codes.to_numpy(dtype=np.int8), labels.index)

    def answers(
        self, requests: pd.DataFrame, features: pd.DataFrame, scores: Floats
    ) -> pd.DataFrame:
        """The key of each request, the likeliest class, its probability, and that of each class."""
        found = super().answers(requests, features, scores)
        likeliest = np.array(self.classes, dtype=object)[scores.argmax(axis=1)]
        place = len(self.key)
        found.insert(place, "prediction", likeliest)
        found.insert(place + 1, self.answer_column, scores.max(axis=1))
        return found.infer_objects()

    def score(self, estimator: Any, inputs: pd.DataFrame) -> Floats:
        """Shape (rows, classes), in the order of ``classes``."""
        given = np.asarray(estimator.predict_proba(inputs), dtype=np.float64)
        known = np.asarray(estimator.classes_).astype(np.int64)
        if given.shape != (len(inputs), len(known)):
            raise ValueError(
                f"predict_proba returned shape {given.shape}, expected ({len(inputs)}, "
                f"{len(known)}): one column for each class in its training data"
            )
        scores = np.zeros((len(inputs), len(self.classes)))
        scores[:, known] = given
        return scores

    def baseline_scores(self, train: pd.DataFrame, holdout: pd.DataFrame) -> Floats:
        """The shares of the classes among the training examples for every row."""
        share = shares(train["target"].to_numpy(), len(self.classes))
        return np.tile(share, (len(holdout), 1))

    def check_split(self, train: pd.DataFrame, holdout: pd.DataFrame) -> None:
        """Raise JudgementError where the holdout has a class that no training day has."""
        known, counts = set(train["target"]), holdout["target"].value_counts()
        if new := [code for code in counts.index if code not in known]:
            raise JudgementError(
                f"the holdout has {int(counts[new[0]]):,} {self.unit} of class "
                f"{self.classes[new[0]]!r}, which no training day has. Use a longer window, or "
                "merge rare classes in clean"
            )

    def score_fault(self, score: Floats) -> str:
        off = np.abs(score.sum(axis=1) - 1) > UNEVEN
        broken = int((off | ((score < 0) | (score > 1)).any(axis=1)).sum())
        if not broken:
            return ""
        return f"{broken:,} of {len(score):,} rows have probabilities that do not add up to 1"

    def calibration(self, examples: pd.DataFrame, score: Floats) -> tuple[float, float] | None:
        right = score.argmax(axis=1) == examples["target"].to_numpy()
        return float(score.max(axis=1).mean()), float(right.mean())

    def outcomes(self, examples: pd.DataFrame) -> list[npt.NDArray[Any]]:
        """Each class against the rest."""
        target = examples["target"].to_numpy()
        return [target == code for code in np.unique(target)]

    def _one_class(self, whose: str, examples: pd.DataFrame) -> str:
        found = examples["target"].unique()
        if len(found) > 1:
            return ""
        name = repr(self.classes[int(found[0])]) if len(found) else "none"
        return (
            f"the {whose} only one class: all {len(examples):,} {self.unit} have {self.target} = "
            f"{name}"
        )

    def _fault_of(self, labels: pd.Series[Any]) -> str:
        unknown = labels[~labels.astype(object).isin(list(self.classes))]
        if unknown.empty:
            return ""
        found = ", ".join(repr(name) for name in unknown.unique()[:5].tolist())
        return (
            f"target {self.target!r}: found {found} in {len(unknown):,} of {len(labels):,} rows, "
            "expected one of the problem's classes. Add it to classes, or exclude such rows in "
            "the contract"
        )

    def _measure(
        self,
        target: npt.NDArray[Any],
        score: Floats,
        day: Ints,
        counts: Floats,
        names: Sequence[str],
    ) -> dict[str, Floats]:
        return classification.class_metrics(target, score, day, counts, names)


def probability(estimator: Any, inputs: pd.DataFrame) -> Floats:
    """Probability of 1 from a fitted estimator, shape (rows,).

    Raises:
        ValueError: Where it was not trained on both classes.
    """
    scores = np.asarray(estimator.predict_proba(inputs), dtype=np.float64)
    if scores.shape != (len(inputs), 2):
        raise ValueError(
            f"predict_proba returned shape {scores.shape}, expected ({len(inputs)}, 2): was the "
            "estimator fitted on both classes?"
        )
    return scores[:, 1]
