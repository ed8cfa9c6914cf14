"""The result of a check, and its text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from tasks.metrics.base import title
from tasks.promotion.checks import Status
from tasks.shown import block

if TYPE_CHECKING:
    pass


OUTCOMES = {
    "READY": ("a night would run", 0),
    Status.HELD: (
        "a night would be HELD, because there is no fresh data",
        Status.HELD.exit_code,
    ),
    Status.REJECTED: (
        "a night would be REJECTED, because the data break the contract",
        Status.REJECTED.exit_code,
    ),
    "FAULTY": ("a night would fail; correct what is listed below", 2),
}
"""What a night would do, and the exit code of the check."""


@dataclass(frozen=True)
class Trial:
    """The result of one candidate.

    Attributes:
        candidate: Name of the candidate in the spec.
        rows: Rows it was fitted on.
        seconds: Seconds the fit took.
        metric: Primary metric on a few later rows; NaN where they leave it undefined.
        fault: What is wrong with it, as a sentence; empty where it can be used.
    """

    candidate: str
    rows: int = 0
    seconds: float = 0.0
    metric: float = float("nan")
    fault: str = ""


@dataclass(frozen=True)
class Part:
    """What one step of the check found.

    Attributes:
        label: What was checked, one word.
        lines: What was found.
        faults: What must be corrected in the spec or its functions.
        rejected: Why a night would be REJECTED.
        held: Why a night would be HELD.
        notes: What a person should look at; does not stop a night.
    """

    label: str = ""
    lines: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    rejected: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checkup:
    """The result of the whole check.

    Attributes:
        model: Name of the spec.
        question: Its question.
        as_of: The date the night would have; None where the source has no day.
        parts: What each step found, in the order of the night.
        trials: Each candidate on a few rows.
        metric: Name of the primary metric.
        seconds: Seconds the check took.
    """

    model: str
    question: str
    as_of: date | None
    parts: tuple[Part, ...]
    trials: tuple[Trial, ...] = ()
    metric: str = ""
    seconds: float = 0.0

    def all(self, kind: str) -> list[str]:
        """Every ``faults``, ``rejected``, ``held`` or ``notes`` of the parts."""
        return [text for part in self.parts for text in getattr(part, kind)]

    @property
    def outcome(self) -> str:
        """What a night would do."""
        if self.all("faults"):
            return "FAULTY"
        if self.all("rejected"):
            return Status.REJECTED
        return Status.HELD if self.all("held") else "READY"


def to_text(found: Checkup) -> str:
    """One screen of plain text, 100 columns at most."""
    words, _ = OUTCOMES[found.outcome]
    lines = [f"{found.model} · {found.as_of or 'no day'} · CHECK: {words}", found.question, ""]
    for label, kind in (
        ("Repair", "faults"),
        ("Rejected", "rejected"),
        ("Held", "held"),
        ("Look at", "notes"),
    ):
        lines += block(label, [f"- {text}" for text in found.all(kind)])
    if lines[-1]:
        lines.append("")
    shown = False
    for part in found.parts:
        if part.label == "Candidates" and found.trials:
            lines += ["", *_trial_lines(found), ""]
            shown = True
        lines += block(part.label, part.lines)
    if found.trials and not shown:
        lines += ["", *_trial_lines(found)]
    lines += ["", f"Checked in {found.seconds:.1f} s. Nothing was written."]
    return "\n".join(line.rstrip() for line in lines)


def _trial_lines(found: Checkup) -> list[str]:

    rows = [("  Candidate", "Fit", title(found.metric), "")]
    for trial in found.trials:
        measured = "-" if trial.metric != trial.metric else f"{trial.metric:.3f}"
        state = "cannot be used" if trial.fault else ("predicts the same once stored and loaded")
        fit = f"{trial.seconds:.2f} s on {trial.rows:,} rows"
        rows.append((f"  {trial.candidate}", fit, measured, state))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return [
        "   ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    ]


def to_json(found: Checkup) -> dict[str, Any]:
    """Plain JSON types; what could not be measured is null."""
    trials = [asdict(trial) for trial in found.trials]
    for trial in trials:
        trial["metric"] = None if trial["metric"] != trial["metric"] else trial["metric"]
    return {
        "model": found.model,
        "as_of": found.as_of.isoformat() if found.as_of else None,
        "outcome": found.outcome,
        **{kind: found.all(kind) for kind in ("faults", "rejected", "held", "notes")},
        "parts": {part.label: list(part.lines) for part in found.parts if part.lines},
        "metric": found.metric,
        "candidates": trials,
        "seconds": found.seconds,
    }
