"""What a model was fitted on is what it gets, whoever asks it and in whatever types."""

from __future__ import annotations

import json
import tempfile
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier

from tasks.clean_process.package_check import Shipped, check_package, check_packages
from tasks.problems.input_form import FormedEstimator, as_posted, form_of, in_form, posted_type
from tasks.registry import packages
from tasks.spec import Gate, SpecError
from tasks.store import arrow_blocks, models
from tests.feature_frames import TRUSTED, Frames, Packaged, packaged, random_frames
from tests.nights import MLFLOW_WARNINGS
from tests.samples import samples
from tests.served import JSON, PARQUET, json_body, parquet_body

pytestmark = [
    *(pytest.mark.filterwarnings(text) for text in MLFLOW_WARNINGS),
    pytest.mark.filterwarnings("ignore:(Series|DatetimeIndex).values returning"),  # pyarrow's
]


@pytest.mark.long
@pytest.mark.usefixtures("warm_processes")
@settings(
    max_examples=samples(4),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(several=st.lists(random_frames(), min_size=2, max_size=2))
def test_stored_posted_and_reordered_inputs_get_the_same_numbers(several: list[Frames]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = [packaged(frames, Path(folder) / str(place)) for place, frames in enumerate(several)]
        for frames, package in zip(several, made, strict=True):
            assert_same_when_stored(frames, package, Path(folder))
            assert_same_when_served(package)
        shipped = [Shipped(each.folder, each.posted, each.expected) for each in made]
        for checks in check_packages(shipped, trusted=TRUSTED, gate=Gate(latency_ms=60_000)):
            assert all(check.passed for check in checks), checks


def assert_same_when_stored(frames: Frames, package: Packaged, folder: Path) -> None:
    form, training = package.fitted.form_, frames.training
    again = in_form(form, as_posted(form, training))
    assert in_form(form, training).dtypes.to_dict() == again.dtypes.to_dict()
    days = {"a": training, "b": frames.later[list(training)]}
    (folder / "days.arrow").write_bytes(arrow_blocks.to_block("examples", days)[0])
    batches = arrow_blocks.read_block(folder / "days.arrow", [1], None)
    stored = arrow_blocks.to_frame(batches, None)
    assert_same(packages.answer(package.fitted, stored), package.expected)


def assert_same_when_served(package: Packaged) -> None:
    """By MLflow's own functions, in this process."""
    import mlflow
    from mlflow.pyfunc.scoring_server import invocations

    model = mlflow.pyfunc.load_model(str(package.folder))
    assert_same(model.predict(package.posted), package.expected)
    bodies = {PARQUET: parquet_body(package.posted), JSON: json_body(package.posted)}
    for content_type, body in bodies.items():
        answered = invocations(body, content_type, model, model.metadata.get_input_schema())
        assert answered.status == 200, answered.response
        assert_same(np.array(json.loads(answered.response)["predictions"]), package.expected)


def assert_same(found: Any, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(np.asarray(found), expected)


def test_a_number_beyond_a_double_is_the_same_number_by_post_as_in_a_frame() -> None:
    form = form_of(pd.DataFrame({"x": [1, 2]}))
    later = pd.DataFrame({"x": [2**53 + 1, 3]})
    pd.testing.assert_frame_equal(in_form(form, later), in_form(form, as_posted(form, later)))


@pytest.mark.parametrize("zone", [None, "Asia/Kathmandu"])
def test_a_time_that_no_signature_holds_is_posted_as_text(zone: str | None) -> None:
    times = pd.Series(["9999-12-31 00:00:00.0", None, "2026-03-29 01:30:00.000001"])
    frame = pd.DataFrame({"until": pd.to_datetime(times, utc=True).dt.tz_convert(zone)})
    form = form_of(frame)
    posted = as_posted(form, frame)
    assert (posted_type(form[0]), posted["until"].dtype) == ("string", "str")
    pd.testing.assert_frame_equal(in_form(form, posted), in_form(form, frame))
    assert posted_type(form_of(frame.tail(1))[0]) == "datetime"


@pytest.mark.parametrize(
    ("values", "kind", "posted"),
    [
        ([1, 2], "int64", "float64"),
        ([1, None], "float64", "float64"),
        ([2**60, 2], "int64", "int64"),
        ([True, False], "bool", "float64"),
        ([True, None], "float64", "float64"),
        ([Decimal("1.5"), None], "float64", "float64"),
        ([date(2026, 1, 1), None], "datetime64[us]", "datetime64[us]"),
        ([timedelta(hours=1), None], "float64", "float64"),
        (["a", None], "str", "str"),
        ([None, None], "float64", "float64"),
        ([1, 2.5], "float64", "float64"),
    ],
)
def test_the_type_of_an_input_follows_all_its_values(
    values: list[Any], kind: str, posted: str
) -> None:
    frame = pd.DataFrame({"x": pd.Series(values, dtype=object)})
    form = form_of(frame)
    assert in_form(form, frame)["x"].dtype == kind
    assert as_posted(form, frame)["x"].dtype == posted


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([1, "a"]),
        pd.Series([[1], [2]]),
        pd.Series([1j, 2j]),
        pd.Series(pd.period_range("2026-01-01", periods=2)),
        pd.cut(pd.Series([1, 2]), 2),
        pd.Series([2**60, None], dtype="Int64"),
        pd.Series([2**63 + 1, 0], dtype="uint64"),
    ],
)
def test_a_type_that_no_estimator_takes_is_refused_by_name(values: pd.Series[Any]) -> None:
    with pytest.raises(SpecError, match="in column 'x'; expected"):
        form_of(pd.DataFrame({"x": values}))


def test_a_column_that_is_missing_or_of_another_kind_is_named() -> None:
    form = form_of(pd.DataFrame({"x": [1.0], "y": [2.0]}))
    with pytest.raises(SpecError, match=r"found no column 'y'; expected .* x, y"):
        in_form(form, pd.DataFrame({"x": [1.0]}))
    with pytest.raises(SpecError, match="column 'x' cannot be read as number"):
        in_form(form, pd.DataFrame({"x": ["word"], "y": [2.0]}))


def test_categories_of_training_are_kept_and_one_unseen_is_missing() -> None:
    form = form_of(pd.DataFrame({"x": pd.Series(["b", "a", None]).astype("category")}))
    found = in_form(form, pd.DataFrame({"x": ["new", "b", None]}))["x"]
    assert found.cat.categories.tolist() == ["a", "b"]
    assert found.tolist()[1] == "b"
    assert found.isna().tolist() == [True, False, True]


@pytest.mark.usefixtures("warm_processes")
def test_boosting_on_categories_is_shipped_and_answers_in_a_clean_process(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    training = pd.DataFrame(
        {
            "shop": pd.Series(random.choice(["a", "b", "c"], 200)).astype("category"),
            "visits": random.integers(0, 9, 200),
            "since": pd.to_timedelta(random.integers(0, 99, 200), unit="h"),
            "open": pd.array([True, None] * 100, dtype="boolean"),
        }
    )
    target = (training["shop"] == "a").to_numpy() ^ (random.random(200) < 0.2)
    fitted = FormedEstimator(HistGradientBoostingClassifier(max_iter=5)).fit(training, target)
    packages.save_package(
        tmp_path / "model",
        fitted,
        training.head(5),
        code={},
        trusted=TRUSTED,
        requirements=["scikit-learn"],
    )
    later = training.assign(shop=pd.Series(["new", None] * 100).astype("category")).iloc[:, ::-1]
    again = models.build_model(models.model_content(fitted, TRUSTED), TRUSTED, "model")
    expected = packages.answer(again, later)
    assert len(np.unique(expected)) > 1
    checks = check_package(
        tmp_path / "model",
        packages.posted(fitted, later),
        expected,
        trusted=TRUSTED,
        gate=Gate(latency_ms=60_000),
    )
    assert all(check.passed for check in checks), checks
