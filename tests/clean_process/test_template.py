"""A fork of the template sees what a new interpreter would see, and nothing of the command."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from typing import Any

import pytest

from tasks.settings import PROJECT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")

LOOK = """
import json, os, signal, sys, tempfile
import tasks
from tasks.secret import WORD
print(json.dumps({
    "argv": sys.argv, "path": sys.path, "here": os.listdir(), "env": dict(os.environ),
    "name": __name__, "package": tasks.__file__, "word": WORD, "temporary": tempfile.gettempdir(),
    "bytecode": sys.dont_write_bytecode, "interrupt": str(signal.getsignal(signal.SIGINT)),
    "of the command": sorted({"helper", "tasks.errors", "tasks.cli"} & set(sys.modules)),
}))
"""
COMMAND = """
import json, os, signal, sys, threading
from pathlib import Path
import helper
from tasks.cli.interrupt import end_on_interrupt
from tasks.clean_process import run, template

end_on_interrupt()
template.FIRST, template.LIBRARIES = ("first",), ()
template.import_ahead = lambda stores: None
template.leave_template()
os.environ["TMPDIR"] = sys.argv[2]
place = Path(sys.argv[1])
known = {"dask": (sys.modules["first"].FOUND, "dask" in sys.modules)}

def ask(name, *arguments):
    try:
        return run.run_by_itself(place / name, *arguments)
    except run.CleanProcessError as error:
        return str(error)

anew, run._run_anew = run._run_anew, None
known["forked"] = json.loads(ask("look.py", "one", place))
known["raises"], known["exits"], known["dies"] = map(ask, ("raises.py", "exits.py", "dies.py"))
run.TIME_OUT = 0.2
known["hangs"] = ask("hangs.py")
run.TIME_OUT = 60
run._run_anew = lambda *_: (0, "another", "")
with template._ONE_AT_A_TIME:
    known["at once"] = ask("look.py")
os.kill(int(Path(f"/proc/self/task/{os.getpid()}/children").read_text()), signal.SIGKILL)
known["without one"] = ask("look.py")
run._run_anew = anew
known["anew"] = json.loads(ask("look.py", "one", place))
template._waiting.clear()
threading.Thread(target=signal.pause, daemon=True).start()
template.leave_template()
known["with threads"] = len(template._waiting)
print(json.dumps(known))
"""


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a command with a template, and its clean processes, have said."""
    place = tmp_path_factory.mktemp("template")
    package = place / "code" / "tasks"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "secret.py").write_text("WORD = 'of the package'")
    look = f"import sys; sys.path.insert(0, {str(package.parent)!r})\n{LOOK}"
    texts = {
        "look.py": look,
        "raises.py": "1 / 0",
        "exits.py": "import sys; sys.exit('as it said')",
        "dies.py": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
        "hangs.py": "import signal; signal.pause()",
        "helper.py": "",
        "first.py": "from importlib import import_module\n"
        "try:\n    import_module('dask')\nexcept ImportError:\n    FOUND = False\n",
        "command.py": textwrap.dedent(COMMAND),
    }
    for name, text in texts.items():
        (place / name).write_text(text)
    ended = subprocess.run(
        [sys.executable, str(place / "command.py"), str(place), str(place)],
        capture_output=True,
        text=True,
        check=False,
        cwd=PROJECT,
        env={"PYTHONPATH": str(PROJECT), "NIGHTLY_HOME": str(place / "home"), "TZ": "UTC"},
        timeout=60,
    )
    assert not ended.returncode, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def test_it_sees_what_a_new_interpreter_sees(known: dict[str, Any]) -> None:
    assert known["forked"] == known["anew"]
    assert known["forked"]["word"] == "of the package"
    assert not known["forked"]["of the command"]


def test_its_end_is_said_in_the_same_words(known: dict[str, Any]) -> None:
    assert known["raises"] == "ZeroDivisionError: division by zero"
    assert known["exits"] == "as it said"
    assert known["dies"] == "it was ended by SIGTERM"
    assert known["hangs"] == "it did not end within its time limit of 0.2 s"


def test_no_library_imports_dask_for_nothing(known: dict[str, Any]) -> None:
    assert known["dask"] == [False, False]


def test_a_new_interpreter_stands_in(known: dict[str, Any]) -> None:
    assert known["at once"] == known["without one"] == "another"
    assert known["with threads"] == 0
