"""A year of nights with small losses: how far the champion falls behind where it began.

    PYTHONPATH=. python tests/benchmarks/creep.py --years 40
    PYTHONPATH=. python tests/benchmarks/creep.py --model flights --years 40

The decisions are those of a night (``tests/benchmarks/champions``): the gate with its anchor, the
anchor's renewal, reverts. Without a model the scores are synthetic: every version has one figure a
day, what it is worth, plus noise that two versions share the more, the closer in time they were
made. ``--noise`` is the standard deviation of one day's difference between two versions made long
apart, as a share of the metric. With a model they are the figures of its real fits on real days,
drawn a week at a time, where fits have the age that the night's versions would have, at most 80
days; what is planted is taken off them. The loss is counted from an honest refit of the same night,
and beside it what is left of the champion over the first version, live.

Scenarios, each with and without the anchor: an honest recipe; labels that decay, so that each
night's refit is 0.01 % worse than the last one's (3.6 % in a year); a recipe that loses 0.1 % a
night (31 %).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

import numpy as np

from tests.benchmarks.champions import HOLDOUT, Daily, Figures, live_through
from tests.benchmarks.fits import RECIPES, by_age, measure
from tests.benchmarks.lines import YEAR, drawn_days, honest

LEVEL, FAR = 0.4, 60.0
"""The metric's level, and nights after which two versions share little."""
SCENARIOS = {"honest": 0.0, "labels decay, 0.01 % a night": 1e-4, "loses 0.1 % a night": 1e-3}


def synthetic(noise: float, random: np.random.Generator) -> Figures:
    """The figure of every night's refit on every day, one row a version."""
    days = YEAR + HOLDOUT + 1
    keep = math.exp(-1 / FAR)
    own = np.empty((YEAR + 1, days))
    own[0] = random.normal(size=days)
    for version in range(1, YEAR + 1):
        own[version] = keep * own[version - 1] + math.sqrt(1 - keep**2) * random.normal(size=days)
    figures = LEVEL * (1 + noise / math.sqrt(2) * own + 0.15 * random.normal(size=days))
    return Figures(figures, figures)


def decayed(figures: Figures, rate: float) -> Figures:
    """The same where each version is worth so much less than the one before."""
    worth: Daily = (1 - rate) ** np.arange(YEAR + 1)[:, None]
    return Figures(figures.held_out * worth, figures.live * worth)


def over_first(figures: Figures, champions: Sequence[int]) -> float:
    """How much better the champions of the last four weeks did than the first version, live."""
    newest = np.arange(YEAR - 27, YEAR + 1)
    ours = figures.live[np.asarray(champions)[newest], newest + HOLDOUT]
    return float(ours.mean() / figures.live[0, newest + HOLDOUT].mean() - 1)


def main() -> None:
    """Live through the years and print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", choices=sorted(RECIPES))
    parser.add_argument("--years", type=int, default=40)
    parser.add_argument("--noise", type=float, nargs="*", default=[0.01, 0.03])
    asked = parser.parse_args()
    kinds: dict[str, Callable[[int], Figures]]
    if asked.model:
        measure(asked.model, 4)
        found = by_age(asked.model)
        kinds = {asked.model: lambda seed: honest(found, drawn_days(found, YEAR, seed), YEAR)}
    else:
        kinds = {
            f"{noise:.0%}": lambda seed, noise=noise: synthetic(noise, np.random.default_rng(seed))
            for noise in asked.noise
        }
    print(
        "| scenario | noise | anchor | loss after a year, mean | worst night, 95 % of years "
        "| worst night of all | live, last 4 weeks, over the first version: mean | worst "
        "| promoted | reverts a year |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for name, rate in SCENARIOS.items():
        for kind, made in kinds.items():
            for anchored in (False, True):
                made_years = [decayed(made(seed), rate) for seed in range(asked.years)]
                years = [live_through(one, YEAR, anchored=anchored) for one in made_years]
                champions = [year.champions for year in years]
                losses = [[1 - (1 - rate) ** one for one in year] for year in champions]
                worst = [max(year) for year in losses]
                over = [over_first(*of) for of in zip(made_years, champions, strict=True)]
                print(
                    f"| {name} | {kind} | {'yes' if anchored else 'no'} "
                    f"| {np.mean([year[-1] for year in losses]):.1%} "
                    f"| {np.quantile(worst, 0.95):.1%} | {max(worst):.1%} "
                    f"| {np.mean(over):+.1%} | {min(over):+.1%} "
                    f"| {np.mean([len(year.promoted) / YEAR for year in years]):.0%} "
                    f"| {np.mean([len(year.reverts) for year in years]):.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
