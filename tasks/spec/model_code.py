"""Errors that a model's own functions raise, told with the place in its files."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tasks import settings
from tasks.errors import NightlyError, WrongInputError
from tasks.spec.fingerprint import code_files

if TYPE_CHECKING:
    from tasks.spec.model_spec import ModelSpec


class ModelCodeError(WrongInputError, RuntimeError):
    """A function of the model's file raised an error; the message says which and where.

    Attributes:
        said: That alone, as ``told`` says it.
    """

    said: str = ""


@contextmanager
def told_errors(spec: ModelSpec, what: str, columns: str = "") -> Iterator[None]:
    """Say of what a function of the spec raises, where in the model's files that was.

    Args:
        spec: The model.
        what: The function and what it was called for, such as ``features of 2026-11-28``.
        columns: Said of a ``KeyError``: what the rows have.

    Raises:
        ModelCodeError: In place of what was raised. Errors of this project, of the system and of
            memory stay as they are.
    """
    try:
        yield
    except (NightlyError, OSError, MemoryError):
        raise
    except Exception as error:
        said = told(spec, what, error)
        there = f" {columns}" if columns and isinstance(error, KeyError) else ""
        found = ModelCodeError(
            f"Model {spec.name}: {said}.{there} Correct the model's file; --check runs it on a few "
            "days within seconds."
        )
        found.said = f"{said}.{there}" if there else said
        raise found from error


def told(spec: ModelSpec, what: str, error: Exception) -> str:
    """The message for an error in a function of the spec, with the line in the model's files."""
    if isinstance(error, ModelCodeError):
        return error.said
    files = {str(file) for file in code_files(spec)}
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in files]
    house = settings.PROJECT / "tasks"
    own = [f for f in frames if not Path(f.filename).is_relative_to(house)] or frames
    where = f" (line {own[-1].lineno} of {own[-1].filename})" if own else ""
    of = "".join(f" of {note}" for note in getattr(error, "__notes__", ()))
    return f"{what}{of} raised {type(error).__name__}: {error}{where}"
