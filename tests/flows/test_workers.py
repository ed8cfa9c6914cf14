"""Nights whose parts go to Dask workers: what they give is what one process gives."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.nights import run_command, write_model, write_more

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("warm_processes")]

MORTAL = (
    "toy = ModelSpec(",
    """
class Mortal(DummyClassifier):
    def fit(self, X, y):
        with open(os.environ["TOY_FITS"], "a") as file:
            file.write("fit\\n")
        return super().fit(X, y)

    def predict_proba(self, X):
        import signal

        mark = os.environ["TOY_MARK"]
        if not os.path.exists(mark):
            open(mark, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().predict_proba(X)


toy = ModelSpec(""",
)
WITH = ("candidates={", 'candidates={\n        "mortal": Mortal(),')
TIMES = {"seconds", "cpu_seconds", "links", "run_id"}
"""Of a report, what differs between two runs of a night."""


@dataclass(frozen=True)
class Night:
    """A night that has ended."""

    home: Path
    report: dict[str, Any]
    fits: int


def equal_part(found: Any) -> Any:
    """A report without what differs between two runs of a night."""
    if isinstance(found, dict):
        return {name: equal_part(value) for name, value in found.items() if name not in TIMES}
    if isinstance(found, list):
        return [equal_part(each) for each in found if "ms for 1,000 rows" not in str(each)]
    return found


def kept(home: Path) -> dict[str, Any]:
    """The keys of everything in the store, and what each day's examples contain."""
    found: dict[str, Any] = {}
    for kind in ("clean", "counts", "examples", "scores"):
        lines = (home / "store" / kind / "index.jsonl").read_text().splitlines()
        refs = {k: v for line in lines for k, v in json.loads(line.partition(" ")[2]).items()}
        found[kind] = {key: (ref["rows"], ref["content"]) for key, ref in refs.items()}
    found["models"] = sorted(file.name for file in (home / "store" / "models").glob("*.json"))
    return found


@pytest.fixture(scope="module")
def nights(
    tmp_path_factory: pytest.TempPathFactory, empty_registry: Path, warm_processes: None
) -> tuple[Night, Night]:
    """The same first night by one process, and by two workers of which one is killed in a fit."""
    folder = tmp_path_factory.mktemp("workers")
    days = folder / "days"
    write_more(days, 1, 40)
    model = write_model(folder / "toy.py", days, MORTAL, WITH)
    ended = []
    for name, workers in (("one", ""), ("two", "2")):
        home, fits, mark = folder / name, folder / f"{name}.fits", folder / f"{name}.mark"
        home.mkdir()
        shutil.copyfile(empty_registry, home / "mlflow.db")
        if not workers:
            mark.touch()
        told = {"NIGHTLY_WORKERS": workers, "TOY_FITS": str(fits), "TOY_MARK": str(mark)}
        night = run_command(home, model, "--json", **told)
        assert (night.code, night.err) == (0, ""), night
        assert mark.is_file(), "no worker was killed"
        ended.append(Night(home, night.report, len(fits.read_text().splitlines())))
    return ended[0], ended[1]


def test_two_workers_give_the_verdict_and_every_figure_of_one_process(
    nights: tuple[Night, Night],
) -> None:
    one, two = nights
    assert equal_part(two.report) == equal_part(one.report)
    assert kept(two.home) == kept(one.home)


def test_the_task_of_a_killed_worker_runs_again_and_finds_its_fit(
    nights: tuple[Night, Night],
) -> None:
    one, two = nights
    assert two.fits == one.fits == 1


def test_no_worker_outlives_its_night(nights: tuple[Night, Night]) -> None:
    homes = {str(night.home) for night in nights}
    left = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("NIGHTLY_HOME") in homes:
                left.append(process)
        except psutil.Error:
            continue
    assert psutil.wait_procs(left, timeout=15)[1] == []
