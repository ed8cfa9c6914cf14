"""The report of a night: its keys, as ``report.json`` keeps them."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

Estimates = dict[str, dict[str, float]]
"""Metric to ``value``, ``low`` and ``high``."""
Rows = TypedDict("Rows", {"in": int, "accepted": int, "quarantined": int, "duplicates": int})
"""Rows of all days: in = accepted + quarantined + duplicates."""


class Days(TypedDict):
    """Days of the source: cleaned tonight, reused, and bad ones."""

    new: int
    reused: int
    rejected: int


class ChallengerPart(TypedDict):
    """The challenger, and its registered version."""

    version: str | None
    run_id: str | None
    candidate: str | None


class ChampionPart(TypedDict):
    """The champion after the night."""

    version: str | None
    candidate: str | None
    since: str | None


class DecisionPart(TypedDict):
    """How a version's wait for a person ended."""

    outcome: str
    by: str
    why: str
    on: str


class WaitingPart(TypedDict):
    """A version that waits, for a person or in the shadow, and what was decided since."""

    version: str
    against: str | None
    decision: DecisionPart | None


class ShadowPart(TypedDict):
    """The version in its shadow nights: how many of them it has done, and how many are graded."""

    version: str
    against: str | None
    since: str
    night: int
    nights: int
    graded: int


class CandidatePart(TypedDict):
    """One candidate that could be fitted and measured."""

    metrics: Estimates
    seconds: float
    rows: int


class LeftOutPart(TypedDict):
    """A recipe that was not fitted: its evidence, and the night that fits it at the latest."""

    days: int
    e_value: float
    needed: float
    due: str


class SplitPart(TypedDict):
    """Days to train on and days held out."""

    train_days: int
    train_rows: int
    holdout_days: int
    holdout_from: str


class AnchorPart(TypedDict):
    """A fixed version that challengers are held against, and every candidate's gain over it."""

    version: str
    since: str
    digest: str
    gains: dict[str, float]


class DriftPart(TypedDict):
    """The newest week beside those before it: the columns that drifted most, of how many."""

    rows: dict[str, Any] | None
    shifts: list[dict[str, Any]]
    columns: NotRequired[int]


class PartitionRow(TypedDict):
    """How one partition of a fleet ended its night.

    ``status`` is a verdict, ``FALLBACK`` where the common model serves it, or ``FAILED``; ``gain``
    is the challenger's relative gain over the baseline.
    """

    value: str
    model: str
    status: str
    why: str
    champion: str | None
    since: str | None
    candidate: str | None
    metric: dict[str, float] | None
    gain: float | None
    rows: int


class FleetPart(TypedDict):
    """The partitions of a fleet, after a night.

    ``counts`` has each status; ``worst`` are the ten that most need a person, the first one first;
    ``gone`` have had no row for a whole holdout; ``lost`` is how many rows name no partition.
    """

    column: str
    counts: dict[str, int]
    worst: list[PartitionRow]
    new: list[str]
    gone: list[str]
    lost: int
    page: str
    budget: str


class Report(TypedDict):
    """One night in plain JSON types; reports of older versions lack some of the keys."""

    model: str
    named: NotRequired[str]
    question: str
    as_of: str
    verdict: str
    reasons: list[str]
    checks: list[dict[str, Any]]
    metric: str
    greater_is_better: bool
    titles: dict[str, str]
    challenger: ChallengerPart
    champion: ChampionPart
    anchor: AnchorPart | None
    yearly_anchor: AnchorPart | None
    waiting: WaitingPart | None
    shadow: NotRequired[ShadowPart | None]
    candidates: dict[str, CandidatePart]
    left_out: NotRequired[dict[str, LeftOutPart]]
    metrics: dict[str, Estimates]
    looks: dict[str, Any]
    contests: dict[str, Any] | None
    rows: Rows
    days: Days
    revised: dict[str, Any] | None
    split: SplitPart | None
    promised: dict[str, float] | None
    live: list[dict[str, Any]]
    live_lines: list[str]
    coverage: NotRequired[dict[str, Any] | None]
    estimated: list[dict[str, Any]]
    estimated_lines: list[str]
    reverted: str | None
    has_reverted: NotRequired[bool]
    drift: DriftPart | None
    predictions: dict[str, Any] | None
    seconds: dict[str, float]
    links: dict[str, str]
    fleet: NotRequired[FleetPart | None]
