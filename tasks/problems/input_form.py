"""One form of input frames: what a model was fitted on is what it gets, whoever asks it.

pandas and Arrow change the type of a column with the values that happen to be in it: a count with a
gap becomes a float, a category has the values of its day, a duration has no type in JSON. So a
fitted estimator keeps the form of its training inputs (columns, their order, types, categories),
and brings every frame into it: holdout, probe, predictions, and what an app posts.

A column has one of these kinds:

========  =============================  =======================================================
kind      what an estimator gets         what an app posts
========  =============================  =======================================================
number    float64, or float32            a double
whole     int64; float64 with a gap      a double; a long where values are beyond ``EXACT``
truth     bool; float64 with a gap       a double, 0 or 1
span      float64, seconds               a double, seconds
text      str                            a text
time      datetime64[us], in its zone    a time, in UTC where it has a zone; a text in ISO 8601
                                         where training has some before 1678 or after 2261
category  the categories of training     a text, double or time, as the categories are
========  =============================  =======================================================

A category that training has not is a missing value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from sklearn.base import BaseEstimator
from sklearn.utils.metaestimators import available_if

from tasks.errors import SpecError
from tasks.shown import NAMED_COLUMNS, few

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd


EXACT = 2**53
"""Up to here a double holds every whole number."""
KINDS = {
    "string": "text",
    "empty": "number",
    "floating": "number",
    "mixed-integer-float": "number",
    "decimal": "number",
    "integer": "whole",
    "boolean": "truth",
    "datetime": "time",
    "datetime64": "time",
    "date": "time",
    "timedelta": "span",
    "timedelta64": "span",
}
"""What pandas infers from the values of a column to its kind."""
EXACTLY: dict[str, tuple[str, Any]] = {"whole": ("iu", "int64"), "truth": ("b", "bool")}
"""Kinds that are no floats where no value is missing: numpy's kinds, and the type."""


class Column(TypedDict, total=False):
    """The form of one column; only plain values, so that it is stored with the model.

    Attributes:
        name: Its name.
        kind: See the top of the module; of a category, the kind of its categories.
        dtype: Of numbers: ``float64`` or ``float32``.
        large: Of whole numbers: whether some are beyond ``EXACT``.
        zone: Of times: their time zone, or None.
        far: Of times: whether some lie beyond what a time of a signature holds.
        categories: Of a category: its categories in order, times as texts.
        ordered: Of a category: whether the order means something.
    """

    name: Any
    kind: str
    dtype: Any
    large: bool
    zone: str | None
    far: bool
    categories: list[Any]
    ordered: bool


class FormedEstimator(BaseEstimator):  # type: ignore[misc]
    """An estimator that sees every frame in the form of its training inputs.

    Attributes:
        estimator: Any estimator; ``fit`` fits this object, not a clone.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def fit(self, X: pd.DataFrame, y: Any) -> FormedEstimator:  # noqa: N803
        """Learn the form of the inputs, and fit the estimator on it.

        Raises:
            SpecError: Where a column has a type that no estimator takes.
        """
        form = form_of(X)
        self.estimator.fit(in_form(form, X), y)
        return self.of(form, self.estimator)

    def of(self, form: Sequence[Column], fitted: Any) -> FormedEstimator:
        """The same with an estimator that was fitted on inputs in this form."""
        self.estimator, self.form_ = fitted, list(form)
        return self

    @property
    def classes_(self) -> Any:
        return self.estimator.classes_

    @available_if(lambda self: hasattr(self.estimator, "predict"))  # type: ignore[untyped-decorator]
    def predict(self, X: pd.DataFrame) -> Any:  # noqa: N803
        return self.estimator.predict(in_form(self.form_, X))

    @available_if(lambda self: hasattr(self.estimator, "predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: pd.DataFrame) -> Any:  # noqa: N803
        return self.estimator.predict_proba(in_form(self.form_, X))


def form_of(inputs: pd.DataFrame) -> list[Column]:
    """The form of a frame of inputs.

    Raises:
        SpecError: Where a column has a type that no estimator takes.
    """
    return [_column(name, inputs[name]) for name in inputs]


def in_form(form: Sequence[Column], inputs: pd.DataFrame) -> pd.DataFrame:
    """The inputs as an estimator gets them; columns the form has not are left out.

    Raises:
        SpecError: Where a column is missing, or its values are of another kind.
    """
    return _each(form, inputs, _estimators)


def as_posted(form: Sequence[Column], inputs: pd.DataFrame) -> pd.DataFrame:
    """The inputs as an app posts them, in types that Parquet, JSON and a signature can name.

    Raises:
        SpecError: Where a column is missing, or its values are of another kind.
    """
    return _each(form, inputs, _posted)


def posted_type(column: Column) -> str:
    """The type of a posted column: ``double``, ``long``, ``string`` or ``datetime``."""
    if column["kind"] == "whole" and column["large"]:
        return "long"
    if column.get("far"):  # a champion of an earlier form has not noted it
        return "string"
    return {"text": "string", "time": "datetime"}.get(column["kind"], "double")


def _each(
    form: Sequence[Column],
    inputs: pd.DataFrame,
    how: Callable[[Column, pd.Series[Any]], pd.Series[Any]],
) -> pd.DataFrame:
    import pandas as pd

    if absent := [column["name"] for column in form if column["name"] not in inputs]:
        raise SpecError(
            f"features: found no column {absent[0]!r}; expected the columns of the training days, "
            f"{few((column['name'] for column in form), NAMED_COLUMNS)}"
        )
    made = {}
    for column in form:
        try:
            made[column["name"]] = how(column, inputs[column["name"]].infer_objects())
        except (ValueError, TypeError, OverflowError) as error:
            raise SpecError(
                f"features: column {column['name']!r} cannot be read as {column['kind']}, which "
                f"it is in the training days: {error}"
            ) from error
    return pd.DataFrame(made, index=inputs.index, copy=False)


def _column(name: Any, values: pd.Series[Any]) -> Column:
    import pandas as pd

    if isinstance(values.dtype, pd.CategoricalDtype):
        categories = values.dtype.categories
        made = _column(name, categories.to_series())
        if made["kind"] in ("number", "whole", "truth", "text", "time"):
            kept = categories.astype(str) if made["kind"] == "time" else categories
            return {**made, "categories": kept.tolist(), "ordered": bool(values.dtype.ordered)}
    elif (kind := _kind(values)) == "number":
        single = values.dtype.kind == "f" and getattr(values.dtype, "itemsize", 8) <= 4
        return {"name": name, "kind": kind, "dtype": "float32" if single else "float64"}
    elif kind == "time":
        zone = getattr(values.dtype, "tz", None) or getattr(values.dropna().max(), "tzinfo", None)
        zone = str(zone) if zone else None
        return {"name": name, "kind": kind, "zone": zone, "far": _are_far(values, zone)}
    elif kind == "whole" or kind == "truth":
        most = int(values.dropna().abs().max()) if kind == "whole" and values.notna().any() else 0
        if most > EXACT and (values.isna().any() or most >= 2**63):
            raise SpecError(
                f"features: found whole numbers up to {most} in column {name!r}; expected them "
                f"within 64 bits, and within {EXACT} where values are missing: no type of an "
                "estimator holds both. Make it text or a category"
            )
        if values.isna().any():
            return {"name": name, "kind": "number", "dtype": "float64"}
        return {"name": name, "kind": kind, "large": most > EXACT}
    elif kind:
        return {"name": name, "kind": kind}
    raise SpecError(
        f"features: found type {values.dtype} in column {name!r}; expected numbers, truth values, "
        "texts, times, durations, or a category of one of these. Convert it in features"
    )


def _are_far(values: pd.Series[Any], zone: str | None) -> bool:
    """Whether some times lie beyond what 64 bits of nanoseconds hold, as a signature counts."""
    import pandas as pd

    known = _times(values, zone, posted=True).dropna()
    return not bool(known.between(pd.Timestamp.min, pd.Timestamp.max).all())


def _kind(values: pd.Series[Any]) -> str | None:
    import pandas as pd

    known = {"b": "truth", "i": "whole", "u": "whole", "f": "number", "M": "time", "m": "span"}
    if values.dtype.kind in known:
        return known[values.dtype.kind]
    return KINDS.get(pd.api.types.infer_dtype(values, skipna=True))


def _estimators(column: Column, values: pd.Series[Any]) -> pd.Series[Any]:
    if "categories" in column:
        return _category(column, values)
    kind = column["kind"]
    if kind == "text":
        return values.astype("str")
    if kind == "time":
        return _times(values, column["zone"])
    if kind not in EXACTLY:
        return _numbers(values).astype(column.get("dtype", "float64"))
    same = values.dtype.kind in EXACTLY[kind][0] and not values.isna().any()
    if same and (column.get("large") or values.between(-EXACT, EXACT).all()):
        return values.astype(EXACTLY[kind][1])
    numbers = _numbers(values)
    if not numbers.between(-EXACT, EXACT).all():
        return numbers
    exact = numbers.astype(EXACTLY[kind][1])
    return exact if (exact == numbers).all() else numbers


def _posted(column: Column, values: pd.Series[Any]) -> pd.Series[Any]:
    kind, plain = column["kind"], _plain(values)
    if kind == "text":
        return plain.astype("str")
    if kind == "time":
        times = _times(plain, column["zone"], posted=True)
        return times.astype("str") if posted_type(column) == "string" else times
    if posted_type(column) == "long" and plain.dtype.kind in "iu" and not plain.isna().any():
        return plain.astype("int64")
    return _numbers(plain)


def _plain(values: pd.Series[Any]) -> pd.Series[Any]:
    """A category's values in the type of its categories."""
    import pandas as pd

    if not isinstance(values.dtype, pd.CategoricalDtype):
        return values
    kind = values.dtype.categories.dtype
    return values.astype(object if kind.kind in "biu" else kind)


def _category(column: Column, values: pd.Series[Any]) -> pd.Series[Any]:
    """The values as categories of training; what is none of them is missing."""
    import pandas as pd

    plain, kept, kind = _plain(values), column["categories"], column["kind"]
    if kind == "text":
        known, found = pd.Index(kept, dtype="str"), plain.astype("str")
    elif kind == "time":
        known = pd.Index(_times(pd.Series(kept, dtype="str"), column["zone"]))
        found = _times(plain, column["zone"])
    elif kind == "whole" and plain.dtype.kind in "iuO" and not plain.isna().any():
        known, found = pd.Index(kept, dtype="int64"), plain.infer_objects()
    else:
        known, found = pd.Index(kept), _numbers(plain, unknown="coerce")
    places = pd.Index(list(map(float, kept))) if kind == "truth" else known
    codes = places.get_indexer(pd.Index(found))
    codes[found.isna().to_numpy()] = -1
    made = pd.Categorical.from_codes(codes, categories=known, ordered=column["ordered"])
    return pd.Series(made, index=values.index)


def _times(values: pd.Series[Any], zone: str | None, *, posted: bool = False) -> pd.Series[Any]:
    """Times in their zone; posted, they are in UTC and have none."""
    import pandas as pd

    given = values.dtype.kind == "M"
    found = values if given else pd.to_datetime(values, utc=bool(zone), format="ISO8601")
    if zone is None:
        return found.astype("datetime64[us]")
    if found.dt.tz is None:
        found = found.dt.tz_localize("UTC")
    found = found.dt.tz_convert("UTC" if posted else zone).dt.as_unit("us")
    return found.dt.tz_localize(None) if posted else found


def _numbers(
    values: pd.Series[Any], unknown: Literal["raise", "coerce"] = "raise"
) -> pd.Series[Any]:
    """Numbers as numpy's floats, missing ones as NaN; durations in seconds."""
    import numpy as np
    import pandas as pd

    if values.dtype.kind == "O":
        spans = KINDS.get(pd.api.types.infer_dtype(values, skipna=True)) == "span"
        values = pd.to_timedelta(values) if spans else pd.to_numeric(values, errors=unknown)
    if values.dtype.kind == "m":
        values = values.dt.total_seconds()
    if values.dtype.kind not in "biufO":
        raise ValueError(f"found the type {values.dtype}")
    if isinstance(values.dtype, np.dtype) and values.dtype.kind == "f":
        return values
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return pd.Series(numbers, index=values.index)
