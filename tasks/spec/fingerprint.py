"""The digest of a model's code, and the files it is made of."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks import settings
from tasks.errors import SpecError

if TYPE_CHECKING:
    from tasks.spec.model_spec import ModelSpec


DECIDING_LIBRARIES = ("numpy", "pandas", "pandera", "pyarrow", "scikit-learn", "scipy", "skops")
BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")
"""Fields of a statement that hold statements."""
FILE_NAME = re.compile(r"\w[\w ./-]{0,150}\.(?!pyc?$)\w{1,8}")
"""A text that may be the name of a file beside the code."""
HOUSE = "tasks"
"""Top package of this project's own code."""
DECIDING = (
    "tasks.features.cleaning",
    "tasks.features.contract",
    "tasks.features.examples",
    "tasks.features.scoring",
    "tasks.features.split",
    "tasks.training.fit",
    "tasks.training.stored_fits",
    "tasks.training.votes",
)
"""Project modules that make the rows, features, fits and scores of every model."""

SEARCHING = {"tasks.spec.tuned": "tasks.training.tuning"}
"""Project modules that count as well where the model's code imports them."""
PACKAGED = "tasks.problems.input_form"
"""Project module that every stored model needs, whether or not the model's code imports it."""
NEVER_DECIDING = (
    "tasks.backtest",
    "tasks.clean_process",
    "tasks.cli",
    "tasks.errors",
    "tasks.evaluation",
    "tasks.monitoring",
    "tasks.predictions",
    "tasks.preflight",
    "tasks.promotion",
    "tasks.registry",
    "tasks.reporting",
    "tasks.scaffold",
    "tasks.settings",
    "tasks.spec.fingerprint",
    "tasks.spec.loading",
    "tasks.steps",
    "tasks.store",
    "tasks.training.explanation",
    "tasks.training.fit_process",
    "tasks.training.importance",
    "tasks.training.timed_process",
)
"""Project modules and packages whose code does not change any row, fit or score."""


POLICY = (
    "drift_ignored",
    "drift_limit",
    "explain",
    "gate",
    "least_answers",
    "oldest_champion",
    "question",
    "resources",
    "revert",
)
"""Settings of a spec by which nights decide and report: they change no row, fit or score."""


def spec_file(spec: ModelSpec) -> Path:
    """The model's own file: the file that defines the spec, else the file of its features.

    Raises:
        SpecError: Where its features are not defined in a file either.
    """
    module = _module_of(spec)
    try:
        file = module.__file__ if module else inspect.getsourcefile(spec.features)
    except TypeError:
        file = None
    if file is None:
        raise SpecError(
            f"Model {spec.name}: features must be a function defined in a file, not in an "
            "interactive session."
        )
    return Path(file).resolve()


def spec_module(spec: ModelSpec) -> str:
    """Name, in this process, of the module that ``spec_file`` holds."""
    module = _module_of(spec)
    return module.__name__ if module else spec.features.__module__


def spec_path(spec: ModelSpec) -> str:
    """Path of the model's own file among ``code_paths``."""
    return _own_module(spec).path


@functools.cache
def code_paths(spec: ModelSpec) -> Mapping[str, Path]:
    """The code that the model needs at run time: path that makes it importable, to its file.

    These are the model's own file and every module it imports, however deep, from the project,
    from the folder of the model's file and from the model's own package, with the ``__init__`` of
    every package on the way; and the files of ``data_files``.

    The result is cached, also because Python 3.11 cannot parse in two threads at once.
    """
    if spec.whole is not spec:
        return code_paths(spec.whole)
    return {module.path: module.file for module in sorted(_packaged(spec))} | data_files(spec)


def packaged_code(spec: ModelSpec) -> dict[str, Path | str]:
    """``code_paths``, and, of a file that was named by its path, a module of the name it has here.

    A class of the file is stored under that name. Its text only names the file's own module.
    """
    own, name = _own_module(spec), spec_module(spec)
    code: dict[str, Path | str] = {**code_paths(spec)}
    if own.name != name and "." not in name:
        code[f"{name}.py"] = (
            "import importlib\nimport sys\n\n"
            f"sys.modules[__name__] = importlib.import_module({own.name!r})\n"
        )
    return code


def data_files(spec: ModelSpec) -> dict[str, Path]:
    """The files that the model reads beside its code: path in the package, to the file.

    These are the ``files`` of the spec, and every file beside one of the model's own modules whose
    name stands in it as a text, unless the source reads it.

    Raises:
        SpecError: Where a file that the spec names is not there.
    """
    own, source = _own_module(spec), str(vars(spec.source))
    found = {}
    for name in spec.files:
        file = own.file.parent / name
        if not file.is_file():
            raise SpecError(
                f"Model {spec.name}: files: found no {name!r} in {own.file.parent}; expected a "
                "file beside the model's file. Put it there, or correct files."
            )
        found[str(PurePosixPath(own.path).parent / name)] = file
    for module in _packaged(spec):
        for name in () if _is_below(module.name, (HOUSE,)) else _file_names(module):
            file = module.file.parent / name
            if file.is_file() and file.name not in source:
                found.setdefault(str(PurePosixPath(module.path).parent / name), file)
    return dict(sorted(found.items()))


def code_files(spec: ModelSpec) -> tuple[Path, ...]:
    """The files of ``code_paths``."""
    return tuple(sorted(set(code_paths(spec).values())))


@functools.cache
def digest(spec: ModelSpec) -> str:
    """Digest of the model's code, the project code it runs, and library versions.

    Comments, docstrings and layout do not count, nor do project modules in ``NEVER_DECIDING`` and
    what the spec says of its ``POLICY``: whoever changes a bound changes no recipe.
    Of a package whose ``__init__`` only re-exports names, only the modules of the imported names
    count. Files that the code reads count with every byte.

    Returns:
        64 hexadecimal digits.
    """
    if spec.whole is not spec:
        return digest(spec.whole)
    from importlib.metadata import version as version_of

    modules, links = _decisive(spec)
    parts = [f"{module.path}:{_read(module).code}" for module in sorted(modules)]
    parts += sorted(links)
    for path, file in data_files(spec).items():
        parts.append(f"{path}:{hashlib.sha256(file.read_bytes()).hexdigest()}")
    versions = (f"{name}={version_of(name)}" for name in _libraries(spec, modules))
    parts += [*versions, f"python={sys.version_info.major}.{sys.version_info.minor}"]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def policy_text(spec: ModelSpec) -> str:
    """What the spec says of its ``POLICY``, for the key of a night."""
    return repr([getattr(spec, name) for name in POLICY])


@functools.cache
def libraries(spec: ModelSpec) -> tuple[str, ...]:
    """Distributions that the model needs: the project's and those that its own files import."""
    if spec.whole is not spec:
        return libraries(spec.whole)
    return _libraries(spec, _packaged(spec))


def _module_of(spec: ModelSpec) -> ModuleType | None:
    """The module that gives the spec its name; modules that import the name do not count."""
    spec = spec.whole
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
    """A module of this project or model: its dotted name, its file, whether it is a package."""

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
        bound: Name it gets in the importing module.
        late: Whether it is imported inside a function.
    """

    module: str
    name: str | None
    bound: str
    late: bool = False


class _Code(NamedTuple):
    """What was read from a file.

    Attributes:
        code: Digest of its code.
        imports: Its imports.
        is_face: Whether it only re-exports names of others.
        lazily: Digest of how such a module finds names lazily.
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
        in_project = file.is_relative_to(settings.PROJECT)
        name = ".".join(place.relative_to(settings.PROJECT).parts) if in_project else place.name
    return _Module(name, file, is_package)


def _roots(own: _Module) -> list[tuple[Path, str]]:
    """Folders from which project and model code is imported, each with its package, if any.

    A folder of installed libraries, too, may hold the model's own package.
    """
    folder = own.file.parents[own.name.count(".") + own.is_package]
    roots = [(settings.PROJECT, ""), (folder, own.name.partition(".")[0])]
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
    return _follow(own, [own.name, PACKAGED], packaged=True)[0]


def _decisive(spec: ModelSpec) -> tuple[frozenset[_Module], frozenset[str]]:
    own = _own_module(spec)
    modules, _ = _follow(own, [own.name])
    names = {module.name for module in modules}
    more = [found for module, found in SEARCHING.items() if module in names]
    return _follow(own, [own.name, *DECIDING, *more])


def _follow(
    own: _Module, names: Sequence[str], *, packaged: bool = False
) -> tuple[frozenset[_Module], frozenset[str]]:
    """The modules that these import, directly or not, and the modules re-exported between them.

    Args:
        own: The model's own module.
        names: Modules to begin with.
        packaged: Whether everything needed at run time is wanted: re-exporting modules with all
            their imports, and imports of modules that never decide.
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
    """The project or model module with this dotted name."""
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
    other = imported - own - {HOUSE, "sklearn", *DECIDING_LIBRARIES, *sys.stdlib_module_names}
    known = _distributions() if other else {}
    found = {known[name][0] for name in other if name in known}
    return tuple(sorted({*DECIDING_LIBRARIES, *found} - {"nightly"}))


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    from importlib.metadata import packages_distributions

    return packages_distributions()


def _read(module: _Module) -> _Code:
    state = module.file.stat()
    return _read_once(module, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=1000)
def _read_once(module: _Module, *state: int) -> _Code:  # noqa: ARG001
    tree = _what_runs(module)
    return _Code(
        code=_hash(tree),
        imports=(*_imports(tree, module), *_lazy_imports(tree, module)),
        is_face=_is_face(tree),
        lazily=_hash(*filter(_is_getter, tree.body)),
    )


def _file_names(module: _Module) -> Iterator[str]:
    """Texts in a module that may be names of files."""
    waiting: list[ast.AST] = [_what_runs(module)]
    while waiting:
        node = waiting.pop()
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and FILE_NAME.fullmatch(text) and ".." not in text:
            yield text
        policy = _policy(node)
        waiting += [child for child in ast.iter_child_nodes(node) if child not in policy]


def _hash(*nodes: ast.AST) -> str:
    return hashlib.sha256("\n".join(map(_dump, nodes)).encode()).hexdigest()


def _dump(node: object) -> str:
    """What ``ast.dump`` gives, in half the time, without what a spec names in ``POLICY``."""
    if isinstance(node, list):
        return f"[{', '.join(map(_dump, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    kind, found, policy = type(node), [], _policy(node)
    for name in kind._fields:
        value = getattr(node, name)
        if value is None and getattr(kind, name, ...) is None:
            continue
        if policy and name == "keywords":
            value = [each for each in value if each not in policy]
        found.append(f"{name}={_dump(value)}")
    return f"{kind.__name__}({', '.join(found)})"


def _policy(node: ast.AST) -> list[ast.keyword]:
    """What a spec that is made here names in ``POLICY``."""
    if isinstance(node, ast.Call) and _last_name(node.func) == "ModelSpec":
        return [each for each in node.keywords if each.arg in POLICY]
    return []


def _what_runs(module: _Module) -> ast.Module:
    """The code of a module without docstrings and code for type checkers."""
    tree = ast.parse(module.file.read_bytes(), filename=str(module.file))
    return ast.Module(_that_run(tree.body), tree.type_ignores)


def _that_run(statements: Sequence[ast.stmt]) -> list[Any]:
    found: list[Any] = []
    for statement in statements:
        if isinstance(statement, ast.Expr) and _is_text(statement.value):
            continue
        for name in BLOCKS:
            if inside := getattr(statement, name, None):
                setattr(statement, name, _that_run(inside))
        chosen: Sequence[ast.stmt] = [statement]
        if isinstance(statement, ast.If):
            test = statement.test
            if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
                chosen = statement.body if _is_type_checking(test.operand) else chosen
            elif _is_type_checking(test):
                chosen = statement.orelse
        found += chosen
    return found


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_type_checking(node: ast.expr) -> bool:
    return _last_name(node) == "TYPE_CHECKING"


def _last_name(node: ast.expr) -> str:
    """``name`` of ``name`` and of ``any.thing.name``; empty for all else."""
    return getattr(node, "id", getattr(node, "attr", ""))


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
        inside = [child for name in BLOCKS for child in getattr(node, name, ())]
        waiting += [(child, late) for child in reversed(inside)]


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
    """Whether a module only re-exports names of others."""
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
