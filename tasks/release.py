"""The steps from a verdict to a champion and a report, as Prefect tasks."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext, TaskRunContext

from tasks import prepare, publish, record, settings, store, train, tuning
from tasks.announce import announce, night_events
from tasks.archive import keep_days, past_reports, report_folder, revised_days
from tasks.decided import remember
from tasks.deliver import Predictions
from tasks.night import Cleaned, Examples, Judged, Night
from tasks.report import (
    Report,
    build_report,
    draw_drift,
    draw_nights,
    nights_table,
    to_markdown,
    write_report,
)
from tasks.results import cached_task
from tasks.spec import (
    code_files,
    code_paths,
    digest,
    libraries,
    load_spec,
    spec_module,
    spec_path,
)
from tasks.steps import OUTSIDE, if_whole, spec_and_refs
from tasks.watch import Drifted, Live, write_history

if TYPE_CHECKING:
    from tasks.judge import Verdict

log = logging.getLogger("nightly")

SUPERSEDED = "SUPERSEDED"
NIGHTS_SHOWN, NIGHTS_LISTED = 60, 30
"""Nights in the picture, and in the table of MLflow's experiment."""
REASONS_TOLD = 3
"""Bad days whose reason is told; of more the number."""
PROBE_ROWS = 100
"""Rows that a packaged model must predict as the trained one did."""


def shipped_key(_: TaskRunContext, parameters: dict[str, Any]) -> str:
    """Cache key of the model that ships."""
    spec, (teach, _judge, matured) = spec_and_refs(parameters)
    candidate = parameters["judged"].challenger
    found = tuning.settle(spec, candidate, parameters["night"].as_of, teach)
    key = train.model_key(spec, candidate, matured, found.parameters)
    return if_whole(key, store.has_model("models", key))


@cached_task(shipped_key, task_run_name="refit {judged.challenger} on all matured days")
def refit_challenger(night: Night, examples: Examples, judged: Judged) -> dict[str, Any]:
    """Fit the challenger's recipe on all matured days: this is what ships."""
    spec, split = load_spec(night.model), examples.split
    found = tuning.settle(spec, judged.challenger, night.as_of, examples.of(split.train))
    made, _ = train.fit_and_keep(
        spec, judged.challenger, examples.of(split.refit), found.parameters
    )
    log.info("refit     %s on %s examples", judged.challenger, f"{made.rows:,}")
    return asdict(made)


@task(task_run_name="log the night to MLflow", **OUTSIDE)
def log_night(night: Night, clean: Cleaned, examples: Examples, judged: Judged) -> str:
    """Write the night's run and a child run for each candidate."""
    from tasks import registry, tracking

    client = registry.open_registry()
    run = tracking.log_night(client, record.night_run(night, clean, examples, judged))
    log.info("log       MLflow run %s with %d candidates", run, len(judged.fits))
    return run


@task(task_run_name="register version of {night.name}", **OUTSIDE)
def register_version(
    night: Night, examples: Examples, judged: Judged, shipped: dict[str, Any], run: str
) -> str:
    """Upload the shipped model with its judged twin and register exactly this version."""
    from tasks import packaging, registry

    spec, split = load_spec(night.model), examples.split
    client = registry.open_registry()
    version = registry.find_version(client, spec.name, night.key)
    if version is None:
        twin, twin_sha256 = store.model_file("models", judged.fits[judged.challenger].key)
        sample = store.read_days(examples.of(split.holdout[-1:])).head(5)
        version = packaging.register_version(
            client,
            run,
            model=spec.name,
            estimator=store.read_model("models", shipped["key"], train.trusted_types(spec)),
            twin=twin,
            twin_sha256=twin_sha256,
            inputs=spec.problem.inputs(sample),
            code=code_paths(spec),
            trusted=train.trusted_types(spec),
            requirements=[f"{name}=={version_of(name)}" for name in libraries(spec)],
            tags={
                "night": night.key,
                "as_of": night.as_of.isoformat(),
                "candidate": judged.challenger,
                "spec_digest": digest(spec),
                "shipped_key": shipped["key"],
                "judged_from": split.holdout[0].isoformat(),
                "twin_learned_through": split.train[-1].isoformat(),
                "spec_module": spec_module(spec),
                "spec_file": spec_path(spec),
                "lookback": str(spec.lookback.days),
                "promised": json.dumps(judged.promised),
            },
            description=(
                f"{judged.challenger}, fitted on {shipped['rows']:,} examples from "
                f"{split.refit[0]} to {split.refit[-1]}. {judged.verdict.reasons[0]}"
            ),
        )
    log.info("register  version %s", version)
    return version


@task(task_run_name="check version {version} in a clean process", **OUTSIDE)
def check_version(
    night: Night, examples: Examples, judged: Judged, shipped: dict[str, Any], version: str
) -> Judged:
    """Load the version as an app will, in a process of its own; one that fails is not promoted."""
    from tasks import packaging, registry
    from tasks.check import check_package, files_digest
    from tasks.judge import confirm

    spec, client = load_spec(night.model), registry.open_registry()
    trusted = train.trusted_types(spec)
    sample = store.read_days(examples.of(examples.split.holdout[-1:])).head(PROBE_ROWS)
    probe = spec.problem.inputs(sample)
    expected = packaging.answer(store.read_model("models", shipped["key"], trusted), probe)
    with packaging.downloaded(client, night.name, version) as place:
        sha256 = files_digest(place)
        checks = check_package(place, probe, expected, trusted=trusted, gate=spec.gate)
    verdict = confirm(judged.verdict, version, checks)
    if verdict.status == "PROMOTED":
        packaging.seal(
            client,
            night.name,
            version,
            sha256=sha256,
            trusted=trusted,
            probe=probe,
            predictions=expected,
        )
    log.info("check     version %s: %s", version, " ".join(check.detail for check in checks))
    return replace(judged, verdict=verdict)


@task(task_run_name="promote version {version}", **OUTSIDE)
def promote_version(night: Night, version: str) -> str:
    """Point the alias champion at exactly the version just made."""
    from tasks import registry

    registry.promote(registry.open_registry(), night.name, version)
    log.info("promote   version %s is the champion of %s", version, night.name)
    return version


@task(task_run_name="clean up after {night.name}", cache_policy=NO_CACHE)
def clean_up(night: Night) -> None:
    """Keep store and registry within their limits; a fault here fails no night."""
    from tasks import registry

    spec = load_spec(night.model)
    clean = prepare.clean_keys(spec, night.days)
    keep = {"clean": clean.values(), "counts": clean.values()}
    keep["examples"] = prepare.example_keys(spec, clean, list(night.days)).values()
    try:
        files = store.clean_up(keep, settings.store_bytes())
        versions = registry.retire(registry.open_registry(), night.name, settings.keep_versions())
        if files or versions:
            log.info("clean up  %d files, versions %s", len(files), ", ".join(versions) or "none")
    except Exception:
        log.exception("clean up  failed; nothing a night needs is lost")


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
    from tasks import registry, tracking

    verdict = judged.verdict if judged else _early_verdict(night, clean)
    client = registry.open_registry()
    champion = judged.incumbent.champion if judged else registry.read_champion(client, night.name)
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
        links=record.links(folder, run, tracking.run_page(client, run) if run else None),
    )
    earlier = past_reports(night.name, night.as_of - timedelta(days=1), NIGHTS_SHOWN)
    plots = (judged.plots | draw_nights([*earlier, found])) if judged else {}
    plots |= draw_drift(drifted.shifts) if drifted and drifted.shifts else {}
    write_report(folder, found, plots)
    keep_days(night.name, night.as_of, night.days)
    page = write_history(night.name, night.as_of)
    if page and judged:
        store.write_file(folder / page.name, page.read_bytes())  # MLflow keeps the folder
    create_markdown_artifact(
        key=f"report-{night.name}".replace("_", "-"),
        markdown=to_markdown(found, plots),
        description=f"{night.name} · {night.as_of} · {verdict.status}",
    )
    if run:
        tracking.close_run(client, run, folder, verdict.status)
        tracking.describe_nights(client, run, nights_table([*earlier, found][-NIGHTS_LISTED:]))
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
    from tasks.judge import Verdict

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
