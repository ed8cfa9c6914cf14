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

    with _required_as_told():
        mlflow.sklearn.save_model(path=path, **package)
    squeeze(Path(path) / MODEL)


@contextmanager
def _required_as_told() -> Iterator[None]:
    """Meanwhile MLflow neither lists the modules of all that is installed, nor what of it fits.

    It looks there for what is installed under another name than it is required by, or in another
    version. Our packages require what is installed, by its name.
    """
    from mlflow.utils import requirements_utils as mlflow_s

    ours = {"_MODULES_TO_PACKAGES": {}, "_check_requirement_satisfied": lambda _: None}
    theirs = {name: getattr(mlflow_s, name, None) for name in ours}
    for name, value in ours.items():
        setattr(mlflow_s, name, value)
    try:
        yield
    finally:
        for name, value in theirs.items():
            if getattr(mlflow_s, name) is ours[name]:
                setattr(mlflow_s, name, value)


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
