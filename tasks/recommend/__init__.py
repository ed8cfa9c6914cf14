"""Recommenders and their features: import from here."""

from __future__ import annotations

from tasks.recommend.item_candidates import candidates_of
from tasks.recommend.purchases import Purchases
from tasks.recommend.rankers import CandidateRanker, RankBy
from tasks.recommend.recommenders import LatentFactors, PersonalFrequency, Popularity, TifuKnn

__all__ = [
    "CandidateRanker",
    "LatentFactors",
    "PersonalFrequency",
    "Popularity",
    "Purchases",
    "RankBy",
    "TifuKnn",
    "candidates_of",
]
