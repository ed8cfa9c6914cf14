"""What a table looks like: kinds, roles, ranges, and the problem its target asks."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.scaffold.profiling import (
    Column,
    InferError,
    bounds,
    describe_column,
    longest_allowed,
    read_target,
)

MANY = 200


def described(values: Any, name: str = "some") -> Column:
    return describe_column(name, pd.Series(values))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.5, 2.0, None], "number"),
        ([1, 2, 2], "whole"),
        ([1.0, 2.0, None], "number"),  # as pandas reads whole numbers with gaps
        (pd.array([1, 2, None], "Int64"), "whole"),
        ([Decimal("1.5"), Decimal("2")], "number"),
        ([True, False, None], "flag"),
        ([True, False, True], "flag"),
        (pd.to_datetime(["2026-01-01", "2026-01-02"]), "time"),
        (["2026-01-01", "2026-01-02 10:00:00", None], "time"),
        (["2026-01-01T08:00:00Z", "2026-01-02T08:00:00Z"], "time"),
        (["2026-03-28 08:00:00+01:00", "2026-03-30 08:00:00+02:00"], "time"),
        (["2026-01-01", "soon"], "text"),
        (["a", "b", None], "text"),
        (pd.Categorical(["a", "b", "a"]), "text"),
        ([1, "a"], "other"),
        ([[1], [2]], "other"),
        ([b"a", b"b"], "other"),
    ],
)
def test_the_kind_of_a_column_is_that_of_its_values(values: Any, kind: str) -> None:
    assert described(values).kind == kind


def test_a_column_that_cannot_tell_anything_has_no_role_among_the_inputs() -> None:
    assert described([None, None]).role == "constant"
    assert described(["DE"] * MANY).role == "constant"
    assert described([1, "a"]).role == "unusable"
    assert described([np.inf, -np.inf]).role == "unusable"
    assert described(range(MANY)).role == "id"
    assert described([f"A{n}" for n in range(MANY)]).role == "id"


def test_texts_and_measures_that_differ_in_every_row_are_no_ids() -> None:
    assert described([f"the {n} th note of many" for n in range(MANY)]).role == "input"
    assert described(np.random.default_rng(0).normal(size=MANY)).role == "input"


def test_a_time_with_a_zone_says_which() -> None:
    column = described(pd.to_datetime(["2026-01-01", "2026-01-02"]).tz_localize("Europe/Berlin"))
    assert (column.kind, column.zone) == ("time", "Europe/Berlin")


def test_written_times_with_an_offset_are_in_utc_and_others_name_no_zone() -> None:
    assert described(["2026-01-01T08:00:00Z", "2026-01-02T08:00:00Z"]).zone == "UTC"
    assert described(["2026-03-28 08:00+01:00", "2026-03-30 08:00+02:00"]).zone == "UTC"
    assert described(["2026-01-01", "2026-01-02"]).zone == ""


@pytest.mark.parametrize("name", ["shop_id", "zip", "storeId", "country code", "ID"])
def test_whole_numbers_that_are_names_are_codes(name: str) -> None:
    assert described([1, 2, 2], name).is_code is (name != "ID")
    assert not described([1.5, 2.0], name).is_code


@given(st.lists(st.floats(-1e12, 1e12), min_size=2, max_size=20))
@example([0.0, 5e-324])
def test_a_range_holds_what_was_seen_and_more(values: list[float]) -> None:
    column = described(values)
    low, high = bounds(column)
    assert low <= column.low <= column.high <= high
    assert low < high
    if column.low >= 0:
        assert low == 0


def test_a_range_is_readable() -> None:
    assert bounds(described([17.3, 82.9])) == (0, 150)
    assert bounds(described([-3.2, 4.1])) == (-11, 12)
    assert longest_allowed(described(["abc", "x" * 31])) == 62


@pytest.mark.parametrize(
    ("values", "asked", "kind", "classes"),
    [
        ([0, 1] * 9, None, "binary", ()),
        ([True, False] * 9, None, "binary", ()),
        ([0.0, 1.0, None] * 9, None, "binary", ()),
        (["no", "no", "yes"] * 9, None, "binary", ("no", "yes")),
        (["yes", "yes", "no"] * 9, None, "binary", ("yes", "no")),
        ([1, 1, 2] * 9, None, "binary", (1.0, 2.0)),
        (["a", "b", "c", "a"] * 9, None, "multiclass", ("a", "b", "c")),
        ([1, 2, 3] * 9, None, "multiclass", (1, 2, 3)),
        ([1, 2, 3] * 9, "regression", "regression", ()),
        ([0, 1] * 9, "regression", "regression", ()),
        (list(range(40)), None, "regression", ()),
        ([0.5, 1.5, 2.5], None, "regression", ()),
    ],
)
def test_the_target_says_which_problem_it_is(
    values: list[Any], asked: str | None, kind: str, classes: tuple[Any, ...]
) -> None:
    rows = pd.DataFrame({"some": values})
    found = read_target(rows, described(values), asked)
    assert (found.kind, found.classes) == (kind, classes)


@pytest.mark.parametrize(
    ("values", "asked", "words"),
    [
        (["a"] * 9, None, "found 'a' in every row"),
        ([1.0] * 9, None, "found 1.0 in every row"),
        ([None] * 9, None, "it has no values"),
        ([1, "a"] * 9, None, "mixed"),
        (pd.to_datetime(["2026-01-01", "2026-01-02"] * 9), None, "found times"),
        ([f"note {n}" for n in range(99)], None, "99 different values; expected at most 50"),
        (["a", "b", "c"] * 9, "regression", "found text in"),
        (["a", "b", "c"] * 9, "classification", "3 different values"),
    ],
)
def test_a_target_that_cannot_be_predicted_is_refused(
    values: Any, asked: str | None, words: str
) -> None:
    with pytest.raises(InferError, match=words):
        read_target(pd.DataFrame({"some": values}), described(values), asked)
