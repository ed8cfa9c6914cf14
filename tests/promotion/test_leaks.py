"""A column that knows its outcome is found; an honest one is not suspected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest

from tasks.features.contract import accept_rows
from tasks.features.scoring import clean_rows, history_of
from tasks.problems import Classification, Multiclass, Recommendation
from tasks.promotion import leaks
from tasks.spec import Gate, ModelSpec, days
from tests.toy import toy

FIRST = date(2026, 3, 1)
MIDDLE = date(2026, 3, 4)


class Visits(pa.DataFrameModel):
    shop: str
    size: float
    seconds: float = pa.Field(nullable=True)
    bought: float = pa.Field(nullable=True)


def visits() -> pd.DataFrame:
    random = np.random.default_rng(3)
    day = np.repeat(pd.date_range(FIRST, periods=7).to_numpy(dtype="datetime64[s]"), 50)
    bought = (random.random(len(day)) < 0.4).astype("float64")
    bought[random.random(len(day)) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "day": day,
            "shop": random.choice(["a", "b"], len(day)),
            "size": random.normal(size=len(day)),
            "seconds": np.where(np.isnan(bought), np.nan, random.normal(60, 5, len(day))),
            "bought": bought,
        }
    )


honest = replace(
    toy,
    contract=Visits,
    problem=Classification("bought"),
    requests=None,
    known_ahead=("shop", "size"),
    features=lambda day, _: day,
)


def same_day_mean(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(usual=rows.groupby("day")["bought"].transform("mean"))


def encoded_on_all_rows(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(usual=rows.groupby("shop")["bought"].transform("mean"))


def only_bought(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["bought"].notna()]


def test_honest_columns_are_rebuilt_the_same() -> None:
    found = leaks.rebuilt_without_outcomes(honest, visits(), MIDDLE)
    assert found.passed, found.detail


@pytest.mark.parametrize("clean", [same_day_mean, encoded_on_all_rows])
def test_a_column_made_of_outcomes_is_found(clean: object) -> None:
    spec = replace(honest, clean=clean, known_ahead=("shop", "size", "usual"))
    found = leaks.rebuilt_without_outcomes(spec, visits(), MIDDLE)
    assert not found.passed
    assert "usual" in found.detail


@pytest.mark.parametrize(("clean", "passed"), [(None, True), (same_day_mean, False)])
def test_a_day_of_one_row_or_of_equal_outcomes_gets_those_of_another_day(
    clean: object, passed: bool
) -> None:
    spec = replace(honest, clean=clean, known_ahead=("shop", "size", "usual")[: 2 + (not passed)])
    one = visits().dropna().drop_duplicates("day").reset_index(drop=True)
    one["bought"] = (one["day"].dt.day % 2).astype("float64")
    for rows in (one, one.loc[[*range(4), 3, 3]].reset_index(drop=True)):  # the last has equal rows
        found = leaks.rebuilt_without_outcomes(spec, rows, MIDDLE)
        assert found.passed is passed, found.detail


def test_the_history_cannot_follow_the_future() -> None:
    """Clean sees one day at a time: what it makes of outcomes is of that day's."""
    spec = replace(honest, clean=encoded_on_all_rows)
    found = leaks.rebuilt_without_outcomes(spec, visits(), MIDDLE)
    assert found.passed, found.detail
    before, now = clean_rows(spec, visits()), clean_rows(spec, later_outcomes_changed())
    past = before["day"] < pd.Timestamp(MIDDLE)
    pd.testing.assert_frame_equal(before[past], now[past])
    assert not before.equals(now)


def later_outcomes_changed() -> pd.DataFrame:
    rows = visits()
    return rows.assign(bought=rows["bought"].where(rows["day"] < pd.Timestamp(MIDDLE), 1.0))


def renumbered(rows: pd.DataFrame) -> pd.DataFrame:
    return only_bought(rows).reset_index(drop=True)


def chosen_and_joined(rows: pd.DataFrame) -> pd.DataFrame:
    towns = pd.DataFrame({"shop": ["a", "b"], "town": ["x", "y"]})
    return only_bought(rows).merge(towns, on="shop")[["day", "town", "shop", "size", "bought"]]


@pytest.mark.parametrize("clean", [only_bought, renumbered, chosen_and_joined])
def test_a_filter_on_an_outcome_is_no_leak_but_a_question(clean: object) -> None:
    """Only rows that arrived, with a new index or not: the same rows are compared."""
    spec = replace(honest, clean=clean)
    found = leaks.rebuilt_without_outcomes(spec, visits(), MIDDLE)
    assert found.passed, found.detail
    rows = visits()
    gone = rows.loc[rows["day"] == pd.Timestamp(MIDDLE), "bought"].isna().sum()
    said = leaks.rows_by_outcome(spec, visits(), MIDDLE)
    assert said is not None
    assert f"{gone} more of them would be kept, and 0 fewer" in said
    assert "If the question is about the kept rows only, this is right" in said
    assert leaks.rows_by_outcome(honest, visits(), MIDDLE) is None


def test_features_that_follow_which_rows_are_kept_are_a_leak() -> None:
    """The number of requests of a day tells how many have no outcome."""
    spec = replace(
        honest,
        clean=renumbered,
        features=lambda day, _: day[["size"]].assign(busy=day["size"].size),
    )
    found = leaks.rebuilt_without_outcomes(spec, visits(), MIDDLE)
    assert not found.passed
    assert "busy in the features of 2026-03-04" in found.detail


def test_rows_that_cannot_be_followed_are_told_apart_by_the_key() -> None:
    def of_shops(rows: pd.DataFrame) -> pd.DataFrame:
        return only_bought(rows).groupby(["day", "shop", "size"], as_index=False)["bought"].sum()

    spec = replace(honest, clean=of_shops)
    found = leaks.rebuilt_without_outcomes(spec, visits(), MIDDLE)
    assert not found.passed
    assert "Name in key of the problem" in found.detail
    keyed = replace(spec, problem=Classification("bought", key=("shop", "size")))
    assert leaks.rebuilt_without_outcomes(keyed, visits(), MIDDLE).passed


def test_of_a_recommendation_the_requests_are_rebuilt() -> None:
    spec = replace(
        honest, problem=Recommendation("size", "shop", "usual"), known_ahead=("size",), clean=None
    )
    assert leaks.rebuilt_without_outcomes(spec, visits(), MIDDLE).passed
    spoilt = replace(spec, clean=encoded_on_all_rows, known_ahead=("size", "usual"))
    assert not leaks.rebuilt_without_outcomes(spoilt, visits(), MIDDLE).passed


def waiting(**changes: object) -> ModelSpec:
    """A model whose labels are final two days after their day."""
    given = {"label_delay": days(2), "lookback": days(5)} | changes
    return replace(honest, **given)  # type: ignore[arg-type]


def doubled(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(twice=rows["bought"] * 2)


def renamed(rows: pd.DataFrame) -> pd.DataFrame:
    """A target made of a raw column of another name, and one more column made of it."""
    return rows.assign(won=(rows["bought"] > 0).astype("int64"), twice=rows["bought"] * 2)


def only_won(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["bought"] > 0]


LATE: dict[str, tuple[dict[str, object], str | None]] = {
    "the target alone": ({}, None),
    "another outcome is known at once": ({"clean": lambda rows: rows.assign(s=1)}, None),
    "made of the target": ({"clean": doubled}, "twice"),
    "made of the target and named": ({"clean": doubled, "late": ("twice",)}, None),
    "a late column that is none of the target's": ({"late": ("seconds",)}, None),
    "made of a late column": (
        {"late": ("seconds",), "clean": lambda rows: rows.assign(minutes=rows["seconds"] / 60)},
        "minutes",
    ),
    "made of what the target is made of": (
        {"clean": renamed, "problem": Classification("won")},
        "bought, twice",
    ),
    "all of it named": (
        {"clean": renamed, "problem": Classification("won"), "late": ("bought", "twice")},
        None,
    ),
    "rows that are kept by their label": ({"clean": only_won}, "which rows"),
    "rows of a recommendation": (
        {"problem": Recommendation("size", "shop", "usual"), "known_ahead": ("size",)},
        None,
    ),
}


def test_before_a_day_after_closed_ones_fewer_labels_are_final() -> None:
    """The newest labels of Sunday's night, before Wednesday, are two days older than it."""
    rows = visits()
    closed = rows["day"].isin(pd.to_datetime(["2026-03-02", "2026-03-03"]))
    spec = waiting(clean=doubled)
    found = leaks.rebuilt_without_outcomes(spec, rows[~closed].reset_index(drop=True), MIDDLE)
    assert "twice in the history of 2026-03-04 follow labels" in found.detail


def timed(**changes: object) -> ModelSpec:
    """A model whose outcome is known when the visitor leaves, up to five hours after midnight."""
    given = {"late": {"bought": "left"}, "night_start": "03:30", "lookback": days(5)} | changes
    clean = given.pop("clean", lambda rows: rows)

    def left(rows: pd.DataFrame) -> pd.DataFrame:
        stays = rows["seconds"].rank().fillna(0.0) / 10  # hours
        return clean(rows).assign(left=rows["day"] + pd.to_timedelta(24 + stays, unit="h"))  # type: ignore[operator]

    return replace(honest, clean=left, **given)  # type: ignore[arg-type]


HOURS: dict[str, tuple[dict[str, object], str | None]] = {
    "named": ({}, None),
    "made of it and not named": ({"clean": doubled}, "twice"),
    "made of it and named": (
        {"clean": doubled, "late": {"bought": "left", "twice": "left"}},
        None,
    ),
    "a mean of the day": ({"clean": same_day_mean}, "usual"),
    "at the end of the day": ({"clean": doubled, "night_start": None}, "twice"),
    "rows that are kept by it": (
        {"clean": lambda rows: rows[rows["bought"] > 0].reset_index(drop=True)},
        "which rows",
    ),
}


@pytest.mark.parametrize("case", [*LATE, *HOURS])
def test_what_follows_a_value_before_it_is_known_is_found(case: str) -> None:
    model, cases, said = waiting, LATE, "labels that are not final on the evening before"
    if case in HOURS:
        model, cases, said = timed, HOURS, "what is known only after"
    changes, named = cases[case]
    found = leaks.rebuilt_without_outcomes(model(**changes), visits(), MIDDLE)
    assert found.passed is (named is None), found.detail
    if named:
        assert named in found.detail
        assert said in found.detail
    if case in LATE:
        at_once = waiting(**changes | {"label_delay": days(0), "late": ()})
        assert leaks.rebuilt_without_outcomes(at_once, visits(), MIDDLE).passed


def test_weather_of_an_hour_that_ends_after_the_night_is_hidden_and_what_follows_it_found() -> None:
    """Days and nights begin at 23:30: the weather of the hour of 23:00 is known at 00:10."""
    hours = pd.date_range("2026-03-02 00:00", periods=24 * 5, freq="h")
    rows = pd.DataFrame(
        {
            "day": (hours - pd.Timedelta(hours=23.5)).floor("D").astype("datetime64[s]"),
            "shop": "a",
            "size": np.arange(len(hours)) / 10,
            "seconds": np.arange(len(hours)) * 1.0,
            "bought": np.arange(len(hours)) % 3 / 2,
        }
    )

    def clean(rows: pd.DataFrame) -> pd.DataFrame:
        hour = rows["day"] + pd.to_timedelta(24 + np.arange(len(rows)), unit="h")
        known = hour + pd.Timedelta(minutes=70)
        return rows.assign(known=known, cold=rows["seconds"] % 5 > 1)

    spec = replace(
        honest,
        source=SimpleNamespace(list_days=len, read_days=len, day_start="23:30"),  # type: ignore[arg-type]
        clean=clean,
        lookback=days(5),
        late={"seconds": "known", "cold": "known"},
        night_start="23:30",
    )
    stamp = pd.Timestamp("2026-03-04")
    seen = history_of(spec, clean_rows(spec, rows), stamp)
    newest = seen[seen["day"] == stamp - days(1)]
    assert newest["seconds"].isna().tolist() == [False] * 23 + [True]
    assert leaks.rebuilt_without_outcomes(spec, rows, stamp.date()).passed
    unsaid = replace(spec, late={"seconds": "known"})
    found = leaks.rebuilt_without_outcomes(unsaid, rows, stamp.date())
    assert "cold of 2026-03-03 follow what is known only after" in found.detail


def test_what_is_missing_with_the_label_gives_itself_away() -> None:
    rows = accept_rows(visits(), Visits).rows
    assert leaks.missing_like_label(honest, rows).passed
    spec = replace(honest, known_ahead=("shop", "size", "seconds"))
    found = leaks.missing_like_label(spec, rows)
    assert not found.passed
    assert "seconds is missing in 100% of the rows without a label and 0%" in found.detail


@pytest.mark.parametrize("wrong", [0.05, 0.4])
def test_a_feature_that_tells_all_is_found_in_either_direction(wrong: float) -> None:
    random = np.random.default_rng(0)
    target = (random.random(500) < 0.3).astype("int8")
    copy = np.where(random.random(500) < wrong, 1 - target, target)
    examples = pd.DataFrame({"day": FIRST, "target": target, "copy": -copy, "noise": 1.0})
    found = leaks.strongest_feature(replace(honest, gate=Gate(feature_auc=0.8)), examples)
    assert found.passed is (wrong > 0.2)
    assert "copy" in found.detail


def test_a_feature_that_a_person_has_named_may_be_strong_and_no_other() -> None:
    target = np.arange(500) % 3 == 0
    examples = pd.DataFrame({"day": FIRST, "target": target.astype("int8"), "noise": 1.0})
    examples = examples.assign(checked=target * 1.0, other=target * 2.0)
    spec = replace(honest, gate=Gate(strong_features=("checked",)))
    found = leaks.strongest_feature(spec, examples)
    assert not found.passed
    assert "other alone has an AUC of 1.00" in found.detail
    assert "strong_features=('other',)" in found.detail
    assert leaks.strongest_feature(spec, examples.drop(columns="other")).passed
    neither = replace(honest, gate=Gate(strong_features=("checked", "other", "noise")))
    assert "no numeric feature" in leaks.strongest_feature(neither, examples).detail
    both = leaks.strongest_feature(honest, examples)
    assert "checked alone has an AUC of 1.00; other alone has an AUC of 1.00" in both.detail
    assert "strong_features=('checked', 'other')" in both.detail


def test_of_many_strong_features_the_strongest_are_named_and_the_others_counted() -> None:
    target = np.arange(500) % 3 == 0
    many = {f"f{n}": target * 1.0 for n in range(15)}
    examples = pd.DataFrame({"day": FIRST, "target": target.astype("int8"), **many})
    found = leaks.strongest_feature(honest, examples)
    assert "f11 alone has an AUC of 1.00 (and 3 more above the bound); the bound" in found.detail


def test_a_feature_that_tells_all_by_being_there_is_found() -> None:
    random = np.random.default_rng(0)
    target = (random.random(500) < 0.3).astype("int8")
    grade = np.where(target == 1, random.integers(1, 6, 500), np.nan)
    examples = pd.DataFrame({"day": FIRST, "target": target, "grade": grade})
    found = leaks.strongest_feature(honest, examples)
    assert not found.passed
    assert "grade alone has an AUC of 1.00" in found.detail


def test_a_holdout_without_both_outcomes_says_nothing() -> None:
    examples = pd.DataFrame({"day": FIRST, "target": [0, 0], "copy": [1.0, 2.0]})
    assert leaks.strongest_feature(honest, examples).passed


def test_the_days_around_the_middle_of_the_holdout_are_rebuilt() -> None:
    listed = {stamp.date(): "x" for stamp in pd.date_range(FIRST, periods=30)}
    found = leaks.rebuild_days(listed, list(listed)[16:])
    assert found == list(listed)[20:27]


def test_of_several_classes_each_is_asked_against_the_rest() -> None:
    random = np.random.default_rng(0)
    target = random.integers(0, 3, 600).astype("int8")
    examples = pd.DataFrame({"day": FIRST, "target": target, "middle": (target == 1) * 1.0})
    spec = replace(honest, problem=Multiclass("bought", ("a", "b", "c")))
    found = leaks.strongest_feature(spec, examples)
    assert not found.passed
    assert "middle alone has an AUC of 1.00" in found.detail


def test_a_handful_of_positives_is_too_few_to_suspect_a_feature() -> None:
    target = np.zeros(500, dtype="int8")
    target[:5] = 1
    examples = pd.DataFrame({"day": FIRST, "target": target, "luck": target * 1.0})
    found = leaks.strongest_feature(honest, examples)
    assert found.passed
    assert "Fewer than 20 rows" in found.detail


@pytest.mark.parametrize("has_code", [range(3), [3], [0, 6]])
@pytest.mark.parametrize("delay", [0, 2])
def test_each_day_is_cleaned_with_its_own_columns(has_code: Sequence[int], delay: int) -> None:
    """Not with those of the days that are read with it, in which it has nothing."""
    there = visits()["day"].isin(pd.to_datetime([FIRST + days(number) for number in has_code]))

    def clean(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(**{n: rows[n].astype("int64") for n in ("code", "note") if n in rows})

    class Optionally(Visits):
        code: int | None

    rows = visits().assign(
        code=pd.Series(7, index=there.index, dtype="Int64").where(there),
        note=pd.Series(7, index=there.index, dtype="Int64").where(there),
    )
    absent = {pd.Timestamp(day): ["note"] for day in rows.loc[~there, "day"].unique()}
    spec = replace(honest, contract=Optionally, clean=clean, label_delay=days(delay))
    assert leaks.rebuilt_without_outcomes(spec, rows, MIDDLE, absent).passed
    assert leaks.rows_by_outcome(spec, rows, MIDDLE, absent) is None
