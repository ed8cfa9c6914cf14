"""Searches of hyperparameters, by successive halving or by Optuna."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasks.spec.tuned import Parameters, Tuned


FACTOR = 3
"""One in this many draws enters the next round, with this many times the rows."""
DRAWS = (FACTOR, 300)
"""Fewest and most draws of a search by halving."""


def search_with_optuna(tuned: Tuned, measure: Callable[[Parameters], float], seed: int) -> None:
    """Try parameters until the budget is spent.

    A distribution is searched over its quantiles, so that any scipy distribution works.

    Args:
        tuned: What to search.
        measure: Fits with some parameters and returns their score, greater is better; it records
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
    training: int,
    score: Callable[[Any], float],
    draws: int,
    seed: int,
) -> None:
    """Successive halving: all draws on few rows, the best third on three times as many, and so on.

    Args:
        tuned: What to search.
        rows: Inputs and targets, ascending by day.
        training: How many of the first rows are for training; each round samples some of them.
        score: Returns the score of a fitted estimator on the rest, greater is better; it records
            what it has seen.
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
        cv=[(places[:training], places[training:])],
        scoring=lambda estimator, _inputs, _targets: score(estimator),
        refit=False,
        return_train_score=False,
        random_state=seed,
    ).fit(inputs, targets)


def draws_of(budget: float, once: float) -> int:
    """How many draws the budget allows: each round of a search by halving costs the same.

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
