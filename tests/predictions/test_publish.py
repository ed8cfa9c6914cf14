"""The app sees one whole night at any instant, and nothing that must not reach it."""

from __future__ import annotations

import grp
import json
import os
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sql

from tasks.predictions import publish, sql_table
from tasks.predictions.publish import fault_of
from tasks.predictions.sql_table import PublishError, replace_table
from tasks.store import files

KEY = "a key that only the machines have"
KEYS = ("user", "place")


def answers(rows: int = 40, version: str = "1") -> pd.DataFrame:
    """Answers to ten users, and to anyone."""
    frame = pd.DataFrame(
        {
            "user": pd.array([*np.repeat(np.arange(rows // 4), 4)], dtype="Int64"),
            "place": np.tile(np.arange(1, 5), rows // 4).astype(np.int32),
            "item": np.arange(rows),
            "score": np.linspace(0.9, 0.1, rows, dtype=np.float32),
            "kind": "discovery",
        }
    )
    frame.loc[frame["user"] == 0, ["user", "kind"]] = [pd.NA, "popular"]
    made = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
    return publish.stamped(frame, date(2026, 11, 22), version, made)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'app.db'}"
    return str(request.getfixturevalue("postgres"))


def read(url: str, table: str = "groceries_predictions") -> pd.DataFrame:
    engine = sql.create_engine(url)
    try:
        return pd.read_sql_query(f"SELECT * FROM {table} ORDER BY item", engine)
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"score": np.nan}, "40 of 40 are not finite"),
        ({"score": 0.5}, "all 40 are the same, 0.5"),
        ({"place": 1}, r"30 rows have the same user, place as another"),
    ],
)
def test_what_must_not_reach_the_app_is_told(changes: dict[str, object], fault: str | None) -> None:
    found = fault_of(answers().assign(**changes), KEYS, "score", 50, 0.5)
    assert found == fault


def test_a_model_file_that_moved_with_the_state_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "old" / "models" / "shop.py"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setenv("NIGHTLY_SEAL_KEY", KEY)
    monkeypatch.setenv("NIGHTLY_HOME", str(tmp_path / "old" / "home"))
    publish.keep("shop", date(2026, 11, 22), answers(), None, None)
    record = {"model": f"{file}@berlin", "version": "1"}
    publish.publish("shop", date(2026, 11, 22), KEYS, None, record)
    (tmp_path / "old").rename(tmp_path / "new")
    monkeypatch.setenv("NIGHTLY_HOME", str(tmp_path / "new" / "home"))
    found = publish.last_published("shop")
    assert found is not None
    assert found["model"] == f"{tmp_path / 'new' / 'models' / 'shop.py'}@berlin"


def test_none_and_too_few_are_told() -> None:
    assert fault_of(answers().head(0), KEYS, "score", None, 0.5) == "there are no predictions"
    found = fault_of(answers(), KEYS, "score", 81, 0.5)
    assert found == "40 rows, but 81 the last time; expected at least 50% of that (least_answers)"
    assert fault_of(answers(), KEYS, "score", 80, 0.5) is None


def test_predictions_that_are_all_the_same_may_be_those_of_few_rows_or_of_the_baseline() -> None:
    same = answers().assign(score=0.5)
    assert fault_of(same.head(9), KEYS, "score", None, 0.5) is None
    assert fault_of(same, KEYS, "score", None, 0.5) == "all 40 are the same, 0.5"
    assert fault_of(same, KEYS, "score", None, 0.5, naive=True) is None


def test_a_table_is_made_and_replaced_with_every_value(url: str) -> None:
    for version in ("1", "2"):
        replace_table(url, "groceries_predictions", answers(version=version), KEYS)
    found = read(url)
    assert set(found["version"]) == {"2"}
    assert found["item"].tolist() == list(range(40))
    assert found["score"].to_numpy() == pytest.approx(answers()["score"].to_numpy(), abs=0)
    assert found["user"].isna().sum() == 4
    assert {str(day)[:10] for day in found["as_of"]} == {"2026-11-21"}
    engine = sql.create_engine(url)
    (unique,) = sql.inspect(engine).get_unique_constraints("groceries_predictions")
    engine.dispose()
    assert unique["column_names"] == ["user", "place"]


def test_a_table_admits_the_first_gap_of_a_column(url: str) -> None:
    def seats(*numbers: float | None) -> pd.DataFrame:
        return pd.DataFrame({"item": [1, 2], "seat": numbers, "score": [0.1, 0.2]})

    replace_table(url, "seats", seats(3, 4), ("item", "seat"))
    engine = sql.create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE INDEX own ON seats (score)")
    replace_table(url, "seats", seats(5, None), ("item", "seat"))
    assert read(url, "seats")["seat"].isna().tolist() == [False, True]
    found = [index["name"] for index in sql.inspect(engine).get_indexes("seats")]
    assert "own" in found
    replace_table(url, "seats", seats(6, 7), ("item", "seat"))
    assert read(url, "seats")["seat"].tolist() == [6, 7]
    engine.dispose()


def test_a_gap_that_cannot_be_written_leaves_the_old_rows(url: str) -> None:
    replace_table(url, "kept", answers(), KEYS)
    twice = answers().assign(item=pd.array([None, *range(39)], dtype="Int64"), place=1)
    with pytest.raises(PublishError, match="unchanged"):
        replace_table(url, "kept", twice, KEYS)
    assert read(url, "kept")["item"].tolist() == list(range(40))


def test_text_numbers_and_times_come_back_as_they_were(url: str) -> None:
    rows = pd.DataFrame(
        {
            "item": np.arange(5),
            "name": ["", 'a, "b"', "two\nlines", None, "N\\A"],
            "score": np.array([0.1, np.nan, 1e-300, 1 / 3, -2.5]),
            "small": np.array([0.1, np.nan, 1e-30, 1 / 3, -2.5], dtype=np.float32),
            "at": pd.to_datetime(
                ["2026-11-22 08:00:00.5", None, *["2026-01-01"] * 3], format="ISO8601"
            ),
            "count": pd.array([1, None, 3, 4, 2**40], dtype="Int64"),
            'Good "one"': [True, False] * 2 + [True],
        }
    )
    replace_table(url, "odd", rows, ("item",))
    found = read(url, "odd")
    assert [*found] == [*rows]
    for name in ("score", "small", "count"):
        np.testing.assert_array_equal(found[name].astype(float), rows[name].astype(float))
    assert found["name"].fillna("-").tolist() == rows["name"].fillna("-").tolist()
    assert pd.to_datetime(found["at"]).equals(rows["at"].astype(pd.to_datetime(found["at"]).dtype))
    assert found.iloc[:, -1].astype(bool).tolist() == [True, False, True, False, True]


def test_no_text_is_taken_for_a_gap_or_an_escape(url: str) -> None:
    names = [
        "\\N",
        "\\",
        "\\.",
        "\\t",
        "a\\nb",
        "a\tb",
        "a\nb",
        "a\rb",
        "\r",
        "a\r\n",
        "",
        " ",
        "NULL",
    ]
    names += ['"', '""', ",", "'", "nan", "None", "\u2028", "é"]
    rows = pd.DataFrame({"item": range(len(names) + 1), "name": [*names, None]})
    replace_table(url, "texts", rows, ("item",))
    found = read(url, "texts")["name"]
    assert found.isna().tolist() == [False] * len(names) + [True]
    assert found.tolist()[:-1] == names


def test_a_table_with_other_columns_is_left_alone(url: str) -> None:
    replace_table(url, "other_columns", answers().drop(columns="kind"), KEYS)
    with pytest.raises(PublishError, match=r"Table other_columns at .* has the columns user"):
        replace_table(url, "other_columns", answers(), KEYS)
    assert len(read(url, "other_columns")) == 40


def test_what_fails_halfway_changes_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    replace_table(url, "half", answers(version="1"), KEYS)
    monkeypatch.setattr(sql_table, "ROWS_AT_ONCE", 10)
    twice = pd.concat([answers(version="2"), answers(version="2").tail(1)])
    with pytest.raises(PublishError, match="The table is unchanged"):
        replace_table(url, "half", twice, KEYS)
    found = read(url, "half")
    assert (set(found["version"]), len(found)) == ({"1"}, 40)


def test_a_reader_sees_one_whole_night(url: str) -> None:
    replace_table(url, "watched", answers(400, "0"), KEYS)
    done, seen = threading.Event(), []

    def look() -> None:
        engine = sql.create_engine(url)
        with engine.connect() as connection:
            while not done.is_set():
                rows = connection.exec_driver_sql(
                    "SELECT version, count(*) FROM watched GROUP BY version"
                ).all()
                connection.rollback()
                seen.append([tuple(row) for row in rows])
        engine.dispose()

    reader = threading.Thread(target=look)
    reader.start()
    for version in range(1, 8):
        replace_table(url, "watched", answers(400, str(version)), KEYS)
    done.set()
    reader.join()
    assert all(len(rows) == 1 and rows[0][1] == 400 for rows in seen)
    assert len({rows[0][0] for rows in seen}) > 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "NIGHTLY_PREDICTIONS_URL cannot be used: it is not a database URL"),
        ("oracle+cx_oracle://a:b@c/d", "the package 'cx_Oracle' is not installed"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/app", r"me:\*\*\*@127\.0\.0\.1:1/app"),
        ("sqlite:////no/such/folder/app.db", "unable to open database file"),
    ],
)
def test_a_wrong_address_is_one_message_without_the_password(url: str, said: str) -> None:
    with pytest.raises(PublishError, match=said) as caught:
        replace_table(url, "x", answers(), KEYS)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_pointer_names_the_newest_file(home: Path) -> None:
    folder = publish.folder_of("groceries")
    for day in (date(2026, 11, 20), date(2026, 11, 21)):
        publish.keep("groceries", day, answers(version=str(day.day)), None, None)
        publish.publish("groceries", day, KEYS, None, {"as_of": str(day), "rows": 40})
        current = pd.read_parquet(folder / publish.CURRENT)
        assert set(current["version"]) == {str(day.day)}
    assert publish.last_published("groceries") == {"as_of": "2026-11-21", "rows": 40}
    assert sorted(file.name for file in folder.iterdir() if file.name.startswith(".")) == []


@pytest.mark.parametrize(("mode", "folders"), [(None, 0o750), ("644", 0o755)])
def test_an_app_of_another_account_may_read_what_is_published_and_nothing_else(
    mode: str | None, folders: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "shared"
    monkeypatch.setenv("NIGHTLY_PREDICTIONS_DIR", str(place))
    monkeypatch.setenv("NIGHTLY_PREDICTIONS_GROUP", grp.getgrgid(os.getgid()).gr_name)
    if mode:
        monkeypatch.setenv("NIGHTLY_PREDICTIONS_MODE", mode)
    day = date(2026, 11, 21)
    for version in ("1", "2"):
        rows = answers(version=version)
        publish.keep("groceries", day, rows, rows, rows)
        publish.publish("groceries", day, KEYS, None, {"as_of": str(day)})
    folder = publish.folder_of("groceries")
    assert folder == place / "groceries"
    modes = {file.name: file.stat().st_mode & 0o777 for file in (place, *folder.iterdir())}
    read = int(mode or "640", 8)
    open_to_all = (publish.CURRENT, publish.INPUTS, f"{day}.parquet", f"{day}.json")
    assert modes == {
        **dict.fromkeys(open_to_all, read),
        f"{day}.previous.parquet": 0o600, "shared": folders, publish.NEXT: 0o700,
    }  # fmt: skip
    assert folder.stat().st_mode & 0o777 == folders


def test_what_cannot_be_published_leaves_file_table_and_record_as_they_are(tmp_path: Path) -> None:
    night, folder = date(2026, 11, 21), publish.folder_of("groceries")
    url, gone = f"sqlite:///{tmp_path}/app.db", "sqlite:////no/such/folder/app.db"
    publish.keep("groceries", night, answers(version="1"), None, None)
    publish.publish("groceries", night, KEYS, url, {"version": "1"})
    publish.keep("groceries", night, answers(version="2"), None, None)
    with pytest.raises(PublishError):
        publish.publish("groceries", night, KEYS, gone, {"version": "2"})
    assert set(pd.read_parquet(folder / publish.CURRENT)["version"]) == {"1"}
    assert publish.last_published("groceries") == {"version": "1"}
    for _ in range(2):  # again, as after a kill in the middle
        publish.publish("groceries", night, KEYS, url, {"version": "2"})
        assert set(pd.read_parquet(folder / publish.CURRENT)["version"]) == {"2"}
        assert publish.last_published("groceries") == {"version": "2"}


def test_a_database_that_dies_in_a_publish_leaves_all_as_it_was(
    postgres: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night, folder = date(2026, 11, 21), publish.folder_of("groceries")
    fill, admin = sql_table._insert, sql.create_engine(postgres)

    def fill_and_die(*given: Any) -> None:
        fill(*given)
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        with admin.begin() as connection:
            connection.exec_driver_sql(
                f"{ended} WHERE datname = current_database() AND pid != pg_backend_pid()"
            )

    publish.keep("groceries", night, answers(version="1"), None, None)
    publish.publish("groceries", night, KEYS, postgres, {"version": "1"})
    publish.keep("groceries", night, answers(version="2"), None, None)
    with monkeypatch.context() as patch:
        patch.setattr(sql_table, "_insert", fill_and_die)
        with pytest.raises(PublishError, match=r"to postgres.*failed at the commit"):
            publish.publish("groceries", night, KEYS, postgres, {"version": "2"})
    assert set(read(postgres)["version"]) == {"1"}
    assert set(pd.read_parquet(folder / publish.CURRENT)["version"]) == {"1"}
    assert publish.last_published("groceries") == {"version": "1"}
    publish.publish("groceries", night, KEYS, postgres, {"version": "2"})
    assert set(read(postgres)["version"]) == {"2"}
    admin.dispose()


def test_an_answer_lost_at_the_commit_claims_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.engine.default import DefaultDialect

    def commit_and_lose(_: object, connection: Any) -> None:
        connection.commit()
        raise sqlite3.OperationalError("the answer was lost")

    url = f"sqlite:///{tmp_path / 'app.db'}"
    with monkeypatch.context() as patch:
        patch.setattr(DefaultDialect, "do_commit", commit_and_lose)
        with pytest.raises(PublishError, match="either the old rows or the new ones"):
            replace_table(url, "groceries_predictions", answers(), KEYS)
    assert len(read(url)) == 40


def test_a_table_that_another_session_holds_is_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'app.db'}"
    replace_table(url, "groceries_predictions", answers(version="1"), KEYS)
    held, begun = threading.Event(), threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(tmp_path / "app.db")) as other:
            other.execute("BEGIN IMMEDIATE")
            begun.set()
            held.wait(0.5)
            other.rollback()

    other = threading.Thread(target=hold)
    other.start()
    begun.wait()
    replace_table(url, "groceries_predictions", answers(version="2"), KEYS)
    other.join()
    assert set(read(url)["version"]) == {"2"}


def test_old_nights_are_forgotten(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.store import files

    monkeypatch.setattr(publish, "KEPT", 2)
    folder = publish.folder_of("groceries")
    for day in range(1, 5):
        for end in ("json", "parquet", "previous.parquet"):
            files.write_json(folder / f"2026-11-0{day}.{end}", {})
    publish.forget_old("groceries", timedelta(days=1))
    assert sorted({file.name[:10] for file in folder.iterdir()}) == [
        "2026-11-02",
        "2026-11-03",
        "2026-11-04",
    ]


def test_a_night_predicts_where_nothing_newer_is_read_and_its_day_can_be_used() -> None:
    last = {"as_of": "2026-11-21", "rows": 3}
    assert publish.why_not_now(date(2026, 11, 21), last, usable=True) is None
    assert publish.why_not_now(date(2026, 11, 22), None, usable=True) is None
    assert publish.why_not_now(date(2026, 11, 20), last, usable=True) == (
        "this is a backfill, those of 2026-11-21 are newer"
    )
    assert publish.why_not_now(date(2026, 11, 22), last, usable=False) == (
        "the data of 2026-11-22 cannot be used"
    )


def test_inputs_and_predecessor_of_an_earlier_try_never_stay_beside_other_predictions() -> None:
    night, folder = date(2026, 11, 21), publish.folder_of("toy")
    rows = pd.DataFrame({"number": [1, 2], "probability": [0.1, 0.2]})
    publish.keep("toy", night, rows, inputs=rows[["number"]], previous=rows)
    publish.publish("toy", night, ("number",), None, {})
    names = {"2026-11-21.parquet", "2026-11-21.previous.parquet", publish.INPUTS}
    others = {"2026-11-21.json", publish.CURRENT, publish.NEXT}
    assert {file.name for file in folder.iterdir()} == names | others
    publish.keep("toy", night, rows.head(1), inputs=None, previous=None)
    assert len(pd.read_parquet(folder / publish.CURRENT)) == 2
    publish.publish("toy", night, ("number",), None, {})
    assert {file.name for file in folder.iterdir()} == {"2026-11-21.parquet"} | others
    assert len(pd.read_parquet(folder / "2026-11-21.parquet")) == 1


def test_what_a_night_kept_and_never_published_goes_with_the_next() -> None:
    night, rows = date(2026, 11, 22), answers().assign(number=1.0)
    cut_off = date(2026, 11, 23)
    publish.keep("toy", cut_off, rows, inputs=rows[["number"]], previous=rows)
    publish.keep("toy", night, rows, inputs=None, previous=None)
    publish.publish("toy", night, KEYS, None, {"version": "1"})
    assert not list((publish.folder_of("toy") / publish.NEXT).iterdir())
    assert not list(publish.folder_of("toy").glob(f"{cut_off}*"))


def test_recent_predictions_are_drawn_by_day_and_those_of_another_problem_left_out() -> None:
    for day, column in (("19", "probability"), ("20", "score"), ("21", "probability")):
        night = date.fromisoformat(f"2026-11-{day}")
        rows = pd.DataFrame({"number": range(9), column: 0.5, "day": night + timedelta(days=3)})
        publish.keep("toy", night, rows, None, rows)
        publish.publish("toy", night, ("number",), None, {})
    publish.keep("toy", date(2026, 11, 22), rows, None, None)  # not published
    found = publish.recent_predictions("toy", "probability", nights=9, most=4, seed=0)
    assert list(found) == ["prediction", "day"]
    assert found["day"].value_counts().to_dict() == {
        pd.Timestamp("2026-11-22"): 4,
        pd.Timestamp("2026-11-24"): 4,
    }, "the days that they are for, not the nights that made them"
    assert publish.recent_predictions("none", "probability", 9, 4, 0).empty


def test_two_models_never_share_a_table(tmp_path: Path) -> None:
    url, day = f"sqlite:///{tmp_path / 'app.db'}", date(2026, 11, 21)
    for model in ("a_b", "a-b", "ab"):
        publish.keep(model, day, answers(), None, None)
    publish.publish("a_b", day, KEYS, url, {})
    publish.publish("ab", day, KEYS, url, {})
    with pytest.raises(PublishError, match=r"a_b and a-b would both publish in the table a_b_pre"):
        publish.publish("a-b", day, KEYS, url, {})
    publish.publish("a_b", day, KEYS, url, {})
    publish.publish("a-b", day, KEYS, None, {})  # as files they are apart


def test_on_shared_state_only_a_signed_name_of_a_model_file_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLY_SEAL_KEY", KEY)
    file, planted = tmp_path / "shop.py", tmp_path / "other.py"
    for each in (file, planted):
        each.touch()
    publish.keep("toy", date(2026, 11, 21), answers(), None, None)
    publish.publish("toy", date(2026, 11, 21), KEYS, None, {"model": str(file)})
    monkeypatch.setenv("NIGHTLY_STATE_URL", "postgresql://shared/state")
    assert (publish.last_published("toy") or {})["model"] == str(file)
    record = publish.folder_of("toy") / "2026-11-21.json"
    kept = record.read_text()
    for altered in (
        kept.replace(str(file), str(planted)),
        kept.replace("../", "../../", 1),
        json.dumps({"model": str(planted)}),
    ):
        assert altered != kept
        record.write_text(altered)
        found = publish.last_published("toy") or {}
        assert found["model"] == "toy", "the name in the registry, which no file is run for"
        assert "seal" not in found


def test_what_the_app_shows_of_a_fleet_is_held_against_its_champions(home: Path) -> None:
    rows = pd.DataFrame(
        {"shop": ["a", "b", "c"], "model": ["m.a", "m", "m"], "version": list("277")}
    )
    files.write_parquet(publish.folder_of("m") / publish.CURRENT, rows)
    shown = {"a": ("m.a", "2")}
    assert publish.shows("m", "shop", shown)
    assert publish.shows("m", "shop", {**shown, "gone": ("m.gone", "1")})
    assert not publish.shows("m", "shop", {"a": ("m.a", "1")})
    assert not publish.shows("m", "shop", {})
    assert not publish.shows("m", "shop", {**shown, "b": ("m.b", "1")})
    assert not publish.shows("m", "town", shown)
    assert not publish.shows("another", "shop", {})
