"""Calls of MLflow's client that share one session."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tasks.registry.client import open_registry
from tasks.registry.one_session import one_session_of_runs, one_session_of_versions


@pytest.fixture
def client(registry_home: Path) -> MlflowClient:
    assert registry_home.is_dir()
    found = open_registry()
    found.create_registered_model("toy")
    return found


@pytest.fixture
def commits() -> Iterator[list[Any]]:
    heard: list[Any] = []
    hear = heard.append
    event.listen(Engine, "commit", hear)
    yield heard
    event.remove(Engine, "commit", hear)


def test_what_is_written_meanwhile_is_committed_once_and_read_back(
    client: MlflowClient, commits: list[Any]
) -> None:
    with one_session_of_versions(client):
        for key in ("one", "two"):
            client.set_registered_model_tag("toy", key, "said")
        assert set(client.get_registered_model("toy").tags) == {"one", "two"}
        assert not commits
    assert len(commits) == 1
    assert set(client.get_registered_model("toy").tags) == {"one", "two"}


def test_after_an_error_nothing_is_kept_and_the_next_call_has_its_own_session(
    client: MlflowClient,
) -> None:
    with (
        pytest.raises(MlflowException, match="neither"),
        one_session_of_versions(client),
    ):
        client.set_registered_model_tag("toy", "one", "said")
        client.get_registered_model("neither")
    assert not client.get_registered_model("toy").tags
    client.set_registered_model_tag("toy", "two", "said")
    assert set(client.get_registered_model("toy").tags) == {"two"}


def test_another_thread_has_its_own_session(client: MlflowClient) -> None:
    seen: list[dict[str, str]] = []

    def look() -> None:
        seen.append(dict(client.get_registered_model("toy").tags))

    with one_session_of_versions(client), one_session_of_runs(client):
        client.set_registered_model_tag("toy", "one", "said")
        beside = threading.Thread(target=look)
        beside.start()
        beside.join()
    assert seen == [{}]
