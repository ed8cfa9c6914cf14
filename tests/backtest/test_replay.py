"""A backtest replays nights as they would have been and never looks ahead."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.backtest import replay
from tasks.backtest.policies import POLICIES
from tasks.backtest.replay import BacktestError
from tasks.sources import ParquetDays
from tasks.spec import ModelSpec, days
from tasks.store import frames
from tests.nights import nth_day, write_more
from tests.toy import toy

DAYS = 45
NIGHTS = 9


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The days, and a state directory where each is cleaned once and each model is fitted once."""
    made = tmp_path_factory.mktemp("replayed")
    write_more(made / "days", 1, DAYS)
    return made


@pytest.fixture
def spec(place: Path, monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    folder = place / "days"
    monkeypatch.setenv("NIGHTLY_HOME", str(place / "home"))
    return replace(toy, source=ParquetDays(str(folder)))


def replayed(spec: ModelSpec, every: int = 1) -> list[replay.ReplayedNight]:
    listed = list(spec.source.list_days(nth_day(DAYS)))
    dates = replay.list_nights(listed, spec.label_delay, NIGHTS, every)
    return replay.prepare_nights(spec, dates, every, listed[-1])


def days_of(refs: tuple[frames.Ref, ...]) -> list[date]:
    return [stamp.date() for stamp in frames.read_days(refs)["day"].unique()]


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("delay", [0, 2])
def test_a_replayed_night_knows_nothing_of_later_days(
    spec: ModelSpec, every: int, delay: int
) -> None:
    nights = replayed(replace(spec, label_delay=days(delay)), every)
    assert [night.as_of for night in nights][-1] == nth_day(DAYS - delay - every)
    for night in nights:
        final = night.as_of - timedelta(days=delay)
        taught, judged = days_of(night.training), days_of(night.holdout)
        assert max(taught) < min(judged) - timedelta(days=delay)
        assert max(judged) == max(days_of(night.matured)) == final
        assert days_of(night.served) == [
            night.as_of + timedelta(days=ahead) for ahead in range(1, every + 1)
        ]


def test_a_replayed_night_has_the_labels_of_its_hour_also_after_a_day_left_out(
    spec: ModelSpec,
) -> None:
    """Labels come 12 to 71 hours after their day began."""

    def clean(rows: pd.DataFrame) -> pd.DataFrame:
        hours = pd.to_timedelta(12 + np.arange(len(rows)) % 60, unit="h")
        return rows.assign(paid=rows["day"] + hours)

    left_out = nth_day(DAYS - 5)
    spec = replace(
        spec, clean=clean, late={"bought": "paid"}, skip=(left_out,),
        features=lambda day, _: day[["size"]],
    )  # fmt: skip
    for night in replayed(spec):
        for day in days_of(night.matured)[-4:]:
            following = day + timedelta(days=1 + (day + timedelta(days=1) == left_out))
            until = following if following <= night.as_of else day
            hours = 24 * (1 + (until - day).days)
            known = np.count_nonzero(12 + np.arange(200) % 60 <= hours)
            rows = frames.read_days(night.matured)
            assert (rows["day"].dt.date == day).sum() == known, (night.as_of, day)


def test_the_days_served_follow_each_other_without_a_gap(spec: ModelSpec) -> None:
    served = [day for night in replayed(spec, 2) for day in days_of(night.served)]
    assert served == [nth_day(DAYS - 2 * NIGHTS + n) for n in range(1, 2 * NIGHTS + 1)]


def test_a_window_moves_with_the_nights_or_begins_with_the_first(spec: ModelSpec) -> None:
    expanding = replayed(spec)
    assert len({days_of(night.matured)[0] for night in expanding}) == 1
    rolling = replayed(replace(spec, window=days(20)))
    assert {len(night.matured) for night in rolling} == {13}


def test_too_many_nights_say_how_much_there_is(spec: ModelSpec) -> None:
    listed = list(spec.source.list_days(nth_day(DAYS)))
    dates = replay.list_nights(listed, spec.label_delay, DAYS - 1, 1)
    with pytest.raises(BacktestError, match=r"history is too short: .* Choose a smaller --nights"):
        replay.prepare_nights(spec, dates, 1, listed[-1])
    with pytest.raises(BacktestError, match=rf"{DAYS} day.* {DAYS} nights.* need more than {DAYS}"):
        replay.list_nights(listed, spec.label_delay, DAYS, 1)


@pytest.mark.parametrize(("delay", "last"), [(0, date(2026, 3, 19)), (3, date(2026, 3, 16))])
def test_nights_are_days_of_a_calendar_of_weekdays(delay: int, last: date) -> None:
    listed = [d for d in (date(2026, 3, 2) + days(n) for n in range(19)) if d.weekday() < 5]
    nights = replay.list_nights(listed, days(delay), 4, 1)
    assert nights[-1] == last, "the next day that exists is scored"
    assert nights == listed[listed.index(last) - 3 : listed.index(last) + 1]
    two = replay.list_nights(listed, days(delay), 3, 2)
    final = [day for day in listed if day <= listed[-1] - days(delay)]
    assert two == [final[-7], final[-5], final[-3]]


@pytest.mark.parametrize(
    ("period", "every", "expected"),
    [
        (1, 1, [0, 1, 2, 3, 4]),
        (2, 1, [0, 0, 2, 2, 4]),
        (None, 1, [0, 0, 0, 0, 0]),
        (6, 3, [0, 0, 2, 2, 4]),
        (1, 3, [0, 1, 2, 3, 4]),
    ],
)
def test_refits_follow_their_period(period: int | None, every: int, expected: list[int]) -> None:
    assert replay.refit_every(period, 5, every) == expected


def test_what_serves_is_what_was_fitted(spec: ModelSpec) -> None:
    nights = replayed(spec)
    fitted = [replay.fit_night(spec, night) for night in nights]
    fixed = [fitted[0].shipped["logistic"]] * NIGHTS
    nightly = [each.shipped["logistic"] for each in fitted]
    found = replay.measure(spec, nights, {"once": fixed, "nightly": nightly})
    assert (found.days, found.units) == (NIGHTS, NIGHTS * 200)
    again = replay.measure(spec, nights, {"same": nightly, "nightly": nightly})
    assert again.difference("same", "nightly").absolute.value == 0
    assert found.primary("nightly") == again.primary("nightly")
    served = np.concatenate(
        [replay.says(spec, key, n.served) for key, n in zip(nightly, nights, strict=True)]
    )
    examples = frames.read_days([ref for night in nights for ref in night.served])
    from sklearn.metrics import average_precision_score

    expected = average_precision_score(examples["target"], served)
    assert found.primary("nightly").value == pytest.approx(expected)


def test_policies_are_followed_night_after_night(spec: ModelSpec) -> None:
    nights = replayed(spec)
    fitted = [replay.fit_night(spec, night) for night in nights]
    paths = replay.follow_policies(spec, nights, fitted)
    assert set(paths) == set(POLICIES)
    for path in paths.values():
        assert len(path.champions) == NIGHTS
        assert all(made <= at for at, (_, made) in enumerate(path.champions))
    assert paths["always promote"].promotions == NIGHTS - 1
    assert paths["two questions"].switches == 0
    assert {recipe for recipe, _ in paths["two questions"].champions} == {"logistic"}


def test_a_shorter_window_is_another_fit(spec: ModelSpec) -> None:
    nights = replayed(spec)
    half, quarter = replay.windows_to_try(nights)
    assert (half, quarter) == (len(nights[0].matured) // 2, len(nights[0].matured) // 4)
    whole = replay.fit_night(spec, nights[-1]).shipped["tree"]
    assert len({whole, *(replay.fit_window(spec, nights[-1], "tree", d) for d in (half, 5))}) == 3


def test_what_each_task_is_handed_does_not_grow_with_the_nights() -> None:
    """As many tasks as nights, each with every night's days, would be the square of them."""
    refs = tuple(frames.Ref("examples/a.arrow", "sha", number, 5) for number in range(60))
    nights = [
        replay.ReplayedNight(
            nth_day(n), refs[:n], refs[n : n + 7], refs[: n + 7], refs[n + 7 :][:1]
        )
        for n in range(1, 50)
    ]
    sizes = []
    for count in (2, len(nights)):
        plan = replay.Plan("toy", nth_day(60), 1, replay.keep_nights(nights[:count]))
        assert plan.nights == tuple(nights[:count])
        sizes.append(len(repr(plan)))
    assert sizes[0] == sizes[1]
    assert plan.nights[0].matured[0] is plan.nights[1].matured[0], "each day is held once"
