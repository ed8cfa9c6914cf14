"""Which events a night has for those who listen, and what each says."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from tasks.promotion.checks import Status
from tasks.reporting import fleet_page

if TYPE_CHECKING:
    from tasks.reporting.report_schema import Report


def night_events(
    report: Report,
    earlier: Report | None,
    oldest_champion: timedelta,
    told: Report | None = None,
) -> dict[str, str]:
    """The events of a night: name to a sentence.

    A night that is held again on the same date for the same reasons has none.

    Args:
        report: The night's report.
        earlier: The report of the night before it, if any; where that was held, of the first night
            of those that were held one after the other.
        oldest_champion: The age from which a champion is too old.
        told: The report that this night left when it ran before, if it did.
    """
    if told and _held_alike(told, report):
        return {}
    verdict, as_of = report["verdict"], date.fromisoformat(report["as_of"])
    said = f"{report['model']} · {as_of} · {verdict}"
    reasons = report["reasons"][: 2 if verdict == Status.WAITING else 1]  # and how to answer
    found = {f"nightly.night.{verdict.lower()}": f"{said}: {' '.join(reasons)}"}
    fleet = report.get("fleet")
    if fleet and (waits := fleet_page.alarm(report["model"], report["as_of"], fleet)):
        name = f"nightly.night.{Status.WAITING.lower()}"
        found[name] = " ".join(filter(None, (found.get(name), waits)))
    if verdict == Status.HELD and earlier and earlier["verdict"] == Status.HELD:
        found["nightly.night.held-again"] = (
            f"{report['model']} has been held since {earlier['as_of']}: {report['reasons'][0]}"
        )
    champion = report["champion"]
    since = champion["since"]
    if since and as_of - date.fromisoformat(since) > oldest_champion:
        found["nightly.champion.old"] = (
            f"The champion of {report['model']}, version {champion['version']}, is of "
            f"{since}: older than the {oldest_champion.days} days its spec allows."
        )
    held, before = report.get("coverage"), earlier.get("coverage") if earlier else None
    if held and held["off"] and not (before and before["off"]):
        found["nightly.coverage.off"] = f"{report['model']}: {held['told']}."
    return found


def _held_alike(before: Report, now: Report) -> bool:
    same = all(before[key] == now[key] for key in ("as_of", "verdict", "reasons"))
    return same and now["verdict"] == Status.HELD
