"""Random sequences for a model whose values have moments, against what was known at each hour.

The source shows all values as they are now. What a night may use of them is computed here anew, in
plain pandas: its examples, the inputs that it published, the labels that it graded and its figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize
from sklearn.metrics import average_precision_score

from tasks.predictions import publish
from tasks.reporting import past_night
from tasks.spec.fingerprint import digest
from tasks.spec.loading import load_spec
from tests.nights import nth_day
from tests.sequences import ASKED, FIRST_NIGHT, METRIC, PATIENT, Nights
from tests.toy import make_day

LOOKBACK, HOLDOUT, DAY = 7, 7, timedelta(days=1)
MINUTES_FROM, MINUTES_TO = -900, 2200
"""When values are known, from the end of their day on."""
HOURS = ("03:30", "06:00", None)
"""Hours of the night that a spec may say."""
WEEK = ("mon", "tue", "wed", "thu", "fri")
CALENDAR = f"Calendar({WEEK!r})"
COLUMNS = ["size", "shop", "usual", "spent", "known"]


@dataclass(frozen=True)
class Told:
    """What the model's file says of its labels.

    Attributes:
        delay: Days of ``label_delay``.
        hour: ``night_start``.
        target: Whether the moment is the target's too.
        closed: Whether weekends are closed.
    """

    delay: int
    hour: str | None
    target: bool
    closed: bool

    def night(self, evening: date) -> pd.Timestamp:
        """When the night of an as-of date runs."""
        return pd.Timestamp(evening) + DAY + pd.Timedelta(f"{self.hour or '00:00'}:00")

    def following(self, day: date) -> date:
        """The next day with business."""
        day += DAY
        while self.closed and day.weekday() > 4:
            day += DAY
        return day

    def counts_until(self, listed: Sequence[date], day: date, evening: date) -> date:
        """As-of date of the night up to which a day's labels count."""
        nights = list(listed)
        while len([night for night in nights if night >= day + self.delay * DAY]) < 2:
            nights.append(self.following(nights[-1]))
        first, second = [night for night in nights if night >= day + self.delay * DAY][:2]
        return second if second <= evening else first


class TimedNights(Nights):
    """The same on a model with moments, which are often after the night."""

    asked: ClassVar[pd.DataFrame] = ASKED.assign(spent=0.1, known=0.5)

    def __init__(self) -> None:
        self.told = Told(0, "03:30", target=True, closed=False)
        self.said: dict[str, Told] = {}
        self.rewritten, self.edits = 0, 0
        super().__init__()

    @initialize(
        first=st.sampled_from(PATIENT),
        second=st.sampled_from(PATIENT),
        told=st.builds(
            Told,
            st.integers(0, 3),
            st.sampled_from(HOURS),
            st.booleans(),
            st.booleans(),
        ),
    )
    def first_nights(self, first: str, second: str, told: Told) -> None:  # type: ignore[override]
        self.told = told
        for file in (self.place / "days").iterdir():
            file.unlink()
        self.write(1, FIRST_NIGHT)
        self.note("labels have moments" if told.target else "other values have moments")
        self.note("weekends are closed" if told.closed else "no day is closed")
        super().first_nights(first, second)

    def on(self, number: int) -> date:
        if not self.told.closed:
            return nth_day(number)
        week, day = divmod(number - 1, 5)
        return date(2026, 1, 5) + timedelta(days=7 * week + day)

    def write(self, first: int, last: int, rows: int = 200) -> None:
        (self.place / "days").mkdir(exist_ok=True)
        for number in range(first, last + 1):
            self.rewritten += 1
            random = np.random.default_rng(self.rewritten)
            made = make_day(self.on(number), rows)
            wait = random.integers(MINUTES_FROM, MINUTES_TO, rows).astype("float64")
            wait[random.random(rows) < 0.05] = np.nan
            made = made.assign(spent=made["bought"] * random.random(rows), wait=wait)
            made.to_parquet(self.place / "days" / f"{self.on(number)}.parquet", index=False)

    def more_changes(self) -> Sequence[tuple[str, str]]:
        told = self.told
        late = {"bought": "paid", "spent": "paid"} if told.target else {"spent": "paid"}
        label = "bought: int = pa.Field(isin=[0, 1])\n"
        fields = "    spent: float\n    wait: float = pa.Field(nullable=True)\n"
        clean = (
            "def clean(rows: pd.DataFrame) -> pd.DataFrame:\n"
            "    after = pd.to_timedelta(24 * 60 + rows['wait'], unit='m')\n"
            "    return rows.assign(paid=rows['day'] + after)\n\n\n"
        )
        spec = (
            f"holdout=days(7), label_delay=days({told.delay}), late={late!r}, "
            f"night_start={told.hour!r}, clean=clean"
        )
        changes = [
            (label, f"{label}{fields}"),
            ("def requests(as_of", f"{clean}def requests(as_of"),
            (
                "assign(\n        usual=",
                'assign(\n        spent=history["spent"].mean(),\n'
                '        known=history["bought"].count() / 1400,\n        usual=',
            ),
        ]
        if told.closed:
            spec += f", calendar={CALENDAR}"
            asked = f"make_day({CALENDAR}.next_open(as_of))"
            changes += [
                ("make_day(as_of + timedelta(days=1))", asked),
                ("from tasks.sources", "from tasks.spec import Calendar\nfrom tasks.sources"),
            ]
        return [*changes, ("holdout=days(7)", spec)]

    def write_recipe(self) -> None:
        super().write_recipe()
        self.said[digest(load_spec(str(self.model)))] = self.told

    def edit(self, recipe: str) -> None:
        """An edit says another hour too, every second time."""
        self.edits += 1
        if self.edits % 2:
            self.revision += 1
            self.told = replace(self.told, hour=HOURS[self.edits % len(HOURS)])
        super().edit(recipe)

    def run(self) -> dict[str, Any]:
        report = super().run()
        if report["verdict"] not in ("HELD", "REJECTED"):
            as_of = date.fromisoformat(report["as_of"])
            raw = self.raw(as_of)
            self.check_examples(raw, as_of, report)
            self.check_published()
            self.check_grades(raw, as_of, report)
        return report

    def raw(self, until: date) -> pd.DataFrame:
        """All rows of the source up to a day, each with its moment."""
        files = sorted((self.place / "days").glob("*.parquet"))
        days = [file for file in files if date.fromisoformat(file.stem) <= until]
        rows = pd.concat(
            [pd.read_parquet(file).assign(day=pd.Timestamp(file.stem)) for file in days],
            ignore_index=True,
        )
        paid = rows["day"] + DAY + pd.to_timedelta(rows["wait"], unit="m")
        return rows.assign(paid=paid)

    def features(
        self, told: Told, raw: pd.DataFrame, asked: pd.DataFrame, day: date
    ) -> pd.DataFrame:
        """What the features of a day's requests must be, of what its night knew."""
        stamp = pd.Timestamp(day)
        past = raw[(raw["day"] >= stamp - LOOKBACK * DAY) & (raw["day"] < stamp)]
        evening = past["day"].max()
        hidden = past["paid"] > told.night(evening.date())
        open_ = past["day"] > evening - told.delay * DAY
        bought = past["bought"].astype("float64").mask(open_ | (hidden & told.target))
        usual = bought.groupby(past["shop"]).mean()
        return pd.DataFrame(
            {
                "size": asked["size"].to_numpy(),
                "shop": (asked["shop"] == "a").astype("int64").to_numpy(),
                "usual": asked["shop"].map(usual).astype("float64").fillna(0.5).to_numpy(),
                "spent": past["spent"].mask(hidden).mean(),
                "known": bought.count() / 1400,
            }
        )

    def check_examples(self, raw: pd.DataFrame, as_of: date, report: dict[str, Any]) -> None:
        """The examples of training and holdout, how many were fitted, and the figure they give."""
        told = self.told
        listed = [stamp.date() for stamp in raw["day"].unique()]
        matured = [
            day for day in listed if listed[0] + LOOKBACK * DAY <= day <= as_of - told.delay * DAY
        ]
        holdout = matured[-HOLDOUT:]
        eve = max(day for day in listed if day < holdout[0])
        train = [day for day in matured if day <= eve - told.delay * DAY]
        made = []
        for part, days, evening in (("train", train, eve), ("holdout", holdout, listed[-1])):
            for day in days:
                today = raw[raw["day"] == pd.Timestamp(day)]
                known = pd.Series(True, index=today.index)
                if told.target:
                    until = told.counts_until(listed, day, evening)
                    known = ~(today["paid"] > told.night(until))
                rows = self.features(told, raw, today, day)
                rows = rows.assign(target=today["bought"].to_numpy(), day=pd.Timestamp(day))
                made.append(rows.assign(part=part)[known.to_numpy()])
        expected = pd.concat(made, ignore_index=True)
        night = past_night.open_night(str(self.model), as_of)
        found = night.examples
        columns = [*COLUMNS, "target", "day", "part"]
        pd.testing.assert_frame_equal(found[columns], expected[columns], check_dtype=False)
        winner = report["challenger"]["candidate"]
        said = report["candidates"][winner]
        assert said["rows"] == (expected["part"] == "train").sum()
        held = expected[expected["part"] == "holdout"]
        scores = night.scores
        assert scores["target"].tolist() == held["target"].tolist()
        figure = average_precision_score(held["target"], scores[winner])
        assert said["metrics"][METRIC]["value"] == pytest.approx(figure, abs=1e-9)
        self.note("examples")

    def check_published(self) -> None:
        """The inputs of what the app reads, as the code of the version had them at its hour."""
        last = publish.last_published("toy")
        file = publish.folder_of("toy") / publish.INPUTS
        if last is None or not file.is_file() or last["code"] not in self.said:
            return
        as_of, day = (date.fromisoformat(last[name]) for name in ("as_of", "day"))
        asked = make_day(day)
        expected = self.features(self.said[last["code"]], self.raw(as_of), asked, day)
        found = pd.read_parquet(file)
        assert found["number"].tolist() == asked["number"].tolist()
        pd.testing.assert_frame_equal(found[COLUMNS], expected, check_dtype=False)
        self.note("published inputs")

    def check_grades(self, raw: pd.DataFrame, as_of: date, report: dict[str, Any]) -> None:
        """The labels that tonight's grades had."""
        told = self.told
        for graded in report["live"]:
            day = date.fromisoformat(graded["day"])
            assert day <= as_of - told.delay * DAY
            today = raw[raw["day"] == pd.Timestamp(day)]
            known = ~((today["paid"] > told.night(as_of)) & told.target)
            met = today.loc[known, "number"].isin(make_day(day)["number"]).sum()
            assert graded["labelled"] == met
            self.note("graded days")
