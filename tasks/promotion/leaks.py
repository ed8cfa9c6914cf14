"""Leak checks: features that use what was not known before their day began."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.errors import to_message
from tasks.features.contract import accept_rows
from tasks.features.scoring import (
    NONE,
    clean_day,
    clean_rows,
    comes_after,
    days_before,
    follow_rows,
    hide_after,
    history_of,
    late_columns,
    make_features,
    night_after,
    on_the_wall,
)
from tasks.metrics.separation import best_separations
from tasks.promotion.checks import Check
from tasks.shown import counted, few

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from tasks.features.cleaning import Absent
    from tasks.spec.model_spec import ModelSpec


log = logging.getLogger("nightly")
AROUND = 3
"""Days before and after the tested day that are cleaned with it."""
FEWEST = 5
"""Fewest rows without a label for the check of missing values."""
ANSWERS = 20
"""Fewest rows of each outcome for the check of single features."""
COMPARED = 1_000
"""Most rows of a day that are looked at to see whether all have the same outcomes."""
HOURS = (0.25, 0.5, 0.75)
"""Shares of a day's moments at which it is looked at, besides the night's own hour."""
MISSING = 0.5
"""Difference in missing rates between rows with and without a label that shows a leak."""


def rebuild_days(days: Mapping[date, str], held_out: Sequence[date]) -> list[date]:
    """The days whose raw rows the rebuild needs: around the middle of the holdout."""
    tested = held_out[len(held_out) // 2]
    return [day for day in days if abs((day - tested).days) <= AROUND]


def outcomes(spec: ModelSpec, raw: pd.DataFrame) -> list[str]:
    """Raw columns that are not known before their day begins: all but ``known_ahead``."""
    return [name for name in raw.columns if name != "day" and name not in spec.known_ahead]


def rebuilt_without_outcomes(
    spec: ModelSpec, raw: pd.DataFrame, tested: date, absent: Absent = NONE
) -> Check:
    """Clean the same days again, with outcomes replaced that nobody knew on the evening before one.

    All rows from that day on get the outcomes of one of these rows. The requests of that day must
    not change, and, where the outcomes decide which rows of it are kept, neither must the features
    of those that are kept both times. The history before cannot change, because ``clean`` sees one
    day at a time. Then no feature depends on the outcomes: features are a function of these two.
    Where labels are final later, the history as features get it must not change either when what is
    late is replaced on the days that are not final yet. Where ``late`` has moments, it must not
    change when what is known after an hour is replaced on the day before, hour by hour.

    Args:
        spec: The model.
        raw: Raw rows of days around the tested one.
        tested: The first day whose outcomes are replaced.
        absent: From ``features.cleaning.absent_columns``.
    """
    name = "no outcome in the features"
    accepted = accept_rows(raw, spec.contract).rows
    hidden = outcomes(spec, accepted)
    if not hidden or not _since(accepted, tested).any():
        return Check(name, True, "Every column is known ahead.")
    before = clean_rows(spec, accepted, absent)
    changed = (
        _changed_requests(spec, accepted, before, tested, absent)
        or _followed_labels(spec, accepted, before, tested, absent)
        or _followed_hours(spec, accepted, tested, absent)
    )
    if changed:
        return Check(name, False, changed)
    words = f"With all outcomes from {tested} on replaced, that day's inputs do not change."
    return Check(name, True, words)


def rows_by_outcome(
    spec: ModelSpec, raw: pd.DataFrame, tested: date, absent: Absent = NONE
) -> str | None:
    """That the outcomes of a day decide which of its rows ``clean`` keeps, in words, if they do.

    That is no leak as long as features do not change. But the app asks before there is an outcome.

    Args:
        spec: The model.
        raw: Raw rows, those of the day among them.
        tested: The day.
        absent: From ``features.cleaning.absent_columns``.
    """
    accepted = accept_rows(raw, spec.contract).rows
    found = _both_ways(spec, accepted, tested, absent)
    if found is None or spec.problem.user_column is not None:
        return None
    old, new = found
    more, fewer = len(new.index.difference(old.index)), len(old.index.difference(new.index))
    if not more and not fewer:
        return None
    return (
        f"Which rows of {tested} clean keeps depends on their outcome: with another outcome "
        f"{more:,} more of them would be kept, and {fewer:,} fewer. The app asks before there is "
        "an outcome, so it asks for rows that no holdout has. If the question is about the kept "
        "rows only, this is right; otherwise keep them all, with a missing label."
    )


def missing_like_label(spec: ModelSpec, rows: pd.DataFrame) -> Check:
    """Check that no column known ahead is missing exactly where the label is missing.

    Args:
        spec: The model.
        rows: Clean rows of the holdout, labelled or not.
    """
    name, target = "nothing missing with the label", spec.problem.target_column
    if target is None or target not in rows:
        return Check(name, True, "Every request has a label.")
    unlabelled = rows[target].isna().to_numpy()
    if unlabelled.sum() < FEWEST or (~unlabelled).sum() < FEWEST:
        return Check(
            name,
            True,
            f"{int(unlabelled.sum())} rows without a label, which are too few for this check.",
        )
    gone = {c: rows[c].isna().to_numpy() for c in spec.known_ahead if c in rows}
    gaps = {c: float(m[unlabelled].mean() - m[~unlabelled].mean()) for c, m in gone.items()}
    worst = max(gaps, key=lambda column: abs(gaps[column]), default=None)
    if worst is not None and abs(gaps[worst]) > MISSING:
        shares = (float(gone[worst][side].mean()) for side in (unlabelled, ~unlabelled))
        return Check(
            name,
            False,
            "Leak sign: {} is missing in {:.0%} of the rows without a label and {:.0%} of the "
            "others. It seems to be known only afterwards: remove it from known_ahead.".format(
                worst, *shares
            ),
            for_person=True,
        )
    return Check(name, True, "No column is missing where the label is missing.")


NAMED = 12
"""Most features that one message names."""


def strongest_feature(spec: ModelSpec, examples: pd.DataFrame) -> Check:
    """Check that no single feature nearly predicts the outcome alone.

    Measured by the area under the ROC curve of the feature alone, for each yes/no outcome
    (``Problem.outcomes``) with enough rows of both; ``gate.strong_features`` are passed over.

    Args:
        spec: The model.
        examples: Examples of the holdout.
    """
    both = [truth for truth in spec.problem.outcomes(examples) if 0 < truth.sum() < len(truth)]
    truths = [truth for truth in both if min(truth.sum(), (~truth).sum()) >= ANSWERS]
    inputs = spec.problem.inputs(examples).select_dtypes(["number", "bool"])
    inputs = inputs.drop(columns=list(spec.gate.strong_features), errors="ignore")
    name, bound = "no feature too good", spec.gate.feature_auc
    if not len(inputs.columns) or not both:
        named = " that the gate does not name" * bool(spec.gate.strong_features)
        return Check(name, True, f"There is no numeric feature to ask{named}.")
    if not truths:
        said = f"Fewer than {ANSWERS} rows of one outcome, which are too few for this check."
        return Check(name, True, said)
    found = best_separations(np.column_stack(truths), inputs)
    ranked = sorted(found, key=lambda feature: -found[feature])
    beyond = [feature for feature in ranked if found[feature] > bound]
    strong = beyond[:NAMED]
    if not strong:
        best = ranked[0]
        told = f"The strongest feature, {best}, has an AUC of {found[best]:.2f} alone."
        return Check(name, True, told)
    alone = "; ".join(f"{feature} alone has an AUC of {found[feature]:.2f}" for feature in strong)
    left = len(beyond) - len(strong)
    alone += f" (and {left:,} more above the bound)" * bool(left)
    return Check(
        name,
        False,
        f"Leak sign: {alone}; the bound is {bound:g}. If known before the day begins, name it in "
        f"the gate, strong_features={tuple(strong)!r}; otherwise remove it.",
        for_person=True,
    )


def _since(rows: pd.DataFrame, day: date) -> npt.NDArray[np.bool_]:
    import pandas as pd

    return (rows["day"] >= pd.Timestamp(day)).to_numpy()


def _rows_of(accepted: pd.DataFrame, day: pd.Timestamp, absent: Absent) -> pd.DataFrame:
    """The rows of one day, with its own columns."""
    own = accepted[accepted["day"] == day].reset_index(drop=True)
    return own.drop(columns=absent.get(day, []))


def _replaced(accepted: pd.DataFrame, columns: list[str], since: date) -> pd.DataFrame:
    """The rows, with these columns of all days from one on as in one row."""
    after = _since(accepted, since)
    donor = _donor(accepted[columns], accepted["day"], after)
    replaced = accepted.copy()
    for column in columns:
        values = replaced[column].copy()
        values[after] = donor[column].iloc[0]
        replaced[column] = values.astype(accepted[column].dtype)
    return replaced


def _donor(
    outcomes: pd.DataFrame, days: pd.Series[Any], after: npt.NDArray[np.bool_]
) -> pd.DataFrame:
    """The first whole row of the later days; where all of its day are like it, the most unlike one.

    So a day of one row gets the outcomes of another day.
    """
    whole = outcomes[after].dropna()
    first = (whole if len(whole) else outcomes[after]).iloc[[0]]
    texts = first.astype("str").iloc[0]
    own = outcomes[(days == days[first.index[0]]).to_numpy()]
    if own.head(COMPARED).astype("str").ne(texts).to_numpy().any():
        return first
    unlike = outcomes.astype("str").ne(texts).sum(axis=1).to_numpy()
    return outcomes.iloc[[int(unlike.argmax())]]


def _followed_labels(
    spec: ModelSpec, accepted: pd.DataFrame, before: pd.DataFrame, tested: date, absent: Absent
) -> str | None:
    """What in the history of a day follows labels that are not final on the evening before it."""
    import pandas as pd

    if not spec.label_delay:
        return None
    stamp = pd.Timestamp(tested)
    past = days_before(spec, before, stamp)
    if past.empty:
        return None
    since = (past["day"].iloc[-1] - spec.label_delay).date() + timedelta(days=1)
    late = _replaced(accepted, _late_columns(spec, accepted, before, since, absent), since)
    now = clean_rows(spec, late, absent)
    old, new = (history_of(spec, rows, stamp) for rows in (before, now))
    follow = "follow labels that are not final on the evening before"
    if len(old) != len(new):
        return f"Leak sign: which rows the history of {tested} has would {follow}."
    if changed := _changed(old, new, list(old.columns)):
        return (
            f"Leak sign: {changed} in the history of {tested} {follow}. Name in late what is final "
            f"only with them, {counted(spec.label_delay.days, 'day')} after its day."
        )
    return None


def _followed_hours(
    spec: ModelSpec, accepted: pd.DataFrame, tested: date, absent: Absent
) -> str | None:
    """What in the history of a day follows values of the day before that are known only later.

    The day before is looked at as of several hours: the raw values behind what has come since are
    replaced, and what ``features`` would have seen at that hour must not change.
    """
    import pandas as pd

    earlier = days_before(spec, accepted, pd.Timestamp(tested))["day"]
    timed = {moment: names for moment, names in late_columns(spec).items() if moment is not None}
    if not timed or earlier.empty:
        return None
    today = _rows_of(accepted, earlier.iloc[-1], absent)
    old = clean_day(spec, today)
    places = follow_rows(spec, today, old)
    if places is None or old.empty:
        return None
    night, followers = night_after(spec, earlier.iloc[-1]), _followers(spec, today, old)
    for moment, names in timed.items():
        when = on_the_wall(spec, old[moment])
        made = {*names} - {moment}
        made_of = [
            name
            for name, columns in followers.items()
            if name in made or (made & {*columns} and name not in spec.late)
        ]
        for hour in dict.fromkeys([*when.quantile(HOURS, interpolation="lower"), night]):
            late = places[comes_after(spec, old[moment], hour)]
            if not len(late) or not made_of:
                continue
            new = clean_day(spec, _with_others(today, made_of, late))
            where = f"what is known only after {hour:%H:%M}"
            if len(new) != len(old):
                return f"Leak sign: which rows {earlier.iloc[-1]:%Y-%m-%d} has follows {where}."
            moments = old[list(timed)]
            before, now = (hide_after(spec, rows.assign(**moments), hour) for rows in (old, new))
            if changed := _changed(before, now, list(old.columns)):
                return (
                    f"Leak sign: {changed} of {earlier.iloc[-1]:%Y-%m-%d} follow {where} "
                    f"({moment}). Name them in late with {moment!r}."
                )
    return None


def _followers(spec: ModelSpec, today: pd.DataFrame, old: pd.DataFrame) -> dict[str, list[str]]:
    """Raw outcomes of a day to the clean columns that are made of each."""
    every = np.arange(len(today))
    made = {
        name: clean_day(spec, _with_others(today, [name], every)) for name in outcomes(spec, today)
    }
    return {
        name: [str(column) for column in old if not new[column].equals(old[column])]
        for name, new in made.items()
    }


def _with_others(
    rows: pd.DataFrame, columns: list[str], places: npt.NDArray[np.intp]
) -> pd.DataFrame:
    """The rows, of which some have another value of the same day in each of these columns."""
    import pandas as pd

    other = {}
    for name in columns:
        codes, values = pd.factorize(rows[name])
        column = rows[name].copy()
        if len(values):
            turned = (codes[places] + max(len(values) // 2, 1)) % len(values)
            column.iloc[places] = values.take(turned)
        other[name] = column
    return rows.assign(**other)


def _late_columns(
    spec: ModelSpec, accepted: pd.DataFrame, before: pd.DataFrame, since: date, absent: Absent
) -> list[str]:
    """Raw columns that are final with the label: the target and what ``late`` names.

    Where the raw rows have none of them, those that the target is made of.
    """
    labels = (*spec.problem.label_columns, *late_columns(spec)[None])
    named = [name for name in outcomes(spec, accepted) if name in labels]
    if named:
        return named
    made = [name for name in spec.problem.label_columns if name in before]
    return [
        name
        for name in outcomes(spec, accepted)
        if not clean_rows(spec, _replaced(accepted, [name], since), absent)[made].equals(
            before[made]
        )
    ]


def _both_ways(
    spec: ModelSpec, accepted: pd.DataFrame, tested: date, absent: Absent
) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Clean rows of a day with its outcomes and with others, indexed by what is the same in both.

    That is the user, the raw row or, where ``clean`` makes new rows, the key of the problem. None
    where there is no such thing.
    """
    import pandas as pd

    user = spec.problem.user_column
    stamp = pd.Timestamp(tested)
    today = _rows_of(accepted, stamp, absent)
    if today.empty:
        return today, today
    other = _replaced(accepted, outcomes(spec, accepted), tested)
    raw = (today, _rows_of(other, stamp, absent))
    made = [clean_day(spec, rows) for rows in raw]
    if user is not None:
        old, new = (rows.drop_duplicates(user).set_index(user, drop=False) for rows in made)
        return old, new
    places = [follow_rows(spec, *each) for each in zip(raw, made, strict=True)]
    if all(place is not None for place in places):
        old, new = (rows.set_axis(place) for rows, place in zip(made, places, strict=True))
        return old, new
    key = [name for name in spec.problem.answer_keys if name in made[0]]
    if key and not any(rows.duplicated(key).any() for rows in made):
        old, new = (rows.set_index(key, drop=False) for rows in made)
        return old, new
    return None if len(made[0]) != len(made[1]) else (made[0], made[1])


def _changed_requests(
    spec: ModelSpec, accepted: pd.DataFrame, before: pd.DataFrame, tested: date, absent: Absent
) -> str | None:
    """Compared on rows that both cleanings keep: which rows are kept may depend on the outcomes."""
    import pandas as pd

    found = _both_ways(spec, accepted, tested, absent)
    if found is None:
        return (
            f"How many rows clean makes of {tested} depends on its outcomes, and clean makes new "
            "rows of the raw ones, so it cannot be seen whether their inputs do too. Name in key "
            "of the problem what tells the rows of a day apart."
        )
    old, new = found
    both = old.index.intersection(new.index)
    keys = [name for name in spec.known_ahead if name in old]
    changed = _named(old.loc[both, keys], new.loc[both, keys], keys, f"the requests of {tested}")
    if changed or spec.problem.user_column is not None or len(both) == len(old) == len(new):
        return changed
    past = history_of(spec, before, pd.Timestamp(tested))
    first, second = (_features_of(spec, rows, past) for rows in (old, new))
    if first is None or second is None or set(first) != set(second):
        return None
    columns = list(first)
    where = f"the features of {tested}, which follow the rows that clean keeps,"
    return _named(first.loc[both], second.loc[both], columns, where)


def _features_of(spec: ModelSpec, rows: pd.DataFrame, past: pd.DataFrame) -> pd.DataFrame | None:
    """Features under the same index as the rows; None where they cannot be made of these few."""
    try:
        requests = spec.problem.requests(rows.reset_index(drop=True), spec.known_ahead)
        made: pd.DataFrame = make_features(spec, requests, past)
        return made.set_axis(rows.index[made.index])
    except Exception as error:  # the night says so itself where it needs them
        log.info("leaks     no features of the rows that clean keeps: %s", to_message(error))
        return None


def _named(old: pd.DataFrame, new: pd.DataFrame, columns: list[Any], where: str) -> str | None:
    changed = _changed(old, new, columns)
    if not changed:
        return None
    return (
        f"Leak sign: {changed} in {where} depend on outcomes of that day or later. "
        "Compute them from earlier days only."
    )


def _changed(old: pd.DataFrame, new: pd.DataFrame, columns: list[Any]) -> str:
    return few((name for name in columns if not old[name].equals(new[name])), NAMED)
