"""Fits of past nights and the figures they have on the days after, kept on disk.

A fit of every few nights stands for those in between. Honest: the champion's recipe. Flipped: the
same where a third of the labels are wrong. Joined: the honest fit, asked while its strongest inputs
are stuck at their mean in a share of the rows, as after a join that breaks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks import settings
from tasks.evaluation.evaluate import evaluate_days
from tasks.features import cleaning
from tasks.features.examples import prepare_examples
from tasks.spec import ModelSpec
from tasks.spec.loading import load_spec
from tasks.store import files, frames
from tasks.training import fit as fitting

LAST = date(2026, 12, 20)
RECIPES = {"flights": "blend", "groceries": "ranker"}
SHARES = (0.25, 0.5, 0.75, 1.0)
"""Shares of the rows whose join is broken."""
OLDEST, OLDEST_JOINED = 80, 21
"""Days after a fit that are measured; older joined ones count as the oldest."""
FEWEST = {"flights": 60, "groceries": 30}
"""Training days of the first fit."""
Daily = npt.NDArray[np.float64]


def flipped(examples: pd.DataFrame, seed: int) -> pd.DataFrame:
    """A third of the labels are wrong."""
    wrong = np.random.default_rng(seed).random(len(examples)) < 1 / 3
    target = examples["target"].where(~wrong, 1 - examples["target"])
    return examples.assign(target=target.astype(examples["target"].dtype))


def unjoined(
    spec: ModelSpec, examples: pd.DataFrame, follows: pd.Series, share: float = 1.0
) -> pd.DataFrame:
    """The third of the numeric inputs that follows the label most is stuck at its mean.

    Args:
        spec: The model.
        examples: What is asked.
        follows: From ``strength``.
        share: Share of the rows that are stuck.
    """
    stuck = np.random.default_rng(0).random(len(examples)) < share
    inputs = spec.problem.inputs(examples)
    lost = {n: inputs[n].where(~stuck, inputs[n].mean()) for n in follows.index}
    return examples.assign(**lost)


def strength(spec: ModelSpec, examples: pd.DataFrame) -> pd.Series:
    """The third of the numeric inputs that follows the label most, with how closely."""
    numbers = spec.problem.inputs(examples).select_dtypes("number")
    follows = numbers.corrwith(examples["target"].astype(float)).abs().sort_values()
    return follows.iloc[-len(follows) // 3 :]


def kept_figures(model: str) -> dict[date, dict[str, dict[date, float]]]:
    """Fitted through, to kind, to day, to the primary metric: what ``measure`` has kept."""
    found = {}
    for file in sorted(_folder(model).glob("????-??-??.json")):
        kept: Mapping[str, Mapping[str, float]] = files.read_json(file)
        found[date.fromisoformat(file.stem)] = {
            kind: {date.fromisoformat(day): value for day, value in values.items()}
            for kind, values in kept.items()
        }
    return found


class ByAge(NamedTuple):
    """What fits of every age do on each day.

    Attributes:
        days: The days, ascending.
        kinds: Kind to its figures, one row an age in days (row 0 is empty: no fit has seen the
            day), one column a day. Of an age without a fit the next older one stands in, else the
            oldest.
        full: First day that fits of all ages have answered.
    """

    days: list[date]
    kinds: dict[str, Daily]
    full: int


def by_age(model: str) -> ByAge:
    """The kept figures by the age of the fit; days on which a figure is undefined are left out."""
    kept = kept_figures(model)
    days = sorted({day for kinds in kept.values() for day in kinds["honest"]})
    kinds = {kind: np.full((OLDEST + 1, len(days)), np.nan) for kind in next(iter(kept.values()))}
    for at, day in enumerate(days):
        for kind, figures in kinds.items():
            told = {
                (day - until).days: found[kind][day]
                for until, found in kept.items()
                if day in found.get(kind, {})
            }
            for age in range(1, OLDEST + 1) if told else ():
                older = [known for known in told if known >= age]
                figures[age, at] = told[min(older) if older else max(told)]
    sound = [
        at for at in range(len(days)) if all(np.isfinite(f[1:, at]).all() for f in kinds.values())
    ]
    chosen = [days[at] for at in sound]
    full = sum((day - min(kept)).days < OLDEST for day in chosen)
    return ByAge(chosen, {kind: figures[:, sound] for kind, figures in kinds.items()}, full)


def laid_out(figures: Daily, days: npt.NDArray[np.intp], nights: int, ahead: int) -> Daily:
    """The figures of every night's version on every day, as ``champions.Figures`` has them.

    Args:
        figures: Of one kind, by age.
        days: Column of ``figures`` for each day.
        nights: Versions 0 to this one.
        ahead: Days between the first training day that is not in the version and its own night's
            holdout: 1 for a twin, 14 more for the version itself.
    """
    age = np.arange(len(days)) - np.arange(nights + 1)[:, None] + ahead
    found: Daily = figures[np.clip(age, 0, OLDEST), days]
    return found


def measure(model: str, every: int) -> None:
    """Fit and score what is not kept yet; it goes on where it was cut off.

    Args:
        model: Name of the model.
        every: Nights from one fit to the next.
    """
    spec = load_spec(model)
    listed = spec.source.list_days(LAST)
    wanted = [day for day in listed if day >= min(listed) + spec.lookback / 2]
    asked = wanted[FEWEST[model] : -OLDEST_JOINED : every]
    missing = [until for until in asked if not (_folder(model) / f"{until}.json").exists()]
    if not missing:
        return
    clean = cleaning.clean_days(spec, listed)
    refs, _ = prepare_examples(spec, listed, clean.refs, wanted)
    _folder(model).mkdir(parents=True, exist_ok=True)
    for until in missing:
        known = [refs[day] for day in wanted if day <= until]
        known = known[-(spec.window - spec.holdout).days :]
        ahead = [refs[day] for day in wanted if until < day <= until + timedelta(days=OLDEST)]
        found = measure_one(spec, RECIPES[model], frames.read_days(known), frames.read_days(ahead))
        files.write_json(_folder(model) / f"{until}.json", found)
        print(f"{model}: fitted through {until}", flush=True)


def measure_one(
    spec: ModelSpec, recipe: str, known: pd.DataFrame, ahead: pd.DataFrame
) -> dict[str, dict[str, float]]:
    """Kind, to day, to the primary metric of a fit on the days after."""
    seed = int(known["day"].iloc[-1].toordinal())
    honest = fitting.fit(spec, recipe, known)
    wrong = fitting.fit(spec, recipe, flipped(known, seed))
    found = _figures(spec, ahead, {"honest": honest, "flipped": wrong})
    follows = strength(spec, known)
    soon = ahead[ahead["day"] <= known["day"].max() + pd.Timedelta(days=OLDEST_JOINED)]
    for share in SHARES:
        broken = unjoined(spec, soon.reset_index(drop=True), follows, share)
        found |= _figures(spec, broken, {f"joined {share:g}": honest})
    return found


def _figures(
    spec: ModelSpec, ahead: pd.DataFrame, fits: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    scores = {name: fitting.score(spec, name, one, ahead) for name, one in fits.items()}
    daily = evaluate_days(spec.problem, ahead, scores)
    return {
        kind: {str(day)[:10]: value for day, value in values.items()}
        for kind, values in daily.items()
    }


def _folder(model: str) -> Path:
    return settings.home() / "fits" / model
