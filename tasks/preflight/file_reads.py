"""Which files the model's code reads, seen by Python's audit hook while a check runs it."""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks import settings

CACHES = {
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "MPLCONFIGDIR": ".matplotlib",
    "HOMEBREW_CACHE": "Library/Caches",  # on a Mac
}
"""Where libraries keep files of their own: the variable, and the usual place in the home."""
_watching: list[set[str]] = []
"""Where the files that are opened now are noted; an audit hook cannot be taken off again."""
_hooked: list[bool] = []


@contextmanager
def noted(seen: set[str]) -> Iterator[None]:
    """Note every file that Python code opens to read.

    Files that compiled code opens by itself are not seen.

    Args:
        seen: Their full paths are added to it.
    """
    if not _hooked:
        sys.addaudithook(_note)
        _hooked.append(True)
    _watching.append(seen)
    try:
        yield
    finally:
        _watching.remove(seen)


def unknown(seen: Set[str], known: Iterable[Path]) -> list[str]:
    """Those of the files that are neither known nor of Python, its libraries or the system.

    Args:
        seen: From ``noted``.
        known: Code and files of the model.
    """
    rooms = [*sysconfig.get_paths().values(), *site.getsitepackages(), sys.prefix, sys.base_prefix]
    rooms += [str(settings.home()), "/proc", "/sys", "/dev", "/etc", "/usr"]
    rooms += map(str, (settings.home() / "data").glob("*"))  # a borrowed home has links there
    rooms += [os.environ.get(name) or str(Path.home() / usual) for name, usual in CACHES.items()]
    below = tuple({f"{os.path.realpath(room)}{os.sep}" for room in rooms})
    own = {str(file.resolve()) for file in known}
    code = (".py", ".pyc", ".so", ".pyd", ".pth")
    return [
        file
        for file in sorted(map(os.path.realpath, seen))
        if file not in own and not file.startswith(below) and not file.endswith(code)
    ]


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _watching:
        return
    path, mode, flags = arguments
    writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
    if isinstance(path, str | bytes) and not writes and not set(str(mode or "r")) & set("wax+"):
        file = Path(os.fsdecode(path)).absolute()
        for seen in _watching if file.is_file() else ():  # an import also tries what is no file
            seen.add(str(file))
