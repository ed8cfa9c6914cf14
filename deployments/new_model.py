"""Reads your data, writes a first model file that runs at once, and says what to check.

``python deployments/new_model.py --from my.parquet --time ordered_at --target churned``
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import os
import re
import sys
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from tasks import sources
from tasks.errors import NightlyError
from tasks.scaffold.code import literal, told
from tasks.scaffold.decide import Asked, draft, draft_ranking, read_newest, read_sample
from tasks.scaffold.plan import Plan
from tasks.scaffold.profiling import InferError, shown
from tasks.scaffold.render_ranking import Feedback, write_ranking
from tasks.scaffold.render_tabular import write_tabular
from tasks.settings import PROJECT
from tasks.shown import clean, few, hide, stand_any_terminal
from tasks.sources import SourceError
from tasks.sources.csv_reader import NULLS
from tasks.spec import SpecError
from tasks.spec.loading import load_spec

DATABASES = ("postgresql", "sqlite")
TABLES = (".csv", ".tsv", ".txt")
DELIMITERS = ",;\t|"
SETTING = re.compile(r"\b(time_format|query|timezone)=(?=(['\"])?)")
"""How a source names those of its settings that are options of this command."""
DAY = re.compile(r"(?:day=)?\d{4}-\d\d-\d\d\.")
COMMA = re.compile(r"\s*[+-]?(\d+|[1-9]\d{0,2}(\.\d{3})+)(,\d+)?\s*")
"""A whole number, or one with a decimal comma."""
PARTITION = re.compile(r"\w+=.+")
OURS = ("tasks", "flows", "deployments", "tests")
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
AHEAD = 40
"""Most columns known ahead that the message names; all are in the file."""
SPEC = re.compile(r"^\w+ = ModelSpec\($", re.MULTILINE)


def new_model_parser() -> argparse.ArgumentParser:
    """The options of ``deployments/new_model.py``."""
    parser = argparse.ArgumentParser(
        prog="deployments/new_model.py",
        description="Write deployments/NAME.py, a first model on your data, for you to edit.",
        epilog="Exit code: 0 written; 2 wrong call or data; 1 failure.",
    )
    parser.add_argument(
        "--from",
        dest="origin",
        required=True,
        metavar="DATA",
        help="a Parquet or CSV file, a folder of such files, or the URL of a database",
    )
    parser.add_argument("--table", help="table of the database")
    parser.add_argument("--query", help="or a query instead of the table")
    parser.add_argument("--time", metavar="COLUMN", help="column that says when a row happened")
    parser.add_argument(
        "--time-format",
        metavar="FORMAT",
        help="how it is written in a file, where that is not 2026-11-21: such as %%d-%%m-%%Y",
    )
    parser.add_argument("--target", metavar="COLUMN", help="column to predict")
    parser.add_argument("--user", metavar="COLUMN", help="for a recommendation: column of the user")
    parser.add_argument("--item", metavar="COLUMN", help="for a recommendation: column of the item")
    parser.add_argument(
        "--rating", metavar="COLUMN", help="for a recommendation: column of the rating"
    )
    parser.add_argument(
        "--problem",
        choices=("classification", "multiclass", "regression"),
        help="kind of problem, where the target allows several",
    )
    parser.add_argument(
        "--timezone", default="UTC", help="time zone of the days, such as Europe/Berlin"
    )
    parser.add_argument("--name", help="name of the model (default: from --out, or from the data)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: deployments/NAME.py")
    parser.add_argument("--force", action="store_true", help="overwrite an existing file")
    return parser


def main() -> int:
    """Write a model file for the command's options, or print one message."""
    asked = new_model_parser().parse_args()
    stand_any_terminal()
    try:
        plan, text, out = make(asked, datetime.now(UTC))
        write_whole(out, text)
    except (InferError, SourceError, SpecError) as error:
        print(f"nightly: {as_options(str(error))}\nNothing was written.", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"nightly: {asked.out}: cannot be written: {error.strerror}.", file=sys.stderr)
        return 1
    print(clean(summary(plan, text, out, datetime.now(ZoneInfo(asked.timezone)).date())))
    print(clean(describe_data(plan, out)))
    return 0


def describe_data(plan: Plan, out: Path) -> str:
    """Write the page of the data; where it is, or why there is none."""
    from tasks.scaffold.data_page import write_data_page

    try:
        place = write_data_page(load_spec(str(out)), plan.last, plan.warnings)
    except (NightlyError, OSError) as error:
        return f"\nThere is no page of the data: {error}"
    return f"\nWhat is in the data, with these columns marked: {place}"


def as_options(said: str) -> str:
    """A message of a source, with the options of this command for the settings it names."""
    said = said.replace("a source that says how they are written", "an option that says it")
    said = said.replace("time= in the model's source", "--time")
    return SETTING.sub(
        lambda found: f"--{found[1].replace('_', '-')}{' ' if found[2] else ''}", said
    )


def make(asked: argparse.Namespace, now: datetime) -> tuple[Plan, str, Path]:
    """The plan, the text of the model file, and its path; nothing is written.

    Args:
        asked: From ``new_model_parser``.
        now: The current time, with its time zone.

    Raises:
        InferError: A wrong option, or data from which no model can be made.
        SourceError: The data cannot be read.
        SpecError: The model would not run.
    """
    check_call(asked)
    name = asked.name or name_after(asked.out.stem if asked.out else asked.table or asked.origin)
    out = free_place(asked, name)
    imported, arguments = describe_source(asked)
    zone = {} if asked.timezone == "UTC" else {"timezone": asked.timezone}
    source: Any = getattr(sources, imported)(**arguments, **zone)
    listed = list(source.list_days(date.max))
    if not listed:
        raise InferError(f"--from {asked.origin}: found no rows; expected rows of several days.")
    rows, looked = read_sample(source, listed)
    wish = Asked(
        name=name,
        origin=hide(asked.origin),
        source=as_code(arguments),
        imported=imported,
        time=None if names_folders(asked) else asked.time,
        target=asked.target,
        problem=asked.problem,
        timezone=asked.timezone,
        today=now.astimezone(ZoneInfo(asked.timezone)).date(),
        zoned=source.names_zone(),
    )
    if asked.user is None:
        whole = looked == len(listed)
        newest = None if whole else read_newest(source, listed, rows)
        plan = draft(wish, rows, listed, looked, newest)
        text = write_tabular(plan)
    else:
        log = Feedback(asked.user, asked.item, repeats=False, rating=asked.rating)
        plan, log = draft_ranking(wish, log, rows, listed, looked)
        text = write_ranking(plan, log)
    try_out(name, text, listed)
    return plan, text, out


def check_call(asked: argparse.Namespace) -> None:
    """Raise InferError where the options do not fit together."""
    if (asked.user is None) != (asked.item is None):
        raise InferError("Found only one of --user and --item; a recommendation needs both.")
    if asked.user is None and asked.target is None:
        raise InferError("Name the column to predict: --target, or --user and --item.")
    if asked.user is not None and asked.target is not None:
        raise InferError(
            "Found both --target and --user; expected one of them. Name a rating with --rating."
        )
    try:
        ZoneInfo(asked.timezone)
    except (KeyError, OSError, ValueError):
        raise InferError(
            f"--timezone: found {shown(asked.timezone)}; expected one such as Europe/Berlin."
        ) from None
    if asked.name is not None and not NAME.fullmatch(asked.name):
        raise InferError(
            f"--name: found {shown(asked.name)}; expected lower-case letters, digits and _, "
            "beginning with a letter, at most 63."
        )


def check_module(out: Path) -> None:
    """Refuse a file whose module would be imported in place of one that is needed.

    Scripts beside it, such as ``deployments/serve.py``, find it first.

    Raises:
        InferError: Where Python, a library or this project has a module of that name.
    """
    from importlib.metadata import packages_distributions
    from importlib.util import find_spec

    name = out.stem
    owner = "Python" if name in sys.stdlib_module_names else None
    owner = "this project" if name in OURS else owner
    if owner is None and name.isidentifier() and (name in sys.modules or find_spec(name)):
        owner = next(iter(packages_distributions().get(name, [])), None)
    if owner:
        raise InferError(
            f"{out.name}: found the name of a module of {owner}; expected another, because "
            f"scripts beside the file would import it in place of that. Set --name "
            f"{name}_model, or --out to another name."
        )


def name_after(origin: str) -> str:
    """A name for the model from its file, folder or table."""
    stem = Path(urlsplit(origin).path).name.split(".")[0] if "/" in origin else origin.split(".")[0]
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")[:63]
    if not NAME.fullmatch(name):
        raise InferError(f"No model name can be made from {shown(origin)}. Set --name.")
    return name


def free_place(asked: argparse.Namespace, name: str) -> Path:
    """Path of the new file.

    Raises:
        InferError: Where the file exists already, or its folder does not.
    """
    out: Path = asked.out or PROJECT / "deployments" / f"{name}.py"
    if out.suffix != ".py":
        raise InferError(f"--out: found {shown(str(out))}; expected a name that ends in .py.")
    check_module(out)
    if not out.resolve().parent.is_dir():
        raise InferError(f"--out: there is no folder {out.resolve().parent}. Create it first.")
    if out.exists():
        if not SPEC.search(out.read_text(encoding="utf-8", errors="replace")):
            raise InferError(
                f"{out}: found a file that is not a model file. Choose another --name."
            )
        if not asked.force:
            raise InferError(
                f"{out}: the file exists already. Choose another --name, or set --force."
            )
    return out


def describe_source(asked: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Class and arguments of the source that reads the data.

    Raises:
        InferError: Where it is not a table's file, a folder of such files or a database.
    """
    origin: str = asked.origin
    scheme = origin.split("://")[0].split("+")[0] if "://" in origin else ""
    if scheme in DATABASES or asked.table or asked.query:
        return _database(asked, scheme)
    time = {"time": asked.time} if asked.time else {}
    if asked.time and asked.time_format:
        time["time_format"] = asked.time_format
    if scheme:
        kind = "CsvDays" if _suffix(origin) in TABLES else "ParquetDays"
        return kind, {"path": origin, **time}
    path = Path(origin).expanduser().resolve()
    if not path.exists():
        raise InferError(
            f"--from {origin}: found no such file or folder, relative to {Path.cwd()}."
        )
    inside = [] if path.is_file() else sorted(path.iterdir())
    lake = [part for part in inside if PARTITION.fullmatch(part.name) and part.is_dir()]
    files = [path] if path.is_file() else [f for f in inside if _is_data(f)]
    files += sorted(f for part in lake for f in part.iterdir() if _is_data(f))
    if not files:
        raise InferError(f"--from {origin}: found no .parquet or .csv file in this folder.")
    kinds = sorted({_suffix(file.name) for file in files})
    if len(kinds) > 1:
        raise InferError(f"--from {origin}: found {' and '.join(kinds)} files; expected one kind.")
    if path.is_dir() and all(
        DAY.match(file.name) or DAY.match(f"{file.parent.name.partition('=')[2]}.")
        for file in files
    ):
        time = {}
    elif not time:
        raise InferError("Set --time to the column that says when a row happened.")
    place = {"path": _from_project(path)}
    if _suffix(files[0].name) not in TABLES:
        return "ParquetDays", {**place, **time}
    return "CsvDays", {**place, **time, **_dialect(files[0])}


def names_folders(asked: argparse.Namespace) -> bool:
    """Whether ``--time`` is what the folders of the days are named by, ``date=2026-11-21``."""
    folders = Path(asked.origin).expanduser().glob("*=*")
    return any(folder.name.partition("=")[0] == asked.time for folder in folders)


def as_code(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """The arguments of a source as code, the location without a keyword."""
    where, *others = arguments.items()
    return (literal(where[1]), *(f"{key}={literal(value)}" for key, value in others))


def try_out(name: str, text: str, listed: Sequence[date]) -> None:
    """Load the file as a night would, and split the history.

    Raises:
        SpecError: Where it does not load.
        InferError: Where the history is too short for it.
    """
    from tasks.features.split import HistoryError, split_days

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.py"
        file.write_text(text, encoding="utf-8")
        spec = load_spec(str(file))
    try:
        split_days(spec, listed, listed[-1])
    except HistoryError as error:
        raise InferError(str(error)) from error


def write_whole(out: Path, text: str) -> None:
    """Write the file atomically."""
    half = out.with_name(f".{out.name}.tmp")
    try:
        half.write_text(text, encoding="utf-8")
        half.replace(out)
    finally:
        half.unlink(missing_ok=True)


def summary(plan: Plan, text: str, out: Path, today: date) -> str:
    """The message on what was found and written, and the next steps."""
    model = plan.name if out.resolve().parent == PROJECT / "deployments" else os.fspath(out)
    old = f" --as-of {plan.last}" if (today - plan.last).days > 1 else ""
    ahead = few(map(told, plan.ahead), AHEAD)
    lines = [
        f"{plan.name} · {plan.looked}, {plan.first} to {plan.last}",
        "",
        *(textwrap.fill(f"! {one}", 100, subsequent_indent="  ") for one in plan.warnings),
        *([""] if plan.warnings else []),
        *textwrap.wrap(f"Known ahead  {ahead}", 100, subsequent_indent=" " * 13),
        "             Check that each is known before the day begins. Only you can tell.",
        f"Holdout      the last {plan.windows.holdout} days",
        *_baseline(plan),
        f"Wrote        {out} ({len(text.splitlines())} lines)",
        "",
        "Next:",
        f"  python flows/retrain.py --model {model} --check",
        f"  python flows/retrain.py --model {model}{old}",
        "  then put the entry at the end of the file into prefect.yaml, and",
        f"  prefect deploy -n retrain-{plan.name} -n look-{plan.name}",
    ]
    return "\n".join(lines)


def _baseline(plan: Plan) -> list[str]:
    """What the candidates have to beat; nothing for a recommendation."""
    if plan.target is None:
        return []
    if plan.baseline is None:
        said = "what is usual over all rows: no naive forecast was better on the newest days"
    else:
        by = [*plan.baseline.by, *["the hour"] * plan.baseline.timed]
        name = f"{plan.baseline_name}{' by ' if by else ''}{told(', '.join(by))}"
        said = f"{name}: {plan.baseline.told}"
    return textwrap.wrap(f"Baseline     {said}", 100, subsequent_indent=" " * 13)


def _database(asked: argparse.Namespace, scheme: str) -> tuple[str, dict[str, str]]:
    if scheme not in DATABASES:
        raise InferError(
            f"--table and --query: found --from {asked.origin}; expected the URL of a database "
            "there."
        )
    if bool(asked.table) == bool(asked.query):
        raise InferError(
            "A database needs either --table or --query; expected exactly one of them."
        )
    if not asked.time:
        raise InferError("Set --time to the column that says when a row happened.")
    named = {"table": asked.table} if asked.table else {"query": asked.query}
    return "SqlDays", {"url": asked.origin, **named, "time": asked.time}


def _is_data(file: Path) -> bool:
    aside = file.name.startswith((".", "_")) or not file.is_file()
    return not aside and _suffix(file.name) in (*TABLES, ".parquet")


def _suffix(name: str) -> str:
    suffixes = [s for s in Path(name).suffixes if s not in (".gz", ".zst", ".bz2", ".xz")]
    return suffixes[-1].lower() if suffixes else ""


def _from_project(path: Path) -> str:
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)


def _dialect(file: Path) -> dict[str, Any]:
    """Delimiter, encoding and decimal commas of a CSV file, where they differ from the defaults."""
    if file.suffix in (".gz", ".zst", ".bz2", ".xz"):
        return {}
    found: dict[str, Any] = {}
    with file.open("rb") as opened:
        start = opened.read(1_000_000)
    try:
        text = start.rpartition(b"\n")[0].decode("utf-8")
    except UnicodeDecodeError:
        found["encoding"] = "cp1252"
        text = start.rpartition(b"\n")[0].decode("cp1252", errors="replace")
    header = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    if delimiter == ",":
        return found
    commas = _decimal_commas(list(csv.reader(io.StringIO(text), delimiter=delimiter)))
    types = {"types": dict.fromkeys(commas, "comma")} if commas else {}
    return {"delimiter": delimiter, **found, **types}


def _decimal_commas(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of numbers, some of which have a comma that cannot be one between thousands."""
    found = []
    for name, *values in itertools.zip_longest(*rows, fillvalue=""):
        there = [value for value in values if value not in NULLS]
        numbers = all(map(COMMA.fullmatch, there))
        if numbers and any(len(one.partition(",")[2]) not in (0, 3) for one in there):
            found.append(name)
    return found


if __name__ == "__main__":
    sys.exit(main())
