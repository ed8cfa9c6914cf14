"""Nights in a row that promote, keep and revert, decided by the functions that a night uses.

A version has the number of its night. Of each version two figures a day are given: of the twin that
the gate judges on the 14 days of the holdout, and of the version itself, which the app asks on the
day after. Figures are means of daily values here, so that a year costs seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.evaluation.bootstrap import day_counts, interval
from tasks.evaluation.estimates import Difference, Estimate, Evaluation
from tasks.evaluation.prediction_interval import prediction_interval
from tasks.metrics.base import range_of
from tasks.monitoring import champion_line, live_performance
from tasks.promotion.anchor import (
    ANCHOR,
    NIGHTS,
    YEARLY,
    AnchorFacts,
    check_anchor,
    gains_of,
    margin_left,
    past_gains,
)
from tasks.promotion.checks import Status
from tasks.promotion.gate import judge
from tasks.promotion.holds import held_candidates, length_of_hold
from tasks.registry.anchors import Anchor
from tasks.registry.holds import Hold
from tasks.spec import Gate, Revert

FIRST, HOLDOUT, LIVE_DAYS = date(2026, 1, 1), 14, 60
RECIPE, METRIC = "recipe", "average_precision"
GATE, REVERT = Gate(resamples=200), Revert()
COUNTS = day_counts(HOLDOUT, GATE.resamples, 0)
Daily = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """What versions do on days: one row a version, one column a day.

    The holdout of night n are the days n to n + 13, its live day is n + 14.

    Attributes:
        held_out: Figures of the twins, which the gate sees.
        live: Figures of the versions as the app asks them.
        edits: Nights from which on the code is another.
    """

    held_out: Daily
    live: Daily
    edits: tuple[int, ...] = ()

    def code(self, version: int) -> str:
        """The code that a version was made by."""
        return str(sum(version >= night for night in self.edits))


@dataclass
class Nights:
    """What nights in a row came to.

    Attributes:
        champions: The champion after each night.
        promoted: Nights that promoted.
        reverts: Nights on which a champion was reverted, each with the version.
        inside: Live days inside the champion's prediction interval, and days with one.
    """

    champions: list[int] = field(default_factory=list)
    promoted: list[int] = field(default_factory=list)
    reverts: dict[int, int] = field(default_factory=dict)
    inside: list[bool] = field(default_factory=list)


def live_through(figures: Figures, nights: int, *, anchored: bool = True) -> Nights:
    """Nights 1 to ``nights`` after the first version, which is promoted on night 0.

    Args:
        figures: What the versions do.
        nights: How many.
        anchored: Whether there is an anchor.
    """
    found, champion, previous = Nights([0]), 0, str(None)
    anchor: Anchor | None = None
    yearly: Anchor | None = None
    holds: list[Hold] = []
    promised = {0: _interval(figures.held_out[0, :HOLDOUT])}
    reports: list[dict[str, Any]] = []
    graded: list[dict[str, Any]] = []
    withdrawn: set[str] = set()
    for night in range(1, nights + 1):
        as_of = FIRST + timedelta(days=night)
        line: Sequence[Mapping[str, Any]] = []
        if anchored:
            anchor, yearly, line = champion_line.follow(
                anchor,
                yearly,
                str(champion),
                as_of,
                graded=graded,
                reports=reports,
                withdrawn=withdrawn,
                exists=lambda _: True,
                metric=METRIC,
                greater=True,
                policy=REVERT,
            )
        both = [
            day
            for day in graded
            if (day["version"], day["previous_version"]) == (str(champion), previous)
        ]
        made = (RECIPE, figures.code(int(anchor.version))) if anchor else None
        lost = live_performance.compare_line(line, METRIC, True, REVERT, made)
        pair = live_performance.compare(both, METRIC, True, REVERT)
        to = anchor.version if anchor and lost and lost.revert else None
        to = to or (previous if pair and pair.revert else None)
        if to is not None:
            withdrawn.add(str(champion))
            found.reverts[night] = champion
            code = figures.code(champion)
            hold = length_of_hold(REVERT.hold, holds, str(champion), RECIPE, code)
            holds.append(Hold(str(champion), RECIPE, code, as_of + hold, "worse"))
            champion, previous = int(to), str(None)
            anchor = anchor and replace(anchor, since=as_of)
        fixed = {ANCHOR: anchor} if anchor else {}
        if anchor and yearly and yearly.version != anchor.version:
            fixed[YEARLY] = yearly
        days = slice(night, night + HOLDOUT)
        scores = {
            "new": figures.held_out[night, days],
            "champion": figures.held_out[champion, days],
        }
        scores["baseline"] = scores["champion"] / 4
        for name, one in fixed.items():
            if one.version != str(champion):
                scores[name] = figures.held_out[int(one.version), days]
        measured = evaluation(scores)
        code = figures.code(night)
        passed = promotes(measured, fixed, champion, reports, code)
        reports = [*reports, to_report(measured, fixed, champion, code)][-NIGHTS:]
        if passed and not held_candidates("", holds, [RECIPE], code, as_of):
            champion, previous = night, str(champion)
            promised[night] = _interval(scores["new"])
            found.promoted.append(night)
        graded = [*graded, live_day(night, champion, previous, anchor, figures, promised)]
        graded = graded[-LIVE_DAYS:]
        found.champions.append(champion)
        low, high = (graded[-1]["promised"][end] for end in ("low", "high"))
        found.inside.append(bool(low <= graded[-1]["metrics"][METRIC] <= high))
    return found


def evaluation(scores: Mapping[str, Daily]) -> Evaluation:
    """The scorers on the same holdout, as ``evaluate`` gives it for a mean of daily figures."""
    samples = {name: COUNTS @ score / HOLDOUT for name, score in scores.items()}

    def difference(mine: Daily, theirs: Daily) -> Difference:
        gain = mine - theirs
        share = interval(gain / np.abs(theirs), HOLDOUT, GATE.confidence)
        return Difference(interval(gain, HOLDOUT, GATE.confidence), share)

    level = {name: Estimate(*(float(sample[0]),) * 3) for name, sample in samples.items()}
    pairs = [(one, other) for one in ("new", "champion") for other in scores]
    told: dict[str, dict[str, Difference]] = {}
    for one, other in pairs:
        if one != other:
            told.setdefault(one, {})[other] = difference(samples[one], samples[other])
    return Evaluation(
        METRIC,
        greater_is_better=True,
        confidence=GATE.confidence,
        days=HOLDOUT,
        units=10_000,
        unit="rows",
        first_day="",
        last_day="",
        metrics={name: {METRIC: value} for name, value in level.items()},
        differences=told,
        unusable={},
    )


def live_day(
    night: int,
    champion: int,
    previous: str,
    anchor: Anchor | None,
    figures: Figures,
    promised: Mapping[int, Mapping[str, float]],
) -> dict[str, Any]:
    """The graded day after a night."""
    day = HOLDOUT + night
    found: dict[str, Any] = {
        "day": str(FIRST + timedelta(days=night + 1)),
        "version": str(champion),
        "candidate": RECIPE,
        "code": figures.code(champion),
        "metrics": {METRIC: float(figures.live[champion, day])},
        "promised": promised[champion],
        "previous_version": previous,
        "previous": {},
    }
    if previous.isdigit():
        found["previous"] = {METRIC: float(figures.live[int(previous), day])}
    if anchor and anchor.version != str(champion):
        theirs = {METRIC: float(figures.live[int(anchor.version), day])}
        found |= {"anchor_version": anchor.version, "anchor": theirs}
    return found


def promotes(
    found: Evaluation,
    anchors: Mapping[str, Anchor],
    champion: int,
    reports: Sequence[Any],
    code: str,
) -> bool:
    """The verdict on a refit of the champion's recipe."""
    checked = []
    for name, anchor in anchors.items():
        past = past_gains(reports, anchor.version, code)
        margin = margin_left(GATE.anchor_tolerance, anchor)
        scorer = "champion" if anchor.version == str(champion) else name
        facts = AnchorFacts(anchor.version, margin, scorer, yearly=name == YEARLY, past=past)
        checked.append(check_anchor(found, "new", facts))
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


def to_report(
    found: Evaluation, anchors: Mapping[str, Anchor], champion: int, code: str
) -> dict[str, Any]:
    """What later nights read of a report.

    Args:
        found: The night's evaluation.
        anchors: Name among the scorers to the anchor.
        champion: The champion before the night.
        code: Digest of the night's code.
    """
    told, figures = dict[str, Any](), found.to_json()
    for part, name in (("anchor", ANCHOR), ("yearly_anchor", YEARLY)):
        if name in anchors:
            version = anchors[name].version
            gains = gains_of(figures, "champion" if version == str(champion) else name)
            told[part] = {"version": version, "digest": code, "gains": gains}
    return told


def _interval(daily: Daily) -> dict[str, float]:
    return prediction_interval(daily.tolist(), GATE.confidence, range_of(METRIC))
