"""A package of MLflow's scikit-learn flavour whose stored model is compressed.

MLflow writes it uncompressed, and the description of its types and fields in it is often ten times
its numbers. MLflow's ``Model.log`` takes this module in place of its own.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

MODEL = "model.skops"
LEVEL = 1
"""Higher levels take three times as long and save little more."""


def save_model(path: str, **package: Any) -> None:
    """Write a package as ``mlflow.sklearn.save_model`` does, its stored model compressed.

    Args:
        path: Folder of the package.
        package: What MLflow is told of it.
    """
    import mlflow

    mlflow.sklearn.save_model(path=path, **package)
    squeeze(Path(path) / MODEL)


def squeeze(file: Path) -> None:
    """Compress the parts of a ZIP file that are stored as they are."""
    half = file.with_suffix(".tmp")
    with (
        zipfile.ZipFile(file) as loose,
        zipfile.ZipFile(half, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as tight,
    ):
        for part in loose.infolist():
            tight.writestr(part.filename, loose.read(part))
    half.replace(file)
