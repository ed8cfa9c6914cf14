"""The result of a backtest: tables, a plot, and the conclusion in plain words."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from tasks.evaluation.estimates import Estimate, Evaluation
from tasks.metrics.base import title
from tasks.reporting import plots
from tasks.reporting.wording import capitalized
from tasks.store import files

if TYPE_CHECKING:
    from tasks.backtest.replay import Path, Plan
    from tasks.spec.model_spec import ModelSpec


Review = dict[str, Any]
HOUSE = "two questions"
COUNTS = ("promotions", "switches")


def period_name(period: int | None) -> str:
    """Name of refitting at this period; None is a single fit."""
    names = {None: "fitted once", 1: "every night"}
    return names.get(period, f"every {period} nights")


def build_review(
    spec: ModelSpec,
    plan: Plan,
    staleness: Mapping[str, Any],
    windows: Mapping[str, Any],
    policies: Mapping[str, Any],
    paths: Mapping[str, Path],
) -> Review:
    """The result as plain JSON types.

    Args:
        spec: The model.
        plan: What was replayed.
        staleness: ``leader``, and the evaluations ``recipes`` and ``staleness`` as JSON.
        windows: Evaluation of the windows as JSON, the spec's own first.
        policies: Evaluation of the gate policies as JSON.
        paths: What each policy did.
    """
    curve, lengths = Evaluation.from_json(staleness["staleness"]), Evaluation.from_json(windows)
    gates, leader = Evaluation.from_json(policies), staleness["leader"]
    tables = {
        "Candidates, refitted each replayed night": _rows(
            Evaluation.from_json(staleness["recipes"]), leader
        ),
        f"How often {leader} is refitted": _rows(curve, next(iter(curve.metrics))),
        f"Number of training days of {leader}": _rows(lengths, next(iter(lengths.metrics))),
        "Gate policies": [
            row | {name: getattr(paths[row["name"]], name) for name in COUNTS}
            for row in _rows(gates, HOUSE)
        ],
    }
    return {
        "model": spec.name,
        "question": spec.question,
        "metric": title(curve.metric),
        "nights": len(plan.nights),
        "every": plan.every,
        "first_day": curve.first_day,
        "last_day": curve.last_day,
        "days": curve.days,
        "units": curve.units,
        "unit": curve.unit,
        "confidence": curve.confidence,
        "leader": leader,
        "answer": [
            _does_it_pay(spec.name, curve),
            _choice(lengths, "window"),
            _choice(gates, "gate policy", HOUSE),
        ],
        "tables": tables,
    }


def draw_review(found: Review) -> bytes:
    """The tables as one plot: relative differences with intervals."""
    return plots.comparisons(
        {
            name: {row["name"]: Estimate(**row["relative"]) for row in rows}
            for name, rows in found["tables"].items()
        }
    )


def to_terminal(found: Review) -> str:
    """One screen of aligned plain text."""
    import textwrap

    lines = [f"{found['model']} · {_span(found)}", found["question"], ""]
    for sentence in found["answer"]:
        lines += textwrap.wrap(sentence, 98)
    blocks = [
        [_header(found, name, rows), *(_cells(row) for row in rows)]
        for name, rows in found["tables"].items()
    ]
    width = [max(len(line[i]) for block in blocks for line in block) for i in range(3)]
    for block in blocks:
        lines.append("")
        for line in block:
            cells = [cell.ljust(w) for cell, w in zip(line, width, strict=False)]
            lines.append("  ".join([*cells, *line[3:]]).rstrip())
    return "\n".join([*lines, "", f"Report  {found['folder']}/backtest.md"])


def to_markdown(found: Review, picture: bytes | None = None) -> str:
    """The result as Markdown, with the plot inside where it is given."""
    out = [f"# {found['model']} · {_span(found)}", "", found["question"], ""]
    out += [f"- {sentence}" for sentence in found["answer"]]
    for name, rows in found["tables"].items():
        header = _header(found, name, rows)
        out += ["", _line(header), _line(["---"] * len(header))]
        out += [_line(_cells(row)) for row in rows]
    place = "backtest.png"
    if picture is not None:
        place = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return "\n".join([*out, "", f"![Relative differences]({place})", ""])


def write_review(folder: FilePath, found: Review, picture: bytes) -> None:
    """Write ``backtest.md``, ``backtest.json`` and ``backtest.png``, each atomically."""

    files.write_file(folder / "backtest.png", picture)
    files.write_file(folder / "backtest.md", to_markdown(found).encode())
    files.write_json(folder / "backtest.json", found)


def _rows(figures: Evaluation, reference: str) -> list[dict[str, Any]]:
    same = Estimate(0.0, 0.0, 0.0)
    return [
        {
            "name": name,
            "metric": figures.primary(name).to_json(),
            "relative": (
                same if name == reference else figures.difference(name, reference).relative
            ).to_json(),
        }
        for name in figures.metrics
    ]


def _does_it_pay(model: str, curve: Evaluation) -> str:
    often, *others = curve.metrics
    seldom = others[-1]
    gain = curve.difference(often, seldom).relative
    clear = gain.low > 0
    equal = [name for name in others if not curve.difference(often, name).relative.low > 0]
    text = (
        f"Retraining {often} {'pays' if clear else 'is not proven to pay'} for {model}: "
        f"{title(curve.metric)} is {_share(gain, curve)} than {seldom}."
    )
    if clear and equal:
        text += f" Retraining {equal[-1]} is not clearly worse."
    return text


def _choice(figures: Evaluation, what: str, reference: str | None = None) -> str:
    house = reference or next(iter(figures.metrics))
    better = {
        name: figures.difference(name, house).relative
        for name in figures.metrics
        if name != house and figures.difference(name, house).relative.low > 0
    }
    if not better:
        return f"No other {what} is clearly better than {house!r}: keep {house!r}."
    name = max(better, key=lambda one: better[one].value)
    return f"The {what} {name!r} is clearly better: {_share(better[name], figures)}."


def _share(gain: Estimate, figures: Evaluation) -> str:
    word = "better" if gain.value >= 0 else "worse"
    return (
        f"{abs(gain.value):.2%} {word} ({figures.confidence * 100:g} % interval of the gain "
        f"{gain.low:.2%} to {gain.high:.2%})"
    )


def _span(found: Review) -> str:
    step = "" if found["every"] == 1 else f", every {found['every']} days"
    return (
        f"{found['nights']} nights replayed{step} · {found['first_day']} to {found['last_day']}, "
        f"{found['units']:,} {found['unit']}"
    )


def _header(found: Review, name: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    counts = [capitalized(count) for count in COUNTS if count in rows[0]]
    return [name, capitalized(found["metric"]), "Difference", *counts]


def _cells(row: Mapping[str, Any]) -> list[str]:
    value, relative = row["metric"], row["relative"]
    shown = "the same"
    if relative["low"] or relative["high"]:
        shown = f"{relative['value']:+.2%} ({relative['low']:+.2%} to {relative['high']:+.2%})"
    return [
        row["name"],
        f"{value['value']:.4f} ({value['low']:.4f} to {value['high']:.4f})",
        shown,
        *(str(row[count]) for count in COUNTS if count in row),
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
