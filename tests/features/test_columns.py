"""Columns that come and go with the days: the same on a first night and on nights in a row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest

from tasks.features import scoring
from tasks.features.cleaning import absent_columns, clean_days
from tasks.features.contract import accept_rows
from tasks.features.examples import prepare_examples
from tasks.sources import CsvDays, ParquetDays
from tasks.spec import ModelSpec, SpecError
from tasks.store import frames
from tests.nights import nth_day
from tests.toy import ToyContract, features, toy, write_day

LAST = 14
Features = Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]


class AnyShop(ToyContract):
    shop: str


def with_dummies(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    return features(day, history).join(pd.get_dummies(day["shop"], prefix="is", dtype="float64"))


def spec_on(folder: Path, made: Features = features) -> ModelSpec:
    source = ParquetDays(str(folder))
    return dataclasses.replace(toy, source=source, contract=AnyShop, features=made)


def prepare(spec: ModelSpec, last: int) -> pd.DataFrame:
    """The examples of a night as of a day, all days after the lookback."""
    listed = spec.source.list_days(nth_day(last))
    clean = clean_days(spec, listed)
    wanted = list(listed)[toy.lookback.days :]
    refs, _ = prepare_examples(spec, listed, clean.refs, wanted)
    return frames.read_days(list(refs.values()))


@pytest.mark.parametrize("with_note", [range(1, LAST), [LAST], [10, 12]])
def test_a_column_that_no_contract_names_may_come_and_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_note: list[int]
) -> None:
    for number in range(1, LAST + 1):
        more = {"note": "seen", "code": 7} if number in with_note else {}
        write_day(tmp_path / "days", nth_day(number), 20, **more)
    notes: dict[date, int] = {}

    def noting(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
        none = pd.Series(index=history.index)
        noted = history.get("note", none).notna(), history.get("code", none).notna()
        assert noted[0].equals(noted[1])
        notes[day["day"].iloc[0].date()] = int(noted[0].sum())
        return features(day, history)

    spec = spec_on(tmp_path / "days", noting)
    at_once = prepare(spec, LAST)
    expected = {
        nth_day(number): 20 * sum(number - 7 <= other < number for other in with_note)
        for number in range(8, LAST + 1)
    }
    assert notes == expected
    monkeypatch.setenv("NIGHTLY_HOME", str(tmp_path / "another"))
    notes.clear()
    for last in range(8, LAST + 1):
        night_by_night = prepare(spec, last)
    assert notes == expected
    pd.testing.assert_frame_equal(night_by_night, at_once)


@pytest.mark.parametrize("first", [8, LAST], ids=["night by night", "at once"])
@pytest.mark.parametrize(
    ("shop", "said"), [("a", "without is_b"), ("c", "without is_a, is_b and with is_c")]
)
def test_features_of_other_columns_are_told_with_day_and_name(
    tmp_path: Path, shop: str, said: str, first: int
) -> None:
    for number in range(1, LAST + 1):
        write_day(tmp_path / "days", nth_day(number), 20)
    write_day(tmp_path / "days", nth_day(LAST), 20, shop=shop)
    spec = spec_on(tmp_path / "days", with_dummies)
    for last in range(first, LAST):
        prepare(spec, last)
    with pytest.raises(SpecError) as error:
        prepare(spec, LAST)
    assert f"other columns for {nth_day(LAST)} than for most days: {said}." in str(error.value)


def test_columns_in_another_order_are_told(tmp_path: Path) -> None:
    for number in range(1, LAST + 1):
        write_day(tmp_path / "days", nth_day(number), 20)

    def turned(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
        made = features(day, history)
        return made[made.columns[::-1]] if day["day"].iloc[0].date() == nth_day(LAST) else made

    spec = spec_on(tmp_path / "days", turned)
    prepare(spec, LAST - 1)
    with pytest.raises(SpecError, match=rf"{nth_day(LAST)} .*the same in another order"):
        prepare(spec, LAST)


def test_a_column_of_another_type_is_told_with_its_days(tmp_path: Path) -> None:
    for number in range(1, LAST + 1):
        write_day(tmp_path / "days", nth_day(number), 20, note=1.5 if number < LAST else "text")
    spec = spec_on(tmp_path / "days")
    prepare(spec, LAST - 1)
    with pytest.raises(SpecError) as error:
        prepare(spec, LAST)
    said = f"note is double on {nth_day(7)} and large_string on {nth_day(LAST)}."
    assert "the clean rows of several days do not go together" in str(error.value)
    assert said in str(error.value)


def test_a_feature_of_another_type_on_a_later_night_is_told(tmp_path: Path) -> None:
    for number in range(1, LAST + 1):
        write_day(tmp_path / "days", nth_day(number), 20)

    def mixed(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
        late = day["day"].iloc[0].date() == nth_day(LAST)
        return features(day, history).assign(kind="late" if late else 2.0)

    spec = spec_on(tmp_path / "days", mixed)
    prepare(spec, LAST - 1)
    said = f"kind is double on {nth_day(8)} and large_string on {nth_day(LAST)}"
    with pytest.raises(SpecError, match=said):
        prepare(spec, LAST)


class Optionally(ToyContract):
    code: int | None = pa.Field(ge=0)
    note: str | None


@pytest.mark.parametrize("present", [range(1, LAST), [LAST], [10, 12], [8, 9, 10]])
def test_a_column_that_need_not_be_there_may_come_and_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: Sequence[int]
) -> None:
    broken = present[-1]
    for number in range(1, LAST + 1):
        more = {"note": "seen", "code": 7} if number in present else {}
        write_day(tmp_path / "days", nth_day(number), 60, **more)
    rows = pd.read_parquet(file := tmp_path / "days" / f"{nth_day(broken)}.parquet")
    rows["code"] = rows["code"].astype("Int64").where(rows.index != 3)
    rows["note"] = rows["note"].where(rows.index != 4)
    rows.to_parquet(file)
    seen: dict[date, tuple[str, ...]] = {}

    def noting(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
        seen[day["day"].iloc[0].date()] = tuple(f"{n} {history[n].dtype}" for n in history)
        return features(day, history)

    spec = dataclasses.replace(
        spec_on(tmp_path / "days", noting), contract=Optionally, quarantine_limit=0.05
    )
    prepare(spec, LAST)
    at_once = dict(seen), cleaned(spec)
    assert at_once[1].loc[str(nth_day(broken)), ["accepted", "quarantined"]].tolist() == [58, 2]
    assert at_once[1]["quarantined"].sum() == 2
    monkeypatch.setenv("NIGHTLY_HOME", str(tmp_path / "another"))
    seen.clear()
    for last in range(8, LAST + 1):
        prepare(spec, last)
    assert seen == at_once[0]
    pd.testing.assert_frame_equal(cleaned(spec), at_once[1])


def cleaned(spec: ModelSpec) -> pd.DataFrame:
    """Counts of all days; none is rejected."""
    found = clean_days(spec, spec.source.list_days(nth_day(LAST)))
    assert not found.rejected
    return found.counts


@pytest.mark.parametrize("present", [[], [3], [LAST], range(1, LAST)])
def test_features_see_a_column_known_ahead_on_the_days_that_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: Sequence[int]
) -> None:
    """Of the day itself, and of its history; so does a version of other code."""
    for number in range(1, LAST + 1):
        more = {"code": 7} if number in present else {}
        write_day(tmp_path / "days", nth_day(number), 20, **more)
    seen: dict[date, list[tuple[bool, ...]]] = {}

    def noting(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
        there = tuple("code" in rows for rows in (day, history))
        seen.setdefault(day["day"].iloc[0].date(), []).append(there)
        return features(day, history)

    spec = dataclasses.replace(
        spec_on(tmp_path / "days", noting),
        contract=Optionally,
        known_ahead=(*toy.known_ahead, "code"),
        clean=lambda rows: rows.assign(double=2 * rows["size"]),
    )
    at_once = prepare(spec, LAST)
    raw = spec.source.read_days([nth_day(number) for number in range(1, LAST + 1)])
    stamps = [pd.Timestamp(nth_day(number)) for number in range(8, LAST + 1)]
    answers = scoring.answer_days(spec, Sums(), accept_rows(raw, Optionally).rows, stamps)
    assert answers["row"].tolist() == [*range(7 * 20, LAST * 20)]
    monkeypatch.setenv("NIGHTLY_HOME", str(tmp_path / "another"))
    for last in range(8, LAST + 1):
        night_by_night = prepare(spec, last)
    for number in range(8, LAST + 1):
        earlier = any(number - 7 <= other < number for other in present)
        assert seen[nth_day(number)] == [(number in present, earlier)] * 3
    pd.testing.assert_frame_equal(night_by_night, at_once)


def write_notes(folder: Path, filled: Sequence[int], empty: Sequence[int]) -> None:
    """Days on some of which the file has a column ``note``, on some of these without a value."""
    for number in range(1, LAST + 1):
        note = {"note": "seen"} if number in filled else {"note": None}
        write_day(folder, nth_day(number), 20, **(note if number in {*filled, *empty} else {}))


@pytest.mark.parametrize(
    ("filled", "empty"),
    [([], [3]), ([3], []), ([LAST], [2]), ([9, 10], [11]), (range(1, LAST), [])],
)
@pytest.mark.parametrize("kind", [ParquetDays, CsvDays])
def test_clean_and_features_see_a_column_on_the_days_whose_files_have_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[ParquetDays],
    filled: Sequence[int],
    empty: Sequence[int],
) -> None:
    """Whatever was read with them, also where the file's column is empty."""
    folder, there = tmp_path / "days", {*filled, *empty}
    write_notes(folder, filled, empty)
    if kind is CsvDays:
        for file in [*folder.iterdir()]:
            pd.read_parquet(file).to_csv(file.with_suffix(".csv"), index=False)
            file.unlink()
    seen: dict[date, list[bool]] = {}

    def noting(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
        seen.setdefault(day["day"].iloc[0].date(), []).append("note" in history)
        return features(day, history).assign(has=history["has"].sum())

    def clean(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(has="note" in rows)

    spec = dataclasses.replace(
        spec_on(folder, noting), source=kind(str(folder)), contract=ToyContract, clean=clean
    )
    at_once = prepare(spec, LAST)
    listed = [nth_day(number) for number in range(1, LAST + 1)]
    rows = accept_rows(spec.source.read_days(listed), ToyContract).rows
    stamps = [*map(pd.Timestamp, listed[7:])]
    absent = absent_columns(spec, rows)
    answers = scoring.answer_days(spec, Sums(), rows, stamps, absent)
    assert answers["row"].tolist() == [*range(7 * 20, LAST * 20)]
    monkeypatch.setenv("NIGHTLY_HOME", str(tmp_path / "another"))
    for last in range(8, LAST + 1):
        night_by_night = prepare(spec, last)
    for number in range(8, LAST + 1):
        past = [other for other in there if number - 7 <= other < number]
        own = at_once["day"] == pd.Timestamp(nth_day(number))
        assert {*at_once.loc[own, "has"]} == {20 * len(past)}
        assert seen[nth_day(number)] == [bool(past)] * 3
    pd.testing.assert_frame_equal(night_by_night, at_once)


class Sums:
    """A classifier whose score follows the inputs."""

    classes_ = (0, 1)

    def predict_proba(self, inputs: pd.DataFrame) -> np.ndarray:
        score = inputs.sum(axis=1).to_numpy()
        return np.column_stack([1 - score, score])
