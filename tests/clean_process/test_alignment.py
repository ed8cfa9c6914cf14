"""Predictions of a version are laid beside the rows they belong to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tasks.clean_process import alignment
from tasks.clean_process.alignment import AlignError
from tasks.features import scoring
from tasks.features.scoring import clean_rows
from tasks.problems import Classification, Multiclass, Recommendation
from tasks.spec import ModelSpec
from tests.toy import toy

DAY = pd.Timestamp("2026-03-02")


def rows(count: int = 6) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "day": DAY,
            "shop": list("ababab")[:count],
            "bought": [1.0, np.nan, 0.0, 1.0, 0.0, 1.0][:count],
        }
    )


SPEC = replace(
    toy, problem=Classification("bought"), requests=None, known_ahead=("shop",), slices=()
)
HOLDOUT = pd.DataFrame({"day": DAY, "target": [1, 0, 1, 0, 1]})
POSITIONS = [5, 4, 3, 2, 1, 0]
EXPECTED = [0.0, 0.2, 0.3, 0.4, 0.5]


def answers(positions: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"day": DAY, "row": positions, "score": [p / 10 for p in positions]})


def aligned(
    spec: ModelSpec, said: pd.DataFrame, accepted: pd.DataFrame | None = None
) -> list[float]:
    """The champion's score of each example made of the rows as they were first read."""
    kept = clean_rows(spec, rows())
    again = rows() if accepted is None else accepted
    added, scores = alignment.align(spec, HOLDOUT, kept, again, said)
    assert len(added) == 0
    found: list[float] = scores.tolist()
    return found


def test_scores_are_laid_beside_the_rows_they_belong_to() -> None:
    assert aligned(SPEC, answers(POSITIONS)) == EXPECTED


def test_rows_the_champion_leaves_out_are_too_many() -> None:
    with pytest.raises(AlignError, match="no predictions for 20% of tonight's rows"):
        aligned(SPEC, answers([0, 1, 2, 3, 4]))


CLEANS = {
    "a reset index": (lambda raw: raw.iloc[::-1].reset_index(drop=True), EXPECTED[::-1]),
    "a changed column known ahead": (lambda raw: raw.assign(shop=raw["shop"] + "!"), EXPECTED),
    "a filter and a reset index": (
        lambda raw: raw[raw["bought"].notna()].reset_index(drop=True),
        EXPECTED,
    ),
    "a join": (lambda raw: raw.merge(pd.DataFrame({"shop": ["a", "b"], "town": 1})), EXPECTED),
}


@pytest.mark.parametrize("case", CLEANS)
def test_rows_are_the_same_whatever_clean_does_to_them(case: str) -> None:
    clean, expected = CLEANS[case]
    assert aligned(replace(SPEC, clean=clean), answers(POSITIONS)) == expected


def test_rows_that_are_read_in_another_order_are_the_same() -> None:
    """As ties of a database may be: the scores name rows as they were read this time."""
    order = [3, 0, 5, 1, 4, 2]
    raw = rows().assign(size=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    spec = replace(SPEC, clean=lambda raw: raw.assign(size=raw["size"] * 2))
    again = raw.iloc[order].reset_index(drop=True)
    said = answers([0, 1, 2, 3, 4, 5]).assign(score=[place / 10 for place in order])
    _, scores = alignment.align(spec, HOLDOUT, clean_rows(spec, raw), again, said)
    assert scores.tolist() == EXPECTED


def test_a_label_that_comes_after_the_newest_night_is_no_example_for_the_champion() -> None:
    spec = replace(SPEC, late={"bought": "paid"}, night_start="03:30")
    hours = pd.to_timedelta([25, 25, 30, 25, 25, 30], unit="h")
    raw = rows().assign(paid=DAY + hours)
    known = HOLDOUT.iloc[[0, 2, 3]].reset_index(drop=True)
    said, nights = answers(POSITIONS), {DAY.date(): DAY.date()}
    _, scores = alignment.align(spec, known, raw, raw, said, nights)
    assert scores.tolist() == [0.0, 0.3, 0.4]
    assert alignment.align(spec, HOLDOUT, raw, raw, said)[1].tolist() == EXPECTED


def summed(raw: pd.DataFrame) -> pd.DataFrame:
    """A row for each shop and label: rows of which none is a raw one."""
    return raw.groupby(["day", "shop"], as_index=False)["bought"].max()


def test_new_rows_are_matched_by_the_key_or_the_reason_is_told() -> None:
    plain = replace(SPEC, clean=summed)
    keyed = replace(plain, problem=Classification("bought", key=("shop",)))
    said = pd.DataFrame({"day": DAY, "row": -1, "key 0": ["b", "a"], "score": [0.2, 0.1]})
    holdout = pd.DataFrame({"day": DAY, "target": [1, 1]})

    def scores(spec: ModelSpec, said: pd.DataFrame) -> list[float]:
        kept = clean_rows(spec, rows())
        found: list[float] = alignment.align(spec, holdout, kept, rows(), said)[1].tolist()
        return found

    assert scores(keyed, said) == [0.1, 0.2]
    with pytest.raises(AlignError, match=r"makes new rows .* names no key that both have"):
        scores(plain, said.drop(columns="key 0"))
    with pytest.raises(AlignError, match=r"key \(shop\) is not unique within each day"):
        scores(keyed, said.assign(**{"key 0": "a"}))
    by_raw_row = replace(keyed, clean=None)
    with pytest.raises(AlignError, match="its clean makes new rows of the raw ones"):
        scores(by_raw_row, said)


def test_a_version_names_the_raw_row_of_each_prediction() -> None:
    """Through the script that runs beside the package: another order, an index made anew."""

    class Size:
        classes_ = np.array([0, 1])

        def predict_proba(self, inputs: pd.DataFrame) -> np.ndarray:
            return np.c_[1 - inputs["size"], inputs["size"]]

    accepted = pd.concat([rows(), rows().assign(day=DAY + pd.Timedelta(days=1))])
    accepted = accepted.reset_index(drop=True).assign(size=np.arange(12) / 100)
    spec = replace(
        SPEC,
        problem=Classification("bought", key=("shop",)),
        known_ahead=("shop", "size"),
        clean=lambda raw: raw.iloc[::-1].merge(pd.DataFrame({"shop": ["a", "b"]})),
        features=lambda day, _: day[["size"]],
    )
    found = scoring.answer_days(spec, Size(), accepted, [DAY + pd.Timedelta(days=1)])
    assert found["row"].tolist() == [11, 10, 9, 8, 7, 6]
    assert found["score"].tolist() == [row / 100 for row in found["row"]]
    assert found["key 0"].tolist() == list("bababa")


def test_of_several_classes_each_is_laid_beside_its_row() -> None:
    spec = replace(SPEC, problem=Multiclass("bought", (0, 1)))
    found = answers([5, 4, 3, 2, 1, 0]).rename(columns={"score": "probability_1"})
    said = found.assign(probability_0=1 - found["probability_1"])
    added, scores = alignment.align(spec, HOLDOUT, rows(), rows(), said)
    assert len(added) == 0
    np.testing.assert_allclose(scores[:, 1], [0.0, 0.2, 0.3, 0.4, 0.5])
    np.testing.assert_allclose(scores.sum(axis=1), 1.0)
    for other in (answers([0, 1, 2, 3, 4, 5]), said.rename(columns={"probability_0": "x"})):
        with pytest.raises(AlignError, match="predicts other classes or other quantiles"):
            alignment.align(spec, HOLDOUT, rows(), rows(), other)
    more = replace(spec, problem=Multiclass("bought", (0, 1, 2)))
    _, scores = alignment.align(more, HOLDOUT, rows(), rows(), said)
    assert scores[:, 2].tolist() == [0.0] * 5


def test_candidates_of_both_pipelines_are_judged_together() -> None:
    spec = replace(
        toy,
        problem=Recommendation("user", "item", "often", repeat="count"),
        known_ahead=("user",),
        slices=("town",),
        clean=None,
    )
    bought = pd.DataFrame({"day": DAY, "user": [1, 1, 2], "item": [10, 12, 11]})
    holdout = pd.DataFrame(
        {
            "day": DAY,
            "user": [1, 1, 2],
            "item": [10, 11, 11],
            "target": np.array([1, 0, 1], dtype=np.int8),
            "relevant": [2, 2, 1],
            "count": [3, 1, 2],
            "town": ["x", "x", "y"],
        }
    )
    said = pd.DataFrame(
        {"day": DAY, "user": [1, 1, 2], "item": [12, 10, 13], "score": [0.9, 0.5, 0.4]}
    )
    added, scores = alignment.align(spec, holdout, bought, bought, said)
    assert added[["user", "item", "target", "relevant", "town"]].to_numpy().tolist() == [
        [1, 12, 1, 2, "x"],
        [2, 13, 0, 1, "y"],
    ]
    assert scores.tolist() == [0.5, -1.0, -1.0, 0.9, 0.4]
    assert alignment.pad(np.array([0.2, 0.7]), 2).tolist() == [0.2, 0.7, -0.8, -0.8]
    holdout, added = pd.DataFrame({"item": [10, 11]}), pd.DataFrame({"item": [12]})
    scored = {"tree": np.array([0.2, 0.7])}
    every, scores = alignment.add_examples(holdout, scored, added)
    assert every["item"].tolist() == [10, 11, 12]
    assert scores["tree"].tolist() == [0.2, 0.7, -0.8]
