"""When a champion is taken back: bad ones soon, honest ones never.

    PYTHONPATH=. python tests/benchmarks/reverts.py --model flights --starts 12 --nights 30

From each start a champion, fitted on the days up to it, answers for the nights that follow beside
its predecessor; each night looks at all graded days, as ``flows/monitor.py`` does. Honest: the same
recipe fitted a day, and a week, earlier. Bad: a third of the labels flipped, the strongest inputs
stuck at their mean (a broken join), a trivial recipe. No better: champion and predecessor are two
recipes swapped day by day with a coin. Days with half the history that the spec asks for count, as
the groceries' year holds too few others.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pandas as pd

from tasks.evaluation.evaluate import evaluate_days
from tasks.features import cleaning
from tasks.features.examples import prepare_examples
from tasks.monitoring import live_performance
from tasks.spec import ModelSpec, days
from tasks.spec.loading import load_spec
from tasks.store import frames
from tasks.training import fit as fitting
from tests.benchmarks.fits import flipped, strength, unjoined

LAST = date(2026, 12, 20)
RECIPES = {"flights": ("blend", "logistic"), "groceries": ("ranker", "frequency")}
"""The champion's recipe, and for groceries a trivial one."""
CONFIDENCES = (0.99, 0.995, 0.998, 0.999)
COINS = 20
"""Champions that are no better, made of each pair of recipes."""


def records(spec: ModelSpec, daily: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    """The graded days of one champion beside its predecessor."""
    metric = spec.problem.primary
    return [
        {"metrics": {metric: ours}, "previous": {metric: before}}
        for ours, before in zip(daily["champion"].values(), daily["previous"].values(), strict=True)
    ]


def swapped(graded: Sequence[dict[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Champion and predecessor exchanged on about half of the days."""
    coins = np.random.default_rng(seed).random(len(graded)) < 0.5
    return [
        {"metrics": day["previous"], "previous": day["metrics"]} if coin else day
        for day, coin in zip(graded, coins, strict=True)
    ]


def looks(spec: ModelSpec, graded: Sequence[dict[str, Any]], policy: Any) -> float:
    """Night on which the champion goes back; infinite where it never does."""
    metric, greater = spec.problem.primary, spec.problem.greater_is_better
    for night in range(1, len(graded) + 1):
        found = live_performance.compare(graded[:night], metric, greater, policy)
        if found is not None and found.revert:
            return night
    return float("inf")


def gain(spec: ModelSpec, graded: Sequence[dict[str, Any]]) -> float:
    """How much better it did over all nights, relative to its predecessor."""
    metric, greater = spec.problem.primary, spec.problem.greater_is_better
    found = live_performance.compare(graded, metric, greater, spec.revert)
    return float("nan") if found is None else found.relative


def tell(name: str, nights: Sequence[float]) -> str:
    """How many went back, and after how many nights."""
    back = [night for night in nights if night < float("inf")]
    middle = f", after {statistics.median(back):g} nights (most {max(back):g})" if back else ""
    return f"  {name:<34} {len(back)} of {len(nights)} taken back{middle}"


def main() -> None:
    """Fit, answer, look, and print a line for each kind of champion and level."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", default="flights", choices=sorted(RECIPES))
    parser.add_argument("--starts", type=int, default=12)
    parser.add_argument("--nights", type=int, default=30)
    asked = parser.parse_args()
    spec, (recipe, trivial) = load_spec(asked.model), RECIPES[asked.model]
    listed = spec.source.list_days(LAST)
    clean = cleaning.clean_days(spec, listed)
    wanted = [day for day in listed if day >= min(listed) + spec.lookback / 2]
    refs, _ = prepare_examples(spec, listed, clean.refs, wanted)

    def read(chosen: Sequence[date]) -> pd.DataFrame:
        return frames.read_days([refs[day] for day in chosen])

    def learned(until: date, width: int | None = None) -> pd.DataFrame:
        length = spec.window - spec.holdout if width is None else days(width)
        return read([day for day in wanted if until - length < day <= until])

    first = LAST - timedelta(days=asked.nights)
    room = (first - wanted[0]).days - 14
    step = max(1, min(room, 84) // asked.starts)
    starts = [first - timedelta(days=step * number) for number in range(asked.starts)]
    kinds = ("honest, a day fresher", "honest, a week fresher", "a third of the labels flipped")
    kinds += ("a broken join", f"recipe {trivial}")
    found: dict[str, list[list[dict[str, Any]]]] = {kind: [] for kind in kinds}
    for start in starts:
        after = read([day for day in wanted if 0 < (day - start).days <= asked.nights])
        own, before = learned(start), learned(start - days(1))
        fits = {
            "own": fitting.fit(spec, recipe, own),
            "day": fitting.fit(spec, recipe, before),
            "week": fitting.fit(spec, recipe, learned(start - days(7))),
            kinds[2]: fitting.fit(spec, recipe, flipped(own, start.toordinal())),
            kinds[4]: fitting.fit(spec, trivial, own),
        }
        scores = {name: fitting.score(spec, name, fit, after) for name, fit in fits.items()}
        broken = unjoined(spec, after, strength(spec, after))
        scores[kinds[3]] = fitting.score(spec, "join", fits["own"], broken)
        pairs = {kinds[0]: ("own", "day"), kinds[1]: ("own", "week")}
        pairs |= {kind: (kind, "day") for kind in kinds[2:]}
        for kind, (champion, previous) in pairs.items():
            both = {"champion": scores[champion], "previous": scores[previous]}
            found[kind].append(records(spec, evaluate_days(spec.problem, after, both)))
        print(f"  {start} done", flush=True)
    pairs_of_recipes = [one for one in found[kinds[4]] for _ in range(COINS)]
    found["no better"] = [swapped(one, seed) for seed, one in enumerate(pairs_of_recipes)]
    print(f"{asked.model}: {len(starts)} champions of each kind, {asked.nights} nights each")
    for kind, graded in found.items():
        gains = sorted(gain(spec, one) for one in graded)
        print(f"  {kind:<34} {statistics.median(gains):+.1%} ({gains[0]:+.1%} to {gains[-1]:+.1%})")
    for confidence in CONFIDENCES:
        policy = replace(spec.revert, confidence=confidence)
        print(f" at {confidence:.1%}")
        for kind, graded in found.items():
            print(tell(kind, [looks(spec, one, policy) for one in graded]))


if __name__ == "__main__":
    main()
