"""What the page of a model's nights says of each date."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from tasks.monitoring.coverage import COVERAGE
from tasks.promotion.checks import Status
from tasks.registry.waiting import APPROVED
from tasks.reporting.page_parts import MISSING
from tasks.reporting.wording import capitalized, decided

if TYPE_CHECKING:
    from tasks.reporting.report_schema import Report


LARGEST = 1e150
"""Larger figures are not drawn, because their differences could overflow."""


@dataclass(frozen=True)
class Row:
    """One date: its night's verdict, and the champion's live performance on that day.

    Attributes:
        day: As-of date.
        verdict: The night's verdict, or ``NO REPORT``.
        why: What happened to the champion, if anything, and the verdict's first reason.
        version: The champion after the night.
        age: Days since that champion's own night.
        change: ``promoted``, ``went back`` or nothing.
        accepted: Rows, where they were counted.
        quarantined: Rows, where they were counted.
        seconds: How long the night took.
        live: The primary metric of the predictions published for that day.
        low: Lower end of its prediction interval.
        high: Upper end.
        place: ``inside``, ``worse``, ``better`` or ``no interval``; nothing where not graded.
        previous: The predecessor's metric on that day.
        told: The graded day as text.
        covered: Share of labels that the prediction intervals held on that day.
        level: Share that they promise.
    """

    day: date
    verdict: str = MISSING
    why: str = "There is no report of this night."
    version: str | None = None
    age: int | None = None
    change: str = ""
    accepted: float | None = None
    quarantined: float | None = None
    seconds: float | None = None
    live: float | None = None
    low: float | None = None
    high: float | None = None
    place: str = ""
    previous: float | None = None
    told: str = ""
    covered: float | None = None
    level: float | None = None


@dataclass(frozen=True)
class Standing:
    """The champion of now, which a rollback may have made since the newest night.

    Attributes:
        version: Version in the registry.
        candidate: Its recipe.
        since: As-of date of its night.
        withdrawn: Version that was rolled back, reverted or refused to the reason.
        decided: What a person decided on a version, as ``approved by ...``.
    """

    version: str
    candidate: str
    since: date
    withdrawn: Mapping[str, str]
    decided: Mapping[str, str] = field(default_factory=dict)


def read_rows(
    reports: Sequence[Report],
    live: Sequence[Mapping[str, Any]],
    metric: str,
    greater: bool,
    most: int,
) -> list[Row]:
    """A row for every date up to the newest report's, ascending, also for dates without a report.

    Args:
        reports: Those of past nights, at least one, ascending.
        live: The graded days, ascending.
        metric: The primary metric.
        greater: Whether larger is better.
        most: Most dates.
    """
    last = date.fromisoformat(reports[-1]["as_of"])
    first = max(date.fromisoformat(reports[0]["as_of"]), last - timedelta(days=most - 1))
    graded = {record["day"]: _graded(record, metric, greater) for record in live}
    approved = frozenset(_approved(reports))
    nights: dict[str, dict[str, Any]] = {}
    before: str | None = None
    for report in reports:
        nights[report["as_of"]] = night = _decided(report, before, approved)
        before = night["version"] or before
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return [Row(day, **nights.get(str(day), {}), **graded.get(str(day), {})) for day in days]


def as_it_stands(
    reports: Sequence[Report], standing: Standing | None
) -> tuple[Sequence[Report], str]:
    """The reports, the newest with the champion of now; what was done since, in words."""
    newest = reports[-1]
    before = newest.get("champion", {}).get("version")
    if standing is None or standing.version == before:
        return reports, ""
    if standing.version in standing.decided and before not in standing.withdrawn:
        told = f"version {standing.version} was {standing.decided[standing.version]}"
    else:
        why = standing.withdrawn.get(before or "", "another version is the champion")
        told = f"version {before} was rolled back: {why}"
    said = f"Since then {told}."
    changed: Report = {
        **newest,
        "champion": {
            "version": standing.version,
            "candidate": standing.candidate,
            "since": standing.since.isoformat(),
        },
        "reverted": " ".join(filter(None, (newest.get("reverted"), said))),
    }
    return [*reports[:-1], changed], told


def _approved(reports: Sequence[Report]) -> Iterator[str]:
    """Versions that waited for a person and were approved."""
    for report in reports:
        waiting = report.get("waiting")
        decision = waiting["decision"] if waiting else None
        if waiting and decision and decision["outcome"] == APPROVED:
            yield waiting["version"]


def _decided(report: Report, before: str | None, approved: Collection[str] = ()) -> dict[str, Any]:
    """The row of a report; ``before`` is the champion of the report before it."""
    champion, rows = report.get("champion", {}), report.get("rows", {})
    version, since = champion.get("version"), champion.get("since")
    age = (date.fromisoformat(report["as_of"]) - date.fromisoformat(since)).days if since else -1
    made = report.get("challenger", {}).get("version") or version
    promoted = report["verdict"] == Status.PROMOTED and made == version
    promoted |= version in approved and version != before
    moved = bool(before and version and version != before) or (
        report["verdict"] == Status.PROMOTED and not promoted
    )
    told = capitalized(decided(report.get("waiting")))
    why = [report.get("reverted"), f"{told}." if told else "", *report.get("reasons", [])[:1]]
    return {
        "verdict": report["verdict"],
        "why": " ".join(filter(None, why)),
        "version": version,
        "age": age if age >= 0 else None,
        "change": "promoted" if promoted else "went back" * moved,
        "accepted": _number(rows.get("accepted")) if rows.get("in") else None,
        "quarantined": _number(rows.get("quarantined")) if rows.get("in") else None,
        "seconds": _number(report.get("seconds", {}).get("total")),
    }


def _graded(record: Mapping[str, Any], metric: str, greater: bool) -> dict[str, Any]:
    """The fields of a graded day."""
    value = _number(record["metrics"].get(metric))
    promised = record.get("promised") or {}
    low, high = _number(promised.get("low")), _number(promised.get("high"))
    place, told, covered = "", "", _number(record["metrics"].get(COVERAGE))
    if value is not None:
        place = told = "no interval"
        if low is not None and high is not None:
            place = place_of(value, low, high, greater)
            than = "" if place == "inside" else " than"
            told = f"{place}{than} the prediction interval {rounded(low)} to {rounded(high)}"
        told = f"{rounded(value)}, {told}; {record['labelled']:,} of {record['asked']:,} labelled"
    return {
        "live": value,
        "low": low,
        "high": high,
        "place": place,
        "previous": _number((record.get("previous") or {}).get(metric)),
        "told": told,
        "covered": covered,
        "level": (record.get("calibration") or {}).get("predicted")
        if covered is not None
        else None,
    }


def _number(value: float | None) -> float | None:
    """The figure, if it can be drawn."""
    return value if value is not None and abs(value) < LARGEST else None


def place_of(value: float, low: float, high: float, greater: bool) -> str:
    """Where a live figure lies: ``inside`` its interval, ``worse`` or ``better``."""
    if low <= value <= high:
        return "inside"
    return "better" if (value > high) == greater else "worse"


def rounded(figure: float) -> str:
    """A figure with three digits that tell something."""
    return f"{figure:.3f}" if 0.01 <= abs(figure) < 1e5 else f"{figure:.3g}"
