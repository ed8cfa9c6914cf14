"""The steps that report a night and end it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext

from tasks import settings
from tasks.metrics.base import title
from tasks.monitoring import live_days
from tasks.predictions import publish
from tasks.promotion.checks import Verdict
from tasks.registry import runs, versions
from tasks.registry.client import open_registry
from tasks.reporting.archive import keep_days, past_reports, report_folder, revised_days
from tasks.reporting.history_page import write_history
from tasks.reporting.night_plots import draw_drift, draw_nights
from tasks.reporting.render import nights_table, to_markdown, write_report
from tasks.spec.fingerprint import code_files
from tasks.spec.loading import load_spec
from tasks.steps import mlflow_run
from tasks.steps.decisions import remember
from tasks.steps.events import announce, night_events
from tasks.store.files import write_file

if TYPE_CHECKING:
    from tasks.monitoring.drift import Drifted
    from tasks.monitoring.live_days import Live
    from tasks.predictions.publish import Predictions
    from tasks.registry.versions import Champion
    from tasks.reporting.wording import Report
    from tasks.steps.state import Cleaned, Examples, Judged, Night


log = logging.getLogger("nightly")
SUPERSEDED = "SUPERSEDED"
NIGHTS_SHOWN, NIGHTS_LISTED = 60, 30
"""Nights in the picture, and in the table of MLflow's experiment."""
REASONS_TOLD = 3
"""Bad days whose reason is told; of more the number."""


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
    delivered: Predictions | None = None,
) -> Report:
    """Write the night's report to disk, Prefect and MLflow, and remember the verdict."""

    verdict = judged.verdict if judged else _early_verdict(night, clean)
    client = open_registry()
    champion = judged.incumbent.champion if judged else versions.read_champion(client, night.name)
    folder = report_folder(night.name, night.as_of)
    found = build_report(
        night,
        verdict,
        clean=clean,
        examples=examples,
        judged=judged,
        champion=champion,
        run=run,
        version=version,
        live=live,
        drifted=drifted,
        delivered=delivered,
        revised=revised_days(night.name, night.as_of, night.days),
        seconds=_seconds(clean, examples, judged),
        links=mlflow_run.links(folder, run, runs.run_page(client, run) if run else None),
    )
    earlier = past_reports(night.name, night.as_of - timedelta(days=1), NIGHTS_SHOWN)
    plots = (judged.plots | draw_nights([*earlier, found])) if judged else {}
    plots |= draw_drift(drifted.shifts) if drifted and drifted.shifts else {}
    write_report(folder, found, plots)
    keep_days(night.name, night.as_of, night.days)
    page = write_history(night.name, night.as_of)
    if page and judged:
        write_file(folder / page.name, page.read_bytes())  # MLflow keeps the folder
    create_markdown_artifact(
        key=f"report-{night.name}".replace("_", "-"),
        markdown=to_markdown(found, plots),
        description=f"{night.name} · {night.as_of} · {verdict.status}",
    )
    if run:
        runs.close_run(client, run, folder, verdict.status)
        runs.describe_nights(client, run, nights_table([*earlier, found][-NIGHTS_LISTED:]))
    if judged and not (delivered and delivered.failed):
        _remember(night, folder, delivered)
    limit = load_spec(night.model).oldest_champion
    before = earlier[-1] if earlier else None
    announce(night.name, night.as_of, night_events(found, before, limit))
    log.info("report    %s", folder / "report.md")
    return found


def end_again(night: Night) -> State:
    """The last state of a run with nothing to do: its night was decided, or a later one was."""
    assert night.decided is not None
    if night.due is None or night.due == night.as_of:
        ended = end_night(night.decided)
        return ended.model_copy(update={"message": f"Decided before. {ended.message}"})
    return State(
        type=StateType.COMPLETED,
        name=SUPERSEDED,
        message=(
            f"The night of {night.due} was missed; that of {night.as_of} has taken in every day "
            f"since and ended {night.decided['verdict']}. Nothing was left to do."
        ),
        data=night.decided,
    )


def end_night(found: Report) -> State:
    """The flow's last state: its name is the verdict."""
    kind = {"HELD": StateType.CANCELLED, "REJECTED": StateType.FAILED}
    return State(
        type=kind.get(found["verdict"], StateType.COMPLETED),
        name=found["verdict"],
        message=" ".join(found["reasons"])[:1000],
        data=found,
    )


def _early_verdict(night: Night, clean: Cleaned | None) -> Verdict:

    if night.held:
        return Verdict("HELD", night.held)
    assert clean is not None
    if clean.rejected:
        reasons = list(clean.rejected.values())
        more = len(reasons) - REASONS_TOLD
        others = (
            (f"{more:,} more days are bad, through {max(clean.rejected)}.",) if more > 0 else ()
        )
        return Verdict("REJECTED", (*reasons[:REASONS_TOLD], *others))
    return Verdict("HELD", clean.held)


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


def _remember(night: Night, folder: Path, delivered: Predictions | None) -> None:
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
    )


def build_report(
    night: Night,
    verdict: Verdict,
    *,
    clean: Cleaned | None = None,
    examples: Examples | None = None,
    judged: Judged | None = None,
    champion: Champion | None = None,
    run: str | None = None,
    version: str | None = None,
    live: Live | None = None,
    drifted: Drifted | None = None,
    delivered: Predictions | None = None,
    revised: Mapping[str, Any] | None = None,
    seconds: Mapping[str, float],
    links: Mapping[str, str],
) -> Report:
    """Everything there is to say of a night, as plain JSON types.

    Args:
        night: The night.
        verdict: What it decided.
        clean: Its days, where it came that far.
        examples: Its examples, where it came that far.
        judged: Its figures, where it came that far.
        champion: The champion before it.
        run: Its MLflow run, if any.
        version: The version it promoted, if any.
        live: How past answers did.
        drifted: How unlike those before the newest week is.
        delivered: What the app reads now.
        revised: What became of the days an earlier night saw (``archive.revised_days``).
        seconds: Step to seconds, ``total`` included.
        links: Name to address or path.
    """

    spec = load_spec(night.model)
    figures = judged.figures if judged else None
    report: Report = {
        "model": night.name,
        "question": spec.question,
        "as_of": night.as_of.isoformat(),
        "verdict": verdict.status,
        "reasons": [*verdict.reasons, *_missed(night)],
        "checks": [asdict(check) for check in verdict.checks],
        "metric": spec.problem.primary,
        "greater_is_better": spec.problem.greater_is_better,
        "titles": {name: title(name) for name in spec.problem.metric_names},
        "challenger": {"version": None, "run_id": None, "candidate": None},
        "champion": {"version": None, "candidate": None, "since": None},
        "candidates": {},
        "metrics": {},
        "looks": {},
        "rows": {"in": 0, "accepted": 0, "quarantined": 0, "duplicates": 0},
        "days": {"new": 0, "reused": 0, "rejected": 0},
        "revised": dict(revised) if revised else None,
        "split": None,
        "promised": judged.promised if judged else None,
        "live": list(live.new) if live else [],
        "live_lines": live_days.lines(live, spec),
        "reverted": live.reverted if live else None,
        "drift": _drift(drifted),
        "predictions": publish.to_json(delivered) if delivered else None,
        "seconds": dict(seconds),
        "links": dict(links),
    }
    if clean:
        rows = {**report["rows"], **clean.rows}
        report["rows"] = {("in" if name == "rows_in" else name): n for name, n in rows.items()}
        report["rows"].pop("rows_in", None)
        new = len(clean.new)
        report["days"] = {
            "new": new,
            "reused": len(night.days) - new,
            "rejected": len(clean.rejected),
        }
    if champion:
        report["champion"] = {
            "version": champion.version,
            "candidate": champion.candidate,
            "since": champion.as_of.isoformat(),
        }
    if judged and examples:
        report["challenger"]["candidate"] = judged.challenger
        report["challenger"]["version"] = version
        report["challenger"]["run_id"] = run
        report["split"] = {
            "train_days": len(examples.split.train),
            "train_rows": judged.fits[judged.challenger].rows,
            "holdout_days": len(examples.split.holdout),
            "holdout_from": examples.split.holdout[0].isoformat(),
        }
    if judged and figures:
        measured = figures["metrics"]
        report["candidates"] = {
            name: {"metrics": measured[name], "seconds": fit.seconds, "rows": fit.rows}
            for name, fit in judged.fits.items()
            if name in measured
        }
        roles = {"challenger": judged.challenger, "champion": "champion", "baseline": "baseline"}
        report["metrics"] = {
            role: measured[name] for role, name in roles.items() if name in measured
        }
        report["looks"] = _looks(
            figures, champion.candidate if champion else None, list(judged.fits)
        )
    if version and judged and verdict.status == "PROMOTED":
        report["champion"] = {
            "version": version,
            "candidate": judged.challenger,
            "since": night.as_of.isoformat(),
        }
    return report


def _missed(night: Night) -> list[str]:
    """That a late night stands for those that were missed."""
    if night.due is None or night.due == night.as_of:
        return []
    return ["Nights were missed before it: it takes in every day since the last one."]


def _drift(drifted: Drifted | None) -> dict[str, Any] | None:
    if drifted is None:
        return None
    shifts = [asdict(shift) | {"alarming": shift.alarming} for shift in drifted.shifts]
    return {"rows": drifted.rows, "shifts": shifts}


def _looks(
    figures: Mapping[str, Any], recipe: str | None, candidates: Sequence[str]
) -> dict[str, Any]:
    """Every look at another recipe: its gain over the champion's, both fitted tonight."""
    return {
        name: figures["differences"][name][recipe]
        for name in candidates
        if recipe in figures["differences"].get(name, {})
    }
