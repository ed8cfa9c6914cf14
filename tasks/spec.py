"""What a model is: everything a night needs to know, checked when it is built."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    import pandas as pd
    from pandera.pandas import DataFrameModel

    from tasks.problems import Problem
    from tasks.sources import Source

PROJECT = Path(__file__).resolve().parent.parent
EXPANDING = timedelta(days=36500)
"""A training window that keeps every day the source still has."""

MODULE_OF_FILE = "nightly_model_"
"""How the modules of model files outside ``deployments/`` are called."""

SHORTEST_FIT = timedelta(seconds=1)
"""Least that ``fit_limit`` may be."""

DECIDING_LIBRARIES = ("numpy", "pandas", "pandera", "pyarrow", "scikit-learn", "scipy", "skops")

HOUSE = "tasks"
"""Top package of the house's own code."""

DECIDING = ("tasks.contract", "tasks.prepare", "tasks.rescore", "tasks.train")
"""House modules that make the rows, features, fits and scores of every model."""

SEARCHING = {"tasks.tune": "tasks.tuning"}
"""House modules that decide as well where the model's code imports another."""

NEVER_DECIDING = (
    "tasks.apart",
    "tasks.archive",
    "tasks.command",
    "tasks.fit",
    "tasks.packaging",
    "tasks.page",
    "tasks.plots",
    "tasks.problem_plots",
    "tasks.registry",
    "tasks.reliance",
    "tasks.report",
    "tasks.settings",
    "tasks.steps",
    "tasks.store",
    "tasks.tracking",
    "tasks.trust",
)
"""House modules, or packages with all below them, whose code changes no row, fit or score."""


def days(count: int) -> timedelta:
    """Length of time in whole days: ``window=days(90)``."""
    return timedelta(days=count)


class SpecError(ValueError):
    """A model file or its settings are wrong; the message lists every fault."""


@dataclass(frozen=True)
class Gate:
    """How a challenger is judged.

    Attributes:
        confidence: Level of the two-sided bootstrap intervals.
        tolerance: Same recipe refitted: how much worse, relative to the champion,
            the lower end of the interval may be.
        gain: Another recipe: least relative gain over the champion's recipe.
        recipe_confidence: Another recipe: level of the interval whose lower end must be above
            zero. It is high because the question is asked every night: over a month of nights a
            recipe that is no better passes in at most 5 % of months (README, "Why these bounds").
        surprise: Largest relative gain over the champion that is believed without a person.
        feature_auc: Largest area under the ROC curve that one feature alone may have.
        slice_tolerance: How much worse, relative, a declared slice may become.
        calibration: Largest expected calibration error, or None where no
            probabilities are promised.
        min_days: Fewest holdout days a verdict may rest on.
        min_units: Fewest rows (or queries) a verdict may rest on.
        resamples: Bootstrap resamples of whole days.
        latency_ms: Most milliseconds the packaged model may take for 1,000 rows.
        size_mb: Largest size of the packaged model, in megabytes.
    """

    confidence: float = 0.90
    tolerance: float = 0.02
    gain: float = 0.005
    recipe_confidence: float = 0.995
    surprise: float = 0.10
    feature_auc: float = 0.80
    slice_tolerance: float = 0.10
    calibration: float | None = None
    min_days: int = 7
    min_units: int = 200
    resamples: int = 1000
    latency_ms: float = 1000.0
    size_mb: float = 100.0

    def faults(self) -> list[str]:
        """Every setting out of bounds, in words."""
        bounds: dict[str, tuple[float, float]] = {
            "confidence": (0.5, 0.999),
            "tolerance": (0.0, 1.0),
            "gain": (0.0, 1.0),
            "recipe_confidence": (0.5, 0.9999),
            "surprise": (0.0, 1000.0),
            "feature_auc": (0.5, 1.0),
            "slice_tolerance": (0.0, 1.0),
            "min_days": (2, 366),
            "min_units": (10, 10_000_000),
            "resamples": (100, 100_000),
            "latency_ms": (1, 3_600_000),
            "size_mb": (0.01, 100_000),
        }
        found = [
            f"gate.{name}: found {value!r}, allowed {low} to {high}"
            for name, (low, high) in bounds.items()
            if not _is_number(value := getattr(self, name)) or not low <= value <= high
        ]
        if self.calibration is not None and not (
            _is_number(self.calibration) and 0 < self.calibration < 1
        ):
            found.append(f"gate.calibration: found {self.calibration!r}, allowed None or 0 to 1")
        return found


@dataclass(frozen=True)
class Revert:
    """When a champion that does worse than its predecessor on live days is taken back.

    Attributes:
        patience: Fewest graded days on which both answered.
        confidence: Level at which it must be worse, one-sided, over the days; high because the
            question is asked every night.
        loss: Least relative loss.
    """

    patience: timedelta = timedelta(days=3)
    confidence: float = 0.998
    loss: float = 0.02

    def faults(self) -> list[str]:
        """Every setting out of bounds, in words."""
        found = []
        if not _whole_days(self.patience, 2):
            found.append(f"revert.patience: found {shown(self.patience)}, allowed days(n), n >= 2")
        for name, low, high in (("confidence", 0.5, 0.9999), ("loss", 0.0, 1.0)):
            value = getattr(self, name)
            if not _is_number(value) or not low <= value <= high:
                found.append(f"revert.{name}: found {value!r}, allowed {low} to {high}")
        return found


@dataclass(frozen=True, eq=False)
class ModelSpec:
    """One model kept fresh: its data, contract, features, candidates and gate.

    Attributes:
        name: Name of the model in the registry, the reports and the schedules.
        question: What the model answers, one sentence, shown in every report.
        source: Where the days come from (``tasks.sources``).
        contract: pandera model of a day's raw rows.
        problem: What is predicted and how it is scored (``tasks.problems``).
        known_ahead: Columns, raw or clean, that are known before the day begins. Only these
            reach ``features``; all others exist in its history alone, and each night tests that
            no input of a day changes with them.
        features: ``features(day, history)`` gives the inputs for one day's requests.
            ``history`` holds whole earlier days only, ``lookback`` of them.
        lookback: How much history ``features`` may see.
        candidates: Name to scikit-learn compatible estimator, or to one whose parameters are
            searched (``tasks.tune.Tuned``); each night fits a clone.
        trusted: Types a stored model may hold besides those of ``tasks.trust`` and the classes of
            the model's own file, such as ``lightgbm.basic.Booster``. A check or a fit that finds
            another names it. Whoever can write a model file can have them built: name none that
            runs what it is given.
        fit_limit: Longest time one fit may take, or None. Where it is set each fit has a process
            of its own, which is killed past it, also in the middle of compiled code, and the
            candidate is left out of that night. The process imports the libraries first, which
            costs about 3 s a fit and does not count.
        requests: Optional ``requests(as_of)``: raw rows of what the app asks for the day after,
            with the raw columns of ``known_ahead``. Without it a recommendation answers every user
            of ``lookback``, and other problems make no predictions.
        drift_limit: Index of stability (``tasks.drift``) past which a column whose newest week is
            far from usual keeps the champion until a person has looked; None for never.
        least_answers: Share of the rows published the last time below which predictions are
            refused.
        revert: When a champion that does worse than its predecessor is taken back by itself.
        clean: Optional pure function from accepted rows to clean rows.
        window: How many days a candidate learns from, or ``EXPANDING``.
        holdout: The last days, kept from training and used to judge.
        label_delay: How long after its day a label is final.
        skip: Days left out by a person, such as one that can not be repaired.
        slices: Groups in which no harm may be done: names of feature columns, or functions that
            give the group of each row, ``age_band(examples) -> Series``, and their name.
        quarantine_limit: Largest share of one day's rows that may break the contract.
        timezone: Time zone in which a day begins and ends.
        oldest_champion: The age of a champion from which an alarm is raised.
        gate: How a challenger is judged.
        seed: Seed of everything random.

    Raises:
        SpecError: With every fault of the spec in one message.
    """

    name: str
    question: str
    source: Source
    contract: type[DataFrameModel]
    problem: Problem
    known_ahead: tuple[str, ...]
    features: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]
    lookback: timedelta
    candidates: Mapping[str, Any]
    trusted: tuple[str, ...] = ()
    fit_limit: timedelta | None = None
    clean: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    requests: Callable[[date], pd.DataFrame] | None = None
    least_answers: float = 0.5
    drift_limit: float | None = 4.0
    revert: Revert = field(default_factory=Revert)
    window: timedelta = EXPANDING
    holdout: timedelta = timedelta(days=14)
    label_delay: timedelta = timedelta(0)
    skip: tuple[date, ...] = ()
    slices: tuple[str | Callable[[pd.DataFrame], pd.Series[Any]], ...] = ()
    quarantine_limit: float = 0.02
    timezone: str = "UTC"
    oldest_champion: timedelta = timedelta(14)
    gate: Gate = field(default_factory=Gate)
    seed: int = 20_170_101

    def __post_init__(self) -> None:
        faults = _spec_faults(self)
        if faults:
            lines = "\n".join(f"  - {fault}" for fault in faults)
            raise SpecError(f"The spec of model {self.name!r} has {len(faults)} fault(s):\n{lines}")


def load_spec(model: str) -> ModelSpec:
    """The spec a name, a file path or ``package.module:NAME`` stands for.

    Args:
        model: ``groceries`` for ``deployments/groceries.py``, ``path/to/file.py`` for the one
            spec of a file, or ``package.module:NAME``.

    Raises:
        SpecError: Where there is no such model, or its file or spec is wrong.
    """
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
            f"Model {shown(model)}: found neither a name (small letters, digits, _), nor a path "
            "that ends in .py, nor package.module:NAME."
        )
    if not (PROJECT / "deployments" / f"{model}.py").is_file():
        raise SpecError(
            f"There is no model {model!r}: deployments/{model}.py does not exist. "
            f"Models here: {', '.join(model_names()) or 'none'}."
        )
    return _only_spec(_import_module(f"deployments.{model}", model), model)


def address_of(spec: ModelSpec) -> str:
    """What ``load_spec`` finds this very spec by, in another process too.

    Raises:
        SpecError: Where it is no name at the top of a module.
    """
    first = sys.modules.get(spec.features.__module__)
    for module in [first, *sys.modules.values()]:
        names = [name for name, found in vars(module).items() if found is spec] if module else []
        if module and names and module.__file__:
            beside = module.__name__.startswith(MODULE_OF_FILE)
            return module.__file__ if beside else f"{module.__name__}:{names[0]}"
    raise SpecError(
        f"Model {spec.name}: fit_limit needs the spec as a name at the top of its file."
    )


def model_names() -> list[str]:
    """Names of the models under ``deployments/``, found without importing them."""
    files = sorted((PROJECT / "deployments").glob("[a-z]*.py"))
    return [f.stem for f in files if "ModelSpec(" in f.read_text(encoding="utf-8")]


def spec_file(spec: ModelSpec) -> Path:
    """The model's own file: the one at whose top the spec stands, else that of its features.

    Raises:
        SpecError: Where its features are not defined in a file either.
    """
    module = _module_of(spec)
    try:
        file = module.__file__ if module else inspect.getsourcefile(spec.features)
    except TypeError:
        file = None
    if file is None:
        raise SpecError(f"features of model {spec.name!r} must be defined in a file.")
    return Path(file).resolve()


def spec_module(spec: ModelSpec) -> str:
    """Name, in this process, of the module that ``spec_file`` holds."""
    module = _module_of(spec)
    return module.__name__ if module else spec.features.__module__


def spec_path(spec: ModelSpec) -> str:
    """Where the model's own file lies among ``code_paths``."""
    return _own_module(spec).path


@functools.cache
def code_paths(spec: ModelSpec) -> Mapping[str, Path]:
    """The code that the model needs at run time: path that makes it importable, to its file.

    These are the model's own file and every module it imports, however deep, from the project,
    from the folder of the model's file and from the model's own package, with the ``__init__`` of
    every package on the way.

    Kept, also because Python 3.11 cannot parse in two threads at once.
    """
    return {module.path: module.file for module in sorted(_packaged(spec))}


def code_files(spec: ModelSpec) -> tuple[Path, ...]:
    """The files of ``code_paths``."""
    return tuple(sorted(set(code_paths(spec).values())))


@functools.cache
def digest(spec: ModelSpec) -> str:
    """What decides the result: the model's code, the house's that it runs, library versions.

    Comments, docstrings and layout do not count, nor do house modules that are ``NEVER_DECIDING``.
    Of a package whose ``__init__`` only hands names on, the modules of the names asked for count.

    Returns:
        64 hexadecimal digits.
    """
    modules, links = _decisive(spec)
    parts = [f"{module.path}:{_read(module).code}" for module in sorted(modules)]
    parts += sorted(links)
    versions = (f"{name}={importlib.metadata.version(name)}" for name in _libraries(spec, modules))
    parts += [*versions, f"python={sys.version_info.major}.{sys.version_info.minor}"]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@functools.cache
def libraries(spec: ModelSpec) -> tuple[str, ...]:
    """Distributions that the model needs: the house's and those that its own files import."""
    return _libraries(spec, _packaged(spec))


def _spec_faults(spec: ModelSpec) -> list[str]:
    faults: list[str] = []

    def expect(name: str, holds: bool, allowed: str) -> None:
        if not holds:
            faults.append(f"{name}: found {shown(getattr(spec, name))}, allowed {allowed}")

    name_ok = isinstance(spec.name, str) and re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", spec.name)
    expect("name", bool(name_ok), "small letters, digits, - and _, 63 at most")
    expect("question", isinstance(spec.question, str) and bool(spec.question.strip()), "a sentence")
    expect("source", _has(spec.source, "list_days", "read_days"), "a source of tasks.sources")
    expect("contract", _has(spec.contract, "to_schema"), "a pandera DataFrameModel class")
    problem_ok = _has(spec.problem, "requests", "label", "faults")
    expect("problem", problem_ok, "a problem of tasks.problems")
    if problem_ok:
        faults += [f"problem.{fault}" for fault in spec.problem.faults(spec.known_ahead)]
    expect("known_ahead", _names(spec.known_ahead) and bool(spec.known_ahead), "column names")
    expect("features", _takes(spec.features, 2), "a function features(day, history)")
    expect("clean", spec.clean is None or _takes(spec.clean, 1), "None or a function clean(rows)")
    asks = spec.requests is None or _takes(spec.requests, 1)
    expect("requests", asks, "None or a function requests(as_of)")
    if spec.requests is not None and problem_ok and not spec.problem.answer_keys:
        faults.append("problem.key: found none, allowed the columns by which an app looks a row up")
    types_ok = isinstance(spec.trusted, tuple) and all(map(_is_dotted, spec.trusted))
    expect("trusted", types_ok, "a tuple of full names such as 'lightgbm.basic.Booster'")
    limit_ok = spec.fit_limit is None or (
        isinstance(spec.fit_limit, timedelta) and spec.fit_limit >= SHORTEST_FIT
    )
    expect("fit_limit", limit_ok, f"None or a timedelta of {SHORTEST_FIT.seconds} s at least")
    share_ok = _is_number(spec.least_answers) and 0 <= spec.least_answers <= 1
    expect("least_answers", share_ok, "a share from 0 to 1")
    drift_ok = spec.drift_limit is None or (_is_number(spec.drift_limit) and spec.drift_limit > 0)
    expect("drift_limit", drift_ok, "None or a number above 0")
    expect("slices", _slices(spec.slices), "a tuple of column names and functions by(examples)")
    expect("seed", type(spec.seed) is int and 0 <= spec.seed < 2**32, "a whole number below 2**32")
    limit_ok = _is_number(spec.quarantine_limit) and 0 <= spec.quarantine_limit < 1
    expect("quarantine_limit", limit_ok, "a share from 0 to below 1")
    expect("timezone", _is_timezone(spec.timezone), "a time zone such as Europe/Berlin")
    cut_by_time = getattr(spec.source, "time", None)
    zone = getattr(spec.source, "timezone", spec.timezone) if cut_by_time else spec.timezone
    expect("timezone", zone == spec.timezone, f"that of its source, {zone!r}")
    for name, least in (
        ("lookback", 0),
        ("window", 2),
        ("holdout", 1),
        ("label_delay", 0),
        ("oldest_champion", 1),
    ):
        expect(name, _whole_days(getattr(spec, name), least), f"days(n), n at least {least}")
    if all(_whole_days(getattr(spec, n), 0) for n in ("window", "holdout", "label_delay")):
        expect(
            "window",
            spec.window > spec.holdout + spec.label_delay,
            f"more than holdout and label_delay together ({(spec.holdout + spec.label_delay).days} "
            "days), or there is nothing to learn from",
        )
    if isinstance(spec.revert, Revert):
        faults += spec.revert.faults()
    else:
        expect("revert", False, "a Revert")
    if isinstance(spec.gate, Gate):
        faults += spec.gate.faults()
    else:
        expect("gate", False, "a Gate")
    return faults + _candidate_faults(spec.candidates)


def _candidate_faults(candidates: object) -> list[str]:
    if not isinstance(candidates, Mapping) or not candidates:
        return [f"candidates: found {shown(candidates)}, allowed a dict of name to estimator"]
    found = []
    for name, estimator in candidates.items():
        if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name):
            found.append(f"candidates: found the name {name!r}, allowed small letters, digits, _")
        if name in ("champion", "baseline"):
            found.append(
                f"candidates: found the name {name!r}, allowed any but this: it has a role"
            )
        if _has(estimator, "faults"):  # a Tuned
            found += [f"candidates[{name!r}].{fault}" for fault in estimator.faults()]
            estimator = estimator.estimator
        missing = [m for m in ("fit", "predict", "get_params") if not hasattr(type(estimator), m)]
        if missing or isinstance(estimator, type):
            found.append(
                f"candidates[{name!r}]: found {shown(estimator)}, allowed an instance of a "
                f"scikit-learn estimator (no {', '.join(missing) or 'instance'} here)"
            )
    return found


def shown(value: object) -> str:
    """A value as Python writes it, its first 80 characters."""
    text = str(value) if isinstance(value, timedelta | Path) else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _has(value: object, *methods: str) -> bool:
    return all(callable(getattr(value, method, None)) for method in methods)


def _is_dotted(value: object) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", value))


def _names(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) and name for name in value)


def _slices(value: object) -> bool:
    if not isinstance(value, tuple):
        return False
    names = [by if isinstance(by, str) else getattr(by, "__name__", "") for by in value]
    named = all(name and name != "<lambda>" for name in names) and len(set(names)) == len(names)
    return named and all(isinstance(by, str) or _takes(by, 1) for by in value)


def _whole_days(value: object, least: int) -> bool:
    return isinstance(value, timedelta) and value % days(1) == timedelta(0) and value.days >= least


def _takes(function: object, count: int) -> bool:
    if not callable(function):
        return False
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    return True


def _is_timezone(name: object) -> bool:
    try:
        ZoneInfo(name)  # type: ignore[arg-type]
    except (KeyError, OSError, TypeError, ValueError):
        return False
    return True


def _import_module(module: str, model: str) -> Any:
    try:
        return importlib.import_module(module)
    except SpecError:
        raise
    except ModuleNotFoundError as error:
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
    if full.parent == PROJECT / "deployments":
        return _import_module(f"deployments.{full.stem}", str(path))
    name = f"{MODULE_OF_FILE}{hashlib.sha256(str(full).encode()).hexdigest()[:8]}_{full.stem}"
    if name in sys.modules:
        return sys.modules[name]
    found = importlib.util.spec_from_file_location(name, full)
    if found is None or found.loader is None:
        raise SpecError(f"Model file {path}: Python cannot import it.")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    try:
        found.loader.exec_module(module)
    except SpecError:
        del sys.modules[name]
        raise
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise SpecError(_import_fault(str(path), error)) from error
    return module


def _import_fault(model: str, error: Exception | SystemExit) -> str:
    if isinstance(error, SyntaxError):  # says itself where
        return f"Model {model!r} is no Python: {error}"
    if isinstance(error, SystemExit):
        return f"Model {model!r} ends the process when it is imported: leave out its sys.exit."
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    rooms = str(PROJECT / "tasks")
    own = [frame for frame in frames if not frame.filename.startswith((rooms, "<"))]
    where = f" (line {own[-1].lineno} of {own[-1].filename})" if own else ""
    return f"Model {model!r} cannot be imported: {type(error).__name__}: {error}{where}"


def _only_spec(module: Any, model: str) -> ModelSpec:
    found = [v for v in vars(module).values() if isinstance(v, ModelSpec)]
    if len(found) != 1:
        raise SpecError(
            f"{model}: found {len(found)} ModelSpec(s) in {module.__file__}, expected one. "
            "Name the one meant with package.module:NAME."
        )
    return found[0]


def _module_of(spec: ModelSpec) -> ModuleType | None:
    """The module that gives the spec its name; modules that import the name do not count."""
    own = sys.modules.get(spec.features.__module__)
    for module in [own, *list(sys.modules.values())]:
        if not isinstance(module, ModuleType) or not getattr(module, "__file__", None):
            continue
        names = {name for name, found in list(vars(module).items()) if found is spec}
        if names and (module is own or _assigns(module, names)):
            return module
    return None


def _assigns(module: ModuleType, names: set[str]) -> bool:
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, SyntaxError):
        return False
    stored = (n for n in ast.walk(tree) if isinstance(n, ast.Name))
    return any(n.id in names and isinstance(n.ctx, ast.Store) for n in stored)


class _Module(NamedTuple):
    """A module of ours: the dotted name it is imported by, its file, whether it is a package."""

    name: str
    file: Path
    is_package: bool

    @property
    def path(self) -> str:
        place = self.name.replace(".", "/")
        return f"{place}/__init__.py" if self.is_package else f"{place}.py"


class _Import(NamedTuple):
    """A module that is imported at run time.

    Attributes:
        module: Its dotted name.
        name: The one name taken from it; None for the module itself.
        bound: What the importing module calls it.
        late: Whether it is imported inside a function.
    """

    module: str
    name: str | None
    bound: str
    late: bool = False


class _Code(NamedTuple):
    """What is read from a file.

    Attributes:
        code: Digest of what it does.
        imports: What it imports.
        is_face: Whether it only hands on names of others.
        lazily: Digest of how a face finds names that are asked for later.
    """

    code: str
    imports: tuple[_Import, ...]
    is_face: bool
    lazily: str


def _own_module(spec: ModelSpec) -> _Module:
    """The model's own file under the name that makes its imports work."""
    file, name = spec_file(spec), spec_module(spec)
    is_package = file.name == "__init__.py"
    place = file.parent if is_package else file.with_suffix("")
    parts = tuple(name.split("."))
    if place.parts[-len(parts) :] != parts:  # a file that was named by its path
        in_project = file.is_relative_to(PROJECT)
        name = ".".join(place.relative_to(PROJECT).parts) if in_project else place.name
    return _Module(name, file, is_package)


def _roots(own: _Module) -> list[tuple[Path, str]]:
    """Folders from which our own code is imported, each with the one package meant, if it is one.

    A folder of installed libraries, too, may hold the model's own package.
    """
    folder = own.file.parents[own.name.count(".") + own.is_package]
    roots = [(PROJECT, ""), (folder, own.name.partition(".")[0])]
    package = own.file.parent
    while (package / "__init__.py").is_file():
        roots.append((package.parent, package.name))
        package = package.parent
    installed = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    beside = own.file.parent
    return roots if beside in installed else [*roots, (beside, "")]


@functools.cache
def _packaged(spec: ModelSpec) -> frozenset[_Module]:
    own = _own_module(spec)
    return _follow(own, [own.name], packaged=True)[0]


def _decisive(spec: ModelSpec) -> tuple[frozenset[_Module], frozenset[str]]:
    own = _own_module(spec)
    modules, _ = _follow(own, [own.name])
    names = {module.name for module in modules}
    more = [found for module, found in SEARCHING.items() if module in names]
    return _follow(own, [own.name, *DECIDING, *more])


def _follow(
    own: _Module, names: Sequence[str], *, packaged: bool = False
) -> tuple[frozenset[_Module], frozenset[str]]:
    """The modules that these import, however deep, and what the faces between them name.

    Args:
        own: The model's own module.
        names: Modules to begin with.
        packaged: Whether all is wanted that has to be there at run time: faces with all that they
            import, and what is imported by a module that never decides.
    """
    roots = _roots(own)
    modules, links = set[_Module](), set[str]()
    seen = set[tuple[str, str | None, bool]]()
    waiting: list[tuple[str, str | None, bool]] = [(name, None, not packaged) for name in names]
    while waiting:
        step = waiting.pop()
        if step in seen:
            continue
        seen.add(step)
        name, asked, deciding = step
        if deciding and _is_below(name, NEVER_DECIDING):
            continue
        package = name.rpartition(".")[0]
        if package:
            waiting.append((package, "", deciding))  # its __init__ runs first
        module = own if name == own.name else _find(name, roots)
        if module is None:
            if asked:
                waiting.append((f"{name}.{asked}", None, deciding))
            continue
        read = _read(module)
        if asked:
            waiting.append((f"{name}.{asked}", None, deciding))
        if read.is_face and asked is not None and not packaged:
            for there in (found for found in read.imports if found.bound == asked):
                how = f" {read.lazily}" if there.late else ""
                links.add(f"{name}.{asked}={there.module}:{there.name}{how}")
                waiting.append((there.module, there.name, deciding))
        elif module not in modules:
            modules.add(module)
            for found in read.imports:
                cut = not packaged or (found.late and _is_below(name, (HOUSE,)))
                waiting.append((found.module, found.name, cut))
    return frozenset(modules), frozenset(links)


def _is_below(name: str, rooms: Sequence[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def _find(name: str, roots: Sequence[tuple[Path, str]]) -> _Module | None:
    """The module of our own with this dotted name."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return None
    for folder, only in roots:
        if only in ("", top):
            place = folder / name.replace(".", "/")
            for file in (place / "__init__.py", place.with_name(f"{place.name}.py")):
                if file.is_file():
                    return _Module(name, file.resolve(), file.parent == place)
    return None


def _libraries(spec: ModelSpec, modules: Iterable[_Module]) -> tuple[str, ...]:
    own = {module.name for module in _packaged(spec)}
    imported = {
        found.module.partition(".")[0]
        for module in modules
        if not _is_below(module.name, (HOUSE,))
        for found in _read(module).imports
    }
    known = _distributions()
    found = {known[name][0] for name in imported - own if name in known}
    return tuple(sorted({*DECIDING_LIBRARIES, *found} - {"nightly"}))


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _read(module: _Module) -> _Code:
    state = module.file.stat()
    return _read_once(module, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=1000)
def _read_once(module: _Module, *state: int) -> _Code:  # noqa: ARG001
    tree = _WhatRuns().visit(ast.parse(module.file.read_bytes(), filename=str(module.file)))
    return _Code(
        code=_hash(tree),
        imports=(*_imports(tree, module), *_lazy_imports(tree, module)),
        is_face=_is_face(tree),
        lazily=_hash(*filter(_is_getter, tree.body)),
    )


def _hash(*nodes: ast.AST) -> str:
    return hashlib.sha256("\n".join(map(ast.dump, nodes)).encode()).hexdigest()


class _WhatRuns(ast.NodeTransformer):
    """Leaves out docstrings and what is for type checkers alone."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        test = node.test
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return node.body if _is_type_checking(test.operand) else node
        return node.orelse if _is_type_checking(test) else node


def _is_type_checking(node: ast.expr) -> bool:
    return ast.unparse(node).rpartition(".")[2] == "TYPE_CHECKING"


def _imports(tree: ast.AST, module: _Module) -> Iterator[_Import]:
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, late = waiting.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield _Import(alias.name, None, alias.asname or top, late)
                if not alias.asname:  # all packages on the way can be used by their names, too
                    parts = alias.name.split(".")
                    for count in range(1, len(parts)):
                        yield _Import(".".join(parts[:count]), None, top, late)
        elif isinstance(node, ast.ImportFrom):
            base = _base_of(node.module or "", node.level, module)
            for alias in node.names if base else ():
                taken = None if alias.name == "*" else alias.name
                yield _Import(base, taken, alias.asname or alias.name, late)
        late = late or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        waiting += [(child, late) for child in reversed(list(ast.iter_child_nodes(node)))]


def _base_of(name: str, level: int, module: _Module) -> str:
    """The full name of what a module imports from, where it says so relative to its package."""
    if not level:
        return name
    parts = module.name.split(".") if module.is_package else module.name.split(".")[:-1]
    kept = parts[: len(parts) - level + 1]
    return ".".join([*kept, name] if name else kept) if kept else ""


def _lazy_imports(tree: ast.Module, module: _Module) -> Iterator[_Import]:
    """Names that a module's ``__getattr__`` finds in a table of name to module."""
    for statement in tree.body if any(map(_is_getter, tree.body)) else ():
        for name, place in _table(statement).items():
            stripped = place.lstrip(".")
            level = len(place) - len(stripped)
            base = _base_of(stripped, level, module)
            yield _Import(base, name, name, True)
            if not level:  # what is meant may be below this package
                yield _Import(f"{module.name}.{place}", name, name, True)


def _is_getter(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.FunctionDef) and statement.name == "__getattr__"


def _table(statement: ast.stmt) -> dict[str, str]:
    """The names and modules of a literal dict that is given a name; empty for all else."""
    value = statement.value if isinstance(statement, ast.Assign | ast.AnnAssign) else None
    if not isinstance(value, ast.Dict):
        return {}
    try:
        found = ast.literal_eval(value)
    except ValueError:
        return {}
    texts = all(isinstance(text, str) for pair in found.items() for text in pair)
    return found if texts else {}


def _is_face(tree: ast.Module) -> bool:
    """Whether a module only hands on names of others."""
    lazy = any(map(_is_getter, tree.body)) and any(map(_table, tree.body))

    def hands_on(statement: ast.stmt) -> bool:
        if isinstance(statement, ast.ImportFrom):
            return all(alias.name != "*" for alias in statement.names)
        if isinstance(statement, ast.FunctionDef):
            return lazy and statement.name in ("__getattr__", "__dir__")
        named = isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign)
        if named and "__all__" in ast.unparse(statement).partition("=")[0]:
            return True
        return isinstance(statement, ast.Import) or (lazy and bool(_table(statement)))

    return all(map(hands_on, tree.body))
