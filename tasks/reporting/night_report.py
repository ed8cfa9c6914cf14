"""The report of a night, section by section, from what its steps found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, cast

from tasks.metrics.base import title
from tasks.monitoring import live_days
from tasks.monitoring.coverage import live_coverage
from tasks.predictions import publish
from tasks.promotion.anchor import ANCHOR, YEARLY, gains_of
from tasks.promotion.checks import Status
from tasks.promotion.contests import Contests, proofs
from tasks.promotion.verdict import BASELINE, CHAMPION
from tasks.shown import all_shown
from tasks.spec.fingerprint import digest

if TYPE_CHECKING:
    from tasks.features.split import Split
    from tasks.monitoring.drift import Drifted
    from tasks.monitoring.live_days import Live
    from tasks.predictions.publish import Predictions
    from tasks.promotion.checks import Verdict
    from tasks.promotion.left_out import LeftOut
    from tasks.promotion.shadow import Shadow
    from tasks.registry.anchors import Anchor
    from tasks.registry.versions import Champion
    from tasks.reporting.report_schema import (
        AnchorPart,
        CandidatePart,
        ChallengerPart,
        ChampionPart,
        Days,
        DriftPart,
        Estimates,
        FleetPart,
        LeftOutPart,
        Report,
        Rows,
        ShadowPart,
        SplitPart,
        WaitingPart,
    )
    from tasks.spec.model_spec import ModelSpec
    from tasks.training.fit import Fit


WAITS = (Status.WAITING, Status.SHADOW)
"""Verdicts that let a version wait."""
SHIFTS = 100
"""Most columns whose drift is kept, those that drifted most."""


@dataclass(frozen=True)
class DataFacts:
    """The days a night saw.

    Attributes:
        listed: Days of the source.
        new: Days cleaned tonight.
        rejected: Bad days.
        rows: ``rows_in``, ``accepted``, ``quarantined`` and ``duplicates`` over all days; empty
            where no row could be read.
    """

    listed: int
    new: int
    rejected: int
    rows: Mapping[str, int]


@dataclass(frozen=True)
class JudgedFacts:
    """Results of fitting, comparison and registration.

    Attributes:
        challenger: Name of tonight's best candidate.
        fits: Every candidate that could be fitted and scored.
        split: Days to train on and days held out.
        figures: ``Evaluation`` as JSON; None where nothing could be compared.
        prediction_interval: Prediction interval of the primary metric on a live day.
        run: Its MLflow run, if any.
        version: The version that was registered, if any.
        contests: ``Contests`` as JSON, after tonight; None where there are none.
        shadow: The version in its shadow nights, if any.
        left_out: Recipes that were not fitted.
    """

    challenger: str
    fits: Mapping[str, Fit]
    split: Split
    figures: Mapping[str, Any] | None = None
    prediction_interval: dict[str, float] | None = None
    run: str | None = None
    version: str | None = None
    contests: dict[str, Any] | None = None
    shadow: Shadow | None = None
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)


@dataclass(frozen=True)
class NightFacts:
    """Everything a report shows; None for steps that the night did not reach.

    Attributes:
        spec: The model.
        as_of: As-of date.
        verdict: What was decided.
        late: Whether the night replaces earlier ones that were missed.
        data: Its days.
        judged: Results of fitting and comparison.
        champion: The champion before the night.
        anchors: Name among the scorers to an anchor that challengers are held against as well.
        live: How past predictions did.
        estimated: How those without labels should do (``live_days.estimated_days``).
        drifted: Drift of the newest week.
        delivered: The published predictions.
        revised: Days that changed since an earlier night (``archive.revised_days``).
        seconds: Step to seconds, ``total`` included.
        links: Name to address or path.
        share: The model's share of the error that a fleet's models share (``Gate.within``).
        fleet: What became of the partitions of a fleet.
        named: How the model was named, as on the command line; None where that is its name.
    """

    spec: ModelSpec
    as_of: date
    verdict: Verdict
    late: bool = False
    data: DataFacts | None = None
    judged: JudgedFacts | None = None
    champion: Champion | None = None
    anchors: Mapping[str, Anchor] = field(default_factory=dict)
    live: Live | None = None
    estimated: Sequence[Mapping[str, Any]] = ()
    drifted: Drifted | None = None
    delivered: Predictions | None = None
    revised: dict[str, Any] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    share: float = 1.0
    fleet: FleetPart | None = None
    named: str | None = None


def build_report(night: NightFacts) -> Report:
    """The report of a night, as plain JSON types; every text in it is fit to be shown."""
    problem, judged, live = night.spec.problem, night.judged, night.live
    found = {
        "model": night.spec.name,
        "named": night.named or night.spec.name,
        "question": night.spec.question,
        "as_of": night.as_of.isoformat(),
        "verdict": night.verdict.status,
        "reasons": reasons(night.verdict, night.late),
        "checks": [asdict(check) for check in night.verdict.checks],
        "metric": problem.primary,
        "greater_is_better": problem.greater_is_better,
        "titles": {name: title(name) for name in problem.metric_names},
        "challenger": challenger(night),
        "champion": champion(night),
        "anchor": anchor(night, ANCHOR),
        "yearly_anchor": anchor(night, YEARLY),
        "waiting": waiting(night),
        "shadow": shadow(night),
        "candidates": candidates(judged),
        "left_out": left_out(judged),
        "metrics": comparison(judged),
        "looks": looks(
            judged, night.champion, night.spec.gate.within(night.share).recipe_confidence
        ),
        "contests": judged.contests if judged else None,
        "rows": rows(night.data),
        "days": days(night.data),
        "revised": night.revised,
        "split": split(judged),
        "promised": judged.prediction_interval if judged else None,
        "live": list(live.new) if live else [],
        "live_lines": live_days.lines(live, night.spec),
        "coverage": coverage(live),
        "estimated": [dict(day) for day in night.estimated],
        "estimated_lines": estimates(night),
        "reverted": live.reverted if live else None,
        "has_reverted": bool(live and live.has_reverted),
        "drift": drift(night.drifted),
        "predictions": publish.to_json(night.delivered) if night.delivered else None,
        "seconds": night.seconds,
        "links": night.links,
        "fleet": night.fleet,
    }
    return cast("Report", all_shown(found))


def reasons(verdict: Verdict, late: bool) -> list[str]:
    """Why the night ended so, and that a late night stands for those that were missed."""
    missed = "Earlier nights were missed: this night uses every day since the last one."
    return [*verdict.reasons, *([missed] if late else [])]


def rows(data: DataFacts | None) -> Rows:
    """Rows of all days."""
    counts = data.rows if data else {}
    return {
        "in": counts.get("rows_in", 0),
        "accepted": counts.get("accepted", 0),
        "quarantined": counts.get("quarantined", 0),
        "duplicates": counts.get("duplicates", 0),
    }


def days(data: DataFacts | None) -> Days:
    """Days of the source: cleaned tonight, reused, and bad ones."""
    if data is None:
        return {"new": 0, "reused": 0, "rejected": 0}
    return {"new": data.new, "reused": data.listed - data.new, "rejected": data.rejected}


def split(judged: JudgedFacts | None) -> SplitPart | None:
    """Days to train on and days held out."""
    if judged is None:
        return None
    return {
        "train_days": len(judged.split.train),
        "train_rows": judged.fits[judged.challenger].rows,
        "holdout_days": len(judged.split.holdout),
        "holdout_from": judged.split.holdout[0].isoformat(),
    }


def challenger(night: NightFacts) -> ChallengerPart:
    """The challenger, and its registered version."""
    judged = night.judged
    if judged is None:
        return {"version": None, "run_id": None, "candidate": None}
    version = None if _of_shadow(night) else judged.version
    return {"version": version, "run_id": judged.run, "candidate": judged.challenger}


def champion(night: NightFacts) -> ChampionPart:
    """The champion after the night."""
    before, judged = night.champion, night.judged
    if judged and judged.version and night.verdict.status is Status.PROMOTED:
        if dark := _of_shadow(night):
            since = dark.since.isoformat()
            return {"version": dark.version, "candidate": dark.candidate, "since": since}
        since = night.as_of.isoformat()
        return {"version": judged.version, "candidate": judged.challenger, "since": since}
    if before is None:
        return {"version": None, "candidate": None, "since": None}
    since = before.as_of.isoformat()
    return {"version": before.version, "candidate": before.candidate, "since": since}


def anchor(night: NightFacts, name: str) -> AnchorPart | None:
    """An anchor before the night, and what every candidate gained over it.

    Args:
        night: The night.
        name: Of the anchor among the scorers.
    """
    if name not in night.anchors or night.judged is None:
        return None
    found, champion = night.anchors[name], night.champion
    same = champion is not None and found.version == champion.version
    return {
        "version": found.version,
        "since": found.since.isoformat(),
        "digest": digest(night.spec),
        "gains": gains_of(night.judged.figures, CHAMPION if same else name),
    }


def waiting(night: NightFacts) -> WaitingPart | None:
    """The version that waits, and the champion it was judged against."""
    judged, before = night.judged, night.champion
    if not judged or not judged.version or night.verdict.status not in WAITS:
        return None
    against = before.version if before else None
    return {"version": judged.version, "against": against, "decision": None}


def shadow(night: NightFacts) -> ShadowPart | None:
    """The version that goes on predicting beside the champion, where its labels decide."""
    found = night.judged.shadow if night.judged else None
    if found is None or found.ended:
        return None
    return {
        "version": found.version,
        "against": found.against,
        "since": found.since.isoformat(),
        "night": found.night,
        "nights": found.nights,
        "graded": found.graded,
    }


def _of_shadow(night: NightFacts) -> Shadow | None:
    """The version of an earlier night that this verdict is about, where that was in the shadow."""
    judged = night.judged
    found = judged.shadow if judged else None
    about = judged and found and found.version == judged.version and found.since < night.as_of
    return found if about else None


def candidates(judged: JudgedFacts | None) -> dict[str, CandidatePart]:
    """Every candidate that could be measured: its metrics, and what its fit cost."""
    if judged is None or judged.figures is None:
        return {}
    measured = judged.figures["metrics"]
    return {
        name: {"metrics": measured[name], "seconds": fit.seconds, "rows": fit.rows}
        for name, fit in judged.fits.items()
        if name in measured
    }


def left_out(judged: JudgedFacts | None) -> dict[str, LeftOutPart]:
    """Every recipe that was not fitted: its evidence, and when it is fitted at the latest."""
    return {
        name: {
            "days": found.proof.days,
            "e_value": found.proof.e_value,
            "needed": found.proof.needed,
            "due": found.due.isoformat(),
        }
        for name, found in (judged.left_out if judged else {}).items()
    }


def comparison(judged: JudgedFacts | None) -> dict[str, Estimates]:
    """Metrics of challenger, champion and baseline on the same unseen days."""
    if judged is None or judged.figures is None:
        return {}
    measured = judged.figures["metrics"]
    roles = {"challenger": judged.challenger, CHAMPION: CHAMPION, BASELINE: BASELINE}
    return {role: measured[name] for role, name in roles.items() if name in measured}


def looks(judged: JudgedFacts | None, before: Champion | None, confidence: float) -> dict[str, Any]:
    """Every other recipe: its gain over the champion's, both fitted tonight, and its evidence."""
    if judged is None or judged.figures is None or before is None:
        return {}
    recipe, differences = before.candidate, judged.figures["differences"]
    contests = Contests.from_json(judged.contests) if judged.contests else None
    proven = {name: asdict(found) for name, found in proofs(contests, recipe, confidence).items()}
    return {
        name: {**differences[name][recipe], **proven.get(name, {})}
        for name in judged.fits
        if recipe in differences.get(name, {})
    }


def estimates(night: NightFacts) -> list[str]:
    """How predictions without labels should do, in sentences; none where nothing is predicted."""
    if not night.delivered:
        return []
    graded = night.live.days if night.live else ()
    return live_days.estimated_lines(night.estimated, graded, night.spec)


def coverage(live: Live | None) -> dict[str, Any] | None:
    """What share of labels the prediction intervals of live days held."""
    found = live_coverage(live.days) if live else None
    return asdict(found) | {"told": str(found)} if found else None


def drift(drifted: Drifted | None) -> DriftPart | None:
    """The newest week beside those before it."""
    if drifted is None:
        return None
    most = drifted.shifts[:SHIFTS]
    shifts = [asdict(shift) | {"alarming": shift.alarming} for shift in most]
    return {"rows": drifted.rows, "shifts": shifts, "columns": len(drifted.shifts)}
