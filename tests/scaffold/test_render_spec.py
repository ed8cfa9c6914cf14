"""The text of a model file: Python for any names, tidy for any lengths."""

from __future__ import annotations

import ast
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.scaffold import render_spec
from tasks.scaffold.baselines import Baseline, How
from tasks.scaffold.code import identifier
from tasks.scaffold.plan import Plan
from tasks.scaffold.profiling import LONGEST_NAME, Column, Target
from tasks.scaffold.render_ranking import Feedback, write_ranking
from tasks.scaffold.render_spec import class_name, question, variable
from tasks.scaffold.render_tabular import write_tabular
from tasks.scaffold.windows import Windows
from tests.deployments.test_new_model import tidy
from tests.samples import samples

NAMES = st.lists(
    st.text(min_size=1, max_size=LONGEST_NAME).filter(lambda name: name != "day"),
    min_size=4, max_size=12, unique=True,
)  # fmt: skip
BINARY = Target("binary", "two texts", ("no", "yes"), 0.2, 0.2)


def plan_of(names: list[str], target: Target = BINARY, **more: Any) -> Plan:
    """A plan whose columns, of every kind and role, are called so."""
    first, second, third, *others = names
    kinds = ("number", "whole", "flag", "time", "text")
    columns = [
        Column(first, "text", "target", unique=2, longest=9),
        Column(second, "time", "time"),
        Column(third, "whole", "id", high=99.0),
    ]
    columns += [
        Column(name, kinds[n % 5], missing=0.1 * (n % 2), high=9.5, longest=12)
        for n, name in enumerate(others)
    ]
    known: dict[str, Any] = {
        "name": "any",
        "origin": names[0],
        "source": ('"data"', 'time="at"'),
        "imported": "ParquetDays",
        "columns": tuple(columns),
        "windows": Windows(28, 14, None, 7, 200),
        "first": date(2026, 1, 1),
        "last": date(2026, 6, 1),
        "looked": "9 rows of 9 days",
        "warnings": tuple(names),
        "target": target,
        "alike": (names[-1],),
    }
    return Plan(**{**known, **more})


def test_the_gate_is_never_lowered_for_an_input_that_is_too_good() -> None:
    assert render_spec.gate(plan_of(list("abcdef"), strong=(("f", 0.94),))) == ["    gate=Gate(),"]


def test_a_wide_table_may_take_longer_to_answer() -> None:
    usual, wide = ([f"x{number}" for number in range(count + 3)] for count in (200, 3_000))
    assert render_spec.gate(plan_of(usual)) == ["    gate=Gate(),"]
    assert render_spec.gate(plan_of(wide)) == ["    gate=Gate(latency_ms=15000),"]


@settings(max_examples=samples(30))
@given(NAMES, st.lists(st.text(max_size=20), min_size=2, max_size=9, unique=True))
def test_any_names_and_values_give_a_file_of_the_same_shape(
    names: list[str], values: list[str]
) -> None:
    usual = [f"name_{number}" for number in range(len(names))]
    texts = {
        "binary": Target("binary", values[0], (values[0], values[1]), 0.2, 0.2),
        "multiclass": Target("multiclass", values[0], tuple(values)),
        "regression": Target("regression", values[0], usual=1.5),
    }
    for target in texts.values():
        how: How = "usual" if target.kind == "multiclass" else "last_week"
        naive = [Baseline(how, (n[-1],), timed=True) for n in (names, usual)]
        module = ast.parse(write_tabular(plan_of(names, target, baseline=naive[0])))
        expected = ast.parse(write_tabular(plan_of(usual, target, baseline=naive[1])))
        assert [type(node) for node in module.body] == [type(node) for node in expected.body]
        said = {node.value for node in ast.walk(module) if isinstance(node, ast.Constant)}
        assert set(names[1:]) <= said
    log = Feedback(names[0], names[1], repeats=False, rating=names[2], liked=3.5)
    module = ast.parse(write_ranking(plan_of(names, user=names[0], target=None), log))
    assert [type(node).__name__ for node in module.body if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("length", [3, 28, 58])
@pytest.mark.parametrize("count", [4, 9])
def test_names_of_any_length_are_laid_out_as_the_formatter_would(
    length: int, count: int, tmp_path: Any
) -> None:
    names = [f"{chr(97 + number)}{'x' * length} {number}"[:60] for number in range(count)]
    classes = tuple(f"{'c' * length}{number}" for number in range(count))
    targets = (
        Target("binary", "why", classes[:2], 0.2, 0.2),
        Target("multiclass", "why", classes),
        Target("regression", "why", usual=12_345.0),
    )
    for target in targets:
        naive = Baseline("usual" if target.kind == "multiclass" else "recent_mean", tuple(names))
        more: dict[str, Any] = {"delay": 2, "timezone": "Europe/Berlin", "rows": 3.0}
        more |= {"baseline": naive, "calendar": tuple(names)}
        assert tidy(write_tabular(plan_of(names, target, **more)), tmp_path) == ""
    log = Feedback(names[0], names[1], repeats=True, rating=names[2], liked=3.5)
    text = write_ranking(plan_of(names, user=names[0], target=None), log)
    assert tidy(text, tmp_path) == ""


def test_boosting_of_several_classes_is_held_back_where_a_class_has_few_rows() -> None:
    several = Target("multiclass", "texts", ("a", "b", "c"))
    texts = [write_tabular(plan_of(list("abcdef"), target)) for target in (several, BINARY)]
    assert ["l2_regularization=10.0" in text for text in texts] == [True, False]


@pytest.mark.parametrize("repeats", [True, False])
def test_where_users_take_again_what_they_took_that_is_what_a_model_has_to_beat(
    repeats: bool,
) -> None:
    log = Feedback("b", "c", repeats=repeats)
    text = write_ranking(plan_of(list("abcdef"), user="b", target=None), log)
    found = ast.parse(text).body
    spec = next(
        n.value for n in found if isinstance(n, ast.Assign) and isinstance(n.value, ast.Call)
    )
    named = {each.arg: ast.unparse(each.value) for each in spec.keywords}
    baseline = "'frequency'" if repeats else "'popularity'"
    assert named["baseline"] == baseline, "it serves where nothing beats it"
    assert f"{baseline}: RankBy({baseline})" in named["candidates"]
    assert ("'frequency': RankBy('frequency')" in named["candidates"]) is repeats


def test_names_of_its_parts() -> None:
    assert class_name("shop_orders") == "ShopOrdersContract"
    assert variable("orders") == "orders"
    assert variable("days") == "days_model"
    assert variable("class") == "class_model"
    assert question(plan_of(list("abcd"))) == "Will a be yes?"


@pytest.mark.parametrize("name", ["PA", "pd", "INT", "float", "Str", "bool"])
def test_a_field_never_hides_a_name_that_the_contract_uses(name: str) -> None:
    assert identifier(name, render_spec._TAKEN) == f"{name.lower()}_"


def test_a_month_seen_up_to_august_may_be_december() -> None:
    names = ["aim", "at", "id", "number", "whole", "flag", "later", "text"]
    plain, month = (write_tabular(plan_of(names, calendar=one)) for one in ((), ("whole",)))
    (bounded,) = (line for line in plain.splitlines() if line.startswith("    whole:"))
    (free,) = (line for line in month.splitlines() if line.startswith("    whole:"))
    assert " le=" in bounded
    assert " le=" not in free


def test_where_rows_a_day_vary_few_predictions_are_no_fault() -> None:
    names = ["aim", "at", "id", "number", "whole", "flag", "later", "text"]
    assert "least_answers" not in write_tabular(plan_of(names, fewest=0.6))
    assert "    least_answers=0.08,  # of the last time" in write_tabular(
        plan_of(names, fewest=0.16)
    )
