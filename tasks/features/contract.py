"""Accept or quarantine rows: rows in = accepted + quarantined + duplicates, exactly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.errors import NightlyError
from tasks.shown import NAMED_COLUMNS, UNSAFE, few
from tasks.sources.tables import with_offset

if TYPE_CHECKING:
    import pandas as pd
    from pandera.pandas import DataFrameModel


LONGEST_VALUE = 60
"""Characters of a value that a reason shows."""
CHECK = re.compile(r"(\w+)\((.*)\)", re.DOTALL)
WORDS = {
    "greater_than_or_equal_to": "is not at least {}",
    "greater_than": "is not greater than {}",
    "less_than_or_equal_to": "is not at most {}",
    "less_than": "is not less than {}",
    "in_range": "is not in {}",
    "equal_to": "is not {}",
    "isin": "is not one of {}",
    "notin": "is one of {}",
    "str_matches": "does not match {}",
}
"""Names of pandera's checks to what a value does that breaks them."""
FLAGS = dict.fromkeys(("true", "yes", "t", "y", "1"), True)
FLAGS |= dict.fromkeys(("false", "no", "f", "n", "0"), False)
"""Words that are truth values where a contract coerces."""
MOST_EXACT = 2**53
"""The largest whole number up to which floats hold every one."""


class ContractError(NightlyError, ValueError):
    """A whole day breaks the contract: a column is missing or has another type."""


@dataclass(frozen=True)
class Accepted:
    """Raw rows sorted by the contract.

    Attributes:
        rows: Rows that fit the contract, in its types, with ``day``, in their order.
        quarantine: Rows that do not, as they came, with ``day`` and the text ``reason``; a column
            of that name of their own is ``reason_``.
        counts: Indexed by ``day``: ``rows_in``, ``accepted``, ``quarantined``, ``duplicates``,
            the last always 0 where the contract names no key.
    """

    rows: pd.DataFrame
    quarantine: pd.DataFrame
    counts: pd.DataFrame


def accept_rows(raw: pd.DataFrame, contract: type[DataFrameModel]) -> Accepted:
    """Sort the rows of one or many days into accepted, quarantined and duplicate.

    Equal rows are rows each: two of the same thing in one order. Only where the contract names
    with ``unique`` what a row has once, a row equal to an earlier one of its day in every column is
    a duplicate; rows that share that key and differ are quarantined, all of them. A row that breaks
    the contract is quarantined with every reason. Numbers and times are converted to the declared
    type where nothing is lost, text only where the contract coerces; a value that cannot be
    converted quarantines its row. A column in which all is missing has the declared type.
    ``unique`` holds within a day; a check of a whole column sees all days. A column that need not
    be there may be missing all day; where such days are read with others, its whole numbers and
    truth values have the type of pandas that can miss some.

    Args:
        raw: Raw rows with the reserved column ``day``, which no check sees.
        contract: pandera model of a row.

    Raises:
        ContractError: Where a column is missing or none of its values has the declared type.
    """
    import pandas as pd

    if raw.empty:
        return _nothing(contract)
    schema = deepcopy(contract.to_schema())
    schema.drop_invalid_rows = False
    rows, keys = raw.reset_index(drop=True), _take_keys(schema)
    twice = repeated(rows) if keys else pd.Series(False, index=rows.index)
    first = rows[~twice] if twice.any() else rows
    _check_columns(first, schema)
    gaps = _let_days_lack(first, schema)
    typed, reasons = _typed(first, schema)
    if keys and typed is not first:
        again = repeated(typed)
        twice.loc[again.index[again]] = True
        typed = typed[~again] if again.any() else typed
    reasons += [*gaps, *_not_unique(typed, keys)]
    accepted, more = _validated(typed, schema)
    broken = _joined([*reasons, *more])
    left = broken.index.intersection(accepted.index)
    accepted = accepted.drop(index=left) if len(left) else accepted
    quarantine = _own_reason_aside(rows.loc[broken.index]).assign(reason=broken)
    counts = pd.DataFrame(
        {
            "rows_in": rows.groupby("day").size(),
            "accepted": accepted.groupby("day").size(),
            "quarantined": quarantine.groupby("day").size(),
            "duplicates": rows[twice].groupby("day").size(),
        }
    )
    return Accepted(
        rows=accepted.reset_index(drop=True),
        quarantine=quarantine.reset_index(drop=True),
        counts=counts.fillna(0).astype("int64").rename_axis("day"),
    )


def _own_reason_aside(rows: pd.DataFrame) -> pd.DataFrame:
    own = "reason"
    while own in rows:
        own += "_"
    return rows.rename(columns={"reason": own})


def as_declared(
    rows: pd.DataFrame, contract: type[DataFrameModel], timezone: str = "UTC"
) -> pd.DataFrame:
    """Rows that no contract judges, such as requests, in its types.

    A column in which a value cannot be converted, or which the contract does not declare, stays as
    it came. Times that name a zone become local ones where none is declared, as a source has them.

    Args:
        rows: Raw rows, with all or some of the declared columns.
        contract: pandera model of a row.
        timezone: Time zone of the model's days.
    """
    schema = contract.to_schema()
    changed = {}
    for name, column in _declared(rows, schema):
        wanted, found = getattr(column.dtype, "type", None), rows[name]
        if wanted is None or found.dtype == wanted:
            continue
        coerce = bool(schema.coerce or column.coerce)
        found = _as_local(found, wanted, timezone, coerce=coerce)
        values = _converted(found, wanted, coerce=coerce)
        if values is None or (values.isna() & found.notna()).any():
            continue
        if _holds_missing(wanted) or not found.isna().any():
            changed[name] = values.astype(wanted)
    return rows.assign(**changed) if changed else rows


def over_limit(counts: pd.DataFrame, limit: float) -> pd.DataFrame:
    """The days of ``Accepted.counts`` whose quarantined share of rows is above ``limit``."""
    return counts[counts["quarantined"] > limit * counts["rows_in"]]


def _nothing(contract: type[DataFrameModel]) -> Accepted:
    import pandas as pd

    day = pd.Series(dtype="datetime64[s]", name="day")
    rows = pd.DataFrame(contract.empty())
    rows.insert(0, "day", day)
    names = ("rows_in", "accepted", "quarantined", "duplicates")
    counts = pd.DataFrame(dict.fromkeys(names, pd.Series(dtype="int64")), pd.DatetimeIndex(day))
    return Accepted(rows, rows.assign(reason=pd.Series(dtype="str")), counts.astype("int64"))


def repeated(rows: pd.DataFrame) -> pd.Series[bool]:
    """Which rows equal an earlier one in every column."""
    import pandas as pd

    try:
        return rows.duplicated()
    except TypeError:  # lists and the like cannot be hashed
        mixed = [
            str(name) for name, kind in rows.dtypes.items() if pd.api.types.is_object_dtype(kind)
        ]
        return rows.assign(**{name: rows[name].map(repr) for name in mixed}).duplicated()


def _check_columns(rows: pd.DataFrame, schema: Any) -> None:
    for name, column in schema.columns.items():
        if name == "day" and column.required:
            raise ContractError(
                "found a column 'day' in the contract; expected none, for the name is reserved. "
                "The table's own column day is 'day_', where it is no date: declare that."
            )
        if column.required and not column.regex and name not in rows.columns:
            found = few([other for other in rows.columns if other != "day"], NAMED_COLUMNS)
            raise ContractError(
                f"{rows['day'].min():%Y-%m-%d}: found no column {name!r} among {found}; expected "
                f"it with type {column.dtype}. Deliver the column, or change the contract."
            )


def _let_days_lack(rows: pd.DataFrame, schema: Any) -> list[pd.Series[Any]]:
    """Let a column that need not be there be missing all day; reasons of other missing values.

    Changes the column's rule in ``schema``.
    """
    from pandera.engines.pandas_engine import Engine

    reasons = []
    for name, column in _declared(rows, schema):
        if column.required or column.nullable or column.regex:
            continue
        missing = rows[name].isna()
        lacking = missing.groupby(rows["day"]).transform("all")
        if not lacking.any():
            continue
        column.nullable = True
        wanted = getattr(column.dtype, "type", None)
        if wanted is not None and not _holds_missing(wanted):
            column.dtype = Engine.dtype(_with_gaps(wanted))
        odd = missing & ~lacking
        reasons.append(odd[odd].map({True: f"{name}: is missing"}).astype("str"))
    return reasons


def _with_gaps(wanted: Any) -> str:
    """The type of pandas for these whole numbers or truth values that can miss some."""
    return "boolean" if wanted.kind == "b" else str(wanted).replace("i", "I").replace("u", "U")


def _wrong_type(rows: pd.DataFrame, name: object, found: object, expected: object) -> ContractError:
    return ContractError(
        f"{rows['day'].min():%Y-%m-%d}: found {found} in column {name!r}; expected {expected}. "
        "Deliver the column as the contract says, or change the contract."
    )


def _typed(rows: pd.DataFrame, schema: Any) -> tuple[pd.DataFrame, list[pd.Series[Any]]]:
    """The rows whose values all convert to the declared types, and the reasons of the others."""
    import pandas as pd
    from pandera.engines.pandas_engine import Engine

    converted: dict[str, pd.Series[Any]] = {}
    types: dict[str, Any] = {}
    bad = pd.Series(False, index=rows.index)
    reasons = []
    for name, column in _declared(rows, schema):
        wanted = getattr(column.dtype, "type", None)
        if wanted is None or rows[name].dtype == wanted:
            continue
        found = rows[name]
        coerce = bool(schema.coerce or column.coerce)
        values = _converted(found, wanted, coerce=coerce)
        if values is None:
            if not coerce and not column.dtype.check(Engine.dtype(found.dtype)):
                raise _wrong_type(rows, name, found.dtype, column.dtype)
            continue
        lost = values.isna() & found.notna()
        if lost.any() and values.isna().all():
            raise _wrong_type(rows, name, found.dtype, column.dtype)
        absent = found.isna() & (not _holds_missing(wanted))
        reasons.append(f"{name}: " + _shown(found[lost]) + f" is not {column.dtype}")
        reasons.append(absent[absent].map({True: f"{name}: is missing"}).astype("str"))
        bad |= lost | absent
        converted[name], types[name] = values, wanted
    if not converted:
        return rows, []
    good = rows.assign(**converted)[~bad]
    return good.astype(types), reasons


def _declared(rows: pd.DataFrame, schema: Any) -> Iterator[tuple[str, Any]]:
    """The columns that are there and declared, by their name or by a pattern of names."""
    for name, column in schema.columns.items():
        if column.regex:
            found = [str(each) for each in rows.columns if re.match(name, str(each))]
            yield from ((each, column) for each in found if each != "day")
        elif name in rows.columns:
            yield name, column


def _converted(found: pd.Series[Any], wanted: Any, *, coerce: bool) -> pd.Series[Any] | None:
    """The values in the declared type, missing where they cannot be; None: left to pandera."""
    import pandas as pd

    types = pd.api.types
    if found.isna().all():
        return pd.Series(None, index=found.index, dtype=object)
    if coerce and isinstance(found.dtype, pd.CategoricalDtype):
        found = found.astype(object)
    if types.is_bool_dtype(wanted):
        return _as_flags(found, coerce=coerce)
    if types.is_integer_dtype(wanted) or types.is_float_dtype(wanted):
        return _as_numbers(found, wanted, coerce=coerce)
    if types.is_datetime64_any_dtype(wanted):
        return _as_times(found, wanted, coerce=coerce)
    if types.is_string_dtype(wanted) and not types.is_object_dtype(wanted):
        return _as_texts(found, coerce=coerce)
    return None


def _as_flags(found: pd.Series[Any], *, coerce: bool) -> pd.Series[Any] | None:
    """Truth values; where the contract coerces also 0 and 1 and the words for yes and no."""
    import pandas as pd

    types = pd.api.types
    if types.is_bool_dtype(found):
        return found
    if not coerce and not types.is_object_dtype(found):
        return None

    def flag(value: Any) -> bool | None:
        if types.is_bool(value):
            return bool(value)
        if not coerce:
            return None
        if isinstance(value, str):
            return FLAGS.get(value.strip().lower())
        return bool(value) if types.is_number(value) and value in (0, 1) else None

    return found.map(flag, na_action="ignore").astype("boolean")


def _as_texts(found: pd.Series[Any], *, coerce: bool) -> pd.Series[Any] | None:
    """Texts; where the contract coerces also those of numbers, whole ones without a point.

    So the text of a number is the same, whether or not others of its column have decimals or gaps.
    """
    import pandas as pd

    types = pd.api.types
    if types.is_object_dtype(found) and not coerce:
        return found.where(found.map(lambda value: isinstance(value, str)))
    if not coerce or not (types.is_numeric_dtype(found) or types.is_object_dtype(found)):
        return None
    if types.is_integer_dtype(found):
        return found.astype("str")

    def text(value: Any) -> str:
        number = float(value) if types.is_float(value) else 0.5
        whole = number.is_integer() and abs(number) <= MOST_EXACT
        return str(int(number) if whole else value)

    return found.map(text, na_action="ignore")


def _as_numbers(found: pd.Series[Any], wanted: Any, *, coerce: bool) -> pd.Series[Any] | None:
    """Numbers; where the contract coerces also those written as text. No whole one is rounded."""
    import numpy as np
    import pandas as pd

    types = pd.api.types
    if coerce and types.is_bool_dtype(found):
        found = found.astype("Int64")
    plain = types.is_numeric_dtype(found) and not types.is_bool_dtype(found)
    exact = types.is_object_dtype(found) and _are_numbers(found)
    if not (plain or exact or (coerce and (found.dtype == object or types.is_string_dtype(found)))):
        return None
    if types.is_float_dtype(wanted):
        values = found if plain else pd.to_numeric(found, errors="coerce")
        widest = float(np.finfo(_of_numpy(wanted)).max)
        if widest < np.finfo("float64").max:
            size = values.astype("float64").abs()
            values = values.where((size <= widest) | (size == np.inf))
        return values
    limits = np.iinfo(_of_numpy(wanted))
    values = found if plain else _whole_numbers(found, "UInt64" if limits.min == 0 else "Int64")
    whole = values.between(limits.min, limits.max).fillna(False).astype(bool)
    if types.is_float_dtype(values):
        whole &= (values % 1 == 0) & (values < float(limits.max))
    return values.where(whole) if not whole.all() else values


def _of_numpy(wanted: Any) -> Any:
    return getattr(wanted, "numpy_dtype", wanted)


def _are_numbers(found: pd.Series[Any]) -> bool:
    from numbers import Number

    return all(
        isinstance(value, Number) and not isinstance(value, bool) for value in found.dropna()
    )


def _whole_numbers(found: pd.Series[Any], kind: Any) -> pd.Series[Any]:
    """Texts and exact numbers as whole numbers, long ones digit by digit; missing where none."""
    import numpy as np
    import pandas as pd

    values = pd.to_numeric(found, errors="coerce")
    if pd.api.types.is_integer_dtype(values):
        return values
    values, limits = values.astype("float64"), np.iinfo(kind.lower())
    short = (values % 1 == 0) & values.between(max(limits.min, -MOST_EXACT), MOST_EXACT)
    whole: pd.Series[Any] = values.where(short).astype("Int64").astype(kind)
    long = values.abs() > MOST_EXACT
    exact = [_as_whole(value, limits.min, limits.max) for value in found[long]]
    whole[long] = pd.array(exact, dtype=kind)
    return whole


def _as_whole(value: object, low: int, high: int) -> int | None:
    from decimal import Decimal, InvalidOperation

    try:
        exact = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    whole = exact.is_finite() and abs(exact) < 2 * MOST_EXACT**2 and exact % 1 == 0
    return int(exact) if whole and low <= exact <= high else None


def _as_times(found: pd.Series[Any], wanted: Any, *, coerce: bool) -> pd.Series[Any] | None:
    """Times with or without a zone, as declared; where the contract coerces also as text."""
    import pandas as pd

    types, zone = pd.api.types, getattr(wanted, "tz", None)
    if types.is_datetime64_any_dtype(found):
        same = (getattr(found.dtype, "tz", None) is None) == (zone is None)
        return _in_bounds(found, wanted) if same else None
    if not (coerce and types.is_string_dtype(found.dropna())):
        return None
    zoned = with_offset(found)
    texts = found.where(zoned if zone is not None else ~zoned)
    times = pd.to_datetime(texts, errors="coerce", format="ISO8601", utc=zone is not None)
    return _in_bounds(times if zone is None else times.dt.tz_convert(zone), wanted)


def _as_local(found: pd.Series[Any], wanted: Any, timezone: str, *, coerce: bool) -> pd.Series[Any]:
    """Times that name a zone as local ones, where times without a zone are declared."""
    import pandas as pd

    types = pd.api.types
    if not types.is_datetime64_any_dtype(wanted) or getattr(wanted, "tz", None) is not None:
        return found
    there = found.dropna()
    if coerce and len(there) and types.is_string_dtype(there) and with_offset(there).all():
        times = pd.to_datetime(found, errors="coerce", format="ISO8601", utc=True)
        found = found if (times.isna() & found.notna()).any() else times
    if not isinstance(found.dtype, pd.DatetimeTZDtype):
        return found
    local: pd.Series[Any] = found.dt.tz_convert(timezone).dt.tz_localize(None)
    return local


def _in_bounds(times: pd.Series[Any], wanted: Any) -> pd.Series[Any]:
    """Times, missing where nanoseconds are declared and they are outside their range."""
    import pandas as pd

    if "ns" not in str(wanted):
        return times
    zone = times.dt.tz
    low, high = (pd.Timestamp(edge, tz=zone) for edge in ("1677-09-23", "2262-04-10"))
    return times.where(times.between(low, high))


def _holds_missing(wanted: Any) -> bool:
    import numpy as np

    return not (isinstance(wanted, np.dtype) and wanted.kind in "iub")


def _take_keys(schema: Any) -> list[list[str]]:
    """The columns of which the contract wants each combination once.

    Removes the rule from ``schema``: pandera would apply it to all days together.
    """
    together = [schema.unique] if isinstance(schema.unique, str) else list(schema.unique or [])
    keys = [together] if together else []
    schema.unique = None
    for name, column in schema.columns.items():
        if column.unique:
            keys.append([name])
            column.unique = False
    return keys


def _not_unique(rows: pd.DataFrame, keys: list[list[str]]) -> list[pd.Series[Any]]:
    """Reasons of rows that repeat, within their day, what the contract wants once; all of them."""
    reasons = []
    for key in keys:
        if set(key) <= set(rows.columns):
            shared = rows.duplicated(["day", *key], keep=False)
            text = f"{', '.join(key)}: is not unique within the day"
            reasons.append(shared[shared].map({True: text}).astype("str"))
    return reasons


def _validated(rows: pd.DataFrame, schema: Any) -> tuple[pd.DataFrame, list[pd.Series[Any]]]:
    """The rows that fit, and the reasons of the others."""
    import pandas as pd
    from pandera.errors import SchemaErrors

    reasons = []
    fitting = rows.drop(columns="day")
    try:
        checked = schema.validate(fitting, lazy=True)
    except SchemaErrors as error:
        cases = error.failure_cases
        whole = cases[cases["index"].isna()]
        if len(whole):
            raise _whole_fault(rows, whole.iloc[0]) from error
        reasons.append(_reasons(cases))
        checked = schema.validate(fitting.drop(index=reasons[0].index.unique()), lazy=True)
    own = checked.drop(columns="day", errors="ignore")
    return pd.concat([rows.loc[checked.index, ["day"]], own], axis=1), reasons


def _reasons(cases: pd.DataFrame) -> pd.Series[Any]:
    """One text for each row and rule it breaks."""
    check = cases["check"].astype("str")
    words = check.map({name: _in_words(name) for name in check.unique()})
    column = cases["column"].astype("str")
    text = column + ": " + _shown(cases["failure_case"]) + " " + words
    text = text.where(check != "not_nullable", column + ": is missing")
    text = text.where(cases["schema_context"] != "DataFrameSchema", "row: " + words)
    text.index = cases["index"].astype("int64")
    return text


def _shown(values: pd.Series[Any]) -> pd.Series[str]:
    """Values as a reason shows them: long texts shortened, without unprintable characters."""
    text = values.astype("str")
    begun = text.str.slice(0, LONGEST_VALUE).str.replace(UNSAFE, "?", regex=True)
    begun = begun.str.replace(r"\s", " ", regex=True)
    return begun.where(text.str.len() <= LONGEST_VALUE, begun + "…")


def _in_words(check: str) -> str:
    parts = CHECK.fullmatch(check)
    if parts is None or parts[1] not in WORDS:
        return f"breaks {check}"
    limits = parts[2].removeprefix("[").removesuffix("]")
    if parts[1] == "in_range":
        limits = limits.replace(", ", " to ", 1)
    return WORDS[parts[1]].format(limits)


def _joined(reasons: list[pd.Series[Any]]) -> pd.Series[Any]:
    """One text for each row, by ascending index: all of its reasons."""
    import pandas as pd

    if not any(map(len, reasons)):
        return pd.Series(dtype="str")
    every = pd.concat([part for part in reasons if len(part)])
    cases = pd.DataFrame({"index": every.index, "text": every.to_numpy()}).drop_duplicates()
    joined: dict[int, str] = {}
    for row, text in zip(cases["index"].tolist(), cases["text"].tolist(), strict=True):
        joined[row] = f"{joined[row]}; {text}" if row in joined else text
    return pd.Series(joined, dtype="str").sort_index()


def _whole_fault(rows: pd.DataFrame, case: pd.Series[Any]) -> ContractError:
    if case["check"] == "column_in_schema":
        day = rows["day"].min()
        return ContractError(
            f"{day:%Y-%m-%d}: found a column {case['failure_case']!r} that the contract does not "
            "name. Leave the column out, or add it to the contract."
        )
    return _wrong_type(rows, case["column"], case["failure_case"], case["check"])
