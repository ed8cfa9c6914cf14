"""Which days a check looks at, and what it says of the days before them."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from tasks.preflight.days import MOST_ROWS, SIGN_ROWS, choose_days, lookback_notes
from tasks.problems import Classification
from tasks.spec import ModelSpec, days
from tests.nights import nth_day
from tests.toy import toy


@given(
    count=st.integers(0, 60),
    delay=st.integers(0, 10),
    lookback=st.integers(0, 60),
    rows=st.integers(0, 10_000_000),
)
def test_days_looked_at_are_few_and_never_later_than_their_labels(
    count: int, delay: int, lookback: int, rows: int
) -> None:
    spec: ModelSpec = dataclasses.replace(
        toy,
        label_delay=days(delay),
        lookback=days(lookback),
        problem=Classification(target="bought"),
        requests=None,
    )
    listed = [nth_day(number) for number in range(1, count + 1)]
    sample = choose_days(spec, listed, nth_day(count), rows)
    if sample is None:
        assert count - delay < 2
        return
    assert sample.training and sample.holdout
    assert (
        sample.training[-1]
        < sample.holdout[0]
        <= sample.holdout[-1]
        <= nth_day(count) - days(delay)
    )
    assert {*sample.training, *sample.holdout, listed[-1]} <= set(sample.read)
    assert list(sample.read) == sorted(set(sample.read))
    assert sample.signs == tuple(listed[: count - delay])[-len(sample.signs) :]
    assert len(sample.signs) <= max(toy.holdout.days, len(sample.holdout))
    enough = len(sample.signs) * rows >= SIGN_ROWS
    assert enough or len(sample.signs) == min(max(count - delay, 0), toy.holdout.days)
    late = [day for day in sample.read if day >= sample.built[0]]
    assert len(sample.read) - len(late) <= max(lookback, 1)
    assert len(sample.read) * rows <= MOST_ROWS + (len(late) + 1) * rows


def test_a_lookback_shorter_than_a_weekend_is_told() -> None:
    """It is a span of time: two days before a Monday there is no day of this source."""
    listed = [day for day in map(nth_day, range(1, 61)) if day.weekday() < 5]

    def notes(lookback: int) -> tuple[str, ...]:
        return lookback_notes(listed, listed[5:], days(lookback))

    [told] = notes(2)
    mondays = sum(day.weekday() == 0 for day in listed[5:])
    assert f"{mondays} of {len(listed) - 5} days" in told
    assert "expected at least days(3)" in told
    assert notes(3) == notes(0) == ()
