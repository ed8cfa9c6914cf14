"""What the candidates of a model find on ten folds that are spread over its days.

    PYTHONPATH=. python tests/benchmarks/folds.py --model flights

A fold is as long as the model's holdout. Candidates are fitted on all days before it; the last fold
ends with the last day, the first begins where three tenths of the days are known.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

FOLDS, BINS = 10, 10


def main() -> None:
    """Print average precision, log loss and calibration of each candidate over all folds."""
    parser = argparse.ArgumentParser(description="Candidates on ten folds.")
    parser.add_argument("--model", default="flights", help="a classification of two classes")
    asked = parser.parse_args()

    import pandas as pd
    from sklearn.base import clone
    from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

    from tasks.spec.loading import load_spec
    from tests.benchmarks.bare import accept, extract, read_year
    from tests.benchmarks.fits import LAST

    spec = load_spec(asked.model)
    rows = accept(spec, read_year(spec, LAST))
    rows = spec.clean(rows) if spec.clean else rows
    days = sorted(rows["day"].drop_duplicates())
    days = days[min(spec.lookback.days // 3, len(days) // 4) :]
    examples = extract(spec, rows, [day.date() for day in days])
    length = spec.holdout.days
    firsts = np.linspace(0.3 * len(days), len(days) - length, FOLDS).astype(int)
    scores: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in spec.candidates}
    labels = []
    for first in firsts:
        known = examples[examples["day"] < days[first]]
        ahead = examples[examples["day"].between(days[first], days[first + length - 1])]
        labels.append(ahead["target"].to_numpy())
        inputs, target = spec.problem.inputs(known), known["target"].to_numpy()
        for name, estimator in spec.candidates.items():
            fitted = clone(estimator).fit(inputs, target)
            scores[name].append(np.asarray(spec.problem.score(fitted, spec.problem.inputs(ahead))))
        told = {
            name: average_precision_score(labels[-1], found[-1]) for name, found in scores.items()
        }
        shown = ", ".join(f"{name} {value:.3f}" for name, value in told.items())
        print(f"fold from {days[first]:%Y-%m-%d}: {shown}", flush=True)
    label = np.concatenate(labels)
    print(f"\n{len(label):,} examples, {label.mean():.1%} positive\n")
    print("| | average precision | ROC AUC | log loss | calibration error |\n" + "|---" * 5 + "|")
    for name, parts in scores.items():
        score = np.concatenate(parts)
        bins = pd.Series(score - label).groupby(np.minimum(score * BINS, BINS - 1).astype(int))
        error = (bins.mean().abs() * bins.size()).sum() / len(label)
        print(
            f"| {name} | {average_precision_score(label, score):.3f} "
            f"| {roc_auc_score(label, score):.3f} | {log_loss(label, score):.4f} | {error:.4f} |"
        )


if __name__ == "__main__":
    main()
