"""Find and import the spec named by a model name, a file or a module."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import re
import sys
from pathlib import Path
from typing import Any

from tasks import settings
from tasks.errors import SpecError
from tasks.shown import counted
from tasks.spec.fleet import spec_of
from tasks.spec.lean_imports import import_contracts
from tasks.spec.model_spec import ModelSpec
from tasks.spec.values import shown

MOVED = {
    "candidates": "from tasks.recommend import candidates_of",
    "history": "from tasks.features.past_means import PastMeans",
    "quantiles": "from tasks.problems.quantiles import QuantileRegressors",
    "ranking": "from tasks.recommend import CandidateRanker, purchase_features",
    "tune": "from tasks.spec import Tuned",
}
"""Modules that model files imported before ``tasks`` had packages, and what to write now."""

PARTITION = re.compile(
    r"(?P<fleet>.+?\.py|[A-Za-z_][\w.]*:[A-Za-z_]\w*|[a-z][a-z0-9_]{0,62})@(?P<value>.+)", re.DOTALL
)
"""How the spec of one partition is named."""
MODULE_OF_FILE = "nightly_model_"
"""Module name of model files outside ``deployments/``."""


def load_spec(model: str) -> ModelSpec:
    """The spec named by a model name, a file path or ``package.module:NAME``.

    Args:
        model: ``groceries`` for ``deployments/groceries.py``, ``path/to/file.py`` for the one
            spec of a file, or ``package.module:NAME``; any of these with ``@VALUE`` for one
            partition of a fleet.

    Raises:
        SpecError: Where there is no such model, or its file or spec is wrong.
    """
    if named := PARTITION.fullmatch(model):
        return spec_of(load_spec(named["fleet"]), named["value"])
    module_name, _, attribute = model.partition(":")
    if model.endswith(".py") and "\0" not in model:
        return _only_spec(_import_file(Path(model)), model)
    if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", model):
        found = getattr(_import_module(module_name, model), attribute, None)
        if not isinstance(found, ModelSpec):
            raise SpecError(f"{model}: {attribute} in {module_name} is {found!r}, not a ModelSpec.")
        return found
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", model):
        raise SpecError(
            f"Model {shown(model)}: expected a model name (lower-case letters, digits, _), a path "
            "that ends in .py, or package.module:NAME."
        )
    if not (settings.PROJECT / "deployments" / f"{model}.py").is_file():
        raise SpecError(
            f"There is no model {model!r}: deployments/{model}.py does not exist. "
            f"Models here: {', '.join(model_names()) or 'none'}."
        )
    return _only_spec(_import_module(f"deployments.{model}", model), model)


def file_of(model: str) -> tuple[Path | None, str]:
    """The file by which a model is named, if it is, and the ``@VALUE`` of a partition after it."""
    named = PARTITION.fullmatch(model)
    fleet = named["fleet"] if named else model
    return (Path(fleet), model.removeprefix(fleet)) if fleet.endswith(".py") else (None, "")


def address_of(spec: ModelSpec) -> str:
    """The name by which ``load_spec`` finds this spec, also in another process.

    Raises:
        SpecError: Where the spec is not a name at the top level of a module.
    """
    first = sys.modules.get(spec.features.__module__)
    for module in [first, *sys.modules.values()]:
        names = _names_of(spec, module)
        if module and names and module.__file__:
            beside = module.__name__.startswith(MODULE_OF_FILE)
            return module.__file__ if beside else f"{module.__name__}:{names[0]}"
    raise SpecError(
        f"Model {spec.name}: fit_limit needs the spec to be a name at the top level of its file."
    )


def _names_of(spec: ModelSpec, module: Any) -> list[str]:
    """Another thread may add to a module meanwhile."""
    return [name for name, found in list(vars(module).items()) if found is spec] if module else []


def model_names() -> list[str]:
    """Names of the models under ``deployments/``, found without importing them."""
    files = sorted((settings.PROJECT / "deployments").glob("[a-z]*.py"))
    return [f.stem for f in files if "ModelSpec(" in f.read_text(encoding="utf-8")]


def _import_module(module: str, model: str) -> Any:
    try:
        import_contracts()
        return importlib.import_module(module)
    except SpecError:
        raise
    except ImportError as error:
        if moved := _moved(model, error):
            raise SpecError(moved) from error
        if not isinstance(error, ModuleNotFoundError):
            raise SpecError(_import_fault(model, error)) from error
        raise SpecError(
            f"Model {model!r} needs the package {error.name!r}, which is not installed. For the "
            "example models: pip install -e '.[examples]'"
        ) from error
    except (Exception, SystemExit) as error:
        raise SpecError(_import_fault(model, error)) from error


def _import_file(path: Path) -> Any:
    try:
        there = path.is_file()
    except OSError:  # no file can have such a name
        there = False
    if not there:
        raise SpecError(f"Model file {shown(path)}: not found from {Path.cwd()}.")
    full = path.resolve()
    if full.parent == settings.PROJECT / "deployments":
        return _import_module(f"deployments.{full.stem}", str(path))
    name = f"{MODULE_OF_FILE}{hashlib.sha256(str(full).encode()).hexdigest()[:8]}_{full.stem}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, full)
    if found is None or found.loader is None:
        raise SpecError(
            f"Model file {path}: Python cannot import this file. Use a regular .py file."
        )
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        import_contracts()
        found.loader.exec_module(module)
    except SpecError:
        del sys.modules[name]
        raise
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise SpecError(_import_fault(str(path), error)) from error
    return module


def _moved(model: str, error: ImportError) -> str:
    """What to write in place of an import of a module that has moved, or an empty string."""
    found = re.match(r"No module named 'tasks\.(\w+)'|cannot import name '(\w+)'", str(error))
    now = MOVED.get(found[1] or found[2], "") if found and error.name else ""
    if not now or (error.name or "").partition(".")[0] != "tasks":
        return ""
    old = found[1] or found[2] if found else ""
    return f"Model {model!r} imports tasks.{old}, which has moved: write `{now}` in its place."


def _import_fault(model: str, error: Exception | SystemExit) -> str:
    if isinstance(error, ImportError) and (moved := _moved(model, error)):
        return moved
    if isinstance(error, SyntaxError) or "null bytes" in str(error):  # says itself where
        return f"Model {model!r} is not valid Python: {error}"
    if isinstance(error, SystemExit):
        return f"Model {model!r} ends the process when it is imported. Remove its call of sys.exit."
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    rooms = str(settings.PROJECT / "tasks")
    own = [frame for frame in frames if not frame.filename.startswith((rooms, "<"))]
    where = f" (line {own[-1].lineno} of {own[-1].filename})" if own else ""
    return f"Model {model!r} cannot be imported: {type(error).__name__}: {error}{where}"


def _only_spec(module: Any, model: str) -> ModelSpec:
    found = [v for v in vars(module).values() if isinstance(v, ModelSpec)]
    if len(found) != 1:
        raise SpecError(
            f"{model}: found {counted(len(found), 'ModelSpec')} in {module.__file__}, expected "
            "one. Choose one with package.module:NAME."
        )
    return found[0]
