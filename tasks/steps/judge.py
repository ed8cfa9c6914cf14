"""The steps from fitted candidates to a verdict."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from prefect.cache_policies import NO_CACHE

from tasks.clean_process import alignment, version_answers
from tasks.features.cleaning import absent_columns
from tasks.promotion import leaks, verdict
from tasks.promotion.anchor import (
    ANCHOR,
    NIGHTS,
    YEARLY,
    AnchorFacts,
    after_failure,
    line_gain,
    margin_left,
    past_gains,
)
from tasks.promotion.contests import Contests
from tasks.promotion.gate import too_large
from tasks.promotion.holds import held_candidates
from tasks.promotion.left_out import told
from tasks.registry import anchors, holds, versions
from tasks.registry.client import list_versions, open_registry, read_registered
from tasks.reporting.archive import last_judged, newest_contests, past_reports
from tasks.reporting.night_plots import draw_plots
from tasks.spec.fingerprint import digest
from tasks.spec.loading import load_spec
from tasks.steps.retries import OUTSIDE
from tasks.steps.spoken import task
from tasks.steps.state import Beside, Incumbent, Judged
from tasks.steps.train import settled
from tasks.store import frames, models
from tasks.store.files import DiskError
from tasks.training import fit, importance
from tasks.training.fit_results import usable_fits

if TYPE_CHECKING:
    import pandas as pd

    from tasks.promotion.checks import Check
    from tasks.registry.anchors import Anchor
    from tasks.registry.client import Client
    from tasks.spec.model_spec import ModelSpec
    from tasks.steps.state import Cleaned, Examples, Night
    from tasks.training.tuning import Settled


log = logging.getLogger("nightly")
log.setLevel(logging.INFO)  # the root's WARNING would keep the lines of a night from Prefect
TAGS = {ANCHOR: anchors.ANCHOR, YEARLY: anchors.YEARLY}
"""Name among the scorers to the tag that says which version it is."""


@task(task_run_name="look for leaks", **OUTSIDE)
def look_for_leaks(night: Night, clean: Cleaned, examples: Examples) -> tuple[Check, ...]:
    """Check the features for leaks."""
    spec, held_out = load_spec(night.model), examples.split.holdout
    days = leaks.rebuild_days(night.days, held_out)
    tested = days[len(days) // 2]
    rows = frames.read_days([clean.refs[day] for day in held_out if day in clean.refs])
    raw = spec.source.read_days(days)
    checks = (
        leaks.rebuilt_without_outcomes(spec, raw, tested, absent_columns(spec, raw)),
        leaks.missing_like_label(spec, rows),
        leaks.strongest_feature(spec, fit.read_examples(examples.of(held_out))),
    )
    signs = [check.detail for check in checks if not check.passed]
    log.info("leaks     %s", " ".join(signs) or checks[-1].detail)
    return checks


@task(task_run_name="score the champion", **OUTSIDE)
def score_champion(night: Night, examples: Examples) -> Incumbent:
    """Score tonight's holdout with the champion's twin, on the same rows."""
    spec, client, held_out = load_spec(night.model), open_registry(), examples.split.holdout
    champion = versions.read_champion(client, spec.name, before_night=night.key)
    listed = list_versions(client, spec.name)
    since = examples.split.train[-1] + spec.label_delay
    models.note_use("models", versions.coming_twins(listed, digest(spec), since), time.time())
    rolled_back = versions.read_rolled_back(client, spec.name, listed)
    held = tuple(holds.read_holds(client, spec.name, listed))
    if champion is None:
        retired = versions.read_retired(client, spec.name, night.as_of, listed)
        log.info("champion  %s", f"none, {retired.version} was retired" if retired else "none yet")
        return Incumbent(rolled_back=rolled_back, holds=held, retired=retired)
    key, added = f"{champion.twin_sha256}-{night.key}", None
    fault = verdict.why_not_comparable(champion, night.as_of, last_judged(night.name), held_out[0])
    if fault is None:
        try:
            holdout = fit.read_examples(examples.of(held_out))
            more, scores = version_answers.score_champion(
                client, spec, champion, night.days, held_out, holdout
            )
            fit.write_scores(key, scores)
            if len(more):
                added = key
                frames.write_days("added", {added: more})
        except DiskError:
            raise
        except version_answers.VERSION_FAILS as error:
            why = str(error).removesuffix(".")
            fault = (
                f"The champion, version {champion.version}, cannot be scored: {why}. As long as "
                "that is so, nothing can be promoted. Where it cannot be mended, start anew: "
                f"python flows/rollback.py --model {spec.name} --retire"
            )
    done = "is not scored" if fault else "scored on the holdout"
    log.info("champion  version %s (%s) %s", champion.version, champion.candidate, done)
    found = Incumbent(champion, None if fault else key, added, fault, rolled_back, held)
    if fault:
        return found
    tags = read_registered(client, spec.name).tags
    anchor, yearly = anchors.anchor_in(tags), anchors.anchor_in(tags, anchors.YEARLY)
    if anchor:
        found = _score_anchor(client, night, examples, found, ANCHOR, anchor)
    if anchor and yearly and yearly.version != anchor.version:
        found = _score_anchor(client, night, examples, found, YEARLY, yearly)
    return found


def _score_anchor(
    client: Client, night: Night, examples: Examples, found: Incumbent, name: str, anchor: Anchor
) -> Incumbent:
    """The same for an anchor, whose predictions of the holdout are laid beside."""
    import pandas as pd

    spec, held_out = load_spec(night.model), examples.split.holdout
    if found.champion is None or anchor.version == found.champion.version:
        return _beside(found, name, Beside(anchor))
    holdout = fit.read_examples(examples.of(held_out))
    more = _added(found.added) if found.added else holdout.head(0)
    try:
        version = versions.read_version(client, spec.name, anchor.version)
        own = version.digest != digest(spec)
        every = pd.concat([holdout, more], ignore_index=True) if own and len(more) else holdout
        alone, scores = version_answers.score_champion(
            client, spec, version, night.days, held_out, every
        )
    except DiskError:
        raise
    except version_answers.VERSION_FAILS as error:
        return _without_anchor(client, night, found, name, anchor, str(error))
    key = f"{version.twin_sha256}-{night.key}-{name.replace(' ', '-')}"
    fit.write_scores(key, scores if own else alignment.pad(scores, len(more)))
    if len(alone):
        frames.write_days("added", {key: pd.concat([more, alone], ignore_index=True)})
        found = _padded(found, key, len(alone))
    if anchor.failing and not night.backfill:
        anchors.write_anchor(client, night.name, replace(anchor, failing=None), TAGS[name])
    log.info("anchor    version %s scored on the holdout", anchor.version)
    return _beside(found, name, Beside(anchor, key))


def _beside(found: Incumbent, name: str, beside: Beside) -> Incumbent:
    return replace(found, anchors={**found.anchors, name: beside})


def _padded(found: Incumbent, key: str, count: int) -> Incumbent:
    """The scores there are so far, made as long as the examples under ``key``: ``count`` more."""

    def padded(scores: str | None) -> str | None:
        if scores is None:
            return None
        fit.write_scores(f"{scores}-{key}", alignment.pad(fit.read_scores(scores), count))
        return f"{scores}-{key}"

    others = {n: replace(each, scores=padded(each.scores)) for n, each in found.anchors.items()}
    return replace(found, added=key, scores=padded(found.scores), anchors=others)


def _without_anchor(
    client: Client, night: Night, found: Incumbent, name: str, anchor: Anchor, error: str
) -> Incumbent:
    """The night on which an anchor cannot be scored: nothing is promoted, or it is renewed.

    The champion takes the place of the anchor, and the anchor that of the yearly one.
    """
    assert found.champion is not None
    told, by = "anchor", "champion"
    follower = found.champion.version
    if name == YEARLY:
        told, by = "yearly anchor", "anchor"
        follower = found.anchors[ANCHOR].anchor.version
    gain = line_gain(past_reports(night.name, night.as_of, NIGHTS), anchor.version)
    after = after_failure(anchor, follower, gain, night.as_of)
    if not night.backfill:
        anchors.write_anchor(client, night.name, after, TAGS[name])
    why = f"The {told}, version {anchor.version}, cannot be scored: {error.removesuffix('.')}."
    log.warning("anchor    %s", why)
    if after.version != anchor.version:
        return found if name == YEARLY else _beside(found, name, Beside(after))
    rule = f"Nothing is promoted tonight; if it fails again, the {by} takes its place."
    return _beside(found, name, Beside(after, fault=f"{why} {rule}"))


def name_judge(parameters: dict[str, Any]) -> str:
    """Name of the task's run: how many candidates, against which champion."""
    champion = parameters["incumbent"].champion
    against = f"champion {champion.version}" if champion else "the baseline"
    return f"judge {len(parameters['made'])} candidates against {against}"


@task(task_run_name=name_judge, cache_policy=NO_CACHE)
def judge_night(
    night: Night,
    examples: Examples,
    made: Sequence[dict[str, Any] | BaseException],
    incumbent: Incumbent,
    checked: Sequence[Check] = (),
    drawn: bool = True,
) -> Judged:
    """Compare challenger, champion and baseline on the same holdout; plots unless not ``drawn``."""
    spec, started = load_spec(night.model), time.time()
    fits, faults = usable_fits(made)
    evidence = _read_evidence(spec, examples, fits, incumbent)
    found = settled(night, examples, list(fits))
    left_out = {name: one for name, one in examples.left_out.items() if name not in fits}
    decided = verdict.decide(
        spec,
        evidence,
        _facts_of(spec, incumbent),
        checked,
        retired=incumbent.retired,
        refused=_too_large(spec, fits) | _refused(night, examples, found, incumbent),
        notes=(*_searched(found), *faults, *told(left_out)),
        contests=_contests_before(night),
        code=digest(spec),
        anchors=_anchors_of(spec, night, incumbent),
        share=night.share,
    )
    log.info("judge     %s: %s", decided.verdict.status, decided.verdict.reasons[0])
    plots = _draw(spec, evidence, decided, fits) if drawn else {}
    done = time.time()
    return Judged(
        verdict=decided.verdict,
        challenger=decided.challenger,
        fits=fits,
        incumbent=incumbent,
        figures=decided.figures.to_json() if decided.figures else None,
        plots=plots,
        seconds={"fit": round(started - examples.done, 2), "judge": round(done - started, 2)},
        done=done,
        prediction_interval=decided.prediction_interval,
        contests=decided.contests.to_json() if decided.contests else None,
        left_out=left_out,
    )


def _contests_before(night: Night) -> Contests | None:
    kept = newest_contests(night.name, night.as_of)
    return Contests.from_json(kept) if kept else None


def _read_evidence(
    spec: ModelSpec, examples: Examples, fits: Mapping[str, fit.Fit], incumbent: Incumbent
) -> verdict.Evidence:
    held_out = examples.of(examples.split.holdout)
    holdout = fit.read_examples(held_out)
    training = frames.read_days(examples.of(examples.split.train), columns=["day", "target"])
    scores = {
        name: fit.read_scores(fit.scores_key(each.key, held_out)) for name, each in fits.items()
    }
    scores = verdict.with_baselines(spec, scores, training, holdout)
    if key := incumbent.added:
        holdout, scores = alignment.add_examples(holdout, scores, _added(key))
    if incumbent.scores:
        scores[verdict.CHAMPION] = fit.read_scores(incumbent.scores)
    for name, beside in incumbent.anchors.items():
        if beside.scores:
            scores[name] = fit.read_scores(beside.scores)
    return verdict.Evidence(training, holdout, scores, list(fits))


def _added(key: str) -> pd.DataFrame:
    return frames.read_days([frames.find_days("added", [key])[key]])


def _anchors_of(spec: ModelSpec, night: Night, incumbent: Incumbent) -> list[AnchorFacts]:
    champion = incumbent.champion
    if champion is None or not incumbent.anchors:
        return []
    reports = past_reports(night.name, night.as_of - timedelta(days=1), NIGHTS)
    return [
        AnchorFacts(
            (anchor := beside.anchor).version,
            margin_left(spec.gate.anchor_tolerance, anchor),
            verdict.CHAMPION if anchor.version == champion.version else name,
            yearly=name == YEARLY,
            past=past_gains(reports, anchor.version, digest(spec)),
            fault=beside.fault,
        )
        for name, beside in incumbent.anchors.items()
    ]


def _facts_of(spec: ModelSpec, incumbent: Incumbent) -> verdict.ChampionFacts | None:
    champion = incumbent.champion
    if champion is None:
        return None
    edited = champion.digest != digest(spec)
    return verdict.ChampionFacts(champion.version, champion.candidate, edited, incumbent.fault)


def _too_large(spec: ModelSpec, fits: Mapping[str, fit.Fit]) -> dict[str, str]:
    places = {name: models.fetch_model("models", each.key)[0] for name, each in fits.items()}
    return too_large({n: file.stat().st_size / 1e6 for n, file in places.items()}, spec.gate)


def _refused(
    night: Night, examples: Examples, found: Mapping[str, Settled], incumbent: Incumbent
) -> dict[str, str]:
    """Candidates that are held, or would ship what was rolled back; in a backfill all."""
    if night.backfill and incumbent.champion is None:
        return dict.fromkeys(found, night.backfill)
    spec = load_spec(night.model)
    matured = examples.of(examples.split.refit)
    keys = {
        name: fit.model_key(spec, name, matured, each.parameters) for name, each in found.items()
    }
    told = incumbent.rolled_back
    held = held_candidates(spec.name, incumbent.holds, list(found), digest(spec), night.as_of)
    return held | {name: told[key] for name, key in keys.items() if key in told}


def _searched(found: Mapping[str, Settled]) -> list[str]:
    return [told for name, each in found.items() if (told := each.told(name))]


def _draw(
    spec: ModelSpec,
    evidence: verdict.Evidence,
    decided: verdict.Decision,
    fits: Mapping[str, fit.Fit],
) -> dict[str, bytes]:
    if decided.figures is None:
        return {}
    moved = importance.measure_importance(spec, fits[decided.challenger], evidence.holdout)
    return draw_plots(spec, evidence, decided, moved)
