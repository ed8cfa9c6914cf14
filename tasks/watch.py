"""The steps that watch the champion at work: its answers graded, itself taken back if need be."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, StateType

from tasks import drift, grade, publish, restore, settings, store, train
from tasks.announce import announce
from tasks.archive import past_reports, report_folder
from tasks.judge import Check
from tasks.metrics import title
from tasks.night import Cleaned, Examples, Night
from tasks.page import to_html
from tasks.restore import RollbackConfig, RollbackError
from tasks.spec import ModelSpec, load_spec
from tasks.steps import OUTSIDE

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("nightly")

SHOWN = 60
"""Graded days that a night looks back on."""


@dataclass(frozen=True)
class Live:
    """How the champion's answers did on days whose labels have come.

    Attributes:
        new: Days graded just now.
        days: The graded days looked back on, ascending, the new ones among them.
        champion: Version that was champion when they were graded.
        previous: Version before it.
        loss: How the champion did against it, where both answered the same days.
        reverted: What was done about it, in words.
        taken_back: Whether the predecessor is champion again.
    """

    new: tuple[dict[str, Any], ...] = ()
    days: tuple[dict[str, Any], ...] = ()
    champion: str | None = None
    previous: str | None = None
    loss: grade.Loss | None = None
    reverted: str | None = None
    taken_back: bool = False

    @property
    def worse(self) -> bool:
        """Whether the champion has to go back."""
        return self.loss is not None and self.loss.revert


@task(task_run_name="grade past predictions", **OUTSIDE)
def grade_predictions(night: Night, clean: Cleaned) -> Live:
    """Lay past answers beside what happened, for days whose labels are final and not yet graded."""
    from tasks import registry

    spec = load_spec(night.model)
    new = [
        grade_one(spec, night.days[day], record, clean.refs[day])
        for day, record in _ungraded(spec, night).items()
        if day in clean.refs
    ]
    for found in new:
        store.write_json(_folder(night.name) / f"{found['day']}.json", found)
        log.info("grade     %s", grade.to_text(found, *_metric(spec)))
    days = past_days(night.name, night.as_of)
    client = registry.open_registry()
    champion = registry.read_alias(client, night.name, registry.CHAMPION)
    previous = registry.read_alias(client, night.name, registry.PREVIOUS)
    both = [d for d in days if (d["version"], d["previous_version"]) == (champion, previous)]
    loss = grade.compare(both, spec.problem.primary, spec.problem.greater_is_better, spec.revert)
    return Live(tuple(new), tuple(days), champion, previous, loss)


def grade_one(
    spec: ModelSpec, fingerprint: str, record: Mapping[str, Any], happened: store.Ref
) -> dict[str, Any]:
    """One day's answers beside what happened on it.

    Args:
        spec: The model.
        fingerprint: Of that day's data.
        record: What was published about it.
        happened: Its clean rows.
    """
    import pandas as pd

    folder = publish.folder_of(spec.name)
    answered = {"champion": pd.read_parquet(folder / f"{record['as_of']}.parquet")}
    before, previous_version = folder / f"{record['as_of']}.previous.parquet", None
    if before.is_file() and _fits(spec, before):
        answered["previous"] = pd.read_parquet(before)
        previous_version = str(answered["previous"]["version"].iloc[0])
    found = grade.grade_day(spec.problem, answered, store.read_days([happened]), spec.slices)
    return {
        "day": record["day"],
        "version": record["version"],
        "candidate": record["candidate"],
        "previous_version": previous_version,
        "promised": record["promised"],
        "fingerprint": fingerprint,
        **found,
    }


@dataclass(frozen=True)
class Drifted:
    """How unlike the weeks before it the newest week is.

    Attributes:
        shifts: Every column, and the ``prediction`` that the app was shown, the largest first.
        rows: The newest day's rows beside those of its weekday before (``drift.count_rows``).
        check: What the verdict makes of it.
    """

    shifts: tuple[drift.Shift, ...]
    rows: dict[str, Any] | None
    check: Check


@task(task_run_name="compare the newest week", cache_policy=NO_CACHE)
def measure_drift(night: Night, clean: Cleaned, examples: Examples) -> Drifted:
    """Compare inputs, published predictions and row counts with those of earlier weeks."""
    import pandas as pd

    spec, split = load_spec(night.model), examples.split
    parts = [train.read_examples(examples.of(days)) for days in (split.train, split.holdout)]
    since = pd.Timestamp(night.as_of) - pd.Timedelta(weeks=drift.WEEKS)
    rows = pd.concat([part[part["day"] > since] for part in parts], ignore_index=True)
    inputs = spec.problem.inputs(rows).assign(day=rows["day"])
    found = [
        *drift.measure_drift(inputs, split.holdout[-1], spec.seed),
        *drift.measure_drift(_published(spec), night.as_of, spec.seed),
    ]
    shifts = sorted(found, key=lambda shift: -shift.psi)
    counted = drift.count_rows({day: ref.rows for day, ref in clean.refs.items()}, night.as_of)
    check = drift.check_drift(shifts, spec.drift_limit)
    far = [shift.column for shift in shifts if shift.alarming]
    log.info("drift     %s", f"far from usual: {', '.join(far)}" if far else check.detail)
    return Drifted(tuple(shifts), counted, check)


def _published(spec: ModelSpec) -> pd.DataFrame:
    """What the app was shown in the last weeks: ``day`` and ``prediction``; of each day a draw."""
    import pandas as pd
    from pyarrow import parquet

    column, folder = spec.problem.answer_column, publish.folder_of(spec.name)
    files = sorted(folder.glob("????-??-??.parquet"))[-7 * drift.WEEKS :]
    parts = []
    for file in files:
        if column in parquet.read_schema(file).names:  # else of a problem before this one
            rows = pd.read_parquet(file, columns=[column])
            drawn = rows.sample(min(len(rows), drift.ROWS), random_state=spec.seed)
            parts.append(drawn.assign(day=pd.Timestamp(file.stem)))
    shown = pd.concat(parts) if parts else pd.DataFrame({"day": [], column: []})
    return shown.rename(columns={column: "prediction"}).astype({"day": "datetime64[s]"})


@task(task_run_name="take the champion back", **OUTSIDE)
def revert_champion(night: Night, live: Live) -> Live:
    """Put the predecessor back, after proving that it loads and predicts; else the champion stays.

    The version that is taken back is never promoted again from the same code and data.
    """
    spec = load_spec(night.model)
    assert live.loss is not None
    why = (
        f"{live.loss.days} graded days: {title(spec.problem.primary)} {live.loss.relative:+.1%} "
        f"against version {live.previous} on the same rows, at {spec.revert.confidence:.1%} "
        "certainly worse"
    )
    config = RollbackConfig(model=night.name, to=int(live.previous or 0), why=why)
    target = str(config.to)
    try:
        restore.prove_version(config, target)
    except RollbackError as error:
        text = f"Version {live.champion} should go back ({why}), but: {error}"
        log.warning("revert    %s", text)
        announce(night.name, night.as_of, {"nightly.champion.not-reverted": text})
        return replace(live, reverted=text)
    restore.restore_champion(config, target)
    text = f"Version {live.champion} was taken back, version {target} is the champion again: {why}."
    log.warning("revert    %s", text)
    return replace(live, reverted=text, taken_back=True)


def past_days(model: str, until: date) -> list[dict[str, Any]]:
    """The newest graded days of a model, ascending."""
    files = sorted(_folder(model).glob("????-??-??.json"))
    known = [file for file in files if file.stem <= until.isoformat()]
    return [dict(store.read_json(file)) for file in known[-SHOWN:]]


def write_history(model: str, as_of: date) -> Path | None:
    """Draw the page of a model's last nights anew; None before its first report."""
    reports = past_reports(model, as_of)
    if not reports:
        return None
    place = report_folder(model, as_of).parent / "history.html"
    store.write_file(place, to_html(reports, past_days(model, as_of)).encode())
    return place


def lines(live: Live | None, spec: ModelSpec) -> list[str]:
    """What a person should know of the live days, a sentence each."""
    if live is None or not live.days:
        return []
    metric, name = _metric(spec)
    told = [
        (day["metrics"][metric], day["promised"])
        for day in live.days
        if metric in day["metrics"] and day["promised"]
    ]
    inside = sum(promised["low"] <= value <= promised["high"] for value, promised in told)
    said = [grade.to_text(live.days[-1], metric, name)]
    if len(told) > 1:
        said.append(f"inside the promise on {inside} of the last {len(told)} graded days")
    return said + ([live.reverted] if live.reverted else [])


def end_monitor(night: Night, live: Live) -> State:
    """Draw the page of nights anew; the flow's last state is ``REVERTED`` or ``GRADED``."""
    write_history(night.name, night.as_of)
    said = "; ".join(lines(live, load_spec(night.model))) or "No day with labels to grade yet."
    name = "REVERTED" if live.taken_back else "GRADED"
    return State(type=StateType.COMPLETED, name=name, message=said, data=json.loads(_dump(live)))


def _dump(live: Live) -> str:
    return json.dumps({"days": live.days, "reverted": live.reverted})


def _metric(spec: ModelSpec) -> tuple[str, str]:
    return spec.problem.primary, title(spec.problem.primary)


def _ungraded(spec: ModelSpec, night: Night) -> dict[date, dict[str, Any]]:
    """Published days whose labels are final and that no record tells of as they are now."""
    final = night.as_of - spec.label_delay
    found: dict[date, dict[str, Any]] = {}
    for file in sorted(publish.folder_of(night.name).glob("????-??-??.json"))[-SHOWN:]:
        record = store.read_json(file)
        day = date.fromisoformat(record["day"])
        graded = _folder(night.name) / f"{day}.json"
        done = store.read_json(graded) if graded.is_file() else {}
        same = (done.get("fingerprint"), done.get("version")) == (
            night.days.get(day),
            record["version"],
        )
        due = day <= final and day in night.days and not same
        if due and _fits(spec, file.with_suffix(".parquet")):
            found[day] = record
    return found


def _fits(spec: ModelSpec, answers: Path) -> bool:
    """Whether answers are of tonight's problem, and not of one before it."""
    from pyarrow import parquet

    needed = {*spec.problem.answer_keys, *spec.problem.score_columns}
    return needed <= set(parquet.read_schema(answers).names)


def _folder(model: str) -> Path:
    return settings.home() / "live" / model
