"""One machine as a person uses it: serve, run a night, look at the pages, end it, kill it."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from playwright.sync_api import Page, expect, sync_playwright

from tasks.cli import start_run
from tests.nights import PROJECT, write_model
from tests.one_machine import Served, clean_environment, start, tree
from tests.toy import write_day

pytestmark = pytest.mark.e2e

YESTERDAY = datetime.now(UTC).date() - timedelta(days=1)
"""The newest day there is; a night is told of it, as the tests may run past midnight."""
WAIT = 120_000
"""Milliseconds a page may take to show something on a busy machine."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("served") / "home"
    running = start(home)
    yield running
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGTERM)
        running.process.communicate(timeout=120)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    for age in range(40):
        write_day(folder / "days", YESTERDAY - timedelta(days=age))
    return write_model(folder / "toy.py", folder / "days")


def parameters(model: Path) -> dict[str, str]:
    """What a run of the deployment is given in place of its own model and of the clock's date."""
    return {"model": str(model), "as_of": str(YESTERDAY)}


@pytest.fixture(scope="module")
def night(served: Served, model: Path) -> dict[str, Any]:
    """The flow run of a night that a person asked the worker for, as OPERATIONS.md says."""
    socket, deadline = served.home / "serve" / start_run.SOCKET, time.monotonic() + 120
    while not socket.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    command = ["deployment", "run", "retrain/retrain-groceries", "--watch", "--param"]
    config = json.dumps(parameters(model))
    ended = subprocess.run(
        [sys.executable, "-m", "prefect", *command, f"config={config}"],
        env=served.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    named = f"toy · {YESTERDAY} · PROMOTED"
    runs = served.ask("flow_runs/filter", {"flow_runs": {"name": {"any_": [named]}}})
    assert len(runs) == 1, ended.stdout
    found: dict[str, Any] = runs[0]
    return found


@pytest.fixture(scope="module")
def page(chromium: str, served: Served) -> Iterator[Page]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        made = browser.new_page(
            viewport={"width": 1400, "height": 1600},
            http_credentials={
                "username": "nightly",
                "password": served.mlflow_password,
                "origin": f"http://127.0.0.1:{served.mlflow_port}",
            },
        )
        made.set_default_timeout(WAIT)
        expect.set_options(timeout=WAIT)
        token = base64.b64encode(served.password.encode()).decode()
        made.add_init_script(f"localStorage.setItem('prefect-password', '{token}')")
        yield made
        browser.close()


def shoot(page: Page, name: str) -> None:
    """Keep a picture of the page where a person can look at it."""
    folder = Path(os.environ.get("SCREENSHOTS", PROJECT / ".nightly" / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=True)


def test_the_run_ends_with_the_verdict(night: dict[str, Any]) -> None:
    assert (night["state_name"], night["state_type"]) == ("Completed", "COMPLETED")
    assert night["state"]["message"].startswith("PROMOTED. First champion: ")
    assert {"nightly", "groceries", "PROMOTED"} <= set(night["tags"])


@pytest.mark.usefixtures("night")
def test_it_was_a_fork_of_the_process_that_has_the_libraries(served: Served) -> None:
    log = served.home / "serve" / "runs.log"
    deadline = time.monotonic() + 60  # the run's process ends after its state
    while not log.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert re.match(r"\d+ ended with 0: [\d.]+ CPU s\n", log.read_text()), log.read_text()


def test_its_tasks_say_what_happened(served: Served, night: dict[str, Any]) -> None:
    wanted = {"flow_runs": {"id": {"any_": [night["id"]]}}}
    names = {task["name"] for task in served.ask("task_runs/filter", wanted)}
    assert {
        "open the night",
        "clean 40 new of 40 days",
        "extract features of 33 new of 33 days",
        "fit logistic",
        "judge 3 candidates against the baseline",
        "promote version 1",
        "publish the report",
    } <= names


def test_its_log_is_a_line_a_step(served: Served, night: dict[str, Any]) -> None:
    wanted = {"logs": {"flow_run_id": {"any_": [night["id"]]}, "level": {"ge_": 20}}}
    said = [line for line in served.ask("logs/filter", wanted) if line["name"] == "nightly"]
    steps = {line["message"].split()[0] for line in said}
    assert {"open", "clean", "features", "fit", "judge", "refit", "register"} <= steps
    assert {"check", "promote", "report"} <= steps
    assert len(said) < 30


def test_the_page_of_the_run(served: Served, night: dict[str, Any], page: Page) -> None:
    page.goto(f"http://127.0.0.1:{served.port}/runs/flow-run/{night['id']}")
    expect(page.get_by_text(f"toy · {YESTERDAY}").first).to_be_visible()
    expect(page.get_by_text("PROMOTED").first).to_be_visible()
    expect(page.get_by_text(re.compile(r"clean\s+40 new of 40 days")).first).to_be_visible()
    shoot(page, "prefect_run")


@pytest.mark.parametrize("interface", ["", "/v2"])
def test_the_lists_of_runs_show_the_night(
    served: Served, night: dict[str, Any], page: Page, interface: str
) -> None:
    """On the deployment's page, and among the runs that completed."""
    site, name = f"http://127.0.0.1:{served.port}{interface}", f"toy · {YESTERDAY} · PROMOTED"
    for place, url in {
        "deployment": f"deployments/deployment/{night['deployment_id']}",
        "completed": "runs?state=Completed",
    }.items():
        page.goto(f"{site}/{url}")
        expect(page.get_by_text(name).first).to_be_visible()
        shoot(page, f"prefect{interface.replace('/', '_')}_{place}")


def test_the_report_is_on_its_page_with_pictures(
    served: Served, night: dict[str, Any], page: Page
) -> None:
    wanted = {"artifacts": {"key": {"any_": ["report-toy"]}}}
    (report,) = served.ask("artifacts/filter", wanted)
    page.goto(f"http://127.0.0.1:{served.port}/artifacts/artifact/{report['id']}")
    expect(page.get_by_text("Version 1 is the champion.").first).to_be_visible()
    expect(page.get_by_text("Checks", exact=True).first).to_be_visible()
    pictures = page.locator("img[src^='data:image/png']")
    expect(pictures.first).to_be_visible()
    assert pictures.count() >= 4
    assert all(
        pictures.nth(n).evaluate("image => image.naturalWidth") > 300
        for n in range(pictures.count())
    )
    assert "{'" not in page.inner_text("body")
    shoot(page, "prefect_report")


def test_the_run_in_mlflow(served: Served, night: dict[str, Any], page: Page) -> None:
    report = json.loads(
        (served.home / "reports" / "toy" / str(YESTERDAY) / "report.json").read_text()
    )
    address = report["links"]["mlflow_ui"]
    assert address.startswith(f"http://127.0.0.1:{served.mlflow_port}/#/experiments/")
    (printed,) = (line.split()[-1] for line in served.said if line.startswith("MLflow "))
    page.goto(printed)
    expect(page.get_by_text("toy", exact=True).first).to_be_visible()
    shoot(page, "mlflow_start")
    page.goto(address)
    expect(page.get_by_text(f"toy {YESTERDAY} PROMOTED").first).to_be_visible()
    expect(page.get_by_text("average_precision").first).to_be_visible()
    back = page.get_by_role("link", name="Log and report in Prefect")
    shoot(page, "mlflow_run")
    page.goto(str(back.get_attribute("href")))
    expect(page.get_by_text("PROMOTED").first).to_be_visible()
    expect(page.get_by_text("retrain-groceries").first).to_be_visible()
    page.goto(report["links"]["mlflow_nights"])
    expect(page.get_by_text(f"toy {YESTERDAY} PROMOTED").first).to_be_visible()
    for column in ("average_precis", "as_of", "interval", "verdict"):
        expect(page.get_by_text(column).first).to_be_visible()
    expect(page.get_by_text(f"{YESTERDAY}: PROMOTED, version 1").first).to_be_visible()
    shoot(page, "mlflow_nights")
    page.goto(f"http://127.0.0.1:{served.mlflow_port}/#/models/toy/versions/1")
    expect(page.get_by_text("champion").first).to_be_visible()
    shoot(page, "mlflow_version")


@pytest.mark.long
def test_missed_nights_end_as_one(served: Served, model: Path, night: dict[str, Any]) -> None:
    """Nights due while nothing ran: one night over all the days, nothing done by the other."""
    for age in range(40, 43):
        write_day(model.parent / "days", YESTERDAY - timedelta(days=age))
    other = write_model(
        model.parent / "missed.py", model.parent / "days", ('name="toy"', 'name="missed"')
    )
    deployment = served.ask("deployments/name/retrain/retrain-groceries")
    made = []
    for age in (1, 0):
        due = datetime.combine(YESTERDAY - timedelta(days=age - 1), datetime.min.time(), UTC)
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}}
        body = {"parameters": {"config": {"model": str(other)}}, "state": state}
        made.append(served.ask(f"deployments/{deployment['id']}/create_flow_run", body)["id"])
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        found = [served.ask(f"flow_runs/{run}") for run in made]
        if all(run["state_type"] in ("COMPLETED", "FAILED", "CRASHED") for run in found):
            break
        time.sleep(1)
    said = [run["state"]["message"] for run in found]
    (real,) = (run for run in found if run["state"]["message"].startswith("PROMOTED. First "))
    assert real["name"] == f"missed · {YESTERDAY} · PROMOTED"
    (rest,) = (text for text in said if text != real["state"]["message"])
    assert rest.startswith(("SUPERSEDED. ", "PROMOTED. Decided before"))
    folder = served.home / "reports" / "missed"
    assert [one.name for one in folder.iterdir() if one.is_dir()] == [str(YESTERDAY)]


@pytest.mark.parametrize(
    ("path", "body", "headers", "code"),
    [
        ("admin/settings", None, {"Authorization": "none"}, 401),
        ("admin/settings", None, {"Authorization": "Basic d3Jvbmc6d3Jvbmc="}, 401),
        ("flow_runs/filter", {}, {"Authorization": "none"}, 403),
        ("flow_runs/filter", {}, {"Origin": "http://elsewhere.example"}, 403),
    ],
)
def test_a_stranger_is_refused(
    served: Served, path: str, body: dict[str, Any] | None, headers: dict[str, str], code: int
) -> None:
    assert served.send(path, body, **headers).status_code == code


@pytest.mark.parametrize("password", [None, "", "password1234", "wrong"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("api/2.0/mlflow/experiments/create", {"name": "x", "artifact_location": "/tmp/x"}),
        ("api/2.0/mlflow/registered-models/alias", {"name": "toy", "alias": "champion"}),
        ("api/2.0/mlflow/users/create", {"username": "me", "password": "password1234"}),
        ("ajax-api/2.0/mlflow/registered-models/search", None),
        ("graphql", {"query": "{ __typename }"}),
        ("get-artifact?path=model&run_id=1", None),
        ("api/2.0/mlflow-artifacts/artifacts", None),
        ("", None),
    ],
)
def test_mlflow_answers_nobody_without_its_password(
    served: Served, path: str, body: dict[str, str] | None, password: str | None
) -> None:
    answered = httpx.request(
        "GET" if body is None else "POST",
        f"http://127.0.0.1:{served.mlflow_port}/{path}",
        json=body,
        auth=None if password is None else ("nightly", password),
        timeout=60,
    )
    assert answered.status_code == 401, answered.text


def test_the_projects_client_of_mlflow_is_let_in(served: Served, night: dict[str, Any]) -> None:
    script = (
        f". {served.home / 'serve' / 'environment'}; {sys.executable} -c 'import mlflow; "
        'print(mlflow.MlflowClient().get_model_version_by_alias("toy", "champion").version)\''
    )
    ended = subprocess.run(
        ["sh", "-c", script],
        env=clean_environment() | {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{served.mlflow_port}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.strip() == "1", ended.stderr


def test_no_password_is_an_argument_of_a_process(served: Served) -> None:
    secrets = (served.password, served.password.partition(":")[2], served.mlflow_password)
    arguments = [" ".join(process.cmdline()) for process in tree(served)]
    assert [each for each in arguments if any(secret in each for secret in secrets)] == []
    logs = [file.read_text() for file in (served.home / "serve").glob("*.log")]
    assert [log for log in logs if any(secret in log for secret in secrets)] == []
    written = (served.home / "serve").glob("*password")
    assert {file.stat().st_mode & 0o777 for file in written} == {0o600}


def test_only_this_machine_is_listened_to(served: Served) -> None:
    listening = [
        one.laddr
        for process in tree(served)
        for one in process.net_connections(kind="inet")
        if one.status == psutil.CONN_LISTEN
    ]
    assert {served.port, served.mlflow_port} <= {address.port for address in listening}
    assert {address.ip for address in listening} == {"127.0.0.1"}


def test_a_second_start_and_a_taken_port_say_so(served: Served, tmp_path: Path) -> None:
    def said(home: Path) -> tuple[int, str]:
        ended = subprocess.run(
            [sys.executable, str(PROJECT / "deployments" / "serve.py"), "--port", f"{served.port}"],
            env=clean_environment() | {"NIGHTLY_HOME": str(home)},
            capture_output=True,
            text=True,
            check=False,
        )
        return ended.returncode, ended.stdout + ended.stderr

    code, text = said(served.home)
    assert (code, "Traceback" in text) == (1, False)
    assert "serve is held by process" in text
    code, text = said(tmp_path / "other")
    assert (code, "Traceback" in text) == (1, False)
    assert f"Port {served.port} is taken" in text


def end(served: Served, number: signal.Signals) -> None:
    """A signal ends it with all that it started."""
    last = tree(served)
    served.process.send_signal(number)
    out, _ = served.process.communicate(timeout=120)
    assert (out.splitlines()[-1], served.process.returncode) == ("Ended.", 0)
    assert not [one for one in last if one.is_running()]


@pytest.fixture(scope="module")
def restarted(served: Served) -> Iterator[Served]:
    """The next start, after it was killed hard and what it had started lived on.

    Its terminal is closed at the end, unless a test has ended it.
    """
    first = tree(served)
    os.kill(served.process.pid, signal.SIGKILL)
    served.process.wait(timeout=60)
    assert served.process.stdout is not None
    served.process.stdout.close()
    left = [one for one in first[1:] if one.is_running()]
    assert left, "its servers live on after it was killed"
    again = start(served.home, served.port, served.mlflow_port)
    assert not [one for one in left if one.is_running()]
    yield again
    if again.process.poll() is None:
        end(again, signal.SIGHUP)


@pytest.mark.long
def test_killed_hard_the_next_start_has_the_same_deployments(restarted: Served) -> None:
    deployments = restarted.ask("deployments/filter", {})
    names = {one["name"] for one in deployments}
    assert {one["global_concurrency_limit"] for one in deployments} == {None}
    deployed = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    assert names == {one["name"] for one in deployed}


@pytest.mark.long
def test_after_a_power_cut_in_a_night_the_next_one_ends_within_two_minutes(
    restarted: Served, model: Path
) -> None:
    """All is killed at once, as by a reboot: server, worker and night. SIGTERM then ends all."""
    other = write_model(
        model.parent / "cut.py", model.parent / "days", ('name="toy"', 'name="cut"')
    )

    def begin(served: Served) -> str:
        deployment = served.ask("deployments/name/retrain/retrain-groceries")
        body = {"parameters": {"config": parameters(other)}}
        return str(served.ask(f"deployments/{deployment['id']}/create_flow_run", body)["id"])

    def wait(served: Served, run: str, *types: str) -> dict[str, Any]:
        deadline = time.monotonic() + 120
        while (found := served.ask(f"flow_runs/{run}"))["state_type"] not in types:
            assert time.monotonic() < deadline, found["state"]
            time.sleep(0.3)
        return dict(found)

    cut = begin(restarted)
    wait(restarted, cut, "RUNNING")
    pending = begin(restarted)
    wait(restarted, pending, "PENDING", "RUNNING")
    for one in tree(restarted):
        one.kill()
    restarted.process.communicate(timeout=60)
    again = start(restarted.home, restarted.port, restarted.mlflow_port)
    try:
        assert any(line.startswith("Swept: ") for line in again.said), again.said
        for run in (cut, pending):
            found = again.ask(f"flow_runs/{run}")
            assert (found["state_type"], "process is gone" in found["state"]["message"]) == (
                "CRASHED",
                True,
            )
        found = wait(again, begin(again), "COMPLETED", "FAILED")
        assert found["name"].endswith("· PROMOTED")
    finally:
        end(again, signal.SIGTERM)
