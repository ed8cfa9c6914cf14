"""The registry: aliases, half-written nights, altered twins."""

from __future__ import annotations

import hashlib
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.models import Model
from sklearn.linear_model import LogisticRegression
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tasks import settings
from tasks.clean_process.package_check import content_digest, files_digest
from tasks.errors import RegistryError
from tasks.features.split import Split
from tasks.problems.input_form import FormedEstimator
from tasks.registry import aliases, holds, packages, seals, versions, waiting
from tasks.registry import runs as run_records
from tasks.registry.aliases import finish_change, promote, roll_back, unfinished_rollback
from tasks.registry.client import (
    OutageError,
    Registered,
    list_versions,
    look_again,
    open_registry,
    outage,
    reach_server,
    read_ahead,
    read_registered,
    remembered,
    to_error,
)
from tasks.settings import SettingsError
from tasks.spec.fingerprint import digest
from tasks.store import files, models
from tasks.store.trusted_types import TRUSTED_TYPES
from tests.samples import in_part
from tests.toy import toy

X = pd.DataFrame({"size": [0.0, 1.0, 2.0, 3.0]})
TRUSTED = [*TRUSTED_TYPES, "tasks.problems.input_form.FormedEstimator"]
MODEL = FormedEstimator(LogisticRegression()).fit(X, [0, 0, 1, 1])
NIGHT = run_records.NightRun(
    model="toy",
    as_of=date(2026, 2, 8),
    night="night-1",
    tags={"judged": "PROMOTED"},
    params={"window_days": "90"},
    metrics={"average_precision": 0.8, "average_precision_low": 0.7},
    children=[run_records.ChildRun("logistic", {"C": "1.0"}, {"average_precision": 0.8})],
    days={"name": "toy days", "fingerprint": "f" * 64, "source": "{}", "profile": "{}"},
)
TAGS = {
    "files_sha256": "f",
    "trusted_types": "[]",
    "spec_module": "toy",
    "spec_file": "toy.py",
    "lookback": "7",
    "night": "night-1",
    "as_of": "2026-02-08",
    "candidate": "logistic",
    "spec_digest": "d" * 64,
    "judged_from": "2026-02-02",
    "twin_learned_through": "2026-02-01",
}


pytestmark = [
    pytest.mark.filterwarnings("ignore:Operation with range"),  # MLflow with pandas 3.1
    pytest.mark.filterwarnings("ignore:.*Any type hint"),  # MLflow's own types
]


@pytest.fixture
def client(registry_home: Path) -> MlflowClient:
    assert registry_home.is_dir()
    return open_registry()


def register(client: MlflowClient, run: str, **tags: str) -> str:
    models.write_model("models", "twin", MODEL, TRUSTED)
    twin, sha256 = models.model_file("models", "twin")
    return packages.register_version(
        client,
        run,
        model="toy",
        estimator=MODEL,
        twin=twin,
        twin_sha256=sha256,
        inputs=X,
        code={},
        trusted=TRUSTED,
        requirements=["scikit-learn"],
        tags=TAGS | tags,
        description="A test.",
    )


def seal(client: MlflowClient, version: str, *, waits: bool = False) -> None:
    """Seal a version that ``register`` made."""
    packages.seal(
        client,
        "toy",
        version,
        sha256="f",
        trusted=TRUSTED,
        probe=X,
        predictions=X.to_numpy(),
        waits=waits,
    )


def bare_version(client: MlflowClient, source: str = "file:///nowhere", **tags: str) -> str:
    """A version whose tags alone matter: nothing is uploaded."""
    packages._ensure_model(client, "toy")
    tags = tags | {seals.MADE: seals.made_seal("toy", source, None, tags)}
    made = client.create_model_version("toy", source, run_id=None, tags=tags)
    return str(made.version)


def runs(client: MlflowClient) -> list[Any]:
    experiment = client.get_experiment_by_name("toy")
    return list(client.search_runs([experiment.experiment_id]))


def test_a_database_of_a_newer_mlflow_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    reach_server()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num TEXT)")
        database.execute("INSERT INTO alembic_version VALUES ('2f0ff0ff0ff0')")
    for reach in (reach_server, open_registry):
        with pytest.raises(SettingsError, match="has the schema 2f0ff0ff0ff0, which MLflow"):
            reach()


def test_a_fresh_registry_has_no_champion(client: MlflowClient) -> None:
    assert versions.read_champion(client, "toy") is None
    assert versions.find_version(client, "toy", "night-1") is None


def test_what_a_night_notes_on_a_version_is_read_back() -> None:
    split = Split((date(2026, 1, 1), date(2026, 1, 20)), (date(2026, 1, 21),), ())
    interval = {"value": 0.8, "low": 0.7, "high": 0.9}
    tags = versions.night_tags(
        toy,
        split,
        night="n" * 64,
        as_of=date(2026, 1, 27),
        candidate="tree",
        shipped_key="k" * 64,
        prediction_interval=interval,
    )
    checked = {"twin_sha256": "t", "files_sha256": "f", "trusted_types": "[]"}
    made = SimpleNamespace(
        version=3, run_id="run", tags=tags | checked, name="toy", source="models:/m-1"
    )
    found = versions._champion("toy", made)
    assert (found.version, found.candidate, found.as_of) == ("3", "tree", date(2026, 1, 27))
    assert found.twin_learned_through == date(2026, 1, 20)
    assert (found.digest, found.lookback) == (digest(toy), 7)
    assert found.promised == interval
    assert (tags["night"], tags["judged_from"]) == ("n" * 64, "2026-01-21")


def test_the_figures_of_a_run_are_named_by_role_and_end() -> None:
    measured = {
        name: {"log_loss": {"value": value, "low": value - 1, "high": value + 1}}
        for name, value in {"tree": 5.0, "baseline": 9.0, "constant": 1.0}.items()
    }
    assert run_records.role_metrics(measured, "tree") == {
        "log_loss": 5.0,
        "log_loss_low": 4.0,
        "log_loss_high": 6.0,
        "baseline_log_loss": 9.0,
        "baseline_log_loss_low": 8.0,
        "baseline_log_loss_high": 10.0,
    }


def test_a_version_without_the_alias_is_no_champion(client: MlflowClient) -> None:
    version = bare_version(client, **TAGS)
    assert versions.read_champion(client, "toy") is None
    assert versions.find_version(client, "toy", "night-1") == version
    assert versions.find_version(client, "toy", "night-2") is None


def test_the_first_promotion_leaves_no_previous(client: MlflowClient) -> None:
    version = bare_version(client, **TAGS, twin_sha256="a")
    promote(client, "toy", version)
    found = versions.read_champion(client, "toy")
    assert found is not None
    assert (found.version, found.candidate, found.as_of) == (version, "logistic", NIGHT.as_of)
    assert found.twin_learned_through == date(2026, 2, 1)
    assert set(client.get_registered_model("toy").aliases) == {"champion"}
    assert versions.read_champion(client, "toy", before_night="night-1") is None


def test_a_promotion_moves_the_champion_to_previous(client: MlflowClient) -> None:
    first, second, third = (
        bare_version(client, **TAGS | {"night": f"night-{n}", "twin_sha256": "a"})
        for n in (1, 2, 3)
    )
    promote(client, "toy", first)
    promote(client, "toy", third)
    promote(client, "toy", third)
    aliases = client.get_registered_model("toy").aliases
    assert {name: str(v) for name, v in aliases.items()} == {"champion": third, "previous": first}
    assert second not in aliases.values()
    before = versions.read_champion(client, "toy", before_night="night-3")
    assert before is not None
    assert before.version == first


def test_a_foreign_version_with_the_alias_is_named(client: MlflowClient) -> None:
    version = bare_version(client, author="somebody")
    client.set_registered_model_alias("toy", "champion", version)
    expected = f"Version {version} of toy was not made by a night: it lacks the tag 'candidate'"
    with pytest.raises(RegistryError, match=expected):
        versions.read_champion(client, "toy")


def test_a_half_written_run_is_replaced(client: MlflowClient) -> None:
    first = run_records.log_night(client, NIGHT)
    second = run_records.log_night(client, NIGHT)
    found = {run.info.run_id: run for run in runs(client)}
    assert first not in found
    assert len(found) == 2
    parent = found.pop(second)
    (child,) = found.values()
    assert child.data.tags["mlflow.parentRunId"] == second
    assert parent.data.metrics == dict(NIGHT.metrics)
    assert parent.data.params == NIGHT.params
    assert parent.inputs.dataset_inputs[0].dataset.digest == "f" * 36


@pytest.mark.parametrize("call", ["create_model_version", "log_outputs"])
def test_a_half_written_run_leaves_no_file_and_no_logged_model(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Before ``log_outputs`` the logged model alone knows of its run."""

    def cut_off(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    def logged() -> list[str]:
        return [one.model_id for one in client.search_logged_models([experiment])]

    first = run_records.log_night(client, NIGHT)
    experiment = client.get_run(first).info.experiment_id
    with monkeypatch.context() as patch:
        patch.setattr(type(client), call, cut_off)
        with pytest.raises(KeyboardInterrupt):
            register(client, first)
    place, left = settings.artifact_root() / "toy", logged()
    assert len(left) == 1
    version = client.get_model_version("toy", register(client, first))  # a step tried again
    assert [f"models:/{one}" for one in logged()] == [version.source]
    assert left != logged()
    client.delete_model_version("toy", version.version)
    run_records.log_night(client, NIGHT)
    assert [file for file in place.rglob("*") if file.is_file()] == []
    assert logged() == []


def test_an_experiment_that_a_person_deleted_is_restored(client: MlflowClient) -> None:
    run = run_records.log_night(client, NIGHT)
    experiment = client.get_run(run).info.experiment_id
    client.delete_experiment(experiment)
    again = client.get_run(run_records.log_night(client, replace(NIGHT, night="night-2")))
    assert again.info.experiment_id == experiment
    assert client.get_experiment(experiment).lifecycle_stage == "active"


def test_runs_of_other_nights_stay(client: MlflowClient) -> None:
    first = run_records.log_night(client, NIGHT)
    second = run_records.log_night(client, replace(NIGHT, night="night-2"))
    assert {first, second} <= {run.info.run_id for run in runs(client)}


def test_a_registered_night_keeps_its_run_and_its_twin(client: MlflowClient) -> None:
    run = run_records.log_night(client, NIGHT)
    version = register(client, run)
    seal(client, version)
    promote(client, "toy", version)

    assert run_records.log_night(client, NIGHT) == run
    other = run_records.log_night(client, replace(NIGHT, tags={"judged": "KEPT"}))
    assert run_records.log_night(client, replace(NIGHT, tags={"judged": "KEPT"})) not in (
        run,
        other,
    )
    assert len(runs(client)) == 4

    champion = versions.read_champion(client, "toy")
    assert champion is not None
    twin = packages.read_twin(client, champion, TRUSTED)
    assert (twin.predict_proba(X) == MODEL.predict_proba(X)).all()
    assert versions.find_version(client, "toy", "night-1") == version

    import mlflow

    loaded = mlflow.pyfunc.load_model("models:/toy@champion")
    assert loaded.metadata.get_input_schema().input_names() == ["size"]
    assert loaded.metadata.saved_input_example_info is not None
    assert (loaded.predict(X) == MODEL.predict_proba(X)).all()


@pytest.mark.parametrize("harm", ["altered", "missing"])
def test_a_harmed_twin_is_never_loaded(client: MlflowClient, home: Path, harm: str) -> None:
    run = run_records.log_night(client, NIGHT)
    models.write_model("models", "twin", MODEL, TRUSTED)
    twin, sha256 = models.model_file("models", "twin")
    place = home / "artifacts" / "toy" / run / "artifacts" / "twin" / versions.TWIN_FILE
    place.parent.mkdir(parents=True)
    content = bytearray(twin.read_bytes())
    if harm == "altered":
        content[len(content) // 2] ^= 1
        place.write_bytes(content)
    champion = versions.Champion(
        version="1",
        run_id=run,
        candidate="logistic",
        digest="d",
        as_of=NIGHT.as_of,
        twin_learned_through=date(2026, 2, 1),
        twin_sha256=sha256,
        files_sha256="f",
        trusted=(),
        spec_module=("toy", "toy.py"),
        lookback=7,
    )
    expected = (files.StoreError, RegistryError)
    with pytest.raises(expected, match=r"altered|cannot be downloaded|cannot be read"):
        packages.read_twin(client, champion, [])


def test_a_local_database_writes_ahead(client: MlflowClient, home: Path) -> None:
    import sqlite3

    assert client is not None
    connection = sqlite3.connect(home / "mlflow.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def names_of(client: MlflowClient) -> list[str]:
    return sorted(str(v.version) for v in client.search_model_versions("name = 'toy'"))


def test_retention_never_takes_what_an_alias_or_a_rollback_needs(client: MlflowClient) -> None:
    run = run_records.log_night(client, NIGHT)
    first = register(client, run, night="night-0")
    others = [bare_version(client, **TAGS | {"night": f"night-{n}"}) for n in range(1, 8)]
    promote(client, "toy", first)
    promote(client, "toy", others[0])
    promote(client, "toy", others[2])
    assert versions.retire(client, "toy", keep=2) == [others[4], others[3], others[1]]
    assert names_of(client) == sorted([first, others[0], others[2], others[5], others[6]])
    roll_back(client, "toy", others[0], "late")
    assert versions.read_alias(client, "toy", "champion") == others[0]
    assert versions.read_alias(client, "toy", "previous") == first
    assert versions.retire(client, "toy", keep=2) == [others[2]]
    assert versions.retire(client, "toy", keep=2) == []


def test_a_package_is_read_where_it_lies_without_what_apps_leave_in_it(
    client: MlflowClient, registry_home: Path
) -> None:
    version = register(client, run_records.log_night(client, NIGHT))
    (described,) = (registry_home / "artifacts").rglob("MLmodel")
    for name in ("code/toy/b.py", "code/toy.py", "code/toy/__pycache__/b.pyc"):
        (described.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (described.parent / name).write_bytes(name.encode())
    (described.parent / "registered_model_meta").touch()
    read = packages.read_package(client, "toy", version)
    assert read["MLmodel"] == described.read_bytes()
    with packages.downloaded(client, "toy", version, unchecked=True) as copied:
        assert content_digest(read) == files_digest(copied)


def test_packages_that_are_checked_together_share_files_with_nobody_else(
    client: MlflowClient, registry_home: Path, tmp_path: Path
) -> None:
    contents = tmp_path / "contents"
    contents.mkdir()
    made = []
    for night in ("night-1", "night-2"):
        run = run_records.log_night(client, replace(NIGHT, night=night))
        made.append(register(client, run, night=night))

    def copied(version: str) -> AbstractContextManager[Path]:
        return packages.downloaded(client, "toy", version, unchecked=True, contents=contents)

    with copied(made[0]) as one, copied(made[1]) as two:
        for version, place in zip(made, (one, two), strict=True):
            assert files_digest(place) == content_digest(
                packages.read_package(client, "toy", version)
            )
        shared = "requirements.txt"
        assert (one / shared).samefile(two / shared)
        assert not (one / "MLmodel").samefile(two / "MLmodel")
    stored = [file for file in (registry_home / "artifacts").rglob("*") if file.is_file()]
    assert {file.stat().st_nlink for file in stored} == {1}


def test_a_retired_version_leaves_no_files(client: MlflowClient, registry_home: Path) -> None:
    run = run_records.log_night(client, NIGHT)
    old = register(client, run)
    for number in (2, 3):
        bare_version(client, **TAGS | {"night": f"night-{number}"})
    stored = list((registry_home / "artifacts").rglob("*.skops"))
    parts = [part for file in stored for part in zipfile.ZipFile(file).infolist()]
    assert {file.name for file in stored} == {"model.skops", versions.TWIN_FILE}
    assert {part.compress_type for part in parts} == {zipfile.ZIP_DEFLATED}
    assert versions.retire(client, "toy", keep=2) == [old]
    assert not list((registry_home / "artifacts").rglob("model.skops"))
    assert client.get_run(run).data.metrics["average_precision"] == 0.8


@pytest.mark.parametrize(
    ("table", "column"), [("logged_models", "artifact_location"), ("runs", "artifact_uri")]
)
def test_a_place_that_others_have_written_into_the_registry_is_neither_removed_nor_read(
    table: str,
    column: str,
    client: MlflowClient,
    registry_home: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Else the clean-up would remove any folder of its user, and a packed version hold it."""
    old = register(client, run := run_records.log_night(client, NIGHT))
    for number in (2, 3):
        bare_version(client, **TAGS | {"night": f"night-{number}"})
    theirs = tmp_path / "theirs"
    (theirs / versions.TWIN).mkdir(parents=True)
    (theirs / versions.TWIN / "letter").write_text("mine")
    with closing(sqlite3.connect(registry_home / "mlflow.db")) as database, database:
        database.execute(f"UPDATE {table} SET {column} = ?", (theirs.as_uri(),))
    assert versions.retire(client, "toy", keep=2) == [old]
    assert (theirs / versions.TWIN / "letter").exists()
    assert f"names {theirs.as_uri()} as a place of artifacts" in caplog.text
    if table == "runs":
        with pytest.raises(RegistryError, match="as a place of artifacts"):
            packages.download_run(client, run, tmp_path / "read")


@pytest.mark.parametrize("steps", in_part(range(7)))
def test_a_change_cut_off_anywhere_is_ended(
    steps: int, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (bare_version(client, **TAGS | {"night": f"night-{n}"}) for n in (1, 2))
    promote(client, "toy", first)
    calls = iter(range(steps))

    def cut_off(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        patch.setattr(owner, name, counted)

    with monkeypatch.context() as patch:
        for name in (
            "set_registered_model_tag",
            "set_model_version_tag",
            "set_registered_model_alias",
            "delete_registered_model_tag",
        ):
            cut_off(MlflowClient, name)
        cut_off(aliases, "move_champion")
        try:
            promote(client, "toy", second)
        except KeyboardInterrupt:
            assert steps < 5
    ended = finish_change(client, "toy")
    assert (ended and ended.champion) == (second if 0 < steps < 5 else None)
    expected = first if steps == 0 else second
    assert versions.read_alias(client, "toy", "champion") == expected
    assert versions.read_alias(client, "toy", "previous") == (first if steps else None)
    assert finish_change(client, "toy") is None


@pytest.mark.parametrize(
    "steps", [1, 3, 5, *(pytest.param(steps, marks=pytest.mark.long) for steps in (2, 4))]
)
def test_a_rollback_cut_off_is_ended_and_not_done_twice(
    steps: int, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (
        bare_version(client, **TAGS | {"night": f"night-{n}"}) for n in (1, 2, 3)
    )
    for version in (first, second, third):
        promote(client, "toy", version)
    calls = iter(range(steps))

    def cut_off(real: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return real(*args, **kwargs)

        return counted

    with monkeypatch.context() as patch:
        for name in (
            "set_registered_model_tag",
            "set_model_version_tag",
            "set_registered_model_alias",
            "delete_registered_model_tag",
        ):
            patch.setattr(MlflowClient, name, cut_off(getattr(MlflowClient, name)))
        patch.setattr(aliases, "move_champion", cut_off(aliases.move_champion))
        with pytest.raises(KeyboardInterrupt):
            roll_back(client, "toy", second, "late", date(2026, 1, 31))
    assert unfinished_rollback(client, "toy") == second
    assert roll_back(client, "toy", second, "late", date(2026, 2, 1)) == third
    assert unfinished_rollback(client, "toy") is None
    assert versions.read_alias(client, "toy", "champion") == second
    assert versions.read_alias(client, "toy", "previous") == first
    assert client.get_model_version("toy", third).tags["rolled_back"] == "late"
    (hold,) = holds.read_holds(client, "toy")
    assert (hold.version, hold.until, hold.why) == (third, date(2026, 1, 31), "late")


def test_a_hold_outlives_retention_until_it_is_over_or_released(client: MlflowClient) -> None:
    made = [bare_version(client, **TAGS | {"night": f"night-{n}"}) for n in range(1, 5)]
    promote(client, "toy", made[0])
    promote(client, "toy", made[1])
    as_of = date.fromisoformat(TAGS["as_of"])
    roll_back(client, "toy", made[0], "late", as_of + timedelta(days=1))
    (hold,) = holds.read_holds(client, "toy")
    tags = TAGS["candidate"], TAGS["spec_digest"]
    assert hold == holds.Hold(made[1], *tags, as_of + timedelta(days=1), "late")
    assert versions.retire(client, "toy", keep=1) == [made[2]]
    holds.release_hold(client, "toy", hold, "the source was at fault")
    assert holds.read_holds(client, "toy") == []
    assert client.get_model_version("toy", made[1]).tags["released"] == "the source was at fault"
    assert versions.retire(client, "toy", keep=1) == [made[1]]


def test_a_logged_package_is_linked_to_its_run_without_its_history_being_asked(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MlflowClient, "get_metric_history", lambda *_: pytest.fail("asked"))
    run = run_records.log_night(client, NIGHT)
    version = client.get_model_version("toy", register(client, run))
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    assert (logged.status, logged.source_run_id, logged.name) == ("READY", run, "model")
    assert {m.key: m.value for m in logged.metrics or []} == NIGHT.metrics
    assert logged.params == NIGHT.params
    assert [made.model_id for made in client.get_run(run).outputs.model_outputs] == [
        logged.model_id
    ]
    with packages.downloaded(client, "toy", "1", unchecked=True) as place:
        described = Model.load(str(place))
    assert (described.run_id, described.model_id) == (run, logged.model_id)
    assert described.saved_input_example_info is not None


def test_one_list_of_the_versions_answers_several_questions(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = waiting.Decision("REFUSED", "Ada", "no", "2026-02-09")
    bare_version(client, rolled_back="bad", shipped_key="k", held_until="2026-03-01", **TAGS)
    bare_version(client, **TAGS, waiting="{}", decided=decision.to_json())
    listed = list_versions(client, "toy")
    asked = (
        holds.read_holds,
        versions.read_rolled_back,
        versions.read_withdrawn,
        waiting.read_decisions,
        waiting.read_waiting,
    )
    apart = [read(client, "toy") for read in asked]
    monkeypatch.setattr(MlflowClient, "search_model_versions", lambda *_: pytest.fail("asked"))
    assert [read(client, "toy", listed) for read in asked] == apart
    assert [bool(found) for found in apart] == [True, True, True, True, False]


def test_a_version_made_twice_is_one(client: MlflowClient) -> None:
    first, again = bare_version(client, **TAGS), bare_version(client, **TAGS)
    other = bare_version(client, **TAGS | {"night": "night-2"})
    assert versions.find_version(client, "toy", "night-1") == first
    assert again not in names_of(client)
    assert names_of(client) == [first, other]


def test_two_versions_of_a_night_are_both_kept_where_their_files_are_others(
    client: MlflowClient,
) -> None:
    """The night ran again after the first was retired, and then a person put the first back."""
    first, second = bare_version(client, **TAGS), bare_version(client, "file:///there", **TAGS)
    assert versions.find_version(client, "toy", "night-1") == first
    assert names_of(client) == [first, second]


def test_runs_made_twice_are_one(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    create = MlflowClient.create_run

    def twice(*args: Any, **kwargs: Any) -> Any:
        create(*args, **kwargs)
        return create(*args, **kwargs)

    monkeypatch.setattr(MlflowClient, "create_run", twice)
    monkeypatch.setattr(run_records, "repeats_requests", lambda _: True)
    parent = run_records.log_night(client, NIGHT)
    assert sorted(run.info.run_id == parent for run in runs(client)) == [False, True]


def test_the_run_of_a_killed_night_that_nobody_runs_again_is_ended_by_the_next(home: Path) -> None:
    client = open_registry()
    killed = run_records.log_night(client, NIGHT)
    whole = run_records.log_night(client, replace(NIGHT, night="night-2"))
    part = replace(NIGHT, model="toy.north", night="night-2 north", parent=whole)
    child = run_records.log_night(client, part)
    found = {run: client.get_run(run).info.status for run in (killed, whole, child)}
    assert found == {killed: "KILLED", whole: "RUNNING", child: "RUNNING"}


REQUEST = "API request to http://someone:secret@mlflow:5000/api/2.0/runs/get failed with "


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("exception (Connection refused)", "refuses the connection"),
        ("exception (Failed to resolve 'mlflow')", "cannot be found under that host name"),
        ("timeout exception (Read timed out.)", "does not answer"),
        (
            "exception (too many 503 error responses)",
            "answers /api/2.0/runs/get with a server error",
        ),
        ("exception (Connection aborted.)", "closed the connection"),
    ],
)
def test_an_outage_in_plain_words(said: str, expected: str) -> None:
    found = to_error("The champion cannot be read", RuntimeError(REQUEST + said))
    assert isinstance(found, OutageError)
    assert str(found).startswith("The MLflow server at http://mlflow:5000 ")
    assert expected in str(found)
    assert outage(found) == str(found)
    assert outage(RegistryError("no MLmodel")) is None


DOWNLOAD = "The following failures occurred while downloading one or more artifacts from "


def answered(status: int, code: str) -> Exception:
    """What the client of an object store raises for an answer."""
    from botocore.exceptions import ClientError

    given: Any = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": code}}
    return ClientError(given, "GetObject")


def many(*failures: Exception | str, place: str = "s3://nights/toy/m-1/artifacts") -> Exception:
    """What MLflow raises where files cannot be downloaded."""
    said = "\n".join(f"##### File code/{n} #####\n{each}" for n, each in enumerate(failures))
    return Exception(f"{DOWNLOAD}{place}:\n{said}")


def test_a_store_of_artifacts_that_fails_is_an_outage_and_a_missing_file_is_none() -> None:
    """Else a champion would be told as broken, and the night as kept, for good."""
    from botocore.exceptions import EndpointConnectionError

    what, missing, fails = "Version 2", answered(404, "NoSuchKey"), answered(500, "InternalError")
    nobody = EndpointConnectionError(endpoint_url="http://s3")
    for error in (fails, answered(503, "SlowDown"), nobody, many(fails), many(missing, nobody)):
        found = to_error(what, error)
        assert isinstance(found, OutageError), error
        assert str(found).startswith("The store of artifacts ")
        assert "\n" not in str(found)
    told = (
        "The store of artifacts s3://nights/toy/m-1/artifacts fails for code/0: An error occurred"
    )
    assert str(to_error(what, many(fails))).startswith(told)
    here = many("No space left", place="file:///home/toy/m-1/artifacts")
    for error in (missing, many(missing), many(missing, missing), here):
        assert isinstance(to_error(what, error), RegistryError), error


def test_a_file_that_a_store_has_a_moment_later_is_no_missing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [many(answered(404, "NoSuchKey"))]

    def download(_: str, folder: str) -> str:
        if said:
            raise said.pop()
        (Path(folder) / packages.TWIN_FILE).write_bytes(b"twin")
        return folder

    kept = SimpleNamespace(download_artifacts=download)
    monkeypatch.setattr(packages, "artifacts_of", lambda *_: "s3://nights")
    monkeypatch.setattr(packages, "artifacts_at", lambda _: kept)
    monkeypatch.setattr(packages, "SOON", 0.0)
    client: Any = None
    digest = hashlib.sha256(b"twin").hexdigest()
    champion: Any = SimpleNamespace(unsealed="", run_id="1", twin_sha256=digest, version="2")
    with packages.downloaded_twin(client, champion) as file:
        assert file.read_bytes() == b"twin"
    said += [many(answered(404, "NoSuchKey"))] * 2
    with (
        pytest.raises(RegistryError, match=r"version 2 cannot be downloaded"),
        packages.downloaded_twin(client, champion),
    ):
        pass


def test_files_of_a_state_directory_that_was_moved_are_told_with_what_to_do(home: Path) -> None:
    said = Exception("failures occurred while downloading from file:///gone/home/artifacts/toy/m-1")
    what = "Version 2 of toy cannot be downloaded"
    assert str(to_error(what, said)) == f"{what}: {said}"
    (home / "artifacts").mkdir(parents=True)
    assert str(to_error(what, said)) == (
        f"{what}: MLflow expects its files in /gone/home, which is not there. Where this state "
        f"directory was moved, put it back, or leave a link: ln -s {home} /gone/home"
    )


@pytest.fixture
def spoken() -> Iterator[list[str]]:
    """The statements to a database from now on."""
    found: list[str] = []

    def hear(*given: Any) -> None:
        found.append(given[2])

    event.listen(Engine, "before_cursor_execute", hear)
    yield found
    event.remove(Engine, "before_cursor_execute", hear)


def test_a_version_is_made_and_promoted_in_few_statements(
    client: MlflowClient, spoken: list[str]
) -> None:
    """A fleet does this for each of its partitions, and a statement costs it a millisecond."""
    for night in ("night-1", "night-2"):
        spoken.clear()
        run = run_records.log_night(client, replace(NIGHT, night=night))
        version = register(client, run, night=night)
        seal(client, version)
        promote(client, "toy", version)
        assert sum(not each.startswith("PRAGMA") for each in spoken) <= 133
        assert sum("PRAGMA foreign_keys" in each for each in spoken) <= 19, "sessions"
        assert sum("INSERT INTO metrics" in each for each in spoken) == 2, "run and candidate"


def test_models_that_are_read_ahead_are_not_asked_for_again(
    client: MlflowClient, spoken: list[str]
) -> None:
    bare_version(client, **TAGS)
    promote(client, "toy", "1")
    with remembered():
        read_ahead(["toy", "toy.none"])
        spoken.clear()
        alone = open_registry()
        assert read_registered(alone, "toy").aliases == {"champion": "1"}
        assert len(list_versions(alone, "toy")) == 1
        assert read_registered(alone, "toy.none") == Registered({}, {})
        assert not list_versions(alone, "toy.none")
        assert not spoken
        bare_version(alone, **TAGS | {"night": "night-2"})
        assert len(list_versions(alone, "toy")) == 2


def test_who_is_alone_in_changing_a_model_reads_it_once_and_knows_what_it_wrote(
    client: MlflowClient,
) -> None:
    def known(by: MlflowClient) -> list[Any]:
        listed = list_versions(by, "toy")
        return [
            {version.version: version.tags for version in listed},
            [version.version for version in versions.versions_of_night(by, "toy", "night-2")],
            read_registered(by, "toy"),
            [versions.read_alias(by, "toy", alias) for alias in ("champion", "previous", "none")],
            [versions.find_by_number(by, "toy", number) is not None for number in ("1", "2", "9")],
        ]

    with remembered():
        alone = open_registry()
        assert open_registry() is alone
        assert known(alone)[0] == {}
        for number in (1, 2):
            bare_version(alone, **TAGS | {"night": f"night-{number}"})
        assert known(alone) == known(client)
        for change in (
            lambda: promote(alone, "toy", "1"),
            lambda: promote(alone, "toy", "2"),
            lambda: roll_back(alone, "toy", "1", "a test", date(2026, 3, 1)),
            lambda: alone.delete_model_version_tag("toy", "2", holds.HELD_UNTIL),
            lambda: alone.delete_model_version("toy", "2"),
        ):
            change()
            assert known(alone) == known(client)
        with remembered():
            read_ahead(["toy"])
            ahead = open_registry()
            assert known(ahead) == known(client)
        client.set_model_version_tag("toy", "1", "by", "another")
        client.set_registered_model_tag("toy", "by", "another")
        assert known(alone) != known(client)
        look_again(alone, "toy")
        look_again(alone, "toy", versions=True)
        assert known(alone) == known(client)
    assert open_registry() is not alone
