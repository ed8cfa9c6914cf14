"""Every row is accepted, quarantined with a reason, or counted as a duplicate."""

from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from pandera.typing.pandas import Series

from tasks.features.contract import Accepted, ContractError, accept_rows, as_declared, over_limit
from tests.samples import samples

DAYS = pd.to_datetime(["2026-11-20", "2026-11-21"]).astype("datetime64[s]")


class Lines(pa.DataFrameModel):
    quantity: int = pa.Field(in_range={"min_value": 0, "max_value": 100})
    price: float = pa.Field(ge=0, nullable=True)
    shop: str = pa.Field(isin=["a", "b"])


class Coerced(Lines):
    class Config:
        coerce = True


class Keyed(Lines):
    class Config:
        unique = ["quantity", "shop"]  # noqa: RUF012


class KeyedCoerced(Keyed):
    class Config:
        unique = ["quantity", "shop"]  # noqa: RUF012
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


def test_equal_rows_are_rows_each_where_no_key_is_declared() -> None:
    raw = pd.DataFrame({"day": DAYS[[0, 0, 0, 1]], "quantity": 1, "price": 1.0, "shop": "a"})
    accepted = accept_rows(raw, Lines)
    assert len(accepted.rows) == 4
    assert accepted.counts["duplicates"].tolist() == [0, 0]


def test_duplicates_of_a_key_count_within_a_day_only() -> None:
    row = {"quantity": 1, "price": 1.0, "shop": "a"}
    raw = pd.DataFrame({"day": DAYS[[0, 0, 0, 1]], **row})
    counts = accept_rows(raw, Keyed).counts
    assert counts["duplicates"].tolist() == [2, 0]
    assert counts["accepted"].tolist() == [1, 1]


def test_rows_of_one_key_that_differ_are_no_duplicates_and_all_quarantined() -> None:
    raw = pd.concat([lines(price=1.0), lines(price=[1.0, 2.0, 3.0])])
    accepted = accept_rows(raw, Keyed)
    assert reasons(accepted) == ["quantity, shop: is not unique within the day"] * 4
    assert accepted.counts["duplicates"].tolist() == [1, 0]


def test_a_broken_row_twice_is_one_quarantined_and_one_duplicate() -> None:
    raw = pd.concat([lines(quantity=[-3, 2, 3])] * 2)
    counts = accept_rows(raw, Keyed).counts
    assert counts.sum().to_dict() == {
        "rows_in": 6, "accepted": 2, "quarantined": 1, "duplicates": 3,
    }  # fmt: skip
    assert accept_rows(raw, Lines).counts.sum().to_dict() == {
        "rows_in": 6, "accepted": 4, "quarantined": 2, "duplicates": 0,
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
    assert accept_rows(raw, KeyedCoerced).counts["duplicates"].tolist() == [1, 0]


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


class Flags(pa.DataFrameModel):
    new: pd.BooleanDtype = pa.Field(nullable=True)

    class Config:
        coerce = True


class Sure(pa.DataFrameModel):
    new: bool

    class Config:
        coerce = True


MANY = [True, None, "no", "false", "YES", " t ", 0, 1.0, "maybe", 2, ""]


def test_words_and_gaps_are_no_truth() -> None:
    raw = pd.DataFrame({"day": DAYS[0], "new": pd.Series(MANY, dtype="object")})
    found = accept_rows(raw, Flags)
    kept = [True, None, False, False, True, True, False, True]
    assert [None if pd.isna(value) else value for value in found.rows["new"]] == kept
    told = ["maybe", "2", ""]
    assert reasons(found) == [f"new: {value} is not boolean" for value in told]
    sure = accept_rows(raw, Sure)
    assert sure.rows["new"].tolist() == [value for value in kept if value is not None]
    assert reasons(sure)[0] == "new: is missing"


@pytest.mark.parametrize(
    "column",
    [[None, None], [np.nan, np.nan], [pd.NaT, pd.NaT]],
    ids=["nothing", "numbers", "times"],
)
@pytest.mark.parametrize(
    "kind",
    [float, str, pd.Timestamp, pd.Int64Dtype, pd.BooleanDtype, pd.Float64Dtype],
)
@pytest.mark.parametrize("coerced", [True, False])
def test_a_column_in_which_all_is_missing_has_the_declared_type(
    column: list[Any], kind: Any, coerced: bool
) -> None:
    class Late(pa.DataFrameModel):
        label: kind = pa.Field(nullable=True)

        class Config:
            coerce = coerced

    class Prompt(pa.DataFrameModel):
        label: kind

        class Config:
            coerce = coerced

    raw = pd.DataFrame({"day": DAYS[0], "label": column})
    found = accept_rows(raw, Late)
    assert found.counts["accepted"].tolist() == [2]
    assert found.rows.dtypes["label"] == Late.empty().dtypes["label"]
    assert reasons(accept_rows(raw, Prompt)) == ["label: is missing"] * 2


ZONES = ["2026-11-20 10:00", "2026-11-20T10:00:00+01:00", "2026-11-20T10:00:00Z", "soon", None]


def test_texts_with_and_without_an_offset_are_told_apart() -> None:
    class Local(pa.DataFrameModel):
        at: pd.Timestamp

        class Config:
            coerce = True

    class Zoned(pa.DataFrameModel):
        at: Series[pd.DatetimeTZDtype] = pa.Field(
            dtype_kwargs={"unit": "ns", "tz": "Europe/Berlin"}
        )

        class Config:
            coerce = True

    raw = pd.DataFrame({"day": DAYS[0], "at": ZONES})
    local, zoned = accept_rows(raw, Local), accept_rows(raw, Zoned)
    assert local.rows["at"].tolist() == [pd.Timestamp("2026-11-20 10:00")]
    assert reasons(local) == [
        *(f"at: {text} is not datetime64[ns]" for text in ZONES[1:4]),
        "at: is missing",
    ]
    assert zoned.rows["at"].dt.hour.tolist() == [10, 11]
    assert reasons(zoned)[0].startswith("at: 2026-11-20 10:00 is not datetime64[ns, Europe/Berlin]")


def test_long_numbers_keep_every_digit_and_what_no_type_holds_is_told() -> None:
    class Long(pa.DataFrameModel):
        signed: pd.Int64Dtype = pa.Field(nullable=True)
        unsigned: pd.UInt64Dtype
        narrow: np.float32
        small: np.int8

        class Config:
            coerce = True

    texts = ["1234567890123456789", None, "12345678901234567890", "7.5"]
    raw = pd.DataFrame(
        {
            "day": DAYS[0],
            "signed": texts,
            "unsigned": ["12345678901234567890", "0", "-1", "1"],
            "narrow": [1.5, 1e300, 1.0, 1.0],
            "small": pd.array([1, 2, 3, 400], "Int64"),
        }
    )
    found = accept_rows(raw, Long)
    assert found.rows["signed"].tolist() == [1234567890123456789]
    assert found.rows["unsigned"].tolist() == [12345678901234567890]
    assert reasons(found) == [
        "narrow: 1e+300 is not float32",
        "signed: 12345678901234567890 is not Int64; unsigned: -1 is not UInt64",
        "signed: 7.5 is not Int64; small: 400 is not int8",
    ]


def test_a_number_has_one_text_whatever_else_is_in_its_column() -> None:
    class Named(pa.DataFrameModel):
        key: str = pa.Field(nullable=True)

        class Config:
            coerce = True

    for column in ([7, None], [7.0, np.nan], pd.array([7, None], "Int64"), ["7", None]):
        found = accept_rows(pd.DataFrame({"day": DAYS[0], "key": column}), Named)
        assert found.rows["key"].fillna("-").tolist() == ["7", "-"]


def test_exact_decimals_are_numbers() -> None:
    class Exact(pa.DataFrameModel):
        price: float
        number: int

    prices = [Decimal("1.10"), Decimal("2.20")]
    raw = pd.DataFrame({"day": DAYS[0], "price": prices, "number": [Decimal(2**62), Decimal(1)]})
    assert accept_rows(raw, Exact).rows["price"].tolist() == [1.1, 2.2]
    assert accept_rows(raw, Exact).rows["number"].tolist() == [2**62, 1]


def test_rows_that_are_not_judged_take_the_declared_types_where_they_can() -> None:
    asked = pd.DataFrame({"quantity": ["1", "2"], "price": pd.array([3, None], "Int64"), "shop": 7})
    found = as_declared(asked, Coerced)
    assert found["quantity"].tolist() == [1, 2]
    assert found.dtypes.astype("str").tolist() == ["int64", "float64", "str"]
    odd = asked.assign(quantity=["1", "two"])
    assert as_declared(odd, Coerced)["quantity"].tolist() == ["1", "two"]
    assert as_declared(asked, Lines)["quantity"].tolist() == ["1", "2"]


@pytest.mark.parametrize("zone", ["UTC", "America/Chicago"])
def test_requests_that_name_a_zone_come_as_local_times_as_the_rows_do(zone: str) -> None:
    class Timed(pa.DataFrameModel):
        at: pd.Timestamp

        class Config:
            coerce = True

    asked = pd.DataFrame({"at": ["2026-11-21T10:00:00Z", None]})
    expected = pd.Timestamp("2026-11-21 10:00" if zone == "UTC" else "2026-11-21 04:00")
    for either in (asked, asked.assign(at=pd.to_datetime(asked["at"]))):
        found = as_declared(either, Timed, zone)["at"]
        assert (
            found.dt.tz is None and found[0] == expected and found.isna().tolist() == [False, True]
        )
    mixed = pd.DataFrame({"at": ["2026-11-21T10:00:00Z", "2026-11-21T10:00:00"]})
    pd.testing.assert_frame_equal(as_declared(mixed, Timed, zone), mixed)


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
    assert accept_rows(raw, Keyed).counts["duplicates"].tolist() == [1, 0]


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


@pytest.mark.parametrize("contract", [Lines, Keyed])
@settings(max_examples=samples(25), deadline=None)
@given(drawn=st.lists(rows, min_size=1, max_size=12), random=st.randoms(use_true_random=False))
def test_every_row_is_counted_once(
    contract: type[Lines], drawn: list[tuple[object, ...]], random: object
) -> None:
    raw = frame(drawn)
    before = raw.copy()
    accepted = accept_rows(raw, contract)
    counts = accepted.counts
    assert_frame_equal(raw, before)
    assert counts["rows_in"].to_dict() == raw.groupby("day").size().to_dict()
    parts = counts["accepted"] + counts["quarantined"] + counts["duplicates"]
    assert counts["rows_in"].equals(parts)
    assert len(accepted.rows) == counts["accepted"].sum()
    assert len(accepted.quarantine) == counts["quarantined"].sum()
    if len(accepted.rows):
        again = accept_rows(accepted.rows, contract)
        assert_frame_equal(again.rows, accepted.rows)
        assert again.counts["accepted"].sum() == len(accepted.rows)
    random.shuffle(drawn)  # type: ignore[attr-defined]
    shuffled = frame(drawn)
    shuffled.index = pd.Index([7] * len(shuffled))
    assert_frame_equal(accept_rows(shuffled, contract).counts, counts)


@settings(max_examples=samples(8), deadline=None)
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


def test_a_contract_of_a_column_day_says_how_it_is_named() -> None:
    class Own(pa.DataFrameModel):
        day: int

    rows = pd.DataFrame({"day": pd.to_datetime(["2026-11-20"]), "day_": [20]})
    with pytest.raises(ContractError, match="own column day is 'day_'"):
        accept_rows(rows, Own)


def test_a_wide_day_is_checked_without_a_warning_of_pandas() -> None:
    names = [f"x{number}" for number in range(120)]
    wide = type("Wide", (Coerced,), {"__annotations__": dict.fromkeys(names, float)})
    rows = lines(**dict.fromkeys(names, (1, 2, 3)))
    accepted = accept_rows(rows, wide)
    assert_frame_equal(accepted.rows, rows.astype(dict.fromkeys(names, "float64")))
