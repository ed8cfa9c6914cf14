"""Every deployment is what it says: entrypoint, parameters, schedule; and the server fires it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import yaml
from prefect.cli.deploy import _models as known

from tests import pages
from tests.nights import PROJECT
from tests.servers import free_port, make_prefect_database

SERVERS = pages.section("deployments/OPERATIONS.md", "On servers of your own")
FILE: dict[str, Any] = yaml.safe_load((PROJECT / "prefect.yaml").read_text())
DEPLOYMENTS: dict[str, dict[str, Any]] = {one["name"]: one for one in FILE["deployments"]}


def test_every_key_is_one_that_prefect_reads() -> None:
    """Prefect drops the others without a word."""
    top = set(known.PrefectYamlModel.model_fields) | {"prefect-version", "definitions"}
    assert set(FILE) <= top
    for one in DEPLOYMENTS.values():
        assert set(one) <= set(known.DeploymentConfig.model_fields), one["name"]
        assert "schedule" not in one, one["name"]
        assert set(one["work_pool"]) <= set(known.WorkPoolConfig.model_fields)
        for schedule in one.get("schedules", []):
            assert set(schedule) <= set(known.RawScheduleConfig.model_fields)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_runs_a_flow_with_valid_parameters(name: str) -> None:
    from prefect.flows import load_flow_from_entrypoint

    one = DEPLOYMENTS[name]
    flow = load_flow_from_entrypoint(str(PROJECT / one["entrypoint"]))
    parameters = flow.validate_parameters(one["parameters"])
    assert set(parameters) == {"config"}
    assert one["work_pool"]["name"] == "nightly"
    assert one["description"]
    assert "nightly" in one["tags"]
    assert "concurrency_limit" not in one, "a slot that a power cut takes is never given back"


@pytest.mark.parametrize("name", [name for name in DEPLOYMENTS if name.startswith("retrain-")])
def test_each_model_is_retrained_once_a_day_in_a_named_time_zone(name: str) -> None:
    from tasks.spec.loading import load_spec

    one = DEPLOYMENTS[name]
    spec = load_spec(one["parameters"]["config"]["model"])
    assert one["name"] == f"retrain-{spec.name}"
    assert spec.name in one["tags"]
    (schedule,) = one["schedules"]
    minute, hour, *rest = schedule["cron"].split()
    assert rest == ["*", "*", "*"]
    assert minute.isdigit()
    assert hour.isdigit()
    assert ZoneInfo(schedule["timezone"])


@pytest.mark.parametrize("wrong", [{"modle": "flights"}, {"model": ""}, {"as_of": "yesterday"}])
def test_a_wrong_parameter_is_refused(wrong: dict[str, str]) -> None:
    from prefect.exceptions import ParameterTypeError

    from flows.retrain import retrain

    with pytest.raises(ParameterTypeError):
        retrain.validate_parameters({"config": wrong})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real server with its scheduler; the environment of a client of it."""
    port = free_port()
    api, home = f"http://127.0.0.1:{port}/api", tmp_path_factory.mktemp("prefect")
    make_prefect_database(home / "prefect.db")
    environment = os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_SERVICES_SCHEDULER_DEPLOYMENT_BATCH_SIZE": "100",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(1200):
            try:
                urllib.request.urlopen(f"{api}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.5)
        yield environment
    finally:
        process.terminate()
        process.wait()


def ask(server: dict[str, str], path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(send(server, f"{path}/filter", {}))
    return found


def send(server: dict[str, str], path: str, content: object) -> bytes:
    request = urllib.request.Request(
        f"{server['PREFECT_API_URL']}/{path}",
        data=json.dumps(content).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        said: bytes = answer.read()
    return said


def type_in(server: dict[str, str], *arguments: str) -> None:
    """``prefect ...``, as a person types it."""
    ended = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        cwd=PROJECT,
        env=server,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.long
def test_the_server_itself_schedules_the_nights(server: dict[str, str]) -> None:
    """With SQLAlchemy 2.1 it makes none, while all else looks well."""
    typed = [line for line in SERVERS.splitlines() if line.startswith("prefect ")]
    assert [line.split()[1] for line in typed] == ["work-pool", "deploy", "worker", "deployment"]
    for line in typed[:2]:
        type_in(server, *line.split()[1:])
    names = {one["id"]: one["name"] for one in ask(server, "deployments")}
    assert set(names.values()) == set(DEPLOYMENTS)
    for one in ask(server, "deployments"):
        expected = DEPLOYMENTS[one["name"]].get("schedules", [])
        assert (one["paused"], one["work_pool_name"]) == (False, "nightly")
        assert [s["active"] for s in one["schedules"]] == [True] * len(expected)
        assert one["global_concurrency_limit"] is None
    nightly = [name for name, one in DEPLOYMENTS.items() if one.get("schedules")]
    deadline = time.monotonic() + 600
    runs: list[dict[str, Any]] = []
    while time.monotonic() < deadline:
        runs = [run for run in ask(server, "flow_runs") if run["auto_scheduled"]]
        if {names[run["deployment_id"]] for run in runs} == set(nightly):
            break
        time.sleep(1)
    for name in nightly:
        (schedule,) = DEPLOYMENTS[name]["schedules"]
        minute, hour = schedule["cron"].split()[:2]
        due = [
            datetime.fromisoformat(run["expected_start_time"]).astimezone(
                ZoneInfo(schedule["timezone"])
            )
            for run in runs
            if names[run["deployment_id"]] == name
        ]
        assert len(due) >= 3, name
        assert {moment.minute for moment in due} == {int(minute)}
        if hour == "*":
            assert len({moment.replace(minute=0) for moment in due}) == len(due)
        else:
            assert {moment.hour for moment in due} == {int(hour)}
            assert len({moment.date() for moment in due}) == len(due)


@pytest.mark.long
def test_a_file_that_arrives_or_an_upstream_flow_that_ends_starts_a_night(
    server: dict[str, str], tmp_path: Path
) -> None:
    """The triggers of the page, in the entry beside its cron; each event makes one run."""
    (block,) = pages.blocks("deployments/OPERATIONS.md", "yaml")
    (emit,) = [c for c in pages.commands("deployments/OPERATIONS.md") if "event emit" in c]
    entry = DEPLOYMENTS["retrain-flights"] | yaml.safe_load(block)
    assert set(entry) <= set(known.DeploymentConfig.model_fields)
    file = tmp_path / "prefect.yaml"
    file.write_text(yaml.safe_dump({"name": "nightly", "deployments": [entry]}))
    if not ask(server, "work_pools"):
        send(server, "work_pools/", {"name": "nightly", "type": "process"})
    type_in(server, "deploy", "--all", "--prefect-file", str(file))
    (deployed,) = [one for one in ask(server, "deployments") if one["name"] == "retrain-flights"]
    assert len(deployed["schedules"]) == 1, "the cron stays"

    def started() -> int:
        runs = ask(server, "flow_runs")
        return sum(
            run["deployment_id"] == deployed["id"]
            and (run["created_by"] or {}).get("type") == "AUTOMATION"
            for run in runs
        )

    def wait_for(count: int) -> None:
        deadline = time.monotonic() + 300
        while started() < count:
            assert time.monotonic() < deadline
            time.sleep(0.5)

    deadline = time.monotonic() + 300
    while not started():  # the server hears of a new automation a moment later
        type_in(server, *shlex.split(emit)[1:])
        time.sleep(2)
        assert time.monotonic() < deadline
    before = started()
    upstream = {
        "occurred": datetime.now(ZoneInfo("UTC")).isoformat(),
        "event": "prefect.flow-run.Completed",
        "resource": {"prefect.resource.id": f"prefect.flow-run.{uuid4()}"},
        "related": [
            {
                "prefect.resource.id": f"prefect.flow.{uuid4()}",
                "prefect.resource.role": "flow",
                "prefect.resource.name": "load-flights",
            }
        ],
        "id": str(uuid4()),
    }
    other = upstream | {"id": str(uuid4())}
    other["related"] = [{**upstream["related"][0], "prefect.resource.name": "load-orders"}]
    send(server, "events", [other, upstream])
    wait_for(before + 1)
    time.sleep(1)
    assert started() == before + 1, "the end of another flow starts nothing"
