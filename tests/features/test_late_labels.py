"""No feature sees a label that is not final on the evening before its day."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.features.cleaning import clean_days
from tasks.features.examples import build_examples, day_and_history
from tasks.features.scoring import answer_ahead, answer_day, history_of
from tasks.problems import Classification, Recommendation
from tasks.spec import Calendar, ModelSpec, SpecError, days
from tests.nights import nth_day
from tests.samples import samples
from tests.toy import make_day, toy

Features = Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]
LAST = 14


def clean_rows(count: int = LAST, rows: int = 6) -> pd.DataFrame:
    """Clean rows of the toy's first days, with what each visitor sent back a week later."""
    made = [make_day(nth_day(number), rows) for number in range(1, count + 1)]
    day = np.repeat(pd.to_datetime([nth_day(n) for n in range(1, count + 1)]), rows)
    found = pd.concat(made, ignore_index=True)
    found.insert(0, "day", day.to_numpy(dtype="datetime64[s]"))
    return found.assign(refund=found["size"].abs(), seen=found["bought"] + 1)


def recent_mean(length: int) -> Features:
    def features(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
        today = day["day"].min()
        recent = history[history["day"] >= today - pd.Timedelta(days=length)]
        return day[["size"]].assign(usual=float(recent["bought"].astype("float64").mean()))

    return features


def by_shop(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    usual = history.groupby("shop")["bought"].mean()
    return day[["size"]].assign(usual=day["shop"].map(usual).astype("float64"))


def whatever_is_there(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """Each value, whether it is there, and how many there are: no way to look is left out."""
    told = {"rows": len(history), "kind": str(history["bought"].dtype)}
    for name in ("bought", "refund"):
        values = history[name].to_numpy(dtype="float64", na_value=np.nan)
        told[f"{name}_missing"] = int(np.isnan(values).sum())
        told[f"{name}_sum"] = float(np.nansum(values * np.arange(1, len(values) + 1)))
    return day[["size"]].assign(**told)


class Sums:
    """Answers with a number that every input goes into."""

    classes_ = np.array([0, 1])

    def predict_proba(self, inputs: pd.DataFrame) -> np.ndarray:
        numbers = inputs.select_dtypes("number").fillna(-1.0).to_numpy(dtype="float64")
        score = np.abs(np.sin(numbers.sum(axis=1)))
        return np.c_[1 - score, score]


def late_spec(delay: int, features: Features = by_shop, **changes: Any) -> ModelSpec:
    given = {"late": ("refund",) if delay else ()} | changes
    return dataclasses.replace(
        toy, features=features, lookback=days(10), label_delay=days(delay), **given
    )


@settings(max_examples=samples(40))
@given(
    delay=st.integers(0, 12),
    number=st.integers(2, LAST),
    features=st.sampled_from([by_shop, whatever_is_there, *map(recent_mean, (1, 2, 9))]),
    gaps=st.sets(st.integers(1, LAST - 1), max_size=6),
    data=st.data(),
)
def test_labels_that_are_not_final_change_no_example_and_no_answer(
    delay: int, number: int, features: Features, gaps: set[int], data: st.DataObject
) -> None:
    spec, day = late_spec(delay, features), nth_day(number)
    rows = clean_rows()
    rows = rows[~rows["day"].isin(pd.to_datetime([nth_day(n) for n in gaps - {number}]))]
    rows = rows.reset_index(drop=True)
    stamp = pd.Timestamp(day)
    evening = rows.loc[rows["day"] < stamp, "day"].max()
    open_ = (rows["day"] > evening - spec.label_delay) & (rows["day"] < stamp)
    other = rows.copy()
    new = st.lists(st.integers(0, 1), min_size=int(open_.sum()), max_size=int(open_.sum()))
    other.loc[open_, "bought"] = np.asarray(data.draw(new), dtype="int64")
    other.loc[open_, "refund"] = np.asarray(data.draw(new), dtype="float64")
    named = make_day(day, 6)[["number", "size", "shop"]]
    estimator = Sums()
    for made in (
        lambda rows: build_examples(spec, *day_and_history(spec, rows, day)),
        lambda rows: answer_day(spec, estimator, *day_and_history(spec, rows, day), stamp),
        lambda rows: answer_ahead(spec, estimator, rows[rows["day"] < stamp], named, stamp, 99)[0],
        lambda rows: answer_ahead(spec, estimator, rows[rows["day"] < stamp], named, stamp, 99)[1],
    ):
        pd.testing.assert_frame_equal(made(rows), made(other))


@pytest.mark.parametrize("delay", [0, 1, 2, 7])
def test_a_label_is_seen_from_the_day_on_that_a_night_may_learn_from_it(delay: int) -> None:
    """As ``split_days`` has it: of as-of date D - 1, labels through D - 1 - delay are final."""
    rows, number = clean_rows(), 12
    seen = history_of(late_spec(delay), rows, pd.Timestamp(nth_day(number)))
    known = seen.loc[seen["bought"].notna(), "day"]
    assert known.max() == pd.Timestamp(nth_day(number - 1 - delay))
    assert seen.loc[seen["refund"].notna(), "day"].max() == known.max()
    assert known.min() == seen["day"].min() == pd.Timestamp(nth_day(number - 10))
    assert seen["day"].max() == pd.Timestamp(nth_day(number - 1))
    assert seen["seen"].notna().all()
    final = rows[rows["day"].isin(known)]
    np.testing.assert_array_equal(seen["bought"].dropna(), final["bought"])


WEEK = ("mon", "tue", "wed", "thu", "fri")
MONDAY = date(2026, 1, 12)


@pytest.mark.parametrize("delay", [0, 1, 2, 3])
@pytest.mark.parametrize("visits", ["never", "some"])
def test_a_mondays_history_is_what_fridays_night_had(delay: int, visits: str) -> None:
    """Also where a few rows come on the closed Saturday, which no night before Monday has."""
    spec, friday = late_spec(delay, calendar=Calendar(WEEK)), MONDAY - days(3)
    rows = clean_rows()
    closed = rows["day"].dt.day_of_week >= (5 if visits == "never" else 6)
    rows = rows[~closed].reset_index(drop=True)
    seen = history_of(spec, rows, pd.Timestamp(MONDAY))
    assert seen["day"].max() == pd.Timestamp(friday)
    assert seen.loc[seen["bought"].notna(), "day"].max() == pd.Timestamp(friday - days(delay))
    served = history_of(spec, rows[rows["day"] <= pd.Timestamp(friday)], pd.Timestamp(MONDAY))
    pd.testing.assert_frame_equal(seen, served)


@pytest.mark.parametrize("delay", [1, 2, 3])
def test_what_a_night_predicted_from_is_what_later_nights_learn_from(delay: int) -> None:
    """Weekends are closed, and labels change as long as they are not final."""
    final = clean_rows()
    final = final[final["day"].dt.day_of_week < 5].reset_index(drop=True)
    spec = late_spec(delay, whatever_is_there, calendar=Calendar(WEEK))
    opened = list(final["day"].drop_duplicates())[3:]
    for evening, day in pairwise(opened):
        seen = final[final["day"] <= evening]
        open_ = seen["day"] > evening - spec.label_delay
        seen = seen.assign(
            bought=seen["bought"].where(~open_, 1 - seen["bought"]),
            refund=seen["refund"].where(~open_, -1.0),
        )
        named = final.loc[final["day"] == day, ["number", "size", "shop"]]
        _, served = answer_ahead(spec, Sums(), seen, named.reset_index(drop=True), day, 99)
        learned = build_examples(spec, *day_and_history(spec, final, day.date()))
        inputs = spec.problem.inputs(learned)
        pd.testing.assert_frame_equal(served[list(inputs)], inputs)


def test_without_a_delay_the_history_is_what_it_is() -> None:
    rows = clean_rows()
    seen = history_of(late_spec(0), rows, pd.Timestamp(nth_day(5)))
    pd.testing.assert_frame_equal(seen, rows[rows["day"] < pd.Timestamp(nth_day(5))])


KINDS: dict[str, tuple[Any, str]] = {
    "whole": (np.arange(84), "float64"),
    "small": (np.arange(84, dtype="int8"), "float64"),
    "flag": (np.arange(84) % 2 == 0, "float64"),
    "float32": (np.arange(84, dtype="float32"), "float32"),
    "nullable whole": (pd.array(np.arange(84), dtype="Int64"), "Int64"),
    "nullable flag": (pd.array(np.arange(84) % 2 == 0, dtype="boolean"), "boolean"),
    "text": (pd.array(["a", "b"] * 42, dtype="str"), "str"),
    "category": (pd.Categorical(["a", "b"] * 42), "category"),
    "time": (pd.date_range("2026-01-01", periods=84, unit="s"), "datetime64[s]"),
}


@pytest.mark.parametrize("column", KINDS)
@pytest.mark.parametrize("number", [1, 3, 14])
def test_a_late_column_has_one_type_on_every_day(column: str, number: int) -> None:
    values, kind = KINDS[column]
    rows = clean_rows().assign(refund=values)
    seen = history_of(late_spec(3), rows, pd.Timestamp(nth_day(number)))
    assert seen["refund"].dtype == kind
    assert seen["refund"].isna().sum() == min(3, number - 1) * 6


def test_the_rows_that_were_given_stay_as_they_are() -> None:
    rows = clean_rows()
    kept = rows.copy()
    history_of(late_spec(3), rows, pd.Timestamp(nth_day(9)))
    pd.testing.assert_frame_equal(rows, kept)


def pairs(requests: pd.DataFrame, past: pd.DataFrame) -> pd.DataFrame:
    every = requests[["number"]].merge(pd.DataFrame({"shop": ["a", "b"]}), how="cross")
    count = every["shop"].map(past.groupby("shop").size())
    return every.assign(count=count.astype("float64").fillna(0.0))


def test_of_a_recommendation_a_row_is_there_once_it_is_final() -> None:
    """Its label is the row itself; who is asked ahead is known all the same."""
    spec = late_spec(
        3,
        pairs,
        problem=Recommendation("number", "shop", "count"),
        known_ahead=("number",),
        requests=None,
        slices=(),
        late=(),
    )
    rows, stamp = clean_rows(), pd.Timestamp(nth_day(LAST + 1))
    seen = history_of(spec, rows, stamp)
    assert seen["day"].max() == stamp - pd.Timedelta(days=4)
    assert seen.notna().all(axis=None)
    answers, _ = answer_ahead(spec, Sums(), rows, None, stamp, 0)
    asked = rows.loc[rows["day"] >= stamp - pd.Timedelta(days=10), "number"]
    assert set(answers["number"].dropna()) == set(asked)


def test_a_late_column_that_no_row_has_is_named(tmp_path: Any) -> None:
    from tasks.sources import ParquetDays
    from tests.toy import write_day

    write_day(tmp_path, nth_day(1), rows=20)
    spec = late_spec(2, source=ParquetDays(str(tmp_path)), late=("refnd",))
    with pytest.raises(SpecError, match="late names refnd, but the rows have no such column"):
        clean_days(spec, spec.source.list_days(nth_day(1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"late": ["refund"]}, r"late: found \['refund'\], allowed column names"),
        ({"late": ("size",)}, r"late: found \('size',\), allowed no column of known_ahead"),
        ({"late": ("day",)}, r"late: found \('day',\), allowed"),
        (
            {"label_delay": days(0)},
            r"late: found \('refund',\), allowed none without a label_delay",
        ),
    ],
)
def test_what_late_may_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        dataclasses.replace(late_spec(3), **changes)


def test_the_target_need_not_be_named() -> None:
    spec = late_spec(3, late=(), problem=Classification("seen"), requests=None)
    seen = history_of(spec, clean_rows(), pd.Timestamp(nth_day(9)))
    assert seen["seen"].isna().sum() == 18
    assert seen["bought"].notna().all()
