"""A test that may be looked at every day: is one of two scorers better, day by day?

Someone starts with 1 and bets every day on the better one, before the day is known. Where it is no
better, the capital grows twentyfold with a probability of at most 1/20, however often one looks and
whenever one stops (Ville's inequality). The capital is an e-process: Ramdas, Grünwald, Vovk and
Shafer 2023, Game-Theoretic Statistics and Safe Anytime-Valid Inference; for forecasters, Choe and
Ramdas 2024, Comparing Sequential Forecasters.

A day with difference x multiplies the capital by ``1 + tanh(bet * x / s)``, where s is the root
mean square of the differences up to and with that day. The factor's mean is at most 1 where, given
the days before, x is distributed symmetrically about 0 or about a negative value: it is 1 plus an
odd, increasing function of x. No variance is assumed, and one extreme day at most doubles the
capital.

Neighbouring days are alike, however: ``ALIKE`` days count as one, that is, each factor is taken to
the power of 1 / ``ALIKE``. That is as if the variance of the bets were so many times larger. Not
covered: differences that are mostly small losses and rarely large gains, and a scorer that is
better in one season only, which counts as better while it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tasks.metrics.base import Floats


BETS = (0.25, 0.5, 1.0, 2.0)
"""The capital is split equally over these: small bets suit small gains, large ones large gains."""

ALIKE = 2.0
"""Days that count as one: the sum of many days may vary by twice the variance of as many
independent ones, as where each day's difference correlates with the day before by 1/3."""


@dataclass(frozen=True)
class Capital:
    """What has become of 1.

    Attributes:
        days: Days that counted.
        squares: Sum of their squared differences.
        logs: Logarithm of what each of ``BETS`` has made of 1.
    """

    days: int = 0
    squares: float = 0.0
    logs: tuple[float, ...] = (0.0,) * len(BETS)

    @property
    def e_value(self) -> float:
        """The capital: above 1 speaks for better, and 1/e bounds the probability of an error."""
        return float(np.exp(self.logs).mean())


def bet(capital: Capital, differences: Sequence[float]) -> Capital:
    """The capital after further days.

    Args:
        capital: The capital before them.
        differences: How much better the scorer was on each day, in the order of the days; positive
            is better. Days that are not finite do not count.
    """
    found = np.asarray([d for d in differences if math.isfinite(d)], dtype=np.float64)
    if not len(found):
        return capital
    logs = np.asarray(capital.logs) + _log_factors(found, capital).sum(axis=0)
    squares = capital.squares + float((found**2).sum())
    return Capital(capital.days + len(found), squares, tuple(logs.tolist()))


def most(capital: Capital, days: int) -> float:
    """What a capital can become at most in so many further days, each of which a bet wins.

    Args:
        capital: The capital before them.
        days: How many.
    """
    return capital.e_value * math.exp(days * math.log(2) / ALIKE)


def e_values(differences: Floats) -> Floats:
    """The capital after each day, along the last axis, beginning with 1; days must be finite."""
    logs = _log_factors(np.asarray(differences, dtype=np.float64), Capital()).cumsum(axis=-2)
    capital: Floats = np.exp(logs).mean(axis=-1)
    return capital


def _log_factors(differences: Floats, before: Capital) -> Floats:
    """Logarithm of the factor of each day (last but one axis) and bet (last axis)."""
    count = before.days + np.arange(1, differences.shape[-1] + 1)
    scale = np.sqrt((before.squares + (differences**2).cumsum(axis=-1)) / count)
    unit = np.divide(differences, scale, out=np.zeros_like(differences), where=scale > 0)
    # log(1 + tanh(u)) without loss where u is far below 0
    factors: Floats = math.log(2) - np.logaddexp(0.0, -2.0 * unit[..., None] * np.asarray(BETS))
    return factors / ALIKE
