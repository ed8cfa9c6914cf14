"""Bad recipes among champions that are promoted night after night: how soon the line goes back.

    PYTHONPATH=. python tests/benchmarks/lines.py --model flights

Fits of every few nights of the real year are scored on the days after them, once
(``tests/benchmarks/fits``); then sequences of nights are decided by the functions that a night
uses: the gate with its anchor, the anchor's renewal, reverts of pairs and of lines, holds. Twenty
honest nights, then the recipe goes bad, and sixty nights more. The gate that is blind judges honest
figures: the fault is in what the app asks or in the labels of the holdout, too.

Real sequences begin every few nights of the year and share days. Years are made of real days drawn
a week at a time, on which fits have the age that the night's versions would have.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tests.benchmarks.champions import HOLDOUT, Figures, Nights, live_through
from tests.benchmarks.fits import RECIPES, SHARES, ByAge, by_age, laid_out, measure
from tests.benchmarks.years import share

ENTRY, AFTER, YEAR, WEEK = 20, 60, 364, 7
JOIN_LOST = 40
"""Nights over which the decaying join is lost."""
KINDS = ("a broken join", "a join that decays", "a third of the labels flipped")
EDITS = {"no edit": (), "an honest edit every month": tuple(range(30, YEAR, 30))}
Days = npt.NDArray[np.intp]


class Told(NamedTuple):
    """What became of a line.

    Attributes:
        after: Nights from the first bad champion to the revert; None where it was never taken back.
        served: Nights on which a bad version was champion.
        entered: Whether any was.
        false: Reverts of honest champions.
    """

    after: int | None
    served: int
    entered: bool
    false: int


def real_days(found: ByAge, nights: int, every: int) -> list[Days]:
    """The days of real sequences of nights, one beginning every few days."""
    length = nights + HOLDOUT + 1
    return [np.arange(at, at + length) for at in range(0, len(found.days) - length + 1, every)]


def drawn_days(found: ByAge, nights: int, seed: int) -> Days:
    """Days drawn a week at a time."""
    length = nights + HOLDOUT + 1
    last = len(found.days) - WEEK + 1
    starts = np.random.default_rng(seed).integers(found.full, last, size=(-(-length // WEEK), 1))
    return (starts + np.arange(WEEK)).reshape(-1)[:length]


def honest(found: ByAge, days: Days, nights: int) -> Figures:
    """An honest recipe, refitted every night."""
    kind = found.kinds["honest"]
    return Figures(laid_out(kind, days, nights, 1), laid_out(kind, days, nights, 1 - HOLDOUT))


def planted(found: ByAge, days: Days, kind: str, *, blind: bool, edited: bool) -> Figures:
    """A recipe that goes bad on night ``ENTRY``.

    Args:
        found: The kept figures.
        days: Days of the sequence.
        kind: One of ``KINDS``.
        blind: Whether the gate judges honest figures.
        edited: Whether it goes bad by an edit; else nothing tells when.
    """
    nights = ENTRY + AFTER
    good = honest(found, days, nights)
    bad = [
        laid_out(_bad_figures(found, days, kind), np.arange(len(days)), nights, ahead)
        for ahead in (1, 1 - HOLDOUT)
    ]
    held_out, live = good.held_out.copy(), good.live.copy()
    live[ENTRY:] = bad[1][ENTRY:]
    if not blind:
        held_out[ENTRY:] = bad[0][ENTRY:]
    return Figures(held_out, live, (ENTRY,) if edited else ())


def _bad_figures(found: ByAge, days: Days, kind: str) -> npt.NDArray[np.float64]:
    """The bad recipe's figures by age, one column for each day of the sequence."""
    if kind == KINDS[2]:
        return found.kinds["flipped"][:, days]
    steps = np.arange(len(days)) - HOLDOUT - ENTRY
    lost = np.ones(len(days)) if kind == KINDS[0] else steps / JOIN_LOST
    place = np.clip(np.ceil(lost * len(SHARES)).astype(int), 1, len(SHARES)) - 1
    joined = np.stack([found.kinds[f"joined {portion:g}"][:, days] for portion in SHARES])
    chosen: npt.NDArray[np.float64] = joined[place, :, np.arange(len(days))].T
    return chosen


def tell(nights: Nights, entry: int) -> Told:
    """What became of a line that goes bad on a night."""
    bad = [night for night, champion in enumerate(nights.champions) if champion >= entry]
    back = [night for night, version in nights.reverts.items() if version >= entry]
    after = back[0] - bad[0] if back and bad else None
    false = sum(version < entry for version in nights.reverts.values())
    return Told(after, len(bad), bool(bad or back), false)


def print_planted(name: str, lines: Sequence[Told]) -> None:
    """A row of the table."""
    entered = [line for line in lines if line.entered]
    back = [line.after for line in entered if line.after is not None]
    soon = f"{statistics.median(back):g}, {max(back)}" if back else ""
    served = f"{np.mean([line.served for line in entered]):.1f}" if entered else ""
    print(
        f"| {name} | {len(entered)} of {len(lines)} | {len(back)} of {len(entered)} | {soon} "
        f"| {served} | {sum(line.false for line in lines)} |",
        flush=True,
    )


def main() -> None:
    """Fit what is not kept, then replay."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", default="flights", choices=sorted(RECIPES))
    parser.add_argument("--fit-every", type=int, default=4)
    parser.add_argument("--start-every", type=int, default=6)
    parser.add_argument("--years", type=int, default=100)
    asked = parser.parse_args()
    measure(asked.model, asked.fit_every)
    found = by_age(asked.model)
    level = found.kinds["honest"][1]
    print(f"{asked.model}: {len(found.days)} days, {found.days[0]} to {found.days[-1]}")
    for kind, figures in found.kinds.items():
        print(f"  {kind}: {figures[1].mean() / level.mean() - 1:+.1%} on the day after the fit")
    sequences = real_days(found, ENTRY + AFTER, asked.start_every)
    print("| planted | entered | taken back | nights to it | nights served, mean | false |")
    for kind in KINDS:
        for blind, edited in ((True, True), (True, False), (False, True)):
            told = [
                tell(
                    live_through(
                        planted(found, days, kind, blind=blind, edited=edited), ENTRY + AFTER
                    ),
                    ENTRY,
                )
                for days in sequences
            ]
            gate = "the gate is blind" if blind else "the gate sees it"
            print_planted(f"{kind}, {gate}, {'an edit' if edited else 'no edit'}", told)
    lines = [live_through(honest(found, days, ENTRY + AFTER), ENTRY + AFTER) for days in sequences]
    print_honest(f"real sequences of {ENTRY + AFTER} nights", lines)
    drawn = [honest(found, drawn_days(found, YEAR, seed), YEAR) for seed in range(asked.years)]
    for name, edits in EDITS.items():
        years = [live_through(replace(one, edits=edits), YEAR) for one in drawn]
        print_honest(f"made years, {name}", years)


def print_honest(name: str, lines: Sequence[Nights]) -> None:
    """How many honest lines had a champion reverted, and what else their nights came to."""
    reverted = sum(bool(line.reverts) for line in lines)
    promoted = np.mean([len(line.promoted) / (len(line.champions) - 1) for line in lines])
    inside = np.mean([np.mean(line.inside) for line in lines])
    print(
        f"honest, {name}: {reverted} of {len(lines)} with a revert: {share(reverted, len(lines))}; "
        f"{promoted:.0%} of nights promoted, {inside:.0%} of live days inside the interval",
        flush=True,
    )


if __name__ == "__main__":
    main()
