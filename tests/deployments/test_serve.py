"""What ``deployments/serve.py`` writes for others: its password, and variables for a shell."""

from __future__ import annotations

import configparser
import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from deployments import serve
from tasks import settings
from tasks.cli.passwords import ensure_password
from tests.nights import PROJECT


@pytest.mark.parametrize("left", [None, "", "\n"])
def test_a_password_is_made_where_there_is_none(tmp_path: Path, left: str | None) -> None:
    file = tmp_path / "password"
    if left is not None:
        file.write_text(left)
    made = ensure_password(file)
    assert made.startswith("nightly:")
    assert len(made) > 30
    assert ensure_password(file) == made
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_variables_are_read_by_a_shell_as_they_are(tmp_path: Path) -> None:
    place = '/home/josé/$(touch run)/it\'s `id` "here"'
    values = {"PREFECT_API_URL": "u", "PREFECT_API_AUTH_STRING": "a:$b", "NIGHTLY_HOME": place}
    file = serve._write_variables(tmp_path, values)
    said = subprocess.run(
        ["sh", "-c", f'. {file}; printf %s "$NIGHTLY_HOME|$PREFECT_API_AUTH_STRING"'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == f"{place}|a:$b"
    assert not (tmp_path / "run").exists()


def test_the_password_of_a_registry_is_no_argument_of_a_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address = "postgresql://mlflow:m4rked-one@db/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    asked = serve.serve_parser().parse_args([])
    assert "m4rked" not in " ".join(serve._mlflow_command(asked.mlflow_port))
    environment = serve._environment(asked, settings.ensure_home())
    assert environment["MLFLOW_BACKEND_STORE_URI"] == address


@pytest.mark.parametrize("earlier", [False, True])
def test_what_was_started_is_ended_also_after_a_step_of_the_clock(
    earlier: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    created = psutil.Process(process.pid).create_time()
    note = {"pid": process.pid, "created": created} if earlier else serve._noted(process.pid)
    (tmp_path / "note.json").write_text(json.dumps({"worker": note}))
    if not earlier:
        monkeypatch.setattr(psutil.Process, "create_time", lambda *_, **__: created + 3600)
    try:
        serve._end_processes(tmp_path / "note.json")
        assert not psutil.pid_exists(process.pid)
    finally:
        process.kill()


def test_what_ends_by_itself_is_started_again_unless_it_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    processes = serve._Processes(tmp_path)
    processes.start("prefect", ["sh", "-c", "sleep 60 & sleep 60"], {})
    first = processes.running["prefect"]
    while not (left := psutil.Process(first.pid).children()):
        time.sleep(0.01)
    first.kill()
    first.wait()
    with pytest.raises(serve.ServeError, match="prefect ended with exit code -9"):
        processes.keep_up()
    monkeypatch.setattr(serve, "LIVED", 0.0)
    processes.keep_up()
    again = processes.running["prefect"]
    assert again.poll() is None
    noted = json.loads((tmp_path / "processes.json").read_text())
    assert noted["prefect"]["pid"] == again.pid
    assert "prefect ended with exit code -9, and is started again." in capsys.readouterr().out
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            while one.status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.01)
    processes.keep_up()
    assert processes.running["prefect"] is again
    serve._end_processes(tmp_path / "processes.json")
    again.wait()


def test_without_the_process_that_forks_runs_start_slower(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    processes = serve._Processes(tmp_path)
    processes.start(serve.RUNS, ["sh", "-c", "echo no room; exit 3"], {})
    processes.running[serve.RUNS].wait()
    processes.check()
    processes.keep_up()
    assert not processes.running
    assert capsys.readouterr().out.startswith("runs ended, and runs start slower. Its log is ")


def test_it_has_the_variables_of_every_deployment() -> None:
    found = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["deployments"]
    for one in found:
        assert one["work_pool"]["job_variables"]["env"] == serve.variables_of_runs()


def test_a_process_that_took_the_number_of_another_is_left_alone(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    note = serve._noted(process.pid) | {"started": f"{serve._noted(process.pid)['started']}1"}
    (tmp_path / "note.json").write_text(json.dumps({"worker": note}))
    try:
        serve._end_processes(tmp_path / "note.json")
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_a_new_password_of_mlflow_has_new_users(tmp_path: Path) -> None:
    place = tmp_path / "100% of josé"
    place.mkdir()

    def users() -> str:
        config = configparser.ConfigParser()  # as MLflow reads it
        config.read(place / "mlflow-users.ini")
        assert "admin_password" not in config["mlflow"]
        assert config["mlflow"]["default_permission"] == "NO_PERMISSIONS"
        return config["mlflow"]["database_uri"]

    login = serve.mlflow_login(place)
    first = users()
    again = serve.mlflow_login(place)
    assert {again[name] for name in serve.MLFLOW_CLIENT} == {
        login[name] for name in serve.MLFLOW_CLIENT
    }
    assert users() == first
    file = Path(first.removeprefix("sqlite:///"))
    assert file.parent == place
    file.touch()
    (place / "mlflow-password").write_text("")
    again = serve.mlflow_login(place)
    assert again["MLFLOW_TRACKING_PASSWORD"] != login["MLFLOW_TRACKING_PASSWORD"]
    assert users() != first
    assert not file.exists()
    assert {one.stat().st_mode & 0o777 for one in place.iterdir()} == {0o600}


def test_a_log_of_a_server_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = "https://hooks.example/services/m4rked"
    monkeypatch.setenv("NIGHTLY_WEBHOOK_URL", address)
    processes = serve._Processes(tmp_path)
    raised = f"print('refused by {address} and https://u:m4rked@h')"
    processes.start("prefect", [sys.executable, "-c", raised], {})
    processes.running["prefect"].wait(timeout=30)
    deadline = time.monotonic() + 10
    while "refused" not in processes.tail("prefect") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "refused by *** and https://u:***@h" in processes.tail("prefect")
