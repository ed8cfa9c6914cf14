"""Random frames of features, as ``features`` of a user may return them, and packages of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from tasks.problems.input_form import EXACT, FormedEstimator
from tasks.registry import packages
from tasks.settings import PROJECT
from tasks.store.trusted_types import TRUSTED_TYPES
from tests.fingerprint import Fingerprint

TRUSTED = (
    *TRUSTED_TYPES,
    "tasks.problems.input_form.FormedEstimator",
    f"{Fingerprint.__module__}.Fingerprint",
)
CODE = {
    name: PROJECT / name
    for name in (
        "tasks/errors.py",
        "tasks/shown.py",
        "tasks/problems/input_form.py",
        "tests/fingerprint.py",
    )
}


def floats(width: Any) -> st.SearchStrategy[float]:
    return st.floats(width=width, allow_nan=False, allow_infinity=False)


def times(first: int, last: int) -> st.SearchStrategy[Any]:
    return st.datetimes(*map(datetime.fromisoformat, (f"{first:04}-01-01", f"{last}-12-31")))


SECONDS = times(1, 9999).map(lambda each: each.replace(microsecond=0))
SPANS = st.timedeltas(timedelta(days=-90_000), timedelta(days=90_000))
DAYS = st.dates(date(1700, 1, 1), date(2250, 12, 31))
ZONED = times(1700, 2250).map(lambda each: pd.Timestamp(each, tz="UTC"))
WORDS = st.text(max_size=5) | st.sampled_from(["NaN", "None", "null", "1", "1.0", "true", " a"])
CODES = st.integers(-EXACT, EXACT) | st.integers(-3, 3)
END = datetime.fromisoformat("9999-12-31")
LARGE, FAR = ", large", ", far"
VALUES: dict[str, tuple[st.SearchStrategy[Any], bool]] = {
    "float16": (floats(16), True),
    "float32": (floats(32), True),
    "float64": (floats(64), True),
    "int8": (st.integers(-128, 127), False),
    "int32": (st.integers(-(2**31), 2**31 - 1), False),
    "int64": (CODES, False),
    "int64, large": (st.integers(-(2**63) + 1, 2**63 - 1), False),
    "uint16": (st.integers(0, 2**16 - 1), False),
    "uint64": (st.integers(0, EXACT), False),
    "Int64": (CODES, True),
    "UInt8": (st.integers(0, 255), True),
    "Float32": (floats(32), True),
    "bool": (st.booleans(), False),
    "boolean": (st.booleans(), True),
    "str": (WORDS, True),
    "string": (WORDS, True),
    "object": (WORDS, True),
    "object of decimals": (st.decimals(-9999, 9999, places=3, allow_nan=False), True),
    "object of days": (DAYS, True),
    "object of truths": (st.booleans(), True),
    "datetime64[s], far": (SECONDS, True),
    "datetime64[us]": (times(1700, 2250), True),
    "datetime64[us], far": (times(1, 9999), True),
    "datetime64[ns]": (times(1700, 2250), True),
    "datetime64[us, America/New_York]": (ZONED, True),
    "datetime64[ns, Asia/Kathmandu]": (ZONED, True),
    "timedelta64[s]": (SPANS.map(lambda each: timedelta(seconds=each // timedelta(0, 1))), True),
    "timedelta64[us]": (SPANS, True),
    "timedelta64[ns]": (SPANS, True),
    "int64[pyarrow]": (CODES, True),
    "bool[pyarrow]": (st.booleans(), True),
    "double[pyarrow]": (floats(64), True),
    "string[pyarrow]": (WORDS, True),
    "timestamp[us][pyarrow]": (times(1700, 2250), True),
    "date32[pyarrow]": (DAYS, True),
    "date32[pyarrow], far": (st.dates(), True),
    "duration[us][pyarrow]": (SPANS, True),
    "category of texts": (WORDS, True),
    "category of numbers": (CODES, True),
    "category of floats": (floats(64), True),
    "category of truths": (st.booleans(), True),
    "category of times": (times(1700, 2250), True),
    "category of zoned times": (ZONED, True),
}
"""Type to its values, and whether one may be missing. Categories of a later frame are its own.

Of ``FAR`` the training has a time that no signature holds; else no later frame has one either.
"""


@dataclass(frozen=True)
class Frames:
    """What a model is fitted on, and what it is asked on another day.

    Attributes:
        training: Its inputs.
        later: Other values, other gaps, unseen categories, another order of columns.
    """

    training: pd.DataFrame
    later: pd.DataFrame


@dataclass(frozen=True)
class Packaged:
    """A package of random inputs.

    Attributes:
        fitted: What was fitted.
        folder: The package.
        posted: The later inputs, as an app posts them.
        expected: What the fitting process predicts for the later inputs.
    """

    fitted: FormedEstimator
    folder: Path
    posted: pd.DataFrame
    expected: np.ndarray


def column(kind: str, values: list[Any]) -> pd.Series[Any]:
    if kind.startswith("category"):
        made = pd.Series(values, dtype="datetime64[us, UTC]" if "zoned" in kind else object)
        return made.infer_objects().astype("category")
    return pd.Series(values, dtype=kind.partition(" of ")[0].removesuffix(LARGE).removesuffix(FAR))


@st.composite
def random_frames(draw: st.DrawFn) -> Frames:
    kinds = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=8))
    names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
    named = draw(st.lists(names, min_size=len(kinds), max_size=len(kinds), unique=True))
    length, asked = draw(st.integers(2, 6)), draw(st.integers(1, 5))
    training, later = {}, {}
    for name, kind in zip(named, kinds, strict=True):
        values, gaps = VALUES[kind]
        first = END if FAR in kind else draw(values)
        training[name] = column(kind, [first, *draw(some(values, gaps, length - 1))])
        if not gaps and LARGE not in kind and draw(st.booleans()):  # the gap comes later
            kind, gaps = ("boolean" if kind == "bool" else "Int64"), True
        later[name] = column(kind, draw(some(values, gaps, asked)))
    return Frames(pd.DataFrame(training), pd.DataFrame(later)[draw(st.permutations(named))])


def some(values: st.SearchStrategy[Any], gaps: bool, n: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | values if gaps else values, min_size=n, max_size=n)


def packaged(frames: Frames, folder: Path) -> Packaged:
    """A package of an estimator that tells all inputs apart, with the code it needs."""
    target = np.arange(len(frames.training)) % 2
    fitted = FormedEstimator(Fingerprint()).fit(frames.training, target)
    packages.save_package(
        folder,
        fitted,
        frames.training.head(5),
        code=CODE,
        trusted=TRUSTED,
        requirements=["scikit-learn"],
    )
    posted, expected = packages.posted(fitted, frames.later), packages.answer(fitted, frames.later)
    return Packaged(fitted, folder, posted, expected)
