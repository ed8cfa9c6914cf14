"""Random sequences for a model whose files change: columns come, go and change their type, files
are written anew with the same rows, and their layout changes.

What a night's examples must be is computed here anew, in plain pandas, of the files as they are;
and a first night on the same files, with a store of its own, must come to the same clean rows and
examples, in the same types.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, ClassVar

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize

from tasks import settings
from tasks.features.cleaning import clean_days
from tasks.features.examples import prepare_examples
from tasks.features.split import split_days
from tasks.predictions import publish
from tasks.reporting import past_night
from tasks.spec.loading import load_spec
from tasks.store import frames
from tasks.store.files import root
from tests.nights import champion_of
from tests.sequences import ASKED, FIRST_NIGHT, PATIENT, Nights
from tests.toy import make_day

LOOKBACK = timedelta(days=7)
NAMED, UNNAMED = "code", "note"
"""A column that the contract names and does not require, and one that it does not name."""
MAY_HAVE = ((), (NAMED,), (UNNAMED,), (NAMED, UNNAMED), (NAMED, f"empty {UNNAMED}"))
"""The columns that a day's file may have beside the toy's."""
LAYOUTS = ("a file a day", "a folder a day", "two files a day", "CSV")
REWRITTEN = ("columns in another order", "rows in another order", "packed otherwise")
COLUMNS = ["size", "shop", "usual", "coded", "noted", "seen", "own"]
CHANGES = (
    ("from tasks.sources import ParquetDays", "from tasks.sources import CsvDays, ParquetDays"),
    (
        "    bought: int = pa.Field(isin=[0, 1])\n",
        "    bought: int = pa.Field(isin=[0, 1])\n    code: int | None = pa.Field(ge=0)\n\n"
        '    class Config:\n        unique = ["number"]\n',
    ),
    (
        "def requests(as_of",
        "def clean(rows: pd.DataFrame) -> pd.DataFrame:\n"
        '    return rows.assign(seen=float("note" in rows))\n\n\ndef requests(as_of',
    ),
    (
        "assign(\n        usual=",
        "assign(\n"
        '        coded=float(history["code"].mean()) if "code" in history else -1.0,\n'
        '        noted=float(history["note"].notna().mean()) if "note" in history else -1.0,\n'
        '        seen=history["seen"].mean(),\n'
        '        own=day["code"].fillna(-1).astype("float64") if "code" in day else -1.0,\n'
        "        usual=",
    ),
    ('known_ahead=("number", "size", "shop")', 'known_ahead=("number", "size", "shop", "code")'),
    (
        '[["number", "size", "shop"]]\n\n\ndef make',
        '[["number", "size", "shop"]].assign(code=1)\n\n\ndef make',
    ),
    (
        "requests=requests",
        "requests=requests, clean=clean, quarantine_limit=0.05, drift_limit=None",
    ),
)


class ColumnNights(Nights):
    """The same on files whose columns and layout change."""

    asked: ClassVar[pd.DataFrame] = ASKED.assign(coded=-1.0, noted=0.5, seen=0.5, own=-1.0)

    def __init__(self) -> None:
        self.layout, self.more = LAYOUTS[0], MAY_HAVE[0]
        self.tables: dict[date, pd.DataFrame] = {}
        super().__init__()

    @initialize(
        first=st.sampled_from(PATIENT),
        second=st.sampled_from(PATIENT),
        layout=st.sampled_from(LAYOUTS),
        since=st.integers(1, FIRST_NIGHT),
        more=st.sampled_from(MAY_HAVE),
    )
    def first_nights(  # type: ignore[override]
        self, first: str, second: str, layout: str, since: int, more: tuple[str, ...]
    ) -> None:
        self.layout = layout
        shutil.rmtree(self.place / "days")
        self.write(1, since - 1)
        self.more = more
        self.write(since, FIRST_NIGHT)
        self.note(layout)
        super().first_nights(first, second)

    # Files.

    def write(self, first: int, last: int, rows: int = 200) -> None:
        for number in range(first, last + 1):
            day = self.on(number)
            self.put(day, make_table(day, rows, self.more))

    def put(self, day: date, rows: pd.DataFrame, compression: str = "snappy") -> None:
        """Write one day in the present layout."""
        self.tables[day] = rows
        folder = self.place / "days"
        folder.mkdir(exist_ok=True)
        if self.layout == "CSV":
            rows.to_csv(folder / f"{day}.csv", index=False)
        elif self.layout == "a file a day":
            rows.to_parquet(folder / f"{day}.parquet", index=False, compression=compression)
        else:
            (place := folder / f"day={day}").mkdir(exist_ok=True)
            parts = [rows] if self.layout == "a folder a day" else [rows[:90], rows[90:]]
            for number, part in enumerate(parts):
                file = place / f"part-{number}.parquet"
                part.to_parquet(file, index=False, compression=compression)

    def more_changes(self) -> Sequence[tuple[str, str]]:
        source = [("source=ParquetDays(", "source=CsvDays(")] if self.layout == "CSV" else []
        return [*CHANGES, *source]

    # What happens.

    def other_columns(self, more: tuple[str, ...], missed: int) -> None:
        """From the next night on files have other columns."""
        self.more = more
        self.night(missed)

    def earlier_day_with_other_columns(self, back: int, more: tuple[str, ...]) -> None:
        day = self.on(self.day - back)
        if day in self.tables:
            self.put(day, make_table(day, 200, more))
            self.revision += 1
            self.run()

    def another_type_that_fits(self) -> None:
        """Whole numbers come as floats: no value is lost, so nothing is wrong."""
        self.day += 1
        day = self.on(self.day)
        rows = make_table(day, 200, (NAMED, *self.more))
        self.put(day, rows.assign(number=rows["number"].astype("float64")))
        self.run()

    def another_type(self, column: str) -> None:
        """A night on texts where numbers were is refused and changes nothing; then they come.

        A CSV may say so of a column that the contract names: another that is new has the type
        that all its values have.
        """
        column = "bought" if self.layout == "CSV" and column == UNNAMED else column
        self.day += 1
        day, before = self.on(self.day), champion_of()
        good = make_table(day, 200, tuple({NAMED, UNNAMED, *self.more} - {f"empty {UNNAMED}"}))
        bad = good[column].map(lambda value: f"text {value}")
        self.put(self.on(self.day - 1), make_table(self.on(self.day - 1), 200, (UNNAMED,)))
        self.put(day, good.assign(**{column: bad}))
        said = self.verdict(day)
        self.note(f"{said}: text in {column}, {self.layout}")
        assert said in ("REJECTED", "HELD", "Failed"), said
        assert champion_of() == before
        self.put(day, good)
        self.revision += 1
        self.run()

    def rewritten(self, back: int, how: str) -> None:
        """The same rows, the same night again: another file is judged anew, but nothing is fitted.

        In another order the rows are other training data, and what fits them may differ in the
        last digits.
        """
        day = self.on(self.day - back)
        if day not in self.tables:
            return
        said = self.run()
        fits, settled = self.fits(), past_examples(self)
        rows = self.tables[day]
        if how == REWRITTEN[0]:
            self.put(day, rows[rows.columns[::-1]])
        elif how == REWRITTEN[1]:
            self.put(day, rows[::-1].reset_index(drop=True))
        else:
            self.put(day, rows, compression="zstd")
        self.revision += 1
        report = self.run()
        self.note(f"{how}: {report['verdict']}")
        if how != REWRITTEN[1] and "HELD" not in (said["verdict"], report["verdict"]):
            self.check_same(said, report, settled, fits)

    def other_layout(self, layout: str) -> None:
        """All files are laid out anew, with the same rows; then the same night again."""
        said = self.run()
        fits, settled = self.fits(), past_examples(self)
        was_csv = self.layout == "CSV"
        self.layout = layout
        shutil.rmtree(self.place / "days")
        for day, rows in self.tables.items():
            self.put(day, rows)
        if was_csv != (layout == "CSV"):
            self.edit(self.recipe)
        self.revision += 1
        report = self.run()
        self.note(f"other layout: {report['verdict']}")
        pd.testing.assert_frame_equal(past_examples(self), settled)
        if was_csv == (layout == "CSV"):
            self.check_same(said, report, settled, fits)

    def check_same(
        self,
        said: dict[str, Any],
        report: dict[str, Any],
        examples: pd.DataFrame,
        fits: set[str],
    ) -> None:
        """A night on other files of the same rows: the same examples and figures, and no fit."""
        pd.testing.assert_frame_equal(past_examples(self), examples)
        assert self.fits() == fits
        for name in {*said["candidates"]} & {*report["candidates"]}:
            assert report["candidates"][name]["metrics"] == said["candidates"][name]["metrics"]
        self.note("nothing fitted")

    def fits(self) -> set[str]:
        """The fitted models in the store."""
        found = {file.name for file in (root() / "models").iterdir()}
        assert found
        return found

    # What must be so.

    def run(self) -> dict[str, Any]:
        report = super().run()
        if report["verdict"] not in ("HELD", "REJECTED"):
            as_of = date.fromisoformat(report["as_of"])
            self.check_counts(as_of, report)
            self.check_examples(as_of)
            self.check_first_night(as_of)
            self.check_published()
        return report

    def accepted(self, until: date) -> dict[date, pd.DataFrame]:
        """The rows of each day that a night must use."""
        return {day: accept(rows) for day, rows in sorted(self.tables.items()) if day <= until}

    def check_counts(self, as_of: date, report: dict[str, Any]) -> None:
        """No row is lost: each is accepted, in quarantine or a duplicate."""
        tables = {day: rows for day, rows in self.tables.items() if day <= as_of}
        kept = self.accepted(as_of)
        rows_in = sum(map(len, tables.values()))
        twice = sum(int(rows["number"].duplicated().sum()) for rows in tables.values())
        accepted = sum(map(len, kept.values()))
        expected = {
            "in": rows_in,
            "accepted": accepted,
            "quarantined": rows_in - accepted - twice,
            "duplicates": twice,
        }
        assert {name: report["rows"][name] for name in expected} == expected
        folder = settings.home() / "quarantine" / "toy"
        for day, rows in tables.items():
            file = folder / f"{day}.parquet"
            aside = len(rows) - int(rows["number"].duplicated().sum()) - len(kept[day])
            if settings.home().name == "home" and day == as_of:
                assert (len(pd.read_parquet(file)) if file.is_file() else 0) == aside

    def inputs(self, day: date, asked: pd.DataFrame) -> pd.DataFrame:
        """What the features of a day's requests must be."""
        past = self.accepted(day - timedelta(days=1))
        tables = {one: rows for one, rows in past.items() if one >= day - LOOKBACK}
        history = pd.concat(tables.values(), ignore_index=True)
        usual = history.groupby("shop")["bought"].mean()
        count = len(history)
        coded = [rows[NAMED] for rows in tables.values() if NAMED in rows]
        noted = [rows[UNNAMED] for rows in tables.values() if UNNAMED in rows]
        own = asked[NAMED].fillna(-1).astype("float64") if NAMED in asked else -1.0
        return pd.DataFrame(
            {
                "size": asked["size"].to_numpy(),
                "shop": (asked["shop"] == "a").astype("int64").to_numpy(),
                "usual": asked["shop"].map(usual).astype("float64").fillna(0.5).to_numpy(),
                "coded": float(pd.concat(coded).mean()) if coded else -1.0,
                "noted": float(sum(map(pd.Series.count, noted))) / count if noted else -1.0,
                "seen": float(sum(map(len, noted))) / count,
                "own": own,
            }
        )

    def check_examples(self, as_of: date) -> None:
        """They are what plain pandas makes of the files."""
        kept, made = self.accepted(as_of), []
        for day in list(kept)[LOOKBACK.days :]:
            rows = self.inputs(day, kept[day])
            made.append(rows.assign(day=pd.Timestamp(day), target=kept[day]["bought"].to_numpy()))
        expected = pd.concat(made, ignore_index=True)
        columns = [*COLUMNS, "day", "target"]
        found = past_night.open_night(str(self.model), as_of).examples
        days = list(kept)
        expected = expected[expected["day"] >= pd.Timestamp(days[0]) + LOOKBACK]
        pd.testing.assert_frame_equal(
            found[columns], expected[columns].reset_index(drop=True), check_dtype=False
        )
        self.note("examples")

    def check_first_night(self, as_of: date) -> None:
        """A first night on the same files has the same clean rows and examples."""
        night = past_night.open_night(str(self.model), as_of)
        spec = load_spec(str(self.model))
        with pytest.MonkeyPatch.context() as patch:
            fresh = self.place / "fresh"
            shutil.rmtree(fresh, ignore_errors=True)
            patch.setenv("NIGHTLY_HOME", str(fresh))
            listed = spec.source.list_days(as_of)
            clean = clean_days(spec, listed)
            assert not clean.rejected
            split = split_days(spec, list(listed), as_of)
            refs, _ = prepare_examples(spec, listed, clean.refs, split.wanted)
            rows = {day: frames.read_days([ref]) for day, ref in clean.refs.items()}
            examples = frames.read_days([refs[day] for day in (*split.train, *split.holdout)])
        assert listed == night.days
        for day, ref in night._clean_refs.items():
            pd.testing.assert_frame_equal(frames.read_days([ref]), rows[day], check_like=True)
        pd.testing.assert_frame_equal(night.examples.drop(columns="part"), examples)
        self.note("first night")

    def check_published(self) -> None:
        """What the app reads is what the champion says of the right inputs, whatever its code."""
        last = publish.last_published("toy")
        if last is None or last["as_of"] != str(self.on(self.day)):
            return
        day = date.fromisoformat(last["day"])
        rows = pd.read_parquet(publish.folder_of("toy") / publish.CURRENT)
        (version,) = {*rows["version"]}
        asked = make_day(day).assign(code=1)
        assert rows["number"].tolist() == asked["number"].tolist()
        mlflow.set_tracking_uri(settings.tracking_uri())
        model = mlflow.pyfunc.load_model(f"models:/toy/{version}")
        said = np.asarray(model.predict(self.inputs(day, asked)))[:, -1]
        np.testing.assert_allclose(rows["probability"], said, rtol=0, atol=1e-12)
        self.note("published")


def make_table(day: date, rows: int, more: Sequence[str]) -> pd.DataFrame:
    """A day's file: the toy's rows, a broken one and one that comes twice, and more columns."""
    made, random = make_day(day, rows), np.random.default_rng([day.toordinal(), rows])
    made.loc[int(random.integers(rows)), "size"] = 99.0
    if NAMED in more:
        made[NAMED] = random.integers(0, 5, rows)
        if day.day % 3 == 0:
            made.loc[int(random.integers(rows)), NAMED] = -1
        if day.day % 3 == 1:
            made[NAMED] = made[NAMED].astype("Int64")
            made.loc[int(random.integers(rows)), NAMED] = pd.NA
    if UNNAMED in more:
        made[UNNAMED] = np.where(random.random(rows) < 0.5, random.random(rows), np.nan)
    if f"empty {UNNAMED}" in more:
        made[UNNAMED] = np.full(rows, np.nan)
    return pd.concat([made, made.iloc[[5]]], ignore_index=True)


def accept(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a day that fit the contract."""
    rows = rows[~rows["number"].duplicated()]
    good = rows["size"].between(-20, 20)
    if NAMED in rows:
        good &= rows[NAMED].ge(0).fillna(False).astype(bool)
    return rows[good].reset_index(drop=True)


def past_examples(machine: ColumnNights) -> pd.DataFrame:
    """The examples of the newest night."""
    return past_night.open_night(str(machine.model), machine.on(machine.day)).examples


def is_settled(machine: Nights) -> bool:
    return machine.ended and machine.settled


BACK = st.integers(0, 9)
ColumnNights.happens = {
    **Nights.happens,
    "other_columns": (
        lambda _: True,
        {"more": st.sampled_from(MAY_HAVE), "missed": st.integers(0, 2)},
    ),
    "earlier_day_with_other_columns": (
        lambda machine: machine.ended,
        {"back": BACK, "more": st.sampled_from(MAY_HAVE)},
    ),
    "another_type_that_fits": (lambda machine: machine.ended, {}),
    "another_type": (
        lambda machine: machine.ended,
        {"column": st.sampled_from(("bought", NAMED, UNNAMED))},
    ),
    "rewritten": (is_settled, {"back": BACK, "how": st.sampled_from(REWRITTEN)}),
    "other_layout": (is_settled, {"layout": st.sampled_from(LAYOUTS)}),
}
