"""A vote of candidates: its members are fitted once, as the candidates that they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tasks.problems.input_form import FormedEstimator, in_form
from tasks.spec.tuned import Tuned

if TYPE_CHECKING:
    import pandas as pd

    from tasks.spec.model_spec import ModelSpec


VOTES = ("sklearn.ensemble._voting.VotingClassifier", "sklearn.ensemble._voting.VotingRegressor")


def members_of(spec: ModelSpec, candidate: str) -> tuple[str, ...]:
    """The candidates that a candidate is a vote of; none where it is no vote of candidates alone.

    Only scikit-learn's own votes count, and only members that are the same objects as candidates:
    then each would be fitted twice with the same parameters, on the same rows.
    """
    vote: Any = spec.candidates[candidate]
    kind = type(vote)
    if f"{kind.__module__}.{kind.__name__}" not in VOTES or vote.n_jobs not in (None, 1):
        return ()
    names = {id(one): name for name, one in spec.candidates.items() if not isinstance(one, Tuned)}
    found = [names.get(id(member)) for _, member in vote.estimators]
    return tuple(name for name in found if name) if all(found) else ()


def fit_vote(
    vote: Any, members: Sequence[FormedEstimator], inputs: pd.DataFrame, target: Any
) -> FormedEstimator | None:
    """The vote as its ``fit`` would give it, of members that are fitted on the same rows.

    None where a classifier would show its members another target than they were fitted on: it
    numbers the classes.

    Args:
        vote: A clone of the candidate.
        members: Its members in order, fitted.
        inputs: Inputs of the training examples.
        target: Their target.
    """
    import numpy as np
    from sklearn.base import is_classifier

    if is_classifier(vote):
        classes = np.unique(target)
        if classes.dtype.kind not in "iu" or (classes != np.arange(len(classes))).any():
            return None
    fitted = [member.estimator for member in members]
    asked = vote.estimators
    vote.estimators = [(name, _Fitted(one)) for (name, _), one in zip(asked, fitted, strict=True)]
    form = members[0].form_
    vote.fit(in_form(form, inputs), target)
    vote.estimators, vote.estimators_ = asked, fitted
    vote.named_estimators_.update(zip((name for name, _ in asked), fitted, strict=True))
    if hasattr(fitted[0], "feature_names_in_"):
        vote.feature_names_in_ = fitted[0].feature_names_in_
    return FormedEstimator(vote).of(form, vote)


class _Fitted:
    """Stands in a vote for a member, while the vote is fitted."""

    def __init__(self, fitted: Any) -> None:
        self.fitted = fitted

    def fit(self, *_: Any, **__: Any) -> _Fitted:
        return self

    def __sklearn_clone__(self) -> _Fitted:
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import get_tags

        return get_tags(self.fitted)
