"""Signs that a feature knows what it could not have known before its day began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.features.contract import accept_rows
from tasks.metrics.separation import separation
from tasks.promotion.checks import Check

if TYPE_CHECKING:
    import pandas as pd

    from tasks.spec.model_spec import ModelSpec


AROUND = 3
"""Days before and after the tested day that are cleaned with it."""
FEWEST = 5
"""Rows without a label below which nothing is said of what is missing."""
ANSWERS = 20
"""Rows of either outcome below which a feature separates them by chance."""
MISSING = 0.5
"""Difference in missing rates between rows with and without a label that gives a column away."""


def rebuild_days(days: Mapping[date, str], held_out: Sequence[date]) -> list[date]:
    """The days whose raw rows the rebuild needs: around the middle of the holdout."""
    tested = held_out[len(held_out) // 2]
    return [day for day in days if abs((day - tested).days) <= AROUND]


def outcomes(spec: ModelSpec, raw: pd.DataFrame) -> list[str]:
    """Raw columns that are not known before their day begins: all but ``known_ahead``."""
    return [name for name in raw.columns if name != "day" and name not in spec.known_ahead]


def rebuilt_without_outcomes(spec: ModelSpec, raw: pd.DataFrame, tested: date) -> Check:
    """Clean the same days twice, once with every outcome from one day on replaced.

    All rows from that day on get the outcomes of one row of theirs. What is asked on that day, and
    the history before it, must come out the same: then no feature can depend on them, as a feature
    is a function of these two alone.

    Args:
        spec: The model.
        raw: Raw rows of days around the tested one.
        tested: The first day whose outcomes are replaced.
    """
    import pandas as pd

    name = "no outcome in the features"
    accepted = accept_rows(raw, spec.contract).rows
    hidden = outcomes(spec, accepted)
    after = (accepted["day"] >= pd.Timestamp(tested)).to_numpy()
    if not hidden or not after.any():
        return Check(name, True, "Nothing is learned only later.")
    whole = accepted.loc[after, hidden].dropna()
    donor = (whole if len(whole) else accepted.loc[after, hidden]).iloc[[0]]
    replaced = accepted.copy()
    for column in hidden:
        values = replaced[column].copy()
        values[after] = donor[column].iloc[0]
        replaced[column] = values.astype(accepted[column].dtype)
    clean = spec.clean or (lambda rows: rows)
    before, now = clean(accepted), clean(replaced)
    changed = _changed_history(before, now, tested) or _changed_requests(spec, before, now, tested)
    if changed:
        return Check(name, False, changed)
    words = f"With all outcomes from {tested} on replaced, that day's inputs are the same."
    return Check(name, True, words)


def missing_like_label(spec: ModelSpec, rows: pd.DataFrame) -> Check:
    """No column known ahead is missing just where the label is missing.

    Args:
        spec: The model.
        rows: Clean rows of the holdout, labelled or not.
    """
    name, target = "nothing missing with the label", spec.problem.target_column
    if target is None or target not in rows:
        return Check(name, True, "Every request has a label.")
    unlabelled = rows[target].isna().to_numpy()
    if unlabelled.sum() < FEWEST or (~unlabelled).sum() < FEWEST:
        return Check(name, True, f"{int(unlabelled.sum())} rows without a label: too few to tell.")
    gone = {c: rows[c].isna().to_numpy() for c in spec.known_ahead if c in rows}
    gaps = {c: float(m[unlabelled].mean() - m[~unlabelled].mean()) for c, m in gone.items()}
    worst = max(gaps, key=lambda column: abs(gaps[column]), default=None)
    if worst is not None and abs(gaps[worst]) > MISSING:
        shares = (float(gone[worst][side].mean()) for side in (unlabelled, ~unlabelled))
        return Check(
            name,
            False,
            "Leak sign: {} is missing in {:.0%} of the rows without a label and {:.0%} of the "
            "others: it is known only afterwards.".format(worst, *shares),
        )
    return Check(name, True, "No column is missing where the label is.")


def strongest_feature(spec: ModelSpec, examples: pd.DataFrame) -> Check:
    """No single feature tells the outcome nearly by itself.

    Measured by the area under the ROC curve of the feature alone, for each question of yes or no
    that the labels answer (``Problem.outcomes``) and that both answers have rows enough for.

    Args:
        spec: The model.
        examples: Examples of the holdout.
    """
    every = [truth for truth in spec.problem.outcomes(examples) if 0 < truth.sum() < len(truth)]
    truths = [truth for truth in every if min(truth.sum(), (~truth).sum()) >= ANSWERS]
    inputs = spec.problem.inputs(examples).select_dtypes(["number", "bool"])
    name, bound = "no feature too good", spec.gate.feature_auc
    if not truths or not len(inputs.columns):
        few = f"Fewer than {ANSWERS} rows of one outcome: too few to tell."
        return Check(name, True, few if every else "No number to look at.")
    found = {
        str(name): max(separation(truth, values) for truth in truths)
        for name in inputs
        for values in [inputs[name].to_numpy(dtype=np.float64, na_value=np.nan)]
    }
    best = max(found, key=lambda feature: found[feature])
    if found[best] > bound:
        return Check(
            name,
            False,
            f"Leak sign: {best} alone has an AUC of {found[best]:.2f}, bound {bound:g}. Is it "
            "known before the day begins? If it is, raise gate.feature_auc in the spec.",
        )
    return Check(name, True, f"The strongest, {best}, has an AUC of {found[best]:.2f} alone.")


def _changed_history(before: pd.DataFrame, now: pd.DataFrame, tested: date) -> str | None:
    import pandas as pd

    stamp = pd.Timestamp(tested)
    old, new = (rows[rows["day"] < stamp].reset_index(drop=True) for rows in (before, now))
    if len(old) != len(new):
        return f"Leak sign: other rows of the days before {tested} are kept when it changes."
    return _named(old, new, list(old.columns), f"the history before {tested}")


def _changed_requests(
    spec: ModelSpec, before: pd.DataFrame, now: pd.DataFrame, tested: date
) -> str | None:
    """Compared where both cleanings keep a row: which rows are kept may follow the outcomes."""
    import pandas as pd

    user, stamp = spec.problem.user_column, pd.Timestamp(tested)
    keys = [name for name in spec.known_ahead if name in before]
    old, new = (rows.loc[rows["day"] == stamp, keys] for rows in (before, now))
    if user is not None:
        old, new = (rows.drop_duplicates(user).set_index(user) for rows in (old, new))
    both = old.index.intersection(new.index)
    return _named(old.loc[both], new.loc[both], list(old.columns), f"what is asked on {tested}")


def _named(old: pd.DataFrame, new: pd.DataFrame, columns: list[Any], where: str) -> str | None:
    changed = [str(name) for name in columns if not old[name].equals(new[name])]
    if not changed:
        return None
    return f"Leak sign: {', '.join(changed)} in {where} follow outcomes of that day or later."
