"""What new households find on the first five days they shop, and how new products fare.

The grocery model on the days of 2017 themselves, as a replayed year has its households in the year
before. The scores are those that nights made of their holdouts. Of a household the days on which it
shops are counted, of a product all days from the first on which it is sold::

    PYTHONPATH=. python tests/benchmarks/newcomers.py --as-of 2017-05-06 2017-06-03

Each night takes two CPU minutes, the first time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from deployments.groceries import groceries
from tasks.evaluation.evaluate import evaluate
from tasks.problems import Recommendation
from tasks.reporting.past_night import open_night
from tasks.spec import days
from tests.benchmarks.compare import NIGHT

MODEL = "tests.benchmarks.newcomers:in_2017"
in_2017 = replace(
    groceries, name="groceries-in-2017", source=groceries.source.source, lookback=days(60)
)
GROUPS: Mapping[str, Callable[[Any], Any]] = {
    "first day": lambda nth: nth == 1,
    "days 2 to 5": lambda nth: (nth > 1) & (nth <= 5),
    "later": lambda nth: nth > 5,
}
"""Name to which days of a household or a product it holds, counted from 1."""


def print_households(problem: Recommendation, rows: Any, scores: Any) -> None:
    """One row for each group of households and each candidate.

    Args:
        problem: The recommendation.
        rows: Examples of the holdouts; ``nth`` counts the days on which their household shops.
        scores: Each candidate's scores of them, shape (rows, candidates).
    """
    names = (f"ndcg_{problem.k}", f"recall_{problem.recall_k}")
    print(f"| household | {problem.unit} | candidate | {' | '.join(names)} |\n" + "|---" * 5 + "|")
    for group, of_group in GROUPS.items():
        kept = of_group(rows["nth"]).to_numpy()
        found = evaluate(
            problem, rows[kept].reset_index(drop=True), {n: scores[n][kept] for n in scores},
            resamples=500, confidence=0.9, seed=1, names=names,
        ).metrics  # fmt: skip
        for name, metrics in found.items():
            each = [f"{metrics[m].value:.3f} ({metrics[m].low:.3f} to {metrics[m].high:.3f})"
                    for m in names]  # fmt: skip
            count = problem.count_units(rows[kept])
            print(f"| {group} | {count:,} | {name} | {' | '.join(each)} |")


def print_products(problem: Recommendation, rows: Any, score: Any, bought: Any) -> None:
    """One row for each group of products: how much is bought of them, offered and found.

    Args:
        problem: The recommendation.
        rows: Examples of the holdouts.
        score: A candidate's scores of them.
        bought: What each household bought on these days; ``nth`` counts the days of the product.
    """
    keys = ["day", problem.user, problem.item]
    ranked = rows[keys].assign(
        place=rows.assign(score=score).groupby(keys[:2])["score"].rank("first", ascending=False)
    )
    told = bought.merge(ranked, how="left", on=keys)
    print("\n| product | purchases | of all | among the item candidates | recall_20 |")
    print("|---" * 5 + "|")
    for group, of_group in GROUPS.items():
        of_these = told[of_group(told["nth"])]
        offered, found = of_these["place"].notna().mean(), (of_these["place"] <= 20).mean()
        share = len(of_these) / len(told)
        print(f"| {group} | {len(of_these):,} | {share:.1%} | {offered:.1%} | {found:.1%} |")


def main() -> None:
    """Print both tables over all nights."""
    import pandas as pd

    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--as-of", required=True, nargs="+")
    parser.add_argument("--candidate", default="ranker", help="whose lists show the products")
    asked = parser.parse_args()
    every, scores, bought = [], [], []
    for as_of in asked.as_of:
        command = [sys.executable, NIGHT, "--model", MODEL, "--as-of", as_of]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": "."})
        night = open_night(MODEL, as_of)
        problem = night.spec.problem
        rows = night.examples[night.examples["part"] == "holdout"].reset_index(drop=True)
        clean = night.clean
        shopped = clean[["day", problem.user]].drop_duplicates().sort_values("day")
        shopped = shopped.assign(nth=shopped.groupby(problem.user).cumcount() + 1)
        every.append(rows.merge(shopped, how="left", on=["day", problem.user]))
        scores.append(night.scores.drop(columns=["day", "target"]))
        wanted = problem.wanted(clean[clean["day"].isin(rows["day"].unique())])
        first = wanted[problem.item].map(clean.groupby(problem.item)["day"].min())
        bought.append(wanted.assign(nth=(wanted["day"] - first).dt.days + 1))
    rows, score = pd.concat(every, ignore_index=True), pd.concat(scores, ignore_index=True)
    values = {name: score[name].to_numpy(dtype=np.float64) for name in score}
    print_households(problem, rows, values)
    print_products(problem, rows, values[asked.candidate], pd.concat(bought))


if __name__ == "__main__":
    main()
