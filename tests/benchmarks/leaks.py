"""Which planted leaks a night notices, and whether it ever suspects an honest feature.

    PYTHONPATH=. python tests/benchmarks/leaks.py --nights 30

Each leak is planted into the flights and looked for on every replayed night; the honest flights and
groceries are looked at on the same nights. State goes to ``NIGHTLY_HOME``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from deployments.flights import LATE_AFTER, clean
from tasks.backtest import replay
from tasks.features.contract import accept_rows
from tasks.promotion import leaks
from tasks.spec import ModelSpec
from tasks.spec.loading import load_spec
from tasks.store import frames

CHECKS = ("rebuilt", "missing", "single feature")


@dataclass(frozen=True)
class Plant:
    """A leaking column.

    Attributes:
        values: From accepted rows to its values.
        declared: Whether the raw columns it is made of are falsely declared as known ahead.
    """

    values: Callable[[pd.DataFrame], pd.Series[Any]]
    declared: tuple[str, ...] = ()


def late(rows: pd.DataFrame) -> pd.Series[Any]:
    """The label, missing where there is none."""
    return (rows["arr_delay"] > LATE_AFTER).astype("float64").where(rows["arr_delay"].notna())


def noisy_label(rows: pd.DataFrame) -> pd.Series[Any]:
    """The label with a tenth of it wrong, and a guess where there is none."""
    random = np.random.default_rng(1)
    wrong = random.random(len(rows)) < 0.1
    return (late(rows).fillna(0.0) != wrong).astype("float64")


def day_mean(rows: pd.DataFrame) -> pd.Series[Any]:
    """The share of late flights of the same day."""
    found: pd.Series[Any] = late(rows).groupby(rows["day"]).transform("mean")
    return found


def encoded(rows: pd.DataFrame) -> pd.Series[Any]:
    """The share of late flights of the same number, over all rows."""
    found: pd.Series[Any] = late(rows).groupby([rows["carrier"], rows["flight"]]).transform("mean")
    return found


def arrival_hour(rows: pd.DataFrame) -> pd.Series[Any]:
    """The hour at which it landed."""
    found: pd.Series[Any] = (rows["dep_time"] // 100 + rows["air_time"] / 60) % 24
    return found


PLANTS = {
    "dep_delay, derived in clean": Plant(lambda rows: rows["dep_delay"]),
    "dep_delay, declared as known": Plant(lambda rows: rows["dep_delay"], ("dep_delay",)),
    "air_time, derived in clean": Plant(lambda rows: rows["air_time"]),
    "air_time, declared as known": Plant(lambda rows: rows["air_time"], ("air_time",)),
    "arrival hour, derived in clean": Plant(arrival_hour),
    "arrival hour, declared as known": Plant(arrival_hour, ("dep_time", "air_time")),
    "same-day mean of the target": Plant(day_mean),
    "same-day mean, declared as known": Plant(day_mean, ("arr_delay",)),
    "key encoded on all rows": Plant(encoded),
    "key encoded, declared as known": Plant(encoded, ("arr_delay",)),
    "noisy label, derived in clean": Plant(noisy_label),
    "noisy label, declared as known": Plant(noisy_label, ("arr_delay",)),
}


def main() -> None:
    """Look, count, and print the table."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--nights", type=int, default=30)
    asked.add_argument("--as-of", type=date.fromisoformat, default=date(2026, 12, 20))
    asked.add_argument("--models", nargs="+", default=["flights", "groceries"])
    given = asked.parse_args()
    for model in given.models:
        spec = load_spec(model)
        listed = list(spec.source.list_days(given.as_of))
        dates = replay.list_nights(listed, spec.label_delay, given.nights, 1)
        seen: dict[str, list[list[bool]]] = {"no leak": []}
        strongest: list[float] = []
        for night in replay.prepare_nights(spec, dates, 1, given.as_of):
            examples = frames.read_days(night.holdout)
            judged = [pd.Timestamp(day).date() for day in examples["day"].unique()]
            raw = spec.source.read_days(judged)
            seen["no leak"].append(_look(spec, raw, examples))
            strongest.append(_auc(spec, examples))
            if model == "flights":
                for name, plant in PLANTS.items():
                    rows = accept_rows(raw, spec.contract).rows
                    values = plant.values(rows)[late(rows).notna()].to_numpy()
                    spoilt = _planted(spec, plant)
                    found = _look(spoilt, raw, examples.assign(planted=values))
                    seen.setdefault(name, []).append(found)
        print(f"\n{model}, {given.nights} nights: strongest honest feature {max(strongest):.2f}")
        print(f"{'':36}{''.join(f'{check:>16}' for check in (*CHECKS, 'any'))}")
        for name, nights in seen.items():
            shares = np.array(nights).mean(axis=0)
            caught = np.array(nights).any(axis=1).mean()
            print(f"{name:36}{''.join(f'{share:>16.0%}' for share in (*shares, caught))}")


def _planted(spec: ModelSpec, plant: Plant) -> ModelSpec:
    def spoilt(rows: pd.DataFrame) -> pd.DataFrame:
        return clean(rows).assign(planted=plant.values(rows))

    return replace(spec, clean=spoilt, known_ahead=(*spec.known_ahead, "planted", *plant.declared))


def _look(spec: ModelSpec, raw: pd.DataFrame, examples: pd.DataFrame) -> list[bool]:
    """Whether each check raises its hand."""
    days = sorted({stamp.date() for stamp in raw["day"]})
    middle = days[len(days) // 2]
    around = raw[(raw["day"] - pd.Timestamp(middle)).abs() <= pd.Timedelta(days=leaks.AROUND)]
    accepted = accept_rows(raw, spec.contract).rows
    cleaned = spec.clean(accepted) if spec.clean else accepted
    checks = (
        leaks.rebuilt_without_outcomes(spec, around.reset_index(drop=True), middle),
        leaks.missing_like_label(spec, cleaned),
        leaks.strongest_feature(spec, examples),
    )
    return [not check.passed for check in checks]


def _auc(spec: ModelSpec, examples: pd.DataFrame) -> float:
    return float(leaks.strongest_feature(spec, examples).detail.split("AUC of ")[1][:4])


if __name__ == "__main__":
    main()
