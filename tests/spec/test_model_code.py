"""An error in a function of the model's file is told with day, place and what to do."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from tasks.features.cleaning import clean_days
from tasks.features.examples import prepare_examples
from tasks.spec import ModelSpec, SpecError
from tasks.spec.loading import load_spec
from tasks.spec.model_code import ModelCodeError, told_errors
from tests.nights import nth_day, write_model, write_more

AHEAD = ('    known_ahead=("number", "size", "shop"),\n', '    known_ahead=("number", "size"),\n')
FEATURES = "    usual = history.groupby"
CLEANED = "    features=features,\n"


def night(place: Path, *changes: tuple[str, str]) -> str:
    """What the preparation of a night of the toy model with these changes says."""
    write_more(place / "days", 1, 14)
    spec = load_spec(str(write_model(place / "toy.py", place / "days", *changes)))
    listed = spec.source.list_days(nth_day(14))
    with pytest.raises(ModelCodeError) as error:
        prepare_examples(spec, listed, clean_days(spec, listed).refs, list(listed)[7:])
    assert (error.value.exit_code, error.value.may_pass) == (2, False)
    again = pickle.loads(pickle.dumps(error.value))  # as a worker sends it
    assert (str(again), again.said) == (str(error.value), error.value.said)
    return str(error.value)


def line_of(place: Path, text: str) -> str:
    lines = (place / "toy.py").read_text().splitlines()
    (number,) = (number for number, line in enumerate(lines, 1) if text in line)
    return f"(line {number} of {place / 'toy.py'})"


def test_a_column_that_is_not_known_ahead(tmp_path: Path) -> None:
    said = night(tmp_path, AHEAD)
    begun = f"Model toy: features of {nth_day(8)} raised KeyError: \"['shop'] not in index\""
    assert said == (
        f"{begun} {line_of(tmp_path, 'return day[[')}. Of the day itself features see day, number, "
        "size (known_ahead). Correct the model's file; --check runs it on a few days within "
        "seconds."
    )


def test_features_that_raise_on_one_day(tmp_path: Path) -> None:
    fails = '    assert day["day"].iloc[0].day != 11, "an odd day"\n'
    said = night(tmp_path, (FEATURES, fails + FEATURES))
    assert f"features of {nth_day(11)} raised AssertionError: an odd day (line " in said
    assert line_of(tmp_path, "an odd day") in said


def test_clean_that_raises_on_one_day(tmp_path: Path) -> None:
    fails = '    clean=lambda rows: rows.assign(rest=1 // (rows["day"].iloc[0].day - 11)),\n'
    said = night(tmp_path, (CLEANED, CLEANED + fails))
    assert f"clean of {nth_day(11)} raised ZeroDivisionError: " in said
    assert line_of(tmp_path, "clean=lambda") in said


@pytest.mark.parametrize("error", [OSError("disk"), MemoryError(), ModelCodeError("told")])
def test_what_is_no_fault_of_the_file_stays(error: Exception) -> None:
    with pytest.raises(type(error)) as found, told_errors(ModelSpec.__new__(ModelSpec), "features"):
        raise error
    assert found.value is error


@pytest.mark.parametrize("answer", ["None", 'day["size"]', "[1, 2]"])
def test_features_that_return_no_frame(tmp_path: Path, answer: str) -> None:
    said = night(tmp_path, (FEATURES, f"    return {answer}\n{FEATURES}"))
    kind = {"None": "NoneType", "[1, 2]": "list"}.get(answer, "Series")
    expected = f"raised TypeError: found {kind} as its answer, expected a DataFrame."
    assert f"features of {nth_day(8)} {expected}" in said


def test_clean_that_returns_no_frame(tmp_path: Path) -> None:
    said = night(tmp_path, (CLEANED, f"{CLEANED}    clean=lambda rows: None,\n"))
    assert f"clean of {nth_day(1)} raised TypeError: found NoneType as its answer" in said


def test_clean_that_drops_the_day(tmp_path: Path) -> None:
    drops = '    clean=lambda rows: rows.drop(columns="day"),\n'
    with pytest.raises(SpecError, match=r"Model toy: clean: found no column 'day' in what it"):
        night(tmp_path, (CLEANED, CLEANED + drops))
