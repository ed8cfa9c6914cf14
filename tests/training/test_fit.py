"""A fit is repeatable, known by its very inputs, and says what is wrong with a candidate."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tasks.features.examples import build_examples
from tasks.spec.fingerprint import digest
from tasks.store import frames
from tasks.store.models import read_model
from tasks.store.trusted_types import TRUSTED_TYPES
from tasks.training import fit as fitting
from tasks.training import stored_fits, votes
from tests.nights import nth_day
from tests.samples import in_part
from tests.toy import toy, write_day

COMMON: dict[str, Callable[[], Any]] = {
    "forest": lambda: RandomForestClassifier(5, random_state=0),
    "extra_trees": lambda: ExtraTreesClassifier(5, random_state=0),
    "gradient": lambda: GradientBoostingClassifier(n_estimators=5, random_state=0),
    "histogram": lambda: HistGradientBoostingClassifier(max_iter=5, random_state=0),
    "neighbours": lambda: KNeighborsClassifier(),
    "network": lambda: MLPClassifier((4,), max_iter=2000, random_state=0),
    "scaled": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "calibrated": lambda: CalibratedClassifierCV(LogisticRegression(), cv=2),
    "voting": lambda: VotingClassifier([("a", LogisticRegression())], voting="soft"),
    "stacking": lambda: StackingClassifier([("a", LogisticRegression())], cv=2),
}


@pytest.fixture
def refs(tmp_path: Path) -> list[frames.Ref]:
    """Examples of four days."""
    made = {}
    for number in range(1, 5):
        write_day(tmp_path, nth_day(number), rows=60)
        rows = pd.read_parquet(tmp_path / f"{nth_day(number)}.parquet")
        rows.insert(0, "day", pd.Timestamp(nth_day(number)))
        made[f"day{number}"] = build_examples(toy, rows, rows.head(0))
    return list(frames.write_days("examples", made).values())


@pytest.mark.parametrize("name", in_part(COMMON, "histogram", "scaled", "stacking"))
def test_a_common_estimator_is_stored_and_read_without_pickle(
    name: str, refs: list[frames.Ref]
) -> None:
    spec = dataclasses.replace(toy, candidates={name: COMMON[name]()})
    made = stored_fits.fit_twin(spec, name, refs[:3], refs[3:])
    holdout = frames.read_days(refs[3:])
    loaded = read_model("models", made.key, fitting.trusted_types(spec))
    scores = fitting.score(spec, name, loaded, holdout)
    kept = fitting.read_scores(fitting.scores_key(made.key, refs[3:]))
    assert np.array_equal(scores, kept)
    assert made.rows == 180


def test_the_same_fit_again_is_taken_from_the_store(refs: list[frames.Ref]) -> None:
    made = stored_fits.fit_twin(toy, "tree", refs[:3], refs[3:])
    key = fitting.scores_key(made.key, refs[3:])
    before = fitting.read_scores(key)
    again = stored_fits.fit_twin(toy, "tree", refs[:3], refs[3:])
    assert (again.key, again.rows, again.seconds) == (made.key, made.rows, 0.0)
    assert np.array_equal(before, fitting.read_scores(key))


SCALED = make_pipeline(StandardScaler(), LogisticRegression())
BOOSTED = HistGradientBoostingClassifier(max_iter=5, random_state=0)
VOTES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "of both": (VotingClassifier([("s", SCALED), ("b", BOOSTED)], voting="soft"), ("scaled", "b")),
    "weighed": (
        VotingClassifier([("b", BOOSTED), ("s", SCALED)], voting="soft", weights=[3, 1]),
        ("b", "scaled"),
    ),
    "of another": (
        VotingClassifier([("s", SCALED), ("b", clone(BOOSTED))], voting="soft"),
        (),
    ),
    "without one": (VotingClassifier([("s", SCALED), ("b", "drop")], voting="soft"), ()),
}


@pytest.mark.parametrize("name", VOTES)
def test_a_vote_of_candidates_is_what_its_own_fit_gives(
    name: str, refs: list[frames.Ref], monkeypatch: pytest.MonkeyPatch
) -> None:
    vote, members = VOTES[name]
    spec = dataclasses.replace(toy, candidates={"vote": vote, "scaled": SCALED, "b": BOOSTED})
    expected = fitting.fit(spec, "vote", frames.read_days(refs[:3]))
    fitted: list[str] = []

    def noted(spec: Any, candidate: str, *others: Any) -> Any:
        fitted.append(candidate)
        return fitting.fit(spec, candidate, *others)

    monkeypatch.setattr(stored_fits, "fit", noted)
    _, made = stored_fits.fit_and_keep(spec, "vote", refs[:3])
    holdout = spec.problem.inputs(frames.read_days(refs[3:]))
    assert np.array_equal(made.predict_proba(holdout), expected.predict_proba(holdout))
    assert np.array_equal(made.predict(holdout), expected.predict(holdout))
    assert vars(made.estimator).keys() == vars(expected.estimator).keys()
    assert made.form_ == expected.form_
    assert list(made.estimator.named_estimators_) == list(expected.estimator.named_estimators_)
    stored_fits.fit_and_keep(spec, "scaled", refs[:3])
    assert fitted == ([*members] if members else ["vote", "scaled"])


def test_the_classes_of_a_vote_are_numbered_as_its_members_know_them() -> None:
    inputs = pd.DataFrame({"size": np.arange(20.0)})
    for target in (np.repeat(["a", "b"], 10), np.repeat([1, 2], 10), np.repeat([0.0, 1.0], 10)):
        member = fitting.FormedEstimator(LogisticRegression()).fit(inputs, target)
        vote = VotingClassifier([("a", LogisticRegression())], voting="soft")
        assert votes.fit_vote(vote, [member], inputs, target) is None
    amounts = np.arange(20.0)
    fitted = [fitting.FormedEstimator(Ridge(a)).fit(inputs, amounts) for a in (1.0, 9.0)]
    mean = VotingRegressor([("a", Ridge(1.0)), ("b", Ridge(9.0))])
    made = votes.fit_vote(clone(mean), fitted, inputs, amounts)
    assert made is not None
    assert np.array_equal(made.predict(inputs), mean.fit(inputs, amounts).predict(inputs))


def test_what_shipped_on_the_same_days_is_the_twin(refs: list[frames.Ref]) -> None:
    shipped, _ = stored_fits.fit_and_keep(toy, "tree", refs[:3])
    twin = stored_fits.fit_twin(toy, "tree", refs[:3], refs[3:])
    assert twin.key == shipped.key
    assert twin.seconds == 0.0


def test_the_same_day_packed_otherwise_has_the_same_key(refs: list[frames.Ref]) -> None:
    days = {ref.batch: frames.read_days([ref]) for ref in refs}
    whole = frames.write_days("examples", {str(n): d for n, d in days.items()}, by_content=True)
    alone = [
        frames.write_days("examples", {"a": day}, by_content=True)["a"] for day in days.values()
    ]
    assert {ref.sha256 for ref in alone}.isdisjoint(ref.sha256 for ref in whole.values())
    keys = {fitting.model_key(toy, "tree", each) for each in (list(whole.values()), alone)}
    assert len(keys) == 1
    assert fitting.model_key(toy, "tree", alone[::-1]) not in keys


def test_days_that_an_earlier_release_has_stored_keep_their_keys(refs: list[frames.Ref]) -> None:
    places = [f"{ref.sha256}:{ref.batch}" for ref in refs]
    before = hashlib.sha256("\n".join([digest(toy), "tree", *places]).encode()).hexdigest()
    assert fitting.model_key(toy, "tree", refs) == before


def test_keys_follow_recipe_and_rows(refs: list[frames.Ref]) -> None:
    models = [
        fitting.model_key(toy, "tree", refs[:3]),
        fitting.model_key(toy, "logistic", refs[:3]),
        fitting.model_key(toy, "tree", refs[1:3]),
    ]
    judged = [fitting.scores_key(models[0], refs[3:]), fitting.scores_key(models[0], refs[2:])]
    assert len({*models, *judged}) == 5


class Raises(LogisticRegression):
    def fit(self, X: Any, y: Any) -> Raises:
        raise ValueError("no such luck")


class Holes(LogisticRegression):
    def predict_proba(self, X: Any) -> Any:
        return super().predict_proba(X) * np.nan


class Foreign(BaseEstimator):
    """Holds what no list trusts."""

    def fit(self, X: Any, y: Any) -> Foreign:
        self.classes_ = np.array([0, 1])
        self.place_ = Path("x")
        return self

    def predict(self, X: Any) -> Any:
        return np.zeros(len(X))

    def predict_proba(self, X: Any) -> Any:
        return np.full((len(X), 2), 0.5)


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (Raises(), "Candidate 'c' of model toy: fit on 180 rows raised ValueError: no such luck"),
        (Holes(), "c of model toy: 60 of 60 scores are not finite; expected finite numbers"),
        (Foreign(), "Candidate 'c' of model toy: The model holds types that are not trusted"),
    ],
)
def test_a_candidate_that_fails_says_which_and_why(
    estimator: Any, message: str, refs: list[frames.Ref], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = dataclasses.replace(toy, candidates={"c": estimator})
    own = {f"{__name__}.{name}" for name in ("Raises", "Holes")}
    own.add("tasks.problems.input_form.FormedEstimator")
    monkeypatch.setattr(fitting, "trusted_types", lambda _: [*TRUSTED_TYPES, *own])
    with pytest.raises(fitting.FitError) as found:
        stored_fits.fit_twin(spec, "c", refs[:3], refs[3:])
    assert message in str(found.value)


def test_an_input_that_is_missing_in_all_training_rows_is_named_where_a_fit_fails(
    refs: list[frames.Ref],
) -> None:
    examples = frames.read_days(refs[:3]).assign(usual=np.nan)
    with pytest.raises(fitting.FitError, match="missing in all training rows: usual"):
        fitting.fit(
            dataclasses.replace(toy, candidates={"c": HistGradientBoostingClassifier(max_iter=2)}),
            "c",
            examples,
        )


def test_a_candidate_takes_one_thread_unless_it_names_a_number() -> None:
    several = fitting.on_one_thread(
        VotingClassifier([("a", LGBMClassifier()), ("b", RandomForestClassifier(n_jobs=2))])
    )
    found = {name: n for name, n in several.get_params().items() if name.endswith("n_jobs")}
    assert found == {"n_jobs": None, "a__n_jobs": 1, "b__n_jobs": 2}
    assert fitting.on_one_thread(LGBMClassifier()).get_params()["n_jobs"] == 1
    assert fitting.on_one_thread(HistGradientBoostingClassifier()).get_params()["max_bins"] == 255


def test_the_estimator_of_the_spec_stays_unfitted(refs: list[frames.Ref]) -> None:
    stored_fits.fit_twin(toy, "logistic", refs[:3], refs[3:])
    assert not hasattr(toy.candidates["logistic"], "coef_")


def test_classes_of_the_models_own_file_are_trusted() -> None:
    from tasks.spec.loading import load_spec

    trusted = fitting.trusted_types(load_spec("groceries"))
    assert "tasks.recommend.Column" in trusted or any(t.startswith("tasks.") for t in trusted)
    assert not any(t.startswith("tasks.") for t in TRUSTED_TYPES)
