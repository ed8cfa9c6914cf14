"""The graded days of past predictions, kept as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import settings
from tasks.features.scoring import hide_after, night_after
from tasks.metrics.base import title
from tasks.monitoring import coverage, estimated_performance, live_performance, shadow_days
from tasks.predictions import publish
from tasks.store import frames
from tasks.store.files import read_json

if TYPE_CHECKING:
    import pandas as pd

    from tasks.spec.model_spec import ModelSpec


MOST_DAYS = 60
"""Most graded days that a report shows."""
MOST_ESTIMATED = 7
"""Most published days without labels whose performance is estimated."""


@dataclass(frozen=True)
class Line:
    """The champions since the anchor on graded days, compared with it on the same rows.

    Attributes:
        anchor: Version that is the anchor.
        versions: Versions whose predictions were graded, the newest last.
        loss: The comparison.
    """

    anchor: str
    versions: tuple[str, ...]
    loss: live_performance.Loss

    def __str__(self) -> str:
        first, last = self.versions[0], self.versions[-1]
        named = f"version {first}" if first == last else f"the line of versions {first} to {last}"
        if len(self.versions) > 2:
            named += f" ({len(self.versions)} champions)"
        return named


@dataclass(frozen=True)
class Live:
    """Live performance of the champion on days whose labels have arrived.

    Attributes:
        new: Days graded just now.
        days: The newest graded days, ascending, including the new ones.
        champion: Version that was champion when they were graded.
        previous: The previous champion.
        loss: The champion compared with it, where both predicted the same days.
        reverted: What was done about it, as a sentence.
        has_reverted: Whether an earlier version is champion again.
        line: The champions since the anchor compared with it, whichever versions they were.
    """

    new: tuple[dict[str, Any], ...] = ()
    days: tuple[dict[str, Any], ...] = ()
    champion: str | None = None
    previous: str | None = None
    loss: live_performance.Loss | None = None
    reverted: str | None = None
    has_reverted: bool = False
    line: Line | None = None

    @property
    def worse(self) -> bool:
        """Whether the champion must be reverted."""
        return any(found is not None and found.revert for found in (self.loss, self.line_loss))

    @property
    def line_loss(self) -> live_performance.Loss | None:
        """What the line of champions lost against the anchor."""
        return self.line.loss if self.line else None


def grade_one(
    spec: ModelSpec,
    fingerprint: str,
    record: Mapping[str, Any],
    happened: frames.Ref,
    as_of: date,
) -> dict[str, Any]:
    """The record of one graded day: its predictions compared with what happened.

    Labels that come after the night are missing; then the day is graded again on the next one.

    Args:
        spec: The model.
        fingerprint: Fingerprint of that day's data.
        record: The record of what was published for it.
        happened: Its clean rows.
        as_of: The night.
    """
    import pandas as pd

    folder = publish.folder_of(spec.name)
    answered = {"champion": pd.read_parquet(folder / f"{record['as_of']}.parquet")}
    before, previous_version = folder / f"{record['as_of']}.previous.parquet", None
    if before.is_file() and _fits(spec, before):
        answered["previous"] = pd.read_parquet(before)
        previous_version = str(answered["previous"]["version"].iloc[0])
    fixed, anchor_version = folder / f"{record['as_of']}.anchor.parquet", None
    if fixed.is_file() and _fits(spec, fixed):
        answered["anchor"] = pd.read_parquet(fixed)
        anchor_version = str(answered["anchor"]["version"].iloc[0])
    dark, beside = shadow_days.file_of(spec.name, record["as_of"]), dict[str, str]()
    if dark.is_file() and _fits(spec, dark):
        answered["shadow"] = pd.read_parquet(dark)
        version = str(answered["shadow"]["version"].iloc[0])
        beside = {"shadow_version": version, "as_of": record["as_of"]}
    if anchor_version:
        beside["anchor_version"] = anchor_version
    if record.get("code"):  # those of an earlier Nightly have none
        beside["code"] = record["code"]
    rows = frames.read_days([happened])
    known = hide_after(spec, rows, night_after(spec, pd.Timestamp(as_of)))
    target = spec.problem.target_column
    waits = target is not None and known[target].isna().sum() > rows[target].isna().sum()
    found = live_performance.grade_day(spec.problem, answered, known, spec.slices)
    return {
        "day": record["day"],
        "version": record["version"],
        "candidate": record["candidate"],
        "previous_version": previous_version,
        "promised": record["promised"],
        "fingerprint": None if waits else fingerprint,
        "estimated": _estimate(spec, answered["champion"]),
        **beside,
        **found,
    }


def compare_with_anchor(
    spec: ModelSpec,
    line: Sequence[Mapping[str, Any]],
    anchor: str,
    made: tuple[str, str] | None = None,
) -> Line | None:
    """A line of champions beside the anchor; None where no day has predictions of both.

    Args:
        spec: The model.
        line: Its graded days, from ``line_of``.
        anchor: Version that is the anchor.
        made: Candidate and code that made it, where they are known.
    """
    metric, greater = spec.problem.primary, spec.problem.greater_is_better
    loss = live_performance.compare_line(line, metric, greater, spec.revert, made)
    if loss is None:
        return None
    versions = dict.fromkeys(str(day["version"]) for day in line[-loss.days :])
    return Line(anchor, tuple(versions), loss)


def past_days(model: str, until: date, count: int = MOST_DAYS) -> list[dict[str, Any]]:
    """The newest graded days of a model, ascending.

    Args:
        model: Name of the model.
        until: The last day.
        count: How many at most.
    """
    files = sorted(live_folder(model).glob("????-??-??.json"))
    known = [file for file in files if file.stem <= until.isoformat()]
    return [dict(read_json(file)) for file in known[-count:]]


def lines(live: Live | None, spec: ModelSpec) -> list[str]:
    """The live performance in sentences."""
    if live is None or not live.days:
        return []
    metric, name = metric_shown(spec)
    told = [
        (day["metrics"][metric], day["promised"])
        for day in live.days
        if metric in day["metrics"] and day["promised"]
    ]
    inside = sum(promised["low"] <= value <= promised["high"] for value, promised in told)
    said = [live_performance.to_text(live.days[-1], metric, name)]
    if len(told) > 1:
        said.append(
            f"inside the prediction interval on {inside} of the last {len(told)} graded days"
        )
    held = coverage.live_coverage(live.days)
    return said + ([str(held)] if held else []) + ([live.reverted] if live.reverted else [])


def estimated_days(spec: ModelSpec) -> list[dict[str, Any]]:
    """The newest published days that are not graded yet, each with the metric it should have.

    Days whose metric cannot be estimated are left out.
    """
    import pandas as pd

    found = []
    for file in sorted(publish.folder_of(spec.name).glob("????-??-??.json"))[-MOST_ESTIMATED:]:
        record, answers = publish.read_record(file), file.with_suffix(".parquet")
        graded = live_folder(spec.name) / f"{record['day']}.json"
        if graded.is_file() or not answers.is_file() or not _fits(spec, answers):
            continue
        if estimated := _estimate(spec, pd.read_parquet(answers)):
            known = {name: record.get(name) for name in ("day", "version", "promised")}
            found.append({**known, **estimated})
    return found


def estimated_lines(
    estimated: Sequence[Mapping[str, Any]], graded: Sequence[Mapping[str, Any]], spec: ModelSpec
) -> list[str]:
    """The estimates in sentences, and how far those of graded days were off.

    Args:
        estimated: From ``estimated_days``.
        graded: From ``past_days``.
        spec: The model.
    """
    metric, name = metric_shown(spec)
    if not estimated_performance.can_estimate(spec.problem):
        return [
            f"before labels come, {name} is not estimated: that needs the probabilities of two "
            "classes and a built-in metric"
        ]
    said = [
        f"{day['day']}: {name} ESTIMATED at {day['value']:.3f} ({day['low']:.3f} to "
        f"{day['high']:.3f}) from the probabilities alone; no labels yet"
        for day in estimated
    ]
    both = [
        (day["estimated"]["value"], day["metrics"][metric])
        for day in graded
        if day.get("estimated") and metric in day["metrics"]
    ]
    if said and both:
        off = sum(abs(one - other) for one, other in both) / len(both)
        said.append(
            f"such estimates were off by {off:.3f} on average, over {len(both)} graded days"
        )
    return said


def _estimate(spec: ModelSpec, answers: pd.DataFrame) -> dict[str, float] | None:
    if not estimated_performance.can_estimate(spec.problem):
        return None
    score = answers[spec.problem.score_columns[0]].to_numpy(dtype="float64")
    return estimated_performance.estimate(spec.problem, score, spec.seed)


def metric_shown(spec: ModelSpec) -> tuple[str, str]:
    return spec.problem.primary, title(spec.problem.primary)


def ungraded(spec: ModelSpec, as_of: date, days: Mapping[date, str]) -> dict[date, dict[str, Any]]:
    """Published days whose labels are final and that are not graded with their current data.

    Of the newest such days, however long ago: as long as ``label_delay`` and more.
    """
    if spec.partition is not None:  # several models made them
        return {}
    final = as_of - spec.label_delay
    found: dict[date, dict[str, Any]] = {}
    published = sorted(publish.folder_of(spec.name).glob("????-??-??.json"))
    known = [file for file in published if date.fromisoformat(file.stem) < final]
    for file in known[-MOST_DAYS:]:
        record = publish.read_record(file)
        day = date.fromisoformat(record["day"])
        graded = live_folder(spec.name) / f"{day}.json"
        done = read_json(graded) if graded.is_file() else {}
        same = (done.get("fingerprint"), done.get("version")) == (
            days.get(day),
            record["version"],
        )
        due = day <= final and day in days and not same
        if due and _fits(spec, file.with_suffix(".parquet")):
            found[day] = record
    return found


def _fits(spec: ModelSpec, answers: Path) -> bool:
    """Whether predictions have the columns of tonight's problem, not of an earlier one."""
    from pyarrow import parquet

    needed = {*spec.problem.answer_keys, *spec.problem.score_columns}
    return needed <= set(parquet.read_schema(answers).names)


def live_folder(model: str) -> Path:
    return settings.home() / "live" / model
