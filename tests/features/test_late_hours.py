"""No feature sees what is known only after the hour at which its night runs."""

from __future__ import annotations

import dataclasses
from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.features.cleaning import check_named_columns
from tasks.features.examples import (
    build_examples,
    day_and_history,
    known_by_night,
    label_night,
    label_nights,
    labelled,
    prepare_examples,
)
from tasks.features.scoring import (
    answer_ahead,
    answer_day,
    comes_after,
    hide_after,
    history_of,
    late_columns,
    night_after,
)
from tasks.features.split import Split
from tasks.preflight.rows import known_later, never_used
from tasks.preflight.schedules import schedule_notes
from tasks.spec import Calendar, ModelSpec, SpecError, days
from tests.features.test_late_labels import LAST, Sums, clean_rows, whatever_is_there
from tests.nights import nth_day
from tests.samples import samples
from tests.toy import make_day, toy

NIGHT = "03:30"
SOURCE: Any = SimpleNamespace(list_days=len, read_days=len)
TIMED = {"bought": "paid", "refund": "back", "seen": "paid"}


def timed_spec(**changes: Any) -> ModelSpec:
    given = {"late": TIMED, "night_start": NIGHT, "features": whatever_is_there} | changes
    return dataclasses.replace(toy, lookback=days(4), **given)


def timed_rows(minutes: int = 0) -> pd.DataFrame:
    """Clean rows whose outcomes are known some minutes after the end of their day, -1 hour on."""
    rows = clean_rows()
    at = rows["day"] + days(1) + pd.to_timedelta(minutes + np.arange(len(rows)) % 6 * 60 - 60, "m")
    return rows.assign(paid=at, back=at + pd.Timedelta(hours=2))


def night_of(number: int) -> pd.Timestamp:
    return pd.Timestamp(nth_day(number)) + pd.Timedelta(days=1, hours=3, minutes=30)


@settings(max_examples=samples(8))
@given(
    number=st.integers(2, LAST),
    minutes=st.integers(-200, 3000),
    delay=st.integers(0, 2),
    gaps=st.sets(st.integers(1, LAST - 1), max_size=6),
    data=st.data(),
)
def test_what_comes_after_the_night_changes_no_example_and_no_answer(
    number: int, minutes: int, delay: int, gaps: set[int], data: st.DataObject
) -> None:
    spec, day = timed_spec(label_delay=days(delay)), nth_day(number)
    rows = timed_rows(minutes)
    rows = rows[~rows["day"].isin(pd.to_datetime([nth_day(n) for n in gaps - {number}]))]
    rows = rows.reset_index(drop=True)
    stamp = pd.Timestamp(day)
    past = rows["day"] < stamp
    night = rows.loc[past, "day"].max() + pd.Timedelta(days=1, hours=3, minutes=30)
    other = rows.copy()
    for moment, names in (("paid", ["bought", "seen"]), ("back", ["refund"])):
        after = past & (rows[moment] > night)
        drawn = data.draw(st.lists(st.integers(0, 1), min_size=len(rows), max_size=len(rows)))
        for name in names:
            other.loc[after, name] = np.asarray(drawn)[after].astype(rows[name].dtype)
        other.loc[after, moment] += pd.Timedelta(hours=5)
    named = make_day(day, 6)[["number", "size", "shop"]]
    for made in (
        lambda rows: build_examples(spec, *day_and_history(spec, rows, day)),
        lambda rows: answer_day(spec, Sums(), *day_and_history(spec, rows, day), stamp),
        lambda rows: answer_ahead(spec, Sums(), rows[rows["day"] < stamp], named, stamp, 99)[0],
        lambda rows: history_of(spec, rows, stamp),
    ):
        pd.testing.assert_frame_equal(made(rows), made(other))
    seen = history_of(spec, rows, stamp)
    for moment in ("paid", "back"):
        assert not (seen[moment] > night).any()


def test_what_has_come_by_the_night_is_seen() -> None:
    """Of six rows a day, an hour from one to the next, those until half past three."""
    seen = history_of(timed_spec(), timed_rows(), pd.Timestamp(nth_day(9)))
    newest = seen[seen["day"] == seen["day"].max()]
    assert newest["bought"].notna().tolist() == [True] * 5 + [False]
    assert newest["paid"].notna().tolist() == [True] * 5 + [False]
    assert newest["refund"].notna().tolist() == [True] * 3 + [False] * 3
    assert seen[seen["day"] < seen["day"].max()].notna().all(axis=None)
    assert (seen.dtypes[["bought", "seen"]] == "float64").all()
    early = history_of(timed_spec(), timed_rows(-120), pd.Timestamp(nth_day(9)))
    assert early["bought"].dtype == seen["bought"].dtype


def test_after_closed_days_the_night_is_that_of_the_last_open_one() -> None:
    """Friday's night runs on Saturday and predicts Monday: Saturday noon is not known to it."""
    rows = timed_rows(minutes=12 * 60)
    gone = pd.to_datetime([nth_day(8), nth_day(9)])
    seen = history_of(timed_spec(), rows[~rows["day"].isin(gone)], pd.Timestamp(nth_day(10)))
    newest = seen[seen["day"] == pd.Timestamp(nth_day(7))]
    assert len(newest)
    assert newest["bought"].isna().all()


@pytest.mark.parametrize(
    ("day_start", "night_start", "expected"),
    [
        ("00:00", None, "2026-03-02 00:00"),
        ("00:00", "03:30", "2026-03-02 03:30"),
        ("09:00", None, "2026-03-02 09:00"),
        ("09:00", "10:30", "2026-03-02 10:30"),
        ("22:00", "23:30", "2026-03-02 23:30"),
        ("22:00", "01:00", "2026-03-03 01:00"),
    ],
)
def test_a_night_runs_at_its_hour_after_the_day_has_ended(
    day_start: str, night_start: str | None, expected: str
) -> None:
    spec = SimpleNamespace(source=SimpleNamespace(day_start=day_start), night_start=night_start)
    assert night_after(spec, pd.Timestamp("2026-03-01")) == pd.Timestamp(expected)


def test_moments_with_a_time_zone_are_those_of_the_model() -> None:
    spec = timed_spec(timezone="America/New_York", source=SOURCE)
    rows = timed_rows()
    zoned = rows.assign(
        paid=rows["paid"].dt.tz_localize("America/New_York").dt.tz_convert("UTC"),
    )
    night = night_of(5)
    pd.testing.assert_series_equal(
        hide_after(spec, zoned, night)["bought"], hide_after(spec, rows, night)["bought"]
    )


BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("night", "moments", "zone", "after"),
    [
        # the hour from 02:00 happens twice on 2026-10-25: the night runs the first time
        ("2026-10-25 02:30", ["2026-10-25 00:20", "2026-10-25 01:10"], "UTC", [False, True]),
        ("2026-10-25 03:30", ["2026-10-25 00:20", "2026-10-25 02:40"], "UTC", [False, True]),
        ("2026-10-25 02:30", ["2026-10-25 01:50", "2026-10-25 02:10"], None, [False, True]),
        ("2026-10-25 03:30", ["2026-10-25 02:59", "2026-10-25 03:31"], None, [False, True]),
        # it is left out on 2026-03-29: the night runs at 03:00
        ("2026-03-29 02:30", ["2026-03-29 00:50", "2026-03-29 01:10"], "UTC", [False, True]),
        ("2026-03-29 02:30", ["2026-03-29 02:10", "2026-03-29 03:10"], None, [False, True]),
        ("2026-03-29 03:30", ["2026-03-29 02:59", "2026-03-29 03:31"], None, [False, True]),
        ("2026-06-01 03:30", ["NaT", "2026-06-01 03:31"], None, [False, True]),
        ("2026-06-01 03:30", ["NaT", "2026-06-01 01:31"], "UTC", [False, True]),
    ],
)
def test_a_moment_in_an_hour_that_happens_twice_or_never(
    night: str, moments: list[str], zone: str | None, after: list[bool]
) -> None:
    spec = timed_spec(timezone=BERLIN, source=SOURCE)
    when = pd.Series(pd.to_datetime(moments)).dt.tz_localize(zone)
    assert comes_after(spec, when, pd.Timestamp(night)).tolist() == after


def test_a_spec_of_an_earlier_release_has_no_moments() -> None:
    old = SimpleNamespace(late=("refund",), known_ahead=(), source=SimpleNamespace())
    rows = timed_rows()
    assert late_columns(old) == {None: ["refund"]}
    assert hide_after(old, rows, night_of(1)) is rows


def test_a_label_that_comes_after_the_night_is_there_on_the_next() -> None:
    spec, rows = timed_spec(), timed_rows()
    day = nth_day(5)
    today = rows[rows["day"] == pd.Timestamp(day)]
    first, following = {day: day}, {day: nth_day(6)}
    assert labelled(spec, today, first).tolist() == [True] * 5 + [False]
    assert labelled(spec, today, following).all()
    much_later = today.assign(paid=today["paid"] + days(1))
    assert labelled(spec, much_later, following).tolist() == [True] * 5 + [False]
    assert labelled(spec, much_later, {}).all()
    assert len(build_examples(spec, *day_and_history(spec, rows, day), nth_day(6))) == 6
    assert len(build_examples(spec, *day_and_history(spec, rows, day), day)) == 5
    assert labelled(toy, rows, first).all()


@pytest.mark.parametrize("told", [None, Calendar(("mon", "tue", "wed", "thu", "fri"))])
@pytest.mark.parametrize(
    ("delay", "friday", "wednesday"),
    [
        (0, ("01-16", "01-19"), ("01-14", "01-15")),
        (1, ("01-19", "01-20"), ("01-15", "01-16")),
        (3, ("01-19", "01-20"), ("01-19", "01-20")),
    ],
)
def test_the_nights_that_may_use_a_label_are_those_that_there_are(
    told: Calendar | None, delay: int, friday: Any, wednesday: Any
) -> None:
    """After a closed weekend the first night may be Monday's, of three days at once."""
    spec = timed_spec(label_delay=days(delay), calendar=told)
    every = [date(2025, 12, 1) + days(number) for number in range(47)]
    listed = [day for day in every if day.weekday() < 5]
    asked = [date(2026, 1, 14), date(2026, 1, 16)]

    def shown(found: dict[date, tuple[date, date]]) -> list[Any]:
        return [tuple(f"{night:%m-%d}" for night in found[day]) for day in asked]

    assert shown(label_nights(spec, listed, asked)) == [wednesday, friday]
    monday = date(2026, 1, 19)
    missed = label_nights(timed_spec(calendar=told), [*listed, monday + days(1)], asked[1:])
    assert missed == {asked[1]: (asked[1], monday + days(1))}
    assert label_night(spec, [*listed, monday], [asked[1]], monday) == {asked[1]: monday}
    assert label_nights(toy, listed, asked) == {}


def test_training_and_holdout_end_with_what_their_night_knew(tmp_path: Any, home: Any) -> None:
    from tasks.features.cleaning import clean_days
    from tasks.sources import ParquetDays
    from tests.toy import ToyContract

    for number in range(1, 8):
        make_day(nth_day(number), 6).to_parquet(tmp_path / f"{nth_day(number)}.parquet")

    def clean(rows: pd.DataFrame) -> pd.DataFrame:
        hours = pd.to_timedelta(23 + np.arange(len(rows)), "h")
        return rows.assign(paid=rows["day"] + hours)

    spec = timed_spec(
        source=ParquetDays(str(tmp_path)), contract=ToyContract, clean=clean,
        late={"bought": "paid"}, features=lambda day, _: day[["size"]],
    )  # fmt: skip
    listed = spec.source.list_days(nth_day(7))
    made = clean_days(spec, listed)
    split = Split(tuple(map(nth_day, (5,))), tuple(map(nth_day, (6, 7))), (nth_day(7),))
    refs, _ = prepare_examples(spec, listed, made.refs, split.wanted)
    ends = known_by_night(spec, listed, made.refs, refs, split)
    assert {
        last: {day: (refs[day].rows, ref.rows) for day, ref in known.items()}
        for last, known in ends.items()
    } == {day: {day: (6, 5)} for day in (nth_day(5), nth_day(7))}
    again = known_by_night(spec, listed, made.refs, refs, split)
    assert again == ends
    assert known_by_night(toy, listed, made.refs, refs, split) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"late": {"size": "paid"}}, "late: .* allowed no column of known_ahead"),
        ({"late": {"bought": None}}, "late: .* allowed none without a label_delay"),
        ({"late": {"bought": 3}}, "late: .* allowed column names other than day"),
        ({"late": {"bought": "day"}}, "late: .* allowed column names other than day"),
        ({"late": (), "night_start": NIGHT}, "night_start: found '03:30', allowed HH:MM"),
        ({"night_start": "3.30"}, "night_start: found '3.30', allowed HH:MM"),
        ({"night_start": 3}, "night_start: found 3, allowed HH:MM"),
        ({"partition": "shop"}, "late: .* no moment of the target where there is a partition"),
    ],
)
def test_what_late_and_the_hour_may_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        timed_spec(**changes)


def test_moments_are_times() -> None:
    rows = timed_rows()
    check_named_columns(timed_spec(), rows, [rows])
    zoned = rows["paid"].dt.tz_localize("UTC")
    texts = rows["paid"].astype("str")
    for wrong, said in (
        (1767331800.5, "float64 for the moments 'paid', 1767331800.5 in row 0 of 2026-01-01"),
        (texts, "str for the moments 'paid', '2026-01-01 23:00:00' in row 0 of 2026-01-01"),
        (
            [*rows["paid"][:3], *zoned[3:]],
            r"object for the moments 'paid', Timestamp\('2026-01-02 02:00:00.*UTC'\) in row 3 of",
        ),
        (None, "object for the moments 'paid', expected a clean column of dates with times, all"),
    ):
        with pytest.raises(SpecError, match=f"late: found {said}"):
            check_named_columns(timed_spec(), rows, [rows.assign(paid=wrong)])
    with pytest.raises(SpecError, match="late: found no column for the moments 'paid'"):
        check_named_columns(timed_spec(), rows, [rows.drop(columns="paid")])


def test_a_day_is_graded_again_when_its_last_labels_have_come(
    monkeypatch: pytest.MonkeyPatch, home: Any
) -> None:
    from tasks.monitoring import live_days
    from tasks.predictions import publish

    rows = timed_rows()
    day = nth_day(5)
    today = rows[rows["day"] == pd.Timestamp(day)].reset_index(drop=True)
    monkeypatch.setattr(live_days.frames, "read_days", lambda _: today)
    folder = publish.folder_of("toy")
    folder.mkdir(parents=True)
    answers = pd.DataFrame({"number": today["number"], "probability": 0.5})
    answers.to_parquet(folder / f"{nth_day(4)}.parquet")
    record = {"as_of": str(nth_day(4)), "day": str(day), "version": "1", "candidate": "tree"}

    def grade(as_of: date) -> tuple[Any, int]:
        ref: Any = None
        found = live_days.grade_one(timed_spec(), "mark", {**record, "promised": None}, ref, as_of)
        return found["fingerprint"], found["labelled"]

    assert grade(day) == (None, 5)
    assert grade(nth_day(6)) == ("mark", 6)


def test_a_check_says_what_comes_after_the_night() -> None:
    rows = timed_rows().assign(shipped=lambda made: made["day"] + pd.Timedelta(days=2))
    lines, notes = known_later(timed_spec(), rows)
    assert len(lines) == 2
    assert lines[0].startswith("paid: 1 of 6 rows of 2026-01-14 are after 03:30, when the night")
    assert lines[0].endswith("missing until then: bought, seen")
    assert "back: 3 of 6 rows" in lines[1]
    (note,) = notes
    assert note.startswith("shipped: 6 of 6 rows of 2026-01-14 are after 03:30")
    assert "late={'other_column': 'shipped'}" in note
    untimed = dataclasses.replace(toy, known_ahead=(*toy.known_ahead, "shipped", "back"))
    assert known_later(untimed, rows)[0] == ()
    assert "paid: 4 of 6 rows of 2026-01-14 are after 00:00" in known_later(untimed, rows)[1][0]


def test_a_check_says_which_labels_no_night_uses() -> None:
    assert never_used(timed_spec(), timed_rows()) == never_used(toy, timed_rows()) == ()
    (note,) = never_used(timed_spec(), timed_rows(minutes=24 * 60))
    assert note.startswith("late: found 13 of 78 labels of 2026-01-01 to 2026-01-13 whose moment")
    assert "Expected a longer label_delay than 0 days" in note
    assert never_used(timed_spec(label_delay=days(1)), timed_rows(minutes=24 * 60)) == ()


def test_a_schedule_at_another_hour_is_noted() -> None:
    spec = timed_spec(timezone="Europe/Berlin", source=SOURCE)
    same, other = "retrain: 30 3 * * * Europe/Berlin", "retrain: 0 3 * * * Europe/Berlin"
    assert schedule_notes(spec, [same, "retrain: 0 1 * * * UTC"]) == ()
    (note,) = schedule_notes(spec, [same, other])
    assert note.startswith(f"night_start: found '03:30', but {other}: expected the same")
    assert schedule_notes(toy, [other]) == ()
