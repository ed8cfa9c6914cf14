"""The evidence behind the gate: how often each policy promotes what is worse, or keeps out what
is better.

    PYTHONPATH=. python tests/benchmarks/gates.py --model flights --nights 90

Every night of the replay fits the honest recipe and its faulty copies (``tests/benchmarks/faulty``)
and keeps the paired differences on that night's holdout, so that a run goes on where it was cut
off. The tables follow from what is kept. State goes to ``NIGHTLY_HOME``.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from tasks import settings
from tasks.backtest import replay
from tasks.backtest.replay import ReplayedNight
from tasks.evaluation.bootstrap import day_counts, interval
from tasks.metrics.base import Floats
from tasks.spec import ModelSpec
from tasks.spec.loading import load_spec
from tasks.store import files, frames, models
from tasks.training import fit, stored_fits

LEVELS = (0.80, 0.90, 0.95, 0.98, 0.99, 0.995, 0.998)
NOISE = (0.2, 0.3, 0.4, 0.45, 0.5, 0.6, 0.7)
SWAPS = 40
GROUPS = 200
RESAMPLES = 1000
PAIRS = {"flights": ("boosting", "logistic"), "groceries": ("tifu_knn", "frequency")}
FAULTS = ("quarter", "flipped", "join")
HONEST = {"flights": "boosting", "groceries": "ranker"}


def main() -> None:
    """Fit and compare what is missing, then print the tables."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--model", choices=sorted(HONEST), required=True)
    asked.add_argument("--nights", type=int, default=60)
    asked.add_argument("--as-of", type=date.fromisoformat, default=date(2026, 12, 20))
    given = asked.parse_args()
    spec = load_spec(f"tests.benchmarks.faulty:{given.model}")
    listed = list(spec.source.list_days(given.as_of))
    dates = replay.list_nights(listed, spec.label_delay, given.nights, 1)
    nights = replay.prepare_nights(
        spec, dates, 1, given.as_of, lambda d, n: print(f"prepare {d}/{n}")
    )
    folder = settings.home() / "gates" / given.model
    with ThreadPoolExecutor(2) as pool:
        for done, _ in enumerate(pool.map(lambda n: compare(spec, n, nights, folder), nights), 1):
            print(f"compare {done}/{len(nights)}", flush=True)
    print_tables(given.model, [files.read_json(folder / f"{n.as_of}.json") for n in nights])


def compare(
    spec: ModelSpec, night: ReplayedNight, nights: list[ReplayedNight], folder: Path
) -> None:
    """Keep the paired differences of one night, unless they are there."""
    file = folder / f"{night.as_of}.json"
    if file.exists():
        return
    holdout = fit.read_examples(night.holdout)
    scores = {name: _says(spec, name, night, night.training) for name in spec.candidates}
    honest = HONEST[spec.name]
    scores["week"] = _says(spec, honest, night, night.training[-7:])
    place = nights.index(night)
    for back in (1, 7, 30):
        if place >= back:
            older = nights[place - back].training
            scores[f"older_{back}"] = _says(spec, honest, night, older)
    scores |= noisy(scores[honest], holdout["day"].to_numpy())
    scores |= _swapped(*(scores[name] for name in PAIRS[spec.name]), holdout["day"].to_numpy())
    training = frames.read_days(night.training, columns=["day", "target"])
    scores["baseline"] = spec.problem.baseline_scores(training, holdout)

    codes, days = np.unique(holdout["day"].to_numpy(), return_inverse=True)[::-1]
    primary = spec.problem.primary
    counts = day_counts(len(days), RESAMPLES, spec.seed)
    clustered = spec.problem.measure(holdout, scores, codes, counts, (primary,))
    kept = {name: s for name, s in scores.items() if not name.startswith(("swap", "noise"))}
    last = spec.problem.measure(holdout, kept, codes, np.eye(len(days))[-1:], (primary,))
    unit = np.unique(_units(spec, holdout), return_inverse=True)[1]
    group = np.random.default_rng(0).integers(GROUPS, size=unit.max() + 1)[unit]
    rows = spec.problem.measure(
        holdout, kept, group, day_counts(GROUPS, 500, spec.seed), (primary,)
    )
    sign = 1 if spec.problem.greater_is_better else -1

    def pair(name: str, other: str) -> dict[str, Any]:
        mine, theirs = clustered[name][primary], clustered[other][primary]
        gain, share = sign * (mine - theirs), sign * (mine - theirs) / np.abs(theirs)
        found: dict[str, Any] = {
            "gain": gain[0],
            "share": share[0],
            "low": [interval(gain, len(days), level).low for level in LEVELS],
            "lowest": [lower_bound(gain, len(days), level) for level in LEVELS],
            "share_low": interval(share, len(days), 0.90).low,
        }
        if name in kept and other in kept:
            found["last"] = sign * (last[name][primary][0] - last[other][primary][0])
            alone = sign * (rows[name][primary] - rows[other][primary])
            found["rows_low"] = interval(alone, GROUPS, 0.90).low
        return found

    others = [name for name in scores if name not in (honest, "baseline")]
    plain = [name for name in others if not name.startswith(("swap", "noise"))]
    pairs = {f"{name}>{honest}": pair(name, honest) for name in plain}
    pairs |= {f"{honest}>{name}": pair(honest, name) for name in others if "swap" not in name}
    pairs["again_1>again_2"] = pair("again_1", "again_2")
    pairs["again_2>again_1"] = pair("again_2", "again_1")
    for number in range(SWAPS):
        pairs[f"swap_{number}"] = pair(f"swap_{number}_a", f"swap_{number}_b")
    values = {name: float(clustered[name][primary][0]) for name in scores}
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(
        file, {"values": values, "pairs": json.loads(json.dumps(pairs, default=float))}
    )


Found = dict[str, Any]
NINE = 0.09
MONTH = 30
STRICT = LEVELS.index(0.995)
POLICIES: dict[str, Callable[[Found], bool]] = {
    "always promote": lambda _: True,
    "metric is larger, 1 day": lambda found: found["last"] > 0,
    "metric is larger, 14 days": lambda found: found["gain"] > 0,
    "not worse by 1 %": lambda found: found["share"] >= -0.01,
    "not worse by 5 %": lambda found: found["share"] >= -0.05,
    "clearly better, rows": lambda found: found["rows_low"] > 0,
    "clearly better, days": lambda found: found["low"][LEVELS.index(0.90)] > 0,
    "clearly better, 99.5 %": lambda found: found["lowest"][STRICT] > 0 and found["share"] >= 0.005,
}


def print_tables(model: str, nights: list[dict[str, Any]]) -> None:
    """What each policy does with another recipe, and how far a refit may fall, as Markdown."""
    honest = HONEST[model]
    value = {name: np.mean([n["values"][name] for n in nights]) for name in nights[0]["values"]}
    worse = [n for n in (*FAULTS, "week") if value[n] < value[honest]]
    handicapped = min(
        (name for name in value if name.startswith("noise")),
        key=lambda name: abs(value[honest] / value[name] - 1 - NINE),
    )
    better = value[honest] / value[handicapped] - 1
    columns = (
        "Worse promoted, a night",
        "No better promoted, a month: same recipe",
        "other recipe",
        f"{better:.0%} better promoted, a night",
        "a month",
        "Metric, against the honest recipe",
    )
    print(f"\n{model}: {len(nights)} nights")
    print(f"| Policy | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, promotes in POLICIES.items():

        def asked(pair: str, promotes: Callable[[Found], bool] = promotes) -> list[bool]:
            return [promotes(night["pairs"][pair]) for night in nights]

        again = [asked("again_1>again_2"), asked("again_2>again_1")]
        gains = asked(f"{honest}>{handicapped}") if _plain(name) else None
        swaps = [asked(f"swap_{number}") for number in range(SWAPS)] if _plain(name) else None
        cells = [
            f"{np.mean([asked(f'{fault}>{honest}') for fault in worse]):.0%}",
            f"{np.mean([_in_a_month(looks) for looks in again]):.0%}",
            f"{np.mean([_in_a_month(looks) for looks in swaps]):.0%}" if swaps else "",
            f"{np.mean(gains):.0%}" if gains else "",
            f"{_in_a_month(gains):.0%}" if gains else "",
            f"{np.mean([_followed(nights, honest, fault, promotes) for fault in worse]):+.2%}",
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    for level, at in zip(LEVELS, range(len(LEVELS)), strict=True):
        looks = [
            [
                n["pairs"][f"swap_{s}"]["lowest"][at] > 0
                and n["pairs"][f"swap_{s}"]["share"] > 0.005
                for n in nights
            ]
            for s in range(SWAPS)
        ]
        gain = [n["pairs"][f"{honest}>{handicapped}"]["lowest"][at] > 0 for n in nights]
        print(
            f"level {level}: no better promoted in "
            f"{np.mean([_in_a_month(x) for x in looks]):.1%} of months, {better:.0%} better in "
            f"{np.mean(gain):.0%} of nights and {_in_a_month(gain):.0%} of months"
        )
    for back in (1, 7, 30):
        found = [n["pairs"].get(f"{honest}>older_{back}") for n in nights]
        shares = np.array([f["share"] for f in found if f])
        lows = np.array([f["share_low"] for f in found if f])
        passed = shares[lows >= -0.02]
        print(
            f"refit against {back} nights older: mean {shares.mean():+.2%}, promoted "
            f"{len(passed) / len(shares):.0%}, worst promoted {passed.min():+.2%}"
        )


def lower_bound(samples: Floats, days: int, confidence: float) -> float:
    """Lower end of a Student interval from the spread of the resamples, for high levels.

    At high levels the resamples have no usable quantile: those of 14 days are never below the mean
    of the worst days, so a stricter level would change nothing.
    """
    from scipy.special import stdtrit

    if days < 2 or not np.isfinite(samples).all():
        return math.nan
    spread = float(samples[1:].std()) * math.sqrt(days / (days - 1))
    return float(samples[0]) + float(stdtrit(days - 1, (1 - confidence) / 2)) * spread


def _plain(policy: str) -> bool:
    return "rows" not in policy and "1 day" not in policy


def _in_a_month(looks: list[bool]) -> float:
    """Share of the months in a row, one beginning on each night, with a promotion in them."""
    starts = range(max(1, len(looks) - MONTH + 1))
    return float(np.mean([any(looks[start : start + MONTH]) for start in starts]))


def _followed(
    nights: list[dict[str, Any]], honest: str, fault: str, promotes: Callable[[Found], bool]
) -> float:
    """Mean metric of whichever recipe the policy holds, against the honest one's."""
    held, total = honest, 0.0
    for night in nights:
        other = fault if held == honest else honest
        if promotes(night["pairs"][f"{other}>{held}"]):
            held = other
        total += night["values"][held]
    return float(total / sum(night["values"][honest] for night in nights)) - 1


def _says(
    spec: ModelSpec, name: str, night: ReplayedNight, taught: tuple[frames.Ref, ...]
) -> np.ndarray:
    key = fit.model_key(spec, name, taught)
    if not models.has_model("models", key):
        stored_fits.fit_and_keep(spec, name, taught)
    return replay.says(spec, key, night.holdout)


def noisy(score: np.ndarray, day: np.ndarray) -> dict[str, np.ndarray]:
    """The honest scores, handicapped: noise on the logit, the same for the same row every night."""
    sure = np.clip(score, 1e-6, 1 - 1e-6)
    logit = np.log(sure / (1 - sure))
    noise = np.concatenate(
        [
            np.random.default_rng(int(stamp)).normal(size=count)
            for stamp, count in zip(*_runs(day), strict=True)
        ]
    )
    scale = logit.std()
    return {f"noise_{k}": 1 / (1 + np.exp(-(logit + k * scale * noise))) for k in NOISE}


def _swapped(one: np.ndarray, other: np.ndarray, day: np.ndarray) -> dict[str, np.ndarray]:
    """Two real recipes, swapped on each day by a coin: neither is better than the other."""
    found = {}
    stamp = day.astype("datetime64[D]").astype(int)
    for number in range(SWAPS):
        coin = {s: np.random.default_rng([number, s]).random() < 0.5 for s in np.unique(stamp)}
        side = np.array([coin[s] for s in stamp])
        found[f"swap_{number}_a"] = np.where(side, one, other)
        found[f"swap_{number}_b"] = np.where(side, other, one)
    return found


def _runs(day: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.unique(day.astype("datetime64[D]").astype(int), return_counts=True)


def _units(spec: ModelSpec, holdout: Any) -> np.ndarray:
    user = spec.problem.user_column
    if user is None:
        return np.arange(len(holdout))
    days = holdout["day"].to_numpy().astype("datetime64[D]").astype(np.int64)
    found: np.ndarray = days * 10_000_000 + holdout[user].to_numpy(dtype=np.int64)
    return found


if __name__ == "__main__":
    main()
