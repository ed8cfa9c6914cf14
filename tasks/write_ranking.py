"""The text of a model file that recommends, made from what a log of users and items looks like."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.write_code import call, from_import, literal
from tasks.write_spec import (
    Plan,
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


@dataclass(frozen=True)
class Feedback:
    """What the rows of a log say of users and items.

    Attributes:
        user: Column of the user.
        item: Column of the item.
        repeats: Whether users take an item again and again.
        rating: Column that says how much it was liked, if any.
        liked: Least rating of an item that was liked.
    """

    user: str
    item: str
    repeats: bool
    rating: str | None = None
    liked: float = 0.0


def write_ranking(plan: Plan, log: Feedback) -> str:
    """A model file for a recommendation, implicit or with ratings."""
    lines = [*docstring(plan), "", *_imports(plan, log), ""]
    lines.append(f"USER, ITEM = {literal(log.user)}, {literal(log.item)}")
    if log.rating is not None:
        lines.append(f"RATING, LIKED = {literal(log.rating)}, {literal(log.liked)}")
    lines += ["", "", *contract(plan), "", "", *_features(log), "", "", *_spec(plan, log)]
    return "\n".join([*lines, "", *schedule(plan)]) + "\n"


def _imports(plan: Plan, log: Feedback) -> list[str]:
    zoned = any(column.zone for column in plan.named("time", "input"))
    names = ["LatentFactors", "PersonalFrequency", "Popularity", "Purchases", "RankBy", "TifuKnn"]
    if not log.repeats:
        names.remove("PersonalFrequency")
        names += ["asked_matrix", "lookup"]
    return [
        "from __future__ import annotations",
        "",
        *(["from dataclasses import replace", ""] if log.rating is not None else []),
        "import numpy as np",
        "import pandas as pd",
        "import pandera.pandas as pa",
        *(["from pandera.typing.pandas import Series"] if zoned else []),
        "from sklearn.ensemble import HistGradientBoostingClassifier",
        "",
        "from tasks import ranking",
        "from tasks.problems import Recommendation",
        "from tasks.ranking import CandidateRanker",
        *from_import("tasks.recommend", names),
        f"from tasks.sources import {plan.imported}",
        f"from tasks.spec import {'EXPANDING, ' * (not plan.windows.window)}Gate, ModelSpec, days",
    ]


def _features(log: Feedback) -> list[str]:
    rated, again = log.rating is not None, log.repeats
    used = "liked" if rated else "log"
    lines = [
        "def features(requests: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:",
        '    """About a hundred items for each user, with what is known of them that morning."""',
        "    log = Purchases.encode(requests, history, USER, ITEM)",
    ]
    if rated:
        lines += [
            "    good = (history[RATING] >= LIKED).to_numpy()",
            "    liked = replace(log, user=log.user[good], item=log.item[good], age=log.age[good])",
        ]
    lines += [
        f"    popular = Popularity(days=28).fit({used})",
        f"    similar = TifuKnn().fit({used})",
        f"    latent = LatentFactors().fit({used})",
    ]
    if again:
        lines.append("    frequency = PersonalFrequency(half_life=60).fit(log.of_asked())")
    lines += [
        '    best = np.argsort(-popular.counts_, kind="stable")[:50]',
        "    user, item = ranking.union(",
        "        log,",
        *(["        ranking.best_entries(frequency.matrix_, 50),"] if again else []),
        "        ranking.best_columns(similar.neighbours_, similar.column_, 50),",
        "        ranking.best_columns(latent.scores_, latent.column_, 50),",
        "        ranking.for_everyone(log.asked, best),",
        "    )",
    ]
    if not again:
        lines += [
            "    had = lookup(asked_matrix(log, np.ones(len(log.user))), user, item) > 0",
            "    new = ~had | (np.bincount(user, ~had, log.asked)[user] == 0)  # or had all",
            "    user, item = user[new], item[new]",
        ]
    lines += [
        "    columns = {",
        '        "popularity": popular.score(user, item),',
        '        "similar": similar.score_neighbours(user, item),',
        '        "latent": latent.score(user, item),',
        "    }",
    ]
    if again:
        lines.append('    columns["frequency"] = frequency.score(user, item)')
        lines.append("    columns |= ranking.habits(log, user, item)")
    if rated:
        lines += [
            "    count = np.bincount(log.item, minlength=len(log.items))",
            "    total = np.bincount(log.item, history[RATING], len(log.items))",
            '    columns["rating"] = ((total + 5 * LIKED) / (count + 5))[item].astype("float32")',
        ]
    lines += [
        f"    columns |= ranking.demand({used}, item)",
        "    columns |= ranking.shopping(log, user)",
        "    return pd.DataFrame({USER: log.users[user], ITEM: log.items[item], **columns})",
    ]
    return lines


def _spec(plan: Plan, log: Feedback) -> list[str]:
    parts = ["user=USER", "item=ITEM", 'baseline="popularity"']
    parts += ['repeat="count"'] if log.repeats else []
    parts += ["rating=RATING", "liked=LIKED"] if log.rating is not None else []
    names = ["popularity", "similar", "latent", *(["frequency"] if log.repeats else [])]
    return [
        f"{variable(plan.name)} = ModelSpec(",
        f'    name="{plan.name}",',
        f"    question={literal(question(plan))},",
        *source(plan),
        f"    contract={class_name(plan.name)},",
        *call("problem=Recommendation(", [*parts, 'unit="visits"'], 4, ","),
        "    known_ahead=(USER,),",
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
        *(f"    {part}," for part in windows(plan)),
        *([f"    timezone={literal(plan.timezone)},"] if plan.timezone != "UTC" else []),
        f"    {gate(plan)},",
        ")",
    ]
