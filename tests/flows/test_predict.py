"""The champion's answers reach the app every night, and what is no answer does not."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sql

from flows.predict import predict
from tasks.predictions import publish
from tasks.steps.config import RetrainConfig
from tasks.steps.ending import outcome_of
from tasks.store import frames
from tests import pages
from tests.nights import MLFLOW_WARNINGS, nth_day, run_night, write_model, write_more
from tests.toy import make_day

pytestmark = [
    pytest.mark.usefixtures("warm_processes", "registry_home"),
    *(pytest.mark.filterwarnings(words) for words in MLFLOW_WARNINGS),
]


EXPLAINED = ("    requests=requests,", "    requests=requests,\n    explain=True,")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_more(tmp_path / "days", 1, 40)
    return write_model(tmp_path / "toy.py", tmp_path / "days")


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, empty_registry: Path, warm_processes: None
) -> tuple[Path, dict[str, Any]]:
    """A model, its days, its state after the nights of days 39 and 40, and the second's report."""
    place = tmp_path_factory.mktemp("made")
    write_more(place / "days", 1, 40)
    model = write_model(place / "toy.py", place / "days", EXPLAINED)
    home = place / "home"
    home.mkdir()
    shutil.copyfile(empty_registry, home / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        for number in (39, 40):
            patch.setenv("NIGHTLY_HOME", str(home))
            for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
                patch.delenv(name, raising=False)
            report = run_night(model, nth_day(number))
            shutil.copytree(home, place / f"after {number}")
    return place, report


@pytest.fixture
def after_39(made: tuple[Path, dict[str, Any]], home: Path) -> Path:
    """The model, on a copy of the state after the night of day 39."""
    shutil.copytree(made[0] / "after 39", home, dirs_exist_ok=True)
    return made[0] / "toy.py"


@pytest.fixture
def after_40(made: tuple[Path, dict[str, Any]], home: Path) -> Path:
    """The model, on a copy of the state after the nights of days 39 and 40."""
    shutil.copytree(made[0] / "after 40", home, dirs_exist_ok=True)
    return made[0] / "toy.py"


def current() -> pd.DataFrame:
    return pd.read_parquet(publish.folder_of("toy") / publish.CURRENT)


def run_predict(model: Path, as_of: date) -> Any:
    return predict(RetrainConfig(model=str(model), as_of=as_of), return_state=True)


def test_a_night_ends_with_answers_for_the_next_day(
    made: tuple[Path, dict[str, Any]], after_40: Path
) -> None:
    found = current()
    assert set(found["number"]) == set(make_day(nth_day(41))["number"])
    assert found["probability"].between(0, 1).all()
    assert {*found["version"]} == {"2"}
    assert {*found["day"]} == {nth_day(41)}
    assert {*found["as_of"]} == {nth_day(40)}
    shown = made[1]["predictions"]
    assert (shown["current"], shown["rows"], shown["day"]) == (True, 200, str(nth_day(41)))


def test_each_row_says_what_moved_it(made: tuple[Path, dict[str, Any]], after_40: Path) -> None:
    """The toy's label follows ``size``: it moves each row most, up where it is large."""
    found = current().merge(make_day(nth_day(41)), on="number")
    assert (found["moved_1"] == "size").mean() > 0.9
    by, far = found["moved_1_by"], found["size"].abs() > 0.5
    assert (np.sign(by) == np.sign(found["size"]))[far].all()
    assert (found["moved_1_by"].abs() >= found["moved_2_by"].abs().fillna(0)).all()
    shown = made[1]["predictions"]
    assert next(iter(shown["moved"])) == "size"
    assert shown["moved"]["size"] == pytest.approx(by.abs().mean(), rel=0.1)
    assert set(shown["moved_before"]) == {"size", "shop", "usual"}
    page = after_40.parent / "after 40" / "reports" / "toy" / str(nth_day(40)) / "report.md"
    assert "| Input | Tonight | Nights before |" in page.read_text()
    assert "| size | 0." in page.read_text()


def test_they_are_what_training_would_have_said_of_the_day(after_40: Path, tmp_path: Path) -> None:
    """One implementation: the day's own examples, once it has happened, score the same."""
    import mlflow

    from tasks.features import cleaning
    from tasks.features.examples import prepare_examples
    from tasks.registry import client
    from tasks.spec.loading import load_spec

    client.open_registry()
    write_more(tmp_path / "days", 1, 41)
    spec = load_spec(str(write_model(tmp_path / "toy.py", tmp_path / "days")))
    listed = spec.source.list_days(nth_day(41))
    clean = cleaning.clean_days(spec, listed)
    refs, _ = prepare_examples(spec, listed, clean.refs, [nth_day(41)])
    examples = frames.read_days(list(refs.values()))
    served = mlflow.pyfunc.load_model("models:/toy@champion")
    expected = served.predict(spec.problem.inputs(examples))[:, 1]
    assert current()["probability"].to_numpy() == pytest.approx(expected, abs=0)
    inputs = pd.read_parquet(publish.folder_of("toy") / publish.INPUTS)
    assert set(inputs["number"]) == set(current()["number"])
    again = served.predict(inputs[list(spec.problem.inputs(examples).columns)])[:, 1]
    assert again == pytest.approx(expected, abs=0)


def test_the_table_gets_them_too(
    model: Path, monkeypatch: pytest.MonkeyPatch, postgres: str
) -> None:
    monkeypatch.setenv("NIGHTLY_PREDICTIONS_URL", postgres)
    run_night(model)
    engine = sql.create_engine(postgres)
    with engine.begin() as connection:
        asked = sql.text("SELECT probability, version FROM toy_predictions WHERE number = :number")
        number = int(current()["number"].iloc[0])
        (row,) = connection.execute(asked, {"number": number}).all()
        connection.exec_driver_sql("DROP TABLE toy_predictions")
    engine.dispose()
    assert tuple(row) == (current()["probability"].iloc[0], "1")


@pytest.mark.long
def test_a_database_that_is_down_fails_no_night_and_the_same_night_again_ends_it(
    model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tasks.steps.predict.publish_predictions.retries", 0)
    monkeypatch.setenv("NIGHTLY_PREDICTIONS_URL", f"sqlite:///{tmp_path}/none/app.db")
    report = run_night(model)
    assert report["verdict"] == "PROMOTED"
    assert "unable to open database file" in report["predictions"]["fault"]
    assert not (publish.folder_of("toy") / publish.CURRENT).exists()
    monkeypatch.setenv("NIGHTLY_PREDICTIONS_URL", f"sqlite:///{tmp_path}/app.db")
    again = run_night(model)
    assert again["predictions"]["current"]
    assert len(current()) == 200


@pytest.mark.parametrize(
    ("requests", "fault"),
    [
        (".head(0)", "there are no requests"),
        (".head(99)", "99 rows, but 200 the last time; expected at least 50%"),
        (".assign(size=0.0, shop='a')", "all 200 are the same"),
        (".assign(number=1)", "199 rows have the same number as another"),
    ],
)
def test_what_is_no_answer_is_refused_and_yesterdays_stay(
    after_39: Path, tmp_path: Path, requests: str, fault: str
) -> None:
    named = '[["number", "size", "shop"]]'
    other = write_model(tmp_path / "other.py", after_39.parent / "days", (named, named + requests))
    state = run_predict(other, nth_day(40))
    assert (outcome_of(state), state.type.value) == ("REFUSED", "FAILED")
    assert fault in state.message
    assert {*current()["as_of"]} == {nth_day(39)}
    assert len(current()) == 200


def test_a_look_back_does_not_replace_newer_answers(after_40: Path) -> None:
    state = run_predict(after_40, nth_day(39))
    assert outcome_of(state) == "REFUSED"
    assert "those of 2026-02-09 are newer" in state.message
    assert {*current()["as_of"]} == {nth_day(40)}


def test_without_a_champion_there_is_nothing_to_publish(model: Path) -> None:
    state = run_predict(model, nth_day(40))
    assert (outcome_of(state), "there is no champion yet" in state.message) == ("REFUSED", True)


def test_the_predecessor_answers_the_same_requests(after_40: Path) -> None:
    before = pd.read_parquet(publish.folder_of("toy") / f"{nth_day(40)}.previous.parquet")
    assert {*before["version"]} == {"1"}
    assert set(before["number"]) == set(current()["number"])
    assert not np.array_equal(before["probability"], current()["probability"])


def test_a_champion_of_other_code_answers_with_its_own(after_39: Path, tmp_path: Path) -> None:
    """The features of tonight's file are spoilt: the champion does not see them."""
    run_predict(after_39, nth_day(40))
    before = current()
    other = write_model(
        tmp_path / "other.py",
        after_39.parent / "days",
        ('.astype("float64").fillna(0.5)', '.astype("float64").fillna(0.5) * 0 - 7'),
    )
    assert outcome_of(run_predict(other, nth_day(40))) == "PUBLISHED"
    assert current()["probability"].to_numpy() == pytest.approx(
        before["probability"].to_numpy(), abs=0
    )


def test_a_model_that_names_no_requests_predicts_nothing(model: Path, tmp_path: Path) -> None:
    silent = write_model(
        tmp_path / "silent.py", tmp_path / "days", ("    requests=requests,\n", "")
    )
    report = run_night(silent)
    assert report["predictions"] is None
    assert outcome_of(run_predict(silent, nth_day(40))) == "NOTHING ASKED"


@pytest.mark.long
def test_requests_without_what_is_known_ahead_are_one_message(
    after_39: Path, tmp_path: Path
) -> None:
    named, too_few = '[["number", "size", "shop"]]', '[["number", "size"]]'
    other = write_model(tmp_path / "other.py", after_39.parent / "days", (named, too_few))
    report = run_night(other, nth_day(40))
    fault = report["predictions"]["fault"]
    assert "requests: found no column 'shop'" in fault
    assert {*current()["as_of"]} == {nth_day(39)}


def test_answers_made_on_time_are_stamped_with_the_start_of_their_run(model: Path) -> None:
    begun = pd.Timestamp.now("UTC").tz_localize(None).floor("s")
    run_night(model)
    (made,) = {*current()["made_at"]}
    now = pd.Timestamp.now("UTC").tz_localize(None)
    assert begun <= made <= now


def test_a_night_is_read_into_frames_by_the_three_lines_of_the_page(after_40: Path) -> None:
    from tasks.errors import SpecError
    from tasks.reporting import past_night

    before = {file: file.stat().st_mtime_ns for file in (after_40.parent / "days").iterdir()}
    (code,) = pages.blocks("deployments/OPERATIONS.md", "python")
    made: dict[str, Any] = {}
    exec(code.replace("flights", str(after_40)).replace("2026-11-22", str(nth_day(40))), made)
    night = made["night"]
    assert len(night.clean) == 40 * 200
    parts = night.examples.groupby("part")["day"].nunique()
    assert parts.to_dict() == {"holdout": 7, "train": 26}
    assert list(night.scores) == ["day", "target", "constant", "logistic", "tree"]
    assert len(night.scores) == 7 * 200
    told = night.metrics.set_index(["scorer", "metric"]).loc[("logistic", "roc_auc")]
    separated = night.scores[night.scores["target"] == 1]["logistic"].mean()
    assert separated > night.scores["logistic"].mean()
    assert told["low"] < told["value"] < told["high"]
    assert night.champion["version"].tolist() == ["2"]
    assert len(night.predictions) == 200
    assert before == {
        file: file.stat().st_mtime_ns for file in (after_40.parent / "days").iterdir()
    }
    with pytest.raises(past_night.PastNightError, match="The newest are 2026-02-08, 2026-02-09"):
        past_night.open_night(str(after_40), "2020-01-01")
    with pytest.raises(past_night.PastNightError, match="found 'yesterday', expected a date"):
        past_night.open_night(str(after_40), "yesterday")
    with pytest.raises(SpecError, match="Models here: flights, groceries"):
        past_night.open_night("flihgts", "2020-01-01")


def test_a_night_of_edited_code_says_why_its_rows_are_not_there(after_40: Path) -> None:
    from tasks.reporting import past_night

    edited = after_40.with_name("edited toy.py")
    edited.write_text(after_40.read_text().replace("fillna(0.5)", "fillna(0.4)"))
    with pytest.raises(past_night.PastNightError, match="no clean rows of 2026-01-01") as told:
        _ = past_night.open_night(str(edited), nth_day(40)).clean
    assert f"python flows/retrain.py --model '{edited}' --as-of {nth_day(40)}" in str(told.value)
