"""Metrics of classes equal scikit-learn's, day resamples equal scoring the drawn rows."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from tasks import errors
from tasks.evaluation.bootstrap import day_counts
from tasks.metrics import base, classification
from tasks.problems import Classification, Multiclass, Recommendation, Regression
from tasks.problems.regression import ON_DEMAND
from tests.samples import samples

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
    found = classification.binary_metrics(target, score, day, counts, [name])[name]
    for weights, value in zip(counts, found, strict=True):
        rows = _drawn(day, weights)
        assert value == pytest.approx(BINARY[name](target[rows], score[rows]), abs=1e-12)


def test_average_precision_of_a_constant_is_the_prevalence():
    target, _, day = _binary()
    found = classification.binary_metrics(
        target, np.full(len(target), 0.2), day, np.ones((1, 7)), ["average_precision", "roc_auc"]
    )
    assert found["average_precision"][0] == pytest.approx(target.mean(), abs=1e-12)
    assert found["roc_auc"][0] == 0.5


def test_blocks_do_not_change_average_precision(monkeypatch):
    target, score, day = _binary()
    counts = day_counts(7, 50, seed=1)
    whole = classification.binary_metrics(target, score, day, counts, ["average_precision"])
    monkeypatch.setattr("tasks.metrics.classification.BLOCK_CELLS", 200)
    parts = classification.binary_metrics(target, score, day, counts, ["average_precision"])
    np.testing.assert_allclose(whole["average_precision"], parts["average_precision"], atol=1e-13)


def test_calibration_error_by_hand():
    score = np.repeat([0.1, 0.3, 0.9], 100)
    target = np.concatenate([np.arange(100) < 20, np.arange(100) < 30, np.arange(100) < 70])
    found = classification.binary_metrics(
        target, score, np.zeros(300, int), np.ones((1, 1)), ["calibration_error"]
    )
    assert found["calibration_error"][0] == pytest.approx((0.1 + 0.0 + 0.2) / 3)


def test_one_class_in_a_resample_is_undefined():
    found = classification.binary_metrics(
        [1, 0], np.array([0.4, 0.2]), np.array([0, 1]), np.eye(2), ["average_precision", "roc_auc"]
    )
    assert np.isnan(found["roc_auc"]).all()
    assert found["average_precision"][0] == 1
    assert np.isnan(found["average_precision"][1])


def _decided(metric):
    return lambda target, score: metric(target, score >= 0.3, zero_division=0)


DECISION = {
    "precision": _decided(reference.precision_score),
    "recall": _decided(reference.recall_score),
    "f1": _decided(reference.f1_score),
    "share_flagged": lambda _, score: (score >= 0.3).mean(),
}


@given(st.sampled_from(sorted(DECISION)), st.integers(0, 10_000))
@settings(max_examples=samples(25))
def test_what_a_threshold_decides_equals_reference_on_every_resample(name, seed):
    target, score, day = _binary(rows=60, days=5, decimals=1, seed=seed)
    counts = day_counts(5, 5, seed=seed)
    found = classification.binary_metrics(target, score, day, counts, [name], threshold=0.3)[name]
    for weights, value in zip(counts, found, strict=True):
        rows = _drawn(day, weights)
        if np.isnan(value):
            assert not target[rows].any()
        else:
            assert value == pytest.approx(DECISION[name](target[rows], score[rows]), abs=1e-12)


CLASSES = {
    "log_loss": lambda t, s: reference.log_loss(t, s, labels=[0, 1, 2, 3]),
    "accuracy": lambda t, s: reference.accuracy_score(t, s.argmax(axis=1)),
    "balanced_accuracy": lambda t, s: reference.recall_score(
        t, s.argmax(axis=1), labels=np.unique(t), average="macro", zero_division=0
    ),
    "f1_macro": lambda t, s: reference.f1_score(
        t, s.argmax(axis=1), average="macro", zero_division=0
    ),
}


def _classes(seed, rows=50, days=5):
    rng = np.random.default_rng(seed)
    score = rng.dirichlet([0.6, 0.6, 0.6, 0.2], rows)
    target = np.array([rng.choice(4, p=each) for each in score])
    return target, score, rng.integers(0, days, rows)


@given(st.sampled_from(sorted(CLASSES)), st.integers(0, 10_000))
@settings(max_examples=samples(25))
def test_metric_of_classes_equals_reference_on_every_resample(name, seed):
    target, score, day = _classes(seed)
    counts = day_counts(5, 5, seed=seed)
    found = classification.class_metrics(target, score, day, counts, [name])[name]
    for weights, value in zip(counts, found, strict=True):
        rows = _drawn(day, weights)
        assert value == pytest.approx(CLASSES[name](target[rows], score[rows]), abs=1e-12)


def test_roc_auc_of_classes_is_the_mean_over_those_that_occur():
    target, score, day = _classes(1, rows=400)
    counts = day_counts(5, 10, seed=1)
    found = classification.class_metrics(target, score, day, counts, ["roc_auc"])["roc_auc"]
    for weights, value in zip(counts, found, strict=True):
        rows = _drawn(day, weights)
        told = reference.roc_auc_score(target[rows], score[rows], multi_class="ovr")
        assert value == pytest.approx(told, abs=1e-12)
    rare = np.where(target == 3, 0, target)
    alone = classification.class_metrics(rare, score, day, counts, ["roc_auc"])["roc_auc"]
    assert np.isfinite(alone).all()


def test_a_class_without_any_chance_has_a_bounded_loss():
    found = classification.class_metrics(
        [1], np.array([[1.0, 0.0]]), np.zeros(1, int), np.ones((1, 1)), ["log_loss"]
    )
    assert found["log_loss"][0] == pytest.approx(36.04, abs=0.01)


@given(st.lists(st.floats(-9, 9) | st.just(np.nan), min_size=8, max_size=8), st.integers(0, 99))
@settings(max_examples=samples(25))
def test_a_mean_over_days_is_that_of_the_drawn_rows_that_count(values, seed):
    day, counts = np.arange(8) // 2, day_counts(4, 6, seed=seed)
    found = base.daily_mean(np.array(values), day, counts)
    for weights, value in zip(counts, found, strict=True):
        drawn = np.array(values)[_drawn(day, weights)]
        known = drawn[~np.isnan(drawn)]
        expected = known.mean() if len(known) else np.nan
        assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda examples, _: examples["nothing"], "function raised KeyError"),
        (lambda *_: 0.5, r"returned shape \(\) for 2 rows, expected \(2,\)"),
        (lambda _, score: score / 0.0, "infinite"),
    ],
)
def test_a_metric_of_ones_own_that_gives_no_numbers_says_so(function, words):
    with (
        np.errstate(divide="ignore"),
        pytest.raises(errors.JudgementError, match=f"metric gain: .*{words}"),
    ):
        base.Metric("gain", function).of_rows(pd.DataFrame({"x": [1, 2]}), np.array([0.1, 0.2]))


def test_titles_for_people():
    assert base.title("ndcg_10") == "NDCG@10"
    assert base.title("recall_20_from_repeats") == "recall@20 from repeats"
    assert base.title("average_precision") == "average precision"
    assert base.title("r2") == "R²"
    assert base.title("f1_macro") == "F1 macro"
    assert base.title("gain_of_the_shop") == "gain of the shop"


PROBLEMS = [
    Classification("late", threshold=0.3),
    Multiclass("colour", ("red", "green")),
    Regression("delay"),
    *(Regression("delay", metric=name) for name in ON_DEMAND),
    Regression("delay", quantiles=(0.1, 0.5, 0.9)),
    Recommendation("user", "item", "popularity", repeat="bought_before", k=7, recall_k=30),
]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_metric_that_a_problem_reports_is_in_the_table(problem):
    for name in problem.metric_names:
        assert base.greater_is_better(name) is not None
        assert "_" not in base.title(name)


def test_no_row_of_the_table_is_left_over():
    reported = {re.sub(r"_\d+", "_K", name) for each in PROBLEMS for name in each.metric_names}
    assert reported == set(base.METRICS)


def test_errors_and_losses_are_better_where_they_are_less():
    less = [name for name in base.METRICS if re.search("error|loss|brier|deviance|width", name)]
    assert {name for name in base.METRICS if not base.greater_is_better(name)} == set(less)


def test_an_unknown_metric_has_no_orientation():
    with pytest.raises(ValueError, match=r"'mean_sqared_error'.*r2.*ndcg_K"):
        base.greater_is_better("mean_sqared_error")


@pytest.mark.parametrize("greater", [True, False])
def test_a_custom_metric_says_its_own_orientation(greater):
    own = (base.Metric("cost", lambda _, score: score, greater_is_better=greater),)
    assert base.greater_is_better("cost", own) is greater
    for problem in (
        Classification("late", "cost", metrics=own),
        Recommendation("user", "item", "popularity", "cost", metrics=own),
    ):
        assert problem.greater_is_better is greater
