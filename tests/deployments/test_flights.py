"""The flight model's own file: contract, target, features as of the evening before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import average_precision_score, log_loss

from deployments.flights import (
    EVENING,
    FLOWN,
    HISTORY,
    NUMBERS,
    USUALLY_LATE,
    WEATHER,
    FlightContract,
    boosting,
    clean,
    features,
    flights,
    load_raw,
)
from tasks.features.contract import accept_rows
from tasks.features.examples import build_examples, day_and_history
from tasks.preflight.schedules import FILE, schedules_of
from tasks.promotion import leaks
from tasks.spec import days
from tests.samples import in_part

FIRST = pd.Timestamp("2013-02-01")
JUDGED = pd.Timestamp("2013-04-05")


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    """Ten weeks of real flights, the blizzard of 9 February among them."""
    rows = load_raw()
    rows.insert(0, "day", rows["sched_dep"].dt.floor("D").astype("datetime64[s]"))
    chosen = rows[rows["day"].between(FIRST, JUDGED + pd.Timedelta(days=6))]
    return chosen.sort_values("day", kind="stable").reset_index(drop=True)


@pytest.fixture(scope="module")
def cleaned(raw: pd.DataFrame) -> pd.DataFrame:
    return clean(accept_rows(raw, FlightContract).rows)


def examples_of(cleaned: pd.DataFrame, day: pd.Timestamp) -> pd.DataFrame:
    past = cleaned["day"].between(day - flights.lookback, day - pd.Timedelta(days=1))
    today = cleaned["day"] == day
    return build_examples(
        flights, cleaned[today].reset_index(drop=True), cleaned[past].reset_index(drop=True)
    )


def test_contract_quarantines_what_is_no_flight(raw: pd.DataFrame) -> None:
    dirty = raw.head(500).copy()
    dirty.loc[1, "distance"] = 17
    dirty.loc[2, "wind_speed"] = 1_048.4
    dirty.loc[3, "origin"] = "BOS"
    found = accept_rows(dirty, FlightContract)
    reasons = found.quarantine.sort_index()["reason"].tolist()
    assert len(found.rows) == 497
    for column, reason in zip(("distance", "wind_speed", "origin"), sorted(reasons), strict=False):
        assert any(column in text for text in reasons), reason


def test_a_year_has_one_false_row_and_no_hour_twice() -> None:
    rows = load_raw()
    rows.insert(0, "day", rows["sched_dep"].dt.floor("D").astype("datetime64[s]"))
    found = accept_rows(rows, FlightContract)
    assert found.counts.sum().tolist() == [336_776, 336_775, 1, 0]
    assert found.quarantine["reason"].tolist() == ["distance: 17.0 is not at least 50"]
    flew = rows["dep_time"].notna()
    assert (~flew).sum() == 8_255
    assert (flew & rows["arr_delay"].isna()).sum() == 1_175
    assert rows.loc[flew, "tailnum"].notna().all()


def test_late_means_more_than_fifteen_minutes_after_plan(raw: pd.DataFrame) -> None:
    some = raw.head(4).assign(arr_delay=[15.0, 16.0, np.nan, -5.0])
    assert clean(some)["late"].tolist()[:2] == [0, 1]
    assert np.isnan(clean(some)["late"][2])


def test_cancelled_and_diverted_flights_are_no_examples(
    raw: pd.DataFrame, cleaned: pd.DataFrame
) -> None:
    blizzard = pd.Timestamp("2013-02-09")
    day = raw[raw["day"] == blizzard]
    assert day["dep_time"].isna().mean() > 0.5
    made = examples_of(cleaned, blizzard)
    assert len(made) == day["arr_delay"].notna().sum()
    assert set(made["target"].unique()) <= {0, 1}


def test_outcomes_of_the_day_and_later_change_no_feature(cleaned: pd.DataFrame) -> None:
    blanked = cleaned.copy()
    later = blanked["day"] >= JUDGED
    blanked.loc[later, "delay"] = 999.0
    blanked.loc[later, "cancelled"] = 1.0
    blanked.loc[later & blanked["late"].notna(), "late"] = 1.0
    names = list(features_of(cleaned))
    pd.testing.assert_frame_equal(
        examples_of(cleaned, JUDGED)[names], examples_of(blanked, JUDGED)[names]
    )


def test_weather_and_outcomes_from_the_day_on_are_not_looked_at(
    raw: pd.DataFrame, cleaned: pd.DataFrame
) -> None:
    accepted = accept_rows(raw, FlightContract).rows
    accepted.loc[accepted["day"] >= JUDGED, [*FLOWN, *WEATHER]] = np.nan
    pd.testing.assert_frame_equal(features_of(cleaned), features_of(clean(accepted)))
    assert not {"late", "delay", "cancelled"} & set(flights.known_ahead)


def features_of(cleaned: pd.DataFrame) -> pd.DataFrame:
    today = cleaned["day"] == JUDGED
    asked = [name for name in cleaned if name == "day" or name in flights.known_ahead]
    return features(
        cleaned.loc[today, asked].reset_index(drop=True),
        cleaned[cleaned["day"] < JUDGED],
    )


def test_features_are_whole_and_weather_of_the_day_is_none_of_them(cleaned: pd.DataFrame) -> None:
    made = features_of(cleaned)
    assert not made.isna().to_numpy().any()
    assert not set(WEATHER) & set(made)
    assert not {"dep_delay", "air_time", "tailnum", "arr_delay"} & set(made)


def test_weather_is_that_of_the_evening_before_at_the_airport(cleaned: pd.DataFrame) -> None:
    before = cleaned[cleaned["day"] == JUDGED - pd.Timedelta(days=1)]
    at_jfk = before[before["origin"] == "JFK"]
    hour = at_jfk["sched_dep"].dt.hour
    evening, morning = at_jfk[hour >= 20], at_jfk[hour.between(8, 12)]
    made = features_of(cleaned)[lambda found: found["origin"] == "JFK"]
    assert np.allclose(made["evening_temp"], evening["temp"].mean())
    rise = evening["pressure"].mean() - morning["pressure"].mean()
    assert np.allclose(made["evening_pressure_rise"], rise)
    closed = cleaned[cleaned["day"] != JUDGED - pd.Timedelta(days=1)]
    assert features_of(closed)[EVENING].isna().all(axis=None)


def test_wind_blows_from_where_its_direction_says(raw: pd.DataFrame) -> None:
    blown = clean(raw.head(2).assign(wind_dir=[270.0, 360.0], wind_speed=10.0))
    assert np.allclose(blown["wind_east"], [10, 0])
    assert np.allclose(blown["wind_north"], [0, -10])


def test_departures_before_are_counted_at_each_airport(cleaned: pd.DataFrame) -> None:
    made = features_of(cleaned)
    today = cleaned[cleaned["day"] == JUDGED].reset_index(drop=True)
    one = len(today) // 2
    same = today["origin"] == today["origin"][one]
    earlier = same & (today["sched_dep"] < today["sched_dep"][one])
    assert made["departures_before"][one] == earlier.sum()


def test_a_flight_that_lands_after_the_night_is_in_no_feature(
    raw: pd.DataFrame, cleaned: pd.DataFrame
) -> None:
    """The night of the day before runs at half past three; whether it left is known earlier."""
    night = JUDGED + pd.Timedelta(hours=3, minutes=30)
    before = cleaned["day"] == JUDGED - pd.Timedelta(days=1)
    up = before & (cleaned["landed"] > night)
    assert up.sum() > 0
    other = cleaned.copy()
    other.loc[up, "late"] = 1 - other.loc[up, "late"]
    other.loc[up, "delay"] = 120.0
    at_night, changed = (
        build_examples(flights, *day_and_history(flights, rows, JUDGED.date()))
        for rows in (cleaned, other)
    )
    pd.testing.assert_frame_equal(at_night, changed)
    assert not at_night.isna().to_numpy().any()
    early = raw[raw["day"].between(JUDGED - pd.Timedelta(days=2), JUDGED)].reset_index(drop=True)
    assert leaks.rebuilt_without_outcomes(flights, early, JUDGED.date()).passed
    unsaid = replace(flights, late={"late": "landed"})
    found = leaks.rebuilt_without_outcomes(unsaid, early, JUDGED.date())
    assert "delay of 2013-04-04 follow what is known only after" in found.detail


def test_the_night_runs_when_its_schedule_says() -> None:
    (schedule,) = schedules_of(FILE.read_text(encoding="utf-8"), "flights")
    assert schedule == "retrain-flights: 30 3 * * * America/New_York"
    assert (flights.night_start, flights.timezone) == ("03:30", "America/New_York")


def test_labels_that_come_late_leave_no_gap_in_the_features(cleaned: pd.DataFrame) -> None:
    spec = replace(flights, label_delay=days(3), late=("delay", "cancelled"), night_start=None)
    made = build_examples(spec, *day_and_history(spec, cleaned, JUDGED.date()))
    assert not made.isna().to_numpy().any()
    at_once = build_examples(flights, *day_and_history(flights, cleaned, JUDGED.date()))
    assert np.allclose(made["origin_hour_yesterday"], USUALLY_LATE)
    assert not np.allclose(at_once["origin_hour_yesterday"], USUALLY_LATE)


def test_more_delay_before_never_lowers_the_boosted_risk(cleaned: pd.DataFrame) -> None:
    constraints = boosting.named_steps["histgradientboostingclassifier"].monotonic_cst
    assert constraints == [int(name in HISTORY) for name in NUMBERS]
    made = pd.concat(
        [examples_of(cleaned, JUDGED - pd.Timedelta(days=n)) for n in range(5)], ignore_index=True
    )
    inputs = flights.problem.inputs(made)
    fitted = clone(boosting).fit(inputs, made["target"])
    columns = fitted.named_steps["columntransformer"].get_feature_names_out()
    assert [name.removeprefix("numbers__") for name in columns] == NUMBERS
    worse = inputs.assign(**{name: inputs[name] + 0.2 for name in HISTORY})
    assert (fitted.predict_proba(worse)[:, 1] >= fitted.predict_proba(inputs)[:, 1] - 1e-12).all()


@pytest.fixture(scope="module")
def weeks() -> pd.DataFrame:
    """Examples of sixty days and of the week after: after four weeks boosting is not better yet."""
    rows = load_raw()
    rows.insert(0, "day", rows["sched_dep"].dt.floor("D").astype("datetime64[s]"))
    until = rows[rows["day"] <= JUDGED + pd.Timedelta(days=6)].sort_values("day", kind="stable")
    past = clean(accept_rows(until.reset_index(drop=True), FlightContract).rows)
    days = pd.date_range(JUDGED - pd.Timedelta(days=60), JUDGED + pd.Timedelta(days=6), unit="s")
    return pd.concat([examples_of(past, day) for day in days], ignore_index=True)


@pytest.mark.parametrize("name", in_part(flights.candidates))
def test_each_candidate_beats_the_base_rate_on_a_later_week(name: str, weeks: pd.DataFrame) -> None:
    made = weeks
    late = made["day"] >= JUDGED
    learned, judged = made[~late], made[late]
    fitted = clone(flights.candidates[name]).fit(
        flights.problem.inputs(learned), learned["target"].to_numpy()
    )
    scores = flights.problem.score(fitted, flights.problem.inputs(judged))
    assert ((scores >= 0) & (scores <= 1)).all()
    usual = np.full(len(judged), learned["target"].mean())
    assert log_loss(judged["target"], scores) < log_loss(judged["target"], usual)
    late_share = judged["target"].mean()
    assert average_precision_score(judged["target"], scores) > 1.15 * late_share
