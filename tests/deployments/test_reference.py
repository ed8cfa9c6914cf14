"""The reference says what the docstrings say, of every setting there is."""

from __future__ import annotations

import dataclasses
import inspect

from deployments.reference import describe, reference
from tasks import problems, sources
from tasks.spec import Gate, ModelSpec, Revert
from tests.nights import PROJECT


def test_the_page_is_what_the_docstrings_give() -> None:
    page = PROJECT / "deployments" / "REFERENCE.md"
    made = "python deployments/reference.py > deployments/REFERENCE.md"
    assert page.read_text() == reference(), f"out of date: {made}"


def test_every_field_is_described() -> None:
    for thing in (ModelSpec, Gate, Revert):
        lines = "\n".join(describe("tasks.spec", thing.__name__))
        for field in dataclasses.fields(thing):
            assert f"| `{field.name}` |" in lines, f"{thing.__name__}.{field.name}"


def test_every_source_and_problem_is_there() -> None:
    page = reference()
    for room in (sources, problems):
        for name in room.__all__:
            thing = getattr(room, name)
            if inspect.isclass(thing) and dataclasses.is_dataclass(thing) and name != "Calendar":
                assert f"### {name}\n" in page, name
