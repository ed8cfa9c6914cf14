"""A spec says all its faults at once; a model is found by name, path or module; code decides."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from tasks.problems import Classification
from tasks.spec import EXPANDING, Gate, ModelSpec, Revert, SpecError, days, fingerprint
from tasks.spec.fingerprint import code_files, digest, libraries
from tasks.spec.loading import MOVED, load_spec
from tests.nights import PROJECT, write_model
from tests.toy import toy

WRONG: dict[str, tuple[object, str]] = {
    "name": ("Toy!", "name: found 'Toy!', allowed lower-case letters, digits, - and _"),
    "question": ("", "question: found '', allowed a sentence"),
    "source": ("folder", "source: found 'folder', allowed a source of tasks.sources"),
    "contract": (dict, "contract: found <class 'dict'>, allowed a pandera DataFrameModel class"),
    "problem": ("late", "problem: found 'late', allowed a problem of tasks.problems"),
    "known_ahead": (["number"], "known_ahead: found ['number'], allowed column names"),
    "features": (len, "allowed a function features(day, history)"),
    "clean": (3, "clean: found 3, allowed None or a function clean(rows)"),
    "slices": (["shop"], "slices: found ['shop'], allowed a tuple of column names"),
    "seed": (-1, "seed: found -1, allowed a whole number below 2**32"),
    "quarantine_limit": (1.5, "quarantine_limit: found 1.5, allowed a share from 0 to below 1"),
    "timezone": ("Berlin", "timezone: found 'Berlin', allowed a time zone"),
    "lookback": (7, "lookback: found 7, allowed days(n), n at least 0"),
    "window": (days(7), "window: found 7 days, 0:00:00, allowed more than holdout"),
    "holdout": (timedelta(hours=12), "holdout: found 12:00:00, allowed days(n), n at least 1"),
    "label_delay": (None, "label_delay: found None, allowed days(n), n at least 0"),
    "gate": ({}, "gate: found {}, allowed a Gate"),
    "trusted": (("os",), "trusted: found ('os',), allowed a tuple of full names such as"),
    "fit_limit": (days(0), "fit_limit: found 0:00:00, allowed None or a timedelta of at least 1 s"),
    "candidates": ({}, "candidates: found {}, allowed a dict of name to estimator"),
    "drift_ignored": ("season", "drift_ignored: found 'season', allowed column names of the feat"),
    "explain": ("yes", "explain: found 'yes', allowed True or False"),
    "baseline": (
        "naive",
        "baseline: found 'naive', allowed None or a candidate: ",
    ),
}


@pytest.mark.parametrize("field", WRONG)
def test_each_wrong_field_is_named_with_value_and_what_is_allowed(field: str) -> None:
    value, message = WRONG[field]
    with pytest.raises(SpecError) as found:
        dataclasses.replace(toy, **{field: value})
    assert message in str(found.value)
    assert "has 1 fault:" in str(found.value)


def test_one_error_lists_every_fault() -> None:
    values = {field: value for field, (value, _) in WRONG.items() if field != "window"}
    with pytest.raises(SpecError) as found:
        dataclasses.replace(toy, **values)
    missing = [m for f, (_, m) in WRONG.items() if f != "window" and m not in str(found.value)]
    assert missing == []


def test_slices_are_columns_and_functions_with_names_of_their_own() -> None:
    def band(examples: pd.DataFrame) -> pd.Series:
        return examples["size"] > 0

    assert dataclasses.replace(toy, slices=("shop", band)).slices == ("shop", band)
    for wrong in ((lambda examples: examples,), (band, band), ("band", band), (3,), (dict.get,)):
        with pytest.raises(SpecError, match="allowed a tuple of column names and functions"):
            dataclasses.replace(toy, slices=wrong)


def test_requests_without_a_key_say_what_to_write() -> None:
    plain = Classification(target="bought")
    with pytest.raises(SpecError, match=r"such as key=\('order_no',\); where a day has one row"):
        dataclasses.replace(toy, problem=plain)


def test_only_what_is_predicted_can_be_explained() -> None:
    assert dataclasses.replace(toy, explain=True).explain
    assert dataclasses.replace(load_spec("groceries"), explain=True).explain
    with pytest.raises(SpecError, match="explain: found True, allowed only where predictions are"):
        dataclasses.replace(toy, explain=True, requests=None)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ({"Big": LogisticRegression()}, "found the name 'Big', allowed lower-case letters"),
        ({"champion": LogisticRegression()}, "found the name 'champion', allowed any other name"),
        ({"a": LogisticRegression}, "allowed an instance of a scikit-learn estimator"),
        ({"a": object()}, "(it has no fit, predict, get_params)"),
    ],
)
def test_wrong_candidates(candidates: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError) as found:
        dataclasses.replace(toy, candidates=candidates)
    assert message in " ".join(str(found.value).split())


def test_the_faults_of_problem_and_gate_are_the_specs() -> None:
    with pytest.raises(SpecError) as found:
        dataclasses.replace(
            toy, problem=Classification("bought", metric="accuracy"), gate=Gate(confidence=2.0)
        )
    assert "problem." in str(found.value)
    assert "gate.confidence: found 2.0" in str(found.value)


def test_a_spec_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        toy.seed = 3  # type: ignore[misc]
    assert toy.window == EXPANDING


def test_a_model_is_found_by_name_path_and_module(tmp_path: Path) -> None:
    by_name = load_spec("groceries")
    assert by_name.name == "groceries"
    assert load_spec("deployments.groceries:groceries") is by_name
    assert load_spec(str(PROJECT / "deployments" / "groceries.py")) is by_name
    file = write_model(tmp_path / "mine.py", tmp_path)
    assert load_spec(str(file)) is load_spec(str(file))
    assert load_spec(str(file)).name == "toy"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("grocery", "deployments/grocery.py does not exist. Models here: flights, groceries."),
        ("no such", "expected a model name"),
        ("none.py", "Model file none.py: not found from"),
        ("tests.toy:FIRST", "FIRST in tests.toy is datetime.date(2026, 1, 1), not a ModelSpec"),
        ("tests.toys:toy", "needs the package 'tests.toys', which is not installed"),
    ],
)
def test_a_model_that_is_not_there(model: str, message: str) -> None:
    with pytest.raises(SpecError) as found:
        load_spec(model)
    assert message in str(found.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"def f(:\n", "mine.py' is not valid Python: invalid syntax (mine.py, line 1)"),
        (b"x = 1\nraise RuntimeError('boom')\n", "RuntimeError: boom (line 2 of "),
        (b"import sys\nsys.exit(3)\n", "mine.py' ends the process when it is imported"),
        (b"\x00\x01", "mine.py' is not valid Python: source code string cannot contain null bytes"),
        (b"import mine_twin\n", "ModuleNotFoundError: No module named 'mine_twin' (line 1 of "),
    ],
)
def test_a_file_that_cannot_be_imported_says_where(
    content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_bytes(content)
    for _ in range(2):  # the second time as well: nothing half-made stays behind
        with pytest.raises(SpecError) as found:
            load_spec(str(tmp_path / "mine.py"))
        assert message in str(found.value)


@pytest.mark.parametrize(
    "model", ["a\0b", "a\0.py", "a\0b:c", ":x", "x:", "a" * 10**7, "a" * 10**7 + ".py"]
)
def test_no_name_is_answered_in_a_few_words(model: str) -> None:
    with pytest.raises(SpecError) as found:
        load_spec(model)
    assert len(str(found.value)) < 300
    assert "\0" not in str(found.value)


def test_the_libraries_a_model_imports_are_the_ones_it_is_made_with(tmp_path: Path) -> None:
    lgb = ("import os\n", "import os\n\nimport lightgbm\n")
    model = load_spec(str(write_model(tmp_path / "boosted.py", tmp_path, lgb)))
    assert set(libraries(model)) - set(libraries(toy)) == {"lightgbm"}
    assert digest(model) != digest(toy)


def test_what_is_installed_is_listed_only_for_a_library_beyond_the_usual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fingerprint, "_distributions", lambda: pytest.fail("0.2 s"))
    assert set(fingerprint.libraries.__wrapped__(toy)) == {*fingerprint.DECIDING_LIBRARIES}


def test_a_file_with_no_or_two_specs(tmp_path: Path) -> None:
    (tmp_path / "none.py").write_text("x = 1\n")
    two = write_model(tmp_path / "two.py", tmp_path)
    two.write_text(two.read_text() + "\nother = toy.__class__(**vars(toy))\n")
    for name, count in (("none", 0), ("two", 2)):
        with pytest.raises(SpecError, match=f"found {count} ModelSpec"):
            load_spec(str(tmp_path / f"{name}.py"))


HELPED = ("import numpy as np\n", "import numpy as np\nimport helper\n")


def edited(tmp_path: Path, name: str, *changes: tuple[str, str], helper: str) -> ModelSpec:
    """The toy with some of its text replaced, beside a helper it imports."""
    folder = tmp_path / name
    folder.mkdir()
    (folder / "helper.py").write_text(helper)
    return load_spec(str(write_model(folder / "toy.py", tmp_path, HELPED, *changes)))


def test_the_digest_follows_code_and_helpers_but_not_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "helper", ModuleType("helper"))
    helper = "def add(a, b):\n    return a + b\n"
    plain = edited(tmp_path, "plain", helper=helper)
    words = 'def add(a, b):\n    """Sum."""  # of two\n    return a + b\n'
    comment = ("holdout=days(7),", "holdout=days(7),  # a week")
    shorter = ("holdout=days(7),", "holdout=days(6),")
    deeper = ("max_depth=3", "max_depth=4")
    assert digest(edited(tmp_path, "words", comment, helper=words)) == digest(plain)
    others = [
        edited(tmp_path, "helper", helper=helper.replace("+", "-")),
        edited(tmp_path, "shorter", shorter, helper=helper),
        edited(tmp_path, "deeper", deeper, helper=helper),
    ]
    assert len({digest(spec) for spec in (plain, *others)}) == 4


def test_the_code_of_a_model_is_all_it_imports() -> None:
    names = {file.name for file in code_files(load_spec("flights"))}
    assert {"flights.py", "past_means.py", "classification.py", "base.py", "model_spec.py"} <= names
    assert "judge.py" not in names


@pytest.mark.parametrize(
    ("line", "now"),
    [
        ("from tasks.tune import Tuned", "from tasks.spec import Tuned"),
        ("from tasks import ranking", "from tasks.recommend import CandidateRanker"),
        ("import tasks.history", "from tasks.features.past_means import PastMeans"),
    ],
)
def test_an_import_that_has_moved_is_told_with_what_to_write(
    line: str, now: str, tmp_path: Path
) -> None:
    (tmp_path / "old.py").write_text(f"{line}\n")
    with pytest.raises(SpecError) as told:
        load_spec(str(tmp_path / "old.py"))
    assert "which has moved: write `" in str(told.value)
    assert now in str(told.value)
    assert "\n" not in str(told.value)


def test_every_import_that_has_moved_works_as_it_is_told() -> None:
    for line in MOVED.values():
        exec(line, {})


def test_a_recipe_is_held_for_whole_days_or_not_at_all() -> None:
    assert Revert(hold=days(0)).faults() == []
    for wrong in (days(-1), timedelta(hours=12), 7):
        (fault,) = Revert(hold=wrong).faults()  # type: ignore[arg-type]
        assert fault.startswith("revert.hold: found")
