"""What the app asks, for more households than there are: seconds and peak memory.

    PYTHONPATH=. python tests/benchmarks/households.py --households 250000

Each household of the log stands for many: a copy buys on the same days, but a fifth of its
purchases are those of others, drawn from the whole log. The recipe is fitted on three days of the
real households; answers are made by ``tasks.features.scoring.answer_ahead``, on one thread, from
clean rows in memory. Peak memory is that of the process while it answers, those rows included.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from tasks.clean_process import version_answers
from tasks.features import cleaning, examples, scoring
from tasks.spec.loading import load_spec
from tasks.store import frames
from tasks.training import fit

AS_OF = date(2026, 11, 22)
SPEC = load_spec("groceries")
USER, OTHERS = "household_id", 0.2
WHAT = ["product_id", "category", "kind"]


def synthesize(rows: pd.DataFrame, households: int, seed: int = 0) -> pd.DataFrame:
    """A log of so many households, ascending by day."""
    code, real = pd.factorize(rows[USER])
    copies = (households // len(real) + (code < households % len(real))).astype(np.int32)
    row = np.repeat(np.arange(len(rows), dtype=np.int32), copies)
    copy = np.arange(len(row), dtype=np.int32) - np.repeat(
        (np.cumsum(copies) - copies).astype(np.int32), copies
    )
    random = np.random.default_rng(seed)
    bought = row.copy()
    swapped = np.flatnonzero((copy > 0) & (random.random(len(row), dtype=np.float32) < OTHERS))
    bought[swapped] = random.integers(len(rows), size=len(swapped), dtype=np.int32)
    found = {name: rows[name].to_numpy()[bought if name in WHAT else row] for name in rows}
    found[USER] += copy * np.int32(rows[USER].max() + 1)
    return pd.DataFrame(found, copy=False)


def peak_memory() -> float:
    """Gigabytes, the most since ``forget_peak``."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1e6


def forget_peak() -> None:
    """Count the peak anew from here on."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Fit, synthesize, answer, and print a line for each number of households."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--households", type=int, nargs="+", default=[25_000, 250_000])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ.setdefault("NIGHTLY_HOME", home)
        listed = SPEC.source.list_days(AS_OF)
        clean = cleaning.clean_days(SPEC, listed)
        last = [day for day in listed if day > AS_OF - timedelta(days=3)]
        refs, _ = examples.prepare_examples(SPEC, listed, clean.refs, last)
        recipe = fit.fit(SPEC, "ranker", frames.read_days(list(refs.values())))
        real = frames.read_days([r for d, r in clean.refs.items() if d > AS_OF - SPEC.lookback])
    ahead = pd.Timestamp(AS_OF + timedelta(days=1))
    for households in [real[USER].nunique(), *asked.households]:
        rows = synthesize(real, households)
        forget_peak()
        wall, cpu = time.perf_counter(), time.process_time()
        with threadpool_limits(1):
            keep = version_answers.INPUTS_AT_MOST
            answers, _ = scoring.answer_ahead(SPEC, recipe, rows, None, ahead, keep)
        print(
            f"{households:>8,} households, {len(rows):>11,} purchases: {len(answers):>9,} answers "
            f"in {time.perf_counter() - wall:.1f} s ({time.process_time() - cpu:.1f} CPU s), "
            f"peak {peak_memory():.1f} GB; the log alone {rows.memory_usage().sum() / 1e9:.1f} GB",
            flush=True,
        )


if __name__ == "__main__":
    main()
