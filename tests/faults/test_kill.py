"""A night killed at any moment ends, run again, as if nothing had happened."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests import nights
from tests.nights import (
    champion_of,
    run_command,
    run_night,
    start_command,
    versions_of,
    without_times,
    write_model,
    write_more,
)

pytestmark = [
    pytest.mark.usefixtures("warm_processes"),
    *(pytest.mark.filterwarnings(text) for text in nights.MLFLOW_WARNINGS),
]
DAYS = 30
SLOW = (
    "toy = ModelSpec(",
    '''
class Slow(DummyClassifier):
    """Says that it was fitted, and takes long while it is told to."""

    def fit(self, X, y):
        import time

        note = Path(__file__).parent
        with (note / "fitted").open("a") as file:
            file.write(f"{type(self).__name__}\\n")
        while (note / "hang").exists() and type(self) is Slow:
            time.sleep(0.05)
        return super().fit(X, y)


class Quick(Slow):
    pass


toy = ModelSpec(''',
)
CANDIDATES = (
    '"constant": DummyClassifier(),',
    '"quick": Quick(),\n        "slow": Slow(),',
)


def make_night(folder: Path, days: Path, empty_registry: Path) -> tuple[Path, Path]:
    """State directory and model file of a night of its own."""
    home = folder / "home"
    home.mkdir(parents=True)
    shutil.copyfile(empty_registry, home / "mlflow.db")
    return home, write_model(folder / "toy.py", days, SLOW, CANDIDATES)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("days")
    write_more(place, 1, DAYS)
    return place


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
    days: Path,
    empty_registry: Path,
    warm_processes: None,
) -> tuple[dict[str, Any], float]:
    """The report of a night that nobody killed, and the seconds it took."""
    home, model = make_night(tmp_path_factory.mktemp("calm"), days, empty_registry)
    started = time.perf_counter()
    report = run_command(home, model, "--json").report
    return report, time.perf_counter() - started


def assert_as_undisturbed(found: dict[str, Any], report: dict[str, Any]) -> None:
    import mlflow

    assert without_times(found) == without_times(report)
    assert (champion_of(), versions_of()) == ("1", ["1"])
    assert mlflow.pyfunc.load_model("models:/toy@champion") is not None


@pytest.mark.long
def test_killed_in_training_finished_fits_are_reused(
    tmp_path: Path,
    days: Path,
    empty_registry: Path,
    undisturbed: tuple[dict[str, Any], float],
) -> None:
    home, model = make_night(tmp_path, days, empty_registry)
    (tmp_path / "hang").touch()
    process = start_command(home, model, "--json")
    models, results = home / "store" / "models", home / "results"
    deadline = time.monotonic() + 600
    while len(list(results.glob("*"))) < 3 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    assert len(list(models.glob("*.skops"))) == 3, "quick, logistic and tree are done, slow hangs"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert champion_of() is None
    assert sorted((tmp_path / "fitted").read_text().split()) == ["Quick", "Slow"]

    (tmp_path / "hang").unlink()
    ended = run_command(home, model, "--json")
    assert ended.code == 0, ended.err
    assert sorted((tmp_path / "fitted").read_text().split()) == ["Quick", "Slow", "Slow"]
    assert_as_undisturbed(ended.report, undisturbed[0])


@pytest.mark.long
def test_killed_again_and_again_at_any_moment(
    tmp_path: Path,
    days: Path,
    empty_registry: Path,
    undisturbed: tuple[dict[str, Any], float],
) -> None:
    """Each run goes on from where the one before it was killed."""
    home, model = make_night(tmp_path, days, empty_registry)
    for share in (0.6, 0.5, 0.4):
        process = start_command(home, model, "--json")
        time.sleep(share * undisturbed[1])
        process.send_signal(signal.SIGKILL)
        process.communicate()
    report = run_night(model)
    assert_as_undisturbed(report, undisturbed[0])


KILL_IN = """
import os, runpy, signal, sys

sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(os.path.dirname(sys.argv[0])))
import functools, importlib

module, _, path = os.environ["KILL_IN"].partition(":")
*owners, name = path.split(".")
owner = functools.reduce(getattr, owners, importlib.import_module(module))
real = getattr(owner, name)


def killed(*args, **kwargs):
    if os.environ["KILL_WHEN"] == "after":
        real(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)


setattr(owner, name, killed)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


STEPS = (
    ("tasks.registry.runs:log_night", "after"),
    ("tasks.registry.packages:register_version", "after"),
    ("tasks.registry.packages:seal", "after"),
    ("mlflow:MlflowClient.set_registered_model_tag", "after"),
    ("tasks.registry.aliases:move_champion", "after"),
    ("mlflow:MlflowClient.delete_registered_model_tag", "before"),
    ("tasks.registry.aliases:promote", "after"),
)
"""What changes the registry, in the order of a night: where it is killed, and when."""


@pytest.mark.long
def test_killed_at_each_step_of_the_registry_one_after_another(
    tmp_path: Path,
    days: Path,
    empty_registry: Path,
    undisturbed: tuple[dict[str, Any], float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The night is killed at a step, run again and killed at the next one, until it ends."""
    from tasks.registry.client import open_registry

    home, model = make_night(tmp_path, days, empty_registry)
    wrapper = tmp_path / "wrapper.py"
    wrapper.write_text(KILL_IN)
    command = [nights.COMMAND[0], "-W", "ignore", str(wrapper), nights.COMMAND[-1]]
    made: list[list[str]] = []
    for function, when in STEPS:
        with monkeypatch.context() as patch:
            patch.setattr(nights, "COMMAND", command)
            ended = run_command(home, model, KILL_IN=function, KILL_WHEN=when)
        assert ended.code == -signal.SIGKILL, (function, ended.err)
        made.append(versions_of())
    assert made == [[], *[["1"]] * (len(STEPS) - 1)]
    report = run_night(model)
    assert_as_undisturbed(report, undisturbed[0])
    client = open_registry()
    version = client.get_model_version("toy", "1")
    assert client.get_run(version.run_id).info.lifecycle_stage == "active"
    assert report["challenger"]["run_id"] == version.run_id
