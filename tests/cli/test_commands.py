"""The command line: wrong calls say so in a line, output can be piped, orphans are ended."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tasks.cli import commands, embedded_server
from tasks.cli.parsers import rollback_parser
from tests.nights import COMMAND, PROJECT, write_model

REPORT = {
    "model": "toy",
    "question": "Will this visitor buy?",
    "as_of": "2026-02-09",
    "verdict": "HELD",
    "reasons": ["The newest day in the source is 2026-02-08, 1 day before 2026-02-09."],
    "checks": [],
    "metric": "average_precision",
    "greater_is_better": True,
    "titles": {},
    "challenger": {"version": None, "run_id": None, "candidate": None},
    "champion": {"version": "3", "candidate": "tree", "since": "2026-02-07"},
    "candidates": {},
    "metrics": {},
    "looks": {},
    "rows": {"in": 0, "accepted": 0, "quarantined": 0, "duplicates": 0},
    "days": {"new": 0, "reused": 0, "rejected": 0},
    "split": None,
    "seconds": {"total": 0.4},
    "links": {"report": "report.md"},
}


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=os.environ | {"NIGHTLY_HOME": str(home)},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--as-of", "yesterday"], "found 'yesterday', expected a day such as 2026-11-21"),
        (["--as-of", "2026-02-30"], "found '2026-02-30', expected a day such as"),
        (["--modle", "flights"], "unrecognized arguments: --modle flights"),
    ],
)
def test_a_wrong_call_is_answered_at_once(home: Path, arguments: list[str], message: str) -> None:
    ended = run(home, *arguments)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not home.exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nosuch", "There is no model 'nosuch': deployments/nosuch.py does not exist. Models here"),
        ("nosuch.py", "Model file nosuch.py: not found"),
        ("", "Model '': expected a model name"),
        ("../flights", "Model '../flights': expected a model name"),
        ("/etc/passwd", "Model '/etc/passwd': expected a model name"),
        ("x; DROP TABLE nights", "Model 'x; DROP TABLE nights': expected a model name"),
        ("os:system", "os:system: system in os is <built-in function system>, not a ModelSpec"),
        ("a" * 100_000, "Model 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ],
)
def test_an_unknown_model_is_one_clear_line(
    model: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["retrain.py", "--model", model])
    monkeypatch.setattr(commands, "embedded_server", lambda: pytest.fail("a server was started"))
    commands.answer_if_decided()
    with pytest.raises(SystemExit) as ended:
        commands.run_retrain(lambda *_: None)
    assert ended.value.code == 2
    said = capsys.readouterr()
    first, second = said.err.splitlines()
    assert first.startswith(f"nightly: {message}")
    assert second == "The champion is unchanged."
    assert said.out == ""
    assert len(said.err) < 500


@pytest.mark.parametrize(
    ("setting", "value", "code", "message"),
    [
        ("NIGHTLY_STATE_URL", "mysql://host/nightly", 2, "NIGHTLY_STATE_URL: found 'mysql:"),
        ("NIGHTLY_STATE_URL", "postgresql://127.0.0.1:9/x", 1, "The database of the shared state"),
    ],
)
def test_a_shared_state_that_cannot_be_used_is_one_line_before_anything_starts(
    setting: str,
    value: str,
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(setting, value)
    monkeypatch.setattr(sys, "argv", ["retrain.py", "--model", "flights"])
    with pytest.raises(SystemExit) as ended:
        commands.answer_if_decided()
    assert ended.value.code == code
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"nightly: {message}")
    assert second == "The champion is unchanged."


def refused(address: str | None, capsys: pytest.CaptureFixture[str], code: int = 1) -> str:
    """What a command says whose Prefect server does not come up."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with (
        temporary_settings({PREFECT_API_URL: address}),
        pytest.raises(SystemExit) as ended,
        embedded_server.embedded_server(),
    ):
        raise AssertionError("it came up")
    assert ended.value.code == code
    first, second = capsys.readouterr().err.splitlines()
    assert second == "The champion is unchanged."
    return first


def test_a_server_that_is_configured_and_does_not_answer_is_one_clear_line(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused("http://127.0.0.1:9/api", capsys)
    assert said.startswith("nightly: The Prefect server at http://127.0.0.1:9/api does not answer")
    assert "put PREFECT_API_URL= before the command" in said


API = "http://127.0.0.1:4200/api"


def failed(code: int) -> Exception:
    request = httpx.Request("POST", f"{API}/flow_runs/")
    answer = httpx.Response(code, request=request)
    return httpx.HTTPStatusError("Server error", request=request, response=answer)


def unreachable() -> Exception:
    error = RuntimeError(f"Failed to reach API at {API}")
    error.__cause__ = httpx.ConnectError("refused", request=httpx.Request("GET", f"{API}/version"))
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (failed(500), "answers POST /api/flow_runs/ with 500. Look at its log."),
        (failed(401), "answers POST /api/flow_runs/ with 401. Check PREFECT_API_AUTH_STRING."),
        (unreachable(), "does not answer GET /api/version (ConnectError). Look at its log."),
        (ValueError("no\nJSON"), "gives an answer that is not Prefect's (ValueError: no"),
    ],
)
def test_a_prefect_server_that_fails_meanwhile_is_one_clear_line(
    error: Exception,
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a flow raises is in its last state; what its call raises is of Prefect."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    def flow(_: object, *, return_state: bool) -> None:
        raise error

    monkeypatch.setattr(commands, "embedded_server", nullcontext)
    with temporary_settings({PREFECT_API_URL: API}), pytest.raises(SystemExit) as ended:
        commands._run_flow(flow, None, verbose=False)
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert said.startswith(f"nightly: The Prefect server at {API} {words}"), said
    assert said.count("\n") == 2
    assert "Run the same command again" in said


@pytest.mark.parametrize("kept", [None, {"verdict": "PROMOTED"}])
def test_a_night_whose_last_answer_was_lost_is_shown_from_what_it_kept(
    kept: dict[str, str] | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Prefect then reads the last state from its server, which has no result of it."""
    from prefect.client.schemas.objects import State, StateType

    state = State(type=StateType.COMPLETED, message="PROMOTED. It is better.")
    asked = argparse.Namespace(model="toy", as_of=None)
    monkeypatch.setattr(commands, "recall", lambda *_: kept)
    monkeypatch.setattr(commands, "_show", lambda report, *_, **__: print(report) or 0)
    assert commands._end(state, asked, None) == 0
    assert capsys.readouterr().out == f"{kept or state.message}\n"


def test_its_own_server_has_a_database_here_and_says_when_that_is_of_a_newer_prefect(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "prefect").mkdir(parents=True)
    file = home / "prefect" / "by-hand.db"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        database.execute("INSERT INTO alembic_version VALUES ('ffffffffffff')")
    said = refused(None, capsys)
    assert f"it ended as it started. Its database is sqlite+aiosqlite:///{file}" in said


def test_its_own_server_answers_nobody_without_its_password(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.server.api import server as prefect_server
    from prefect.settings import (
        PREFECT_API_AUTH_STRING,
        PREFECT_API_URL,
        get_current_settings,
        temporary_settings,
    )

    monkeypatch.setattr(embedded_server, "_start", lambda _: "http://127.0.0.1:9/api")
    monkeypatch.setattr(embedded_server, "make_database", lambda *_: None)
    with temporary_settings({PREFECT_API_URL: None}), embedded_server.embedded_server():
        password = PREFECT_API_AUTH_STRING.value()
        app = prefect_server.create_app(get_current_settings(), ephemeral=True, ignore_cache=True)
    assert password is not None and len(password) > 40
    user, _, secret = password.partition(":")

    async def ask(method: str, path: str, said: str | None = None) -> int:
        auth = None if said is None else (user, said)
        local = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=local, base_url="http://127.0.0.1") as neighbour:
            return (await neighbour.request(method, f"/api/{path}", auth=auth)).status_code

    for path in ("flow_runs/filter", "logs/filter", "artifacts/"):
        assert asyncio.run(ask("POST", path)) == 401
    answers = [asyncio.run(ask("GET", "admin/version", said)) for said in (None, "guess", secret)]
    assert answers == [401, 401, 200]


@pytest.mark.parametrize("address", [None, "http://127.0.0.1:9/api"])
def test_a_state_directory_that_cannot_be_made_is_one_clear_line(
    address: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NIGHTLY_HOME", str(tmp_path / "file" / "home"))
    said = refused(address, capsys, 2)
    assert "file/home cannot be created: Not a directory. Set NIGHTLY_HOME to a directory" in said


def test_a_change_of_the_champion_takes_a_model_as_a_night_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_model(tmp_path / "visitors.py", tmp_path)
    parser = rollback_parser()
    named = {
        given: commands.registered_model(parser.parse_args(["--model", *given.split()]))
        for given in ("toy", str(file), "tests.toy:toy", f"{file} --partition JFK", "a.__2e")
    }
    assert list(named.values()) == ["toy", "toy", "toy", "toy._j_f_k", "a.__2e"]
    with pytest.raises(SystemExit) as ended:
        commands.registered_model(parser.parse_args(["--model", f"{tmp_path}/none.py"]))
    assert ended.value.code == 2
    assert "none.py" in capsys.readouterr().err


def test_help_names_every_option_and_exit_code(home: Path) -> None:
    ended = run(home, "--help")
    assert ended.returncode == 0
    for text in ("--model", "--as-of", "--verbose", "--json", "3 rejected; 2 wrong call or spec"):
        assert text in " ".join(ended.stdout.split())


@pytest.mark.parametrize("name", ["approve", "backtest", "monitor", "predict", "rollback"])
def test_help_and_a_wrong_call_wait_for_no_library(name: str) -> None:
    command = [sys.executable, "-X", "importtime", str(PROJECT / "flows" / f"{name}.py"), "--help"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--model" in ended.stdout
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert "tasks.cli.parsers" in imported
    assert not imported & {"mlflow", "pandas", "prefect", "sklearn"}


def shown(home: Path, *options: str, then: str = "") -> subprocess.CompletedProcess[str]:
    """What ``_show`` prints for a kept report, in a process of its own, piped on."""
    home.mkdir()
    (home / "report.json").write_text(json.dumps(REPORT))
    script = (
        "import json, sys; from tasks.cli import commands; "
        f"sys.argv = ['retrain.py', *{list(options)!r}]; "
        f"report = json.load(open({str(home / 'report.json')!r})); "
        "sys.exit(commands._show(report, commands.retrain_parser().parse_args(), again=False))"
    )
    line = f'"{sys.executable}" -c "$SCRIPT" {then}'
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        env=os.environ | {"SCRIPT": script},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_json_is_json_and_the_screen_is_for_people(home: Path) -> None:
    ended = shown(home, "--json")
    assert json.loads(ended.stdout) == REPORT
    assert ended.returncode == 0


def test_the_screen_says_verdict_and_reason_first(home: Path) -> None:
    lines = shown(home).stdout.splitlines()
    assert lines[0] == "toy · 2026-02-09 · HELD: no fresh data, the champion stays"
    assert any("1 day before 2026-02-09" in line for line in lines[:5])
    assert max(map(len, lines)) <= 100


def test_a_closed_pipe_is_no_fault(home: Path) -> None:
    ended = shown(home, "--json", then="| head -c 0")
    assert ended.stderr == ""
    assert ended.returncode == 0


@pytest.fixture
def closed_stdout() -> Iterator[int]:
    """The writing end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_pipe_closed_before_the_first_byte_is_no_fault(
    home: Path, closed_stdout: int, unbuffered: str
) -> None:
    script = (
        "import json, sys; from tasks.cli import commands; sys.argv = ['retrain.py']; "
        "asked = commands.retrain_parser().parse_args(); "
        f"report = json.loads({json.dumps(REPORT)!r}); "
        "sys.exit(commands._show(report, asked, again=False))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        cwd=PROJECT,
        stdout=closed_stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def start_stand_in(words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", words])


@pytest.mark.parametrize(
    ("words", "older", "starter_lives", "ended"),
    [
        ("prefect.server.api.server:create_app", None, False, True),  # as noted by older commits
        ("prefect.server.api.server:create_app", None, True, False),
        ("somebody else", None, False, False),
        ("a fork of the command", 0, False, True),
        ("a fork of the command", 0, True, False),
        ("somebody else with its number", 60, False, False),
    ],
)
def test_only_an_orphaned_server_is_ended(
    words: str, older: int | None, starter_lives: bool, ended: bool, tmp_path: Path
) -> None:
    process = start_stand_in(words)
    try:
        deadline = time.monotonic() + 20
        while words not in psutil.Process(process.pid).cmdline() and time.monotonic() < deadline:
            time.sleep(0.05)
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        starter = os.getpid() if starter_lives else gone.pid
        record = tmp_path / "embedded-server.json"
        noted = {"pid": process.pid, "started_by": starter}
        if older is not None:
            noted["born"] = psutil.Process(process.pid).create_time() - older
        record.write_text(json.dumps(noted))
        embedded_server._end_orphan(record)
        if ended:
            assert process.wait(timeout=20) == -signal.SIGTERM
        else:
            time.sleep(0.3)
            assert process.poll() is None
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("content", [None, "", "{}", '{"pid": -1}', '{"pid": "x"}'])
def test_no_record_or_a_broken_one_ends_nothing(content: str | None, tmp_path: Path) -> None:
    record = tmp_path / "embedded-server.json"
    if content is not None:
        record.write_text(content)
    embedded_server._end_orphan(record)
    assert record.exists() == (content is not None)


def is_of(process: psutil.Process, temporary: Path) -> bool:
    """Whether a process runs with this folder for temporary files."""
    with suppress(psutil.Error):
        return process.environ().get("TMPDIR") == str(temporary)
    return False


def test_ctrl_c_ends_a_command_and_all_that_it_started_with_one_line(tmp_path: Path) -> None:
    script = tmp_path / "night.py"
    script.write_text(
        "import subprocess, sys, threading, time\n"
        "from tasks.cli.interrupt import end_on_interrupt\n"
        "end_on_interrupt()\n"
        "deaf = 'import signal, time; signal.signal(15, signal.SIG_IGN); signal.signal(2, "
        "signal.SIG_IGN); print(1, flush=True); time.sleep(600)'\n"
        "children = [subprocess.Popen([sys.executable, '-c', deaf], stdout=subprocess.PIPE, "
        "start_new_session=apart) for apart in (True, False)]\n"
        "def start_again():\n"
        "    for _ in range(2):\n"
        "        subprocess.Popen(['sleep', '600']).wait()\n"
        "    time.sleep(600)\n"
        "threading.Thread(target=start_again).start()  # as Dask does with its workers\n"
        "[child.stdout.readline() for child in children]\n"
        "from tasks.store.scratch import own_folder\n"
        "import tempfile\n"
        "with own_folder():\n"
        "    tempfile.mkdtemp()\n"
        "    print(*(child.pid for child in children), flush=True)\n"
        "    while True:\n"
        "        time.sleep(0.1)\n"  # a signal that comes just before a long one does not wake it
    )
    (tmp_path / "temporary").mkdir()
    process = subprocess.Popen(
        [sys.executable, script],
        env=os.environ | {"TMPDIR": str(tmp_path / "temporary")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    children = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.startswith("nightly: Interrupted. Run the same command again")
    assert [*(tmp_path / "temporary").iterdir()] == []
    assert len(said.splitlines()) == 1
    assert len(children) == 2
    assert not [child for child in children if child.is_running()]
    assert not [one for one in psutil.process_iter() if is_of(one, tmp_path / "temporary")]


def test_a_model_that_cannot_be_imported_is_told_before_a_server_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.py").write_text("import nothing_there")
    monkeypatch.setattr(sys, "argv", ["retrain.py", "--model", str(tmp_path / "bad.py")])
    monkeypatch.setattr(commands, "embedded_server", lambda: pytest.fail("a server was started"))
    with pytest.raises(SystemExit) as ended:
        commands.run_retrain(lambda *_: None)
    assert ended.value.code == 2
    assert "No module named 'nothing_there'" in capsys.readouterr().err
