"""The rows of a check: read, held against the contract, cleaned, searched for leaks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from tasks.errors import SpecError
from tasks.features import cleaning
from tasks.features.contract import ContractError, accept_rows, repeated
from tasks.features.examples import label_nights, labelled
from tasks.features.partitions import as_text
from tasks.features.scoring import clean_rows, comes_after, late_columns, night_after
from tasks.preflight.days import MOST_ROWS, Sample, choose_days
from tasks.preflight.result import Part
from tasks.promotion import leaks
from tasks.shown import counted, few
from tasks.sources.base import ColumnsError, SourceError, SourceSettingsError
from tasks.spec.fleet import PartitionSpec
from tasks.spec.model_code import told

if TYPE_CHECKING:
    import pandas as pd

    from tasks.features.contract import Accepted
    from tasks.spec.model_spec import ModelSpec


MOST_VALUES = 15_000_000
"""Most values read, unless single days are larger."""
MANY_EQUAL = 0.01
"""Share of rows equal to an earlier one from which a person is told."""


def read_sample(
    spec: ModelSpec, listed: Sequence[date], as_of: date
) -> tuple[tuple[Sample, pd.DataFrame] | None, Part]:

    try:
        newest = spec.source.read_days(listed[-1:])
        most = min(MOST_ROWS, MOST_VALUES // len(newest.columns))
        sample = choose_days(spec, listed, as_of, len(newest), most)
        if sample is None:
            return None, Part(
                "Rows",
                faults=(
                    "Fewer than two days have final labels, but a check needs one for training and "
                    "one for the holdout. Add history.",
                ),
            )
        rows = spec.source.read_days(list(sample.read))
    except SourceSettingsError as error:
        return None, Part("Rows", faults=(str(error),))
    except ColumnsError as error:
        return None, Part("Rows", rejected=(str(error),))
    except SourceError as error:
        return None, Part("Rows", held=(str(error),))
    except Exception as error:
        return None, Part("Rows", faults=(told(spec, "The source", error),))
    if rows.empty:
        return None, Part("Rows", held=(f"The days from {sample.read[0]} on have no rows.",))
    some = rows.groupby("day", sort=False).head(most).reset_index(drop=True)
    cut = f"Of {len(rows):,} rows only the first {most:,} of each day were checked."
    return (sample, some), Part(notes=(cut,) if len(some) < len(rows) else ())


def look_at_rows(spec: ModelSpec, rows: pd.DataFrame) -> tuple[Accepted | None, Part]:

    try:
        found = accept_rows(rows, spec.contract)
    except ContractError as error:
        return None, Part("Rows", rejected=(str(error),))
    except Exception as error:
        return None, Part("Rows", faults=(told(spec, "The contract", error),))
    totals = {str(name): int(found.counts[name].sum()) for name in found.counts}
    lines = [
        f"{len(found.counts)} days read: {totals['rows_in']:,} rows in = {totals['accepted']:,} "
        f"accepted + {totals['quarantined']:,} quarantined + {totals['duplicates']:,} duplicates"
    ]
    why = found.quarantine["reason"].value_counts().head(3)
    lines += [f"quarantined: {count:,} x {reason}" for reason, count in why.items()]
    over = cleaning.refusals(spec, found)
    held = (
        ()
        if len(found.rows) or over
        else ("The contract leaves no row of these days. Correct the contract or the data.",)
    )
    part = Part(
        "Rows",
        tuple(lines),
        rejected=tuple(over.values()),
        held=held,
        notes=_equal_rows(found.rows),
    )
    return (found if len(found.rows) else None), part


def _equal_rows(rows: pd.DataFrame) -> tuple[str, ...]:
    """That many rows are there more than once, for a person to say whether they should be."""
    twice = int(repeated(rows).sum())
    if twice <= MANY_EQUAL * len(rows):
        return ()
    return (
        f"{twice:,} of {len(rows):,} rows equal an earlier row of their day in every column. All "
        "of them stay. Where each should be there once, name its key in the contract's Config, "
        'such as unique = ["order", "line"]: equal rows are then counted as duplicates.',
    )


def clean_sample(spec: ModelSpec, accepted: Accepted) -> tuple[pd.DataFrame | None, Part]:
    try:
        rows = clean_rows(spec, accepted.rows, cleaning.absent_columns(spec, accepted.rows))
        cleaning.check_named_columns(spec, accepted.rows, [rows])
    except SpecError as error:
        return None, Part("Clean", faults=(str(error),))
    except Exception as error:
        return None, Part("Clean", faults=(told(spec, "clean", error),))
    lines, notes = known_later(spec, rows)
    notes = (*_other_days(spec, accepted, rows), *notes, *never_used(spec, rows))
    return rows, Part("Clean" if lines else "", lines, notes=notes)


def known_later(spec: ModelSpec, rows: pd.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the newest day's night does not know yet, and times after it that ``late`` has not.

    Args:
        spec: The model.
        rows: Clean rows ascending by ``day``.

    Returns:
        Lines of moments that ``late`` has, and notes on other columns of times.
    """
    if rows.empty:
        return (), ()
    newest = rows["day"].iloc[-1]
    today, night = rows[rows["day"] == newest], night_after(spec, newest)
    lines, notes = [], []
    for name in today.select_dtypes(["datetime", "datetimetz"]).columns.drop("day"):
        after = int(comes_after(spec, today[name], night).sum())
        said = (
            f"{name}: {after:,} of {len(today):,} rows of {newest:%Y-%m-%d} are after {night:%H:%M}"
        )
        if names := [other for other in late_columns(spec).get(name, ()) if other != name]:
            lines.append(f"{said}, when the night runs; missing until then: {few(names)}")
        elif after and name not in spec.known_ahead:
            notes.append(
                f"{said}, when their night runs at the earliest. If other columns are known only "
                f"then, say so with late={{'other_column': '{name}'}}."
            )
    return tuple(lines), tuple(notes)


def never_used(spec: ModelSpec, rows: pd.DataFrame) -> tuple[str, ...]:
    """That labels come so late that no night uses them, where ``late`` has their moment.

    Args:
        spec: The model.
        rows: Clean rows ascending by ``day``.
    """
    import pandas as pd

    listed = [stamp.date() for stamp in rows["day"].drop_duplicates()]
    nights = {day: last for day, (_, last) in label_nights(spec, listed, listed).items()}
    over = {day: last for day, last in nights.items() if last <= listed[-1]}
    own = rows[rows["day"].isin(pd.to_datetime([*over]))]
    if own.empty:
        return ()
    labels = int(own[str(spec.problem.target_column)].notna().sum())
    lost = labels - int(labelled(spec, own, over).sum())
    if not lost:
        return ()
    return (
        f"late: found {lost:,} of {labels:,} labels of {listed[0]} to {max(over)} whose moment is "
        "after the second night that may use them, and which are never used. Expected "
        f"a longer label_delay than {counted(spec.label_delay.days, 'day')}: what comes late may "
        "differ from the rest.",
    )


def _other_days(spec: ModelSpec, accepted: Accepted, alone: pd.DataFrame) -> tuple[str, ...]:
    """That ``clean`` uses other days where it gets several, which no night gives it."""
    if spec.clean is None:
        return ()
    try:
        whole = spec.clean(accepted.rows).sort_values("day", kind="stable").reset_index(drop=True)
    except Exception as error:
        said = told(spec, "clean, given several days at once,", error)
        return (f"{said}. Nights give it one day at a time, which it takes.",)
    if whole.astype(object).equals(alone.astype(object)):
        return ()
    return (
        "clean makes other rows of several days at once than of each day alone. It gets one day at "
        "a time, so that a day is the same whatever is read with it: compute what needs other days "
        "in features, from history.",
    )


def look_at_partitions(spec: ModelSpec, clean: pd.DataFrame, days: int) -> Part:
    """How many partitions the sample has, and which would be judged alone; or of one of them."""
    title = "Partitions"
    try:
        counts = as_text(clean[str(spec.partition)]).value_counts()
    except (KeyError, SpecError) as error:
        return Part(title, faults=(told(spec, "partition", error),))
    units = counts / days * spec.holdout.days
    few_rows = units < spec.gate.min_units
    rule = f"fewer than {spec.gate.min_units:,} rows in {spec.holdout.days} days of holdout"
    if not isinstance(spec, PartitionSpec):
        line = f"{len(counts):,} in the days read; about {int(few_rows.sum()):,} have {rule}"
        return Part(title, (f"{line}: the common model serves those",))
    if spec.value not in counts.index:
        some = few(counts.index)
        return Part(
            title, faults=(f"No row of {spec.value!r} in the days read; there are {some}.",)
        )
    found = f"{spec.value}: {counts[spec.value] / days:,.1f} rows a day"
    alone = f"{rule}: the common model serves it" if few_rows[spec.value] else "judged alone"
    return Part(title, (f"{found}, {alone}; the candidates were tried on the rows of all",))


def look_for_leaks(spec: ModelSpec, raw: pd.DataFrame, sample: Sample, clean: pd.DataFrame) -> Part:

    around = leaks.rebuild_days(dict.fromkeys(sample.read, ""), sample.holdout)
    tested = sample.holdout[len(sample.holdout) // 2]
    try:
        some = raw[raw["day"].isin(_stamps(around))].reset_index(drop=True)
        absent = cleaning.absent_columns(spec, some)
        checks = [
            leaks.rebuilt_without_outcomes(spec, some, tested, absent),
            leaks.missing_like_label(spec, clean),
        ]
        asked = leaks.rows_by_outcome(spec, some, tested, absent)
    except Exception as error:
        return Part("Leaks", faults=(told(spec, "clean", error),))
    signs = [check.detail for check in checks if not check.passed]
    return Part("Leaks", notes=(*signs, *([asked] if asked else ())))


def _stamps(days: Sequence[date]) -> Any:
    import pandas as pd

    return pd.to_datetime(list(days))
