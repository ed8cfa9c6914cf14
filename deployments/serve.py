"""Everything on one machine: Prefect with its schedules, a worker and the MLflow pages.

``python deployments/serve.py`` runs until Ctrl-C, SIGTERM or SIGHUP and then ends what it started,
and nothing else. A server or worker that ends by itself is started again. Everything listens only
on 127.0.0.1; Prefect and MLflow ask for a password.
"""

from __future__ import annotations

import argparse
import configparser
import hashlib
import io
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import psutil
import yaml

from deployments import answer
from tasks import settings
from tasks.cli.environment import DEFAULTS, pass_proxy_by
from tasks.cli.interrupt import end_processes
from tasks.cli.passwords import ensure_password
from tasks.errors import NightlyError
from tasks.shown import hide, stand_any_terminal
from tasks.store import files, locks
from tasks.store.empty_databases import make_database

PREFECT = (sys.executable, "-m", "prefect")
POOL = "nightly"
AT_ONCE = 6
"""Runs at a time, so that a rollback does not wait for nights that wait for each other."""
PATIENCE = 120.0
"""Seconds a server may take to answer after its start."""
MLFLOW_CLIENT = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
LIVED = 60.0
"""Seconds after its start from which on a process that ends is started again."""
GRACE = 15.0
"""Seconds a process may take to end after it is told to."""
RUNS = "runs"
"""The process that forks for each run: without it they only start slower."""


class ServeError(NightlyError, RuntimeError):
    """A process does not run or answer; the message names it and its log."""


def main() -> None:
    """Start everything, print the addresses, and run until told to end."""
    asked = serve_parser().parse_args()
    stand_any_terminal()
    for one in (signal.SIGTERM, signal.SIGHUP):  # SIGHUP: its terminal was closed
        signal.signal(one, signal.default_int_handler)
    try:
        folder = settings.ensure_home() / "serve"
        settings.check_readers()
        with locks.lock("serve"):
            _end_processes(folder / "processes.json")
            with _started(folder) as processes:
                _serve(processes, asked, folder)
    except KeyboardInterrupt:
        print("Ended.")
    except (ServeError, settings.SettingsError, locks.LockedError, files.StoreError) as error:
        sys.exit(f"nightly: {error}")


def serve_parser() -> argparse.ArgumentParser:
    """The options of ``deployments/serve.py``."""
    parser = argparse.ArgumentParser(
        prog="deployments/serve.py",
        description="Prefect with every schedule, a worker and the MLflow pages on this machine.",
    )
    parser.add_argument("--port", type=int, default=4200, help="of Prefect (default: 4200)")
    parser.add_argument(
        "--mlflow-port", type=int, default=5000, help="of the MLflow pages (default: 5000)"
    )
    parser.add_argument(
        "--answers",
        type=int,
        nargs="?",
        const=answer.PORT,
        metavar="PORT",
        help=f"answer requests with the champion of every model (default port: {answer.PORT})",
    )
    return parser


class _Processes:
    """The started processes, each in a separate session and recorded on disk.

    Args:
        folder: Where the logs and the note live.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.again: dict[str, tuple[float, Callable[[], None]]] = {}

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        shown: bool = False,
    ) -> None:
        """Start a process; its output goes to a log, or to the screen where ``shown``."""
        process = subprocess.Popen(
            command,
            cwd=settings.PROJECT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=None if shown else subprocess.PIPE,
            stderr=None if shown else subprocess.STDOUT,
            start_new_session=True,
        )
        if process.stdout:
            written = (process.stdout, self.folder / f"{name}.log")
            threading.Thread(target=_write_log, args=written, daemon=True).start()
        self.running[name] = process
        self.again[name] = (
            time.monotonic(),
            lambda: self.start(name, command, environment, shown=shown),
        )
        note = {one: _noted(two.pid) for one, two in self.running.items()}
        files.write_json(self.folder / "processes.json", note)

    def check(self) -> None:
        """Check that all are still running.

        Raises:
            ServeError: Where one has ended.
        """
        for name, process in self.running.items():
            if process.poll() is not None and name != RUNS:
                raise ServeError(
                    f"{name} ended with exit code {process.returncode}. {self.tail(name)}"
                )

    def keep_up(self) -> None:
        """Start again what has ended: nights wait for a server, and live on without their worker.

        Raises:
            ServeError: Where one has ended soon after its start.
        """
        for name, process in [*self.running.items()]:
            if process.poll() is None:
                continue
            started, start = self.again[name]
            if time.monotonic() - started < LIVED:
                self.check()
                del self.running[name]
                print(f"{name} ended, and runs start slower. {self.tail(name)}", flush=True)
                continue
            if name != "worker":  # what it had started holds its port
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            print(
                f"{name} ended with exit code {process.returncode}, and is started again.",
                flush=True,
            )
            start()

    def tail(self, name: str) -> str:
        """Path of a process's log, and its last lines."""
        log = self.folder / f"{name}.log"
        if not log.exists():
            return ""
        last = log.read_text(errors="replace").strip().splitlines()[-5:]
        return f"Its log is {log}, and ends with:\n" + "\n".join(last)


def _write_log(said: IO[bytes], file: Path) -> None:
    """Write what a server says, without secrets: Prefect says the address that refused an alarm."""
    with said, file.open("wb") as log:
        for line in said:
            log.write(hide(line.decode(errors="replace")).encode())
            log.flush()


@contextmanager
def _started(folder: Path) -> Iterator[_Processes]:
    folder.mkdir(mode=0o700, exist_ok=True)
    processes = _Processes(folder)
    try:
        yield processes
    finally:
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, signal.SIG_IGN)  # the end is on its way already
        _end_processes(folder / "processes.json")


def _serve(processes: _Processes, asked: argparse.Namespace, folder: Path) -> None:
    from tasks.registry.runs import TRAINING_PAGES

    begun = time.monotonic()
    pass_proxy_by()
    environment = _environment(asked, folder)
    joined, client_login = bool(os.environ.get("PREFECT_API_URL")), dict[str, str]()
    pages = environment["PREFECT_API_URL"].removesuffix("/api")
    if not joined:
        _free(asked.port, "--port")
        _make_database(environment)
        bound = ["--host", "127.0.0.1", "--port", str(asked.port)]
        processes.start("prefect", [*PREFECT, "server", "start", *bound], environment)
    mlflow_pages = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not mlflow_pages.startswith("http"):
        mlflow_pages = environment["NIGHTLY_MLFLOW_UI"]
        _free(asked.mlflow_port, "--mlflow-port")
        from tasks.registry import client

        client.open_registry()  # MLflow makes its database once, before two would at a time
        login = mlflow_login(folder)
        processes.start("mlflow", _mlflow_command(asked.mlflow_port), environment | login)
        client_login = {name: login[name] for name in MLFLOW_CLIENT}
    _wait_for(f"{environment['PREFECT_API_URL']}/health", "prefect", processes)
    print(f"Prefect    {hide(pages)}   after {time.monotonic() - begun:.0f} s", flush=True)
    # Whatever a server of our own counts as running was ended, or cut off with its machine.
    set_up = [sys.executable, "-m", "tasks.cli.set_up", POOL, *(["--joined"] if joined else [])]
    print(_run(set_up, environment), end="", flush=True)
    alarmed = settings.webhook_url() or settings.alarm_block()
    if alarmed:
        _run([sys.executable, "deployments/alarms.py"], environment)
    worker = [*PREFECT, "worker", "start", "--pool", POOL, "--limit", str(AT_ONCE)]
    if not joined and sys.platform == "linux":
        warm = [sys.executable, "-m", "tasks.cli.warm_process", str(folder)]
        processes.start(RUNS, warm, environment | variables_of_runs())
    processes.start("worker", worker, environment, shown=True)
    if "mlflow" in processes.running:
        _wait_for(f"{mlflow_pages}/health", "mlflow", processes)
    print(f"API        {hide(environment['PREFECT_API_URL'])}")
    print(f"MLflow     {hide(mlflow_pages)}/#/experiments?{TRAINING_PAGES}")
    if asked.answers:
        address = f"http://127.0.0.1:{asked.answers}"
        _free(asked.answers, "--answers")
        command = [sys.executable, answer.__file__, "--port", str(asked.answers)]
        processes.start("answers", command, environment)
        _wait_for(f"{address}/health", "answers", processes)
        print(f"Answers    {address}/MODEL/invocations")
    print(
        f"Alarms     {'on' if alarmed else 'off: set NIGHTLY_WEBHOOK_URL or NIGHTLY_ALARM_BLOCK'}"
    )
    named = {
        "password": not joined,
        "mlflow-password": bool(client_login),
        answer.PASSWORD: bool(asked.answers),
    }
    if any(named.values()):
        print(f"Passwords  in {folder}: {', '.join(name for name, made in named.items() if made)}")
        print("           (user nightly). For commands in another terminal:")
        print(f"           source {_write_variables(folder, environment | client_login)}")
    print(f"All is up after {time.monotonic() - begun:.0f} s. Ctrl-C ends it.", flush=True)
    while True:
        processes.keep_up()
        time.sleep(1)


def _environment(asked: argparse.Namespace, folder: Path) -> dict[str, str]:
    """Environment of the processes: addresses, the password and safe settings."""
    found = {name: os.environ.get(name, value) for name, value in DEFAULTS.items()}
    found["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # eight processes that nobody asks
    found["MLFLOW_BACKEND_STORE_URI"] = settings.tracking_uri()  # arguments are seen by everybody
    found["NIGHTLY_HOME"] = str(settings.home())
    found["NIGHTLY_MLFLOW_UI"] = f"http://127.0.0.1:{asked.mlflow_port}"
    if os.environ.get("PREFECT_API_URL"):
        return found | {"PREFECT_API_URL": os.environ["PREFECT_API_URL"].rstrip("/")}
    address = f"http://127.0.0.1:{asked.port}"
    password = ensure_password(folder / "password")
    return found | {
        "PREFECT_HOME": str(settings.home() / "prefect"),
        "PREFECT_API_URL": f"{address}/api",
        "PREFECT_API_AUTH_STRING": password,
        "PREFECT_SERVER_API_AUTH_STRING": password,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"{address},http://localhost:{asked.port}",
        "PREFECT_SERVER_UI_API_URL": f"{address}/api",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
            "prefect.server.concurrency.lease_storage.filesystem"  # outlives the server
        ),
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    }


def variables_of_runs() -> dict[str, str]:
    """Variables that prefect.yaml gives the runs of its first deployment, and so of most."""
    found = yaml.safe_load((settings.PROJECT / "prefect.yaml").read_text(encoding="utf-8"))
    with suppress(KeyError, IndexError, TypeError, AttributeError):  # it gives none
        return dict(found["deployments"][0]["work_pool"]["job_variables"]["env"])
    return {}


def _make_database(environment: Mapping[str, str]) -> None:
    """Make Prefect's database, unless a variable names another: its migrations take seconds."""
    named = ("PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
    if not any(os.environ.get(name) for name in named):
        place = Path(environment["PREFECT_HOME"])
        place.mkdir(mode=0o700, exist_ok=True)
        make_database(place / "prefect.db", "prefect")


def mlflow_login(folder: Path) -> dict[str, str]:
    """The environment of MLflow's own app with passwords, and of a client of it.

    MLflow stores its one user when it first starts, and no later password changes that; so each
    password has a database of users of its own.
    """
    user, _, password = ensure_password(folder / "mlflow-password").partition(":")
    users = folder / f"mlflow-users-{hashlib.sha256(password.encode()).hexdigest()[:12]}.db"
    for old in folder.glob("mlflow-users-*.db*"):
        if not old.name.startswith(users.name):
            old.unlink()
    config = configparser.ConfigParser(interpolation=None)
    config["mlflow"] = {
        "default_permission": "NO_PERMISSIONS",
        "database_uri": f"sqlite:///{users}".replace("%", "%%"),
        "admin_username": user,
        "auth_cache_ttl_seconds": "300",  # a page asks thirty times, and each check costs CPU
    }
    text = io.StringIO()
    config.write(text)
    files.write_file(folder / "mlflow-users.ini", text.getvalue().encode())
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "mlflow-users.ini"),
        "MLFLOW_AUTH_ADMIN_USERNAME": user,
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),  # of its one form in a browser
        "MLFLOW_TRACKING_USERNAME": user,
        "MLFLOW_TRACKING_PASSWORD": password,
    }


def _write_variables(folder: Path, environment: Mapping[str, str]) -> Path:
    """Write a file for a shell to source, so that commands reach these servers."""
    file = folder / "environment"
    named = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "NIGHTLY_HOME", *MLFLOW_CLIENT)
    said = {name: environment[name] for name in named if name in environment}
    said |= {name: os.environ[name] for name in ("NO_PROXY", "no_proxy") if name in os.environ}
    lines = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in said.items())
    files.write_file(file, lines.encode())
    return file


def _mlflow_command(port: int) -> list[str]:
    return [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        *("--app-name", "basic-auth"),
        *("--host", "127.0.0.1", "--port", str(port), "--workers", "1"),
        *("--default-artifact-root", settings.artifact_root().as_uri()),
        *("--allowed-hosts", f"127.0.0.1:{port},localhost:{port}"),
        *("--cors-allowed-origins", f"http://127.0.0.1:{port}"),
    ]


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    ended = subprocess.run(
        command,
        cwd=settings.PROJECT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        said = (ended.stdout + ended.stderr).strip()
        raise ServeError(
            f"{' '.join(command[1:])} ended with exit code {ended.returncode}:\n{said}"
        )
    return ended.stdout


def _wait_for(address: str, name: str, processes: _Processes) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        processes.check()
        with suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.2)
    raise ServeError(f"{address} has not answered in {PATIENCE:.0f} s. {processes.tail(name)}")


def _free(port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServeError(
                f"Port {port} is taken ({error.strerror}). End the process that uses it, or "
                f"choose another port with {option}."
            ) from error


def _noted(pid: int) -> dict[str, Any]:
    return {"pid": pid, "started": _started_at(pid)}


def _started_at(pid: int) -> str | float:
    """When a process was started, by a clock that nobody sets: the kernel's, since it booted.

    psutil gives the time of day that it reckons from that, which moves when the clock is set.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except FileNotFoundError:  # no such process, or not Linux
        return float(psutil.Process(pid).create_time())
    return f"{boot} {ticks}"


def _is_same(process: psutil.Process, noted: Mapping[str, Any]) -> bool:
    if "started" in noted:
        return bool(_started_at(process.pid) == noted["started"])
    return bool(process.create_time() == noted["created"])  # a note of an earlier release


def _end_processes(note: Path) -> None:
    """End every recorded process with its children, and remove the record.

    A process id that now belongs to another process is recognised by when it was started. The
    worker's flow runs end first, so that they can still report to the server.
    """
    noted = files.read_json(note) if note.exists() else {}
    for name in ("worker", RUNS, "answers", "mlflow", "prefect"):
        try:
            process = psutil.Process(int(noted[name]["pid"]))
            if not _is_same(process, noted[name]):
                continue
            tree = [*process.children(recursive=True)[::-1], process]
        except (KeyError, TypeError, ValueError, psutil.Error):
            continue
        end_processes(tree, GRACE)
    note.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
