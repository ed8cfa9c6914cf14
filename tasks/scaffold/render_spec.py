"""The parts of every generated model file: docstring, contract, source, schedule."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from tasks.scaffold.code import WIDTH, call, identifier, is_plain, literal, nested, told
from tasks.scaffold.profiling import bounds, longest_allowed, readable
from tasks.spec.gate import Gate

if TYPE_CHECKING:
    from tasks.scaffold.plan import Plan
    from tasks.scaffold.profiling import Column


FEW = 150
"""Rows per day below which the quarantine limit is raised."""
LATENCY_MS = 5
"""For each input of a wide table: twice what 3,000 took for 1,000 rows, on a busy machine."""


def docstring(plan: Plan) -> list[str]:
    """The docstring of the file: its question, what was read, and what to check."""
    words = [
        f"{question(plan)} Generated from {plan.origin}: read it, and change what you know better."
    ]
    words += ["", f"{plan.looked}, {plan.first} to {plan.last}."]
    if plan.target:
        (target,) = plan.named("target")
        words += [f"The target {target.name}: {plan.target.why}."]
    words += [""] if plan.warnings else []
    lines = textwrap.wrap(told(words[0]), WIDTH - 6)
    for text in words[1:]:
        lines += textwrap.wrap(told(text), WIDTH) or [""]
    for text in plan.warnings:
        lines += textwrap.wrap(told(f"- {text}"), WIDTH, subsequent_indent="  ")
    return [f'"""{lines[0]}', *lines[1:], '"""']


def question(plan: Plan) -> str:
    """The question of the model, one sentence."""
    if plan.target is None:
        return "What will each user take next?"
    (target,) = plan.named("target")
    asked = f"What will {target.name} be"
    if plan.target.kind == "binary":
        one = plan.target.classes[1] if plan.target.classes else 1
        asked = f"Will {target.name} be {one if isinstance(one, str) else readable(float(one))}"
    return told(f"{asked if len(asked) <= 80 else f'{asked[:77]}...'}?")


def contract(plan: Plan) -> list[str]:
    """The pandera model of a raw row."""
    taken: list[str] = [*_TAKEN]
    fields: list[str] = []
    for column in plan.columns:
        if column.role in ("constant", "unusable"):
            continue
        field = identifier(column.name, taken)
        taken.append(field)
        parts = [] if field == column.name else [f"alias={literal(column.name)}"]
        parts += _limits(column, plan)
        if column.missing or column.role == "later":
            parts.append("nullable=True")
        kind = _type(column)
        if column.zone:
            kwargs = f'dtype_kwargs={{"unit": "ns", "tz": {literal(column.zone)}}}'
            parts.insert(0, kwargs)
        head = f"{field}: {kind}"
        fields += call(f"{head} = pa.Field(", parts, 4) if parts else [f"    {head}"]
    return [
        f"class {class_name(plan.name)}(pa.DataFrameModel):",
        '    """One row. The ranges are wider than the sample; a row outside is quarantined."""',
        "",
        *fields,
        "",
        "    class Config:",
        "        coerce = True",
    ]


def class_name(name: str) -> str:
    """Name of the contract class."""
    return "".join(part.capitalize() for part in name.split("_")) + "Contract"


def variable(name: str) -> str:
    """The variable that holds the spec: named like the model, where nothing else is."""
    used = {"clean", "features", "table", "days", "pd", "pa", "past_mean", "annotations"}
    used |= {"categories_and_dates", "make_pipeline", "last_value", "last_week", "recent_mean"}
    return f"{name}_model" if name in used or not is_plain(name) else name


def gate(plan: Plan, *more: str, note: str = "") -> list[str]:
    """The gate, with what differs from its defaults, and with more of its settings."""
    parts = list(more)
    if plan.windows.min_days != 7:
        parts.append(f"min_days={plan.windows.min_days}")
    if plan.windows.min_units != 200:
        parts.append(f"min_units={plan.windows.min_units}")
    if (latency := LATENCY_MS * len(plan.named("input"))) > Gate.latency_ms:
        parts.append(f"latency_ms={latency}")
    return call("gate=Gate(", parts, 4, f",{note}")


def windows(plan: Plan) -> list[str]:
    """Arguments for window, holdout, label delay and quarantine limit; each ends in a comma."""
    length = plan.windows.window
    found = [
        f"window={'EXPANDING' if length is None else f'days({length})'},",
        f"holdout=days({plan.windows.holdout}),",
    ]
    if plan.delay:
        found.append(f"label_delay=days({plan.delay}),")
    if plan.rows < FEW:  # else a bad row or three would reject the day
        limit = min(0.5, round(3 / plan.rows, 2))
        found.append(
            f"quarantine_limit={limit:g},  # few rows a day: with a lower limit one bad row would "
            "reject a day"
        )
    return found


def source(plan: Plan) -> list[str]:
    """The source, with its time zone."""
    parts = list(plan.source)
    if plan.timezone != "UTC":
        parts.append(f"timezone={literal(plan.timezone)}")
    return call(f"source={plan.imported}(", parts, 4, ",")


def schedule(plan: Plan) -> list[str]:
    """The entries of prefect.yaml, as a comment."""
    entry = f"""
Every night at 03:00, and an hourly look: put this under `deployments:` in prefect.yaml, then
prefect deploy -n retrain-{plan.name} -n look-{plan.name}

  - name: retrain-{plan.name}
    description: Every night at 03:00, {plan.name}.
    entrypoint: flows/retrain.py:retrain
    tags: [nightly, {plan.name}]
    parameters: {{ config: {{ model: {plan.name} }} }}
    work_pool: *pool
    schedules:
      - cron: "0 3 * * *"
        timezone: {plan.timezone}

  - name: look-{plan.name}
    description: Every hour; takes up a night that was held, once its data are there.
    entrypoint: flows/retrain.py:retrain
    tags: [nightly, {plan.name}]
    parameters: {{ config: {{ model: {plan.name}, look: true }} }}
    work_pool: *pool
    schedules:
      - cron: "40 * * * *"
        timezone: {plan.timezone}
"""
    return [f"# {line}".rstrip() for line in entry.strip().splitlines()]


_TAKEN = (
    "validate", "strategy", "example", "empty", "to_schema", "to_json_schema", "to_yaml",
    "to_structured_schema", "get_metadata", "pydantic_validate", "build_schema_",
    "pa", "pd", "bool", "float", "int", "str",
)  # fmt: skip
"""Names that pandera reserves in a contract, and those that its lines use themselves."""


def _type(column: Column) -> str:
    if column.kind == "time":
        return "Series[pd.DatetimeTZDtype]" if column.zone else "pd.Timestamp"
    if column.kind == "flag" and column.missing:
        return "pd.BooleanDtype"
    if column.kind == "whole" and column.high >= 2**63:
        return "pd.UInt64Dtype"
    if column.kind == "whole" and (column.role == "later" or column.missing):
        return "float" if column.role == "target" else "pd.Int64Dtype"
    return {"number": "float", "whole": "int", "flag": "bool", "text": "str"}[column.kind]


def _limits(column: Column, plan: Plan) -> list[str]:
    if column.role == "target" and plan.target and plan.target.kind != "regression":
        values = plan.target.classes or (0, 1)
        if column.kind == "flag":
            return []
        return [nested("isin=[", [literal(value) for value in sorted(values, key=str)], 8)]
    if column.kind in ("number", "whole"):
        low, high = bounds(column)
        if column.role == "id" or column.is_code or column.name in plan.calendar:
            return [f"ge={literal(low)}"]
        return [f"ge={literal(low)}", f"le={literal(high)}"]
    if column.kind == "text":
        return [f'str_length={{"max_value": {literal(longest_allowed(column))}}}']
    return []
