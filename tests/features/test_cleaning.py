"""A split never leaks the future, features see only the past, only new days are prepared."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.features.cleaning import clean_days
from tasks.features.examples import prepare_examples
from tasks.features.split import HistoryError, Split, split_days, without_strays
from tasks.problems import Multiclass
from tasks.shown import counted
from tasks.sources import ParquetDays
from tasks.spec import EXPANDING, Calendar, ModelSpec, SpecError, days
from tests.nights import nth_day
from tests.samples import samples
from tests.toy import ToyContract, features, toy, write_day

LENGTH = 25


class KeyedContract(ToyContract):
    class Config:
        unique = ["number"]  # noqa: RUF012


@given(
    count=st.integers(0, 120),
    gaps=st.sets(st.integers(1, 119), max_size=30),
    lookback=st.integers(0, 30),
    holdout=st.integers(1, 20),
    delay=st.integers(0, 5),
    window=st.one_of(st.just(EXPANDING), st.integers(30, 60).map(days)),
)
@example(count=104, gaps={79}, lookback=0, holdout=17, delay=4, window=days(30))
def test_no_training_day_or_label_reaches_a_judging_day(
    count: int, gaps: set[int], lookback: int, holdout: int, delay: int, window: timedelta
) -> None:
    spec = dataclasses.replace(
        toy, lookback=days(lookback), holdout=days(holdout), label_delay=days(delay), window=window
    )
    listed = [nth_day(n) for n in range(1, count + 1) if n not in gaps]
    as_of = nth_day(max(count, 1))
    try:
        split = split_days(spec, listed, as_of)
    except HistoryError as error:
        assert f"the source has {counted(len(listed), 'day')}" in str(error)
        return
    evening = max(day for day in listed if day < min(split.holdout))
    assert max(split.train) + spec.label_delay <= evening
    assert max(split.refit) + spec.label_delay <= as_of
    assert split.refit[-1] == split.holdout[-1]
    assert {*split.train, *split.holdout, *split.refit} <= set(listed)
    assert min(split.refit) - spec.lookback >= listed[0]
    assert len(split.holdout) == holdout, "lengths count in days that exist"
    open_labels = [day for day in listed if evening - days(delay) < day <= evening]
    most = window.days - holdout - len(open_labels)
    assert len(split.train) <= len(split.refit) <= most
    for part in (split.train, split.holdout, split.refit):
        assert list(part) == sorted(set(part))


OFFICE = Calendar(("mon", "tue", "wed", "thu", "fri"))


def weekdays(count: int) -> list[date]:
    """The working days of so many weeks."""
    return [d for d in (date(2026, 1, 5) + days(n) for n in range(7 * count)) if d.weekday() < 5]


def test_lengths_count_the_days_that_a_calendar_of_weekdays_has() -> None:
    listed = weekdays(30)
    spec = dataclasses.replace(
        toy, lookback=days(14), holdout=days(10), label_delay=days(7), window=days(60)
    )
    split = split_days(spec, listed, listed[-1])
    assert split.holdout == tuple(listed[-15:-5]), "labels are final a week of time later"
    assert split.train[-1] == listed[-21]
    assert len(split.train) + 5 + len(split.holdout) == 60, "five of the window's are too late"
    assert len(split.refit) == len(split.train)


@pytest.mark.parametrize("delay", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("saturday", [False, True])
def test_the_twin_has_the_labels_that_the_night_before_its_holdout_had(
    delay: int, saturday: bool
) -> None:
    """After a weekend that is Friday's, also where a Saturday that is closed has rows."""
    spec = dataclasses.replace(
        toy, holdout=days(5), label_delay=days(delay), window=days(40), calendar=OFFICE
    )
    extra = [date(2026, 4, 25)] * saturday
    listed = sorted([*weekdays(20), *extra])
    for night in listed[-12:]:
        split = split_days(spec, [day for day in listed if day <= night], night)
        eve = OFFICE.last_open(split.holdout[0] - days(1))
        then = split_days(spec, [day for day in listed if day <= eve], eve)
        assert split.train[-1] == then.refit[-1] == max(d for d in listed if d <= eve - days(delay))


@pytest.mark.parametrize(
    "make", [weekdays, lambda weeks: [nth_day(n + 1) for n in range(7 * weeks)]]
)
@pytest.mark.parametrize(("lookback", "delay", "holdout"), [(0, 0, 5), (14, 7, 10), (10, 3, 4)])
def test_the_days_that_a_night_needs_are_enough_and_one_fewer_is_not(
    make: Any, lookback: int, delay: int, holdout: int
) -> None:
    spec = dataclasses.replace(
        toy, lookback=days(lookback), label_delay=days(delay), holdout=days(holdout)
    )
    listed = make(20)
    needed = next(n for n in range(1, 99) if _is_enough(spec, listed[:n]))
    with pytest.raises(HistoryError) as told:
        split_days(spec, listed[: needed - 1], listed[needed - 2])
    said = int(str(told.value).partition("needs at least ")[2].partition(":")[0])
    assert needed - (2 if make is weekdays else 0) <= said <= needed, str(told.value)


def _is_enough(spec: ModelSpec, listed: list[date]) -> bool:
    try:
        split_days(spec, listed, listed[-1])
    except HistoryError:
        return False
    return True


def test_a_row_of_1970_changes_no_split() -> None:
    listed = [nth_day(n) for n in range(1, 91)]
    expected = split_days(toy, listed, listed[-1])
    for strays in ([date(1970, 1, 1)], [date(1970, 1, 1), date(2000, 1, 1), date(2000, 1, 2)]):
        assert split_days(toy, [*strays, *listed], listed[-1]) == expected
    assert without_strays(listed[:30] + listed[40:]) == listed[:30] + listed[40:]
    assert without_strays([]) == []
    seasons = [date(2010 + year, 3, 1) + timedelta(days=n) for year in range(30) for n in range(9)]
    assert without_strays(seasons) == seasons, "such a hole is in every year"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(1, LENGTH + 1):
        write_day(tmp_path / "days", nth_day(number), rows=20)
    return tmp_path / "days"


def spec_on(folder: Path, **changes: Any) -> ModelSpec:
    return dataclasses.replace(toy, source=ParquetDays(str(folder)), **changes)


def prepare(spec: ModelSpec, last: int = LENGTH) -> tuple[Split, tuple[date, ...], int]:
    """Prepare as a night does: the split, the days whose features were made, days cleaned."""
    listed = spec.source.list_days(nth_day(last))
    clean = clean_days(spec, listed)
    split = split_days(spec, list(listed), nth_day(last))
    wanted = sorted({*split.train, *split.holdout, *split.refit})
    _, made = prepare_examples(spec, listed, clean.refs, wanted)
    return split, made, len(clean.new)


def test_features_see_what_is_known_and_whole_days_before(folder: Path) -> None:
    seen: list[tuple[pd.DataFrame, pd.DataFrame]] = []

    def watched(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
        seen.append((day, history))
        return features(day, history)

    prepare(spec_on(folder, features=watched))
    assert len(seen) == LENGTH - toy.lookback.days
    for day, history in seen:
        (today,) = day["day"].unique()
        assert set(day) == {"day", *toy.known_ahead}
        assert "bought" in history
        assert history["day"].max() == today - pd.Timedelta(days=1)
        assert history["day"].min() == today - toy.lookback
        assert len(history) == 7 * 20


def test_a_feature_of_another_type_on_some_days_is_the_models_fault(folder: Path) -> None:
    def mixed(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
        odd = day["day"].iloc[0].day % 2 == 1
        return features(day, history).assign(kind="odd" if odd else 2.0)

    with pytest.raises(SpecError, match=r"features: .*kind"):
        prepare(spec_on(folder, features=mixed))


def test_later_rows_do_not_change_a_days_features(folder: Path) -> None:
    spec = spec_on(folder)
    listed = spec.source.list_days(nth_day(LENGTH))
    clean = clean_days(spec, listed)
    day = nth_day(15)
    before, _ = prepare_examples(spec, listed, clean.refs, [day])
    for number in range(16, LENGTH + 1):
        write_day(folder, nth_day(number), rows=30, bought=1)
    changed = spec.source.list_days(nth_day(LENGTH))
    again = clean_days(spec, changed)
    after, made = prepare_examples(spec, changed, again.refs, [day])
    assert len(again.new) == LENGTH - 15
    assert made == ()
    assert after == before


def test_a_rerun_prepares_nothing_and_one_more_day_prepares_one(folder: Path) -> None:
    spec = spec_on(folder)
    _, made, cleaned = prepare(spec, LENGTH - 1)
    assert (len(made), cleaned) == (LENGTH - 1 - 7, LENGTH - 1)
    assert prepare(spec, LENGTH - 1)[1:] == ((), 0)
    assert prepare(spec)[1:] == ((nth_day(LENGTH),), 1)


def test_a_changed_day_prepares_itself_and_the_days_that_look_back_at_it(folder: Path) -> None:
    spec = spec_on(folder)
    prepare(spec)
    write_day(folder, nth_day(12), rows=21)
    _, made, cleaned = prepare(spec)
    assert cleaned == 1
    assert made == tuple(nth_day(number) for number in range(12, 12 + 8))


@settings(max_examples=samples(12))
@given(
    broken=st.sets(st.integers(0, 19), max_size=12),
    copies=st.lists(st.integers(0, 19), max_size=12),
)
def test_rows_in_are_accepted_quarantined_or_duplicates(
    tmp_path_factory: pytest.TempPathFactory, broken: set[int], copies: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("counted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTLY_HOME", str(folder / "home"))
        write_day(folder / "days", nth_day(1), rows=20)
        file = folder / "days" / f"{nth_day(1)}.parquet"
        frame = pd.read_parquet(file)
        frame.loc[list(broken), "size"] = 99.0
        pd.concat([frame, frame.iloc[copies]]).to_parquet(file, index=False)
        found = []
        for contract in (ToyContract, KeyedContract):
            spec = spec_on(folder / "days", quarantine_limit=0.99, contract=contract)
            listed = spec.source.list_days(nth_day(1))
            patch.setenv("NIGHTLY_HOME", str(folder / contract.__name__))
            found.append(clean_days(spec, listed).counts.sum())
    for counts in found:
        assert counts["rows_in"] == 20 + len(copies)
        assert counts["rows_in"] == counts[["accepted", "quarantined", "duplicates"]].sum()
    good = [row not in broken for row in copies]
    assert found[0]["accepted"] == 20 - len(broken) + sum(good)
    assert found[0]["duplicates"] == 0
    assert found[1]["accepted"] == 20 - len(broken)
    assert found[1]["duplicates"] == len(copies)


def test_a_day_over_the_limit_is_rejected_with_its_reason(folder: Path) -> None:
    write_day(folder, nth_day(LENGTH), rows=20, size=99.0)
    spec = spec_on(folder)
    found = clean_days(spec, spec.source.list_days(nth_day(LENGTH)))
    assert list(found.rejected) == [nth_day(LENGTH)]
    assert "20 of 20 rows break the contract (100.0%, allowed 2.0%)" in "".join(
        found.rejected.values()
    )
    assert nth_day(LENGTH) not in found.refs


def test_a_day_of_labels_that_are_none_is_rejected_and_no_other(folder: Path) -> None:
    spec = spec_on(
        folder,
        problem=Multiclass("choice", ("a", "b"), key=("number",)),
        clean=lambda rows: rows.assign(
            choice=rows["shop"].where(rows["day"] != pd.Timestamp(nth_day(3)), "c")
        ),
    )
    found = clean_days(spec, spec.source.list_days(nth_day(5)))
    assert list(found.rejected) == [nth_day(3)]
    assert f"{nth_day(3)}: target 'choice': found 'c' in 20 of 20 rows" in "".join(
        found.rejected.values()
    )
    absent = dataclasses.replace(spec, clean=None)
    with pytest.raises(SpecError, match="found 'choice', but the clean rows have no such"):
        clean_days(absent, absent.source.list_days(nth_day(5)))


def quarantined(home: Path) -> dict[str, int]:
    files = sorted((home / "quarantine" / "toy").glob("*.parquet"))
    return {file.stem: len(pd.read_parquet(file)) for file in files}


def test_quarantined_rows_of_other_days_stay_when_a_day_is_cleaned_again(
    tmp_path: Path, home: Path
) -> None:
    folder = tmp_path / "days"
    spec = spec_on(folder, quarantine_limit=0.99)
    first, second, third = (nth_day(n) for n in (1, 2, 3))
    for day, rows in ((first, 3), (second, 4), (third, 5)):
        write_day(folder, day, rows=rows, size=99.0)
    clean_days(spec, spec.source.list_days(third))
    assert quarantined(home) == {str(first): 3, str(second): 4, str(third): 5}
    write_day(folder, second, rows=2, size=99.0)
    write_day(folder, third, rows=5)
    clean_days(spec, spec.source.list_days(third))
    assert quarantined(home) == {str(first): 3, str(second): 2}


def test_a_file_of_many_days_is_parted_before_one_of_them_is_replaced(
    tmp_path: Path, home: Path
) -> None:
    folder = tmp_path / "days"
    spec = spec_on(folder, quarantine_limit=0.99)
    first, last = nth_day(1), nth_day(2)
    for day in (first, last):
        write_day(folder, day, rows=3, size=99.0)
    clean_days(spec, spec.source.list_days(last))
    place = home / "quarantine" / "toy"
    parts = [pd.read_parquet(place / f"{day}.parquet") for day in (first, last)]
    (place / f"{first}.parquet").unlink()
    pd.concat(parts).to_parquet(place / f"{last}.parquet", index=False)  # as it was before
    write_day(folder, last, rows=1, size=99.0)
    clean_days(spec, spec.source.list_days(last))
    assert quarantined(home) == {str(first): 3, str(last): 1}
