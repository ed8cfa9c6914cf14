"""Imports of libraries without what they import for nothing."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def as_if_missing(*names: str) -> Iterator[None]:
    """Meanwhile these modules count as not installed, except where they are imported already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def import_contracts() -> None:
    """Import what pandera imports for a contract, without Dask: no contract is of its frames."""
    with as_if_missing("dask", "dask.dataframe"):
        importlib.import_module("pandera.typing.dask")
