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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
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
    """The model's own file: the one its features are defined in.

    Raises:
        SpecError: Where they are not defined in a file.
    """
    root = inspect.getsourcefile(spec.features)
    if root is None:
        raise SpecError(f"features of model {spec.name!r} must be defined in a file.")
    return Path(root).resolve()


@functools.cache
def code_files(spec: ModelSpec) -> tuple[Path, ...]:
    """The spec's own file and every project module it imports, however deep.

    Kept, also because Python 3.11 cannot parse in two threads at once.
    """
    start = spec_file(spec)
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _imported_files(file, start.parent)
    return tuple(sorted(found))


@functools.cache
def digest(spec: ModelSpec) -> str:
    """What decides the result: the code of ``code_files`` and the library versions.

    Comments, docstrings and layout do not count, so that editing them retrains nothing.

    Returns:
        64 hexadecimal digits.
    """
    parts = [_code_digest(file) for file in code_files(spec)]
    parts += [f"{name}={importlib.metadata.version(name)}" for name in libraries(spec)]
    parts.append(f"python={sys.version_info.major}.{sys.version_info.minor}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@functools.cache
def libraries(spec: ModelSpec) -> tuple[str, ...]:
    """Distributions whose versions decide the result: the house's and those its files import."""
    own = [file for file in code_files(spec) if not file.is_relative_to(PROJECT / "tasks")]
    modules = {name.partition(".")[0] for file in own for name in _imported_names(file)}
    known = importlib.metadata.packages_distributions()
    found = {known[name][0] for name in modules if name in known}
    return tuple(sorted({*DECIDING_LIBRARIES, *found} - {"nightly"}))


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


def _imported_files(file: Path, beside: Path) -> list[Path]:
    """Files under the project or beside the model file that ``file`` imports at run time."""
    relative = [name.replace(".", "/") + ".py" for name in _imported_names(file)]
    places = [root / path for path in relative for root in (PROJECT, beside)]
    return [place.resolve() for place in places if place.is_file()]


def _imported_names(file: Path) -> list[str]:
    """Modules that a file imports at run time, and names that may be modules; dotted."""
    tree = ast.parse(file.read_bytes(), filename=str(file))
    names: list[str] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        waiting += ast.iter_child_nodes(node)
    return names


def _code_digest(file: Path) -> str:
    tree = ast.parse(file.read_bytes(), filename=str(file))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [s for s in body if not _is_text(s)]  # type: ignore[attr-defined]
    return f"{file.name}:{hashlib.sha256(ast.dump(tree).encode()).hexdigest()}"


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
