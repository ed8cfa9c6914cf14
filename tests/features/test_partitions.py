"""Which rows of a fleet's days are whose, and which partition's are bad."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.errors import SpecError
from tasks.features import partitions
from tasks.features.cleaning import clean_days, clean_keys
from tasks.store import frames
from tests.toy import ParquetDays, ToyContract, make_day, toy

DAY = date(2026, 1, 5)


class Anywhere(ToyContract):
    shop: str


def fleet(folder: Path, **shops: tuple[int, int]) -> Any:
    """A fleet of one day: shop to its rows, and how many of them break the contract."""
    shop = [name for name, (rows, _) in shops.items() for _ in range(rows)]
    rows = make_day(DAY, len(shop)).assign(shop=shop)
    for name, (_, broken) in shops.items():
        rows.loc[rows.index[rows["shop"] == name][:broken], "size"] = 99.0
    rows.sample(frac=1, random_state=1).to_parquet(folder / f"{DAY}.parquet", index=False)
    source = ParquetDays(str(folder))
    return replace(toy, source=source, contract=Anywhere, partition="shop", slices=())


def cleaned(spec: Any) -> tuple[Any, pd.DataFrame]:
    days = spec.source.list_days(DAY)
    return clean_days(spec, days), partitions.read_parts(clean_keys(spec, days))


def test_each_partition_reads_its_own_rows(tmp_path: Path) -> None:
    found, parts = cleaned(fleet(tmp_path, b=(7, 0), a=(5, 0), c=(2, 0)))
    whole = frames.read_days([found.refs[DAY]])
    assert list(whole["shop"]) == ["a"] * 5 + ["b"] * 7 + ["c"] * 2
    marks = set()
    for value, own in parts.groupby("value"):
        (ref,) = partitions.part_refs(own, found.refs, examples=False).values()
        rows = frames.read_days([ref], columns=["shop", "number"])
        expected = whole[whole["shop"] == value][["shop", "number"]].reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, expected)
        marks.add(ref.mark)
    assert len(marks | {found.refs[DAY].mark}) == 4


def test_a_partition_without_rows_on_a_day_has_none(tmp_path: Path) -> None:
    found, parts = cleaned(fleet(tmp_path, a=(5, 0)))
    none = partitions.part_refs(parts.head(0), found.refs, examples=True)
    assert frames.read_days(list(none.values())).empty


def test_bad_rows_of_one_partition_leave_the_others(tmp_path: Path) -> None:
    spec = replace(fleet(tmp_path, a=(20, 5), b=(20, 0), c=(20, 1)), quarantine_limit=0.03)
    found, parts = cleaned(spec)
    assert not found.rejected
    faults = dict(zip(parts["value"], parts["fault"], strict=True))
    assert faults["a"].startswith("5 of 20 rows of a on 2026-01-05 break the contract")
    assert (faults["b"], faults["c"]) == ("", "")  # one broken row alone makes no day bad
    assert dict(zip(parts["value"], parts["rows"], strict=True)) == {"a": 0, "b": 20, "c": 19}
    counts = found.counts.iloc[0].to_dict()
    assert counts == {"rows_in": 60, "accepted": 39, "quarantined": 21, "duplicates": 0}


def test_a_few_rows_of_a_value_that_is_none_are_broken_rows_of_the_day(tmp_path: Path) -> None:
    found, parts = cleaned(fleet(tmp_path, a=(100, 0), b=(100, 0), odd=(3, 3)))
    assert not found.rejected
    assert list(parts["value"]) == ["a", "b"]


def test_a_partition_without_one_good_row_is_told_of(tmp_path: Path) -> None:
    _, parts = cleaned(fleet(tmp_path, a=(20, 0), b=(20, 20)))
    assert parts.loc[parts["fault"] != "", "value"].tolist() == ["b"]


def test_bad_rows_of_most_partitions_reject_the_day(tmp_path: Path) -> None:
    spec = fleet(tmp_path, a=(20, 5), b=(20, 5), c=(20, 0))
    found = clean_days(spec, spec.source.list_days(DAY))
    assert "2 of 3 partitions have too many rows" in found.rejected[DAY]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pd.Series(["a", None], dtype="str"), ["a", None]),
        (pd.Series([1, 2]), ["1", "2"]),
        (pd.Series([1.0, None]), ["1", None]),
        (pd.Series([True, False]), ["True", "False"]),
        (pd.Series(["x", "y"], dtype="category"), ["x", "y"]),
    ],
)
def test_values_as_text(values: pd.Series, texts: list[str | None]) -> None:
    found = partitions.as_text(values)
    assert [None if pd.isna(text) else text for text in found] == texts


@pytest.mark.parametrize("values", [pd.Series([0.5]), pd.Series(pd.to_datetime(["2026-01-01"]))])
def test_other_types_are_refused(values: pd.Series) -> None:
    with pytest.raises(SpecError, match="Turn them into texts in clean"):
        partitions.as_text(values)


@pytest.mark.parametrize(
    ("count", "most", "sizes"), [(0, 3, []), (3, 3, [3]), (4, 3, [2, 2]), (10, 4, [4, 3, 3])]
)
def test_chunks(count: int, most: int, sizes: list[int]) -> None:
    found = partitions.chunks(list(range(count)), most)
    assert [len(chunk) for chunk in found] == sizes
    assert [value for chunk in found for value in chunk] == list(range(count))


ENOUGH = {"days": 7, "least_days": 7, "units": 200, "least_units": 200, "trained": 3}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ""),
        ({"days": 6}, "6 holdout days with rows (at least 7)"),
        ({"units": 199}, "199 rows in the holdout (at least 200)"),
        ({"trained": 2}, "2 training days with rows (at least 3)"),
    ],
)
def test_when_a_partition_is_too_thin(changes: dict[str, int], told: str) -> None:
    assert told in partitions.why_thin(**ENOUGH | {"least_trained": 3} | changes)
    assert bool(partitions.why_thin(**ENOUGH | {"least_trained": 3} | changes)) == bool(told)
