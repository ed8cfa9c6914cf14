"""Days that functions give: listed by their mark or rows, and a function that errs is named."""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest

from tasks.sources import (
    ColumnsError,
    DataFrameDays,
    SourceError,
    SourceOutageError,
    SourceSettingsError,
)

FIRST = date(2026, 11, 20)
NEXT = FIRST + timedelta(days=1)


def two_days(until: date) -> list[pd.Timestamp]:
    return [pd.Timestamp(NEXT), pd.Timestamp(FIRST)]


def numbers(day: date) -> pd.DataFrame:
    return pd.DataFrame({"n": [day.day, day.day + 1], "s": ["a", None]}, index=[7, 7])


def test_days_are_listed_and_read() -> None:
    source = DataFrameDays(numbers, two_days)
    assert list(source.list_days(date.max)) == [FIRST, NEXT]
    assert list(source.list_days(FIRST)) == [FIRST]
    rows = source.read_days([FIRST, NEXT])
    assert rows.columns.tolist() == ["day", "n", "s"]
    assert rows["n"].tolist() == [20, 21, 21, 22]
    assert rows["day"].dtype == "datetime64[s]"
    assert source.read_days([]).empty


def test_without_a_mark_the_rows_are_the_fingerprint() -> None:
    before = DataFrameDays(numbers, two_days).list_days(date.max)
    assert DataFrameDays(numbers, two_days).list_days(date.max) == before
    changed = DataFrameDays(lambda day: numbers(day).assign(n=9), two_days).list_days(date.max)
    assert changed[FIRST] == changed[NEXT], "the same rows twice are noticed"
    assert changed[FIRST] != before[FIRST]


def test_with_a_mark_no_day_is_read_to_be_listed() -> None:
    def never(day: date) -> pd.DataFrame:
        raise AssertionError("read")

    marks = {FIRST: "one", NEXT: "one"}
    source = DataFrameDays(never, two_days, marks.__getitem__)
    before = source.list_days(date.max)
    assert len(set(before.values())) == 2, "two days of one mark are not the same data"
    marks[NEXT] = "two"
    assert [d for d, mark in source.list_days(date.max).items() if mark != before[d]] == [NEXT]


def raises(day: date) -> pd.DataFrame:
    raise ConnectionError("no route")


WRONG: dict[str, tuple[Callable[[], DataFrameDays], type[SourceError], str]] = {
    "raises": (
        lambda: DataFrameDays(raises, two_days),
        SourceOutageError,
        r"raises\(2026-11-20\) raised ConnectionError: no route",
    ),
    "no frame": (
        lambda: DataFrameDays(lambda _: None, two_days),  # type: ignore[arg-type,return-value]
        SourceSettingsError,
        r"\(2026-11-20\): found NoneType; expected a DataFrame",
    ),
    "no list": (
        lambda: DataFrameDays(numbers, lambda _: None),  # type: ignore[arg-type,return-value]
        SourceSettingsError,
        "found None; expected a list of dates",
    ),
    "no dates": (
        lambda: DataFrameDays(numbers, lambda _: ["2026-11-20"]),  # type: ignore[list-item]
        SourceSettingsError,
        r"found \['2026-11-20'\]; expected a list of dates",
    ),
    "no mark": (
        lambda: DataFrameDays(numbers, two_days, lambda _: ""),
        SourceSettingsError,
        "found ''; expected a non-empty text",
    ),
    "no function": (
        lambda: DataFrameDays("numbers", two_days),  # type: ignore[arg-type]
        SourceSettingsError,
        "found read='numbers'; expected a function",
    ),
    "another day": (
        lambda: DataFrameDays(lambda day: numbers(day).assign(day=day + timedelta(1)), two_days),
        SourceError,
        "column 'day' that is not 2026-11-20",
    ),
    "mixed": (
        lambda: DataFrameDays(lambda _: pd.DataFrame({"n": [1, "a"]}), two_days),
        SourceError,
        r"found a column of mixed types.*column n",
    ),
    "columns twice": (
        lambda: DataFrameDays(lambda _: pd.DataFrame(np.ones((1, 2)), columns=["a"] * 2), two_days),
        SourceError,
        "found 2 columns 'a'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_function_that_errs_is_named(case: str) -> None:
    make, kind, message = WRONG[case]
    with pytest.raises(SourceError, match=message) as told:
        make().list_days(date.max)
    assert type(told.value) is kind


def test_a_day_with_another_type_is_named() -> None:
    def other(day: date) -> pd.DataFrame:
        return numbers(day) if day == FIRST else numbers(day).assign(n="many")

    with pytest.raises(ColumnsError, match=r"other\(2026-11-21\): found .*string in column 'n'"):
        DataFrameDays(other, two_days).read_days([FIRST, NEXT])
