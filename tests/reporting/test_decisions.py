"""The same night again is known without the heavy libraries; any doubt means it is run."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks import settings
from tasks.reporting import decisions
from tasks.sources import ParquetDays
from tasks.store import files

FIRST, AS_OF = date(2026, 11, 1), date(2026, 11, 10)
NOW = datetime(2026, 11, 11, 2, 30, tzinfo=UTC)
HEAVY = ("numpy", "pandas", "pyarrow", "pydantic", "prefect", "mlflow", "sklearn", "scipy")


@dataclass(frozen=True)
class Place:
    """A project, its data and a decided night."""

    root: Path
    data: Path
    model: str
    report: Path
    database: Path


def put_day(folder: Path, day: date, content: bytes) -> Path:
    path = folder / f"{day}.parquet"
    path.write_bytes(b"PAR1" + content + b"PAR1")
    return path


def remember(
    place: Place,
    as_of: date = AS_OF,
    skip: tuple[date, ...] = (),
    partitions: dict[str, str] | None = None,
) -> None:
    source = ParquetDays(str(place.data))
    listed = source.list_days(as_of)
    decisions.remember(
        place.model,
        as_of,
        source=source,
        timezone="UTC",
        skip=skip,
        files=[Path(place.model), place.root / "beside.py"],
        days={day: mark for day, mark in listed.items() if day not in skip},
        evidence=[place.report, place.database],
        report=place.report,
        champion="3",
        partitions=partitions,
    )


def move_alias(database: Path, version: str, **partitions: str) -> None:
    """Point the alias champion at a version, as any home may; and those of partitions."""
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute("CREATE TABLE IF NOT EXISTS registered_model_aliases (name, alias, version)")
        opened.execute("DELETE FROM registered_model_aliases")
        own = {f"reports.{value}": each for value, each in partitions.items()}
        for name, each in {"reports": version, **own}.items():
            row = (name, "champion", int(each))
            opened.execute("INSERT INTO registered_model_aliases VALUES (?, ?, ?)", row)


def test_a_verdict_whose_champion_is_none_any_more_is_judged_again(place: Place) -> None:
    """Another home has moved the alias of the registry that both share."""
    remember(place)
    assert decisions.recall(place.model, AS_OF, NOW) == {"verdict": "PROMOTED"}
    move_alias(place.database, "4")
    assert decisions.recall(place.model, AS_OF, NOW) is None
    move_alias(place.database, "3")
    assert decisions.recall(place.model, AS_OF, NOW) is not None
    remember(place, AS_OF + timedelta(days=1))  # a later night has made version 4
    move_alias(place.database, "4")
    assert decisions.recall(place.model, AS_OF, NOW) is not None


def test_a_fleet_is_judged_again_where_the_champion_of_a_partition_is_another(
    place: Place,
) -> None:
    move_alias(place.database, "3", north="2")
    remember(place, partitions={"reports.north": "2"})
    assert decisions.recall(place.model, AS_OF, NOW) is not None
    for other in ({"north": "1"}, {}, {"north": "2", "south": "1"}):
        move_alias(place.database, "3", **other)
        assert decisions.recall(place.model, AS_OF, NOW) is None
    move_alias(place.database, "4", north="2")
    assert decisions.recall(place.model, AS_OF, NOW) is None


@pytest.fixture
def place(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    root, data = tmp_path / "project", tmp_path / "data"
    for room in ("flows", "tasks", "deployments"):
        (root / room).mkdir(parents=True)
        (root / room / "helper.py").write_text(f"# {room}\n")
    data.mkdir()
    for n in range(12):
        put_day(data, FIRST + timedelta(days=n), f"day {n}".encode())
    (root / "mine.py").write_text("# a model\n")
    (root / "beside.py").write_text("# what it imports\n")
    report = home / "reports" / "mine" / "report.json"
    files.write_json(report, {"verdict": "PROMOTED"})
    database = home / "mlflow.db"
    move_alias(database, "3")
    monkeypatch.setattr(settings, "PROJECT", root)
    decisions._first_digest.cache_clear()
    found = Place(root, data, str(root / "mine.py"), report, database)
    assert decisions.recall(found.model, AS_OF, NOW) is None, "nothing is decided yet"
    remember(found)
    return found


def test_an_unchanged_night_is_known(place: Place) -> None:
    assert decisions.recall(place.model, AS_OF, NOW) == {"verdict": "PROMOTED"}


def test_later_days_change_nothing_of_an_earlier_night(place: Place) -> None:
    put_day(place.data, AS_OF + timedelta(days=9), b"later")
    assert decisions.recall(place.model, AS_OF, NOW) == {"verdict": "PROMOTED"}


def test_without_a_date_the_newest_complete_day_counts(place: Place) -> None:
    assert decisions.recall(place.model, None, NOW) == {"verdict": "PROMOTED"}
    assert decisions.recall(place.model, None, NOW + timedelta(days=1)) is None, "a day has come"
    remember(place, AS_OF + timedelta(days=1))
    assert decisions.recall(place.model, None, NOW + timedelta(days=1)) is not None
    assert decisions.recall(place.model, None, NOW) is not None, "and the day before is still known"


def test_the_newest_decisions_stay(place: Place) -> None:
    for days in range(4):
        remember(place, AS_OF - timedelta(days=days))
    decisions.forget_old(place.model, 2)
    assert decisions.recall(place.model, AS_OF, NOW)
    (folder,) = (settings.home() / "decisions").iterdir()
    kept = [AS_OF - timedelta(days=1), AS_OF]
    assert sorted(file.stem for file in folder.iterdir()) == list(map(str, kept))
    decisions.forget_old("never seen", 2)


def test_a_day_left_out_by_a_person_counts(place: Place) -> None:
    remember(place, skip=(FIRST,))
    assert decisions.recall(place.model, AS_OF, NOW) is not None
    put_day(place.data, FIRST, b"changed")
    assert decisions.recall(place.model, AS_OF, NOW) is not None, "it was left out"


def change_a_day(place: Place) -> None:
    path = place.data / f"{FIRST}.parquet"
    before = path.stat()
    put_day(place.data, FIRST, b"dax 0")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)


def write(name: str, text: str) -> Callable[[Place], None]:
    def change(place: Place) -> None:
        (place.root / name).write_text(text)

    return change


def edit_record(name: str, value: Any) -> Callable[[Place], None]:
    def change(place: Place) -> None:
        path = decisions._folder(place.model) / f"{AS_OF}.json"
        files.write_json(path, files.read_json(path) | {name: value})

    return change


def tear_record(place: Place) -> None:
    path = decisions._folder(place.model) / f"{AS_OF}.json"
    path.write_bytes(path.read_bytes()[:-20])


CHANGES: dict[str, Callable[[Place], None]] = {
    "a day of the same size and time": change_a_day,
    "a day gone": lambda place: (place.data / f"{FIRST}.parquet").unlink(),
    "an earlier day come": lambda place: void(put_day(place.data, date(2026, 10, 1), b"x")),
    "a day cut off": lambda place: (place.data / f"{FIRST}.parquet").write_bytes(b"PAR1") and None,
    "all days gone": lambda place: void(place.data.rename(place.data.with_name("away"))),
    "the model": write("mine.py", "# another\n"),
    "what the model imports": write("beside.py", "# another\n"),
    "a line of a flow": write("flows/helper.py", "# another\n"),
    "a line of a task": write("tasks/helper.py", "# another\n"),
    "a new helper": write("tasks/new.py", ""),
    "a helper gone": lambda place: (place.root / "tasks/helper.py").unlink(),
    "the model gone": lambda place: Path(place.model).unlink(),
    "the report gone": lambda place: place.report.unlink(),
    "the report edited": lambda place: files.write_json(place.report, {"verdict": "REJECTED"}),
    "the registry gone": lambda place: place.database.unlink(),
    "the registry begun anew": lambda place: void(place.database.write_bytes(b"1")),
    "the record torn": tear_record,
    "the record a list": edit_record("evidence", []),
    "the record of another night": edit_record("as_of", "2026-11-09"),
    "the record of an unknown source": edit_record("source", {"kind": "Other"}),
}


def void(_: object) -> None:
    return None


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_any_change_or_doubt_means_it_is_run(change: Callable[[Place], None], place: Place) -> None:
    change(place)
    assert decisions.recall(place.model, AS_OF, NOW) is None


def test_the_source_is_not_asked_where_the_code_has_changed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(place)
    asked: list[date] = []
    monkeypatch.setattr(ParquetDays, "list_days", lambda _, until: asked.append(until) or {})
    Path(place.model).write_text("edited = True")
    assert decisions.recall(place.model, AS_OF, NOW) is None
    assert decisions.recall(place.model, None, NOW) is None
    assert not asked


def test_another_version_of_any_library_is_seen(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert decisions.recall(place.model, AS_OF, NOW) is not None
    (tmp_path / "boosting-2.1.dist-info").mkdir()
    assert decisions.recall(place.model, AS_OF, NOW) is None
    remember(place)
    assert decisions.recall(place.model, AS_OF, NOW) is not None
    (tmp_path / "boosting-2.1.dist-info").rename(tmp_path / "boosting-2.2.dist-info")
    assert decisions.recall(place.model, AS_OF, NOW) is None


def test_another_python_is_seen(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    assert decisions.recall(place.model, AS_OF, NOW) is None


def test_another_registry_is_seen(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://registry:5000")
    assert decisions.recall(place.model, AS_OF, NOW) is None


def test_another_home_knows_nothing(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLY_HOME", str(tmp_path / "other"))
    assert decisions.recall(place.model, AS_OF, NOW) is None


def test_the_same_file_name_in_another_folder_is_another_model(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.root)
    assert decisions.recall("mine.py", AS_OF, NOW) is not None, "the same file, named in short"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.py").write_text("# somebody else's\n")
    monkeypatch.chdir(elsewhere)
    assert decisions.recall("mine.py", AS_OF, NOW) is None


def test_a_line_edited_while_the_night_ran_is_seen(place: Place) -> None:
    helper = place.root / "tasks/helper.py"
    assert decisions.recall(place.model, AS_OF + timedelta(days=1), NOW) is None  # the night begins
    helper.write_text("# edited meanwhile\n")
    remember(place, AS_OF + timedelta(days=1))
    assert decisions.recall(place.model, AS_OF + timedelta(days=1), NOW) is None


def test_a_source_of_another_kind_is_not_kept(place: Place) -> None:
    @dataclass(frozen=True)
    class Own:
        connection: object

        def list_days(self, until: date) -> dict[date, str]:
            return {until: "mark"}

        def read_days(self, days: object) -> Any:
            raise NotImplementedError

    decisions.remember(
        "own",
        AS_OF,
        source=Own(object()),
        timezone="UTC",
        skip=(),
        files=[],
        days={AS_OF: "mark"},
        evidence=[],
        report=place.report,
    )
    assert decisions.recall("own", AS_OF, NOW) is None


SPENT = """
import json, sys, time
from datetime import date, datetime, timezone
from tasks.reporting import decisions
began = time.process_time()
report = decisions.recall(sys.argv[1], None, datetime(2026, 11, 11, tzinfo=timezone.utc))
spent = time.process_time() - began
heavy = [name for name in sys.argv[2:] if name in sys.modules]
print(json.dumps({"report": report, "spent": spent, "whole": time.process_time(), "heavy": heavy}))
"""


def test_a_year_is_known_at_once_and_without_the_heavy_libraries(
    tmp_path: Path, home: Path
) -> None:
    data = tmp_path / "year"
    data.mkdir()
    for n in range(365):
        put_day(data, AS_OF - timedelta(days=n), os.urandom(41_000))
    report = home / "report.json"
    files.write_json(report, {"verdict": "KEPT"})
    source = ParquetDays(str(data))
    decisions._first_digest.cache_clear()
    decisions.remember(
        "year",
        AS_OF,
        source=source,
        timezone="UTC",
        skip=(),
        files=[],
        days=source.list_days(AS_OF),
        evidence=[report],
        report=report,
    )
    done = subprocess.run(
        [sys.executable, "-c", SPENT, "year", *HEAVY],
        capture_output=True,
        text=True,
        cwd=settings.PROJECT,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["report"] == {"verdict": "KEPT"}
    assert found["heavy"] == []
    assert found["spent"] < 0.3, "CPU seconds; 0.05 on a calm machine"


def test_a_decision_names_files_as_any_machine_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = {}
    for name in ("A", "B"):
        monkeypatch.setenv("NIGHTLY_HOME", str(tmp_path / name / "home"))
        monkeypatch.setattr(settings, "PROJECT", tmp_path / name / "clone")
        places = [
            tmp_path / name / "home" / "reports" / "toy" / "report.json",
            tmp_path / name / "home" / "predictions" / "toy" / "2026-02-01.parquet",
            tmp_path / name / "clone" / "tasks" / "x.py",
            Path("/srv/models/toy.py"),
        ]
        named[name] = [decisions.portable(place) for place in places]
        assert [decisions.placed(each) for each in named[name]] == places
    assert named["A"] == named["B"]
