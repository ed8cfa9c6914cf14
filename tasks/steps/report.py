"""The steps that report a night and end it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext

from tasks import settings
from tasks.monitoring import live_days
from tasks.predictions import publish
from tasks.promotion.checks import Status, Verdict
from tasks.promotion.verdict import early_verdict
from tasks.registry import runs, versions
from tasks.registry.client import open_registry
from tasks.reporting import archive, fleet_page, night_report, render
from tasks.reporting.decisions import remember
from tasks.reporting.fleet_page import FAILED
from tasks.reporting.held import forget_held, remember_held
from tasks.reporting.night_events import night_events
from tasks.reporting.night_plots import draw_drift, draw_nights
from tasks.spec.fingerprint import code_files
from tasks.spec.loading import load_spec
from tasks.steps import mlflow_run
from tasks.steps.ending import end_run, show_page
from tasks.steps.events import announce
from tasks.steps.history import draw_history
from tasks.steps.spoken import task
from tasks.store.files import write_file

if TYPE_CHECKING:
    from tasks.monitoring.drift import Drifted
    from tasks.monitoring.live_days import Live
    from tasks.promotion.checks import Verdict
    from tasks.registry.anchors import Anchor
    from tasks.registry.client import Client
    from tasks.reporting.report_schema import FleetPart, Report
    from tasks.steps.state import Cleaned, Examples, Judged, Night


log = logging.getLogger("nightly")
SUPERSEDED = "SUPERSEDED"
NIGHTS_SHOWN, NIGHTS_LISTED = 60, 30
"""Most nights in the plot, and in the table of MLflow's experiment."""


@task(task_run_name="publish the report", cache_policy=NO_CACHE)
def publish_report(
    night: Night,
    clean: Cleaned | None = None,
    examples: Examples | None = None,
    judged: Judged | None = None,
    run: str | None = None,
    version: str | None = None,
    live: Live | None = None,
    drifted: Drifted | None = None,
    delivered: publish.Predictions | None = None,
    fleet: FleetPart | None = None,
) -> Report:
    """Write the night's report to disk, Prefect and MLflow, and remember the verdict.

    That of a backfill is written beside, and nothing else is.
    """
    client, beside = open_registry(), bool(night.backfill)
    folder = archive.report_folder(night.name, night.as_of, backfill=beside)
    history = archive.history_page(night.name)
    spec = load_spec(night.model)
    facts = night_report.NightFacts(
        spec=spec,
        as_of=night.as_of,
        verdict=judged.verdict if judged else _early_verdict(night, clean),
        late=night.late,
        data=data_facts(night, clean) if clean else None,
        judged=judged_facts(examples, judged, run, version) if examples and judged else None,
        champion=_champion_before(client, night, judged),
        anchors=anchors_of(judged) if judged else {},
        live=live,
        estimated=live_days.estimated_days(spec) if delivered and not fleet else (),
        drifted=drifted,
        delivered=delivered,
        revised=archive.revised_days(night.name, night.as_of, night.days),
        seconds=_seconds(clean, examples, judged),
        links=mlflow_run.links(folder, history, run, runs.run_pages(client, run) if run else None),
        share=night.share,
        fleet=fleet,
        named=night.model,
    )
    found = night_report.build_report(facts)
    before = archive.past_reports(night.name, night.as_of - timedelta(days=1), NIGHTS_SHOWN)
    told = archive.past_reports(night.name, night.as_of, 1)
    _publish(night, folder, found, _draw(judged, drifted, [*before, found]))
    if not beside:
        _record(night, folder, found)
        if run:
            _close_run(client, run, folder, found)
        if judged and not (fleet and fleet["counts"][FAILED]):  # those are tried again
            promoted = judged.verdict.status is Status.PROMOTED
            against = judged.incumbent.champion
            champion = version if promoted else against.version if against else None
            _remember(night, folder, delivered, champion)
        _announce(found, before, facts.spec.oldest_champion, told[0] if told else None)
        _keep_held(night, found)
    log.info("report    %s", folder / "report.md")
    return found


def end_again(night: Night) -> State:
    """The last state of a run whose night, or a later one, was decided before."""
    assert night.decided is not None
    if not night.late:
        return end_night(night.decided, "Decided before.")
    said = (
        f"The night of {night.due} was missed; the night of {night.as_of} has used every day "
        f"since then and ended {night.decided['verdict']}. There is nothing left to do."
    )
    return end_run(SUPERSEDED, f"{night.name} · {night.due}", said, night.decided)


def end_night(found: Report, *before: str) -> State:
    """The last state of a night: the verdict, what is said before its reasons, and those."""
    verdict, run = Status(found["verdict"]), f"{found['model']} · {found['as_of']}"
    fleet = found.get("fleet")
    told = fleet_page.state_lines(fleet) if fleet else []
    said = " ".join((*before, *told, *found["reasons"]))[:1000]
    failed = verdict.fails or bool(fleet and fleet_page.fails(fleet))
    return end_run(verdict.value, run, said, found, failed=failed)


def _early_verdict(night: Night, clean: Cleaned | None) -> Verdict:
    held = night.held or (clean.held if clean else ())
    found = early_verdict(held, clean.rejected if clean else {})
    told = (night.backfill,) if night.backfill else ()
    return replace(found, reasons=(*found.reasons, *told))


def data_facts(night: Night, clean: Cleaned) -> night_report.DataFacts:
    """What the report says of the night's days and rows."""
    counts = len(night.days), len(clean.new), len(clean.rejected)
    return night_report.DataFacts(*counts, clean.rows)


def judged_facts(
    examples: Examples, judged: Judged, run: str | None, version: str | None
) -> night_report.JudgedFacts:
    """What the report says of the comparison."""
    return night_report.JudgedFacts(
        challenger=judged.challenger,
        fits=judged.fits,
        split=examples.split,
        figures=judged.figures,
        prediction_interval=judged.prediction_interval,
        contests=judged.contests,
        shadow=judged.shadow,
        left_out=judged.left_out,
        run=run,
        version=version,
    )


def _champion_before(
    client: Client, night: Night, judged: Judged | None
) -> versions.Champion | None:
    """The champion of the comparison; of a night without one, the current champion."""
    if judged:
        return judged.incumbent.champion
    return versions.read_champion(client, night.name)


def anchors_of(judged: Judged) -> dict[str, Anchor]:
    """Name among the scorers to the anchors of a comparison."""
    return {name: beside.anchor for name, beside in judged.incumbent.anchors.items()}


def _draw(
    judged: Judged | None, drifted: Drifted | None, reports: Sequence[Report]
) -> dict[str, bytes]:
    plots = (judged.plots | draw_nights(reports)) if judged else {}
    return plots | (draw_drift(drifted.shifts) if drifted and drifted.shifts else {})


def _publish(night: Night, folder: Path, found: Report, plots: Mapping[str, bytes]) -> None:
    render.write_report(folder, found, plots)
    kind = "backfill" if night.backfill else "report"
    page = render.to_markdown(found, render.inside(plots), titled=False)
    show_page(kind, night.name, page, f"{night.name} · {night.as_of} · {found['verdict']}")


def _record(night: Night, folder: Path, found: Report) -> None:
    """What later nights and people look back on."""
    archive.keep_days(night.name, night.as_of, night.days)
    page = draw_history(night.name)
    if page and found["challenger"]["candidate"]:
        write_file(folder / page.name, page.read_bytes())  # MLflow keeps the folder


def _close_run(client: Client, run: str, folder: Path, found: Report) -> None:
    runs.close_run(client, run, folder, f"{found['model']} {found['as_of']}", found["verdict"])
    newest = archive.past_reports(found["model"], date.max, NIGHTS_LISTED)
    runs.describe_nights(client, run, render.nights_table(newest), found["metric"])


def _seconds(
    clean: Cleaned | None, examples: Examples | None, judged: Judged | None
) -> dict[str, float]:
    spent: dict[str, float] = {}
    if clean:
        spent["clean"] = clean.seconds
    if examples:
        spent["features"] = examples.seconds
    if judged:
        spent |= judged.seconds | {"register": round(time.time() - judged.done, 2)}
    context = FlowRunContext.get()
    if context is not None:
        begun = context.start_time
        spent["total"] = round((datetime.now(begun.tzinfo) - begun).total_seconds(), 1)
    return spent


def _announce(
    found: Report, before: Sequence[Report], oldest_champion: timedelta, told: Report | None
) -> None:
    held = list(takewhile(lambda night: night["verdict"] == Status.HELD, reversed(before)))
    earlier = [*before[-1:], *held][-1:]  # where it was held, the night it has been held since
    events = night_events(found, earlier[0] if earlier else None, oldest_champion, told)
    announce(found["model"], date.fromisoformat(found["as_of"]), events)


def _keep_held(night: Night, found: Report) -> None:
    """What a later look needs of a held night."""
    if found["verdict"] != Status.HELD:
        forget_held(night.name, night.as_of)
        return
    spec = load_spec(night.model)
    remember_held(
        night.model,
        night.name,
        night.as_of,
        source=spec.source,
        skip=spec.skip,
        days=night.days,
        needed=spec.calendar_of(night.days).without(spec.skip).last_open(night.as_of),
    )


def _remember(
    night: Night, folder: Path, delivered: publish.Predictions | None, champion: str | None
) -> None:
    if delivered and delivered.failed:
        return  # the same night again may publish them
    spec = load_spec(night.model)
    database = settings.tracking_uri().removeprefix("sqlite:///")
    evidence = [folder / "report.json", Path(database)]
    if delivered and delivered.current:
        evidence.append(publish.folder_of(night.name) / f"{night.as_of}.parquet")
    remember(
        night.model,
        night.as_of,
        source=spec.source,
        timezone=spec.timezone,
        skip=spec.skip,
        files=code_files(spec),
        days=night.days,
        evidence=[file for file in evidence if file.exists()],
        report=folder / "report.json",
        champion=champion,
        partitions=versions.champions_of(open_registry(), spec.name) if spec.partition else None,
    )
