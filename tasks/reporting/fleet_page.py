"""The partitions of a fleet after a night: counts, the worst ten, and a page with a row each."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from html import escape
from typing import TYPE_CHECKING

from tasks.metrics.base import title
from tasks.promotion.checks import Status
from tasks.reporting import archive
from tasks.reporting.wording import capitalized, interval
from tasks.shown import counted
from tasks.store import files

if TYPE_CHECKING:
    from tasks.reporting.report_schema import FleetPart, PartitionRow

FALLBACK, FAILED = "FALLBACK", "FAILED"
"""Of a partition: the common model serves it; its night raised an error."""
WORDS = {
    Status.PROMOTED.value: "promoted",
    Status.KEPT.value: "kept",
    Status.WAITING.value: "waiting for a person",
    Status.HELD.value: "held",
    Status.REJECTED.value: "rejected",
    FALLBACK: "served by the common model",
    FAILED: "failed",
}
"""Status of a partition to what is said of it."""
FOR_PERSON = (FAILED, Status.REJECTED.value, Status.WAITING.value)
"""Those that need a person, the most urgent first."""
WORST, NAMED = 10, 5
TITLES = ("Partition", "Verdict", "Champion", "Metric", "Gain over the baseline", "Rows", "Why")


def fleet_part(
    column: str,
    rows: Sequence[PartitionRow],
    *,
    new: Sequence[str],
    gone: Sequence[str],
    lost: int,
    page: str,
    error: float,
) -> FleetPart:
    """What a report says of the partitions.

    Args:
        column: The partition column.
        rows: All partitions.
        new: Those that started tonight.
        gone: Those that vanished.
        lost: Rows of the newest day that name no partition.
        page: The page with a row for each.
        error: The error that all gates share.
    """
    counted = Counter(row["status"] for row in rows)
    return {
        "column": column,
        "counts": {status: counted.get(status, 0) for status in WORDS},
        "worst": sorted(rows, key=_rank)[:WORST],
        "new": sorted(new),
        "gone": sorted(gone),
        "lost": lost,
        "page": page,
        "budget": f"In at most {100 * error:.3g} % of years any of these gates, or that of the "
        "common model, promotes another recipe that is no better: they share one error "
        "(alpha spending).",
    }


def told(part: FleetPart) -> str:
    """``400 partitions: 380 promoted, 20 kept``."""
    counts = part["counts"]
    each = ", ".join(f"{count:,} {WORDS[status]}" for status, count in counts.items() if count)
    return (
        f"{counted(sum(counts.values()), 'partition')}: {each}"
        if each
        else "There is no partition."
    )


def lines(part: FleetPart) -> list[str]:
    """The partitions in a few sentences, for the report."""
    found = [told(part)]
    for names, what in ((part["new"], "new"), (part["gone"], "gone: no row in the whole holdout")):
        if names:
            more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
            found.append(f"{what}: {', '.join(names[:NAMED])}{more}")
    if part["lost"]:
        found.append(
            f"{part['lost']:,} rows of the newest day name no {part['column']}: the common model "
            "serves them"
        )
    return found


def worst_lines(part: FleetPart) -> list[str]:
    """The partitions that need a person, of the worst ten, one line each."""
    return [
        f"{row['value']}: {WORDS.get(row['status'], row['status'])}. {row['why']}"
        for row in part["worst"]
        if row["status"] in FOR_PERSON
    ]


def fails(part: FleetPart) -> bool:
    """Whether the fleet's night ends as failed: a partition failed, or its data are bad."""
    return bool(part["counts"][FAILED] or part["counts"][Status.REJECTED])


def exit_code(part: FleetPart) -> int:
    """Exit code of the command line where the common model's night went well."""
    if part["counts"][FAILED]:
        return 1
    return Status.REJECTED.exit_code if part["counts"][Status.REJECTED] else 0


def state_lines(part: FleetPart) -> list[str]:
    """What the last state says of the partitions: the counts, and the worst that need a person."""
    return [f"{line.removesuffix('.')}." for line in (told(part), *worst_lines(part)[:3])]


def alarm(model: str, as_of: str, part: FleetPart) -> str:
    """One message where versions of partitions wait for a person; an empty text where none does.

    Of failed and rejected partitions the state of the run tells.
    """
    waiting = [row for row in part["worst"] if row["status"] == Status.WAITING]
    if not waiting:
        return ""
    count, first = part["counts"][Status.WAITING], waiting[0]
    return (
        f"{model} · {as_of}: of {counted(sum(part['counts'].values()), 'partition')} {count:,} "
        f"have a version that waits for a person, such as {first['value']}: {first['why']} "
        f"To answer: python flows/approve.py --model {model} "
        f"--partition {shlex.quote(first['value'])}"
    )


def write_partitions(model: str, champions: Mapping[str, str]) -> None:
    """Draw the page of a fleet's newest night anew; none of a model without partitions.

    Args:
        model: Name of the fleet.
        champions: Model to the version that is its champion now.
    """
    found = archive.newest_partitions(model)
    if found is None:
        return
    report, rows = found
    part = report["fleet"]
    assert part is not None
    text = to_html(
        model,
        date.fromisoformat(report["as_of"]),
        part,
        [_as_it_stands(row, champions.get(row["model"])) for row in rows],
        report["metric"],
        greater=report["greater_is_better"],
    )
    files.write_file(archive.fleet_page(model), text.encode())


def _as_it_stands(row: PartitionRow, champion: str | None) -> PartitionRow:
    """The row with the champion of now, where a person has changed it since the night."""
    if row["champion"] == champion:
        return row
    now = f"version {champion} is the champion" if champion else "there is no champion"
    found = row.copy()
    found["champion"], found["since"] = champion, None
    found["why"] = f"{row['why'].removesuffix('.')}. Since then {now}."
    return found


def to_html(
    model: str,
    as_of: date,
    part: FleetPart,
    rows: Sequence[PartitionRow],
    metric: str,
    *,
    greater: bool,
) -> str:
    """The page of a fleet: a row for each partition, the worst first."""
    from tasks.reporting.page_parts import style, table

    better = f"{capitalized(title(metric))}: {'higher' if greater else 'lower'} is better."
    said = escape(". ".join(capitalized(line.removesuffix(".")) for line in lines(part)))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Nightly: partitions of {escape(model)}</title>
<style>{style()}</style>
</head>
<body>
<main>
<h1>{escape(model)} by {escape(part["column"])}</h1>
<p class="quiet">As of {as_of}. {said}.</p>
<p class="quiet">{escape(better)} {escape(part["budget"])}</p>
{table("Partitions", TITLES, [_cells(row, as_of) for row in sorted(rows, key=_rank)])}
</main>
</body>
</html>
"""


def _rank(row: PartitionRow) -> tuple[int, float, str]:
    order: Mapping[str, int] = {status: place for place, status in enumerate(FOR_PERSON)}
    gain = row["gain"]
    return order.get(row["status"], len(order)), gain if gain is not None else 1e9, row["value"]


def _cells(row: PartitionRow, as_of: date) -> tuple[str, ...]:
    from tasks.reporting.page_parts import mark

    version = f"version {row['champion']}" if row["champion"] else "none"
    since = f" <small>as of {escape(row['since'])}</small>" if row["since"] else ""
    name = escape(row["value"])
    if row["metric"]:
        name = f'<a href="../{escape(row["model"])}/{as_of}/report.md">{name}</a>'
    gain = "" if row["gain"] is None else f"{row['gain']:+.1%}"
    return (
        name,
        f"{mark(row['status'])} {escape(row['status'])}",
        f"{escape(version)}{since}",
        interval(row["metric"]) if row["metric"] else "",
        gain,
        f"{row['rows']:,}",
        escape(row["why"]),
    )
