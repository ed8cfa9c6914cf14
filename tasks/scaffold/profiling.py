"""Profile of a table: the kind and range of each column, and the problem its target suggests."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tasks.errors import WrongInputError
from tasks.shown import clean
from tasks.sources.tables import with_offset

if TYPE_CHECKING:
    import pandas as pd


Kind = Literal["number", "whole", "flag", "time", "text", "other"]
Role = Literal["target", "time", "input", "id", "later", "constant", "unusable"]
FEW = 10
"""Different whole numbers up to which a numeric target is read as classes."""
CLASSES = 50
"""Most classes of a text target."""
UNIQUE = 0.95
"""Share of distinct values from which a column identifies the row."""
CODE = re.compile(r"(^|[_ ])(id|no|nr|code|zip|key)$|[a-z](Id|ID|Code)$")
"""Names of whole numbers that are codes, not counts."""
SMALLEST = 1e-300
"""Numbers nearer to zero have no two digits that can be rounded."""
LONGEST_NAME = 60
WRITTEN = r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d.{0,21})?"
"""Texts that may be ISO times, with fractions of a second and an offset."""


class InferError(WrongInputError, ValueError):
    """The table or what was asked of it cannot become a model; the message says what to do."""


@dataclass(frozen=True)
class Column:
    """The profile of one column.

    Attributes:
        name: Its name in the source.
        kind: Kind of its values; dates stored as text count as times.
        role: Its use in the model; roles other than target and time are a first guess.
        why: Reason of the role, where it is not an input.
        missing: Share of rows without a value.
        unique: How many different values there are.
        low: Smallest value of a number.
        high: Largest value of a number.
        longest: Characters of the longest text.
        zone: Time zone of its times, empty where they have none.
    """

    name: str
    kind: Kind
    role: Role = "input"
    why: str = ""
    missing: float = 0.0
    unique: int = 0
    low: float = 0.0
    high: float = 0.0
    longest: int = 0
    zone: str = ""

    @property
    def is_code(self) -> bool:
        """Whether its whole numbers are codes, such as shop numbers."""
        return self.kind == "whole" and bool(CODE.search(self.name))


@dataclass(frozen=True)
class Target:
    """The target, and why it is read as this problem.

    Attributes:
        kind: The problem.
        why: The reason.
        classes: Of a multi-class target, the commonest first; of two texts, the one that means 0
            and the one that means 1.
        share: Of a binary target, the share of rows with 1.
        usual: Value for a row of which nothing is known.
    """

    kind: Literal["binary", "multiclass", "regression"]
    why: str
    classes: tuple[Any, ...] = ()
    share: float = 0.0
    usual: float = 0.0

    @property
    def metric(self) -> str:
        """The primary metric of a new model."""
        if self.kind == "binary":
            return "average_precision" if self.share < 0.2 else "roc_auc"
        return "log_loss" if self.kind == "multiclass" else "mean_absolute_error"


def describe_columns(rows: pd.DataFrame, target: str | None, time: str | None) -> list[Column]:
    """Kind, range and role of each column except ``day``.

    Args:
        rows: Raw rows, many days.
        target: Column that is predicted, if it is one column.
        time: Column that says when a row happened, if any.
    """
    found = []
    for name in rows.columns:
        if name == "day":
            continue
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME:
            why = f"its name is not a text of 1 to {LONGEST_NAME} characters"
            found.append(Column(str(name)[:LONGEST_NAME], "other", "unusable", why))
            continue
        column = describe_column(name, rows[name])
        if name == target:
            column = _with_role(column, "target", "")
        elif name == time:
            column = _with_role(column, "time", "")
        found.append(column)
    return found


def describe_column(name: str, values: pd.Series[Any]) -> Column:
    """Kind and range of one column, and whether it can be an input."""
    import pandas as pd

    there = values.dropna()
    missing = float(1 - len(there) / len(values)) if len(values) else 1.0
    if there.empty:
        return Column(name, "other", "constant", "it has no values", missing)
    kind = _kind(there)
    if kind == "other":
        shown = type(there.iloc[0]).__name__
        return Column(name, kind, "unusable", f"its values are mixed or of type {shown}", missing)
    unique = int(there.nunique())
    known: dict[str, Any] = {"missing": missing, "unique": unique}
    if kind in ("number", "whole"):
        numbers = pd.to_numeric(there).astype("float64")
        finite = numbers[numbers.abs() < math.inf]
        if finite.empty:
            return Column(name, kind, "unusable", "it has no finite numbers", missing)
        known |= {"low": float(finite.min()), "high": float(finite.max())}
        if kind == "whole" and missing and pd.api.types.is_float_dtype(values):
            kind = "number"
    elif kind == "text":
        known["longest"] = int(there.astype("str").str.len().max())
    elif kind == "time":
        known["zone"] = str(getattr(read_times(there).dtype, "tz", ""))
    if unique == 1 and not missing:
        return Column(name, kind, "constant", "it is the same in every row", **known)
    if _names_the_row(there, kind, unique):
        return Column(name, kind, "id", "nearly every row has a different value", **known)
    return Column(name, kind, **known)


def read_times(values: pd.Series[Any]) -> pd.Series[Any]:
    """Times as such, and ISO texts as times; those with an offset are in UTC.

    Raises:
        ValueError: Where some text is no time, or only some have an offset.
    """
    import pandas as pd

    if values.dtype.kind == "M":
        return values
    return pd.to_datetime(values, format="ISO8601", utc=bool(with_offset(values).any()))


def read_target(rows: pd.DataFrame, column: Column, asked: str | None = None) -> Target:
    """The problem that the target suggests.

    Args:
        rows: Raw rows, many days.
        column: The target.
        asked: The problem a person chose, where the values allow several.

    Raises:
        InferError: Where it is constant, an id, a time or cannot be read.
    """
    name, values = column.name, rows[column.name].dropna()
    if column.kind == "other" or values.empty:
        raise InferError(
            f"--target {name!r}: {column.why}; expected 0 and 1, a few classes, or numbers."
        )
    counts = values.value_counts()
    if len(counts) == 1:
        raise InferError(
            f"--target {name!r}: found {shown(counts.index[0])} in every row; expected at least "
            "two different values. Choose another target, or provide more days."
        )
    if column.kind == "time":
        raise InferError(
            f"--target {name!r}: found times; expected 0 and 1, a few classes, or numbers. To "
            "predict how long something takes, add a column with that number."
        )
    if asked == "regression" and column.kind == "text":
        raise InferError(f"--problem regression: found text in {name!r}; expected numbers.")
    if asked == "classification" and len(counts) > 2:
        raise InferError(
            f"--problem classification: found {len(counts):,} different values in {name!r}; "
            "expected two. Use --problem multiclass, or leave --problem out."
        )
    if len(counts) == 2 and asked in (None, "classification"):
        return _binary(counts, column)
    few = len(counts) <= FEW and column.kind != "text"
    few = few and bool((values.astype("float64") % 1 == 0).all())
    if column.kind == "text" or asked == "multiclass" or (few and asked is None):
        if len(counts) > CLASSES or max(map(len, map(str, counts.index))) > LONGEST_NAME:
            raise InferError(
                f"--target {name!r}: found {len(counts):,} different values; expected at most "
                f"{CLASSES} classes. It may be an id or free text: choose another target, or "
                "group its values."
            )
        if column.kind == "text":
            return Target("multiclass", f"{len(counts)} different texts", _in_order(counts))
        why = f"{len(counts)} different whole numbers; --problem regression reads them as amounts"
        return Target("multiclass", why, tuple(int(value) for value in sorted(counts.index)))
    numbers = values.astype("float64")
    if endless := int((numbers.abs() == math.inf).sum()):
        raise InferError(
            f"--target {name!r}: found {endless:,} infinite values; expected finite numbers. "
            "Leave these rows out, or make these values missing."
        )
    why = f"numbers from {readable(column.low)} to {readable(column.high)}"
    return Target("regression", why, usual=rounded(float(numbers.mean()), 3))


def bounds(column: Column) -> tuple[float, float]:
    """The range of the values, widened by its spread on both sides, but not across 0."""
    spread = column.high - column.low or abs(column.high) or 1.0
    low, high = column.low - spread, column.high + spread
    if column.low >= 0:
        low = 0.0
    elif column.high <= 0:
        high = 0.0
    low, high = outward(low), outward(high)
    if column.kind == "whole":
        low, high = max(low, -(2.0**62)), min(high, 2.0**62)
    return low, high


def longest_allowed(column: Column) -> int:
    """Most characters a text may have: twice the longest one, rounded up."""
    return int(outward(float(max(2 * column.longest, 20))))


def outward(value: float) -> float:
    """Rounded away from zero to two significant digits."""
    if abs(value) < SMALLEST or not math.isfinite(value):
        return value
    unit = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return math.copysign(rounded(math.ceil(abs(value) / unit - 1e-9) * unit, 2), value)


def rounded(value: float, digits: int) -> float:
    """A number of so many digits."""
    return float(f"{value:.{digits}g}")


def readable(value: float) -> str:
    """A number for people."""
    return f"{int(value):,}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"


def shown(value: object) -> str:
    """A value from the data for people: one line, no control characters, not long."""
    text = " ".join(clean(str(value)[:LONGEST_NAME]).split("\n"))
    return repr(text) if isinstance(value, str) else text


def _kind(there: pd.Series[Any]) -> Kind:
    import pandas as pd

    types = pd.api.types
    kind = there.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return _kind(there.astype(kind.categories.dtype))
    if types.is_bool_dtype(kind):
        return "flag"
    if types.is_integer_dtype(kind):
        return "whole"
    if types.is_float_dtype(kind):
        return "whole" if bool((there % 1 == 0).all()) else "number"
    if types.is_datetime64_any_dtype(kind):
        return "time"
    held = pd.api.types.infer_dtype(there, skipna=True)
    plain: dict[str, Kind] = {
        "boolean": "flag",
        "integer": "whole",
        "floating": "number",
        "mixed-integer-float": "number",
        "decimal": "number",
    }
    if held == "string":
        return "time" if _are_times(there) else "text"
    return plain.get(held, "other")


def _are_times(there: pd.Series[Any]) -> bool:
    """Whether texts are ISO dates or times, all with an offset from UTC or all without."""
    if not there.astype("str").str.fullmatch(WRITTEN).all():
        return False
    zoned = with_offset(there)
    try:
        return bool(zoned.all() or not zoned.any()) and len(read_times(there)) > 0
    except ValueError:
        return False


def _names_the_row(there: pd.Series[Any], kind: Kind, unique: int) -> bool:
    if len(there) < 20 or unique <= UNIQUE * len(there):
        return False
    if kind == "whole":
        return True
    return kind == "text" and float(there.astype("str").str.count(r"\s").mean()) < 2


def _binary(counts: pd.Series[int], column: Column) -> Target:
    rarer = float(counts.min() / counts.sum())
    if column.kind == "text":
        common, rare = (str(value) for value in _in_order(counts))
        why = f"two texts; 1 stands for {shown(rare)}, the rarer one"
        return Target("binary", why, (common, rare), rarer, rounded(rarer, 3))
    numbers = counts.set_axis(counts.index.astype("float64"))
    if sorted(numbers.index) == [0.0, 1.0]:
        by_value = numbers.to_dict()
        share = by_value[1.0] / (by_value[0.0] + by_value[1.0])
        why = f"{'true and false' if column.kind == 'flag' else '0 and 1'}, {share:.1%} are 1"
        return Target("binary", why, share=share, usual=rounded(share, 3))
    usual, other = _in_order(numbers)
    why = f"two numbers; 1 stands for {readable(other)}, the rarer one"
    return Target("binary", why, (usual, other), rarer, rounded(rarer, 3))


def _in_order(counts: pd.Series[int]) -> tuple[Any, ...]:
    return tuple(counts.sort_index().sort_values(ascending=False, kind="stable").index)


def _with_role(column: Column, role: Role, why: str) -> Column:
    return replace(column, role=role, why=why or column.why)
