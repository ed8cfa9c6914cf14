"""The inputs that moved each prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tasks.problems import Multiclass, Recommendation, Regression
from tasks.problems.input_form import FormedEstimator
from tasks.recommend.rankers import RankBy
from tasks.training import explanation
from tasks.training.explanation import COLUMNS, explain, explained_rows, usual_values


def table(rows: int = 200) -> pd.DataFrame:
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "size": random.normal(10, 2, rows),
            "age": random.integers(0, 9, rows),
            "weight": random.normal(0, 1, rows),
            "noise": random.normal(0, 1, rows),
        }
    )


def test_of_a_line_each_input_adds_its_slope_times_its_distance_from_the_usual() -> None:
    x = table()
    slopes = np.array([3.0, -2.0, 1.0, 0.0])
    line = FormedEstimator(LinearRegression()).fit(x, x.to_numpy() @ slopes)
    usual = usual_values(x)
    assert usual["age"] == sorted(x["age"])[99] and usual["size"] == sorted(x["size"])[99]
    found, means = explain(Regression("y"), line, x, usual)
    exact = (x - pd.Series(usual)) * slopes
    first = exact.abs().to_numpy().argmax(axis=1)
    assert list(found) == list(COLUMNS)
    assert list(found["moved_1"]) == [x.columns[place] for place in first]
    np.testing.assert_allclose(found["moved_1_by"], exact.to_numpy()[range(200), first], atol=1e-8)
    assert list(means)[:3] == list(exact.abs().mean().sort_values(ascending=False).index)[:3]
    np.testing.assert_allclose(means["size"], exact["size"].abs().mean())
    assert means["noise"] < 1e-9


def test_categories_and_the_likeliest_of_several_classes() -> None:
    random = np.random.default_rng(2)
    x = pd.DataFrame(
        {"shop": pd.Categorical(random.choice(["a", "b", "c"], 300, p=[0.6, 0.2, 0.2]))}
    )
    y = x["shop"].cat.codes.to_numpy()
    model: Any = make_pipeline(OneHotEncoder(), LogisticRegression())
    fitted = FormedEstimator(model).fit(x, y)
    problem = Multiclass("kind", classes=("red", "green", "blue"), key=("number",))
    usual = usual_values(x)
    assert usual == {"shop": "a"}
    found, _ = explain(problem, fitted, x.head(20), usual)
    odd = (x["shop"].head(20) != "a").to_numpy()
    assert (found["moved_1"].notna() == odd).all(), "a usual value moves nothing"
    assert (found["moved_1_by"][odd] > 0.5).all()


def test_rows_beyond_the_limit_have_no_explanation(monkeypatch: Any) -> None:
    x = table()
    line = FormedEstimator(LinearRegression()).fit(x, x.to_numpy() @ np.ones(4))
    monkeypatch.setattr(explanation, "SCORED", 5 * 50)
    found, _ = explain(Regression("y"), line, x, usual_values(x))
    assert len(found) == 200
    assert found["moved_1"].notna().sum() == 50
    assert found["moved_1_by"].dtype == "float64"


def test_each_recommendation_is_explained_by_the_inputs_it_was_ranked_from() -> None:
    """Two users with three items each, those for everyone else, and only the best two are shown."""
    problem = Recommendation("user", "item", "often", k=2, recall_k=2)
    inputs = pd.DataFrame(
        {
            "user": pd.array([7, 7, 7, 5, 5, 5, pd.NA], dtype="Int64"),
            "item": ["a", "b", "c", "a", "b", "c", "a"],
            "often": [1.0, 4.0, 2.0, 9.0, 0.0, 3.0, 6.0],
        }
    )
    ranker = FormedEstimator(RankBy("often")).fit(
        inputs[["often"]], np.array([0, 1, 0, 1, 0, 0, 1])
    )
    found = pd.DataFrame(
        {
            "user": pd.array([7, 7, 5, 5, pd.NA], dtype="Int64"),
            "place": [1, 2, 1, 2, 1],
            "item": ["b", "c", "a", "c", "a"],
        }
    )
    rows = explained_rows(problem, found, inputs)
    assert rows["often"].tolist() == [4.0, 2.0, 9.0, 3.0, 6.0]
    assert rows.index.tolist() == found.index.tolist()
    why, _ = explain(problem, ranker, rows[["often"]], {"often": 2.0})
    assert [name if name == "often" else None for name in why["moved_1"]] == [
        "often",
        None,
        "often",
        "often",
        "often",
    ]
    assert why["moved_1_by"].rank(na_option="keep").tolist()[::2] == [2.0, 4.0, 3.0]
    plain = pd.DataFrame({"size": [1.0, 2.0]})
    assert explained_rows(Regression("y"), found, plain) is plain
