"""Pictures are PNGs, small, and survive what a night can hand them."""

import io

import numpy as np
import pytest
from PIL import Image

from tasks.evaluation.estimates import Estimate, SliceResult
from tasks.reporting import plots
from tests.samples import in_part

SCORES = ("challenger", "champion", "baseline")
MANY = [
    SliceResult(
        "shop",
        f"a very long name of a group, number {i}",
        500,
        0.4,
        0.4,
        Estimate(i / 100, i / 100 - 0.1, i / 100 + 0.1),
    )
    for i in range(-20, 20)
]
DRAWN = {
    "days": lambda: plots.metric_by_day(
        "roc_auc",
        {n: {"2017-01-30": 0.7, "2017-01-31": np.nan, "2017-02-01": 0.6} for n in SCORES},
    ),
    "candidates": lambda: plots.candidates("ndcg_10", {"a": Estimate(0.2, 0.19, 0.22)}, "a"),
    "slices": lambda: plots.slices(MANY, 0.1),
    "no slices": lambda: plots.slices([SliceResult("a", "b", 3, np.nan, np.nan, None)]),
    "nights": lambda: plots.nights(
        "ndcg_10",
        {f"2026-11-{day:02}": Estimate(0.2 + day / 999, 0.19, 0.25) for day in range(1, 29)},
        ["2026-11-01", "2026-11-09"],
    ),
    "importance": lambda: plots.feature_importance(
        [f"price_${i}" for i in range(30)], [float(i - 10) for i in range(30)]
    ),
}


@pytest.mark.parametrize("name", in_part(DRAWN))
def test_picture_is_a_small_png_and_always_the_same(name):
    png = DRAWN[name]()
    assert png == DRAWN[name]()
    assert len(png) < 60_000
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        assert 400 <= picture.width <= 800
        assert len(picture.getcolors()) > 5


def test_pictures_follow_the_numbers():
    higher = plots.candidates("r2", {"a": Estimate(0.9, 0.8, 0.95)})
    assert higher != plots.candidates("r2", {"a": Estimate(0.5, 0.4, 0.6)})
    assert plots.slices(MANY[:3]) != plots.slices(MANY[3:6])
