"""Leases between machines: one holder, a token that only grows, and nothing written by a stale one.

Each machine has a disk of its own here; one that stands still is one that does not renew.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tasks.settings import SettingsError
from tasks.store import leases, state_database
from tasks.store.leases import LeaseHeldError, LeaseLostError, check_leases, lease
from tasks.store.locks import lock_between_machines
from tasks.store.state_database import StateOutageError


@pytest.fixture
def state(postgres: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("NIGHTLY_STATE_URL", postgres)
    monkeypatch.setenv("NIGHTLY_LEASE_SECONDS", "2")
    return postgres


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holders that give no sign of life."""
    monkeypatch.setattr(leases, "_renew", lambda *_: None)


def check() -> int | None:
    return state_database.run(check_leases)


def test_the_second_machine_waits_and_is_told_who_holds_it_and_the_token_grows(state: str) -> None:
    with lease("night-toy", "a") as first:
        assert check() == first.token == 1
        told = rf"night-toy is held by process {os.getpid()} on .+ since 20\d\d-.* UTC\. Wait"
        with pytest.raises(LeaseHeldError, match=told), lease("night-toy", "b", wait=2.5, poll=0.5):
            pass  # longer than the lease: it was renewed
    with lease("night-toy", "b") as second, lease("night-other", "b"):
        assert second.token == 2
        assert check() == 1
    assert check() is None


def test_a_lease_that_has_run_out_is_taken_and_its_old_holder_refused(
    state: str, stopped: None
) -> None:
    with lease("night-toy", "a") as old:
        time.sleep(2.1)
        with pytest.raises(LeaseLostError, match=r"lost its lease night-toy: it has run out"):
            check()
        with lease("night-toy", "b") as new:
            assert new.token == old.token + 1
            with pytest.raises(
                LeaseLostError, match=r"process \d+ on .+ has held it since 20.*UTC"
            ):
                check()
            leases._held.remove(old)
            assert check() == new.token
            leases._held.insert(0, old)
    with lease("night-toy", "c") as newest:  # the old one's end has not ended another's
        assert newest.token == 3


def test_a_holder_that_died_on_this_machine_is_not_waited_for(state: str, stopped: None) -> None:
    with lease("night-toy", "a"), lease("night-toy", "a") as again:
        assert again.token == 2


def test_without_a_shared_database_the_lock_is_the_kernels_alone(home: Path) -> None:
    with lock_between_machines("night-toy"):
        assert check_leases(None) is None  # type: ignore[arg-type]


def test_the_lock_of_a_shared_state_is_a_lease_too(state: str, home: Path) -> None:
    with lock_between_machines("night-toy"):
        assert check() == 1
        with pytest.raises(LeaseHeldError), lease("night-toy", "of another machine"):
            pass


def test_an_outage_that_ends_is_waited_for(
    state: str, postgres_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def cut_off_once(connection: Any) -> int:
        asked.append(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar())
        if len(asked) == 1:
            postgres_server.psql(f"SELECT pg_terminate_backend({asked[0]});")
        return int(connection.exec_driver_sql("SELECT 7").scalar())

    assert state_database.run(cut_off_once) == 7
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        ("sqlite:///x.db", SettingsError, "NIGHTLY_STATE_URL: found 'sqlite:///x.db', expected"),
        ("postgresql://a:secretword@127.0.0.1:9/x", StateOutageError, "does not answer: .*refused"),
    ],
)
def test_an_address_that_does_not_work_is_one_line_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str, error: type[Exception], said: str
) -> None:
    monkeypatch.setenv("NIGHTLY_STATE_URL", url)
    with pytest.raises(error, match=said) as raised:
        state_database.run(lambda _: None, patience=0)
    assert "secretword" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_the_driver_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NIGHTLY_STATE_URL", "postgresql://host/no-driver")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError, match=r"'psycopg' is not installed.*'\.\[postgres\]'"):
        state_database.run(lambda _: None)


def test_a_database_that_is_not_there_is_a_wrong_setting(
    state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLY_STATE_URL", state.replace("test_", "gone_"))
    with pytest.raises(SettingsError, match="does not exist"):
        state_database.run(lambda _: None)
