"""The reference: ``python deployments/reference.py > deployments/REFERENCE.md``.

One page of everything a model file may use, made from the docstrings; a test keeps the two equal.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from datetime import timedelta
from importlib import import_module
from typing import Any

INTRODUCTION = """# Reference

Everything a model file may use, made from the docstrings by `python deployments/reference.py`. A
field without a default must be given. `days(7)` is a length of seven days."""
PARTS: dict[str, tuple[str, ...]] = {
    "The spec": ("spec:ModelSpec", "spec:Gate", "spec:Revert"),
    "Sources": (
        "sources:ParquetDays",
        "sources:CsvDays",
        "sources:SqlDays",
        "sources:DataFrameDays",
        "sources:PackageDays",
        "sources:Replay",
    ),
    "Problems": (
        "problems:Classification",
        "problems:Multiclass",
        "problems:Regression",
        "problems:Recommendation",
        "problems:Metric",
    ),
    "Candidates": (
        "spec:Tuned",
        "problems.quantiles:QuantileRegressors",
        "problems.conformal:ConformalQuantiles",
        "problems.naive:KeyMedian",
        "problems.naive:KeyRates",
        "problems.naive:ColumnForecast",
        "problems.naive:ColumnRate",
        "recommend:CandidateRanker",
    ),
    "Helpers of `features`": (
        "problems.naive:last_value",
        "problems.naive:last_week",
        "problems.naive:recent_mean",
        "recommend:candidates_of",
        "features.past_means:PastMeans",
    ),
}
FIELD = re.compile(r"^    (\w+): (.*(?:\n        .*)*)", re.MULTILINE)


def reference() -> str:
    """The whole page, in Markdown."""
    lines = [INTRODUCTION]
    for title, names in PARTS.items():
        lines += ["", f"## {title}"]
        for place in names:
            room, _, name = place.partition(":")
            lines += ["", *describe(f"tasks.{room}", name)]
    return "\n".join(lines) + "\n"


def describe(room: str, name: str) -> list[str]:
    """Heading, description and table of a class or function of a module."""
    thing = getattr(import_module(room), name)
    text = inspect.getdoc(thing) or ""
    sections = re.split(r"\n(Attributes|Args|Returns|Raises):\n", text)
    found = dict(zip(sections[1::2], sections[2::2], strict=True))
    fields = found.get("Attributes") or found.get("Args") or ""
    known = defaults(thing)
    rows = [
        f"| `{field}` | {known.get(field, '')} | {_plain(words)} |"
        for field, words in FIELD.findall(fields)
    ]
    lines = [f"### {thing.__name__}", "", f"`from {room} import {thing.__name__}`"]
    for paragraph in sections[0].strip().split("\n\n"):
        lines += ["", _plain(paragraph)]
    if rows:
        lines += ["", "| field | default | |", "|---|---|---|", *rows]
    if returned := found.get("Returns"):
        lines += ["", f"Returns: {_plain(returned)}"]
    return lines


def defaults(thing: Any) -> dict[str, str]:
    """Field or argument to its default as text, empty where it must be given."""
    if dataclasses.is_dataclass(thing):
        found = {}
        for field in dataclasses.fields(thing):
            value: Any = field.default
            if field.default_factory is not dataclasses.MISSING:
                value = field.default_factory()
            found[field.name] = "" if value is dataclasses.MISSING else f"`{_shown(value)}`"
        return found
    return {
        name: "" if one.default is inspect.Parameter.empty else f"`{_shown(one.default)}`"
        for name, one in inspect.signature(thing).parameters.items()
    }


def _shown(value: Any) -> str:
    if isinstance(value, timedelta):
        return "EXPANDING" if value.days > 30_000 else f"days({value.days})"
    if dataclasses.is_dataclass(value):
        return f"{type(value).__name__}()"
    return repr(value)


def _plain(text: str) -> str:
    """One line of Markdown."""
    return re.sub(r"\s+", " ", text).strip().replace("``", "`").replace("|", "\\|")


if __name__ == "__main__":
    print(reference(), end="")
