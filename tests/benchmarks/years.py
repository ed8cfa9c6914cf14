"""Years of nights: how often a recipe that is no better is promoted, and how soon a better one.

    PYTHONPATH=. python tests/benchmarks/years.py --model flights

Recipes are fitted once and score the days that follow; the years are made of these days, drawn a
week at a time, for each recipe anew. What a night decides of them is decided by the functions that
a night uses, for all years at once. The daily metrics are kept in ``NIGHTLY_HOME``.
"""

from __future__ import annotations

import argparse
import math
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
from scipy import stats

from tasks import settings
from tasks.evaluation.evaluate import evaluate_days
from tasks.features import cleaning
from tasks.features.examples import prepare_examples
from tasks.metrics.base import Floats
from tasks.promotion.betting import ALIKE, e_values
from tasks.promotion.contests import YEAR, needed, share_of
from tasks.promotion.left_out import FEWEST, wait_of
from tasks.spec import Gate
from tasks.spec.loading import load_spec
from tasks.store import files, frames
from tasks.training import fit as fitting
from tests.benchmarks.gates import HONEST, PAIRS, noisy

LAST = date(2026, 12, 20)
TRAINING = 0.3
"""Share of the days on which the recipes are fitted."""
GATE, NIGHTS, HOLDOUT, MONTH, WEEK = Gate(), YEAR.days, 14, 30, 7
FORMER = 0.995
"""Level of the interval over the holdout that another recipe had to be above zero at before."""


class Entry(NamedTuple):
    """A contest: its first night, the night it ends before, and its share of the year."""

    begin: int
    end: int
    share: float


PLANS = {
    **{f"recipes: {n}": [Entry(0, NIGHTS, share_of(1, n))] * n for n in (1, 4, 8)},
    "recipes: 4, code edited every month": [
        Entry(MONTH * n, MONTH * (n + 1), share_of(n + 1, 4)) for n in range(12) for _ in range(4)
    ],
    "recipes: one more every month": [
        Entry(MONTH * n, NIGHTS, share_of(n + 1, 1)) for n in range(12)
    ],
}


def main() -> None:
    """Measure the days unless they are kept, then print the tables."""
    asked = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    asked.add_argument("--model", default="flights", choices=sorted(HONEST))
    asked.add_argument("--years", type=int, default=1000)
    given = asked.parse_args()
    kept = settings.home() / "years" / f"{given.model}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(kept, measure(given.model))
    daily = {name: np.asarray(values) for name, values in files.read_json(kept).items()}
    random, sign = (
        np.random.default_rng(0),
        1 if load_spec(given.model).problem.greater_is_better else -1,
    )
    one, other = (daily[name] for name in PAIRS[given.model])
    both = np.isfinite(one) & np.isfinite(other)
    gap, level = sign * (one - other)[both], other[both]
    print(f"{given.model}: {given.years:,} years made of {len(gap)} days\n")
    print(
        "| no better | plan | before, months | before, years | now, years |\n|---|---|---|---|---|"
    )
    for kind in ("coin", "real"):
        for plan, entries in PLANS.items():
            said = [
                share(*found) for found in errors(kind, gap, level, entries, given.years, random)
            ]
            print(f"| {kind} | {plan} | {' | '.join(said)} |", flush=True)
    print("\n| better by | a day's mean / deviation | recipes | within a month | median night |")
    print("|---|---|---|---|---|")
    honest = daily[HONEST[given.model]]
    for name in (n for n in daily if n.startswith("noise")):
        gain = sign * (honest - daily[name])
        found = np.isfinite(gain)
        for count in (1, 4, 8):
            drawn = draw(gain[found], daily[name][found], given.years, NIGHTS, random)
            first = promoted_on(*drawn, share_of(1, count))
            month = share(int((first < MONTH).sum()), given.years)
            print(
                f"| {gain[found].mean() / daily[name][found].mean():.1%} "
                f"| {gain[found].mean() / gain[found].std():.2f} | {count} | {month} "
                f"| {np.median(first) + 1:g} |",
                flush=True,
            )
    print("\n| recipe | promoted | on another night where left out | nights fitted |")
    print("|---|---|---|---|")
    part = share_of(1, 4)
    for step in np.linspace(-1, 1, 9) * gap.std():
        gains, base = draw(gap - gap.mean() + step, level, given.years, NIGHTS, random)
        fitted = fitted_on(gains, part)
        first, rarely = promoted_on(gains, base, part), promoted_on(gains, base, part, fitted)
        print(
            f"| {step / level.mean():+.1%} | {np.isfinite(first).mean():.1%} "
            f"| {(first != rarely).sum()} | {fitted.mean():.0%} |",
            flush=True,
        )


def errors(
    kind: str,
    gap: Floats,
    level: Floats,
    entries: list[Entry],
    years: int,
    random: np.random.Generator,
) -> list[tuple[int, int]]:
    """Months and years with a promotion before, and years now, each with how many there were."""
    months, before, now = (
        np.zeros((years, NIGHTS // MONTH), bool), np.zeros(years, bool), np.zeros(years, bool)
    )  # fmt: skip
    for entry in entries:
        gains, base = draw(gap - gap.mean(), level, years, entry.end - entry.begin, random)
        if kind == "coin":
            gains, base = draw(gap, level, years, entry.end - entry.begin, random)
            gains = gains * random.choice((-1, 1), size=gains.shape)
        else:
            gains = gains * random.choice((-1, 1), size=(years, 1))
        now |= promoted_on(gains, base, entry.share) < math.inf
        nights = formerly_promoted(gains, base)
        before |= nights.any(axis=1)
        for at in range(months.shape[1]):
            start = at * MONTH - entry.begin
            if start >= 0:
                months[:, at] |= nights[:, start : start + MONTH].any(axis=1)
    return [(int(months.sum()), months.size), (int(before.sum()), years), (int(now.sum()), years)]


def draw(
    gains: Floats, level: Floats, years: int, nights: int, random: np.random.Generator
) -> tuple[Floats, Floats]:
    """Days of each year, a week at a time: gains, and the metric they are gains over."""
    length = HOLDOUT - 1 + nights
    starts = random.integers(len(gains) - WEEK + 1, size=(years, -(-length // WEEK), 1))
    at = (starts + np.arange(WEEK)).reshape(years, -1)[:, :length]
    return gains[at], level[at]


def promoted_on(
    gains: Floats, level: Floats, share: float, fitted: np.ndarray | bool = True
) -> Floats:
    """The night, from 0, on which each year's recipe is promoted; infinite where it never is.

    Args:
        gains: How much better it was, day by day.
        level: The metric that they are gains over.
        share: Its share of the year.
        fitted: Nights on which it is fitted.
    """
    proven = e_values(gains)[:, HOLDOUT - 1 :] >= needed(share, GATE.recipe_confidence)
    passed = proven & (over_holdout(gains) / over_holdout(level) >= GATE.gain) & fitted
    return np.where(passed.any(axis=1), passed.argmax(axis=1), math.inf)


def fitted_on(gains: Floats, share: float) -> np.ndarray:
    """On which nights each year's recipe is fitted (``tasks.promotion.left_out``)."""
    capital = np.pad(e_values(gains), ((0, 0), (1, 0)), constant_values=1.0)
    rows, nights = np.arange(len(gains)), gains.shape[1] - HOLDOUT + 1
    asked, wait = needed(share, GATE.recipe_confidence), wait_of(HOLDOUT)
    counted = np.zeros(len(gains), int)
    found = np.zeros((len(gains), nights), bool)
    for night in range(nights):
        newest = night + HOLDOUT
        waiting = np.minimum(newest - counted, HOLDOUT)
        stands = capital[rows, counted]
        highest = stands * np.exp(waiting * np.log(2) / ALIKE)
        behind = (counted >= FEWEST) & (stands < 1) & (highest < asked)
        found[:, night] = ~(behind & (waiting < wait))
        counted = np.where(found[:, night], newest, counted)
    return found


def formerly_promoted(gains: Floats, level: Floats) -> np.ndarray:
    """Whether each night's interval over its holdout was above zero."""
    mean, square = over_holdout(gains), over_holdout(gains**2)
    error = np.sqrt((square - mean**2) / (HOLDOUT - 1))
    low = mean + float(stats.t.ppf((1 - FORMER) / 2, HOLDOUT - 1)) * error
    found: np.ndarray = (low > 0) & (mean / over_holdout(level) >= GATE.gain)
    return found


def over_holdout(values: Floats) -> Floats:
    """Mean over each night's holdout."""
    total = np.cumsum(np.pad(values, ((0, 0), (1, 0))), axis=1)
    mean: Floats = (total[:, HOLDOUT:] - total[:, :-HOLDOUT]) / HOLDOUT
    return mean


def share(count: int, of: int) -> str:
    """A share with its 95 % interval."""
    found = stats.binomtest(count, of).proportion_ci(method="wilson")
    return f"{count / of:.1%} ({found.low:.1%} to {found.high:.1%})"


def measure(model: str) -> dict[str, list[float]]:
    """The primary metric of each recipe on each day after the days it was fitted on."""
    spec = load_spec(model)
    listed = spec.source.list_days(LAST)
    clean = cleaning.clean_days(spec, listed)
    wanted = [day for day in listed if day >= min(listed) + spec.lookback / 2]
    refs, _ = prepare_examples(spec, listed, clean.refs, wanted)
    cut = wanted[int(TRAINING * len(wanted))]
    known = [refs[day] for day in wanted if day <= cut - timedelta(days=1)]
    ahead = frames.read_days([refs[day] for day in wanted if day >= cut])
    honest, (one, other) = HONEST[model], PAIRS[model]
    fits = {n: fitting.fit(spec, n, frames.read_days(known)) for n in {honest, one, other}}
    scores = {name: fitting.score(spec, name, fit, ahead) for name, fit in fits.items()}
    scores |= noisy(scores[honest], ahead["day"].to_numpy())
    daily = evaluate_days(spec.problem, ahead, scores)
    return {name: list(values.values()) for name, values in daily.items()}


if __name__ == "__main__":
    main()
