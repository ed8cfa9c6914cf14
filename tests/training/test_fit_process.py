"""A fit in a process of its own: the same model, and it ends when its time is up."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.features.examples import build_examples
from tasks.spec import ModelSpec, SpecError
from tasks.spec.loading import address_of, load_spec
from tasks.store import frames, models
from tasks.training import fit, stored_fits
from tasks.training.fit_process import fit_by_itself
from tests import warm
from tests.nights import nth_day, write_model
from tests.toy import toy, write_day

FAULTY = '''

class Hangs(LogisticRegression):
    """In compiled code, which hears of no signal."""

    def fit(self, X, y):
        import re

        re.match(r"(a+)+$", "a" * 60 + "b")


class Raises(LogisticRegression):
    def fit(self, X, y):
        raise ValueError("no such luck")


class Dies(LogisticRegression):
    def fit(self, X, y):
        os.kill(os.getpid(), 9)


toy = ModelSpec('''
COMMON = '"constant": DummyClassifier(),\n        "logistic": LogisticRegression(),'


def faulty(tmp_path: Path, *candidates: str) -> Path:
    """The toy with these candidates besides the tree, and three seconds for each fit."""
    named = "".join(f'"{name.lower()}": {name}(), ' for name in candidates)
    return write_model(
        tmp_path / "faulty.py",
        tmp_path / "days",
        ("\n\ntoy = ModelSpec(", FAULTY),
        (COMMON, named),
        ("    lookback=days(7),", "    lookback=days(7),\n    fit_limit=timedelta(seconds=3),"),
    )


def examples(spec: ModelSpec, place: Path) -> list[frames.Ref]:
    """Examples of two days."""
    made = {}
    for number in (1, 2):
        write_day(place, nth_day(number), rows=60)
        rows = pd.read_parquet(place / f"{nth_day(number)}.parquet")
        rows.insert(0, "day", pd.Timestamp(nth_day(number)))
        made[f"day{number}"] = build_examples(spec, rows, rows.head(0))
    return list(frames.write_days("examples", made).values())


def test_what_a_model_file_prints_is_no_answer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = "import atexit\nprint('begun')\natexit.register(print, 'ended')\nimport os\n"
    file = write_model(tmp_path / "loud.py", tmp_path / "days", ("import os\n", noise))
    spec = load_spec(str(file))
    training = examples(spec, tmp_path / "days")
    assert fit_by_itself(spec, "tree", training, {}, timedelta(seconds=60)).candidate == "tree"
    assert "ended" not in capfd.readouterr().out


def test_it_is_the_very_fit_of_this_process(tmp_path: Path, warm_fits: None) -> None:
    spec = load_spec(str(faulty(tmp_path)))
    refs = examples(spec, tmp_path / "days")
    made, estimator = stored_fits.fit_and_keep(spec, "tree", refs)
    assert made.key == fit.model_key(spec, "tree", refs)
    assert (made.rows, made.seconds > 0, made.cpu_seconds > 0) == (120, True, True)
    inputs = spec.problem.inputs(frames.read_days(refs))
    here = fit.fit(spec, "tree", frames.read_days(refs))
    assert np.array_equal(estimator.predict_proba(inputs), here.predict_proba(inputs))
    again, _ = stored_fits.fit_and_keep(spec, "tree", refs)
    assert again.seconds == 0.0


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        (
            "hangs",
            "its fit took longer than 0:00:03 (h:mm:ss) and was stopped. Make the fit cheaper",
        ),
        (
            "raises",
            "fit on 120 rows raised ValueError: no such luck. Correct this candidate in the spec",
        ),
        (
            "dies",
            "the process that fits it failed: it was killed, probably because the machine ran "
            "out of memory",
        ),
    ],
)
def test_a_fit_that_fails_is_told_of_and_leaves_nothing(
    candidate: str, message: str, tmp_path: Path, warm_fits: list[warm.Process]
) -> None:
    spec = load_spec(str(faulty(tmp_path, "Hangs", "Raises", "Dies")))
    refs = examples(spec, tmp_path / "days")
    with pytest.raises(fit.FitError) as found:
        fit_by_itself(spec, candidate, refs, {}, timedelta(seconds=3))
    assert f"Candidate {candidate!r} of model toy: {message}" in str(found.value)
    assert not models.has_model("models", fit.model_key(spec, candidate, refs))
    assert [process.poll() is not None for process in warm_fits] == [True]


def test_a_spec_that_no_other_process_can_find_says_so() -> None:
    import dataclasses

    assert load_spec(address_of(toy)).name == "toy"
    with pytest.raises(
        SpecError, match="fit_limit needs the spec to be a name at the top level of its"
    ):
        address_of(dataclasses.replace(toy, fit_limit=timedelta(seconds=5)))
