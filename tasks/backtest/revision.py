"""A model's file as it was in a git revision, with what lies beside it, in a temporary place."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import settings
from tasks.errors import WrongInputError
from tasks.spec.fingerprint import spec_file
from tasks.spec.values import shown

if TYPE_CHECKING:
    from tasks.spec.model_spec import ModelSpec


class RevisionError(WrongInputError, ValueError):
    """The revision, or the model's file in it, is not there."""


@dataclass(frozen=True)
class Revision:
    """Where a revision's model lies.

    Attributes:
        commit: Its commit.
        model: The model as a command names it.
        paths: Folders that come first on Python's path.
    """

    commit: str
    model: str
    paths: tuple[Path, ...]


@contextmanager
def at_revision(spec: ModelSpec, ref: str) -> Iterator[Revision]:
    """The folder of a model's file as of a git revision, beside a copy of today's ``tasks``.

    The whole package that holds the file is taken, so that helper modules and files it reads are
    those of the revision too. What git does not track is not there.

    Args:
        spec: The model as it is now.
        ref: A commit, branch or tag.

    Raises:
        RevisionError: Where git knows no such revision, or the revision no such file.
    """
    file = spec_file(spec)
    folder = file.parent
    while (folder / "__init__.py").is_file() and (folder.parent / "__init__.py").is_file():
        folder = folder.parent
    top = Path(_git(folder, "rev-parse", "--show-toplevel").decode().strip()).resolve()
    commit = _git(folder, "rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}")
    name, place = commit.decode().strip(), folder.relative_to(top)
    inside = file.relative_to(top)
    listed = _git(top, "ls-tree", "--name-only", name, "--", inside.as_posix())
    if not listed.strip():
        raise RevisionError(f"--against: {shown(ref)} has no file {inside}.")
    packed = _git(top, "archive", "--format=tar", name, "--", place.as_posix() or ".")
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary).resolve()
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(root, filter="data")
        shutil.rmtree(root / "tasks", ignore_errors=True)
        skip = shutil.ignore_patterns("__pycache__")
        shutil.copytree(settings.PROJECT / "tasks", root / "tasks", ignore=skip)
        paths = (root, root / place.parent, (root / inside).parent)
        yield Revision(name, str(root / inside), tuple(dict.fromkeys(paths)))


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        ended = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, check=False
        )
    except FileNotFoundError as error:
        raise RevisionError("--against: git is not installed.") from error
    if ended.returncode:
        said = ended.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["git failed"]
        raise RevisionError(f"--against: git {arguments[0]} in {folder}: {said[0]}.")
    return ended.stdout
