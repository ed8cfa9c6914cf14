"""A package of MLflow's scikit-learn flavour whose stored model is compressed.

MLflow writes it uncompressed, and the description of its types and fields in it is often ten times
its numbers. MLflow's ``Model.log`` takes this module in place of its own.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
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

    with _required_by_their_names():
        mlflow.sklearn.save_model(path=path, **package)
    squeeze(Path(path) / MODEL)


@contextmanager
def _required_by_their_names() -> Iterator[None]:
    """Meanwhile MLflow does not list the modules of all that is installed.

    It looks there for what is installed under another name than it is required by. Our packages
    require what is installed, by its name.
    """
    from mlflow.utils import requirements_utils as mlflow_s

    name, nothing = "_MODULES_TO_PACKAGES", dict[str, list[str]]()
    if getattr(mlflow_s, name, nothing) is not None:
        yield
        return
    setattr(mlflow_s, name, nothing)
    try:
        yield
    finally:
        if getattr(mlflow_s, name) is nothing:
            setattr(mlflow_s, name, None)


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
