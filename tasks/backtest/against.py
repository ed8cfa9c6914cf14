"""A model's file as it is against that of a git revision, on the same past nights."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tasks import settings
from tasks.backtest.replay import BLOCK, BacktestError
from tasks.backtest.revision import at_revision
from tasks.backtest.side import Side, read_side, replay_side
from tasks.evaluation.bootstrap import day_counts, interval
from tasks.evaluation.estimates import Estimate
from tasks.evaluation.evaluate import evaluate, evaluate_days
from tasks.metrics.base import title

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from tasks.spec.model_spec import ModelSpec


NOW, BEFORE = "now", "before"
WORSE_CODE = 3
"""Exit code where the file as it is is clearly worse."""


class Outcome(StrEnum):
    """What a review found."""

    BETTER = "better"
    SAME = "not clearly different"
    WORSE = "worse"


@dataclass(frozen=True)
class Review:
    """Both versions of a model on the same days.

    Attributes:
        model: Name of the model.
        ref: The revision as it was named.
        commit: Its commit.
        nights: How many nights were replayed.
        first_day: First served day.
        last_day: Last served day.
        metric: Name of the deciding metric for people.
        figures: Side to its metric.
        gain: Relative gain of the file as it is; positive is better.
        confidence: Level of the intervals.
        paired: Whether both have the same rows; else days are compared.
        sides: Side to what it did.
    """

    model: str
    ref: str
    commit: str
    nights: int
    first_day: str
    last_day: str
    metric: str
    figures: dict[str, Estimate]
    gain: Estimate
    confidence: float
    paired: bool
    sides: dict[str, Side]

    @property
    def outcome(self) -> Outcome:
        """Better or worse where the interval of the gain leaves out zero."""
        if self.gain.low > 0:
            return Outcome.BETTER
        return Outcome.WORSE if self.gain.high < 0 else Outcome.SAME


def review(spec: ModelSpec, ref: str, nights: int, every: int, as_of: date) -> Review:
    """Replay the file as it is and that of a revision, and compare what they would have served.

    The revision runs in a process of its own, with its own helper modules and files and today's
    project code. Both share the store, so that what is equal is computed once.

    Args:
        spec: The model as it is.
        ref: A commit, branch or tag of git.
        nights: How many nights.
        every: Days of the source between two of them.
        as_of: Last day whose data may be used.

    Raises:
        RevisionError: Where the revision or its file is not there.
        BacktestError: Where a side cannot be replayed, or they predict different things.
    """
    with at_revision(spec, ref) as revision, tempfile.TemporaryDirectory() as folder:
        settings.ensure_home()
        paths = [*map(str, revision.paths), *filter(None, [os.environ.get("PYTHONPATH")])]
        called = ["tasks.backtest.side", revision.model, str(nights), str(every), str(as_of)]
        ended = subprocess.run(
            [sys.executable, "-m", *called, folder],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(paths),
                "NIGHTLY_HOME": str(settings.home()),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if ended.returncode:
            told = Path(folder) / "error.txt"
            last = ended.stderr.strip().splitlines()[-1:] or [f"exit code {ended.returncode}"]
            why = told.read_text() if told.is_file() else last[0]
            raise BacktestError(f"The file of {ref} cannot be replayed: {why}")
        before = read_side(Path(folder))
    now = replay_side(spec, nights, every, as_of)
    return compare(spec, now, before, ref, revision.commit, nights)


def compare(spec: ModelSpec, now: Side, before: Side, ref: str, commit: str, nights: int) -> Review:
    """The deciding metric of both sides on the same days, and the gain with its interval.

    Raises:
        BacktestError: Where they do not predict the same thing, or share too few days.
    """
    if now.scores.shape[1:] != before.scores.shape[1:]:
        raise BacktestError(
            f"The file of {ref} has another kind of prediction: the two cannot be compared."
        )
    sides = {NOW: now, BEFORE: before}
    paired = _same_rows(now.examples, before.examples, spec.problem.keys)
    if paired:
        days = now.examples["day"].nunique()
        found = evaluate(
            spec.problem,
            now.examples,
            {name: side.scores for name, side in sides.items()},
            resamples=spec.gate.resamples,
            confidence=spec.gate.confidence,
            seed=spec.seed,
            block=BLOCK if days >= 4 * BLOCK else 1,
        )
        figures = {name: found.primary(name) for name in sides}
        gain, span = found.difference(NOW, BEFORE).relative, (found.first_day, found.last_day)
    else:
        figures, gain, span = _by_day(spec, sides)
    return Review(
        model=spec.name,
        ref=ref,
        commit=commit,
        nights=nights,
        first_day=span[0],
        last_day=span[1],
        metric=title(spec.problem.primary),
        figures=figures,
        gain=gain,
        confidence=spec.gate.confidence,
        paired=paired,
        sides=sides,
    )


def _same_rows(now: pd.DataFrame, before: pd.DataFrame, keys: Sequence[str]) -> bool:
    """Whether the examples are the same rows in the same order, whatever their types on disk."""
    there = len(now) == len(before) and {*keys} <= {*now} & {*before}
    return there and all(
        np.array_equal(now[key].to_numpy(), before[key].to_numpy()) for key in keys
    )


def _by_day(
    spec: ModelSpec, sides: dict[str, Side]
) -> tuple[dict[str, Estimate], Estimate, tuple[str, str]]:
    """Where the rows differ: means of the daily metric over the days that both have."""
    daily = {
        name: evaluate_days(spec.problem, side.examples, {name: side.scores}).get(name, {})
        for name, side in sides.items()
    }
    shared = [
        day
        for day, value in daily[NOW].items()
        if math.isfinite(value) and math.isfinite(daily[BEFORE].get(day, math.nan))
    ]
    if len(shared) < 2:
        raise BacktestError("The two files share fewer than two served days with a metric.")
    block = BLOCK if len(shared) >= 4 * BLOCK else 1
    counts = day_counts(len(shared), spec.gate.resamples, spec.seed, block)
    values = {name: np.array([of[day] for day in shared]) for name, of in daily.items()}
    means = {name: counts @ each / counts.sum(axis=1) for name, each in values.items()}
    sign = 1 if spec.problem.greater_is_better else -1
    share = sign * (means[NOW] - means[BEFORE]) / np.abs(means[BEFORE])
    drawn, level = -(-len(shared) // block), spec.gate.confidence
    figures = {name: interval(mean, drawn, level) for name, mean in means.items()}
    return figures, interval(share, drawn, level), (shared[0], shared[-1])


def to_markdown(found: Review) -> str:
    """The review as a comment of a pull request."""
    words = {
        Outcome.BETTER: "is better than",
        Outcome.SAME: "is not clearly different from",
        Outcome.WORSE: "is WORSE than",
    }
    level = f"{found.confidence * 100:g} %"
    lines = [
        f"**{found.model}: the file as it is {words[found.outcome]} that of {found.ref}** "
        f"({found.commit[:10]}).",
        "",
        f"{found.nights} nights replayed, served days {found.first_day} to {found.last_day}; "
        f"{level} intervals over whole days.",
        "",
        f"| | {found.metric} | Nightly against fitted once | CPU s a night | Last champion |",
        "|---|---|---|---:|---|",
    ]
    for name, said in ((NOW, "as it is"), (BEFORE, found.ref)):
        side = found.sides[name]
        lines.append(
            f"| {said} | {_figure(found.figures[name])} | {_share(side.staleness)} | "
            f"{side.cpu_seconds:.2f} | {side.recipe} |"
        )
    lines += ["", f"Gain: {_share(found.gain)}; positive is better."]
    if not found.paired:
        lines += ["", "The two have different rows, so daily means are compared, not single rows."]
    return "\n".join(lines)


def _figure(found: Estimate) -> str:
    return f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})"


def _share(found: Estimate) -> str:
    if not found.finite():
        return "undefined"
    return f"{found.value:+.2%} ({found.low:+.2%} to {found.high:+.2%})"
