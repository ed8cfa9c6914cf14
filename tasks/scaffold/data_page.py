"""A page of what is in a model's data: raw and clean rows, and the columns to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks import settings
from tasks.features.cleaning import absent_columns
from tasks.features.contract import accept_rows
from tasks.features.scoring import clean_each
from tasks.reporting.page_parts import style
from tasks.scaffold.decide import day_warnings
from tasks.scaffold.leak_hints import name_latecomers, row_warnings
from tasks.scaffold.profiling import InferError, describe_columns, read_target
from tasks.shown import clean, few
from tasks.store.files import write_file

if TYPE_CHECKING:
    import pandas as pd

    from tasks.spec.model_spec import ModelSpec


ROWS, READ = 5_000, 50_000
"""Most rows that the page describes, evenly spread, and about the most that are read for it."""
COLUMNS = 200
"""Most columns that a table's report describes: those that are marked, and then the first."""
GAP = 0.01
"""Share of missing values from which a column is marked."""
LEAK, IDS, USELESS, GAPS = "Suspected leaks", "Ids", "Constant or unreadable", "Gaps"
Marks = Mapping[str, Mapping[str, str]]
"""Kind of mark to column to the reason."""


def write_data_page(spec: ModelSpec, until: date, said: Sequence[str] = ()) -> Path:
    """Describe the newest rows of a model on a page in its folder of reports.

    Args:
        spec: The model.
        until: Last day that may be read.
        said: What a check or the start found, in sentences.

    Raises:
        SourceError: Where the source cannot be read.
    """
    import pandas as pd

    listed = [day for day in spec.source.list_days(until) if day not in spec.skip]
    newest = spec.source.read_days(listed[-1:])
    days = listed[-min(max(READ // max(len(newest), 1), 1), 60) :]
    raw = spec.source.read_days(days)
    tables = {"Raw rows": raw}
    gaps = [*day_warnings(listed, until), *row_warnings(raw)]
    try:
        accepted = accept_rows(raw, spec.contract).rows
        made = clean_each(spec, accepted, absent_columns(spec, accepted))
        tables["Clean rows"] = pd.concat(list(made.values()), ignore_index=True)
    except Exception as error:
        gaps.append(f"There are no clean rows to show: {type(error).__name__}: {error}")
    time = getattr(spec.source, "time", None)
    target = spec.problem.target_column
    marks = {name: mark_columns(rows, target, time) for name, rows in tables.items()}
    sentences = list(dict.fromkeys([*said, *gaps]))
    place = settings.ensure_home() / "reports" / spec.name / "data.html"
    title = f"What is in the data of {spec.name}, {days[0]} to {days[-1]}"
    write_file(place, data_page(title, tables, marks, sentences).encode())
    return place


def mark_columns(rows: pd.DataFrame, target: str | None, time: str | None) -> Marks:
    """The columns that a person should look at, by kind; found as the start of a model finds them.

    Args:
        rows: Raw or clean rows.
        target: The column to predict, if any.
        time: The column that says when a row happened, if any.
    """
    aim = target if target in rows else None
    columns = describe_columns(rows, aim, time if time in rows else None)
    own = next((column for column in columns if column.name == aim), None)
    if own is not None:
        with suppress(InferError):  # a target that tells nothing: constant, or no label yet
            columns = name_latecomers(columns, rows, own, read_target(rows, own), time)
    roles = {"later": LEAK, "id": IDS, "constant": USELESS, "unusable": USELESS}
    found: dict[str, dict[str, str]] = {kind: {} for kind in (LEAK, IDS, USELESS, GAPS)}
    for column in columns:
        if kind := roles.get(column.role):
            found[kind][column.name] = column.why or f"{column.unique:,} different values"
        missing = float(rows[column.name].isna().mean()) if column.name in rows else 0.0
        if missing >= GAP:
            found[GAPS][column.name] = f"{missing:.0%} missing"
    return {kind: named for kind, named in found.items() if named}


def data_page(
    title: str,
    tables: Mapping[str, pd.DataFrame],
    marks: Mapping[str, Marks],
    said: Sequence[str] = (),
) -> str:
    """The page, in one file that loads nothing: what was found, and a report of each table.

    Each kind of mark is a filter of the report's columns.
    """
    from skrub import TableReport

    parts = []
    for number, (name, rows) in enumerate(tables.items()):
        some = _some(rows)[columns_shown(rows, marks[name])]
        there = {*map(str, some.columns)}
        filters = {
            f"{kind} ({len(named)})": [column for column in named if column in there]
            for kind, named in marks[name].items()
        }
        report = TableReport(
            some,
            verbose=0,
            column_filters=filters,
            plot_distributions="auto" if number == 0 else False,
            compute_associations="auto" if number == 0 else False,
            open_tab="stats",
        )
        shown = f"{len(some):,} of {len(rows):,}" if len(some) < len(rows) else f"{len(rows):,}"
        told = _told(marks[name])
        if left := len(rows.columns) - len(some.columns):
            told.append(f"Not described: {left:,} of {len(rows.columns):,} columns.")
        parts.append(f"<h2>{escape(name)}: {shown}</h2>\n{_list(told)}")
        parts.append(report.html_snippet())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{style()}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{_list([clean(sentence) for sentence in said])}
{chr(10).join(parts)}
</main>
</body>
</html>
"""


def columns_shown(rows: pd.DataFrame, marks: Marks) -> list[str]:
    """The columns that the report describes, in the order of the table."""
    marked = dict.fromkeys(name for named in marks.values() for name in named if name in rows)
    first = {*[*marked, *(name for name in rows if name not in marked)][:COLUMNS]}
    return [str(name) for name in rows if name in first]


def _told(marks: Marks) -> list[str]:
    return [
        f"{kind}: {few((f'{column} ({why})' for column, why in named.items()), COLUMNS)}."
        for kind, named in marks.items()
    ]


def _list(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(each)}</li>" for each in sentences)
    return f"<ul>{items}</ul>" if items else ""


def _some(rows: pd.DataFrame) -> pd.DataFrame:
    """Evenly spread rows, no more than the page describes."""
    if len(rows) <= ROWS:
        return rows.reset_index(drop=True)
    places = np.linspace(0, len(rows) - 1, ROWS).round().astype(int)
    return rows.iloc[places].reset_index(drop=True)
