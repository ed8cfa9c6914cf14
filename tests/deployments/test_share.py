"""A laptop's state taken to several machines and back, as the page of operations types it."""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.tracking._tracking_service import utils

from deployments import share
from tasks.registry import packages, seals, versions
from tasks.registry.aliases import promote
from tasks.registry.client import open_registry
from tasks.reporting import archive
from tasks.store import files, frames, mirror
from tests import pages
from tests.registry.test_versions import NIGHT, register, run_records
from tests.store.test_blobs import DAYS

pytestmark = [
    pytest.mark.filterwarnings("ignore:Operation with range"),
    pytest.mark.filterwarnings("ignore:.*Any type hint"),
]


def typed(way: str, registry: str) -> list[str]:
    """The command of the page that goes this way, to the registry of this test."""
    told = pages.section("deployments/OPERATIONS.md", "Several machines")
    (command,) = [one for _, block in pages.FENCED.findall(told) for one in [block] if way in one]
    python, script, *options = shlex.split(command)
    assert (python, script) == ("python", "deployments/share.py")
    return [registry if "://" in each else each for each in options]


def rows(database: Path) -> dict[str, list[Any]]:
    """Every row of MLflow's database, whatever order it is in."""
    with closing(sqlite3.connect(database)) as opened:
        tables = opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: sorted(map(repr, opened.execute(f"SELECT * FROM {name}")))
            for (name,) in tables
            if name != "sqlite_sequence"
        }


@pytest.mark.long
def test_a_laptop_becomes_two_machines_and_one_again(
    registry_home: Path, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_registry()
    run = run_records.log_night(client, NIGHT)
    version = register(client, run)
    client.set_terminated(run)
    with packages.downloaded(client, "toy", version, unchecked=True) as place:
        kept = sorted(each.name for each in place.iterdir())
    seals.vouch_for(client, [client.get_model_version("toy", version)])
    promote(client, "toy", version)
    night = archive.report_folder("toy", NIGHT.as_of)
    files.write_json(night / "report.json", {"as_of": str(NIGHT.as_of), "verdict": "PROMOTED"})
    stored = frames.write_days("clean", DAYS)
    before = rows(registry_home / "mlflow.db")

    registry = postgres  # one database may hold both: the tables have other names
    monkeypatch.setenv("NIGHTLY_STATE_URL", postgres)
    monkeypatch.setenv("NIGHTLY_STORE_URL", (tmp_path / "shared").as_uri())
    monkeypatch.setenv("NIGHTLY_SEAL_KEY", (registry_home / "seal.key").read_text())
    assert share.main(typed("--push", registry)) == 0
    assert share.main(typed("--push", registry)) == 1  # MLflow's is not empty: nothing is done
    registry_home.rename(tmp_path / "switched off")

    def go(name: str) -> None:
        """What this process remembers of the registry, another machine does not."""
        utils._artifact_repos_cache.clear()
        monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
        monkeypatch.setenv("NIGHTLY_HOME", str(tmp_path / name))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", registry)

    def assert_carried(client: MlflowClient) -> None:
        """The champion, its package, what was judged and what was prepared are here."""
        assert versions.read_alias(client, "toy", "champion") == version
        with packages.downloaded(client, "toy", version, unchecked=True) as place:
            assert sorted(each.name for each in place.iterdir()) == kept
        assert archive.last_judged("toy") == NIGHT.as_of
        assert frames.find_days("clean", [*DAYS]) == stored

    go("B")
    mirror.pull()
    client = open_registry()
    assert_carried(client)
    run = run_records.log_night(client, replace(NIGHT, night="night-2"))
    again = register(client, run, night="night-2")
    assert int(again) == int(version) + 1
    client.delete_model_version("toy", again)

    go("C")
    assert share.main(typed("--pull", registry)) == 0
    utils._artifact_repos_cache.clear()
    for name in ("NIGHTLY_STATE_URL", "NIGHTLY_STORE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    client = open_registry()
    assert_carried(client)
    after = rows(tmp_path / "C" / "mlflow.db")
    moved = str(registry_home), str(tmp_path / "C")
    lost = {
        name: gone
        for name, found in before.items()
        if name != "registered_models"  # it says when the newest version was made
        if (gone := {row.replace(*moved) for row in found} - set(after[name]))
    }
    assert lost == {}
