"""Metrics equal scikit-learn's, day resamples equal scoring the drawn rows."""

import numpy as np
import pytest
from sklearn import metrics as reference

from tasks import metrics
from tasks.evaluate import day_counts

BINARY = {
    "average_precision": reference.average_precision_score,
    "roc_auc": reference.roc_auc_score,
    "log_loss": reference.log_loss,
    "brier": reference.brier_score_loss,
}


def _binary(rows=600, days=7, decimals=2, seed=3):
    rng = np.random.default_rng(seed)
    score = rng.random(rows).round(decimals)
    return (rng.random(rows) < score * 0.6).astype(np.int8), score, rng.integers(0, days, rows)


def _drawn(day, counts):
    """Row positions of one resample, written out."""
    return np.repeat(np.arange(len(day)), counts[day].astype(int))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("decimals", [1, 2, 9])
def test_binary_metric_equals_reference_on_every_resample(name, decimals):
    target, score, day = _binary(decimals=decimals)
    counts = day_counts(7, 20, seed=1)
    found = metrics.binary_metrics(target, score, day, counts, [name])[name]
    for weights, value in zip(counts, found, strict=True):
        rows = _drawn(day, weights)
        assert value == pytest.approx(BINARY[name](target[rows], score[rows]), abs=1e-12)


def test_average_precision_of_a_constant_is_the_prevalence():
    target, _, day = _binary()
    found = metrics.binary_metrics(
        target, np.full(len(target), 0.2), day, np.ones((1, 7)), ["average_precision", "roc_auc"]
    )
    assert found["average_precision"][0] == pytest.approx(target.mean(), abs=1e-12)
    assert found["roc_auc"][0] == 0.5


def test_blocks_do_not_change_average_precision(monkeypatch):
    target, score, day = _binary()
    counts = day_counts(7, 50, seed=1)
    whole = metrics.binary_metrics(target, score, day, counts, ["average_precision"])
    monkeypatch.setattr(metrics, "BLOCK_CELLS", 200)
    parts = metrics.binary_metrics(target, score, day, counts, ["average_precision"])
    np.testing.assert_allclose(whole["average_precision"], parts["average_precision"], atol=1e-13)


def test_calibration_error_by_hand():
    score = np.repeat([0.1, 0.3, 0.9], 100)
    target = np.concatenate([np.arange(100) < 20, np.arange(100) < 30, np.arange(100) < 70])
    found = metrics.binary_metrics(
        target, score, np.zeros(300, int), np.ones((1, 1)), ["calibration_error"]
    )
    assert found["calibration_error"][0] == pytest.approx((0.1 + 0.0 + 0.2) / 3)


def test_one_class_in_a_resample_is_undefined():
    found = metrics.binary_metrics(
        [1, 0], np.array([0.4, 0.2]), np.array([0, 1]), np.eye(2), ["average_precision", "roc_auc"]
    )
    assert np.isnan(found["roc_auc"]).all()
    assert found["average_precision"][0] == 1
    assert np.isnan(found["average_precision"][1])


def test_titles_for_people():
    assert metrics.title("ndcg_10") == "NDCG@10"
    assert metrics.title("recall_20_from_repeats") == "recall@20 from repeats"
    assert metrics.title("average_precision") == "average precision"
    assert metrics.title("r2") == "R²"
