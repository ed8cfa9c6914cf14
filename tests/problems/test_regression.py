"""A number or an interval: scores, answers and what is refused."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation.evaluate import evaluate
from tasks.metrics import JudgementError
from tasks.problems import Regression
from tasks.spec import SpecError

DELAY = Regression("delay", key=("number",), quantiles=(0.1, 0.5, 0.975))
COUNT = Regression("sold", metric="mean_poisson_deviance")
SETTINGS = {"resamples": 100, "confidence": 0.9, "seed": 1}


def rows(**columns: object) -> pd.DataFrame:
    count = len(next(iter(columns.values())))  # type: ignore[arg-type]
    return pd.DataFrame({"number": range(count), "day": pd.Timestamp("2026-01-05"), **columns})


def test_quantiles_are_answered_and_graded_level_by_level() -> None:
    asked = rows(x=[0.0, 1.0])
    scores = np.array([[1.0, 2.0, 4.0], [2.0, 3.0, 9.0]])
    shown = DELAY.answers(asked, asked[["x"]], scores)
    assert list(shown) == ["number", "prediction_10", "prediction", "prediction_97_5"]
    examples, said, _ = DELAY.match({"champion": shown}, rows(delay=[3.0, 30.0]))
    np.testing.assert_array_equal(said["champion"], scores)
    assert DELAY.calibration(examples, scores) == (0.875, 0.5)
    assert DELAY.primary == "mean_pinball_loss"
    assert Regression("delay").primary == "mean_absolute_error"


def test_the_baseline_of_quantiles_is_those_of_the_training_labels() -> None:
    train = pd.DataFrame({"target": np.arange(1001.0)})
    found = DELAY.baseline_scores(train, train.head(2))
    np.testing.assert_allclose(found, [[100.0, 500.0, 975.0]] * 2)


def test_wrong_shapes_and_crossing_quantiles_are_refused() -> None:
    inputs = pd.DataFrame({"x": [1.0, 2.0]})
    flat = SimpleNamespace(predict=lambda rows: np.ones(len(rows)))
    with pytest.raises(ValueError, match=r"shape \(2,\), expected \(2, 3\).*QuantileRegressors"):
        DELAY.score(flat, inputs)
    assert "quantiles of 1 of 2 rows are not ascending" in DELAY.score_fault(
        np.array([[1.0, 2.0, 3.0], [2.0, 1.0, 3.0]])
    )


@pytest.mark.parametrize(
    "quantiles",
    [(0.5,), (0.1, 0.9), (0.9, 0.5), (0.0, 0.5), (0.5, 0.5), 0.5, ("a", 0.5), [0.1, 0.5]],
)
def test_levels_out_of_bounds_are_one_fault(quantiles: object) -> None:
    (found,) = Regression("y", quantiles=quantiles).faults()  # type: ignore[arg-type]
    assert f"quantiles: found {quantiles!r}, allowed two levels or more" in found


def test_losses_that_do_not_suit_the_labels_say_so() -> None:
    assert COUNT.metric_names[0] == "mean_poisson_deviance"
    assert "mean_poisson_deviance" not in Regression("sold").metric_names
    with pytest.raises(JudgementError, match="labels of sold below 0, down to -1"):
        COUNT.check_examples(pd.DataFrame({"target": [1.0, -1.0]}))
    assert "1 of 2 scores are not above 0" in COUNT.score_fault(np.array([0.0, 2.0]))
    (found,) = Regression("y", metric="mean_pinball_loss").faults()
    assert "metric: found 'mean_pinball_loss', allowed mean_absolute_error" in found


def test_labels_that_are_no_finite_numbers_are_refused() -> None:
    assert "found 1 of 2 values infinite" in DELAY.label_fault(rows(delay=[1.0, np.inf]))
    with pytest.raises(SpecError, match="of type str, such as 'late'; expected numbers"):
        DELAY.label_fault(rows(delay=["late", "early"]))
    with pytest.raises(JudgementError, match="only one value of delay: 4"):
        DELAY.check_examples(pd.DataFrame({"target": [4.0, 4.0]}))


def test_an_interval_is_evaluated_with_its_coverage() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(size=600)
    examples = pd.DataFrame(
        {"day": np.repeat(pd.date_range("2026-01-01", periods=6), 100), "target": truth}
    )
    near = truth[:, None] + random.normal(0, 0.5, 600)[:, None] + [-0.64, 0.0, 0.98]
    scores = {"near": near, "baseline": DELAY.baseline_scores(examples, examples)}
    found = evaluate(DELAY, examples, scores, **SETTINGS)  # type: ignore[arg-type]
    assert found.difference("near", "baseline").absolute.low > 0
    coverage = found.metrics["near"]["interval_coverage"]
    assert coverage.low < 0.875 < coverage.high
