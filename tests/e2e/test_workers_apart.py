"""Workers that are started apart, each with a home, a working directory, a clone and a state
directory of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.flows.test_workers import equal_part, kept
from tests.nights import PROJECT, Ended, command_environment, nth_day, write_model, write_more
from tests.toy import write_day

pytestmark = [pytest.mark.e2e, pytest.mark.long]
WHERE = (
    "toy = ModelSpec(",
    """
class Where(LogisticRegression):
    def fit(self, X, y):
        with open(os.environ["TOY_FITS"], "a") as file:
            file.write(os.environ["TOY_WHERE"] + "\\n")
        return super().fit(X, y)


toy = ModelSpec(
    resources={"logistic": {"GPU": 1}},""",
)
RECIPE = ('"logistic": LogisticRegression()', '"logistic": Where()')


def clone(place: Path, days: Path) -> Path:
    """A clone of the project with the toy as a model of its own."""
    for folder in ("tasks", "flows", "deployments"):
        shutil.copytree(PROJECT / folder, place / folder, ignore=shutil.ignore_patterns("__pyc*"))
    shutil.copy(PROJECT / "pyproject.toml", place)
    write_model(place / "deployments" / "toy.py", days, WHERE, RECIPE)
    return place


def certificates(folder: Path) -> dict[str, str]:
    """The variables that let scheduler, workers and clients speak TLS, and nobody else."""
    from distributed.security import Security

    made = Security.temporary()
    parts = {"ca": made.tls_ca_file, "cert": made.tls_client_cert, "key": made.tls_client_key}
    for name, text in parts.items():
        (folder / f"{name}.pem").write_text(text)
    tls = "DASK_DISTRIBUTED__COMM__TLS"
    found = {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "true"}
    found[f"{tls}__CA_FILE"] = str(folder / "ca.pem")
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        found[f"{tls}__{role}__CERT"] = str(folder / "cert.pem")
        found[f"{tls}__{role}__KEY"] = str(folder / "key.pem")
    return found


class Apart:
    """Machines that share the days, a database and an address, and nothing else."""

    def __init__(self, folder: Path, postgres: str) -> None:
        self.folder, self.days, self.fits = folder, folder / "days", folder / "fits"
        self.tls = certificates(folder)
        self.shared = {
            "NIGHTLY_STATE_URL": postgres,
            "NIGHTLY_STORE_URL": (folder / "shared").as_uri(),
        }

    def environment(self, name: str, state: Path) -> dict[str, str]:
        """That of one machine, whose clone, home and state directory are its own."""
        place = self.folder / name
        return command_environment(state) | {
            **self.tls,
            "HOME": str(place / "home"),
            "PYTHONPATH": str(place / "clone"),
            "TOY_WHERE": name,
            "TOY_FITS": str(self.fits),
        }

    def set_up(self, name: str) -> Path:
        """Its folder, with a clone."""
        place = self.folder / name
        (place / "home").mkdir(parents=True)
        clone(place / "clone", self.days)
        return place

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start a command of Dask on it."""
        place = self.folder / name
        with (place / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=place / "home",
                env=self.environment(name, place / "state") | self.shared,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def night(self, state: Path, more: Mapping[str, str]) -> Ended:
        """A night of the machine that is called driver."""
        place = self.folder / "driver"
        flow = place / "clone" / "flows" / "retrain.py"
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", flow, "--model", "toy", "--json"],
            cwd=place / "home",
            env=self.environment("driver", state) | dict(more),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture
def apart(
    tmp_path: Path, empty_registry: Path, prefect_server: None, postgres: str
) -> Iterator[Apart]:
    """A driver and two machines, ``a`` and ``b``; only the first has the resource GPU."""
    made = Apart(tmp_path, postgres)
    write_more(made.days, 1, 40)
    for name in ("driver", "a", "b"):
        made.set_up(name)
    for state in (tmp_path / "driver" / "state", tmp_path / "alone"):
        state.mkdir(mode=0o700)
        shutil.copyfile(empty_registry, state / "mlflow.db")
    file = tmp_path / "scheduler.json"
    with ExitStack() as stack:

        def start(name: str, *command: str) -> None:
            process = stack.enter_context(made.start(name, *command))
            stack.callback(process.terminate)

        start(
            *("a", "distributed.cli.dask_scheduler", "--host", "tls://127.0.0.1:0"),
            *("--no-dashboard", "--scheduler-file", str(file)),
        )
        worker = ("distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads", "1")
        quiet = ("--no-nanny", "--no-dashboard")
        start("a", *worker, *quiet, "--resources", "GPU=1")
        start("b", *worker, *quiet)
        give_up = time.monotonic() + 120
        while not file.is_file():
            assert time.monotonic() < give_up, (tmp_path / "a" / "log").read_text()
            time.sleep(0.2)
        yield made


def test_workers_with_homes_and_clones_of_their_own_give_the_same_night(apart: Apart) -> None:
    import json

    address = json.loads((apart.folder / "scheduler.json").read_text())["address"]
    assert address.startswith("tls://")
    dask, state = (
        {"NIGHTLY_DASK_ADDRESS": address} | apart.shared,
        apart.folder / "driver" / "state",
    )
    alone = apart.night(apart.folder / "alone", {})
    assert (alone.code, alone.err) == (0, "")
    assert apart.fits.read_text().split() == ["driver"] * 2, "a twin and what is shipped"

    apart.fits.unlink()
    spread = apart.night(state, dask)
    assert (spread.code, spread.err) == (0, ""), (apart.folder / "a" / "log").read_text()
    assert equal_part(spread.report) == equal_part(alone.report)
    assert kept(state) == kept(apart.folder / "alone")
    for name in "ab":
        assert not {each.name for each in (apart.folder / name / "state").iterdir()} & {"mlflow.db"}
    assert apart.fits.read_text().split() == ["a"] * 2, "only there is a GPU"

    # The driver gets other code than the workers.
    write_day(apart.days, nth_day(41))
    changed = apart.folder / "driver" / "clone" / "tasks" / "errors.py"
    changed.write_text(changed.read_text() + "\n# Edited.\n")
    refused = apart.night(state, dask)
    assert refused.code == 2, refused
    assert "has other code: found digest" in refused.err
    assert "Traceback" not in refused.err
    assert os.environ.get("NIGHTLY_DASK_ADDRESS") is None
