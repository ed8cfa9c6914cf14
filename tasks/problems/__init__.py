"""What can be predicted: import from here."""

from __future__ import annotations

from tasks.metrics.base import Metric
from tasks.problems.base import Problem
from tasks.problems.classification import Classification, Multiclass
from tasks.problems.recommendation import Recommendation
from tasks.problems.regression import Regression

__all__ = ["Classification", "Metric", "Multiclass", "Problem", "Recommendation", "Regression"]
