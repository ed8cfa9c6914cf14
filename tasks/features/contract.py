"""Accept or quarantine rows: rows in = accepted + quarantined + duplicates, exactly."""

from __future__ import annotations

import re
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tasks.errors import NightlyError

if TYPE_CHECKING:
    import pandas as pd
    from pandera.pandas import DataFrameModel


SHOWN = 60
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


class ContractError(NightlyError, ValueError):
    """Whole days do not fit the contract: a column is missing or has another type."""


@dataclass(frozen=True)
class Accepted:
    """What became of raw rows.

    Attributes:
        rows: Rows that fit the contract, as it types them, with ``day``, in their order.
        quarantine: Rows that do not, as they came, with ``day`` and the text ``reason``.
        counts: Indexed by ``day``: ``rows_in``, ``accepted``, ``quarantined``, ``duplicates``.
    """

    rows: pd.DataFrame
    quarantine: pd.DataFrame
    counts: pd.DataFrame


def accept_rows(raw: pd.DataFrame, contract: type[DataFrameModel]) -> Accepted:
    """Sort the rows of one or many days into accepted, quarantined and duplicate.

    A row equal to an earlier one of its day in every column is a duplicate. A row that breaks the
    contract is quarantined with every reason. Numbers and times are converted to the declared type
    where nothing is lost, text only where the contract coerces; a value that cannot be converted
    quarantines its row. ``unique`` holds within a day; a check of a whole column sees all days.

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
    rows = raw.reset_index(drop=True)
    twice = _repeated(rows)
    first = rows[~twice] if twice.any() else rows
    _check_columns(first, schema)
    typed, reasons = _typed(first, schema)
    if typed is not first:
        again = _repeated(typed)
        twice.loc[again.index[again]] = True
        typed = typed[~again] if again.any() else typed
    reasons += _not_unique(typed, schema)
    accepted, more = _validated(typed, schema)
    broken = _joined([*reasons, *more])
    left = broken.index.intersection(accepted.index)
    accepted = accepted.drop(index=left) if len(left) else accepted
    quarantine = rows.loc[broken.index].assign(reason=broken)
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


def _repeated(rows: pd.DataFrame) -> pd.Series[bool]:
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
        if column.required and not column.regex and name not in rows.columns:
            found = ", ".join(str(other) for other in rows.columns if other != "day")
            raise ContractError(
                f"{rows['day'].min():%Y-%m-%d}: found no column {name!r}, only {found}; expected "
                f"it as {column.dtype}. Deliver it, or change the contract."
            )


def _wrong_type(rows: pd.DataFrame, name: object, found: object, expected: object) -> ContractError:
    return ContractError(
        f"{rows['day'].min():%Y-%m-%d}: found {found} in column {name!r}; expected {expected}. "
        "Deliver it as the contract says, or change the contract."
    )


def _typed(rows: pd.DataFrame, schema: Any) -> tuple[pd.DataFrame, list[pd.Series[Any]]]:
    """The rows whose values all convert to the declared types, and the reasons of the others."""
    import pandas as pd
    from pandera.engines.pandas_engine import Engine

    converted: dict[str, pd.Series[Any]] = {}
    bad = pd.Series(False, index=rows.index)
    reasons = []
    for name, column in schema.columns.items():
        wanted = getattr(column.dtype, "type", None)
        if name not in rows.columns or wanted is None or rows[name].dtype == wanted:
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
        converted[name] = values
    if not converted:
        return rows, []
    good = rows.assign(**converted)[~bad]
    types = {name: schema.columns[name].dtype.type for name in converted}
    return good.astype(types), reasons


def _converted(found: pd.Series[Any], wanted: Any, *, coerce: bool) -> pd.Series[Any] | None:
    """The values as numbers or times, missing where they cannot be; None: left to pandera."""
    import numpy as np
    import pandas as pd

    types = pd.api.types
    if types.is_object_dtype(found):
        for right, kind in ((types.is_bool_dtype, bool), (types.is_string_dtype, str)):
            if right(wanted) and not (coerce and kind is str):
                return found.where(found.map(lambda value, kind=kind: isinstance(value, kind)))
    if types.is_integer_dtype(wanted) or types.is_float_dtype(wanted):
        plain = types.is_numeric_dtype(found) and not types.is_bool_dtype(found)
        text = found.dtype == object or types.is_string_dtype(found)
        if not (plain or (coerce and text)):
            return None
        values = found if plain else pd.to_numeric(found, errors="coerce")
        if types.is_float_dtype(wanted):
            return values
        limits = np.iinfo(getattr(wanted, "numpy_dtype", wanted))
        whole = values.between(limits.min, limits.max)
        if types.is_float_dtype(values):
            whole &= (values % 1 == 0) & (values < float(limits.max))
        return values.where(whole) if not whole.all() else values
    if types.is_datetime64_any_dtype(wanted):
        zoned = getattr(wanted, "tz", None) is not None
        if types.is_datetime64_any_dtype(found):
            same = (getattr(found.dtype, "tz", None) is not None) == zoned
            return _in_bounds(found) if same else None
        if coerce and not zoned and types.is_string_dtype(found):
            return _in_bounds(pd.to_datetime(found, errors="coerce", format="ISO8601"))
    return None


def _in_bounds(times: pd.Series[Any]) -> pd.Series[Any]:
    """Times missing where nanoseconds cannot hold them."""
    import pandas as pd

    zone = times.dt.tz
    low, high = (pd.Timestamp(edge, tz=zone) for edge in ("1677-09-23", "2262-04-10"))
    return times.where(times.between(low, high))


def _holds_missing(wanted: Any) -> bool:
    import numpy as np

    return not (isinstance(wanted, np.dtype) and wanted.kind in "iub")


def _not_unique(rows: pd.DataFrame, schema: Any) -> list[pd.Series[Any]]:
    """Reasons of rows that repeat, within their day, what the contract wants once; all of them.

    Takes the rule out of ``schema``: pandera would hold it over all days at once.
    """
    together = [schema.unique] if isinstance(schema.unique, str) else list(schema.unique or [])
    keys = [together] if together else []
    schema.unique = None
    for name, column in schema.columns.items():
        if column.unique:
            keys.append([name])
            column.unique = False
    reasons = []
    for key in keys:
        if set(key) <= set(rows.columns):
            repeated = rows.duplicated(["day", *key], keep=False)
            text = f"{', '.join(key)}: is not unique within the day"
            reasons.append(repeated[repeated].map({True: text}).astype("str"))
    return reasons


def _validated(rows: pd.DataFrame, schema: Any) -> tuple[pd.DataFrame, list[pd.Series[Any]]]:
    """The rows that fit, and the reasons of the others."""
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
    day = rows.loc[checked.index, "day"]
    checked = checked.drop(columns="day", errors="ignore")
    checked.insert(0, "day", day)
    return checked, reasons


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
    """Values as a reason shows them: long texts by their beginning, without what no page shows."""
    text = values.astype("str")
    begun = text.str.slice(0, SHOWN).str.replace(r"[\x00-\x1f]", "?", regex=True)
    return begun.where(text.str.len() <= SHOWN, begun + "…")


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
            "name. Leave it out, or add it to the contract."
        )
    return _wrong_type(rows, case["column"], case["failure_case"], case["check"])
