"""The digest of a model follows the code that decides its result, and nothing else."""

from __future__ import annotations

import dataclasses
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import pytest

from tasks import settings
from tasks.registry.squeezed import write_code
from tasks.sources import CsvDays
from tasks.spec import ModelSpec, SpecError, fingerprint
from tasks.spec.fingerprint import DECIDING, NEVER_DECIDING, SEARCHING
from tasks.spec.loading import load_spec
from tests import warm
from tests.nights import PROJECT, write_model
from tests.samples import in_part

HEAD = "import numpy as np\n"
CODE = 'def f():\n    """One."""\n    return 1  # one\n'
EDIT = ("return 1", "return 2")
OWN = "acme/models/visits.py"
LAZY = (
    "from importlib import import_module\n"
    '_WHERE = {"f": "acme.helper.deep", "g": "acme.helper.other"}\n'
    "def __getattr__(name):\n"
    "    return getattr(import_module(_WHERE[name]), name)\n"
)
SEEN: dict[str, tuple[str, dict[str, str], str]] = {
    "a setting of the spec": ("", {}, "models/visits.py: lookback=days(7) -> lookback=days(6)"),
    "a package": ("from acme import helper", {"helper/__init__.py": CODE}, ""),
    "a name of a package": ("from acme.helper import f", {"helper/__init__.py": CODE}, ""),
    "a module of a package": ("from acme.helper import deep", {"helper/deep.py": CODE}, ""),
    "a name of a module": ("from acme.helper.deep import f", {"helper/deep.py": CODE}, ""),
    "a dotted import": ("import acme.helper.deep", {"helper/deep.py": CODE}, ""),
    "a renamed import": ("import acme.helper.deep as d", {"helper/deep.py": CODE}, ""),
    "a sibling": ("from . import near", {"models/near.py": CODE}, ""),
    "a sibling's name": ("from .near import f", {"models/near.py": CODE}, ""),
    "a package above": ("from .. import helper", {"helper/__init__.py": CODE}, ""),
    "a name from above": ("from ..helper import f", {"helper/__init__.py": CODE}, ""),
    "a deep name from above": ("from ..helper.deep import f", {"helper/deep.py": CODE}, ""),
    "everything": ("from ..helper import *", {"helper/__init__.py": CODE}, ""),
    "a package on the way": (
        "from acme.helper.deep import f",
        {"helper/deep.py": CODE, "helper/__init__.py": CODE},
        "helper/__init__.py",
    ),
    "what a package on the way imports": (
        "from acme.helper.deep import f",
        {"helper/deep.py": CODE, "helper/__init__.py": "from . import x\ny = 3\n"}
        | {"helper/x.py": CODE},
        "helper/x.py",
    ),
    "the own package": ("", {"models/__init__.py": CODE}, "models/__init__.py"),
    "handed on": (
        "from acme.helper import f",
        {"helper/__init__.py": "from acme.helper.deep import f\n", "helper/deep.py": CODE},
        "helper/deep.py",
    ),
    "handed on relatively": (
        "from ..helper import g",
        {"helper/__init__.py": "from .deep import f as g\n", "helper/deep.py": CODE},
        "helper/deep.py",
    ),
    "handed on twice": (
        "from acme.helper import f",
        {"helper/__init__.py": "from .inner import f\n__all__ = ['f']\n"}
        | {"helper/inner/__init__.py": '"""A face."""\nfrom .deep import f\n'}
        | {"helper/inner/deep.py": CODE},
        "helper/inner/deep.py",
    ),
    "a module handed on": (
        "from acme.helper import deep",
        {"helper/__init__.py": "from . import deep, other\n", "helper/deep.py": CODE}
        | {"helper/other.py": ""},
        "helper/deep.py",
    ),
    "all of a face": (
        "from acme import helper",
        {"helper/__init__.py": "from .deep import f\n", "helper/deep.py": CODE},
        "helper/deep.py",
    ),
    "another thing handed on": (
        "from acme.helper import f",
        {"helper/__init__.py": "from .deep import f, h as return_1\n"}
        | {"helper/deep.py": CODE + "\n\ndef h():\n    return 3\n"},
        "helper/__init__.py: f, h as return_1 -> h as f, f as return_1",
    ),
    "a lazy face": (
        "from acme.helper import f",
        {"helper/__init__.py": LAZY, "helper/deep.py": CODE, "helper/other.py": ""},
        "helper/deep.py",
    ),
    "a lazy face of names below it": (
        "from acme.helper import f",
        {
            "helper/__init__.py": LAZY.replace('"acme.helper.', '"').replace(
                "(_W", '("acme.helper." + _W'
            )
        }
        | {"helper/deep.py": CODE, "helper/other.py": ""},
        "helper/deep.py",
    ),
    "how a lazy face finds": (
        "from acme.helper import f",
        {"helper/__init__.py": LAZY, "helper/deep.py": CODE, "helper/other.py": ""},
        "helper/__init__.py: return getattr -> return 1 and getattr",
    ),
    "a package that does more than hand on": (
        "from acme.helper import f",
        {"helper/__init__.py": "from .deep import f\nfrom .other import g\nx = g()\n"}
        | {"helper/deep.py": "def f(): ...\n", "helper/other.py": CODE.replace("def f", "def g")},
        "helper/other.py",
    ),
    "inside a function": (
        "def late():\n    from acme.helper import f\n    return f",
        {"helper/__init__.py": CODE},
        "",
    ),
    "what a helper imports": (
        "from acme.helper.deep import f",
        {"helper/deep.py": "from ..more import f\n\nx = 3\n", "more.py": CODE},
        "more.py",
    ),
    "not for type checkers": (
        "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    from acme.helper import f",
        {"helper/__init__.py": CODE},
        "",
    ),
    "what runs in place of types": (
        "import typing\nif typing.TYPE_CHECKING:\n    f = 1\nelse:\n    from acme.helper import f",
        {"helper/__init__.py": CODE},
        "",
    ),
    "the model's file": ("", {}, f"{OWN[5:]}: max_depth=3 -> max_depth=4"),
    "the model's file where its features are from another": (
        "from ..far import features as far",
        {"far.py": "def features(day, history):\n    return day[['size']]\n"},
        f"{OWN[5:]}: max_depth=3 -> max_depth=4",
    ),
    "features from another file": (
        "from ..far import features as far",
        {"far.py": "def features(day, history):\n    return day[['size']]\n"},
        "far.py: size -> shop",
    ),
}
NOT_SEEN: dict[str, tuple[str, dict[str, str], str]] = {
    "a bound of the gate": ("", {}, "models/visits.py: min_units=100 -> min_units=200"),
    "the question": ("", {}, "models/visits.py: Will this visitor buy? -> Does this visitor buy?"),
    "for type checkers": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from acme.helper import f",
        {"helper/__init__.py": CODE},
        "",
    ),
    "which types are checked": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from acme.helper import f",
        {"helper/__init__.py": CODE},
        f"{OWN[5:]}: helper import f -> helper import f as g",
    ),
    "a comment": (
        "from acme.helper import f",
        {"helper/__init__.py": CODE},
        "helper/__init__.py: # one -> # two",
    ),
    "a docstring": (
        "from acme.helper import f",
        {"helper/__init__.py": CODE},
        "helper/__init__.py: One. -> Two.",
    ),
    "a face's other module": (
        "from acme.helper import g",
        {"helper/__init__.py": '"""A face."""\nfrom .deep import f\nfrom .other import g\n'}
        | {"helper/other.py": CODE.replace("def f", "def g"), "helper/deep.py": CODE},
        "helper/deep.py",
    ),
    "a lazy face's other module": (
        "from acme.helper import g",
        {"helper/__init__.py": LAZY, "helper/deep.py": CODE}
        | {"helper/other.py": "def g(): ...\n"},
        "helper/deep.py",
    ),
    "what else a face hands on": (
        "from acme.helper import f",
        {"helper/__init__.py": "from .deep import f\n__all__ = ['f']\n", "helper/deep.py": CODE},
        "helper/__init__.py: __all__ -> from json import loads\n__all__",
    ),
    "what no one imports": ("", {"helper/__init__.py": CODE}, "helper/__init__.py"),
}


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path for a package of the user's."""
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme"]:
        del sys.modules[name]


def packaged_model(
    place: Path, line: str, files: Mapping[str, str], *more: tuple[str, str]
) -> ModelSpec:
    """The toy as ``acme.models.visits:toy`` with a line more, among these files of ``acme``."""
    for name, text in {"__init__.py": "", "models/__init__.py": "", **files}.items():
        (place / "acme" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "acme" / name).write_text(text)
    if "as far" in line:
        more = (*more, ("    features=features,\n", "    features=far,\n"))
    write_model(place / OWN, place / "days", (HEAD, f"{HEAD}{line}\n"), *more)
    return load_spec("acme.models.visits:toy")


def digest_now(model: ModelSpec) -> str:
    """The digest as another process would find it."""
    for kept in (
        fingerprint.digest,
        fingerprint.code_paths,
        fingerprint.libraries,
        fingerprint._packaged,
    ):
        kept.cache_clear()
    return fingerprint.digest(model)


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{text.count(old)} x {old!r} in {file}"
    file.write_text(text.replace(old, new))


def edit_is_seen(place: Path, line: str, files: Mapping[str, str], what: str) -> bool:
    model = packaged_model(place, line, files)
    before = digest_now(model)
    name, _, change = (what or next(iter(files))).partition(": ")
    old, new = change.split(" -> ") if change else EDIT
    edit(place / "acme" / name, old, new)
    return digest_now(model) != before


@pytest.mark.parametrize("form", in_part(SEEN))
def test_an_edit_that_decides_is_seen(form: str, acme: Path) -> None:
    assert edit_is_seen(acme, *SEEN[form])


@pytest.mark.parametrize("form", NOT_SEEN)
def test_an_edit_that_decides_nothing_is_not_seen(form: str, acme: Path) -> None:
    assert not edit_is_seen(acme, *NOT_SEEN[form])


def test_packages_without_an_init_are_followed(acme: Path) -> None:
    model = packaged_model(acme, "from acme.helper.deep import f", {"helper/deep.py": CODE})
    for init in acme.rglob("__init__.py"):
        init.unlink()
    before = digest_now(model)
    edit(acme / "acme/helper/deep.py", *EDIT)
    assert digest_now(model) != before
    assert set(fingerprint.code_paths(model)) > {OWN, "acme/helper/deep.py"}


def beside(place: Path, helper: str, line: str = "import helper") -> ModelSpec:
    """The toy as a file named by its path, with a helper beside it."""
    place.mkdir()
    for name in ("helper.py", "helper/__init__.py"):
        if name == helper:
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text(CODE)
    return load_spec(str(write_model(place / "toy.py", place.parent, (HEAD, f"{HEAD}{line}\n"))))


def test_a_checkout_elsewhere_has_the_same_digest_and_another_layout_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "helper", ModuleType("helper"))
    here = beside(tmp_path / "here", "helper.py")
    there = beside(tmp_path / "there", "helper.py")
    package = beside(tmp_path / "package", "helper/__init__.py")
    none = beside(tmp_path / "none", "")
    assert fingerprint.digest(here) == fingerprint.digest(there)
    assert len({fingerprint.digest(model) for model in (here, package, none)}) == 3
    assert fingerprint.code_paths(package)["helper/__init__.py"].parent.name == "helper"


def test_of_installed_libraries_only_the_models_own_package_is_followed(
    acme: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (acme / "acme_neighbour.py").write_text(CODE)
    line = "import acme_neighbour\nfrom acme.helper import f"
    model = packaged_model(acme, line, {"helper/__init__.py": CODE})
    monkeypatch.setattr(sysconfig, "get_path", lambda _: str(acme))
    before = digest_now(model)
    edit(acme / "acme_neighbour.py", *EDIT)
    assert digest_now(model) == before
    edit(acme / "acme/helper/__init__.py", *EDIT)
    assert digest_now(model) != before
    alone = write_model(acme / "alone.py", acme, (HEAD, f"{HEAD}import acme_neighbour\n"))
    assert not {"acme_neighbour.py"} & set(fingerprint.code_paths(load_spec(str(alone))))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the house whose files may be edited."""
    place = tmp_path_factory.mktemp("house")
    for room in ("tasks", "deployments"):
        shutil.copytree(PROJECT / room, place / room)
    return place


@pytest.fixture
def house_edit(house: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
    """Whether edits of house modules, and of all below house packages, change a digest."""
    monkeypatch.setattr(settings, "PROJECT", house)

    def changes(model: ModelSpec, *names: str) -> bool:
        places = [house / name.replace(".", "/") for name in names]
        files = [file for place in places for file in place.rglob("*.py")]
        files += [
            file for place in places if (file := place.with_name(f"{place.name}.py")).exists()
        ]
        assert files
        before, texts = digest_now(model), [file.read_text() for file in files]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text + "\nedited = 1\n")
        after = digest_now(model)
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)
        assert digest_now(model) == before
        return after != before

    return changes


HOUSE_SEEN = (*DECIDING, "tasks.spec", "tasks.problems.classification", "tasks.sources.files")


@pytest.mark.parametrize("name", HOUSE_SEEN)
def test_the_houses_code_that_makes_rows_fits_and_scores_is_seen(
    name: str, house_edit: Callable[..., bool], tmp_path: Path
) -> None:
    assert house_edit(load_spec(str(write_model(tmp_path / "toy.py", tmp_path))), name)


@pytest.mark.parametrize("model", ["toy", "flights", "groceries"])
def test_pictures_reports_and_other_rooms_that_decide_nothing_are_not_seen(
    model: str, house_edit: Callable[..., bool], tmp_path: Path
) -> None:
    toy = write_model(tmp_path / "toy.py", tmp_path)
    assert not house_edit(load_spec(str(toy) if model == "toy" else model), *NEVER_DECIDING)


def test_a_picture_in_the_models_file_retrains_nothing_but_is_packaged(
    house_edit: Callable[..., bool], tmp_path: Path
) -> None:
    line = f"{HEAD}from tasks.reporting import plots\n"
    drawing = load_spec(str(write_model(tmp_path / "toy.py", tmp_path, (HEAD, line))))
    assert not house_edit(drawing, "tasks.reporting.plots")
    assert "tasks/reporting/plots.py" in fingerprint.code_paths(drawing)


def test_the_search_decides_where_parameters_are_searched(
    house_edit: Callable[..., bool], tmp_path: Path
) -> None:
    (tmp_path / "plain").mkdir()
    plain = load_spec(str(write_model(tmp_path / "plain/toy.py", tmp_path)))
    for tune, tuning in SEARCHING.items():
        line = f"{HEAD}import {tune} as searched\n"
        searched = load_spec(str(write_model(tmp_path / "toy.py", tmp_path, (HEAD, line))))
        assert house_edit(searched, tuning)
        assert not house_edit(plain, tuning)


def test_every_house_module_that_is_listed_exists() -> None:
    listed = {*DECIDING, *NEVER_DECIDING, *SEARCHING, *SEARCHING.values()}
    assert [name for name in listed if fingerprint._find(name, [(PROJECT, "")]) is None] == []


def test_no_picture_is_packaged() -> None:
    for model in ("flights", "groceries"):
        assert not any("plot" in path for path in fingerprint.code_paths(load_spec(model)))


def asked_in_a_clean_process(folder: Path, question: str) -> str:
    script = f"import sys; sys.path.insert(0, {str(folder)!r})\n{question}"
    ended = warm.run([sys.executable, "-P", "-c", script])
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_a_class_of_a_file_outside_is_found_in_its_package_by_the_name_it_has_here(
    tmp_path: Path, warm_address: None
) -> None:
    file = write_model(tmp_path / "outside.py", tmp_path / "days")
    file.write_text(file.read_text() + "\n\nclass Mine:\n    pass\n")
    spec = load_spec(str(file))
    name = fingerprint.spec_module(spec)
    packed = tmp_path / "packed"
    write_code(fingerprint.packaged_code(spec), packed)
    asked = f"import {name}, outside; assert {name}.Mine is outside.Mine"
    command = [sys.executable, "-W", "ignore", "-c", asked]
    ended = warm.run(command, tmp_path / "..", {"PYTHONPATH": str(packed)})
    assert ended.returncode == 0, ended.stderr
    inside = load_spec("flights")
    assert fingerprint.packaged_code(inside) == fingerprint.code_paths(inside)


def test_a_model_two_packages_deep_is_packaged_with_all_it_runs(
    acme: Path, tmp_path: Path, warm_address: None
) -> None:
    """Its ``__init__`` files are the real ones, and what a face hands on is there too."""
    files = {
        "__init__.py": "MARK = 7\n",
        "helper/__init__.py": "from .deep import f\nfrom .other import g\n",
        "helper/deep.py": CODE,
        "helper/other.py": CODE.replace("def f", "def g"),
        "bare/module.py": "from ..helper import g\n",
    }
    model = packaged_model(acme, "from ..helper import f\nfrom acme.bare import module", files)
    assert fingerprint.spec_path(model) == OWN
    assert fingerprint.spec_module(model) == "acme.models.visits"
    folder = tmp_path / "packed"
    write_code(fingerprint.code_paths(model), folder)
    said = asked_in_a_clean_process(
        folder,
        "import acme, acme.models.visits as v, tasks.problems.predictions\n"
        "ours = [m for n, m in sys.modules.items() if n.split('.')[0] in ('acme', 'tasks')]\n"
        f"out = [m for m in ours if m.__file__ and {str(folder)!r} not in m.__file__]\n"
        "print(v.toy.name, v.f(), v.module.g(), acme.MARK, out)",
    )
    assert said == "toy 1 1 7 []"


def test_a_packaged_folder_is_found_before_an_installed_one_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(settings, "PROJECT", tmp_path)
    model = load_spec(str(write_model(tmp_path / "models" / "toy.py", tmp_path)))
    paths = {n: f for n, f in fingerprint.code_paths(model).items() if not n.startswith("tasks")}
    assert list(paths) == ["models/toy.py"]
    write_code(paths, tmp_path / "packed")
    written = sorted(file.name for file in (tmp_path / "packed" / "models").iterdir())
    assert written == ["__init__.py", "toy.py"]


READS = (
    "from pathlib import Path\n"
    "SHUT = Path(__file__).with_name('holidays.csv').read_text()\n"
    "FAR = (Path(__file__).parent / 'data/far.txt').read_text()\n"
    "NAMED = Path(__file__).with_name('na' + 'med.json').read_text()"
)


@pytest.fixture
def reading(acme: Path) -> ModelSpec:
    """A model that reads three files beside its own; the name of one is told in ``files``."""
    files = {"models/holidays.csv": "a", "models/data/far.txt": "b", "models/named.json": "c"}
    files["models/notes.txt"] = "nobody reads it"
    named = ("    features=features,\n", "    features=features,\n    files=('named.json',),\n")
    return packaged_model(acme, READS, files, named)


@pytest.mark.parametrize("name", ["holidays.csv", "data/far.txt", "named.json"])
def test_a_file_that_the_code_reads_counts_and_is_packaged(
    reading: ModelSpec, acme: Path, tmp_path: Path, name: str, warm_address: None
) -> None:
    before = digest_now(reading)
    (acme / "acme/models/notes.txt").write_text("edited")
    assert digest_now(reading) == before
    (acme / "acme/models" / name).write_text("edited")
    assert digest_now(reading) != before
    write_code(fingerprint.code_paths(reading), tmp_path / "packed")
    script = "import acme.models.visits as v; print(v.SHUT, v.FAR, v.NAMED)"
    said = asked_in_a_clean_process(tmp_path / "packed", script)
    assert "edited" in said
    assert "acme/models/notes.txt" not in fingerprint.code_paths(reading)


def test_a_file_that_the_source_reads_is_no_file_of_the_model(acme: Path) -> None:
    model = packaged_model(acme, "WHERE = 'days.csv'", {"models/days.csv": "n"})
    assert list(fingerprint.data_files(model)) == ["acme/models/days.csv"]
    source = CsvDays(str(acme / "acme/models/days.csv"), time="at")
    assert fingerprint.data_files(dataclasses.replace(model, source=source)) == {}


def test_a_named_file_that_is_not_there_is_told(reading: ModelSpec, acme: Path) -> None:
    (acme / "acme/models/named.json").unlink()
    with pytest.raises(SpecError, match=r"files: found no 'named.json' in .*acme/models"):
        digest_now(reading)
    for wrong in (("/etc/passwd",), ("../up.csv",), ["holidays.csv"], "holidays.csv"):
        with pytest.raises(SpecError, match=r"files: found .* allowed a tuple of files beside"):
            dataclasses.replace(reading, files=wrong)
