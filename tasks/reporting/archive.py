"""Reports of past nights, read from disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tasks import settings
from tasks.promotion.checks import Status
from tasks.spec.fleet import SEPARATOR
from tasks.store import files

if TYPE_CHECKING:
    from tasks.reporting.report_schema import PartitionRow, Report


MATURE = (Status.PROMOTED, Status.KEPT, Status.WAITING, Status.SHADOW)
"""Verdicts of nights that compared a challenger."""
DAYS, PARTITIONS = "days.json", "partitions.json"


def past_reports(model: str, until: date, count: int = 60) -> list[Report]:
    """The newest reports of a model, ascending by as-of date; unreadable ones are left out.

    Args:
        model: Name of the model.
        until: The last as-of date.
        count: How many at most.
    """
    past = (report for report in _newest_first(model) if report["as_of"] <= until.isoformat())
    return list(islice(past, count))[::-1]


def last_judged(model: str) -> date | None:
    """The newest as-of date of a night that compared a challenger."""
    decided = (report for report in _newest_first(model) if report["verdict"] in MATURE)
    newest = next(decided, None)
    return date.fromisoformat(newest["as_of"]) if newest else None


def newest_contests(model: str, until: date) -> dict[str, Any] | None:
    """The contests of other recipes (``tasks.promotion.contests``) after the newest night.

    Args:
        model: Name of the model.
        until: Its as-of date at most: the same night again must not begin them twice.
    """
    newest = newest_with_contests(model, until)
    return newest["contests"] if newest else None


def newest_with_contests(model: str, until: date) -> Report | None:
    """The report of the newest night that kept contests, up to an as-of date."""
    past = (report for report in _newest_first(model) if report["as_of"] <= until.isoformat())
    return next((report for report in past if report.get("contests")), None)


def keep_days(model: str, as_of: date, days: Mapping[date, str]) -> None:
    """Keep which days a night saw, with their fingerprints, beside its report."""
    if days:
        seen = {str(day): mark for day, mark in days.items()}
        files.write_json(report_folder(model, as_of) / DAYS, seen)


def keep_partitions(model: str, as_of: date, rows: Sequence[PartitionRow]) -> None:
    """Keep how each partition of a fleet ended, beside the report of the night."""
    files.write_json(report_folder(model, as_of) / PARTITIONS, rows)


def newest_partitions(model: str) -> tuple[Report, list[PartitionRow]] | None:
    """The newest night that judged the partitions of a fleet, and how each ended."""
    for file in sorted(_folder(model).glob(f"????-??-??/{PARTITIONS}"), reverse=True):
        found = past_reports(model, date.fromisoformat(file.parent.name), 1)
        if found and found[0]["as_of"] == file.parent.name and found[0].get("fleet"):
            return found[0], files.read_json(file)
    return None


def revised_days(model: str, as_of: date, days: Mapping[date, str]) -> dict[str, Any] | None:
    """Days that changed or came late since an earlier night; None where there was no earlier night.

    Args:
        model: Name of the model.
        as_of: The night that compares.
        days: Its days with their fingerprints.

    Returns:
        ``since``, the as-of date of the newest earlier night; ``changed``, its days that have
        another fingerprint now, each with ``day``, ``was`` and ``now``; ``late``, days up to its
        as-of date that it did not see.
    """
    earlier = sorted(file.parent.name for file in _folder(model).glob(f"????-??-??/{DAYS}"))
    since = max((name for name in earlier if name < as_of.isoformat()), default=None)
    if since is None:
        return None
    try:
        seen = dict(files.read_json(_folder(model) / since / DAYS))
    except (OSError, ValueError):
        return None
    known = {str(day): mark for day, mark in days.items() if str(day) <= since}
    return {
        "since": since,
        "changed": [
            {"day": day, "was": seen[day], "now": mark}
            for day, mark in known.items()
            if seen.get(day, mark) != mark
        ],
        "late": [day for day in known if day not in seen],
    }


def report_folder(model: str, as_of: date, *, backfill: bool = False) -> Path:
    """Where the report of a night lives; that of a backfill lies beside it, and no night reads it.

    Args:
        model: Name of the model.
        as_of: As-of date.
        backfill: Whether it is one.
    """
    night = _folder(model) / as_of.isoformat()
    return night / "backfill" if backfill else night


def history_page(model: str) -> Path:
    """Where the page of a model's nights lives."""
    return _folder(model) / "history.html"


def fleet_page(model: str) -> Path:
    """Where the page of a fleet's partitions lives."""
    return _folder(model) / "partitions.html"


def forget_old(model: str, as_of: date, count: int) -> None:
    """Remove the reports of all nights but the newest ones, and the night that runs; of a fleet
    those of its partitions too.

    Args:
        model: Name of the model.
        as_of: The night that runs; that of an early date may be among the oldest.
        count: How many nights stay.
    """
    own = [_folder(model), *_folder(model).parent.glob(f"{model}{SEPARATOR}*")]
    for folder in [old for each in own for old in sorted(each.glob("????-??-??"))[:-count]]:
        if folder.name == as_of.isoformat():
            continue
        for place in sorted(folder.rglob("*"), reverse=True):
            if place.is_dir():
                place.rmdir()
            else:
                files.remove(place)
        folder.rmdir()


def _folder(model: str) -> Path:
    return settings.home() / "reports" / model


def _newest_first(model: str) -> Iterator[Report]:
    for folder in sorted(_folder(model).glob("????-??-??"), reverse=True):
        try:
            report = files.read_json(folder / "report.json")
        except (OSError, ValueError):
            continue
        if isinstance(report, dict) and report.get("as_of") == folder.name:
            yield cast("Report", report)
