"""What errors and logs say to Prefect is fit to be shown."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from prefect.utilities.collections import visit_collection

from tasks.steps.spoken import _clean_record, errors_shown, guard_logs, task


def test_an_error_of_a_library_and_its_cause_leave_clean() -> None:
    with pytest.raises(ValueError, match=r"^\?\[2J at https://u:\*\*\*@h$") as told, errors_shown():
        try:
            raise KeyError("\x9b https://u:pass@h")
        except KeyError as cause:
            raise ValueError("\x1b[2J at https://u:pass@h") from cause
    assert "pass" not in repr(told.value.__cause__)


def test_a_line_of_the_log_and_its_traceback_are_clean() -> None:
    try:
        raise ValueError("\x1b https://u:pass@h")
    except ValueError as error:
        found = (ValueError, error, error.__traceback__)
        record = logging.LogRecord("x", 40, "x.py", 1, "at %s", ("https://u:pass@h",), found)
    assert _clean_record(record)
    line = logging.Formatter().format(record)
    assert line.startswith("at https://u:***@h\n")
    assert "pass" not in line
    assert "\x1b" not in line


def test_another_thread_may_make_a_logger_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    made = logging.getLogger

    def make_another_first(name: str) -> logging.Logger:
        made(f"{name}.{uuid4().hex}")
        return made(name)

    with monkeypatch.context() as patch:
        patch.setattr(logging, "getLogger", make_another_first)
        guard_logs()


@dataclass(frozen=True)
class Record:
    days: dict[int, str]


def test_prefect_does_not_look_into_a_record_and_still_sees_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @task()
    def count(record: Record, more: list[str], *, least: int) -> int:
        return max(least, len(record.days) + len(more))

    given: dict[str, Any] = {}
    monkeypatch.setattr(
        "prefect.task_engine.run_task", lambda *, parameters, **_: given.update(parameters)
    )
    record, looked = Record({1: "a", 2: "b"}), list[Any]()
    count(record, ["c"], least=5)
    visit_collection(given, looked.append)
    assert record in looked
    assert "a" not in looked
    assert {"c", 5} <= {each for each in looked if isinstance(each, str | int)}
