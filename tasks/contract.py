"""Accept or quarantine rows: rows in = accepted + quarantined + duplicates, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from pandera.pandas import DataFrameModel

NAMED_CHECKS = {"not_nullable": "is missing", "field_uniqueness": "is not unique"}


class ContractError(ValueError):
    """Whole days do not fit the contract: a column is missing or has another type."""


@dataclass(frozen=True)
class Accepted:
    """What became of raw rows.

    Attributes:
        rows: Rows that fit the contract, with ``day``, in their order.
        quarantine: Rows that do not, with ``day`` and ``reason``.
        counts: Indexed by ``day``: ``rows_in``, ``accepted``, ``quarantined``, ``duplicates``.
    """

    rows: pd.DataFrame
    quarantine: pd.DataFrame
    counts: pd.DataFrame


def accept_rows(raw: pd.DataFrame, contract: type[DataFrameModel]) -> Accepted:
    """Sort the rows of one or many days into accepted, quarantined and duplicate.

    A row equal to an earlier one of its day in every column is a duplicate. A row that breaks the
    contract is quarantined with every reason.

    Args:
        raw: Raw rows with the reserved column ``day``.
        contract: pandera model of a row.

    Raises:
        ContractError: Where a column is missing or none of its values has the declared type.
    """
    import pandas as pd

    rows = raw.reset_index(drop=True)
    twice = rows.duplicated()
    unique = rows[~twice].reset_index(drop=True)
    accepted, reasons = _validate(unique, contract)
    broken = unique.loc[reasons.index].assign(reason=reasons)
    counts = pd.DataFrame(
        {
            "rows_in": rows.groupby("day").size(),
            "accepted": accepted.groupby("day").size(),
            "quarantined": broken.groupby("day").size(),
            "duplicates": rows[twice].groupby("day").size(),
        }
    )
    return Accepted(
        rows=accepted.reset_index(drop=True),
        quarantine=broken.reset_index(drop=True),
        counts=counts.fillna(0).astype("int64").rename_axis("day"),
    )


def over_limit(counts: pd.DataFrame, limit: float) -> pd.DataFrame:
    """The days of ``Accepted.counts`` whose quarantined share of rows is above ``limit``."""
    return counts[counts["quarantined"] > limit * counts["rows_in"]]


def _validate(
    rows: pd.DataFrame, contract: type[DataFrameModel]
) -> tuple[pd.DataFrame, pd.Series[Any]]:
    """The rows that fit, as the contract types them, and the reasons of the others."""
    import pandas as pd
    from pandera.errors import SchemaErrors

    try:
        return contract.validate(rows, lazy=True), pd.Series(dtype="str")
    except SchemaErrors as error:
        cases = error.failure_cases
    whole = cases[cases["index"].isna()]
    if len(whole):
        raise ContractError(_whole_fault(rows, whole.iloc[0]))
    reasons = _reasons(cases)
    fitting = rows.drop(index=reasons.index)
    if len(rows) and fitting.empty:
        raise ContractError(f"Not one of {len(rows):,} rows fits the contract: {reasons.iloc[0]}.")
    return contract.validate(fitting, lazy=True), reasons


def _reasons(cases: pd.DataFrame) -> pd.Series[Any]:
    column = cases["column"].astype("str")
    check = cases["check"].astype("str")
    words = check.replace(NAMED_CHECKS)
    value = cases["failure_case"].astype("str")
    missing = check == "not_nullable"
    text = (column + ": " + words).where(missing, column + ": " + value + " breaks " + words)
    whole_rows = cases["schema_context"] == "DataFrameSchema"
    text = text.where(~whole_rows, words)
    unique = cases.assign(text=text).drop_duplicates(["index", "text"])
    return unique.groupby(unique["index"].astype("int64"))["text"].agg("; ".join)


def _whole_fault(rows: pd.DataFrame, case: pd.Series[Any]) -> str:
    first, last = rows["day"].min(), rows["day"].max()
    when = f"{first:%Y-%m-%d}" if first == last else f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    if case["check"] == "column_in_dataframe":
        return (
            f"Column {case['failure_case']!r} is missing in the data of {when}; found "
            f"{', '.join(map(str, rows.columns.drop('day')))}. Deliver it, or change the contract."
        )
    return (
        f"Column {case['column']!r} in the data of {when}: found {case['failure_case']}, expected "
        f"{case['check']}. Deliver it as the contract says, or change the contract."
    )
