"""Drift over ordinary nights, and how soon what is planted is noticed.

    PYTHONPATH=. python tests/benchmarks/drift.py --model flights --nights 60

The examples of every day are prepared once. Each night looks as ``flows/retrain.py`` does. Faults
are planted into the inputs from one day on, begun on every sixth night: a column times 1.6, a
column stuck at 0, and, where there is one of text, its most common value renamed. Days with half
the history that the spec asks for count, as the groceries' year holds too few others.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from datetime import date, timedelta
from typing import Any

import pandas as pd

from tasks.features import cleaning, examples
from tasks.monitoring import drift
from tasks.spec.loading import load_spec
from tasks.store import frames

LAST = date(2026, 12, 20)
PATIENCE = 14
"""Nights after which a fault counts as never noticed."""


def read_inputs(model: str, nights: int) -> tuple[pd.DataFrame, dict[date, int], int]:
    """Inputs with ``day`` over all weeks any night looks at, and each day's number of rows."""
    spec = load_spec(model)
    listed = spec.source.list_days(LAST)
    clean = cleaning.clean_days(spec, listed)
    first = LAST - timedelta(days=nights + 7 * drift.WEEKS)
    wanted = [day for day in listed if day >= max(first, min(listed) + spec.lookback / 2)]
    refs, _ = examples.prepare_examples(spec, listed, clean.refs, wanted)
    drawn = []
    for ref in refs.values():  # a tenth of the groceries' rows draws the same 5,000 a week
        day = frames.read_days([ref])
        drawn.append(day.sample(min(len(day), 2_000), random_state=0))
    rows = pd.concat(drawn, ignore_index=True)
    counts = {day: ref.rows for day, ref in clean.refs.items()}
    return spec.problem.inputs(rows).assign(day=rows["day"]), counts, spec.seed


def look(rows: pd.DataFrame, night: date, seed: int) -> list[drift.Shift]:
    """What one night sees."""
    since = pd.Timestamp(night) - pd.Timedelta(weeks=drift.WEEKS)
    seen = rows[(rows["day"] <= pd.Timestamp(night)) & (rows["day"] > since)]
    return drift.measure_drift(seen, night, seed)


def notice(rows: pd.DataFrame, begun: date, seed: int, column: str, change: Any) -> float:
    """Nights until an alarm names the column; infinite after ``PATIENCE``."""
    broken = rows.copy()
    after = broken["day"] >= pd.Timestamp(begun)
    broken[column] = broken[column].where(~after, change(broken[column]))
    for count in range(1, PATIENCE + 1):
        night = begun + timedelta(days=count - 1)
        if any(s.alarming and s.column == column for s in look(broken, night, seed)):
            return count
    return float("inf")


def main() -> None:
    """Print the ordinary nights, then the planted faults."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", default="flights")
    parser.add_argument("--nights", type=int, default=60)
    asked = parser.parse_args()
    rows, counts, seed = read_inputs(asked.model, asked.nights)
    nights = [LAST - timedelta(days=back) for back in reversed(range(asked.nights))]
    started, alarms, odd = time.process_time(), Counter[str](), 0
    sizes: list[float] = []
    past: list[float] = []
    told = 0
    for night in nights:
        found = look(rows, night, seed)
        named = [shift.column for shift in found if shift.alarming]
        alarms.update(named)
        told += bool(named)
        counted = drift.count_rows(counts, night)
        odd += bool(counted and counted["odd"])
        sizes.append(found[0].psi if found else 0.0)
        past.append(max((shift.psi for shift in found if shift.alarming), default=0.0))
    spent = (time.process_time() - started) / len(nights)
    print(f"{asked.model}: {len(nights)} ordinary nights to {LAST}, {rows.shape[1] - 1} columns")
    print(f"  nights with an alarm: {told} {dict(alarms)}; with an odd number of rows: {odd}")
    print(
        f"  largest index of a night: median {statistics.median(sizes):.2f}, max {max(sizes):.2f}"
    )
    print(f"  {spent:.2f} CPU s a night")
    begun = nights[:-PATIENCE:6]
    numbers = [c for c in rows.select_dtypes("number") if rows[c].nunique() > drift.CATEGORIES]
    texts = list(rows.select_dtypes(exclude=["number", "bool", "datetime"]))
    plans: list[tuple[str, str, Any]] = []
    for column in numbers[:: max(1, len(numbers) // 4)]:
        plans += [("times 1.6", column, lambda v: v * 1.6), ("stuck at 0", column, lambda v: v * 0)]
    for column in texts:
        common = rows[column].mode().iloc[0]
        plans.append((f"{common} renamed", column, lambda v, c=common: v.replace(c, f"{c}~")))
    for fault, column, change in plans:
        found = [notice(rows[["day", column]], night, seed, column, change) for night in begun]
        never = sum(count == float("inf") for count in found)
        middle = statistics.median(found)
        print(f"  {fault:<12} {column:<28} after {middle:g} nights, {never} of {len(found)} never")


if __name__ == "__main__":
    main()
