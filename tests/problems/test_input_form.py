"""What a model was fitted on is what it gets, whoever asks it and in whatever types."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator
from sklearn.ensemble import HistGradientBoostingClassifier

from tasks.clean_process.package_check import check_package
from tasks.problems.input_form import FormedEstimator, as_posted, form_of, in_form
from tasks.registry import packages
from tasks.spec import Gate, SpecError
from tasks.store import arrow_blocks, models
from tasks.store.trusted_types import TRUSTED_TYPES
from tests.nights import MLFLOW_WARNINGS
from tests.samples import samples
from tests.served import JSON, PARQUET, json_body, parquet_body

pytestmark = [
    *(pytest.mark.filterwarnings(text) for text in MLFLOW_WARNINGS),
    pytest.mark.filterwarnings("ignore:Series.values returning"),  # pyarrow's, of zoned times
]
TRUSTED = [*TRUSTED_TYPES, "tasks.problems.input_form.FormedEstimator"]
SEEN, UNSEEN = pd.Timestamp("2026-03-29 01:30"), pd.Timestamp("2031-01-01 00:00:01")
VALUES: dict[str, tuple[list[Any], bool]] = {
    "float16": ([0.1, -2.5, 3.0], True),
    "float32": ([0.1, 1e-7, -3.3], True),
    "float64": ([0.1, 1e300, -3.3], True),
    "int8": ([-7, 0, 8], False),
    "int32": ([-7, 0, 70_000], False),
    "int64": ([-7, 0, 2**52 + 1], False),
    "uint16": ([7, 0, 65_535], False),
    "uint64": ([7, 0, 2**40], False),
    "Int64": ([-7, 0, 2**52 + 1], True),
    "UInt8": ([7, 0, 255], True),
    "Float32": ([0.1, 7.0, -1.5], True),
    "bool": ([True, False], False),
    "boolean": ([True, False], True),
    "str": (["a", "b", "ä"], True),
    "string": (["a", "1", ""], True),
    "object": (["a", "b", "c"], True),
    "datetime64[s]": ([SEEN, SEEN + timedelta(days=9)], True),
    "datetime64[us]": ([SEEN, SEEN + timedelta(microseconds=1)], True),
    "datetime64[ns]": ([SEEN, SEEN + timedelta(days=9)], True),
    "datetime64[us, America/New_York]": ([SEEN.tz_localize("UTC")], True),
    "timedelta64[s]": ([timedelta(days=3), timedelta(seconds=-1)], True),
    "timedelta64[ns]": ([timedelta(days=3), timedelta(microseconds=1)], True),
    "int64[pyarrow]": ([-7, 0, 2**52 + 1], True),
    "string[pyarrow]": (["a", "b", ""], True),
    "category of texts": (["a", "b", "c"], True),
    "category of numbers": ([1, 2, 30], True),
    "category of floats": ([0.5, 2.0, -1.0], True),
    "category of truths": ([True, False], True),
    "category of times": ([SEEN, SEEN + timedelta(days=9)], True),
}
"""Type to some of its values, and whether one may be missing."""
NEW: dict[str, Any] = {"texts": "new", "numbers": 5, "floats": 0.25, "times": UNSEEN}


class Fingerprint(BaseEstimator):  # type: ignore[misc]
    """Predicts a number that changes with each value, type, category and place of a row."""

    def fit(self, X: pd.DataFrame, y: np.ndarray) -> Fingerprint:
        return self

    def predict(self, X: pd.DataFrame) -> np.ndarray:
        return sum(  # type: ignore[return-value]
            _hash(X[name]) * (place + 1) for place, name in enumerate(X)
        )


def _hash(values: pd.Series[Any]) -> np.ndarray:
    kind = values.dtype
    shown: Any = values.astype(object).where(values.notna(), None).map(repr)
    if isinstance(kind, pd.CategoricalDtype):
        shown = shown + f"{kind.categories.dtype}{kind.categories.tolist()}{kind.ordered}"
    elif kind.kind not in "fib":  # whole numbers with a gap cannot keep their type
        shown = shown + str(kind)
    else:
        shown = values.astype("float64").map(repr)
    return np.asarray(pd.util.hash_array(shown.to_numpy(dtype=object)) % 2**32, dtype=np.float64)


def column(kind: str, values: list[Any]) -> pd.Series[Any]:
    if not kind.startswith("category"):
        return pd.Series(values, dtype=kind)
    return pd.Series(pd.array(values, dtype=object)).astype("category")


@st.composite
def asked(draw: st.DrawFn) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Training inputs, and inputs of another day: other gaps, other values, another order."""
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=8, unique=True))
    training, later = {}, {}
    for kind in kinds:
        values, gaps = VALUES[kind]
        training[kind] = column(kind, [*values, *draw(some(values, gaps, 3))])
        if not gaps and draw(st.booleans()):  # the gap comes later: pandas makes it another type
            values, gaps, kind = [*values], True, {"b": "boolean"}.get(kind[0], "Int64")
        elif kind.partition(" of ")[2] in NEW:
            values = [*values, NEW[kind.partition(" of ")[2]]]
        later[list(training)[-1]] = column(kind, draw(some(values, gaps, 4)))
    length = max(map(len, training.values()))
    made = pd.DataFrame(
        {n: s.reindex(np.arange(length) % len(s)).array for n, s in training.items()}
    )
    return made, pd.DataFrame(later)[draw(st.permutations(list(later)))]


def some(values: list[Any], gaps: bool, count: int) -> st.SearchStrategy[list[Any]]:
    each = st.sampled_from(values)
    return st.lists(st.one_of(each, st.none()) if gaps else each, min_size=count, max_size=count)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@settings(
    max_examples=samples(8),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(frames=asked())
def test_stored_posted_and_reordered_inputs_get_the_same_numbers(
    frames: tuple[pd.DataFrame, pd.DataFrame], place: Path
) -> None:
    import mlflow
    from mlflow.pyfunc.scoring_server import invocations

    training, later = frames
    target = np.arange(len(training)) % 2
    fitted = FormedEstimator(Fingerprint()).fit(training, target)
    expected = packages.answer(fitted, later)
    assert in_form(fitted.form_, training).dtypes.to_dict() == expected_types(fitted, training)
    kept, _ = arrow_blocks.to_block("examples", {"a": training, "b": later[list(training)]})
    (place / "days.arrow").write_bytes(kept)
    batches = arrow_blocks.read_block(place / "days.arrow", [1], None)
    assert_same(packages.answer(fitted, arrow_blocks.to_frame(batches, None)), expected)

    trusted = [*TRUSTED, f"{Fingerprint.__module__}.Fingerprint"]
    package = Path(tempfile.mkdtemp(dir=place)) / "model"
    packages.save_package(
        package, fitted, training, code={}, trusted=trusted, requirements=["scikit-learn"]
    )
    model = mlflow.pyfunc.load_model(str(package))
    posted = packages.posted(fitted, later)
    assert_same(model.predict(posted), expected)
    schema = model.metadata.get_input_schema()
    bodies = {PARQUET: parquet_body(posted), JSON: json_body(in_json(posted))}
    for content_type, body in bodies.items():
        answered = invocations(body, content_type, model, schema)
        assert answered.status == 200, answered.response
        assert_same(np.array(json.loads(answered.response)["predictions"]), expected)


def expected_types(fitted: FormedEstimator, training: pd.DataFrame) -> dict[str, Any]:
    return in_form(fitted.form_, as_posted(fitted.form_, training)).dtypes.to_dict()


def in_json(posted: pd.DataFrame) -> pd.DataFrame:
    times = posted.select_dtypes("datetime")
    return posted.assign(**{n: times[n].dt.strftime("%Y-%m-%dT%H:%M:%S.%f") for n in times})


def assert_same(found: Any, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(np.asarray(found), expected)


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
