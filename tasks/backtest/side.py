"""What one version of a model's file would have served on past nights, and what it costs.

Run as a module, it is the process of a git revision: a file of its own modules, a folder for what
it found.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.backtest import replay
from tasks.backtest.policies import HOUSE, POLICIES
from tasks.evaluation.estimates import Estimate
from tasks.features import cleaning
from tasks.features.examples import build_examples, day_and_history
from tasks.spec.loading import load_spec
from tasks.store import frames
from tasks.store.files import read_json, write_file, write_json, write_parquet
from tasks.training import fit, tuning

if TYPE_CHECKING:
    import pandas as pd

    from tasks.metrics.base import Floats
    from tasks.spec.model_spec import ModelSpec


NIGHTLY, ONCE = "nightly", "once"


@dataclass(frozen=True)
class Side:
    """What one version of a model did.

    Attributes:
        examples: Examples of the served days.
        scores: Scores of them by the champion that the night's gate would have had each day.
        recipe: The last champion's candidate.
        staleness: How much better that candidate is refitted every night than fitted once.
        cpu_seconds: CPU seconds of one night: features of a day, and a fit of every candidate.
    """

    examples: pd.DataFrame
    scores: Floats
    recipe: str
    staleness: Estimate
    cpu_seconds: float


def replay_side(spec: ModelSpec, nights: int, every: int, as_of: date) -> Side:
    """Replay past nights under the gate of a night; the registry is not touched.

    Args:
        spec: The model.
        nights: How many nights.
        every: Days of the source between two of them.
        as_of: Last day whose data may be used.

    Raises:
        BacktestError: Where there is too little history.
    """
    listed = [day for day in spec.source.list_days(as_of) if day not in spec.skip]
    if not listed:
        raise replay.BacktestError(f"The source of {spec.name} has no day up to {as_of}.")
    dates = replay.list_nights(listed, spec.label_delay, nights, every)
    replayed = replay.prepare_nights(spec, dates, every, max(listed))
    fitted = [replay.fit_night(spec, night) for night in replayed]
    path = replay.follow_policies(spec, replayed, fitted, policies={HOUSE: POLICIES[HOUSE]})[HOUSE]
    recipe = path.champions[-1][0]
    keys = [fitted[made].shipped[name] for name, made in path.champions]
    own = [each.shipped[recipe] for each in fitted]
    curve = replay.measure(spec, replayed, {NIGHTLY: own, ONCE: own[:1] * len(own)})
    return Side(
        examples=frames.read_days([ref for night in replayed for ref in night.served]),
        scores=replay.served_scores(spec, replayed, keys),
        recipe=recipe,
        staleness=curve.difference(NIGHTLY, ONCE).relative,
        cpu_seconds=_cost(spec, replayed[-1], max(listed)),
    )


def _cost(spec: ModelSpec, night: replay.ReplayedNight, as_of: date) -> float:
    """CPU seconds of what each night does anew, measured without what is in the store."""
    seen = [day for day in spec.source.list_days(as_of) if day not in spec.skip]
    near = {d: m for d, m in spec.source.list_days(as_of).items() if d in seen}
    clean = cleaning.clean_days(spec, near)
    rows = frames.read_days([r for d, r in clean.refs.items() if as_of - d <= spec.lookback])
    training = fit.read_examples(night.training)
    found = {
        name: tuning.settle(spec, name, night.as_of, night.training).parameters
        for name in spec.candidates
    }
    started = time.process_time()
    build_examples(spec, *day_and_history(spec, rows, as_of))
    for name, parameters in found.items():
        fit.fit(spec, name, training, parameters)
    return time.process_time() - started


def write_side(folder: Path, side: Side) -> None:
    """Keep a side in a folder, for the process that asked."""
    write_parquet(folder / "examples.parquet", side.examples)
    write_parquet(folder / "scores.parquet", _as_frame(side.scores))
    facts = {"recipe": side.recipe, "cpu_seconds": side.cpu_seconds}
    write_json(folder / "facts.json", {**facts, "staleness": side.staleness.to_json()})


def read_side(folder: Path) -> Side:
    """What ``write_side`` kept."""
    import pandas as pd

    facts: dict[str, Any] = dict(read_json(folder / "facts.json"))
    values = pd.read_parquet(folder / "scores.parquet").to_numpy(dtype=np.float64)
    return Side(
        examples=pd.read_parquet(folder / "examples.parquet"),
        scores=values[:, 0] if values.shape[1] == 1 else values,
        recipe=str(facts["recipe"]),
        staleness=Estimate.from_json(facts["staleness"]),
        cpu_seconds=float(facts["cpu_seconds"]),
    )


def _as_frame(scores: Floats) -> pd.DataFrame:
    import pandas as pd

    columns = scores.reshape(len(scores), -1)
    return pd.DataFrame(columns, columns=[f"score_{n}" for n in range(columns.shape[1])])


def main(arguments: Sequence[str]) -> None:
    """``MODEL NIGHTS EVERY AS_OF FOLDER``: replay, and leave what was found in the folder."""
    model, nights, every, as_of, folder = arguments
    try:
        side = replay_side(load_spec(model), int(nights), int(every), date.fromisoformat(as_of))
    except Exception as error:
        write_file(Path(folder) / "error.txt", f"{type(error).__name__}: {error}".encode())
        raise
    write_side(Path(folder), side)


if __name__ == "__main__":
    main(sys.argv[1:])
