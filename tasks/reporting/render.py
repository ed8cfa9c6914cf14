"""The night in plain words and plots, the same on the terminal, in Prefect and in MLflow."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.monitoring import drift
from tasks.promotion.checks import Status
from tasks.reporting import fleet_page
from tasks.reporting.wording import also_by, capitalized, figure, interval, outcome
from tasks.shown import as_markdown, block, counted
from tasks.store import files

if TYPE_CHECKING:
    from tasks.reporting.report_schema import DriftPart, FleetPart, Report

COMPARED = "Candidates"
"""Title of the plot that shows the verdict: every scorer with its interval."""
NOTHING_TO_DO = "Nothing."
MOVED, CHANGED = 10, 2.0
"""Inputs in the table of what moved the predictions, and the change from which one stands out."""
DRIFTED = 10
"""Columns in the table of drift."""
WORST = 10
"""Most partitions that are told one by one."""


def nights_table(reports: Sequence[Report]) -> str:
    """The last nights as a Markdown table, newest first."""
    newest = reports[-1]
    metric = newest["metric"]
    lines = [
        f"{newest['as_of']}: {newest['verdict']}, {_headline(newest)}. {newest['question']}",
        "",
        f"| as of | verdict | challenger's {newest['titles'][metric]} | champion |",
        "|---|---|---|---|",
    ]
    for report in reversed(reports):
        measured = report["metrics"].get("challenger", {}).get(metric)
        version = report["champion"]["version"] or "none"
        lines.append(
            f"| {report['as_of']} | {report['verdict']} | {interval(measured)} | {version} |"
        )
    return "\n".join(lines)


def to_terminal(report: Report, *, again: bool = False, outside: float | None = None) -> str:
    """One screen of aligned plain text, 100 columns at most.

    Args:
        report: The night.
        again: Whether it was decided before.
        outside: Seconds that its command took before and after it; None where no night was run.
    """
    lines = [f"{_title(report)}: {_headline(report)}"]
    lines += [report["question"], ""]
    lines += block("Why", report["reasons"])
    lines += block("To do", [to_do(report)])
    lines += block("Champion", [_champion_line(report)])
    if report["candidates"]:
        lines += ["", *_candidate_lines(report)]
    if fleet := report.get("fleet"):
        told = [*fleet_page.lines(fleet), *fleet_page.worst_lines(fleet), fleet["page"]]
        lines += ["", *block("Partitions", told)]
    lines += ["", *block("Live", report.get("live_lines", []))]
    lines += block("Predicted", _prediction_lines(report))
    lines += block("Data", _data_lines(report))
    lines += block("Time", [_time_line(report, outside)])
    lines += block("Report", [report["links"]["report"]])
    if "mlflow_ui" in report["links"]:
        lines += block("MLflow", [report["links"]["mlflow_ui"]])
    if again:
        lines += [
            "",
            "This night was decided before and its inputs have not changed, so no step was run.",
        ]
    return "\n".join(line.rstrip() for line in lines)


def to_markdown(report: Report, pictures: Mapping[str, str], *, titled: bool = True) -> str:
    """The report as Markdown: what was decided, why and what to do come first.

    Args:
        report: The night.
        pictures: Title of each plot to its file or address.
        titled: Whether it begins with model, date and verdict; Prefect says them above it.
    """
    out = [f"# {_title(report)}", ""] if titled else []
    headline, question = as_markdown(_headline(report)), as_markdown(report["question"])
    out += [f"**{capitalized(headline)}.** {question}", ""]
    out += [f"- {as_markdown(reason)}" for reason in report["reasons"]] + [""]
    out += [f"To do: {as_markdown(to_do(report))}", ""]
    out += [f"Champion: {_champion_line(report)}.", ""]
    if COMPARED in pictures:
        out += [f"![{COMPARED}]({pictures[COMPARED]})", ""]
    if fleet := report.get("fleet"):
        out += ["## Partitions", "", *[f"- {as_markdown(t)}" for t in fleet_page.lines(fleet)]]
        out += [f"- **{as_markdown(line)}**" for line in fleet_page.worst_lines(fleet)]
        out += [f"- {fleet['budget']}", f"- All of them: `{fleet['page']}`", ""]
        out += [*_worst_table(fleet), ""]
    live = [*report.get("live_lines", []), *report.get("estimated_lines", [])]
    if told := [*live, *_prediction_lines(report)]:
        out += ["## Live", "", *[f"- {as_markdown(capitalized(line))}" for line in told], ""]
    out += ["## Data", "", *[f"- {line}" for line in _data_lines(report)], ""]
    if report["candidates"]:
        out += ["## Candidates", "", *_candidate_table(report), ""]
    if report["metrics"]:
        out += ["## Against champion and baseline", "", *_metric_table(report), ""]
    if report["looks"]:
        out += ["## Other recipes, against the champion's refitted tonight", ""]
        out += [*_look_table(report), ""]
    failed = [check for check in report["checks"] if not check["passed"]]
    passed = [check for check in report["checks"] if check["passed"]]
    if failed or passed:
        out += ["## Checks", "", *[f"- **failed**: {_check_text(check)}" for check in failed]]
        names = ", ".join(as_markdown(check["name"]) for check in passed)
        out += [f"- {len(passed)} passed: {names}" if passed else "- none passed", ""]
    out += _explained(report)
    moved = report.get("drift")
    if moved and moved["shifts"]:
        out += ["## Newest week against those before", "", *_drift_table(moved), ""]
    for title, target in pictures.items():
        if title != COMPARED:
            out += [f"### {title}", "", f"![{title}]({target})", ""]
    if passed:
        out += ["## What the checks found that passed", ""]
        out += [*[f"- {_check_text(check)}" for check in passed], ""]
    out += ["## Time", "", _time_line(report), ""]
    out += ["## Links", ""]
    out += [f"- {name}: {_link(target)}" for name, target in report["links"].items()]
    return "\n".join(out) + "\n"


def inside(plots: Mapping[str, bytes]) -> dict[str, str]:
    """Plots as addresses that hold them: title to data URL, for a page without files beside it."""
    return {
        title: f"data:image/png;base64,{base64.b64encode(png).decode()}"
        for title, png in plots.items()
    }


def to_do(report: Report) -> str:
    """What a person has to do after the night; mostly nothing."""
    model, made = report["model"], report.get("predictions")
    waiting, todo = report.get("waiting"), list[str]()
    if (fleet := report.get("fleet")) and (
        fleet_page.fails(fleet) or fleet["counts"][Status.WAITING]
    ):
        todo.append("see to the partitions that failed, were rejected or wait.")
    if waiting and not waiting["decision"] and report["verdict"] == Status.WAITING:
        todo.append(f"decide on the version that waits: python flows/approve.py --model {model}.")
    if report["verdict"] == Status.REJECTED:
        todo.append("repair the day, or name it in the spec's skip.")
    if report["verdict"] == Status.HELD:
        todo.append(
            "nothing if the day comes: the next hourly look takes it. Else see to its source."
        )
    if report.get("reverted"):
        todo.append("find out why the gate had passed the version that did worse on live days.")
    if made and not made["current"] and report["champion"].get("version"):
        named = shlex.quote(report.get("named", model))
        todo.append(f"repair the predictions, then python flows/predict.py --model {named}.")
    return " ".join(map(capitalized, todo)) or NOTHING_TO_DO


def _title(report: Report) -> str:
    return f"{report['model']} · {report['as_of']} · {report['verdict']}"


def _link(target: str) -> str:
    return f"<{target}>" if target.startswith("http") else f"`{target}`"


def _headline(report: Report) -> str:
    if report["verdict"] == Status.PROMOTED:
        return f"version {report['champion']['version']} is the champion"
    return outcome(report)


def _champion_line(report: Report) -> str:
    champion = report["champion"]
    if not champion.get("version"):
        return "none yet"
    made = f", made as of {champion['since']}" if champion.get("since") else ""
    return f"version {champion['version']} ({champion['candidate']}){made}"


def _candidate_lines(report: Report) -> list[str]:
    shown = list(report["titles"])[:3]
    rows = [["  Candidate", *(capitalized(report["titles"][name]) for name in shown), "Fit"]]
    for row in _ranked(report):
        mark = ">" if row["name"] == report["challenger"]["candidate"] else " "
        measured = [row["metrics"].get(name) for name in shown]
        figures = [interval(measured[0]), *(figure(metric) for metric in measured[1:])]
        rows.append([f"{mark} {row['name']}", *figures, f"{row['seconds']:.1f} s"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    ]


def _ranked(report: Report) -> list[dict[str, Any]]:
    rows = [{"name": name, **figures} for name, figures in report["candidates"].items()]
    metric = report["metric"]
    sign = -1 if report["greater_is_better"] else 1
    return sorted(rows, key=lambda row: sign * row["metrics"][metric]["value"])


def _candidate_table(report: Report) -> list[str]:
    titles = dict(list(report["titles"].items())[:3])
    out = [
        "| candidate | " + " | ".join(titles.values()) + " | fit |",
        "|---|" + "---|" * len(titles) + "---:|",
    ]
    for row in _ranked(report):
        name = row["name"]
        shown = f"**{name}**" if name == report["challenger"].get("candidate") else name
        cells = [interval(row["metrics"].get(metric)) for metric in titles]
        out.append(f"| {shown} | " + " | ".join(cells) + f" | {row['seconds']:.1f} s |")
    return out


def _metric_table(report: Report) -> list[str]:
    who = [name for name in ("challenger", "champion", "baseline") if name in report["metrics"]]
    out = ["| metric | " + " | ".join(who) + " |", "|---|" + "---|" * len(who)]
    for metric in report["metrics"]["challenger"]:
        cells = [interval(report["metrics"][name].get(metric)) for name in who]
        out.append(f"| {report['titles'][metric]} | " + " | ".join(cells) + " |")
    return out


def _look_table(report: Report) -> list[str]:
    lines = ["| Recipe | Relative gain | Days counted | Evidence | Needed |"]
    lines.append("|---|---|---:|---:|---:|")
    for name, found in report["looks"].items():
        gain = "-" if None in found["relative"].values() else interval(found["relative"])
        told = (
            f"{found['days']} | {found['e_value']:,.3g} | {found['needed']:,.3g}"
            if "e_value" in found
            else "- | - | -"
        )
        lines.append(f"| {name} | {gain} | {told} |")
    return lines


def _worst_table(fleet: FleetPart) -> list[str]:
    """The worst ten partitions: those that need a person, then the least gain."""
    lines = ["| The worst | Verdict | Champion | Gain over the baseline |", "|---|---|---|---:|"]
    for row in fleet["worst"]:
        gain = "-" if row["gain"] is None else f"{row['gain']:+.1%}"
        value, version = as_markdown(row["value"]), row["champion"] or "none"
        lines.append(f"| {value} | {row['status']} | {version} | {gain} |")
    return lines


def _check_text(check: Mapping[str, Any]) -> str:
    return as_markdown(f"{check['name']}. {check['detail']}")


def _data_lines(report: Report) -> list[str]:
    rows, day = report["rows"], report["days"]
    if not rows["in"] and not day["rejected"]:
        return ["no day was read"]
    lines = [
        f"{counted(day['new'] + day['reused'], 'day')}: {day['new']} new, {day['reused']} reused, "
        f"{day['rejected']} rejected"
    ]
    if revised := report.get("revised"):
        changed = [each["day"] for each in revised["changed"]]
        lines += _told(changed, f"revised since the night of {revised['since']}")
        lines += _told(revised["late"], f"arrived late, after the night of {revised['since']}")
    if rows["in"]:
        lines.append(
            f"{rows['in']:,} rows in = {rows['accepted']:,} accepted + {rows['quarantined']:,} "
            f"quarantined + {rows['duplicates']:,} duplicates"
        )
    if report["split"]:
        split = report["split"]
        lines.append(
            f"trained on {counted(split['train_days'], 'day')} ({split['train_rows']:,} examples), "
            f"holdout: the {counted(split['holdout_days'], 'day')} from {split['holdout_from']}"
        )
    return lines


def _told(days: Sequence[str], what: str, shown: int = 5) -> list[str]:
    """``2 days revised since ...: 2026-11-18, 2026-11-19``; empty where there is no day."""
    if not days:
        return []
    more = f" and {len(days) - shown} more" if len(days) > shown else ""
    return [f"{counted(len(days), 'day')} {what}: {', '.join(days[:shown])}{more}"]


def _drift_table(found: DriftPart) -> list[str]:
    fields = drift.Shift.__dataclass_fields__
    shifts = [drift.Shift(**{n: shift[n] for n in fields}) for shift in found["shifts"]]
    rows = found["rows"]
    said = (
        f"{rows['rows']:,} rows on the newest day; {rows['low']:,} to {rows['high']:,} on "
        f"that weekday before{': **odd**' if rows['odd'] else ''}."
        if rows
        else "Too few weeks to compare the number of rows."
    )
    left = found.get("columns", len(shifts)) - DRIFTED
    rest = ["", f"{left:,} more columns drifted less."] if left > 0 else []
    return [said, "", *drift.to_lines(shifts, DRIFTED), *rest]


def _prediction_lines(report: Report) -> list[str]:
    made = report.get("predictions")
    if not made:
        return []
    if made["current"]:
        by = f"by version {made['version']}{also_by(made.get('own', 0))}"
        failed = [
            f"the champion of {value} failed, the common model stands in: {why}"
            for value, why in list(made.get("failed_parts", {}).items())[:WORST]
        ]
        return [f"{counted(made['rows'], 'row')} for {made['day']}, {by}", *failed]
    stays = (
        (f"the app still reads those made as of {made['stays']}")
        if made["stays"]
        else "the app has no predictions"
    )
    return [f"not renewed for {made['day']}: {made['fault'].rstrip('.')}; {stays}"]


def _explained(report: Report) -> list[str]:
    """What moved the published predictions on average, beside the nights before."""
    made = report.get("predictions") or {}
    moved, before = made.get("moved") or {}, made.get("moved_before") or {}
    if not moved:
        return []
    lines = [
        "## What moved the predictions",
        "",
        "| Input | Tonight | Nights before |",
        "|---|---|---|",
    ]
    for name, mean in list(moved.items())[:MOVED]:
        usual = before.get(name)
        shown = "-" if usual is None else f"{usual:.3g}"
        odd = usual is not None and not usual / CHANGED <= mean <= usual * CHANGED
        tonight = f"**{mean:.3g}**" if odd else f"{mean:.3g}"
        lines.append(f"| {as_markdown(name)} | {tonight} | {shown} |")
    said = "Mean absolute effect of an input's own value, against its usual one, on a prediction"
    return [
        *lines,
        "",
        f"{said}; **bold** where it is twice or half that of the nights before.",
        "",
    ]


def _time_line(report: Report, outside: float | None = None) -> str:
    spent = dict(report["seconds"])
    total = spent.pop("total", 0.0)
    if outside is not None:
        total, spent = total + outside, {"start": outside, **spent}
    steps = " · ".join(f"{name} {seconds:.1f}" for name, seconds in spent.items())
    return f"{total:.1f} s: {steps}" if steps else f"{total:.1f} s"


def write_report(folder: Path, report: Report, plots: Mapping[str, bytes]) -> None:
    """Write ``report.json``, ``report.md`` and the plots, each atomically."""

    names = {title: f"{title.lower().replace(' ', '_')}.png" for title in plots}
    for title, png in plots.items():
        files.write_file(folder / names[title], png)
    write_texts(folder, report, names)


def write_texts(folder: Path, report: Report, pictures: Mapping[str, str]) -> None:
    """Write ``report.json`` and ``report.md``, with these pictures in it: title to file."""
    files.write_file(folder / "report.md", to_markdown(report, pictures).encode())
    files.write_json(folder / "report.json", report)
