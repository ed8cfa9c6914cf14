"""Metrics of numbers and of intervals equal scikit-learn's on every resample of days."""

import numpy as np
import pytest
from sklearn import metrics as reference

from tasks import numeric_metrics
from tasks.evaluate import day_counts

NUMERIC = {
    "mean_absolute_error": reference.mean_absolute_error,
    "root_mean_squared_error": reference.root_mean_squared_error,
    "median_absolute_error": reference.median_absolute_error,
    "r2": reference.r2_score,
}


@pytest.mark.parametrize("name", NUMERIC)
@pytest.mark.parametrize("rows", [300, 301])
def test_numeric_metric_equals_reference_on_every_resample(name, rows):
    rng = np.random.default_rng(5)
    target = rng.normal(1000, 5, rows)
    score, day = target + rng.normal(0, 3, rows), rng.integers(0, 7, rows)
    counts = day_counts(7, 20, seed=1)
    found = numeric_metrics.regression_metrics(target, score, day, counts, [name])[name]
    for weights, value in zip(counts, found, strict=True):
        drawn = np.repeat(np.arange(rows), weights[day].astype(int))
        assert value == pytest.approx(NUMERIC[name](target[drawn], score[drawn]), abs=1e-10)
