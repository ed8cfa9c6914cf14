"""Columns that are known only later, labels that come late, classes that are rare."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.scaffold.leak_hints import (
    calendar_columns,
    class_warnings,
    label_days,
    name_latecomers,
    row_warnings,
    strong_inputs,
    truths,
)
from tasks.scaffold.profiling import describe_columns, read_target
from tests.tables import demand, orders


def suspected(rows: pd.DataFrame, target: str = "returned") -> dict[str, str]:
    columns = describe_columns(rows, target, "ordered_at")
    aim = next(column for column in columns if column.name == target)
    found = name_latecomers(columns, rows, aim, read_target(rows, aim), "ordered_at")
    return {column.name: column.why for column in found if column.role == "later"}


def with_day(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(day=rows["ordered_at"].dt.floor("D").astype("datetime64[s]"))


ROWS = with_day(orders())


def test_an_honest_table_is_not_suspected() -> None:
    assert suspected(ROWS.drop(columns=["closed_at", "fee"])) == {}


def test_a_time_after_the_rows_own_and_a_column_that_tells_all_are() -> None:
    found = suspected(ROWS)
    assert set(found) == {"closed_at", "fee"}
    assert found["closed_at"] == "it is later than 'ordered_at' in 100% of the rows"
    assert found["fee"] == "alone it nearly predicts the target (AUC 1.00)"


def test_a_text_that_tells_all_is() -> None:
    told = ROWS.assign(code=np.where(ROWS["returned"] == "yes", "x1", "x2"))
    assert "code" in suspected(told)


def test_shops_that_sell_unlike_amounts_every_day_are_no_outcome() -> None:
    rows = demand().rename(columns={"at": "ordered_at"})
    number = rows["shop"].str[5:].astype("int64")
    rows = with_day(rows.assign(sold=1000 * number + rows["sold"], shop_id=number))
    assert suspected(rows.drop(columns="last_week"), "sold") == {}
    rows["sold"] = np.random.default_rng(0).permutation(rows["sold"])
    sizes = rows.assign(size=np.where(rows["sold"] > rows["sold"].median(), "large", "small"))
    assert "size" in suspected(sizes, "sold")


def test_what_follows_the_calendar_is_named() -> None:
    rows = demand().assign(day=lambda r: r["at"].dt.floor("D"))
    day = rows["day"]
    rows = rows.assign(
        season=np.where(day.dt.day > 20, "spring", "winter"),
        opening=day.dt.day_of_week.map({5: "short", 6: "none"}).fillna("long"),
        weekday_shop=day.dt.day_of_week.astype(str) + rows["shop"],
        weather=day.map(dict(zip(day.unique(), "abc" * 14, strict=True))),
    )
    columns = describe_columns(rows, "sold", "at")
    assert calendar_columns(columns, rows) == ["season", "opening"]


def test_a_number_that_only_one_outcome_is_given_tells_all() -> None:
    told = ROWS.assign(points=np.where(ROWS["returned"] == "yes", ROWS["amount"], np.nan))
    assert suspected(told)["points"] == "alone it nearly predicts the target (AUC 1.00)"


def test_a_column_missing_where_the_target_is_and_a_telling_name_are() -> None:
    open_ = np.arange(len(ROWS)) % 3 == 0
    late = ROWS.assign(
        returned=ROWS["returned"].mask(open_),
        grade=pd.Series(np.arange(len(ROWS)) % 7.0).mask(open_),
        days_until_closed=np.arange(len(ROWS)) % 4,
        previous_closed=np.arange(len(ROWS)) % 5,
    )
    found = suspected(late.drop(columns=["closed_at", "fee"]))
    assert found == {
        "grade": "it is missing where the target is",
        "days_until_closed": "its name suggests it",
    }


def test_a_label_is_late_by_the_time_it_came() -> None:
    closed = ROWS["ordered_at"] + pd.Timedelta(days=2, hours=3)
    open_ = np.arange(len(ROWS)) % 3 == 0
    late = ROWS.assign(returned=ROWS["returned"].mask(open_), closed_at=closed.mask(open_))
    columns = describe_columns(late, "returned", "ordered_at")
    aim = next(column for column in columns if column.name == "returned")
    found = name_latecomers(columns, late, aim, read_target(late, aim), "ordered_at")
    assert label_days(found, late, "returned", "ordered_at") == 3


def test_a_label_is_late_where_it_is_missing_on_the_newest_days() -> None:
    newest = ROWS["day"] > ROWS["day"].max() - pd.Timedelta(days=4)
    late = ROWS.assign(returned=ROWS["returned"].mask(newest))
    assert label_days([], late, "returned", "ordered_at") == 4
    assert label_days([], ROWS, "returned", "ordered_at") == 0


def test_every_input_that_is_strong_alone_is_found_the_strongest_first() -> None:
    rows = ROWS.assign(twice=ROWS["amount"].round(-1))
    columns = describe_columns(rows[["twice", "amount", "town", "returned"]], "returned", None)
    truth = truths(rows["returned"], read_target(rows, columns[-1]))
    found = strong_inputs(columns, rows, truth, 0.6)
    assert [name for name, _ in found] == ["amount", "twice", "town"]
    assert 0.95 > found[0][1] > found[1][1] > found[2][1] > 0.6
    assert strong_inputs(columns, rows, truth, 0.95) == []


def test_a_class_too_rare_to_judge_by_is_told() -> None:
    rare = ROWS.assign(returned=np.where(np.arange(len(ROWS)) < 40, "yes", "no"))
    read = read_target(rare, describe_columns(rare, "returned", None)[-1])
    few, none = class_warnings(rare, "returned", read, 14)
    assert few.startswith("Only 40 rows have 'returned' = 'yes'")
    assert none.startswith("Only 0 rows of the holdout (the last 14 days) have")
    assert class_warnings(ROWS, "returned", read, 14) == []


def test_numbers_with_a_decimal_comma_are_told() -> None:
    (words,) = row_warnings(
        ROWS.assign(price=ROWS["amount"].map("{:.2f}".format).str.replace(".", ","))
    )
    assert words.startswith("Numbers with a decimal comma are read as text: price.")


def test_codes_are_told() -> None:
    codes = pd.Series(["00042", "7"]).repeat(len(ROWS) // 2).to_numpy()
    (words,) = row_warnings(ROWS.assign(sku=pd.Series(codes, dtype="str")))
    assert words.startswith("Numbers with leading zeros") and words.endswith("texts: sku.")


def test_repeated_rows_are_told() -> None:
    assert row_warnings(ROWS) == []
    (words,) = row_warnings(pd.concat([ROWS, ROWS.head(400)]))
    assert words.startswith("10.0% of the rows equal another of their day, and all count.")
