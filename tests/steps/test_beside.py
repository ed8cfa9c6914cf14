"""Forks extract some days' features: the same examples, whatever becomes of a fork."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.settings import PROJECT
from tests.nights import write_model, write_more

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")

LAST = 20
PLAIN = "def features(day: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:\n"
COMMAND = """
import json, os, sys
from tasks.clean_process import template

template.FIRST = template.LIBRARIES = ()
template.import_ahead = lambda stores: None
model, what = sys.argv[1:]
os.environ["MAIN"] = str(os.getpid())
template.leave_template()

from tasks.features import cleaning, examples
from tasks.spec.loading import load_spec
from tasks.steps import beside
from tasks.store import frames
from tests.nights import nth_day

spec = load_spec(model)
listed = spec.source.list_days(nth_day(LAST))
clean = cleaning.clean_days(spec, listed).refs
new = list(listed)[7:]
keys = examples.example_keys(spec, cleaning.clean_keys(spec, listed), new)
told = []
beside.COSTLY, beside._processes = (0 if what != "cheap" else 60), (lambda: 3)
beside.extract_beside(model, listed, clean, new, lambda done, total: told.append([done, total]))
found = frames.find_days("examples", list(keys.values()))
refs, made = examples.prepare_examples(spec, listed, clean, new)
alone = {day: examples.build_examples(spec, *examples.day_and_history(
    spec, frames.read_days(list(clean.values())), day)) for day in new}
equal = [day for day in new if frames.read_days([refs[day]]).equals(alone[day])]
print(json.dumps({
    "ahead": len(found), "new": len(new), "made": len(made), "told": told, "equal": len(equal),
}))
""".replace("LAST", str(LAST))


def write_command(place: Path, *body: str) -> list[str]:
    """A command that extracts features beside forks; features begin with these lines."""
    write_more(place / "days", 1, LAST)
    lines = textwrap.indent("\n".join(body), "    ")
    write_model(place / "toy.py", place / "days", (PLAIN, f"{PLAIN}{lines}\n"))
    (place / "command.py").write_text(COMMAND)
    return [sys.executable, str(place / "command.py"), str(place / "toy.py")]


def run(place: Path, *body: str, what: str = "costly") -> dict[str, Any]:
    """What the command found."""
    ended = subprocess.run(
        [*write_command(place, *body), what],
        env=environment(place),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert not ended.returncode, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found | {"said": ended.stdout.splitlines()[:-1]}


def environment(place: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(PROJECT), "NIGHTLY_HOME": str(place / "home"), "PATH": ""}


def test_forks_extract_the_same_and_each_day_once(tmp_path: Path) -> None:
    found = run(tmp_path, "print(day['day'].iloc[0].day, os.getpid())")
    assert (found["ahead"], found["made"], found["equal"]) == (13, 0, 13)
    done = dict(line.split() for line in found["said"][:13])
    assert {*map(int, done)} == {*range(8, 21)}
    assert len({*done.values()}) == 3
    assert found["told"][-1] == [13, 13]


def test_what_a_fork_fails_to_do_is_done_by_the_caller(tmp_path: Path) -> None:
    found = run(
        tmp_path, "if str(os.getpid()) != os.environ['MAIN']:", "    os.kill(os.getpid(), 9)"
    )
    assert 1 < found["ahead"] < 13
    assert (found["ahead"] + found["made"], found["equal"]) == (13, 13)


def test_cheap_features_ask_no_fork(tmp_path: Path) -> None:
    found = run(tmp_path, what="cheap")
    assert (found["ahead"], found["made"], found["told"]) == (1, 12, [])


def test_a_killed_command_leaves_no_fork(tmp_path: Path) -> None:
    command = write_command(
        tmp_path,
        "import time",
        "if str(os.getpid()) != os.environ['MAIN']:",
        "    print(os.getpid(), file=open(os.environ['NIGHTLY_HOME'] + '/forked', 'a'))",
        "    time.sleep(600)",
    )
    with subprocess.Popen([*command, "costly"], env=environment(tmp_path)) as running:
        noted = tmp_path / "home" / "forked"
        wait_until(lambda: noted.exists() and len(noted.read_text().split()) == 2)
        running.kill()
    forks = [int(each) for each in noted.read_text().split()]
    wait_until(lambda: not any(psutil.pid_exists(each) for each in forks))


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait up to a minute."""
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)
