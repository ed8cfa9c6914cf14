"""A registry behind a server that misbehaves: a clear end in time, one version, a safe champion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests import nights
from tests.faults.proxy import Fault, Proxy, served_registry
from tests.nights import (
    Ended,
    champion_of,
    nth_day,
    one_message,
    run_command,
    say,
    versions_of,
    write_model,
    write_more,
)
from tests.sequences import ONE_RECIPE
from tests.servers import free_port

pytestmark = [
    pytest.mark.long,
    pytest.mark.usefixtures("warm_processes"),
    *(pytest.mark.filterwarnings(text) for text in nights.MLFLOW_WARNINGS),
]
FIRST, LAST = 30, 32
UPLOAD = r"^PUT /api/2.0/mlflow-artifacts/artifacts/\d+/models/"
DOWNLOAD = r"^GET /api/2.0/mlflow-artifacts/artifacts/.*twin"
CREATE_RUN = "^POST /api/2.0/mlflow/runs/create"
CREATE_VERSION = "^POST /api/2.0/mlflow/model-versions/create"
SET_ALIAS = "^POST /api/2.0/mlflow/registered-models/alias"


class Night:
    """A night, the champion and the versions before it, and what became of them."""

    def __init__(self, place: Path, proxy: Proxy) -> None:
        from tasks.registry import client

        self.place, self.proxy = place, proxy
        self.client = client.open_registry()
        self.champion, self.versions = champion_of(), versions_of()
        self.as_of = nth_day(FIRST + len(self.versions))

    def spoiled(self, *faults: Fault) -> AbstractContextManager[None]:
        return self.proxy.spoiled(*faults)

    def run(self, capsys: Any, monkeypatch: Any) -> Ended:
        return say(capsys, monkeypatch, self.place / "toy.py", "--as-of", str(self.as_of))

    def assert_untouched(self) -> None:
        assert (champion_of(), versions_of()) == (self.champion, self.versions)

    def assert_promoted(self) -> None:
        """One version more, which is the champion; one run and its children, all of them ended."""
        (new,) = set(versions_of()) - set(self.versions)
        aliases = self.client.get_registered_model("toy").aliases
        found = {name: str(version) for name, version in aliases.items()}
        assert found == {"champion": new, "previous": self.champion}
        assert "nightly.change" not in self.client.get_registered_model("toy").tags
        experiment = self.client.get_experiment_by_name("toy").experiment_id
        runs = self.client.search_runs([experiment], f"tags.as_of = '{self.as_of}'")
        assert [run.info.status for run in runs] == ["FINISHED"] * 2
        parents = {run.data.tags.get("mlflow.parentRunId", run.info.run_id) for run in runs}
        assert parents == {self.client.get_model_version("toy", new).run_id}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Iterator[Proxy]:
    """A real MLflow server, and a proxy in front of it."""
    with served_registry(tmp_path_factory.mktemp("server"), empty_registry) as made:
        yield made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, proxy: Proxy, warm_processes: None) -> Path:
    """A model with a champion; the command that made it printed its report and nothing else."""
    place = tmp_path_factory.mktemp("served")
    write_more(place / "days", 1, LAST)
    model = write_model(place / "toy.py", place / "days", *ONE_RECIPE)
    arguments = ("--as-of", str(nth_day(FIRST)), "--json")
    ended = run_command(place / "home", model, *arguments, MLFLOW_TRACKING_URI=proxy.address)
    assert (ended.code, ended.err) == (0, "")
    assert ended.report["verdict"] == "PROMOTED"
    return place


@pytest.fixture
def night(place: Path, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Night:
    """The next night of a model that has a champion; the steps try again without waiting."""
    from prefect import Task

    from tasks.cli import environment
    from tasks.steps import (
        judge,
        monitor,
        opening,
        predict,
        prepare,
        release,
        report,
        rollback,
        train,
    )

    for name, value in environment.DEFAULTS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NIGHTLY_HOME", str(place / "home"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    rooms = (opening, prepare, train, judge, monitor, predict, release, report, rollback)
    for step in (step for room in rooms for step in vars(room).values()):
        if isinstance(step, Task) and step.retries:
            monkeypatch.setattr(step, "retry_delay_seconds", 0)
    return Night(place, proxy)


def assert_outage(ended: Ended, expected: str) -> None:
    message = one_message(ended)
    print(message)
    assert ended.code == 1
    assert message.count("\n") == 1, message
    assert f"nightly: The MLflow server at http://127.0.0.1:{expected}" in message
    assert "No version becomes the champion without having passed every check." in message
    assert "run the same command" in message


def test_nothing_listens(
    night: Night, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        assert_outage(night.run(capsys, patch), f"{port} refuses the connection")
    assert_nothing_was_trained(night)


def test_a_server_that_hangs(
    night: Night, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = Fault(".", "hang")
    with monkeypatch.context() as patch, night.spoiled(hanging):
        patch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        ended = night.run(capsys, patch)
    assert_outage(
        ended,
        f"{night.proxy.server_port} accepts the connection but does not answer. Look at its log",
    )
    assert hanging.met == 8, "four tries of the step, two of the client in each"
    assert_nothing_was_trained(night)


def assert_nothing_was_trained(night: Night) -> None:
    night.assert_untouched()
    assert not list((night.place / "home").rglob(f"*{night.as_of}*"))


def test_each_request_fails_once(
    night: Night, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [
        Fault(UPLOAD, "fail", 1),
        *(Fault(where, "lose", 1) for where in (CREATE_RUN, CREATE_VERSION, SET_ALIAS)),
    ]
    with night.spoiled(*faults):
        ended = night.run(capsys, monkeypatch)
    assert ended.code == 0, ended.err
    assert all(fault.met > 1 for fault in faults)
    night.assert_promoted()


FOR_EVER = {
    "download of the twin": Fault(DOWNLOAD, "fail"),
    "creation of the run": Fault(CREATE_RUN, "lose"),
    "upload of the model": Fault(UPLOAD, "fail"),
    "change of the alias": Fault(SET_ALIAS, "lose"),
}


def test_requests_that_fail_for_ever_one_after_another(
    night: Night, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, fault in FOR_EVER.items():
        night.assert_untouched()
        with night.spoiled(fault, Fault(CREATE_VERSION, "lose")):
            ended = night.run(capsys, monkeypatch)
        print(name)
        assert fault.met == 8, "four tries of the step, two of the client in each"
        assert_outage(ended, f"{night.proxy.server_port} answers /api/2.0/mlflow")
    new = versions_of()[-1]  # the server has done what the last one asked
    assert (champion_of(), versions_of()) == (new, [*night.versions, new])
    ended = night.run(capsys, monkeypatch)
    assert ended.code == 0, ended.err
    night.assert_promoted()
