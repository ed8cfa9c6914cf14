"""Bad days and bad models: the right exit code, one clear message, an untouched champion."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests import nights
from tests.nights import (
    champion_of,
    nth_day,
    one_message,
    run_command,
    say,
    write_model,
    write_more,
)
from tests.samples import in_part
from tests.toy import write_day

pytestmark = [
    pytest.mark.usefixtures("warm_processes"),
    *(pytest.mark.filterwarnings(text) for text in nights.MLFLOW_WARNINGS),
]
LAST = 41
AS_OF = nth_day(LAST)


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, empty_registry: Path, warm_processes: None
) -> Path:
    """A model with a champion as of day 40, and a folder with one day more."""
    place = tmp_path_factory.mktemp("promoted")
    (place / "home").mkdir()
    shutil.copyfile(empty_registry, place / "home" / "mlflow.db")
    write_more(place / "days", 1, LAST)
    shutil.copytree(place / "days", place / "good")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTLY_HOME", str(place / "home"))
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            patch.delenv(name, raising=False)
        model = write_model(place / "toy.py", place / "days")
        assert nights.run_night(model, nth_day(LAST - 1))["verdict"] == "PROMOTED"
    return place


@pytest.fixture
def days(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of days, whole again."""
    monkeypatch.setenv("NIGHTLY_HOME", str(place / "home"))
    shutil.rmtree(place / "days", ignore_errors=True)
    shutil.copytree(place / "good", place / "days")
    return place / "days"


def newest(days: Path) -> Path:
    return days / f"{AS_OF}.parquet"


def break_rows(days: Path) -> None:
    frame = pd.read_parquet(newest(days))
    frame.loc[frame.index[:6], "size"] = 99.0
    frame.to_parquet(newest(days), index=False)


def drop_column(days: Path) -> None:
    pd.read_parquet(newest(days)).drop(columns="size").to_parquet(newest(days), index=False)


def retype_column(days: Path) -> None:
    frame = pd.read_parquet(newest(days))
    frame.assign(size="much").to_parquet(newest(days), index=False)


def truncate(days: Path) -> None:
    newest(days).write_bytes(newest(days).read_bytes()[:1000])


def corrupt_inside(days: Path) -> None:
    content = bytearray(newest(days).read_bytes())
    content[-60:-8] = bytes(52)
    newest(days).write_bytes(content)


def empty_file(days: Path) -> None:
    newest(days).write_bytes(b"")


def no_rows(days: Path) -> None:
    pd.read_parquet(newest(days)).head(0).to_parquet(newest(days), index=False)


def same_bytes(days: Path) -> None:
    shutil.copyfile(days / f"{nth_day(LAST - 1)}.parquet", newest(days))


def no_day(days: Path) -> None:
    newest(days).unlink()


def no_folder(days: Path) -> None:
    shutil.rmtree(days)


BAD_DAYS = {
    "broken rows": (break_rows, 3, "6 of 200 rows break the contract (3.0%, allowed 2.0%)"),
    "missing column": (drop_column, 3, "found no column 'size'"),
    "retyped column": (retype_column, 3, "in column 'size'"),
    "truncated file": (truncate, 0, "expected a complete Parquet file"),
    "corrupt footer": (corrupt_inside, 0, "expected a complete Parquet file"),
    "zero bytes": (empty_file, 0, "found 0 bytes"),
    "no rows": (no_rows, 0, "have no usable row: 0 rows in"),
    "same bytes": (same_bytes, 0, "is identical to that of 2026-02-09"),
    "missing day": (no_day, 0, "The newest day in the source is 2026-02-09, 1 day before"),
}


ALWAYS = ("broken rows", "truncated file", "same bytes", "missing day")


@pytest.mark.parametrize("case", in_part(BAD_DAYS, *ALWAYS))
def test_a_bad_day_trains_nothing(
    case: str,
    place: Path,
    days: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harm, code, expected = BAD_DAYS[case]
    harm(days)
    ended = say(capsys, monkeypatch, place / "toy.py", "--as-of", str(AS_OF))
    message = " ".join(one_message(ended).split())
    print(case, ended.code, message)
    assert expected in message
    assert ended.code == code
    assert f"toy · {AS_OF} · {'REJECTED' if code else 'HELD'}" in message
    assert champion_of() == "1"
    assert nights.versions_of() == ["1"]


def test_a_missing_folder_is_for_a_person_to_correct(
    place: Path, days: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    no_folder(days)
    ended = say(capsys, monkeypatch, place / "toy.py", "--as-of", str(AS_OF))
    message = one_message(ended)
    print(ended.code, message)
    assert ended.code == 2
    assert f"{days}: found no such folder" in message
    assert "correct the path in the model's source" in message
    assert champion_of() == "1"


@pytest.mark.parametrize(
    ("harm", "expected"),
    [(drop_column, "200 x size: is missing"), (retype_column, "column 'size'")],
)
def test_other_columns_are_rejected_on_a_first_night_too(
    harm: Callable[[Path], None],
    expected: str,
    place: Path,
    days: Path,
    registry_home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harm(days)
    monkeypatch.setenv("NIGHTLY_HOME", str(registry_home))
    ended = say(capsys, monkeypatch, place / "toy.py")
    message = " ".join(one_message(ended).split())
    print("first night", ended.code, message)
    assert ended.code == 3
    assert expected in message
    assert champion_of() is None


@pytest.mark.long
def test_a_column_that_the_contract_does_not_name_may_be_added(
    place: Path,
    days: Path,
    registry_home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_day(days, AS_OF, colour="red")
    monkeypatch.setenv("NIGHTLY_HOME", str(registry_home))
    ended = say(capsys, monkeypatch, place / "toy.py")
    assert ended.code == 0, ended.err
    assert f"toy · {AS_OF} · PROMOTED" in ended.out
    assert champion_of() == "1"


def test_the_command_says_it_without_noise(place: Path, days: Path) -> None:
    break_rows(days)
    ended = run_command(place / "home", place / "toy.py", "--as-of", str(AS_OF))
    assert ended.code == 3
    assert ended.err == ""
    assert "6 x size: 99.0 is not at most 20" in " ".join(one_message(ended).split())
    (file,) = (place / "home" / "quarantine" / "toy").glob(f"{AS_OF}*")
    kept = pd.read_parquet(file)
    assert len(kept) == 6
    assert kept["reason"].str.contains("size: 99.0 is not at most 20").all()
    assert champion_of() == "1"


def test_a_model_that_is_no_python(
    place: Path, days: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = place / "wrong.py"
    model.write_text("from tasks.spec import ModelSpec\n\nmodel = ModelSpec(\n")
    ended = say(capsys, monkeypatch, model)
    assert ended.code == 2
    message = one_message(ended)
    print(ended.code, message)
    assert "is not valid Python: '(' was never closed (wrong.py, line 3)" in message
    assert "The champion is unchanged." in message


def test_too_little_history(
    place: Path, days: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = say(capsys, monkeypatch, place / "toy.py", "--as-of", str(nth_day(10)))
    assert ended.code == 2
    message = one_message(ended)
    print(ended.code, message)
    assert "the source has 10 days, but a night needs at least 17" in message
    assert champion_of() == "1"


RAISES = (
    "toy = ModelSpec(",
    """
class Raises(LogisticRegression):
    def fit(self, X, y):
        raise ValueError("no such luck")


class Holes(LogisticRegression):
    def predict_proba(self, X):
        return super().predict_proba(X) * np.nan


toy = ModelSpec(""",
)
BROKEN = ('"constant": DummyClassifier(),', '"raises": Raises(),\n        "holes": Holes(),')


@pytest.mark.long
def test_the_night_goes_on_without_candidates_that_fail(
    place: Path, days: Path, registry_home: Path, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "toy.py", days, RAISES, BROKEN)
    ended = run_command(registry_home, model, "--json")
    assert ended.code == 0
    one_message(ended)
    report = ended.report
    print(report["reasons"])
    assert report["verdict"] == "PROMOTED"
    assert set(report["candidates"]) == {"logistic", "tree"}
    reasons = " ".join(report["reasons"])
    assert "Candidate 'raises' of model toy: fit on" in reasons
    assert "raised ValueError: no such luck" in reasons
    assert "holes of model toy: 1,400 of 1,400 scores are not finite" in reasons


@pytest.mark.long
def test_no_candidate_at_all(
    place: Path,
    days: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = '"logistic": LogisticRegression(),', ""
    tree = '"tree": DecisionTreeClassifier(max_depth=3, random_state=0),', ""
    model = write_model(place / "none.py", days, RAISES, BROKEN, good, tree)
    ended = say(capsys, monkeypatch, model)
    assert ended.code == 1
    message = one_message(ended)
    print(ended.code, message)
    assert "raised ValueError: no such luck" in message
    assert "1,400 of 1,400 scores are not finite" in message
    assert champion_of() == "1"


@pytest.mark.long
@pytest.mark.parametrize(("first", "code"), [(LAST - 6, 0), (1, 2)])
def test_a_target_that_never_varies(
    first: int,
    code: int,
    place: Path,
    days: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(first, LAST + 1):
        write_day(days, nth_day(number), bought=0)
    ended = say(capsys, monkeypatch, place / "toy.py")
    message = " ".join(one_message(ended).split())
    print(ended.code, message)
    assert ended.code == code
    said = (
        "training is not possible: the training days have"
        if code
        else "No comparison is possible: the holdout has"
    )
    assert f"{said} only one class" in message
    assert champion_of() == "1"


BINARY = 'Classification(target="bought", metric="average_precision", key=("number",))'
BAD_LABELS = {
    "infinite": ("rows['size'] / rows['bought']", "Regression('made')", 3, "values infinite"),
    "no class of the problem's": (
        "rows['shop'].where(rows['number'] % 9 > 0, 'c')",
        "Multiclass('made', ('a', 'b'))",
        3,
        "found 'c' in 22 of 200 rows, expected one of the problem's classes",
    ),
    "a class seen only lately": (
        f"rows['shop'].where(rows['day'] < '{AS_OF}', 'c')",
        "Multiclass('made', ('a', 'b', 'c'))",
        0,
        "No comparison is possible: the holdout has 200 rows of class 'c', which no training",
    ),
    "words": ("rows['shop']", "Regression('made')", 2, "such as 'a'; expected numbers"),
}


@pytest.mark.long
@pytest.mark.parametrize("case", BAD_LABELS)
def test_labels_that_are_none_or_judge_nothing(
    case: str,
    place: Path,
    days: Path,
    tmp_path: Path,
    registry_home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, problem, code, expected = BAD_LABELS[case]
    monkeypatch.setenv("NIGHTLY_HOME", str(registry_home))
    model = write_model(
        tmp_path / "toy.py",
        days,
        ("import Classification\n", "import Multiclass, Regression\n"),
        (BINARY, problem),
        ("requests=requests,", f"clean=lambda rows: rows.assign(made={made}),"),
    )
    ended = say(capsys, monkeypatch, model)
    message = " ".join(one_message(ended).split())
    print(case, ended.code, message)
    assert expected in message
    assert ended.code == code
    assert champion_of() is None


@pytest.mark.long
def test_a_full_disk_after_the_promotion_claims_nothing_false(
    registry_home: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tasks.reporting import render

    write_more(tmp_path / "days", 1, 30)
    model = write_model(tmp_path / "toy.py", tmp_path / "days")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(render, "write_report", full)
        ended = say(capsys, patch, model)
    assert ended.code == 1
    assert "No space left on device" in one_message(ended)
    assert "Run the same command again" in ended.err
    assert "unchanged" not in ended.err
    assert say(capsys, monkeypatch, model).code == 0
    assert (champion_of(), nights.versions_of()) == ("1", ["1"])
