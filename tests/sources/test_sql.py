"""Days in PostgreSQL and SQLite: listing and reading agree, faults are told without secrets."""

from __future__ import annotations

import socket
import sqlite3
import struct
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
import sqlalchemy as sql
from hypothesis import HealthCheck, given
from hypothesis import settings as checked
from hypothesis import strategies as st

from tasks import settings
from tasks.sources import (
    ColumnsError,
    SourceError,
    SourceOutageError,
    SourceSettingsError,
    SqlDays,
    sql_connection,
)
from tests.samples import samples

FIRST = date(2026, 11, 20)
BERLIN = ZoneInfo("Europe/Berlin")
ROWS = [
    (1, "2026-11-20 00:00:00", 1.5, "a", "2026-11-20 03:00:00"),
    (2, "2026-11-20 23:59:59", None, "b", "2026-11-21 03:00:00"),
    (3, "2026-11-21 08:00:00", 2.5, None, "2026-11-22 03:00:00"),
    (4, "2026-11-23 00:00:00", 3.5, "c", "2026-11-24 03:00:00"),
]
KINDS = ("sqlite", "postgres")


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of either kind with four orders on three days."""
    made = f"sqlite:///{tmp_path / 'shop.db'}"
    if request.param == "postgres":
        made = str(request.getfixturevalue("postgres"))
    time = "TEXT" if request.param == "sqlite" else "timestamp"
    create = f"CREATE TABLE orders (id int, at {time}, price numeric, shop text, seen {time})"
    run(made, create, "INSERT INTO orders VALUES (:a, :b, :c, :d, :e)", ROWS)
    yield made


def run(url: str, *statements: Any) -> None:
    """Run statements; a list after one is its rows of parameters."""
    engine = sql.create_engine(url)
    with engine.begin() as connection:
        for statement, rows in zip(statements, [*statements[1:], None], strict=True):
            if isinstance(statement, str):
                many = [dict(zip("abcde", row, strict=False)) for row in rows or []]
                many = many if isinstance(rows, list) else []
                connection.execute(sql.text(statement), many or None)
    engine.dispose()


def orders(url: str, **changes: Any) -> SqlDays:
    return SqlDays(url, **{"table": "orders", "time": "at", **changes})


def test_days_are_listed_and_read(url: str) -> None:
    source = orders(url)
    listed = source.list_days(date(2026, 11, 22))
    assert list(listed) == [FIRST, date(2026, 11, 21)]
    rows = source.read_days([FIRST, date(2026, 11, 23)])
    assert rows.columns.tolist() == ["day", "id", "at", "price", "shop", "seen"]
    assert rows["id"].tolist() == [1, 2, 4]
    assert rows["day"].dtype == "datetime64[s]"
    assert rows["day"].dt.day.tolist() == [20, 20, 23]
    assert rows["at"].dt.hour.tolist() == [0, 23, 0]
    assert rows["price"].dtype == "float64"
    assert source.read_days([]).empty


def test_a_day_begins_when_told(url: str) -> None:
    source = orders(url, day_start="09:00")
    days = list(source.list_days(date.max))
    assert days == [date(2026, 11, 19), FIRST, date(2026, 11, 22)]
    rows = source.read_days(days)
    assert rows["id"].tolist() == [1, 2, 3, 4]
    assert rows["day"].dt.day.tolist() == [19, 20, 20, 22]


@pytest.mark.parametrize("changed", [None, "seen"])
def test_late_and_revised_days_have_another_fingerprint(url: str, changed: str | None) -> None:
    source = orders(url, changed=changed)
    before = source.list_days(date.max)
    assert source.list_days(date.max) == before

    def differ() -> list[int]:
        after = source.list_days(date.max)
        return [day.day for day in after if after[day] != before.get(day)]

    seen = "2026-11-25 03:00:00"
    run(
        url,
        "INSERT INTO orders VALUES (:a, :b, :c, :d, :e)",
        [(5, "2026-11-22 10:00:00", 1, "a", seen)],
    )
    assert differ() == [22], "a day that came late"
    run(url, "UPDATE orders SET shop = 'x', seen = :a WHERE id = 1", [(seen,)])
    assert differ() == [20, 22]
    run(url, "DELETE FROM orders WHERE id = 4")
    assert 23 not in [day.day for day in source.list_days(date.max)]


def test_without_a_column_of_changes_any_change_is_noticed(url: str) -> None:
    before = orders(url).list_days(date.max)
    run(url, "UPDATE orders SET shop = CASE id WHEN 1 THEN 'b' ELSE 'a' END WHERE id < 3")
    after = orders(url).list_days(date.max)
    assert [day for day in before if before[day] != after[day]] == [FIRST], "two values swapped"
    by_change = orders(url, changed="seen").list_days(date.max)
    run(url, "UPDATE orders SET shop = 'z' WHERE id = 1")
    assert orders(url, changed="seen").list_days(date.max) == by_change, "as it is documented"


def test_a_query_stands_for_a_table(url: str) -> None:
    text = "SELECT id, at, ':a %s' AS mark FROM orders WHERE id > 1 -- not the first\n;"
    source = orders(url, table=None, query=text)
    rows = source.read_days(list(source.list_days(date.max)))
    assert rows["id"].tolist() == [2, 3, 4]
    assert set(rows["mark"]) == {":a %s"}


def test_only_the_days_asked_for_are_read(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []
    as_table = SqlDays._as_table

    def counted(self: SqlDays, names: Any, kinds: Any, rows: Any) -> Any:
        fetched.append(len(rows))
        return as_table(self, names, kinds, rows)

    monkeypatch.setattr(SqlDays, "_as_table", counted)
    orders(url).read_days([date(2026, 11, 21)])
    assert fetched == [1]


def test_rows_come_in_portions(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.sources import sql

    monkeypatch.setattr(sql, "ROWS_AT_ONCE", 1)
    rows = orders(url).read_days([FIRST, date(2026, 11, 21), date(2026, 11, 23)])
    assert rows["id"].tolist() == [1, 2, 3, 4]
    assert rows["price"].isna().tolist() == [False, True, False, False]
    assert rows["shop"].isna().tolist() == [False, False, True, False]


EDGES = [
    datetime(2026, 3, 29, 0, 59, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
    datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
    datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    datetime(2026, 10, 24, 22, 0, tzinfo=UTC),
]


@pytest.mark.parametrize("column", ["text", "timestamp", "timestamptz"])
@checked(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=samples(12))
@given(
    st.lists(
        st.sampled_from(EDGES)
        | st.integers(0, 2 * 24 * 60).map(lambda past: EDGES[-1] + timedelta(minutes=past)),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(["00:00", "02:30", "09:00"]),
    st.sampled_from([" ", "T"]),
)
def test_listing_and_reading_agree(
    column: str,
    tmp_path: Path,
    postgres_server: Any,
    times: list[datetime],
    day_start: str,
    between: str,
) -> None:
    local = [time.astimezone(BERLIN).replace(tzinfo=None) for time in times]
    made = f"sqlite:///{tmp_path / 'x.db'}"
    if column != "text":
        made = str(postgres_server.get_uri()).replace("postgresql:", "postgresql+psycopg:")
    written: list[Any] = local if column == "timestamp" else times
    if column == "text":
        written = [time.isoformat(between) for time in local]
    create = [f"DROP TABLE IF EXISTS {column}_times", f"CREATE TABLE {column}_times (at {column})"]
    run(made, *create, f"INSERT INTO {column}_times VALUES (:a)", [(time,) for time in written])
    source = SqlDays(made, f"{column}_times", time="at", day_start=day_start, timezone=str(BERLIN))
    assert source.names_zone() is (column == "timestamptz")
    listed = list(source.list_days(date.max))
    rows = source.read_days(listed)
    start = timedelta(hours=int(day_start[:2]), minutes=int(day_start[3:]))
    assert sorted(rows["at"]) == sorted(map(pd.Timestamp, local)), "no row lost, none doubled"
    assert sorted(rows["day"].dt.date) == sorted((time - start).date() for time in local)
    assert listed == sorted({*rows["day"].dt.date})
    for day in listed:
        assert len(source.read_days([day])) == (rows["day"] == pd.Timestamp(day)).sum()


def test_types_that_a_database_has_and_a_frame_has_not(postgres: str) -> None:
    run(
        postgres,
        "CREATE TABLE orders AS SELECT DATE '2026-11-20' AS at, 1.5::numeric AS price, "
        """'{"b": 1, "a": [2]}'::jsonb AS document, gen_random_uuid() AS name, true AS paid, """
        "'x'::bytea AS raw, NULL::int AS nothing",
    )
    rows = orders(postgres).read_days([FIRST])
    assert rows["price"].tolist() == [1.5]
    assert rows["document"].tolist() == ['{"a": [2], "b": 1}']
    assert rows["name"].str.len().tolist() == [36]
    assert rows["paid"].tolist() == [True]
    assert rows["at"].tolist() == [pd.Timestamp("2026-11-20")]


def test_the_address_of_a_user_is_enough(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(postgres, "CREATE SCHEMA shop", "CREATE TABLE shop.orders AS SELECT now() AS at")
    monkeypatch.setenv("SHOP", postgres.replace("+psycopg", ""))
    assert len(orders("${SHOP}", table="shop.orders").list_days(date.max)) == 1


def test_a_relative_file_starts_at_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(f"sqlite:///{tmp_path / 'shop.db'}", "CREATE TABLE orders AS SELECT '2026-11-20' AS at")
    monkeypatch.setattr(settings, "PROJECT", tmp_path)
    monkeypatch.chdir("/")
    assert list(orders("sqlite:///shop.db").list_days(date.max)) == [FIRST]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": "x; DROP TABLE orders"}, "no such table|does not exist"),
        ({"table": "nowhere"}, "nowhere.*(Correct the)"),
        ({"table": "nowhere.orders"}, "nowhere.*(Correct the)"),
        ({"time": "when"}, "found no column 'when' for the time; expected one of id, at, price"),
        ({"changed": "when"}, "found no column 'when'; expected one of id, at.*Correct changed="),
        ({"table": None, "query": "DELETE FROM orders"}, "syntax error"),
        (
            {"table": None, "query": "SELECT 1) AS a; DROP TABLE orders; --"},
            "syntax error|one stat",
        ),
    ],
)
def test_what_a_person_must_correct(url: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceSettingsError, match=message):
        orders(url, **changes).list_days(date.max)
    assert len(orders(url).list_days(date.max)) == 3, "nothing is changed"


def test_nothing_can_be_written(url: str) -> None:
    with (
        pytest.raises(SourceError, match=r"read-only|readonly"),
        sql_connection.connected(url) as opened,
    ):
        opened.execute(sql.text("DELETE FROM orders"))


def test_rows_without_a_time_are_told(url: str) -> None:
    run(url, "UPDATE orders SET at = NULL WHERE id = 2")
    with pytest.raises(SourceError, match=r"found 1 rows without 'at'.*WHERE at IS NOT NULL"):
        orders(url).list_days(date.max)


def test_what_sqlite_does_not_understand_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    run(url, "CREATE TABLE orders (at, n)", "INSERT INTO orders VALUES ('20/11/2026', 1)")
    with pytest.raises(SourceError, match=r"found 1 rows whose 'at' is not a time, such as '20/11"):
        orders(url).list_days(date.max)
    run(url, "UPDATE orders SET at = 1700000000")
    with pytest.raises(SourceError, match="is not a time, such as 1700000000"):
        orders(url).list_days(date.max)
    run(url, "UPDATE orders SET at = '2026-11-20T23:30:00+01:00'")
    assert list(orders(url).list_days(date.max)) == [FIRST]
    assert orders(url).read_days([FIRST])["at"].dt.hour.tolist() == [22]
    with pytest.raises(
        SourceSettingsError, match=r"offset from UTC.*cannot convert to Europe/Berl"
    ):
        orders(url, timezone="Europe/Berlin").list_days(date.max)
    run(url, "UPDATE orders SET at = '2026-11-20'", "INSERT INTO orders VALUES ('2026-11-20', 'x')")
    with pytest.raises(ColumnsError, match="values in column 'n' that do not form one column"):
        orders(url).read_days([FIRST])


def test_a_table_may_be_wide(tmp_path: Path) -> None:
    columns = ", ".join(f"1 AS c{n}" for n in range(250))
    url = f"sqlite:///{tmp_path / 'wide.db'}"
    run(
        url,
        f"CREATE TABLE orders AS SELECT '2026-11-20' AS at, {columns}",
    )
    before = orders(url).list_days(date.max)
    run(url, "UPDATE orders SET c249 = 2")
    assert orders(url).list_days(date.max) != before


def test_text_for_a_time_is_refused_by_postgres(postgres: str) -> None:
    run(postgres, "CREATE TABLE orders AS SELECT '2026-11-20'::text AS at")
    with pytest.raises(
        SourceSettingsError, match=r"no date or time in 'at'.*CAST\(at AS timestamp"
    ):
        orders(postgres).list_days(date.max)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(SourceSettingsError, match=r"found no such file as .*nowhere\.db"):
        orders(f"sqlite:///{tmp_path / 'nowhere.db'}").list_days(date.max)
    assert not (tmp_path / "nowhere.db").exists()
    (tmp_path / "text.db").write_text("id,at\n1,2026-11-20\n" * 100)
    with pytest.raises(SourceError, match="file is not a database"):
        orders(f"sqlite:///{tmp_path / 'text.db'}").list_days(date.max)


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        (
            "postgresql://u:${NOT_THERE}@host/x",
            SourceSettingsError,
            "variable NOT_THERE, which .* names, is not set",
        ),
        ("postgresql://u@127.0.0.1:1/x", SourceOutageError, "does not answer.*refused"),
        ("shop", SourceSettingsError, "it is not a database URL"),
        ("nope://x", SourceSettingsError, "found nope; expected postgresql or sqlite"),
        ("mysql+pymysql://x/y", SourceSettingsError, "expected postgresql or sqlite|not installed"),
        ("sqlite://", SourceSettingsError, "found no file"),
    ],
)
def test_what_is_wrong_with_an_address(url: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        orders(url).list_days(date.max)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": "postgresql://joe:secret@host/x"}, "found a password in the address"),
        ({"url": "postgresql://joe:se/cret@host/x"}, "found a password in the address"),
        ({"url": "postgresql://joe@host/x?password=secret"}, "found a password in the address"),
        ({"url": ""}, "found url=''"),
        ({"time": ""}, "found time=''; expected the name of a column"),
        ({"query": "SELECT 1"}, "expected exactly one of them"),
        ({"table": None}, "expected exactly one of them"),
        ({"table": " "}, "expected exactly one of them"),
        ({"day_start": "9"}, "expected HH:MM"),
    ],
)
def test_what_sql_days_refuse(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceSettingsError, match=message) as told:
        SqlDays(**{"url": "sqlite:///x.db", "table": "orders", "time": "at", **changes})
    assert "secret" not in str(told.value)


def test_a_login_without_the_right_is_told(postgres: str) -> None:
    address = sql.make_url(postgres)
    run(postgres, "CREATE TABLE orders AS SELECT now() AS at", "CREATE ROLE joe LOGIN")
    login = f"postgresql://joe@/{address.database}?host={address.query['host']}"
    with pytest.raises(SourceSettingsError, match="permission denied for table orders"):
        orders(login).list_days(date.max)
    run(postgres, "GRANT SELECT ON orders TO joe")
    assert len(orders(login).list_days(date.max)) == 1
    run(postgres, "DROP OWNED BY joe", "DROP ROLE joe")


def refuse_password(listening: socket.socket, heard: list[bytes]) -> None:
    """Of PostgreSQL's protocol what asks one client for a password, and refuses it."""
    client, _ = listening.accept()
    with client:
        while client.recv(1024)[4:8] in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30"):
            client.sendall(b"N")  # no encryption here
        client.sendall(b"R" + struct.pack("!ii", 8, 3))
        heard.append(client.recv(1024)[5:].rstrip(b"\0"))
        said = b'SFATAL\0C28P01\0Mpassword authentication failed for user "joe"\0\0'
        client.sendall(b"E" + struct.pack("!i", 4 + len(said)) + said)


def test_a_password_is_taken_from_the_environment_and_never_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret, heard = "p@ss:/word%", []
    monkeypatch.setenv("SHOP_PASSWORD", secret)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=refuse_password, args=(listening, heard))
        server.start()
        url = f"postgresql://joe:${{SHOP_PASSWORD}}@127.0.0.1:{listening.getsockname()[1]}/shop"
        with pytest.raises(SourceSettingsError, match="password authentication failed") as told:
            orders(url).list_days(date.max)
        server.join()
    assert heard == [secret.encode()]
    assert secret not in f"{told.value!r} {told.value.__cause__!r}"
    assert "${SHOP_PASSWORD}" in str(told.value)


def test_a_connection_dropped_in_mid_read_is_an_outage(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.sources import sql

    run(
        postgres,
        "CREATE TABLE orders AS SELECT timestamp '2026-11-20' AS at, repeat('x', 500) AS t "
        "FROM generate_series(1, 40000)",
    )
    monkeypatch.setattr(sql, "ROWS_AT_ONCE", 100)
    as_table, seen = SqlDays._as_table, []

    def killing(self: SqlDays, names: Any, kinds: Any, rows: Any) -> Any:
        seen.append(len(rows))
        if len(seen) == 1:
            run(
                postgres,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
        return as_table(self, names, kinds, rows)

    monkeypatch.setattr(SqlDays, "_as_table", killing)
    with pytest.raises(SourceOutageError, match="does not answer, or closed the connection"):
        orders(postgres).read_days([FIRST])
    assert 0 < sum(seen) < 40_000
    assert len(orders(postgres).read_days([FIRST])) == 40_000, "the same again gets past"


def test_a_locked_table_is_an_outage(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_connection, "LOCK_SECONDS", 1)
    run(postgres, "CREATE TABLE orders AS SELECT now() AS at")
    engine = sql.create_engine(postgres)
    with engine.begin() as other:
        other.execute(sql.text("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(SourceOutageError, match="has locked it for more than 1 s"):
            orders(postgres).list_days(date.max)
    engine.dispose()


def test_a_locked_file_is_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_connection, "LOCK_SECONDS", 0.1)
    run(f"sqlite:///{tmp_path / 'x.db'}", "CREATE TABLE orders AS SELECT '2026-11-20' AS at")
    other = sqlite3.connect(tmp_path / "x.db")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(SourceOutageError, match="another session has locked it"):
        orders(f"sqlite:///{tmp_path / 'x.db'}").list_days(date.max)
    other.close()


def test_a_statement_that_takes_too_long_is_an_outage(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_connection, "STATEMENT_SECONDS", 1)
    slow = "SELECT now() AS at, pg_sleep(5)::text AS t"
    with pytest.raises(SourceOutageError, match="no answer within 1 s"):
        orders(postgres, table=None, query=slow).list_days(date.max)


def test_endless_times_are_the_ends_of_time(postgres: str) -> None:
    run(
        postgres,
        "CREATE TABLE t (at timestamp, until timestamp, zoned timestamptz, day_ date)",
        "INSERT INTO t VALUES ('2026-11-20', 'infinity', '-infinity', 'infinity')",
        "INSERT INTO t VALUES ('2026-11-20', '2026-11-21', '2026-11-21 10:00Z', '2026-11-21')",
        "ALTER TABLE t ADD opens timetz DEFAULT '08:30+05:45'",
    )
    source = SqlDays(postgres, "t", time="at")
    rows = source.read_days([*source.list_days(date.max)])
    assert rows["until"].astype(str).tolist() == [
        "9999-12-31 23:59:59.999999",
        "2026-11-21 00:00:00.000000",
    ]
    assert rows["zoned"].dt.year.tolist() == [1, 2026]
    assert rows["day_"].dt.year.tolist() == [9999, 2026]
    assert rows["opens"].tolist() == ["08:30:00+05:45"] * 2


@pytest.mark.parametrize("value", ["infinity", "-infinity", "10001-01-01", "0044-03-15 BC"])
def test_a_time_that_is_no_day_is_told(postgres: str, value: str) -> None:
    run(
        postgres,
        "CREATE TABLE t (at timestamp, until timestamp)",
        "INSERT INTO t VALUES ('2026-11-20', '2026-11-21'), ('2026-11-20', '10001-01-01')",
    )
    source = SqlDays(postgres, "t", time="at")
    with pytest.raises(ColumnsError, match="'until'"):
        source.read_days([*source.list_days(date.max)])
    run(postgres, f"INSERT INTO t VALUES ('{value}', NULL)")
    with pytest.raises(SourceError, match="found 1 rows whose 'at' is infinite, or not of a year"):
        source.list_days(date.max)


def test_columns_may_have_any_name(url: str) -> None:
    time = "TEXT" if url.startswith("sqlite") else "timestamp"
    run(
        url,
        f"CREATE TABLE t (nightly_day {time}, source_rows int, days int, mark int, day int)",
        "INSERT INTO t VALUES ('2026-11-20 10:00:00', 1, 2, 3, 4)",
    )
    source = SqlDays(url, "t", time="nightly_day")
    before = source.list_days(date.max)
    rows = source.read_days([*before])
    assert rows.drop(columns=["day", "nightly_day"]).to_numpy().tolist() == [[1, 2, 3, 4]]
    assert rows["nightly_day"].dt.hour.tolist() == [10]
    run(url, "UPDATE t SET mark = 9")
    assert source.list_days(date.max) != before, "every column counts"


def test_documents_of_any_kind_are_text(postgres: str) -> None:
    kinds = ["""{"b": 1, "a": [2]}""", "[1, 2]", "3", '"x"', "true", "null"]
    values = ", ".join(f"('2026-11-20', '{kind}')" for kind in kinds)
    run(
        postgres,
        "CREATE TABLE t (at timestamp, doc jsonb)",
        f"INSERT INTO t VALUES {values.replace(':', chr(92) + ':')}, ('2026-11-20', NULL)",
    )
    source = SqlDays(postgres, "t", time="at")
    found = source.read_days([FIRST])["doc"]
    assert found[:5].tolist() == ['{"a": [2], "b": 1}', "[1, 2]", "3", '"x"', "true"]
    assert found[5:].isna().all()
