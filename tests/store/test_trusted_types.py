"""What a stored model may hold: common estimators come back equal, others name their way out."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_selection import SelectKBest, mutual_info_classif
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, TimeSeriesSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer
from skrub import TableVectorizer

from tasks.store import models
from tasks.store.trusted_types import TRUSTED_TYPES

ROWS = 80
NUMBERS = ["size", "price"]


def table() -> tuple[pd.DataFrame, np.ndarray]:
    """A small table of numbers, dates, categories and text, and a label."""
    random = np.random.default_rng(0)
    size = random.normal(size=ROWS)
    frame = pd.DataFrame(
        {
            "size": size,
            "price": random.gamma(2.0, size=ROWS),
            "town": np.where(random.random(ROWS) < 0.5, "Rome", "Oslo"),
            "note": [f"note number {i}" for i in range(ROWS)],
            "sold": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(ROWS), "h"),
        }
    )
    return frame, (size > 0).astype("int64")


def double(values: Any) -> Any:
    return values * 2


def only(columns: list[str], *steps: Any) -> Any:
    """A pipeline that sees these columns."""
    return make_pipeline(make_column_transformer(("passthrough", columns)), *steps)


TRUSTED: dict[str, Callable[[], Any]] = {
    "table of anything": lambda: make_pipeline(
        TableVectorizer(), HistGradientBoostingClassifier(max_iter=2)
    ),
    "categories by type": lambda: make_pipeline(
        FunctionTransformer(double),
        HistGradientBoostingClassifier(max_iter=2, categorical_features="from_dtype"),
    ),
    "columns by type": lambda: make_pipeline(
        make_column_transformer((OneHotEncoder(), make_column_selector(pattern="town"))),
        LogisticRegression(),
    ),
    "splines": lambda: only(NUMBERS, SplineTransformer(), LogisticRegression()),
    "best inputs": lambda: only(
        NUMBERS, SelectKBest(mutual_info_classif, k=1), LogisticRegression()
    ),
    "kernels": lambda: only(
        NUMBERS, GaussianProcessClassifier(ConstantKernel() * RBF(), optimizer=None)
    ),
    "neighbours": lambda: only(
        NUMBERS, KNeighborsClassifier(metric="manhattan", algorithm="kd_tree")
    ),
    "temperature": lambda: only(
        NUMBERS, CalibratedClassifierCV(LogisticRegression(), method="temperature", cv=2)
    ),
    "grid": lambda: only(
        NUMBERS,
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=TimeSeriesSplit(2)),
    ),
}


@pytest.mark.parametrize("name", TRUSTED)
def test_a_common_estimator_comes_back_equal(name: str) -> None:
    rows, label = table()
    rows = rows[NUMBERS] if name == "categories by type" else rows
    model = TRUSTED[name]().fit(rows, label)
    trusted = [*TRUSTED_TYPES, f"{__name__}.double"]
    back = models.build_model(models.model_content(model, trusted), trusted, "it")
    assert np.array_equal(back.predict_proba(rows), model.predict_proba(rows))


class Circle(BaseEstimator):
    """Holds itself, which no file without pickle can say."""

    def fit(self, X: Any, y: Any) -> Circle:
        self.self_ = self
        return self


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "LightGBM": (
        lambda: only(NUMBERS, LGBMClassifier(n_estimators=1, verbose=-1)),
        'add to the spec: trusted=("lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier")',
    ),
    "own function": (
        lambda: only(NUMBERS, FunctionTransformer(double), LogisticRegression()),
        f'add to the spec: trusted=("{__name__}.double",)',
    ),
    "lambda": (
        lambda: only(NUMBERS, FunctionTransformer(lambda x: x), LogisticRegression()),
        "It holds <lambda>, which has no name to be found again by: define a function at the top",
    ),
    "distribution": (
        lambda: only(
            NUMBERS,
            RandomizedSearchCV(
                LogisticRegression(), {"C": scipy.stats.uniform(0.1, 1)}, n_iter=1, cv=2
            ),
        ),
        '"scipy.stats._distn_infrastructure.rv_continuous_frozen"',
    ),
    "itself": (Circle, "The model cannot be stored without pickle: "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_trusted_names_the_entry_to_add(name: str) -> None:
    build, message = REFUSED[name]
    model = build().fit(*table())
    with pytest.raises(models.TypesError) as found:
        models.write_model("models", "k", model, TRUSTED_TYPES)
    assert message in str(found.value)
    assert not models.has_model("models", "k")


def test_the_entry_named_is_all_it_takes() -> None:
    rows, label = table()
    model = LGBMClassifier(n_estimators=3, verbose=-1).fit(rows[NUMBERS], label)
    trusted = [*TRUSTED_TYPES, "lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier"]
    models.write_model("models", "k", model, trusted)
    back = models.read_model("models", "k", trusted)
    assert np.array_equal(back.predict_proba(rows[NUMBERS]), model.predict_proba(rows[NUMBERS]))


REVIEWED = {
    "sklearn._loss.loss",
    "sklearn.ensemble._hist_gradient_boosting.predictor",  # casts its arrays
    "sklearn.impute._iterative",  # a named tuple
    "sklearn.metrics._dist_metrics",
    "sklearn.neighbors._ball_tree",
    "sklearn.neighbors._kd_tree",
    "sklearn.tree._tree",
    "sklearn.utils._bunch",  # drops what is no item
}
"""Modules whose types set themselves up from a file in a way of their own: looked at one by one."""


def test_every_trusted_type_exists_and_none_sets_itself_up_unseen() -> None:
    for name in TRUSTED_TYPES:
        module, _, attribute = name.rpartition(".")
        found = getattr(importlib.import_module(module), attribute)
        if isinstance(found, type) and module.startswith(("sklearn", "skrub", "scipy")):
            own = found.__dict__.keys() & {"__setstate__", "__new__", "__reduce__", "__setattr__"}
            assert not own or module in REVIEWED, (name, own)


def test_what_fetches_from_the_network_is_not_trusted() -> None:
    assert not any("_llm_encoder" in name or "TextEncoder" in name for name in TRUSTED_TYPES)
