"""The steps from a verdict to a champion."""

from __future__ import annotations

import functools
import logging
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.cache_policies import NO_CACHE

from tasks import settings
from tasks.clean_process.package_check import Shipped, check_packages, files_digest
from tasks.features import cleaning
from tasks.features.examples import example_keys, night_keys
from tasks.promotion.checks import Status
from tasks.promotion.gate import confirm, overtaken
from tasks.registry import aliases, packages, runs, versions
from tasks.registry.champion_alias import ChampionMovedError
from tasks.registry.client import open_registry
from tasks.reporting import archive, decisions
from tasks.shown import as_markdown, shown
from tasks.spec.fingerprint import libraries, packaged_code
from tasks.spec.loading import load_spec
from tasks.steps import mlflow_run
from tasks.steps.retries import OUTSIDE
from tasks.steps.spoken import task
from tasks.steps.waiting import close_waiting
from tasks.store import cleanup, frames, models
from tasks.training import fit

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from tasks.steps.state import Cleaned, Examples, Judged, Night


log = logging.getLogger("nightly")
version_of = functools.cache(metadata.version)
PROBE_ROWS = 100
"""Rows on which a packaged model must predict the same as the trained one."""


@task(task_run_name="log the night to MLflow", **OUTSIDE)
def log_night(night: Night, clean: Cleaned, examples: Examples, judged: Judged) -> str:
    """Write the night's run and a child run for each candidate."""

    client = open_registry()
    run = runs.log_night(client, mlflow_run.night_run(night, clean, examples, judged))
    log.info("log       MLflow run %s with %d candidates", run, len(judged.fits))
    return run


@task(task_run_name="register version of {night.name}", **OUTSIDE)
def register_version(
    night: Night, examples: Examples, judged: Judged, shipped: dict[str, Any], run: str
) -> str:
    """Upload the shipped model with its judged twin and register exactly this version."""
    spec, split = load_spec(night.model), examples.split
    client = open_registry()
    version = versions.find_version(client, spec.name, night.key)
    if version is None:
        twin, twin_sha256 = models.fetch_model("models", judged.fits[judged.challenger].key)
        held = [ref for ref in examples.of(split.holdout) if ref.rows]
        sample = frames.read_days(held[-1:]).head(5)
        version = packages.register_version(
            client,
            run,
            model=spec.name,
            estimator=models.read_model("models", shipped["key"], fit.trusted_types(spec)),
            twin=twin,
            twin_sha256=twin_sha256,
            inputs=spec.problem.inputs(sample),
            code=packaged_code(spec),
            trusted=fit.trusted_types(spec),
            requirements=[f"{name}=={version_of(name)}" for name in libraries(spec)],
            tags=versions.night_tags(
                spec,
                split,
                night=night.key,
                as_of=night.as_of,
                candidate=judged.challenger,
                shipped_key=shipped["key"],
                prediction_interval=judged.prediction_interval,
            ),
            description=_described(examples, judged, shipped),
        )
    log.info("register  version %s", version)
    return version


def _described(examples: Examples, judged: Judged, shipped: Mapping[str, Any]) -> str:
    first, *_, last = examples.split.refit
    learned = f"fitted on {shipped['rows']:,} examples from {first} to {last}"
    return as_markdown(shown(f"{judged.challenger}, {learned}. {judged.verdict.reasons[0]}"))


@task(task_run_name="check version {version} in a clean process", **OUTSIDE)
def check_version(
    night: Night, examples: Examples, judged: Judged, shipped: dict[str, Any], version: str
) -> Judged:
    """Load the version as an app will, in a separate process; a version that fails is not
    promoted."""
    return check_versions([Registered(night, examples, judged, shipped, version)])[0]


@dataclass(frozen=True)
class Registered:
    """A version that a night has registered, before it is checked."""

    night: Night
    examples: Examples
    judged: Judged
    shipped: dict[str, Any]
    version: str


def check_versions(made: Sequence[Registered]) -> list[Judged]:
    """Check versions of one model file, all in one process; each verdict after its check."""
    spec, client = load_spec(made[0].night.model), open_registry()
    trusted = fit.trusted_types(spec)
    with ExitStack() as stack:
        contents = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        packed = []
        for one in made:
            probe, expected = _probe_of(one, trusted)
            name, version = one.night.name, one.version
            place = stack.enter_context(
                packages.downloaded(client, name, version, unchecked=True, contents=contents)
            )
            packed.append(Shipped(place, probe, expected))
        digests = [files_digest(each.folder) for each in packed]
        found = check_packages(packed, trusted=trusted, gate=spec.gate)
    done = []
    for one, each, sha256, checks in zip(made, packed, digests, found, strict=True):
        verdict = confirm(one.judged.verdict, one.version, checks)
        if verdict.status.registers:
            packages.seal(
                client,
                one.night.name,
                one.version,
                sha256=sha256,
                trusted=trusted,
                probe=each.probe,
                predictions=each.expected,
                waits=verdict.status is not Status.PROMOTED,
            )
        told = " ".join(check.detail for check in checks)
        log.info("check     version %s of %s: %s", one.version, one.night.name, told)
        done.append(replace(one.judged, verdict=verdict))
    return done


def _probe_of(one: Registered, trusted: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Some rows of the holdout's newest day that has any, and what the trained model predicts."""
    spec, held = load_spec(one.night.model), one.examples.of(one.examples.split.holdout)
    sample = frames.read_days([[ref for ref in held if ref.rows][-1]]).head(PROBE_ROWS)
    estimator = models.read_model("models", one.shipped["key"], trusted)
    inputs = spec.problem.inputs(sample)
    return packages.posted(estimator, inputs), packages.answer(estimator, inputs)


@task(task_run_name="promote version {version}", **OUTSIDE)
def promote_version(night: Night, version: str, judged: Judged) -> Judged:
    """Point the alias champion at exactly the version just made.

    Where the champion is not the one it was judged against any more, it is kept.
    """
    champion = judged.incumbent.champion
    against = champion.version if champion else None
    client = open_registry()
    try:
        aliases.promote(client, night.name, version, against)
    except ChampionMovedError as moved:
        log.warning("promote   %s", moved)
        return replace(judged, verdict=overtaken(judged.verdict, version, against, moved.champion))
    log.info("promote   version %s is the champion of %s", version, night.name)
    close_waiting(client, night.name, version, "became the champion", night.as_of.isoformat())
    return judged


@task(task_run_name="clean up after {night.name}", cache_policy=NO_CACHE)
def clean_up(night: Night) -> None:
    """Keep store, registry and reports within their limits; a failure does not fail the night."""
    spec = load_spec(night.model)
    clean = cleaning.clean_keys(spec, night.days)
    keep: dict[str, Collection[str]] = {"clean": clean.values(), "counts": clean.values()}
    if spec.partition is not None:
        keep["parts"] = clean.values()
    made = example_keys(spec, clean, list(night.days))
    keep["examples"] = [*made.values(), *night_keys(spec, made).values()]
    try:
        files = cleanup.clean_up(keep, settings.store_bytes(), night.name, time.time())
        files += cleanup.remove_unused(settings.store_bytes(), time.time())
        retired = versions.retire(open_registry(), night.name, settings.keep_versions())
        archive.forget_old(night.name, night.as_of, settings.keep_nights())
        decisions.forget_old(night.model, settings.keep_nights())
        if files or retired:
            log.info("clean up  %d files, versions %s", len(files), ", ".join(retired) or "none")
    except Exception:
        log.exception("clean up  failed; no file that a night needs is lost")
