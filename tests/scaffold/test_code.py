"""Code made from data: nothing in a name or a value can leave the literal it stands in."""

from __future__ import annotations

import ast
import keyword
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.scaffold.code import SIGNS, WIDTH, call, constant, identifier, literal, nested, told

TEXT = st.text(max_size=40)


@given(TEXT)
def test_a_text_comes_back_from_its_literal(text: str) -> None:
    code = literal(text)
    assert "\n" not in code
    assert ast.literal_eval(code) == text


@given(TEXT)
def test_signs_that_look_like_others_are_escaped(text: str) -> None:
    for character in literal(text):
        assert character.isascii() or character in SIGNS or "LATIN " in unicodedata.name(character)


@pytest.mark.parametrize("value", [0, -3, 12_345, 0.25, 1e300, -1.5e-7, True, None, ("a",), (1, 2)])
def test_a_value_comes_back_from_its_literal(value: object) -> None:
    assert ast.literal_eval(literal(value)) == value


def test_quotes_are_those_the_formatter_chooses() -> None:
    assert literal('say "hi"') == "'say \"hi\"'"
    assert literal("it's") == '"it\'s"'
    assert literal("plain") == '"plain"'
    for unit in ("Preis (€)", "Temp °C", "m²", "µg/m³"):
        assert (literal(unit), told(unit)) == (f'"{unit}"', unit)


@given(st.lists(TEXT, min_size=1, max_size=8))
def test_a_field_has_a_name_of_its_own(names: list[str]) -> None:
    taken: list[str] = []
    for name in names:
        found = identifier(name, taken)
        assert found.isidentifier()
        assert found.isascii()
        assert not keyword.iskeyword(found)
        assert not found.startswith("_")
        assert found not in taken
        taken.append(found)


def test_a_field_is_named_like_its_column_where_it_can_be() -> None:
    names = ["amount", "class", "order date", "movieId", "2nd", "größe", "order_date"]
    taken: list[str] = []
    for name in names:
        taken.append(identifier(name, taken))
    assert taken == [
        "amount", "class_", "order_date", "movie_id", "column_2nd", "grosse", "order_date_",
    ]  # fmt: skip


@given(TEXT)
def test_words_of_a_docstring_stay_in_it(text: str) -> None:
    tree = ast.parse(f'"""{told(text)}."""')
    assert isinstance(tree.body[0], ast.Expr)
    assert len(tree.body) == 1


def test_a_call_is_one_line_where_it_fits_and_a_part_a_line_elsewhere() -> None:
    assert call("f(", ["a", "b=1"], 4, ",") == ["    f(a, b=1),"]
    many = [f"part_{number}=0" for number in range(12)]
    lines = call("f(", many)
    assert lines[0] == "f("
    assert lines[1] == "    part_0=0,"
    assert lines[-1] == ")"


def test_a_long_call_within_a_call_is_broken_too() -> None:
    inner = nested("g(", ["x" * 50, "y" * 50], 4)
    lines = "\n".join(call("f(", ["a", inner])).splitlines()
    assert lines[:3] == ["f(", "    a,", "    g("]
    assert lines[3:] == [f"        {'x' * 50},", f"        {'y' * 50},", "    ),", ")"]


def test_a_line_that_cannot_be_broken_is_excused() -> None:
    (line,) = [line for line in call("f(", [literal("x" * WIDTH)]) if "x" in line]
    assert line.endswith("# noqa: E501")


def test_a_constant_of_one_is_a_tuple() -> None:
    assert constant("KEY", ["id"], "  # why") == ['KEY = ("id",)  # why']
