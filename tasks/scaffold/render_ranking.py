"""The text of a model file for a recommendation, from the profile of a log of users and items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.scaffold.code import call, literal
from tasks.scaffold.render_spec import (
    class_name,
    contract,
    docstring,
    gate,
    question,
    schedule,
    source,
    variable,
    windows,
)

if TYPE_CHECKING:
    from tasks.scaffold.plan import Plan


@dataclass(frozen=True)
class Feedback:
    """The columns and habits of a log of users and items.

    Attributes:
        user: Column of the user.
        item: Column of the item.
        repeats: Whether users take an item again and again.
        rating: Column of the rating, if any.
        liked: Least rating of an item that was liked.
    """

    user: str
    item: str
    repeats: bool
    rating: str | None = None
    liked: float = 0.0


def write_ranking(plan: Plan, log: Feedback) -> str:
    """A model file for a recommendation, implicit or with ratings."""
    lines = [*docstring(plan), "", *_imports(plan), ""]
    lines += [f"USER = {literal(log.user)}", f"ITEM = {literal(log.item)}"]
    if log.rating is not None:
        lines += [f"RATING = {literal(log.rating)}", f"LIKED = {literal(log.liked)}  # or more"]
    lines += ["", "", *contract(plan), "", "", *_clean(plan, log), *_features(log), "", ""]
    lines += _spec(plan, log)
    return "\n".join([*lines, "", *schedule(plan)]) + "\n"


def _imports(plan: Plan) -> list[str]:
    zoned = any(column.zone for column in plan.columns)
    return [
        "from __future__ import annotations",
        "",
        "import pandas as pd",
        "import pandera.pandas as pa",
        *(["from pandera.typing.pandas import Series"] if zoned else []),
        "from sklearn.ensemble import HistGradientBoostingClassifier",
        "",
        "from tasks.problems import Recommendation",
        "from tasks.recommend import CandidateRanker, RankBy, candidates_of",
        f"from tasks.sources import {plan.imported}",
        f"from tasks.spec import {'EXPANDING, ' * (not plan.windows.window)}Gate, ModelSpec, days",
    ]


def _clean(plan: Plan, log: Feedback) -> list[str]:
    """The code of ``clean``: drops rows without user or item, and keeps ids as whole numbers."""
    named = {c.name: c for c in plan.columns if c.name in (log.user, log.item)}
    if not any(column.missing for column in named.values()):
        return []
    whole = [
        word
        for word, name in (("USER", log.user), ("ITEM", log.item))
        if named[name].kind in ("number", "whole") and named[name].missing
    ]
    types = ", ".join(f'{word}: "int64"' for word in whole)
    return [
        "def clean(rows: pd.DataFrame) -> pd.DataFrame:",
        '    """Rows of a known user and item."""',
        f"    return rows.dropna(subset=[USER, ITEM]){f'.astype({{{types}}})' if whole else ''}",
        "",
        "",
    ]


def _features(log: Feedback) -> list[str]:
    parts = ["requests", "history", "USER", "ITEM"]
    parts += ["rating=RATING", "liked=LIKED"] if log.rating is not None else []
    parts += [] if log.repeats else ["repeats=False"]
    return [
        "def features(requests: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:",
        '    """About a hundred items for each user, with features known that morning."""',
        *call("return candidates_of(", parts, 4),
    ]


def _spec(plan: Plan, log: Feedback) -> list[str]:
    parts = ["user=USER", "item=ITEM", 'baseline="popularity"']
    parts += ['repeat="count"'] if log.repeats else []
    parts += ["rating=RATING", "liked=LIKED"] if log.rating is not None else []
    names = ["popularity", "neighbours", *(["frequency"] if log.repeats else [])]
    baseline = "frequency" if log.repeats else "popularity"
    return [
        f"{variable(plan.name)} = ModelSpec(",
        f'    name="{plan.name}",',
        f"    question={literal(question(plan))},",
        *source(plan),
        f"    contract={class_name(plan.name)},",
        *call("problem=Recommendation(", [*parts, 'unit="visits"'], 4, ","),
        "    known_ahead=(USER,),",
        *(["    clean=clean,"] if _clean(plan, log) else []),
        "    features=features,",
        f"    lookback=days({plan.windows.lookback}),",
        "    candidates={",
        *(f'        "{name}": RankBy("{name}"),' for name in names),
        '        "ranker": CandidateRanker(',
        "            HistGradientBoostingClassifier(",
        "                max_iter=50, min_samples_leaf=50, early_stopping=False, random_state=0",
        "            )",
        "        ),",
        "    },",
        f'    baseline="{baseline}",  # what the others have to beat',
        *(f"    {part}" for part in windows(plan)),
        *([f"    timezone={literal(plan.timezone)},"] if plan.timezone != "UTC" else []),
        *gate(plan, "feature_auc=0.9", note="  # items are chosen by such scores"),
        ")",
    ]
