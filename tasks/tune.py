"""A candidate whose parameters are searched now and then, not every night."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from tasks.spec import days

Parameters = dict[str, Any]
PLAIN = (bool, int, float, str, type(None))
FACTOR = 3
"""One of so many draws goes into the next round, with so many times the rows."""
DRAWS = (FACTOR, 300)
"""Fewest and most draws of a search by halving."""


@dataclass(frozen=True, eq=False)
class Tuned:
    """An estimator and what to search for it; a value of the spec's ``candidates``.

    A night whose as-of date begins a new period of ``every`` searches, for ``budget`` seconds in a
    process of its own; the nights after it fit with what was found and pay nothing. So does the
    first night of all, and the first after an edit of the model. The search sees the days that
    teach, the last of them as its own holdout, and never the days that judge. What was found is
    used only where it is better there than the estimator as it is written.

    New parameters are still the same recipe: the candidate keeps its name, and is held to the bound
    of the same recipe. Parameters are refitted like coefficients, only less often; asked to prove
    a clear gain each time, a search could never follow the data, while one that does harm is
    stopped by that bound as a bad refit is.

    Attributes:
        estimator: scikit-learn compatible, with the parameters used where nothing better is found.
        search: Parameter (``step__name`` inside a pipeline) to the values to choose from, or to a
            distribution of ``scipy.stats``.
        budget: Seconds a search may take, whatever its fits cost.
        every: Days between two searches, counted from a fixed day: of seven, from Sunday.
        method: ``halving``, scikit-learn's successive halving of random draws (Jamieson and
            Talwalkar 2016, Non-stochastic Best Arm Identification), or ``optuna``, its
            tree-structured Parzen estimator, which needs the package optuna.
    """

    estimator: Any
    search: Mapping[str, Any]
    budget: float = 60.0
    every: timedelta = timedelta(days=7)
    method: Literal["halving", "optuna"] = "halving"

    def faults(self) -> list[str]:
        """Every setting out of bounds, in words."""
        found = []
        if not isinstance(self.search, Mapping) or not self.search:
            found.append(f"search: found {self.search!r}, allowed a dict of parameter to values")
        else:
            asked = getattr(self.estimator, "get_params", None)
            known = asked() if asked and not isinstance(self.estimator, type) else {}
            for name, values in self.search.items():
                if known and name not in known:
                    found.append(
                        f"search: found {name!r}, allowed parameters of the estimator such as "
                        f"{', '.join(sorted(known)[:5])}"
                    )
                if not hasattr(values, "rvs") and not _is_choice(values):
                    found.append(
                        f"search[{name!r}]: found {values!r}, allowed a list of numbers, texts, "
                        "True, False or None, or a distribution of scipy.stats"
                    )
        number = isinstance(self.budget, int | float) and not isinstance(self.budget, bool)
        if not number or not 1 <= self.budget <= 86_400:
            found.append(f"budget: found {self.budget!r}, allowed 1 to 86400 seconds")
        if not isinstance(self.every, timedelta) or self.every % days(1) or self.every < days(1):
            found.append(f"every: found {self.every}, allowed days(n), n at least 1")
        if self.method not in ("halving", "optuna"):
            found.append(f"method: found {self.method!r}, allowed 'halving' or 'optuna'")
        return found

    def missing(self) -> str:
        """What has to be installed before a search, in words; empty where nothing is missing.

        No fault of the spec: where only the fitted model is asked nothing is searched.
        """
        if self.method != "optuna" or importlib.util.find_spec("optuna") is not None:
            return ""
        return (
            "method='optuna' needs the package optuna, which is not installed: "
            "pip install -e '.[tune]', or use method='halving'."
        )


def search_with_optuna(tuned: Tuned, measure: Callable[[Parameters], float], seed: int) -> None:
    """Try parameters until the budget is spent.

    A distribution is searched over its quantiles, so that any of scipy's will do.

    Args:
        tuned: What to search.
        measure: Fits with some parameters and says how good they are, greater is better; keeps
            what it has seen.
        seed: Seed of the draws.
    """
    import optuna

    def objective(trial: optuna.Trial) -> float:
        chosen: Parameters = {}
        for name, values in tuned.search.items():
            if hasattr(values, "rvs"):
                chosen[name] = _plain(values.ppf(trial.suggest_float(name, 1e-6, 1 - 1e-6)))
            else:
                place = trial.suggest_categorical(name, list(range(len(values))))
                chosen[name] = list(values)[place]
        return measure(chosen)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, timeout=tuned.budget)


def search_by_halving(
    tuned: Tuned,
    rows: tuple[Any, Any],
    learned: int,
    score: Callable[[Any], float],
    draws: int,
    seed: int,
) -> None:
    """Try so many draws on few rows, the best third of them on three times as many, and so on.

    Args:
        tuned: What to search.
        rows: Inputs and targets, ascending by day.
        learned: How many of the first rows may be learned from; each round draws some of them.
        score: Says how good a fitted estimator is on the rest, greater is better; keeps what it
            has seen.
        draws: Draws of the first round.
        seed: Seed of the draws.
    """
    import numpy as np
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingRandomSearchCV

    inputs, targets = rows
    places = np.arange(len(inputs))
    HalvingRandomSearchCV(
        tuned.estimator,
        dict(tuned.search),
        n_candidates=draws,
        factor=FACTOR,
        min_resources=max(len(inputs) // FACTOR ** (rounds_of(draws) - 1), 1),
        cv=[(places[:learned], places[learned:])],
        scoring=lambda estimator, _inputs, _targets: score(estimator),
        refit=False,
        return_train_score=False,
        random_state=seed,
    ).fit(inputs, targets)


def draws_of(budget: float, once: float) -> int:
    """How many draws a search by halving affords: each of its rounds costs as much as the first.

    Args:
        budget: Seconds.
        once: Seconds that one draw takes in the first of three rounds.
    """
    return int(min(max(budget / (3 * max(once, 1e-3)), DRAWS[0]), DRAWS[1]))


def rounds_of(draws: int) -> int:
    """Rounds after which one draw is left, three at most."""
    return min(int(math.log(draws, FACTOR) + 1e-9) + 1, 3)


def plain_parameters(parameters: Mapping[str, Any]) -> Parameters:
    """Parameters as plain Python types, in the order of their names."""
    return {name: _plain(parameters[name]) for name in sorted(parameters)}


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _is_choice(values: object) -> bool:
    choice = isinstance(values, list | tuple) and bool(values)
    return choice and all(isinstance(value, PLAIN) for value in values)  # type: ignore[attr-defined]
