"""A package is rehearsed as a night asks it: all rows at once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator

from tasks.preflight import rehearsal
from tasks.problems.input_form import FormedEstimator


class Batched(BaseEstimator):  # type: ignore[misc]
    """Its last digits follow the number of rows, as those of a product of matrices may."""

    def fit(self, X: pd.DataFrame, y: object) -> Batched:
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return X.sum(axis=1).to_numpy(dtype=np.float64) + len(X) * 1e-9


def test_days_of_other_types_are_asked_at_once_and_answer_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    days = [pd.DataFrame({"x": [1, 2]}), pd.DataFrame({"x": pd.array([3, None], "Int64")})]
    days.append(pd.DataFrame({"x": [0.5]}))
    fitted = FormedEstimator(Batched()).fit(days[0], [0, 1])
    sent: list[Any] = []

    def take(shipped: list[Any], **_: object) -> list[tuple[()]]:
        sent.extend(shipped)
        return [() for _ in shipped]

    def save(folder: Path, *_: object, **__: object) -> None:
        return None

    monkeypatch.setattr(rehearsal, "check_packages", take)
    monkeypatch.setattr(rehearsal.packages, "save_package", save)
    for name in ("trusted_types", "packaged_code", "libraries"):
        monkeypatch.setattr(rehearsal, name, lambda _: [])
    spec: Any = SimpleNamespace(gate=None)
    assert rehearsal.rehearse(spec, {"one": fitted}, days).faults == ()
    np.testing.assert_array_equal(fitted.predict(sent[0].probe), sent[0].expected)
