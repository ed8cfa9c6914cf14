"""The evidence for a safe promotion: nights killed and raced, a rollback, packages tampered with.

    PYTHONPATH=. python tests/benchmarks/chaos.py --kills 60 --barriers 25

The toy model of the tests, each night the command a person types, on one Prefect server that is
started for it and on SQLite. ``--only rollback tampering`` runs these parts alone. Exit code 1
where anything that must not happen has happened.

* kills: each night runs once undisturbed, in a registry of its own, and once killed by SIGKILL at a
  random moment from the end of the refit (there Register begins) to the end of Promote, and then
  again. A process of its own asks ``mlflow.pyfunc.load_model`` for the champion 20 times a second.
* barriers: processes that have imported their libraries are let go at once for the same night.
* rollback: three in a row, from the fourth champion to the first.
* tampering: rollbacks to a version that was altered, with its digest in the registry or without
  ("resealed"), and a night whose champion's twin was altered.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pickle
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any

from tests.benchmarks.compare import prefect_server
from tests.clean_process.test_package_check import swap_for_foreign
from tests.flows.test_rollback import ASKED, remove
from tests.nights import PROJECT, nth_day, without_times, write_model, write_more

RETRAIN, ROLLBACK = PROJECT / "flows" / "retrain.py", PROJECT / "flows" / "rollback.py"
FIRST = 30
"""Number of the first night's day: before it there is too little to learn from."""
LENIENT = ("Gate(", "Gate(tolerance=0.5, slice_tolerance=0.9, ")
"""Every undisturbed night promotes its challenger."""
SAID = re.compile(r"nightly - (refit|register|check|promote) ")
HERTZ = 20

BARRIER = """
import os, runpy, sys, time
from pathlib import Path

sys.argv = sys.argv[1:]
from tasks.cli import environment

environment.set_defaults()
import mlflow, pandas, prefect, sklearn

gate = Path(os.environ["GATE"])
(gate / str(os.getpid())).touch()
while not (gate / "open").exists():
    time.sleep(0.001)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@dataclass(frozen=True)
class Stage:
    """Where the parts play, and how often."""

    place: Path
    kills: int
    barriers: int
    seed: int

    def night(self, number: int) -> list[object]:
        """The command of the night as of day ``number``."""
        return [RETRAIN, "-v", "--model", self.place / "toy.py", "--as-of", nth_day(number)]


@dataclass(frozen=True)
class Row:
    """A line of the table; ``good`` is None where any finding is fine."""

    what: str
    found: str
    good: bool | None = None


@dataclass
class Seen:
    """What an app saw that loaded the champion all the while."""

    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)
    answers: Counter[bytes] = field(default_factory=Counter)


class Thief:
    """Unpickled, it leaves a file."""

    def __init__(self, loot: Path) -> None:
        self.loot = loot

    def __reduce__(self) -> tuple[Callable[..., None], tuple[Path]]:
        return Path.touch, (self.loot,)


def main() -> None:
    """Run the parts asked for and print what they found."""
    parser = argparse.ArgumentParser(description="Kills, races, rollbacks and tampering.")
    parser.add_argument("--kills", type=int, default=60, metavar="N")
    parser.add_argument("--barriers", type=int, default=25, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    asked = parser.parse_args()
    if min(asked.kills, asked.barriers) < 1:
        parser.error("--kills, --barriers: expected at least 1; --only leaves a part out")
    warnings.simplefilter("ignore")
    good = True
    with tempfile.TemporaryDirectory(prefix="nightly-chaos-") as folder:
        stage = Stage(Path(folder), asked.kills, asked.barriers, asked.seed)
        write_more(stage.place / "days", 1, FIRST + max(asked.kills, 2 * asked.barriers, 4))
        write_model(stage.place / "toy.py", stage.place / "days", LENIENT)
        with prefect_server(stage.place) as server:
            os.environ |= {
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "PREFECT_API_URL": server.url,
                "PREFECT_HOME": str(stage.place / "prefect"),
                "PYTHONPATH": str(PROJECT),
            }
            for part in asked.only:
                rows = PARTS[part](stage)
                print_rows(part, rows)
                good = good and all(row.good is not False for row in rows)
    sys.exit(0 if good else 1)


def kill_nights(stage: Stage) -> list[Row]:
    """Kill nights between Register and Promote while an app loads the champion."""
    calm, killed = stage.place / "calm", stage.place / "killed"
    for home in (calm, killed):
        finish(start(home, *stage.night(FIRST)))
    stop = stage.place / "stop"
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        watching = pool.submit(watch, killed, stop)
        try:
            rows, known = kill_each(stage, calm, killed)
        finally:
            stop.touch()
        seen = watching.result()
    loads = seen.answers.total() + len(seen.failures)
    unknown = sum(count for one, count in seen.answers.items() if one not in known)
    return [
        *rows,
        Row("loads of the champion meanwhile", f"{loads:,}, {loads / seen.seconds:.1f} a second"),
        Row("  champions seen", f"{len(seen.answers)} of {len(known)}"),
        never("  failed loads", len(seen.failures), *seen.failures[:1]),
        never("  answers of no known champion", unknown),
    ]


def kill_each(stage: Stage, calm: Path, killed: Path) -> tuple[list[Row], set[bytes]]:
    """Each night once undisturbed, once killed, and then again.

    Returns:
        What was found, and what each champion of the undisturbed nights answers.
    """
    draw, lasted, known = random.Random(stage.seed), list[float](), {answer(calm)}
    ended, struck, count = Counter[int](), Counter[str](), Counter[str]()
    for number in range(FIRST + 1, FIRST + 1 + stage.kills):
        before = state(killed)
        _, said = follow(start(calm, *stage.night(number)))
        lasted.append(said["promote"] - said["refit"])
        known.add(answer(calm))
        delay = draw.uniform(0, statistics.median(lasted))
        code, said = follow(start(killed, *stage.night(number)), delay)
        ended[code] += 1
        struck[list(said)[-1]] += 1
        count["half"] += state(killed) not in (before, state(calm))
        code, _ = finish(start(killed, *stage.night(number)))
        count["other"] += code != 0 or report(killed, number) != report(calm, number)
        count["half after"] += state(killed) != state(calm)
        dates = [as_of for _, as_of in state(killed)["versions"]]
        count["double"] += len(dates) != len(set(dates))
        tell(f"kill {number - FIRST}, {delay:.2f} s after the refit: {dict(count)}")
    return [
        Row("nights killed by SIGKILL", f"{ended[-signal.SIGKILL]} of {stage.kills}"),
        Row("  the last line they said", ", ".join(f"{s} {n}" for s, n in struck.most_common())),
        Row("  that left a half state behind", str(count["half"])),
        Row("seconds from Register to Promote, median", f"{statistics.median(lasted):.2f}"),
        never("nights with another verdict, champion or metrics", count["other"]),
        never("nights with a half state after the next run", count["half after"]),
        never("nights with more than one version", count["double"]),
    ], known


def watch(home: Path, stop: Path) -> Seen:
    """Load the champion and let it answer, 20 times a second, until a file ``stop`` appears."""
    warnings.simplefilter("ignore")
    seen, paths, began = Seen(), list(sys.path), time.perf_counter()
    while not stop.exists():
        due = time.perf_counter() + 1 / HERTZ
        try:
            seen.answers[answer(home)] += 1
        except Exception as error:
            seen.failures.append(f"{type(error).__name__}: {error}")
        sys.path = list(paths)  # MLflow adds the model's folder at each load
        time.sleep(max(0, due - time.perf_counter()))
    seen.seconds = time.perf_counter() - began
    return seen


def race_nights(stage: Stage) -> list[Row]:
    """Let two, then four processes of one night go at once."""
    home, number, rows = stage.place / "raced", FIRST, list[Row]()
    finish(start(home, *stage.night(number)))
    wrapper = stage.place / "barrier.py"
    wrapper.write_text(BARRIER)
    for width in (2, 4):
        promotions, versions, codes = Counter[int](), Counter[int](), Counter[int]()
        for _ in range(stage.barriers):
            number += 1
            gate = stage.place / f"gate-{number}"
            gate.mkdir()
            racers = [start(home, wrapper, *stage.night(number), gate=gate) for _ in range(width)]
            while len(list(gate.iterdir())) < width:
                time.sleep(0.01)
            (gate / "open").touch()
            ends = [finish(racer) for racer in racers]
            codes.update(code for code, _ in ends)
            promotions[sum(SAID.findall(text).count("promote") for _, text in ends)] += 1
            dates = [as_of for _, as_of in state(home)["versions"]]
            versions[dates.count(nth_day(number).isoformat())] += 1
            tell(f"{width} at once, night {number}: exit codes {dict(codes)}")
        rows += [
            Row(f"nights of {width} processes at once", str(stage.barriers)),
            never("  with more or less than one promotion", stage.barriers - promotions[1]),
            never("  with more or less than one version", stage.barriers - versions[1]),
            never("  processes that ended with another code than 0", codes.total() - codes[0]),
        ]
    return rows


def time_rollbacks(stage: Stage) -> list[Row]:
    """Go back three times; the answers must be those of the time before."""
    home, taken, different = stage.place / "rolled", list[float](), 0
    answers = promote_nights(stage, home, 4)
    for version in (3, 2, 1):
        started = time.perf_counter()
        code, _ = finish(start(home, ROLLBACK, "--model", "toy"))
        taken.append(time.perf_counter() - started)
        different += code != 0 or answer(home) != answers[version - 1]
        tell(f"back to version {version}")
    return [
        Row("seconds of flows/rollback.py, median of 3", f"{statistics.median(taken):.1f}"),
        never("rollbacks whose answers differ in any bit", different),
    ]


def tamper(stage: Stage) -> list[Row]:
    """Alter the version before the champion and ask for it back; then alter the champion's twin."""
    home, loot = stage.place / "tampered", stage.place / "loot"
    good = promote_nights(stage, home, 2)[-1]

    def flip(package: Path) -> None:
        flip_byte(package / "model.skops")

    def ask_for_pickle(package: Path) -> None:
        (package / "model.pkl").write_bytes(pickle.dumps(Thief(loot)))
        file = package / "MLmodel"
        text = file.read_text().replace("model.skops", "model.pkl")
        file.write_text(text.replace("_format: skops", "_format: pickle"))

    def stays(name: str, message: str, refused: bool) -> Row:
        tell(name)
        champion = state(home)["aliases"]["champion"]
        unhurt = refused and champion == "2" and answer(home) == good and not loot.exists()
        return Row(name, f"champion {champion}. {message}", unhurt)

    rows = []
    for name, harm, resealed in (
        ("a flipped byte", flip, False),
        ("no artifact", remove, False),
        ("a type outside the list", swap_for_foreign, False),
        ("a type outside the list, resealed", swap_for_foreign, True),
        ("MLmodel asks for a pickle", ask_for_pickle, False),
        ("MLmodel asks for a pickle, resealed", ask_for_pickle, True),
    ):
        with harmed(home, harm, resealed):
            code, text = finish(start(home, ROLLBACK, "--model", "toy"))
        message = re.findall(r"^nightly: (.*)$", text, re.M) or [text[-300:]]
        rows.append(stays(name, message[0], code == 2))
    with harmed(home, ask_for_pickle, False) as package:
        load_unchecked(package)
    rows.append(Row("the same pickle, loaded without a check", f"ran: {loot.exists()}"))
    loot.unlink(missing_ok=True)
    flip_byte(twin_of_champion(home))
    code, _ = finish(start(home, *stage.night(FIRST + 2)))
    found = report(home, FIRST + 2)
    kept = (code, found["verdict"]) == (0, "KEPT")
    return [*rows, stays("a flipped byte in the champion's twin", found["reasons"][0], kept)]


PARTS: dict[str, Callable[[Stage], list[Row]]] = {
    "kills": kill_nights,
    "barriers": race_nights,
    "rollback": time_rollbacks,
    "tampering": tamper,
}


def promote_nights(stage: Stage, home: Path, count: int) -> list[bytes]:
    """So many promotions, and what the champion answers after each."""
    answers = []
    for number in range(FIRST, FIRST + count):
        finish(start(home, *stage.night(number)))
        answers.append(answer(home))
    return answers


def start(home: Path, *command: object, gate: Path | None = None) -> subprocess.Popen[str]:
    """Python with these arguments and this state directory; both outputs are one."""
    places = ("MLFLOW_TRACKING", "MLFLOW_REGISTRY")  # set by MLflow as it goes
    plain = {name: value for name, value in os.environ.items() if not name.startswith(places)}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", *map(str, command)],
        cwd=PROJECT,
        env=plain | {"NIGHTLY_HOME": str(home), "GATE": str(gate)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code, and all it said."""
    text, _ = process.communicate(timeout=600)
    return process.returncode, text


def follow(
    process: subprocess.Popen[str], delay: float | None = None
) -> tuple[int, dict[str, float]]:
    """Exit code, and when each step said its line; killed so many seconds after the refit."""
    assert process.stdout is not None
    said: dict[str, float] = {}
    for line in process.stdout:
        for step in SAID.findall(line):
            said[step] = time.perf_counter()
            if step == "refit" and delay is not None:
                Timer(delay, process.kill).start()
    return process.wait(), said


def answer(home: Path) -> bytes:
    """What an app gets from the champion."""
    import mlflow
    import numpy as np

    mlflow.set_tracking_uri(database(home))
    return np.asarray(mlflow.pyfunc.load_model("models:/toy@champion").predict(ASKED)).tobytes()


def database(home: Path) -> str:
    """Address of the registry of a state directory."""
    return f"sqlite:///{home / 'mlflow.db'}"


def state(home: Path) -> dict[str, Any]:
    """All that a change of champion touches: aliases, journal, versions with their as-of dates."""
    from mlflow import MlflowClient

    from tasks.registry.aliases import JOURNAL

    client = MlflowClient(database(home))
    model = client.get_registered_model("toy")
    versions = client.search_model_versions("name = 'toy'")
    return {
        "aliases": {alias: str(version) for alias, version in model.aliases.items()},
        "journal": model.tags.get(JOURNAL),
        "versions": sorted((int(v.version), v.tags["as_of"]) for v in versions),
    }


def report(home: Path, number: int) -> dict[str, Any]:
    """What a night found, without its times."""
    file = home / "reports" / "toy" / str(nth_day(number)) / "report.json"
    found = json.loads(file.read_text())
    return without_times(found) | {"champion": found["champion"]}


def flip_byte(file: Path) -> None:
    """Alter one bit in the middle of a file."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@contextmanager
def harmed(home: Path, harm: Callable[[Path], None], resealed: bool) -> Iterator[Path]:
    """The package of version 1, harmed for as long as the context lasts.

    Args:
        home: State directory.
        harm: What is done to it.
        resealed: Whether the registry is made to name the digest of the harmed files.
    """
    from mlflow import MlflowClient

    from tasks.clean_process.package_check import files_digest
    from tasks.registry import packages

    client = MlflowClient(database(home))
    version = client.get_model_version("toy", "1")
    logged = client.get_logged_model(str(version.source).removeprefix("models:/"))
    package = Path(str(logged.artifact_location).removeprefix("file://"))
    whole = home / "whole"
    shutil.copytree(package, whole)
    harm(package)
    if resealed:
        with packages.downloaded(client, "toy", "1") as place:
            client.set_model_version_tag("toy", "1", "files_sha256", files_digest(place))
    try:
        yield package
    finally:
        shutil.rmtree(package, ignore_errors=True)
        whole.rename(package)
        client.set_model_version_tag("toy", "1", "files_sha256", version.tags["files_sha256"])


def load_unchecked(package: Path) -> None:
    """As an app does that believes what it finds; what it makes of the object does not matter."""
    import mlflow

    with suppress(Exception):
        mlflow.pyfunc.load_model(str(package))


def twin_of_champion(home: Path) -> Path:
    """File of the model that stands for the champion when it is judged."""
    from mlflow import MlflowClient

    from tasks.registry.versions import TWIN, TWIN_FILE

    client = MlflowClient(database(home))
    run = client.get_run(str(client.get_model_version_by_alias("toy", "champion").run_id))
    return Path(str(run.info.artifact_uri).removeprefix("file://")) / TWIN / TWIN_FILE


def never(what: str, times: int, *example: str) -> Row:
    """A row of something that must not happen."""
    return Row(what, " ".join([str(times), *example]), times == 0)


def tell(line: str) -> None:
    """Say how far it is, apart from the table."""
    print(time.strftime("%H:%M:%S"), line, file=sys.stderr, flush=True)


def print_rows(part: str, rows: list[Row]) -> None:
    """The part of the table that has been found."""
    words = {None: "", True: "ok", False: "WRONG"}
    print(part)
    for row in rows:
        print(f"  {words[row.good]:<7}{row.what:<52}{row.found}", flush=True)


if __name__ == "__main__":
    main()
