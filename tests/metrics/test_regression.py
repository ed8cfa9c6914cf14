"""Metrics of numbers and of intervals equal scikit-learn's on every resample of days."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from tasks.evaluation.bootstrap import day_counts
from tasks.metrics import regression
from tests.samples import samples

NUMERIC = {
    "mean_absolute_error": reference.mean_absolute_error,
    "root_mean_squared_error": reference.root_mean_squared_error,
    "median_absolute_error": reference.median_absolute_error,
    "r2": reference.r2_score,
    "mean_absolute_percentage_error": reference.mean_absolute_percentage_error,
    "mean_poisson_deviance": reference.mean_poisson_deviance,
}


@pytest.mark.parametrize("name", NUMERIC)
@pytest.mark.parametrize("rows", [300, 301])
def test_numeric_metric_equals_reference_on_every_resample(name, rows):
    rng = np.random.default_rng(5)
    target = rng.normal(1000, 5, rows)
    score, day = target + rng.normal(0, 3, rows), rng.integers(0, 7, rows)
    counts = day_counts(7, 20, seed=1)
    found = regression.regression_metrics(target, score, day, counts, [name])[name]
    for weights, value in zip(counts, found, strict=True):
        drawn = np.repeat(np.arange(rows), weights[day].astype(int))
        assert value == pytest.approx(NUMERIC[name](target[drawn], score[drawn]), abs=1e-10)


LEVELS = (0.1, 0.5, 0.8)


@given(st.integers(0, 10_000))
@settings(max_examples=samples(15))
def test_quantiles_are_measured_as_scikit_learn_does(seed):
    rng = np.random.default_rng(seed)
    target = rng.normal(0, 2, 40)
    score = np.sort(target[:, None] * 0.5 + rng.normal(0, 1, (40, 3)), axis=1)
    day, counts = rng.integers(0, 5, 40), day_counts(5, 5, seed=seed)
    names = ["mean_pinball_loss", "interval_coverage", "interval_width", "mean_absolute_error"]
    found = regression.quantile_metrics(target, score, LEVELS, day, counts, names)
    for place, weights in enumerate(counts):
        rows = np.repeat(np.arange(40), weights[day].astype(int))
        truth, said = target[rows], score[rows]
        expected = {
            "mean_pinball_loss": np.mean(
                [
                    reference.mean_pinball_loss(truth, said[:, i], alpha=level)
                    for i, level in enumerate(LEVELS)
                ]
            ),
            "interval_coverage": ((said[:, 0] <= truth) & (truth <= said[:, 2])).mean(),
            "interval_width": (said[:, 2] - said[:, 0]).mean(),
            "mean_absolute_error": reference.mean_absolute_error(truth, said[:, 1]),
        }
        for name in names:
            assert found[name][place] == pytest.approx(expected[name], abs=1e-12), name
