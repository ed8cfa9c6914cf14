"""A check says what a night would do: all that is wrong at once, and nothing is written."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression

from tasks.clean_process import run
from tasks.cli import commands
from tasks.preflight import check, rows
from tasks.preflight.check import check_model
from tasks.preflight.result import OUTCOMES, Checkup, Part, to_text
from tasks.preflight.trial_fit import interval_notes
from tasks.problems import Classification, Metric, Regression
from tasks.problems.conformal import ConformalQuantiles
from tasks.problems.quantiles import QuantileRegressors
from tasks.sources import ParquetDays
from tasks.spec import EXPANDING, ModelSpec, days
from tests.nights import MLFLOW_WARNINGS, nth_day, write_model, write_more
from tests.samples import in_part
from tests.toy import features, toy, write_day

pytestmark = [pytest.mark.filterwarnings(text) for text in MLFLOW_WARNINGS]
NOW = datetime(2026, 2, 10, 3, tzinfo=UTC)


@pytest.fixture(autouse=True)
def not_rehearsed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clean process costs seconds: only tests that say so start one."""
    if "rehearsed" not in request.fixturenames:
        monkeypatch.setattr(check, "rehearse", lambda *_: Part("Package"))


@pytest.fixture
def rehearsed(warm_processes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is tried as well, however busy the machine."""
    monkeypatch.setattr(run, "TIME_OUT", 900)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty days of the toy."""
    place = tmp_path_factory.mktemp("days")
    write_more(place, 1, 40)
    return place


def look(folder: Path, as_of: date | None = None, **changes: Any) -> Checkup:
    """Check the toy on these days, with some of its spec replaced."""
    spec = dataclasses.replace(toy, source=ParquetDays(str(folder)), **changes)
    return check_model(spec, as_of, NOW)


def tree(place: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with size and time of change."""
    files = [path for path in place.rglob("*") if path.is_file()]
    return {str(f): (f.stat().st_size, f.stat().st_mtime_ns) for f in files}


def test_a_good_model_is_ready_and_each_candidate_was_tried(folder: Path, rehearsed: None) -> None:
    found = look(folder)
    assert (found.outcome, found.as_of) == ("READY", nth_day(40))
    assert [trial.candidate for trial in found.trials] == list(toy.candidates)
    assert all(trial.fault == "" and trial.rows >= 800 for trial in found.trials)
    assert found.trials[1].metric > found.trials[0].metric > 0
    text = to_text(found)
    assert "CHECK: a night would run" in text
    assert "40 days in the source, 2026-01-01 to 2026-02-09, none missing" in text
    assert "training on 26 days (2026-01-08 to 2026-02-02), holdout 7 days" in text
    assert "Package     3 answer the same in a clean process" in text
    assert max(map(len, text.splitlines())) <= 100


def test_the_command_writes_nothing_and_ends_with_the_code(
    warm_fits: None,
    folder: Path,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limited = ("    lookback=days(7),", "    lookback=days(7),\n    fit_limit=days(1),")
    one = ('"constant": DummyClassifier(),\n        "logistic": LogisticRegression(),', "")
    model = write_model(tmp_path / "mine.py", folder, limited, one)
    before = tree(tmp_path) | tree(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "argv", ["retrain.py", "--model", str(model), "--check", "--json"])
    with pytest.raises(SystemExit) as ended:
        commands.answer_if_decided()
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "READY"
    assert tree(tmp_path) | tree(folder) == before
    assert not home.exists()
    assert os.environ["NIGHTLY_HOME"] == str(home)


def test_a_page_of_the_data_is_all_that_is_written_where_it_is_asked_for(
    folder: Path,
    home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = write_model(tmp_path / "mine.py", folder)
    found = Checkup("toy", "Buys?", nth_day(40), (Part("Rows", notes=("Look at size.",)),))
    monkeypatch.setattr(check, "check_model", lambda *_: found)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "argv", ["retrain.py", "--model", str(model), "--check", "--report"])
    with pytest.raises(SystemExit) as ended:
        commands.answer_if_decided()
    assert ended.value.code == 0
    page = home / "reports" / "toy" / "data.html"
    said = capsys.readouterr().out
    assert said.endswith(f"Checked in 0.0 s.\n\nData        {page}\n")
    assert [file for file in home.rglob("*") if file.is_file()] == [page]
    assert "<li>Look at size.</li>" in page.read_text()
    monkeypatch.setattr(sys, "argv", ["retrain.py", "--model", str(model), "--report"])
    with pytest.raises(SystemExit) as ended:
        commands.answer_if_decided()
    assert ended.value.code == 2
    assert "--report: found without --check, expected both" in capsys.readouterr().err


def test_no_fresh_day_would_be_held(folder: Path) -> None:
    found = look(folder, nth_day(42))
    assert found.outcome == "HELD"
    assert "2 days before 2026-02-11" in to_text(found)
    assert OUTCOMES[found.outcome][1] == 0
    nowhere = look(folder / "nowhere")
    assert OUTCOMES[nowhere.outcome][1] == 2, "for a person to correct"
    assert "found no such folder" in to_text(nowhere)
    late = check_model(
        dataclasses.replace(toy, source=ParquetDays(str(folder))),
        None,
        datetime(2026, 3, 1, tzinfo=UTC),
    )
    assert late.outcome == "READY"
    assert "a scheduled night would be HELD" in " ".join(late.all("notes"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 99.0}, "200 of 200 rows break the contract (100.0%, allowed 2.0%)"),
        (
            {"size": "large"},
            "found large_string in column 'size'; expected double",
        ),
    ],
)
def test_data_that_break_the_contract_would_be_rejected(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    write_more(tmp_path, 1, 29)
    write_day(tmp_path, nth_day(30), **changes)
    found = look(tmp_path)
    assert found.outcome == "REJECTED"
    assert OUTCOMES[found.outcome][1] == 3
    assert message in " ".join(found.all("rejected"))


def other_index(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    return features(day, history).iloc[1:]


def mixed(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    values = np.array([1, "two"] * (len(day) // 2), dtype=object)
    return features(day, history).assign(odd=values)


def infinite(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    return features(day, history).assign(ratio=1.0 / (day["shop"] == "a").astype("float64"))


def misspelt(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    return day[["sise"]]


def nothing(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    return day[[]]


class Broken(LogisticRegression):
    def predict_proba(self, X: Any) -> Any:
        return super().predict_proba(X) * np.nan


def no_column(as_of: date) -> pd.DataFrame:
    return pd.DataFrame({"number": [1]})


def twice(as_of: date) -> pd.DataFrame:
    return pd.concat([toy.requests(as_of), toy.requests(as_of).tail(3)])


def no_band(examples: pd.DataFrame) -> pd.Series:
    return examples["age"] // 10


def no_gain(examples: pd.DataFrame, score: Any) -> pd.Series:
    return examples["price"] * score


def in_words(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(answer=rows["bought"].map({0: "no", 1: "yes"}))


FAULTY: dict[str, tuple[dict[str, Any], str]] = {
    "other index": ({"features": other_index}, "features returned 199 rows for 200 requests"),
    "mixed types": ({"features": mixed}, "found int and str in column 'odd'; expected one plain"),
    "infinite": ({"features": infinite}, "infinite values in column 'ratio'; expected finite"),
    "misspelt": ({"features": misspelt}, "raised KeyError: \"None of [Index(['sise']"),
    "no input": ({"features": nothing}, "found no column besides the keys"),
    "predicts NaN": (
        {"candidates": {"broken": Broken()}, "features": lambda d, h: features(d, h)},
        "Candidate 'broken' of model toy: 400 of 400 scores are not finite",
    ),
    "one column for three": (
        {
            "problem": Regression("bought", quantiles=(0.1, 0.5, 0.9), key=("number",)),
            "candidates": {"line": LinearRegression()},
        },
        "predict returned shape (400,), expected (400, 3), one column for each",
    ),
    "target in words": (
        {"problem": Classification("answer", key=("number",)), "clean": in_words},
        "target 'answer': found no, yes; expected 0 and 1. Convert it in clean, or use Multiclass",
    ),
    "slice": (
        {"slices": ("shop", no_band)},
        "slices: function no_band raised KeyError: 'age'; the columns it gets are size, shop",
    ),
    "own metric": (
        {"problem": Classification("bought", metrics=(Metric("gain", no_gain),), key=("number",))},
        "cannot be evaluated: metric gain: its function raised KeyError: 'price'",
    ),
    "untrusted": (
        {"candidates": {"trees": LGBMClassifier(n_estimators=2, verbose=-1)}},
        'add to the spec: trusted=("lightgbm.basic.Booster", "lightgbm.sklearn.LGBMClassifier")',
    ),
    "requests": ({"requests": no_column}, "requests raised ValueError: requests: found no column"),
    "same key": (
        {"requests": twice},
        "requests: found 3 of 203 rows with the same number as another",
    ),
    "too short": (
        {"holdout": days(30), "window": EXPANDING},
        "the source has 40 days, but a night needs at least 52",
    ),
    "known ahead": (
        {"known_ahead": ("number", "size", "shop", "weather")},
        "known_ahead names weather, but the rows have no such column",
    ),
}


@pytest.mark.parametrize("name", in_part(FAULTY))
def test_what_is_wrong_is_named(name: str, folder: Path) -> None:
    changes, message = FAULTY[name]
    found = look(folder, **changes)
    assert found.outcome == "FAULTY"
    assert OUTCOMES[found.outcome][1] == 2
    assert message in " ".join(found.all("faults")), found.all("faults")


def test_a_fault_names_the_line_of_the_model(folder: Path) -> None:
    (fault,) = look(folder, features=misspelt, requests=None).all("faults")
    line = misspelt.__code__.co_firstlineno + 1
    assert f"(line {line} of {__file__})" in fault


def test_everything_wrong_is_said_at_once(folder: Path) -> None:
    found = look(
        folder,
        candidates={"broken": Broken(), "fine": LogisticRegression()},
        features=features_here,
        requests=no_column,
        holdout=days(30),
    )
    assert len(found.all("faults")) == 3
    assert [bool(trial.fault) for trial in found.trials] == [True, False]


def features_here(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    return features(day, history)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1, "bought: found 1 in all of 1,000 examples; expected at least two different values"),
        (0, "bought: found 0 in all of 1,000 examples; expected at least two different values"),
    ],
)
def test_a_target_of_one_value_cannot_be_learned(value: int, message: str, tmp_path: Path) -> None:
    for number in range(1, 25):
        write_day(tmp_path, nth_day(number), bought=value)
    found = look(tmp_path)
    assert found.outcome == "FAULTY"
    assert message in found.all("faults")[0]


def test_days_without_rows_do_not_make_a_window_too_long(tmp_path: Path) -> None:
    write_more(tmp_path, 1, 11)
    write_more(tmp_path, 14, 40)
    found = look(tmp_path, window=days(32), requests=None)
    assert not any("The window asks" in note for note in found.all("notes"))


def test_a_window_longer_than_the_history_is_said(folder: Path) -> None:
    found = look(folder, window=days(90), requests=None)
    assert found.outcome == "READY"
    assert "The window has 83 training days, but the source has only 33: all of them are used." in (
        found.all("notes")
    )
    assert "none defined: the app gets no predictions" in to_text(found)


def leaky(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    return features(day, history).assign(paid=day["paid"])


def with_payment(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(paid=rows["bought"] * 9.5)


def test_likely_leaks_are_told_of(folder: Path) -> None:
    found = look(
        folder,
        clean=with_payment,
        features=leaky,
        known_ahead=("number", "size", "shop", "paid"),
        requests=None,
    )
    told = " ".join(found.all("notes"))
    assert "Leak sign: paid in the requests of 2026-02-09 depend on outcomes" in told
    assert "paid alone has an AUC of 1.00" in told


def test_a_leak_that_shows_in_the_whole_holdout_only_is_told_of(tmp_path: Path) -> None:
    for number in range(1, 41):
        write_day(tmp_path, nth_day(number), rows=8)
    known = ("number", "size", "shop", "paid")
    found = look(tmp_path, clean=with_payment, features=leaky, known_ahead=known, requests=None)
    assert "paid alone has an AUC of 1.00" in " ".join(found.all("notes"))


def test_a_clean_that_filters_on_an_outcome_or_uses_other_days_is_told_of(folder: Path) -> None:
    found = look(folder, clean=lambda rows: rows[rows["number"] % 3 > rows["bought"]].iloc[::-1])
    asked = [note for note in found.all("notes") if "depends on their outcome" in note]
    assert len(asked) == 1, found
    assert "The app asks before there is an outcome" in asked[0]
    found = look(folder, clean=lambda rows: rows.assign(usual=rows["size"].mean()))
    assert any("It gets one day at a time" in note for note in found.all("notes"))


def test_many_equal_rows_are_told_of(tmp_path: Path) -> None:
    write_more(tmp_path, 1, 40)
    for number in (38, 39, 40):
        file = tmp_path / f"{nth_day(number)}.parquet"
        rows = pd.read_parquet(file)
        pd.concat([rows, rows.head(50)]).to_parquet(file, index=False)
    text = " ".join(to_text(look(tmp_path)).split())
    assert "150 of 2,950 rows equal an earlier row of their day" in text
    assert "2,950 accepted + 0 quarantined + 0 duplicates" in text


def odd_columns(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    gone = np.where(np.arange(len(day)) % 3 == 0, 1.0, np.nan)
    more = {"code": day["number"].astype("str"), "same": 1.0, "gone": gone, "never": np.nan}
    return features(day, history).assign(**more)


def test_what_is_odd_about_the_inputs_is_told_of(folder: Path) -> None:
    told = " ".join(
        look(folder, features=odd_columns, candidates={"c": DummyClassifier()}).all("notes")
    )
    assert (
        "Nearly every row has a different value: code. Check that these columns are not ids" in told
    )
    assert "Constant on these days: same. An input that never changes decides nothing" in told
    assert "Mostly missing on these days: gone 66%, never 100%." in told


def test_a_giant_day_is_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_more(tmp_path, 1, 29)
    write_day(tmp_path, nth_day(30), rows=20_000)
    monkeypatch.setattr(rows, "MOST_ROWS", 5_000)
    found = look(tmp_path)
    assert found.outcome == "READY"
    assert "rows only the first 5,000 of each day were checked" in " ".join(found.all("notes"))


def test_a_file_that_is_read_unseen_is_named(tmp_path: Path, folder: Path) -> None:
    secret = tmp_path / "holidays.csv"
    secret.write_text("2026-12-25")

    def reading(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(shut=len(secret.read_text()))

    notes = " ".join(look(folder, clean=reading, requests=None).all("notes"))
    assert f"{secret} is read, but is not part of the model: an edit would not be not" in notes
    assert "name it in files=" in notes


def test_closed_and_stray_days_are_no_missing_days(tmp_path: Path) -> None:
    for number in range(1, 61):
        if nth_day(number).weekday() < 5:
            write_day(tmp_path, nth_day(number))
    found = look(tmp_path, date(2026, 2, 8))  # a Sunday
    text = to_text(found)
    assert found.outcome == "READY", text
    assert "none missing; never on sat, sun" in text
    assert found.as_of == date(2026, 2, 6)
    assert "for 2026-02-09" in text
    write_day(tmp_path, date(1970, 1, 1))
    text = to_text(look(tmp_path, date(2026, 2, 8)))
    assert "1 day long before all others, from 1970-01-01 on" in text
    assert "none missing" in text


def test_the_requests_of_an_input_called_target_are_rehearsed_with_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[pd.DataFrame] = []

    def rehearsed(spec: ModelSpec, fitted: object, inputs: list[pd.DataFrame]) -> Part:
        asked.extend(inputs)
        return Part("Package")

    def renamed(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
        return features(day, history).rename(columns={"size": "target"})

    monkeypatch.setattr(check, "rehearse", rehearsed)
    assert look(folder, features=renamed, slices=()).outcome == "READY"
    assert ["target" in inputs for inputs in asked] == [True, True]


def test_intervals_that_nothing_makes_hold_are_told() -> None:
    """Also in the slices that the spec names, and no model without quantiles is told anything."""
    plain = QuantileRegressors(HistGradientBoostingRegressor(loss="quantile"))
    spec = dataclasses.replace(
        toy,
        problem=Regression("bought", quantiles=(0.1, 0.5, 0.9), key=("number",)),
        candidates={
            "plain": plain,
            "whole": ConformalQuantiles(plain),
            "each": ConformalQuantiles(plain, by=("shop",)),
        },
    )
    first, second = interval_notes(spec)
    assert first.startswith("Candidate 'plain': nothing makes its prediction intervals hold.")
    assert second.startswith("Candidate 'whole'") and "slice of shop." in second
    assert list(interval_notes(toy)) == []
