"""What README, operations, serving and report say is so: model, requests, queries, tables."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests import nights, pages
from tests.nights import PROJECT, nth_day

README = pages.read("README.md")
OPERATIONS = pages.read("deployments/OPERATIONS.md")
SERVING = pages.read("deployments/SERVING.md")
COMMANDS = pages.commands("README.md")
SERVING_COMMANDS = pages.commands("deployments/SERVING.md")


def test_it_opens_with_two_lines_that_work_alone() -> None:
    for command in COMMANDS[:2]:
        assert command.startswith("python3 -m venv .venv && ")
        assert "--require-hashes -r requirements.lock" in command
        assert " -e . && " in command
    assert COMMANDS[0].endswith(" .venv/bin/python flows/retrain.py")
    assert COMMANDS[1].endswith(" .venv/bin/pytest -q")


def test_its_table_of_alarms_is_the_file() -> None:
    table = r"^\| alarm \| .*\n\|---\|---\|\n((?:\|.*\n)+)"
    (rows,) = re.findall(table, OPERATIONS, re.MULTILINE)
    entries = yaml.safe_load((PROJECT / "deployments" / "automations.yaml").read_text())
    named = [row.split(" | ")[0].removeprefix("| ") for row in rows.splitlines()]
    assert [f"nightly: {name}" for name in named] == [entry["name"] for entry in entries]


SERVED = [c for c in SERVING_COMMANDS if c.startswith("mlflow models serve ")]


def test_mlflow_finds_the_registry_where_a_night_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import settings

    monkeypatch.delenv("NIGHTLY_HOME")
    (command,) = (c for c in SERVING_COMMANDS if c.startswith("export "))
    _, value = shlex.split(command)[1].split("=")
    assert value.replace("$PWD", str(PROJECT)) == settings.tracking_uri()


@pytest.mark.parametrize("command", SERVED)
@pytest.mark.filterwarnings("ignore:.*Any type hint")
def test_mlflow_takes_the_command_shown(command: str) -> None:
    from mlflow.models.cli import serve

    options = serve.make_context("serve", shlex.split(command)[3:]).params
    assert options["env_manager"] == "local"
    assert options["host"] == "127.0.0.1"
    named = re.fullmatch(r"models:/(\w+)@champion", options["model_uri"])
    assert named and (PROJECT / "deployments" / f"{named[1]}.py").is_file()
    assert f"http://127.0.0.1:{options['port']}/invocations" in SERVING


@pytest.mark.parametrize("command", [c for c in SERVING_COMMANDS if c.startswith("curl ")])
def test_its_request_holds_what_the_model_looks_at(command: str) -> None:
    from deployments.flights import WEATHER, clean, features

    _, url, _, kind, _, body = shlex.split(command)
    served = [shlex.split(other) for other in SERVED]
    (model,) = (one[4] for one in served if url == f"http://127.0.0.1:{one[-1]}/invocations")
    assert (model, kind) == ("models:/flights@champion", "Content-Type: application/json")
    (row,) = json.loads(body)["dataframe_records"]
    departures = pd.to_datetime(["2026-01-01 17:30", "2026-01-02 17:30"])
    flown = {"carrier": "DL", "flight": 1, "origin": "LGA", "dest": "ATL", "distance": 762.0}
    flown |= {"dep_time": 1730.0, "dep_delay": 0.0, "air_time": 100.0, "arr_delay": 20.0}
    flown |= dict.fromkeys(WEATHER, 10.0)
    planned = {"day": departures.floor("D").astype("datetime64[s]"), "sched_dep": departures}
    rows = clean(pd.DataFrame(planned | flown))
    made = features(rows[1:], rows[:1])
    assert list(row) == list(made)
    assert [type(v) for v in row.values()] == [type(v) for v in made.iloc[0].to_dict().values()]


def test_the_runbook_knows_every_verdict() -> None:
    from tasks.promotion.checks import Status
    from tasks.steps.report import SUPERSEDED

    runbook = pages.section("deployments/OPERATIONS.md", "Runbook")
    for verdict in {*Status, SUPERSEDED} - {Status.PROMOTED}:
        assert f"| `{verdict}`" in runbook, verdict


def test_the_shortest_model_file_runs(
    registry_home: Path, tmp_path: Path, warm_processes: None
) -> None:
    found = pages.blocks("deployments/README.md", "python")
    (code,) = (block for block in found if "ModelSpec(" in block)
    folder = tmp_path / "visits"
    folder.mkdir()
    for number in range(1, 41):
        random = np.random.default_rng(number)
        size = random.normal(size=100)
        pd.DataFrame(
            {
                "shop": random.choice(["a", "b"], 100),
                "size": size,
                "bought": (size + random.normal(scale=2.0, size=100) > 0).astype("int64"),
            }
        ).to_parquet(folder / f"{nth_day(number)}.parquet", index=False)
    model = tmp_path / "visits.py"
    model.write_text(code.replace("/data/visits", str(folder)))
    ended = nights.run_command(registry_home, model, "--json")
    assert ended.code == 0, ended.err
    report = ended.report
    assert report["verdict"] == "PROMOTED"
    table = pages.section("deployments/REPORT.md", "The keys of report.json")
    keys = [
        key
        for cell in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
        for key in cell.split(", ")
    ]
    assert sorted(key.strip("`") for key in keys) == sorted(report)


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_its_queries_find_what_the_app_asks_for(
    database: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    import sqlalchemy as sql

    from tasks.predictions.sql_table import replace_table, table_name
    from tasks.spec.loading import load_spec

    url = f"sqlite:///{tmp_path}/app.db"
    url = url if database == "sqlite" else request.getfixturevalue("postgres")
    users = pd.array([17, 17, None], dtype="Int64")
    baskets = pd.DataFrame(
        {"household_id": users, "place": [1, 2, 1], "product_id": [5, 6, 7], "score": 0.5}
    ).assign(kind="repeat")
    leaving = {"sched_dep": pd.Timestamp("2026-11-23 08:00"), "carrier": "UA", "origin": "EWR"}
    planned = pd.DataFrame({"flight": [1178, 9], "probability": [0.25, 0.5]}).assign(**leaving)
    for model, rows in (("groceries", baskets), ("flights", planned)):
        keys = load_spec(model).problem.answer_keys
        replace_table(url, table_name(model), rows, keys)
    (text,) = pages.blocks("deployments/SERVING.md", "sql")
    engine = sql.create_engine(url)
    with engine.connect() as connection:
        found = [connection.exec_driver_sql(one).all() for one in text.split(";") if one.strip()]
    engine.dispose()
    assert [[row[0] for row in rows] for rows in found] == [[5, 6], [7], [0.25]]


def test_its_table_of_verdicts_is_the_exit_codes() -> None:
    from tasks.promotion.checks import Status

    rows = re.findall(r"^\| `([A-Z]+)` \| .* \| (\d) \|$", README, re.MULTILINE)
    assert {name: int(code) for name, code in rows} == {one: one.exit_code for one in Status}
    assert re.search(r"^\| \| wrong command line or spec\b.* \| 2 \|$", README, re.MULTILINE)
    assert re.search(r"^\| \| technical failure \| 1 \|$", README, re.MULTILINE)


def test_its_defaults_are_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import settings

    told = re.findall(r"`(NIGHTLY_\w+)` \| .*\(default (\d+)\)", OPERATIONS)
    defaults = {name: int(default) for name, default in told}
    for name in defaults:
        monkeypatch.delenv(name, raising=False)
    assert defaults == {
        "NIGHTLY_KEEP_VERSIONS": settings.keep_versions(),
        "NIGHTLY_KEEP_NIGHTS": settings.keep_nights(),
        "NIGHTLY_STORE_GB": settings.store_bytes() // 10**9,
        "NIGHTLY_LEASE_SECONDS": settings.lease_seconds(),
    }


def test_its_example_output_is_what_a_night_says() -> None:
    (output,) = pages.blocks("README.md", "text")
    assert re.match(r"groceries · \d{4}-\d\d-\d\d · PROMOTED: version \d+ is the champion", output)
    assert all(len(line) <= 100 for line in output.splitlines())
    for label in ("Why", "Champion", "Data", "Time", "Report"):
        assert re.search(rf"^{label} ", output, re.MULTILINE), label
