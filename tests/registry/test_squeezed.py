"""A package is written without what MLflow does beside."""

from __future__ import annotations

from pathlib import Path

import importlib_metadata
import pytest
from sklearn.dummy import DummyClassifier

from tasks.registry import squeezed


@pytest.mark.filterwarnings("ignore:.*Any type hint")  # MLflow of its own code, as it is imported
def test_what_is_installed_is_not_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.utils import requirements_utils

    listed: list[str] = []
    monkeypatch.setattr(requirements_utils, "_MODULES_TO_PACKAGES", None)
    monkeypatch.setattr(importlib_metadata, "packages_distributions", lambda: listed.append("all"))
    monkeypatch.setattr(requirements_utils, "_get_installed_version", listed.append)
    squeezed.save_model(
        str(tmp_path / "model"),
        {},
        sk_model=DummyClassifier().fit([[0], [1]], [0, 1]),
        pip_requirements=["scikit-learn"],
        serialization_format="skops",
    )
    assert (tmp_path / "model" / squeezed.MODEL).is_file()
    assert not listed
    assert requirements_utils._MODULES_TO_PACKAGES is None  # what infers requirements lists them
