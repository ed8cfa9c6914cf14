"""What places kept for products never bought before cost and bring, on the holdout of a night.

The scores are those that the night made of its holdout; only the order in which products are shown
differs from row to row of the table::

    PYTHONPATH=. python tests/benchmarks/discoveries.py --as-of 2026-11-28

It needs a night of groceries in ``NIGHTLY_HOME`` and takes a minute.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np

from tasks.evaluation.evaluate import evaluate
from tasks.problems import Recommendation
from tasks.reporting.past_night import open_night

KEPT = (0, 1, 2, 3, 5)


def shelf(problem: Recommendation, rows: Any, score: np.ndarray) -> dict[str, float]:
    """What the lists of ``k`` places hold: shares of discoveries, of the catalogue, of one item."""
    shown = [
        problem.answers(day[[problem.user]].drop_duplicates(), day, score[places])
        for day, places in _days(rows)
    ]
    top = [lists[lists["place"] <= problem.k] for lists in shown]
    items, kinds = ([lists[name] for lists in top] for name in (problem.item, "kind"))
    return {
        "discoveries": float(np.mean([(kind == "discovery").mean() for kind in kinds])),
        "coverage": float(np.mean([item.nunique() for item in items])),
        "largest": float(
            np.mean(
                [
                    i.value_counts().iloc[0] / t[problem.user].nunique()
                    for i, t in zip(items, top, strict=True)
                ]
            )
        ),
    }


def _days(rows: Any) -> list[tuple[Any, np.ndarray]]:
    places = rows.groupby("day").indices
    return [(rows.iloc[each].reset_index(drop=True), each) for each in places.values()]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", default="groceries")
    parser.add_argument("--as-of", required=True)
    parser.add_argument("--candidate", default="ranker")
    asked = parser.parse_args()
    night = open_night(asked.model, asked.as_of)
    rows = night.examples[night.examples["part"] == "holdout"].reset_index(drop=True)
    print_table(night.spec.problem, rows, night.scores[asked.candidate].to_numpy())


def print_table(problem: Any, rows: Any, score: np.ndarray) -> None:
    """One row for each number of kept places.

    Args:
        problem: The recommendation.
        rows: Examples of the holdout.
        score: A candidate's scores of them.
    """
    plain, recall = f"ndcg_{problem.k}", f"recall_{problem.recall_k}"
    names = (plain, recall, f"{recall}_from_repeats", f"{recall}_from_discoveries")
    print(f"| kept | {' | '.join(names)} | discoveries shown | products shown | largest |")
    for kept in KEPT:
        changed = replace(problem, discoveries=kept, metrics=())
        found = evaluate(
            changed, rows, {"it": score}, resamples=500, confidence=0.9, seed=1, names=names
        ).metrics["it"]
        figures = [
            f"{found[n].value:.4f} ({found[n].low:.4f} to {found[n].high:.4f})" for n in names
        ]
        other = shelf(changed, rows, score)
        print(
            f"| {kept} | {' | '.join(figures)} | {other['discoveries']:.1%} | "
            f"{other['coverage']:,.0f} | {other['largest']:.1%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
