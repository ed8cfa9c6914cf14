"""Pictures of each kind of problem are PNGs, small, and survive what a night can hand them."""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tasks.problems import Classification, Multiclass, Recommendation, Regression
from tasks.reporting import problem_plots
from tasks.reporting.problem_plots import draw_problem
from tests.samples import in_part

TARGET = (np.arange(400) % 4 == 0).astype(np.int8)
RISING = np.linspace(0, 1, 400)
SCORES = {"challenger": RISING, "champion": RISING**2, "baseline": np.full(400, 0.25)}
CODES = np.arange(400) % 3
CHANCES = {
    "challenger": np.random.default_rng(0).dirichlet([1, 1, 1], 400),
    "baseline": np.full((400, 3), 1 / 3),
}
QUANTILES = {"challenger": np.column_stack([RISING - 0.4, RISING, RISING + 0.5])}
DAYS = np.datetime64("2026-11-01") + np.arange(400) // 40
DRAWN = {
    "calibration": lambda: problem_plots.calibration(TARGET, SCORES),
    "precision": lambda: problem_plots.precision_recall(TARGET, SCORES),
    "one class": lambda: problem_plots.precision_recall(np.zeros(400), SCORES),
    "classes": lambda: problem_plots.calibration_of_likeliest(CODES, CHANCES),
    "confusion": lambda: problem_plots.confusion(
        CODES, CODES[::-1], ["a", "b $", "a long name " * 4]
    ),
    "many classes": lambda: problem_plots.confusion(
        np.arange(400) % 50, np.arange(400) % 7, [f"class {i}" for i in range(50)]
    ),
    "predicted": lambda: problem_plots.predicted(RISING**2, RISING),
    "one value": lambda: problem_plots.predicted(np.zeros(400), np.zeros(400)),
    "coverage": lambda: problem_plots.coverage_by_day(DAYS, RISING**2, QUANTILES, 0.8),
}


@pytest.mark.parametrize("name", in_part(DRAWN))
def test_picture_is_a_small_png_and_always_the_same(name):
    png = DRAWN[name]()
    assert png == DRAWN[name]()
    assert len(png) < 60_000
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        assert 400 <= picture.width <= 1000
        assert len(picture.getcolors()) > 5


@pytest.mark.parametrize(
    ("problem", "examples", "scores", "titles"),
    [
        (
            Classification("late"),
            {"target": TARGET},
            SCORES,
            ["Calibration", "Precision and recall"],
        ),
        (Multiclass("kind", (0, 1, 2)), {"target": CODES}, CHANCES, ["Calibration", "Confusion"]),
        (Regression("length"), {"target": RISING}, SCORES, ["Predicted against actual"]),
        (
            Regression("length", quantiles=(0.1, 0.5, 0.9)),
            {"target": RISING, "day": DAYS},
            QUANTILES,
            ["Predicted against actual", "Coverage"],
        ),
        (Recommendation("user", "item", "often"), {"target": TARGET}, SCORES, []),
    ],
)
def test_each_kind_of_problem_has_its_own_pictures(problem, examples, scores, titles):
    drawn = draw_problem(problem, pd.DataFrame(examples), scores)
    assert list(drawn) == titles
    assert all(png.startswith(b"\x89PNG") for png in drawn.values())
