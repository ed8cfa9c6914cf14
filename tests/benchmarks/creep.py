"""A year of nights with small losses: how far the champion falls behind where it began.

    PYTHONPATH=. python tests/benchmarks/creep.py --years 40

The decisions are those of a night (the gate with its anchor, the anchor's renewal, the revert of a
line); the scores are synthetic. Every version has one figure a day: what it is worth, plus noise
that two versions share the more, the closer in time they were made. ``--noise`` is the standard
deviation of one day's difference between two versions made long apart, as a share of the metric;
between the flights' versions of 60 nights apart it is 0.028. The holdout is the last 14 days, and a
live day is graded a night later.

Scenarios, each with and without the anchor: an honest recipe; labels that decay, so that each
night's refit is 0.01 % worse than the last one's (3.6 % in a year); a recipe that loses 0.1 % a
night (31 %).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.evaluation.bootstrap import day_counts, interval
from tasks.evaluation.estimates import Difference, Estimate, Evaluation
from tasks.monitoring import live_performance
from tasks.promotion.anchor import (
    ANCHOR,
    NIGHTS,
    AnchorFacts,
    check_anchor,
    gains_of,
    line_gain,
    margin_left,
    next_anchor,
    past_gains,
)
from tasks.promotion.checks import Status
from tasks.promotion.gate import judge
from tasks.registry.anchors import Anchor
from tasks.spec import Gate, Revert

FIRST, YEAR, HOLDOUT, LIVE_DAYS = date(2026, 1, 1), 365, 14, 60
LEVEL, FAR = 0.4, 60.0
"""The metric's level, and nights after which two versions share little."""
SCENARIOS = {"honest": 0.0, "labels decay, 0.01 % a night": 1e-4, "loses 0.1 % a night": 1e-3}
GATE, REVERT = Gate(resamples=200), Revert()
COUNTS = day_counts(HOLDOUT, GATE.resamples, 0)
Daily = npt.NDArray[np.float64]


@dataclass
class Year:
    """What a year of nights came to.

    Attributes:
        losses: Night by night how much less the champion is worth than the first one, relative.
        promoted: Nights that promoted.
        reverted: Nights on which a line was reverted.
    """

    losses: list[float] = field(default_factory=list)
    promoted: int = 0
    reverted: int = 0


def daily_figures(rate: float, noise: float, random: np.random.Generator) -> Daily:
    """The figure of every night's refit on every day, one row a version."""
    made = np.arange(YEAR)
    days = YEAR + HOLDOUT
    keep = math.exp(-1 / FAR)
    own = np.empty((YEAR, days))
    own[0] = random.normal(size=days)
    for version in made[1:]:
        own[version] = keep * own[version - 1] + math.sqrt(1 - keep**2) * random.normal(size=days)
    worth = LEVEL * (1 - rate) ** made[:, None]
    return worth + LEVEL * (noise / math.sqrt(2) * own + 0.15 * random.normal(size=days))


def evaluation(scores: Mapping[str, Daily]) -> Evaluation:
    """The scorers on the same holdout, as ``evaluate`` gives it for a mean of daily figures."""
    samples = {name: COUNTS @ score / HOLDOUT for name, score in scores.items()}

    def difference(mine: Daily, theirs: Daily) -> Difference:
        gain = mine - theirs
        share = interval(gain / np.abs(theirs), HOLDOUT, GATE.confidence)
        return Difference(interval(gain, HOLDOUT, GATE.confidence), share)

    level = {name: Estimate(*(float(sample[0]),) * 3) for name, sample in samples.items()}
    pairs = (("new", "champion"), ("new", "baseline"), ("new", ANCHOR), ("champion", ANCHOR))
    told: dict[str, dict[str, Difference]] = {}
    for one, other in pairs:
        if one in samples and other in samples:
            told.setdefault(one, {})[other] = difference(samples[one], samples[other])
    return Evaluation(
        "average_precision",
        greater_is_better=True,
        confidence=GATE.confidence,
        days=HOLDOUT,
        units=10_000,
        unit="rows",
        first_day="",
        last_day="",
        metrics={name: {"average_precision": value} for name, value in level.items()},
        differences=told,
        unusable={},
    )


def live_day(night: int, champion: int, anchor: Anchor | None, figures: Daily) -> dict[str, Any]:
    """The graded day after a night."""
    day, metric = HOLDOUT + night, "average_precision"
    found: dict[str, Any] = {
        "day": str(FIRST + timedelta(days=night + 1)),
        "version": str(champion),
        "metrics": {metric: float(figures[champion, day])},
        "promised": {"value": LEVEL, "low": 0.0, "high": 1.0},
    }
    if anchor and anchor.version != str(champion):
        theirs = {metric: float(figures[int(anchor.version), day])}
        found |= {"anchor_version": anchor.version, "anchor": theirs}
    return found


def live_through(rate: float, noise: float, seed: int, anchored: bool) -> Year:
    """A year of nights; the version of a night has the night's number."""
    figures = daily_figures(rate, noise, np.random.default_rng(seed))
    found, champion, anchor, held = Year(), 0, None, -1
    reports: list[dict[str, Any]] = []
    graded: list[dict[str, Any]] = []
    withdrawn: set[str] = set()
    for night in range(1, YEAR):
        as_of = FIRST + timedelta(days=night)
        if anchored:
            now, line = anchor, list[Mapping[str, Any]]()
            if now:
                line = live_performance.line_of(graded, now.version, now.since, withdrawn)
            anchor = renew(now, champion, as_of, reports, line, withdrawn)
            lost = live_performance.compare_line(line, "average_precision", True, REVERT)
            if anchor and lost and lost.revert and now and now.version == anchor.version:
                withdrawn.add(str(champion))
                champion, held = int(anchor.version), night + REVERT.hold.days
                anchor = replace(anchor, since=as_of)
                found.reverted += 1
        days = slice(night, night + HOLDOUT)
        scores = {"new": figures[night, days], "champion": figures[champion, days]}
        scores["baseline"] = np.full(HOLDOUT, LEVEL / 4)
        fixed = anchor if anchor and anchor.version != str(champion) else None
        if fixed:
            scores[ANCHOR] = figures[int(fixed.version), days]
        measured = evaluation(scores)
        promoted = promotes(measured, anchor, champion, reports) and night > held
        reports = [*reports, to_report(measured, anchor, fixed)][-NIGHTS:]
        if promoted:
            champion, found.promoted = night, found.promoted + 1
        graded = [*graded, live_day(night, champion, anchor, figures)][-LIVE_DAYS:]
        found.losses.append(1 - (1 - rate) ** champion)
    return found


def renew(
    now: Anchor | None,
    champion: int,
    as_of: date,
    reports: Sequence[Mapping[str, Any]],
    line: Sequence[Mapping[str, Any]],
    withdrawn: set[str],
) -> Anchor | None:
    """The anchor of a night, as ``tasks/steps/monitor.py`` finds it."""
    if now is None:
        return next_anchor(now, str(champion), as_of)
    usable = now.version not in withdrawn
    proven = live_performance.proven_version(line, "average_precision", True)
    gain = line_gain(reports, now.version)
    return next_anchor(now, str(champion), as_of, usable=usable, gain=gain, proven=proven)


def promotes(
    found: Evaluation, anchor: Anchor | None, champion: int, reports: Sequence[Any]
) -> bool:
    """The verdict on a refit of the champion's recipe."""
    checked = []
    if anchor:
        past = past_gains(reports, anchor.version, "")
        margin = margin_left(GATE.anchor_tolerance, anchor)
        scorer = "champion" if anchor.version == str(champion) else ANCHOR
        facts = AnchorFacts(anchor.version, margin, scorer, past)
        checked = [check_anchor(found, "new", facts)]
    verdict = judge(
        found,
        challenger="new",
        champion="champion",
        baseline="baseline",
        same_recipe=True,
        gate=GATE,
        checked=checked,
    )
    return verdict.status is Status.PROMOTED


def to_report(found: Evaluation, anchor: Anchor | None, fixed: Anchor | None) -> dict[str, Any]:
    """What later nights read of a report.

    Args:
        found: The night's evaluation.
        anchor: The anchor.
        fixed: The same where the champion is another version.
    """
    if anchor is None:
        return {"anchor": None}
    scorer = ANCHOR if fixed else "champion"
    gains = gains_of(found.to_json(), scorer)
    return {"anchor": {"version": anchor.version, "digest": "", "gains": gains}}


def main() -> None:
    """Live through the years and print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--years", type=int, default=40)
    parser.add_argument("--noise", type=float, nargs="*", default=[0.01, 0.03])
    asked = parser.parse_args()
    print(
        "| scenario | noise | anchor | loss after a year, mean | worst night, 95 % of years "
        "| promoted | reverts a year |\n|---|---|---|---|---|---|---|"
    )
    for name, rate in SCENARIOS.items():
        for noise in asked.noise:
            for anchored in (False, True):
                seeds = range(asked.years)
                years = [live_through(rate, noise, seed, anchored) for seed in seeds]
                end = np.mean([year.losses[-1] for year in years])
                worst = np.quantile([max(year.losses) for year in years], 0.95)
                nights = np.mean([year.promoted / (YEAR - 1) for year in years])
                reverts = np.mean([year.reverted for year in years])
                print(
                    f"| {name} | {noise:.0%} | {'yes' if anchored else 'no'} | {end:.1%} "
                    f"| {worst:.1%} | {nights:.0%} | {reverts:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
