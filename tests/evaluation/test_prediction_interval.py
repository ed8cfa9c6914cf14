"""Prediction intervals that hold as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.evaluation.prediction_interval import prediction_interval
from tasks.metrics.base import range_of
from tests.samples import samples


@pytest.mark.parametrize("confidence", [0.5, 0.9])
def test_a_day_to_come_falls_inside_as_often_as_is_said(confidence: float) -> None:
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        *daily, live = np.exp(random.normal(-1.2, 0.3, 15))
        found = prediction_interval(daily, confidence)
        assert found is not None
        inside += found["low"] <= live <= found["high"]
    assert inside / 2000 == pytest.approx(confidence, abs=0.03)


@given(st.lists(st.floats(0.01, 1), min_size=3, max_size=20), st.floats(0.5, 0.99))
@settings(max_examples=samples(100))
def test_the_interval_of_figures_above_zero_stays_above_zero(
    daily: list[float], confidence: float
) -> None:
    found = prediction_interval(daily, confidence)
    assert found is not None
    assert 0 < found["low"] <= found["high"]
    assert found["value"] == pytest.approx(np.mean(daily))


def test_figures_below_zero_have_an_interval_too() -> None:
    found = prediction_interval([-0.2, 0.1, 0.3, 0.2], 0.9)
    assert found is not None
    assert found["low"] < 0 < found["high"]


def test_too_few_days_have_none() -> None:
    assert prediction_interval([0.3, math.nan, 0.4], 0.9) is None


def test_no_metric_is_promised_beyond_the_values_it_can_have() -> None:
    daily = [0.97, 0.99, 0.6, 0.98]
    assert prediction_interval(daily, 0.9)["high"] > 1  # type: ignore[index]
    assert prediction_interval(daily, 0.9, range_of("average_precision"))["high"] == 1.0  # type: ignore[index]
    exact = [0.0, 6.0, 1.0, 2.0]
    assert prediction_interval(exact, 0.9)["low"] < 0  # type: ignore[index]
    assert prediction_interval(exact, 0.9, range_of("mean_absolute_error"))["low"] == 0  # type: ignore[index]
    for metric in ("roc_auc", "ndcg_10", "recall_20_from_repeats", "f1_macro"):
        assert range_of(metric) == (0, 1)
    for metric in ("log_loss", "mean_absolute_error", "interval_width"):
        assert range_of(metric) == (0, math.inf)
    assert range_of("r2") == (-math.inf, 1)
    assert range_of("profit") == (-math.inf, math.inf)
