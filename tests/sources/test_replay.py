"""An old data set on today's calendar: weekday and season stay, no real day appears twice."""

from collections.abc import Sequence
from datetime import date, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.sources import Replay, SourceError


class Year:
    """A source with these days, one row each at noon."""

    def __init__(self, first: date, last: date) -> None:
        span = (last - first).days + 1
        self.days = [first + timedelta(days=n) for n in range(span)]

    def list_days(self, until: date) -> dict[date, str]:
        return {day: f"mark of {day}" for day in self.days if day <= until}

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        day = pd.Series(pd.to_datetime(list(days))).astype("datetime64[s]")
        noon = day + pd.Timedelta(hours=12)
        return pd.DataFrame(
            {"day": day, "at": noon, "there": noon.dt.tz_localize("America/New_York")}
        )


YEAR_2017 = Year(date(2017, 1, 1), date(2017, 12, 31))
YEAR_2013 = Year(date(2013, 1, 1), date(2013, 12, 31))


@pytest.mark.parametrize(
    ("source", "shown"), [(YEAR_2017, date(2017, 11, 19)), (YEAR_2013, date(2013, 11, 24))]
)
def test_a_replay_keeps_weekday_and_season(source: Year, shown: date) -> None:
    listed = Replay(source).list_days(date(2026, 11, 22))
    assert len(listed) == 364
    assert listed[date(2026, 11, 22)] == f"mark of {shown}"


@given(st.dates(), st.integers(7, 800), st.dates(date(1990, 1, 1), date(2024, 12, 31)))
def test_a_replay_is_a_calendar(until: date, span: int, first: date) -> None:
    source = Year(first, first + timedelta(days=span - 1))
    replay = Replay(source)
    listed = replay.list_days(until)
    assert list(listed) == sorted(listed)
    assert max(listed) == until
    assert len(set(listed.values())) == len(listed) <= span
    real = {day: date.fromisoformat(mark.removeprefix("mark of ")) for day, mark in listed.items()}
    assert all(day.weekday() == then.weekday() for day, then in real.items())
    if until < date.max:
        later = replay.list_days(until + timedelta(days=1))
        common = listed.keys() & later.keys()
        assert {day: listed[day] for day in common} == {day: later[day] for day in common}
        follows = later[until + timedelta(days=1)]
        assert follows in (f"mark of {real[until] + timedelta(days=1)}", f"mark of {first}")


def test_a_replay_leaves_out_days_the_data_do_not_have() -> None:
    source = Year(date(2017, 1, 1), date(2017, 12, 31))
    source.days.remove(date(2017, 12, 25))
    listed = Replay(source).list_days(date(2026, 11, 22))
    assert len(listed) == 363
    assert date(2025, 12, 29) not in listed


def test_a_replay_moves_every_time_at_the_same_time_of_day() -> None:
    days = [date(2026, 3, 8), date(2026, 3, 20), date(2026, 11, 22)]
    rows = Replay(YEAR_2017).read_days(days)
    assert rows["day"].dt.date.tolist() == days
    assert rows["at"].dt.date.tolist() == days
    assert rows["there"].dt.date.tolist() == days
    assert set(rows["there"].dt.hour) == {12}
    assert rows["day"].dtype == "datetime64[s]"


def test_a_replay_never_shows_a_real_day_twice() -> None:
    day = date(2026, 11, 22)
    with pytest.raises(SourceError, match="same real day"):
        Replay(YEAR_2017).read_days([day - timedelta(days=364), day])


def test_a_replay_needs_a_week() -> None:
    short = Year(date(2017, 1, 1), date(2017, 1, 6))
    with pytest.raises(SourceError, match="at least a week"):
        Replay(short).list_days(date(2026, 11, 22))
