"""A candidate whose hyperparameters are searched now and then, not every night."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from tasks.spec.values import days

Parameters = dict[str, Any]
PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True, eq=False)
class Tuned:
    """An estimator and the search of its hyperparameters; a value of the spec's ``candidates``.

    A night whose as-of date begins a new period of ``every`` searches, for ``budget`` seconds in a
    separate process; the nights after it fit with the parameters it found, at no extra cost. The
    very first night searches too, and the first after an edit of the model. The search sees only
    the training days, the last of them as its own holdout, and never the night's holdout. The found
    parameters are used only where they are better there than the estimator as written.

    New parameters are still the same recipe: the candidate keeps its name, and must meet the bound
    for the same recipe. Parameters are refitted like coefficients, only less often. If they had to
    prove a clear gain each time, a search could never follow the data; a harmful one is stopped by
    that bound like a bad refit.

    Attributes:
        estimator: scikit-learn compatible, with the parameters to use where the search finds
            nothing better.
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
        """The package that a search needs, as a sentence; empty where it is installed.

        This is not a fault of the spec: predicting with a fitted model needs no search.
        """
        if self.method != "optuna" or importlib.util.find_spec("optuna") is not None:
            return ""
        return (
            "method='optuna' needs the package optuna, which is not installed: "
            "pip install -e '.[tune]', or use method='halving'."
        )


def _is_choice(values: object) -> bool:
    choice = isinstance(values, list | tuple) and bool(values)
    return choice and all(isinstance(value, PLAIN) for value in values)  # type: ignore[attr-defined]
