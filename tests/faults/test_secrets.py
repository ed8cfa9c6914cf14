"""A secret in every setting that takes one: nothing that nights leave holds it."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import fsspec
import pytest
import yaml
from jinja2 import ChainableUndefined, Environment
from prefect import Task

import flows.retrain as flow_file
from tasks.settings import PROJECT
from tasks.steps.ending import outcome_of
from tests import nights
from tests.nights import nth_day, write_model
from tests.toy import make_day

pytestmark = [
    pytest.mark.usefixtures("warm_processes"),
    *(pytest.mark.filterwarnings(text) for text in nights.MLFLOW_WARNINGS),
]
MARK = "m4rked"
"""Part of every secret."""
SETTINGS = {
    "LAKE": f"{MARK}-lake",
    "NIGHTLY_PREDICTIONS_URL": f"postgresql://app:{MARK}-app@127.0.0.1:9/app?sslpassword={MARK}-ssl",
    "NIGHTLY_WEBHOOK_URL": f"http://127.0.0.1:9/services/{MARK}-hook",
    "NIGHTLY_SEAL_KEY": f"{MARK}-seal-{'0' * 32}",
    "NIGHTLY_MLFLOW_UI": f"http://me:{MARK}-pages@mlflow.example",
    "MLFLOW_TRACKING_PASSWORD": f"{MARK}-mlflow",
    "AWS_SECRET_ACCESS_KEY": f"{MARK}-aws",
    "SHOP_PASSWORD": f"{MARK}-shop",
}
LAKE = "memory://lake?token=${LAKE}"


@pytest.fixture
def lake(monkeypatch: pytest.MonkeyPatch) -> Iterator[fsspec.AbstractFileSystem]:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    for number in range(1, 41):
        deliver(memory, nth_day(number))
    yield memory
    memory.store.clear()


def deliver(memory: fsspec.AbstractFileSystem, day: date, content: bytes | None = None) -> None:
    made = io.BytesIO()
    make_day(day).to_parquet(made, index=False)
    memory.pipe(f"/lake?token={SETTINGS['LAKE']}/{day}.parquet", content or made.getvalue())


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Every line that Prefect's own handlers get, as they write it."""
    from prefect.logging.handlers import PrefectConsoleHandler

    stream = io.StringIO()
    handler = PrefectConsoleHandler(stream=stream)
    logger = logging.getLogger("prefect")
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


def state_of(model: Path, as_of: date) -> Any:
    from flows.retrain import retrain
    from tasks.steps.config import RetrainConfig

    return retrain(RetrainConfig(model=str(model), as_of=as_of), return_state=True)


def database_of_prefect() -> Path:
    from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL

    return Path(str(PREFECT_API_DATABASE_CONNECTION_URL.value()).partition(":///")[2])


def bodies(events: Sequence[Any], messages: Sequence[str]) -> list[str]:
    """What every alarm's webhook is sent of these events, and of runs that end with these words."""
    name = "prefect.flow-run.Failed"
    ended = [{"event": name, "resource": {"prefect.state-message": said}} for said in messages]
    rules = yaml.safe_load((PROJECT / "deployments" / "automations.yaml").read_text())
    actions = [action for rule in rules for action in rule["actions"] if "body" in action]
    write = Environment(undefined=ChainableUndefined).from_string
    templates = [write(action[part]) for action in actions for part in ("subject", "body")]
    made = [each.render(event=event) for each in templates for event in (*events, *ended)]
    assert any("cannot be written" in body for body in made)
    return made


@pytest.mark.long
def test_no_secret_is_in_anything_that_nights_leave(
    lake: fsspec.AbstractFileSystem,
    logged: io.StringIO,
    registry_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for step in vars(flow_file).values():  # a step that is tried again says the same again
        if isinstance(step, Task) and step.retries:
            monkeypatch.setattr(step, "retries", 0)
    events: list[Any] = []
    monkeypatch.setattr("prefect.events.emit_event", lambda **told: events.append(told))
    model = write_model(
        tmp_path / "toy.py", tmp_path, (f"ParquetDays({str(tmp_path)!r})", f"ParquetDays({LAKE!r})")
    )
    raising = write_model(
        tmp_path / "raising.py",
        tmp_path,
        (f"ParquetDays({str(tmp_path)!r})", f"ParquetDays({LAKE!r})"),
        ('name="toy"', 'name="raising"'),
        (
            "    usual = history",
            "    raise ValueError('no: ' + os.environ['SHOP_PASSWORD'])\n    usual = history",
        ),
    )
    promoted = state_of(model, nth_day(40))
    assert outcome_of(promoted) == "PROMOTED", promoted
    assert "cannot be written" in promoted.result()["predictions"]["fault"]
    deliver(lake, nth_day(41), b"half")
    held = state_of(model, nth_day(41))
    failed = state_of(raising, nth_day(40))
    assert failed.is_failed()
    monkeypatch.setattr(type(lake), "ls", lambda *_, **__: 1 / len(os.environ["LAKE"][99:]))
    outage = state_of(model, nth_day(42))
    assert outage.is_failed()
    said = [state.message for state in (promoted, held, failed, outage)]
    said += [repr(events), *bodies(events, said), logged.getvalue(), *capfd.readouterr()]
    assert [text for text in said if MARK in text] == []
    files = [file for file in registry_home.rglob("*") if file.is_file()]
    files += [Path(f"{database_of_prefect()}{end}") for end in ("", "-wal")]
    assert len(files) > 100
    assert [str(f) for f in files if f.exists() and MARK.encode() in f.read_bytes()] == []
