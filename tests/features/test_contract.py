"""Every row is accepted, quarantined with a reason, or counted as a duplicate."""

from datetime import date

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from tasks.features.contract import Accepted, ContractError, accept_rows, over_limit

DAYS = pd.to_datetime(["2026-11-20", "2026-11-21"]).astype("datetime64[s]")


class Lines(pa.DataFrameModel):
    quantity: int = pa.Field(in_range={"min_value": 0, "max_value": 100})
    price: float = pa.Field(ge=0, nullable=True)
    shop: str = pa.Field(isin=["a", "b"])


class Coerced(Lines):
    class Config:
        coerce = True


class Numbered(Lines):
    number: int = pa.Field(unique=True)


def lines(**changes: object) -> pd.DataFrame:
    columns = {"quantity": [1, 2, 3], "price": [1.0, 2.0, None], "shop": ["a", "b", "a"]}
    return pd.DataFrame({"day": DAYS[[0, 0, 1]], **columns, **changes})


def reasons(accepted: Accepted) -> list[str]:
    return accepted.quarantine["reason"].tolist()


def test_good_rows_are_accepted_as_they_are() -> None:
    accepted = accept_rows(lines(), Lines)
    assert_frame_equal(accepted.rows, lines())
    assert accepted.quarantine.empty
    assert accepted.counts.index.name == "day"
    assert accepted.counts["rows_in"].to_dict() == {DAYS[0]: 2, DAYS[1]: 1}


def test_a_broken_row_is_quarantined_with_each_reason() -> None:
    accepted = accept_rows(lines(quantity=[-3, 2, 3], shop=["c", "b", None]), Lines)
    assert reasons(accepted) == [
        "quantity: -3 is not in 0 to 100; shop: c is not one of 'a', 'b'",
        "shop: is missing",
    ]
    assert accepted.quarantine["day"].tolist() == [DAYS[0], DAYS[1]]
    assert accepted.rows["quantity"].tolist() == [2]


def test_a_reason_shows_the_beginning_of_a_long_value_and_no_control_characters() -> None:
    accepted = accept_rows(lines(shop=["a\0b" + "x" * 10**6, "b", "a"]), Lines)
    assert reasons(accepted) == [f"shop: a?b{'x' * 57}… is not one of 'a', 'b'"]


def test_duplicates_count_within_a_day_only() -> None:
    row = {"quantity": 1, "price": 1.0, "shop": "a"}
    raw = pd.DataFrame({"day": DAYS[[0, 0, 0, 1]], **row})
    counts = accept_rows(raw, Lines).counts
    assert counts["duplicates"].tolist() == [2, 0]
    assert counts["accepted"].tolist() == [1, 1]


def test_a_broken_row_twice_is_one_quarantined_and_one_duplicate() -> None:
    raw = pd.concat([lines(quantity=[-3, 2, 3])] * 2)
    counts = accept_rows(raw, Lines).counts
    assert counts.sum().to_dict() == {
        "rows_in": 6, "accepted": 2, "quarantined": 1, "duplicates": 3,
    }  # fmt: skip


def test_a_missing_integer_breaks_its_row_and_not_the_column() -> None:
    accepted = accept_rows(lines(quantity=[1.0, None, 2.5]), Lines)
    assert accepted.rows["quantity"].dtype == np.int64
    assert reasons(accepted) == ["quantity: is missing", "quantity: 2.5 is not int64"]


def test_infinity_is_no_integer() -> None:
    accepted = accept_rows(lines(quantity=[1.0, np.inf, 1e300]), Lines)
    assert len(accepted.quarantine) == 2


def test_text_is_converted_where_the_contract_coerces() -> None:
    raw = lines(quantity=["1", "two", "3"])
    accepted = accept_rows(raw, Coerced)
    assert accepted.rows["quantity"].tolist() == [1, 3]
    assert reasons(accepted) == ["quantity: two is not int64"]
    with pytest.raises(ContractError, match=r"2026-11-20: found str in column 'quantity'.*int64"):
        accept_rows(raw, Lines)


def test_rows_equal_once_converted_are_duplicates() -> None:
    raw = lines(quantity=["1", "1.0", "3"], price=1.0, shop="a")
    assert accept_rows(raw, Coerced).counts["duplicates"].tolist() == [1, 0]


def test_a_column_of_another_type_refuses_the_day() -> None:
    with pytest.raises(ContractError, match=r"2026-11-20.*'quantity'.*int64"):
        accept_rows(lines(quantity=["x", "y", "z"]), Coerced)


@pytest.mark.parametrize("shop", [[1, 2, 3], [1.5, None, 2.0], [True, False, True]])
def test_numbers_for_text_refuse_the_day(shop: list[object]) -> None:
    with pytest.raises(ContractError, match=r"2026-11-20: found \w+ in column 'shop'"):
        accept_rows(lines(shop=shop), Lines)


def test_a_missing_truth_value_breaks_its_row() -> None:
    class Flagged(pa.DataFrameModel):
        new: bool
        name: str

    raw = pd.DataFrame({"day": DAYS[0], "new": [True, None, False], "name": ["a", "b", 3]})
    accepted = accept_rows(raw, Flagged)
    assert accepted.rows["new"].dtype == bool
    assert reasons(accepted)[0] == "new: is missing"
    assert reasons(accepted)[1].startswith("name: 3 is not str")


def test_a_missing_column_refuses_the_day() -> None:
    with pytest.raises(ContractError, match=r"2026-11-20: found no column 'shop' among quantity"):
        accept_rows(lines().drop(columns="shop"), Lines)


def test_a_strict_contract_does_not_see_the_reserved_day() -> None:
    class Strict(Lines):
        class Config:
            strict = True

    assert len(accept_rows(lines(), Strict).rows) == 3
    with pytest.raises(ContractError, match=r"found a column 'extra'"):
        accept_rows(lines(extra=1), Strict)


def test_unique_holds_within_a_day() -> None:
    accepted = accept_rows(lines(number=[7, 7, 7]), Numbered)
    assert reasons(accepted) == ["number: is not unique within the day"] * 2
    assert accepted.counts["accepted"].tolist() == [0, 1]
    column = Numbered.to_schema().columns["number"]
    assert column.unique, "the contract itself must not change"


def test_a_check_of_whole_rows_names_itself() -> None:
    class Dear(Lines):
        @pa.dataframe_check
        def cheap(cls, rows: pd.DataFrame) -> pd.Series:  # noqa: N805
            return rows["price"].fillna(0) * rows["quantity"] < 4

    assert reasons(accept_rows(lines(), Dear)) == ["row: breaks cheap"]


def test_times_of_another_unit_are_converted() -> None:
    class Timed(pa.DataFrameModel):
        at: pd.Timestamp

    times = pd.Series(["2026-11-20", None, "9999-12-31"]).astype("datetime64[s]")
    accepted = accept_rows(pd.DataFrame({"day": DAYS[0], "at": times}), Timed)
    assert accepted.rows["at"].dtype == "datetime64[ns]"
    assert sorted(reasons(accepted)) == [
        "at: 9999-12-31 is not datetime64[ns]", "at: is missing",
    ]  # fmt: skip


def test_no_rows_give_nothing_of_the_declared_types() -> None:
    accepted = accept_rows(pd.DataFrame({"day": DAYS[:0]}), Lines)
    assert accepted.counts.empty
    assert accepted.quarantine.empty
    assert accepted.rows.dtypes.to_dict() == lines().dtypes.to_dict()


def test_rows_that_cannot_be_hashed_are_compared_all_the_same() -> None:
    raw = lines(quantity=1, price=1.0, shop="a", tags=[["x"], ["x"], ["y"]])
    assert accept_rows(raw, Lines).counts["duplicates"].tolist() == [1, 0]


def test_over_limit_lists_the_days_above_it() -> None:
    counts = pd.DataFrame({"rows_in": [100, 100], "quarantined": [2, 3]}, index=DAYS)
    assert over_limit(counts, 0.02).index.tolist() == [DAYS[1]]


numbers = st.one_of(st.integers(-2, 102), st.none())
rows = st.tuples(
    st.integers(0, 1), numbers, st.sampled_from([None, -1.0, 0.0, 2.5]), st.sampled_from("abc")
)


def frame(drawn: list[tuple[object, ...]]) -> pd.DataFrame:
    day, quantity, price, shop = zip(*drawn, strict=True)
    return pd.DataFrame(
        {
            "day": DAYS[list(day)],
            "quantity": pd.Series(quantity, dtype="float64"),
            "price": pd.Series(price, dtype="float64"),
            "shop": pd.Series(shop, dtype="str"),
        }
    )


@settings(max_examples=25, deadline=None)
@given(st.lists(rows, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_every_row_is_counted_once(drawn: list[tuple[object, ...]], random: object) -> None:
    raw = frame(drawn)
    before = raw.copy()
    accepted = accept_rows(raw, Lines)
    counts = accepted.counts
    assert_frame_equal(raw, before)
    assert counts["rows_in"].to_dict() == raw.groupby("day").size().to_dict()
    parts = counts["accepted"] + counts["quarantined"] + counts["duplicates"]
    assert counts["rows_in"].equals(parts)
    assert len(accepted.rows) == counts["accepted"].sum()
    assert len(accepted.quarantine) == counts["quarantined"].sum()
    if len(accepted.rows):
        again = accept_rows(accepted.rows, Lines)
        assert_frame_equal(again.rows, accepted.rows)
        assert again.counts["accepted"].sum() == len(accepted.rows)
    random.shuffle(drawn)  # type: ignore[attr-defined]
    shuffled = frame(drawn)
    shuffled.index = pd.Index([7] * len(shuffled))
    assert_frame_equal(accept_rows(shuffled, Lines).counts, counts)


@settings(max_examples=8, deadline=None)
@given(st.lists(rows, min_size=1, max_size=12))
def test_many_days_at_once_are_judged_as_each_alone(drawn: list[tuple[object, ...]]) -> None:
    raw = frame(drawn)
    together = accept_rows(raw, Lines)
    for day, part in raw.groupby("day"):
        alone = accept_rows(part, Lines)
        same = together.rows["day"] == day
        assert_frame_equal(alone.rows, together.rows[same].reset_index(drop=True))
        assert alone.counts.loc[day].equals(together.counts.loc[day])


def test_days_are_dates() -> None:
    assert accept_rows(lines(), Lines).counts.index[0].date() == date(2026, 11, 20)
