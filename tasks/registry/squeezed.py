"""A package of MLflow's scikit-learn flavour whose stored model is compressed.

MLflow writes it uncompressed, and the description of its types and fields in it is often ten times
its numbers. MLflow's ``Model.log`` takes this module in place of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

MODEL, CODE = "model.skops", "code"
LEVEL = 1
"""Higher levels take three times as long and save little more."""


def save_model(path: str, code: Mapping[str, Path | str], **package: Any) -> None:
    """Write a package as ``mlflow.sklearn.save_model`` does, its stored model compressed.

    Args:
        path: Folder of the package.
        code: Files the model needs to be loaded, see ``write_code``.
        package: What MLflow is told of it.
    """
    from mlflow.utils import requirements_utils

    flavor = importlib.import_module("mlflow.sklearn")  # else it is a stand-in until it is used
    # MLflow copies files, and looks up what is installed under another name than it is required by,
    # or in another version. Our packages require what is installed, by its name.
    required = {"_MODULES_TO_PACKAGES": {}, "_check_requirement_satisfied": lambda _: None}
    with (
        _replaced(requirements_utils, required),
        _replaced(flavor, {"_validate_and_copy_code_paths": _copy_code}),
    ):
        flavor.save_model(path=path, code_paths=code, **package)
    squeeze(Path(path) / MODEL)


def write_code(code: Mapping[str, Path | str], folder: Path) -> None:
    """Write the code a model needs, laid out as importable packages.

    Args:
        code: Where each file lies below the folder, to the file, or its text.
        folder: Made where it is not there.
    """
    for place in {(folder / path).parent for path in code}:
        place.mkdir(parents=True, exist_ok=True)
    for path, file in code.items():
        content = file.encode() if isinstance(file, str) else file.read_bytes()
        (folder / path).write_bytes(content)
    for top in {path.partition("/")[0] for path in code if "/" in path}:
        if not _is_namespace(top):  # or an installed one would win
            (folder / top / "__init__.py").touch()


def _copy_code(code: Mapping[str, Path | str], path: str) -> str:
    """What MLflow does with ``code_paths``, of a mapping: it gives the name of the folder."""
    write_code(code, Path(path) / CODE)
    return CODE


def _is_namespace(top: str) -> bool:
    """Whether Python puts this package together from folders without an ``__init__``."""
    found = importlib.util.find_spec(top)
    return found is not None and found.origin is None


@contextmanager
def _replaced(module: ModuleType, ours: Mapping[str, Any]) -> Iterator[None]:
    """Meanwhile these names of a module of MLflow mean something else."""
    theirs = {name: getattr(module, name, None) for name in ours}
    for name, value in ours.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in theirs.items():
            if getattr(module, name) is ours[name]:
                setattr(module, name, value)


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
