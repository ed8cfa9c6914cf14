"""A run that is a fork of the warm process is what a new interpreter would be."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.cli import start_run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")

WARM = """
import os, sys
from tasks.clean_process import template
from tasks.cli import warm_process
template.import_libraries = lambda: None
warm_process.LIBRARIES = ("numpy",)
warm_process.packages = lambda: os.stat("packages").st_mtime_ns
warm_process.prefect_reads_otherwise = lambda: "PREFECT_OTHER" in os.environ
warm_process.leave_clean_process = lambda: None
sys.is_fork = True
warm_process.main()
"""
ENGINE = """
import json, os, signal, sys, time
from pathlib import Path
import engine_code

def end(number, _):
    print("told", number, flush=True)
    sys.exit(5)

print(json.dumps({
    "fork": hasattr(sys, "is_fork"), "argv": sys.argv, "path": sys.path, "name": __name__,
    "env": dict(os.environ), "folder": os.getcwd(), "code": engine_code.WORD,
    "ours": [name for name in sys.modules if name.startswith("tasks.")],
    "interrupt": str(signal.getsignal(signal.SIGINT)), "term": str(signal.getsignal(15)),
    "child": str(signal.getsignal(signal.SIGCHLD)),
    "drawn": sys.modules["numpy"].random.random() if "numpy" in sys.modules else None,
}), flush=True)
print("an error", file=sys.stderr)
Path("pid").write_text(str(os.getpid()))
signal.signal(signal.SIGTERM, end)
exec(os.environ.get("NIGHTLY_DO", ""))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory, and a folder in which ``prefect.engine`` is a module of the test."""
    made = tmp_path_factory.mktemp("warm")
    (made / "home" / "serve").mkdir(parents=True)
    (made / "run" / "prefect").mkdir(parents=True)
    (made / "run" / "prefect" / "__init__.py").touch()
    (made / "run" / "prefect" / "engine.py").write_text(ENGINE)
    (made / "run" / "engine_code.py").write_text("WORD = 'first'")
    (made / "packages").touch()
    return made


def environment(place: Path, **more: str) -> dict[str, str]:
    plain = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "TZ": "UTC"}
    return plain | {"NIGHTLY_HOME": str(place / "home")} | more


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def warm(place: Path) -> Iterator[subprocess.Popen[bytes]]:
    folder = place / "home" / "serve"
    process = subprocess.Popen(
        [sys.executable, "-c", WARM, str(folder)],
        cwd=place,
        env=environment(place, PREFECT_SOME="2"),
    )
    wait_until((folder / start_run.SOCKET).exists)
    yield process
    process.kill()
    process.wait()


def start(place: Path, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", start_run.__file__],
        cwd=place / "run",
        env=environment(place, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(place: Path, **more: str) -> dict[str, Any]:
    process = start(place, **more)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "an error\n")
    said: dict[str, Any] = json.loads(out)
    return said


@pytest.mark.usefixtures("warm")
def test_it_sees_what_a_new_interpreter_sees(place: Path) -> None:
    more = {"PREFECT__FLOW_RUN_ID": "1", "NIGHTLY_NEW": "josé"}
    forked = run(place, **more)
    anew = subprocess.run(
        [sys.executable, "-m", "prefect.engine"],
        cwd=place / "run",
        env=environment(place, **more),
        capture_output=True,
        text=True,
        check=True,
    )
    assert forked.pop("fork")
    forked.pop("drawn")
    assert forked == {k: v for k, v in json.loads(anew.stdout).items() if k in forked}
    assert forked["code"] == "first" and not forked["ours"]


@pytest.mark.usefixtures("warm")
def test_no_two_runs_draw_the_same_and_each_reads_the_code_anew(place: Path) -> None:
    first = run(place)
    code = place / "run" / "engine_code.py"
    code.write_text("WORD = 'then'")
    then = run(place)
    code.write_text("WORD = 'first'")
    assert (first["code"], then["code"]) == ("first", "then")
    assert first["drawn"] != then["drawn"]


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("more", [{"TZ": "Asia/Tokyo"}, {"OMP_NUM_THREADS": "7"}, {"W_DATA": "x"}])
def test_what_libraries_may_have_read_otherwise_starts_it_anew(
    place: Path, more: dict[str, str]
) -> None:
    found = run(place, **more)
    assert not found["fork"]
    assert found["env"].items() >= more.items()


@pytest.mark.usefixtures("warm")
def test_other_settings_of_prefect_start_it_anew(place: Path) -> None:
    assert not run(place, PREFECT_OTHER="1")["fork"]
    assert run(place, PREFECT_SOME="3")["fork"]


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize(
    ("does", "code"),
    [
        ("sys.exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
    ],
)
def test_it_ends_as_the_run_ends(place: Path, does: str, code: int) -> None:
    process = start(place, NIGHTLY_DO=does)
    process.communicate(timeout=60)
    assert process.returncode == code


@pytest.mark.usefixtures("warm")
def test_it_is_told_to_end(place: Path) -> None:
    process = start(place, NIGHTLY_DO="time.sleep(600)")
    assert process.stdout and process.stderr
    assert process.stderr.readline()
    time.sleep(0.05)
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert out.endswith("told 15\n")
    assert process.returncode == 5


@pytest.mark.usefixtures("warm")
def test_it_does_not_outlive_who_asked_for_it(place: Path) -> None:
    (place / "run" / "pid").unlink()
    process = start(place, NIGHTLY_DO="time.sleep(600)")
    assert process.stderr and process.stderr.readline()
    wait_until((place / "run" / "pid").exists)
    wait_until(lambda: bool((place / "run" / "pid").read_text()))
    number = int((place / "run" / "pid").read_text())
    process.kill()
    process.communicate()
    wait_until(lambda: not psutil.pid_exists(number))


def test_who_no_longer_waits_gets_no_run(place: Path, warm: subprocess.Popen[bytes]) -> None:
    """It runs by itself by then: the same run would be there twice."""
    (place / "run" / "pid").unlink(missing_ok=True)
    warm.send_signal(signal.SIGSTOP)
    asked = {"folder": str(place / "run"), "environment": environment(place)}
    folder = os.open(place / "home" / "serve", os.O_RDONLY)
    nothing = os.open(os.devnull, os.O_RDWR)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.connect(start_run.address(folder))
        socket.send_fds(line, [json.dumps(asked).encode()], [nothing] * 3)
    os.close(folder)
    os.close(nothing)
    warm.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    assert not (place / "run" / "pid").exists()
    assert run(place)["fork"]
    wait_until(lambda: not psutil.Process(warm.pid).children(recursive=True))


def test_installed_packages_are_imported_anew(place: Path, warm: subprocess.Popen[bytes]) -> None:
    os.utime(place / "packages", (1, 1))
    assert not run(place)["fork"]
    wait_until(lambda: run(place)["fork"])
    assert warm.poll() is None


def test_without_the_warm_process_it_is_the_run_itself(
    place: Path, warm: subprocess.Popen[bytes]
) -> None:
    warm.kill()
    warm.wait()
    assert not run(place)["fork"]
    (place / "home" / "serve" / start_run.SOCKET).unlink()
    assert not run(place)["fork"]
