"""Workers killed at random while nights run, and the half states that they leave.

    PYTHONPATH=. python tests/benchmarks/workers.py --kills 100

Nights of the toy model of the tests up to the verdict, each in a state directory of its own, with
two processes of ``NIGHTLY_WORKERS``. All that workers do is before the verdict. Meanwhile one of
them is ended by SIGKILL again and again, at random moments. Each night has to end with the figures
and with everything in the store that a night in one process has. A half state is an entry of an
index whose block is not whole, a model that cannot be found again, or a result of a task that is
not whole. Exit code 1 where there is any.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from prefect.context import refresh_global_settings_context

from tasks.steps.on_worker import TOKEN
from tests.benchmarks.compare import prefect_server
from tests.flows.test_workers import kept
from tests.nights import PROJECT, write_model, write_more

SLOW = (
    "toy = ModelSpec(",
    """
class Slow(LogisticRegression):
    def fit(self, X, y):
        import time

        time.sleep(0.7)
        return super().fit(X, y)


toy = ModelSpec(""",
)
WITH = ("candidates={", 'candidates={\n        "slow": Slow(),')
KINDS = ("clean", "counts", "examples", "scores")


@dataclass
class Found:
    """What the nights showed."""

    nights: int = 0
    kills: int = 0
    other: int = 0
    half: int = 0
    failed: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def main() -> None:
    """Run nights until enough workers are killed, and print what was found."""
    parser = argparse.ArgumentParser(description="Workers killed at random.")
    parser.add_argument("--kills", type=int, default=100, metavar="N")
    parser.add_argument("--minutes", type=float, default=60, help="no night begins later")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="nightly-workers-") as folder:
        place = Path(folder)
        write_more(place / "days", 1, 40)
        model = write_model(place / "toy.py", place / "days", SLOW, WITH)
        with prefect_server(place) as server:
            os.environ |= {
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "PREFECT_API_URL": server.url,
                "PREFECT_HOME": str(place / "prefect"),
                "PREFECT_LOGGING_LEVEL": "CRITICAL",
                "PYTHONPATH": str(PROJECT),
            }
            refresh_global_settings_context()
            found = kill_workers(place, model, asked)
    print(f"workers killed by SIGKILL                 {found.kills}")
    print(f"nights                                    {found.nights}")
    print(f"nights that ended otherwise               {len(found.failed)} {found.failed[:1] or ''}")
    print(f"nights with other figures or another store {found.other}")
    print(f"half states                               {found.half}")
    print(
        f"seconds a night, median                   {sorted(found.seconds)[found.nights // 2]:.1f}"
    )
    sys.exit(1 if found.failed or found.other or found.half else 0)


def kill_workers(place: Path, model: Path, asked: argparse.Namespace) -> Found:
    """One night by one process, then nights whose workers are killed."""
    draw, found, begun = random.Random(asked.seed), Found(), time.monotonic()
    alone = run(place / "alone", model, "")
    expected = (alone, kept(place / "alone"))
    while found.kills < asked.kills and time.monotonic() - begun < 60 * asked.minutes:
        home, started = place / f"night-{found.nights}", time.monotonic()
        with killing(draw, home, found):
            try:
                figures = run(home, model, "2", place / "alone")
                found.other += (figures, kept(home)) != expected
            except Exception as error:
                found.failed.append(f"{type(error).__name__}: {error}")
        found.half += halves(home)
        found.nights += 1
        found.seconds.append(time.monotonic() - started)
        shutil.rmtree(home)
        told = (
            f"{found.nights} nights, {found.kills} killed, {found.half} half, {found.other} other"
        )
        print(time.strftime("%H:%M:%S"), told, found.failed[-1:], file=sys.stderr, flush=True)
    return found


def run(home: Path, model: Path, workers: str, like: Path | None = None) -> Any:
    """A night up to the verdict in this process: what was decided, and every figure."""
    from prefect import flow

    from tasks.steps.config import RetrainConfig
    from tasks.steps.judge import judge_night, score_champion
    from tasks.steps.opening import only_night, open_night
    from tasks.steps.prepare import clean_days, extract_features
    from tasks.steps.task_runner import ChosenRunner
    from tasks.steps.train import fit_candidate

    @flow(task_runner=ChosenRunner(), validate_parameters=False)  # type: ignore[arg-type]
    def until_verdict(config: RetrainConfig) -> Any:
        with only_night(config.model):
            night = open_night(config)
            clean = clean_days(night)
            examples = extract_features(night, clean)
            fits = [fit_candidate.submit(night, examples, name) for name in examples.candidates]
            champion = score_champion(night, examples)
            made = [fit.result(raise_on_failure=False) for fit in fits]
            judged = judge_night(night, examples, made, champion, (), drawn=False)
        return [str(judged.verdict.status), judged.challenger, judged.figures]

    home.mkdir()
    if like:
        shutil.copy(like / "mlflow.db", home)
    os.environ |= {"NIGHTLY_HOME": str(home), "NIGHTLY_WORKERS": workers}
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    return until_verdict(RetrainConfig(model=str(model)))


@contextmanager
def killing(draw: random.Random, home: Path, found: Found) -> Iterator[None]:
    """From the first task on, kill one worker of this process after the other."""
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(draw.uniform(0.3, 3)):
            if (home / TOKEN).is_file() and (there := workers()):
                with suppress(psutil.Error):
                    draw.choice(there).kill()
                    found.kills += 1

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        stop.set()
        killer.join()


def workers() -> list[psutil.Process]:
    """The worker processes of this process: forks of one that has the libraries."""
    found: list[psutil.Process] = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):
            if "forkserver" in " ".join(child.cmdline()):
                found += child.children()
    return found


def halves(home: Path) -> int:
    """How many half states there are."""
    from tasks.steps.caching import RESULTS
    from tasks.store import frames, models

    bad = 0
    for kind in KINDS:
        index = frames.read_index(kind)
        bad += len(index) - len(frames.find_days(kind, list(index)))
    for file in (home / "store" / "models").glob("*.json"):
        bad += not models.has_model("models", file.stem)
    for file in (home / "results").glob("[!.]*"):
        try:
            RESULTS.read_path(file.name)
        except ValueError:
            bad += 1
    return bad


if __name__ == "__main__":
    main()
