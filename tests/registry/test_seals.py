"""Who can write to the registry but has no key: whatever they alter or make is not loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from deployments import seal as command
from tasks import settings
from tasks.clean_process.version_answers import check_unaltered
from tasks.errors import RegistryError
from tasks.registry import aliases, packages, seals, versions, waiting
from tasks.registry import runs as run_records
from tasks.registry.client import open_registry
from tasks.serving import champions as serving
from tasks.steps import approve, predict
from tasks.store import mirror
from tests.registry.test_versions import NIGHT, TRUSTED, register, seal
from tests.samples import in_part

pytestmark = [
    pytest.mark.filterwarnings("ignore:Operation with range"),
    pytest.mark.filterwarnings("ignore:.*Any type hint"),
]


@pytest.fixture
def client(registry_home: Path) -> MlflowClient:
    assert registry_home.is_dir()
    return open_registry()


@pytest.fixture
def sealed(client: MlflowClient) -> str:
    """A champion as a night leaves it."""
    version = register(client, run_records.log_night(client, NIGHT))
    seal(client, version)
    client.set_registered_model_alias("toy", "champion", version)
    return version


def refused(client: MlflowClient, version: str) -> list[str]:
    """What each way to load a version says; all must refuse it."""
    said = []
    champion = versions.read_version(client, "toy", version)
    for load in (
        lambda: packages.read_seal(client, "toy", version),
        lambda: packages.downloaded(client, "toy", version).__enter__(),
        lambda: packages.downloaded(client, "toy", version, unchecked=True).__enter__(),
        lambda: packages.read_twin(client, champion, TRUSTED),
    ):
        with pytest.raises(RegistryError) as error:
            load()
        said.append(str(error.value))
    return said


def test_machines_that_share_their_state_sign_with_one_key(
    registry_home: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLY_STATE_URL", postgres)
    open_registry()
    own = (registry_home / "seal.key").read_text()
    monkeypatch.setenv("NIGHTLY_SEAL_KEY", own)
    open_registry()
    monkeypatch.setenv("NIGHTLY_SEAL_KEY", "another key of at least 32 characters")
    with pytest.raises(settings.SettingsError, match="another key than the first one") as raised:
        open_registry()
    assert own not in str(raised.value)
    mirror.push(replace=True)
    seals._is_same.cache_clear()
    open_registry()


def test_a_sealed_version_is_loaded(client: MlflowClient, sealed: str) -> None:
    champion = versions.read_champion(client, "toy")
    assert champion is not None
    assert champion.unsealed is None
    packages.read_twin(client, champion, TRUSTED)
    packages.read_seal(client, "toy", sealed)
    with packages.downloaded(client, "toy", sealed) as place:
        assert (place / "MLmodel").is_file()
    assert versions.find_version(client, "toy", "night-1") == sealed


@pytest.mark.parametrize("name", in_part([*seals.NOTED, *seals.CHECKED]))
def test_one_tag_altered(client: MlflowClient, sealed: str, name: str) -> None:
    """The seal is over all of them; asked of the seal alone, which is what every way asks."""
    altered = {"as_of": "2026-02-07", "twin_learned_through": "2026-01-31"}
    altered |= {"trusted_types": '["os.system"]', "lookback": "8", "promised": '{"value": 1}'}
    client.set_model_version_tag("toy", sealed, name, altered.get(name, "mine"))
    found = client.get_model_version("toy", sealed)
    fault = seals.seal_fault(found)
    assert fault
    assert "its tags or its source were altered" in fault
    assert "python deployments/seal.py --model toy --version" in fault
    assert seals.is_made(found) is (name in seals.CHECKED)
    if name == "twin_sha256":
        client.set_model_version_tag("toy", sealed, seals.MADE, "é")
        assert all(
            said.startswith(f"Version {sealed} of toy is not loaded")
            for said in refused(client, sealed)
        )


@pytest.mark.parametrize("copied", ["every tag", "no seal", "another source"])
def test_a_version_of_somebody_else(client: MlflowClient, sealed: str, copied: str) -> None:
    """The attack of an account with the address of the MLflow pages and nothing else."""
    theirs = client.get_model_version("toy", sealed)
    mine = client.create_experiment("mine", artifact_location="file:///tmp/elsewhere")
    run = client.create_run(mine).info.run_id
    source = theirs.source if copied != "another source" else "file:///tmp/elsewhere"
    tags = {
        name: value
        for name, value in theirs.tags.items()
        if copied != "no seal" or name not in (seals.SEAL, seals.MADE)
    }
    made = client.create_model_version("toy", source, run, tags=tags)
    client.set_registered_model_alias("toy", "champion", made.version)
    champion = versions.read_champion(client, "toy")
    assert champion is not None
    assert champion.unsealed
    refused(client, str(made.version))
    assert versions.find_version(client, "toy", "night-1") == sealed
    assert command.main(["--model", "toy"]) == 1


def test_a_version_that_waits_is_no_champion_before_a_night_or_a_person_promotes_it(
    client: MlflowClient, tmp_path: Path
) -> None:
    """Sealed, so that it can be looked at; an alias and tags that others move make it no more."""
    version = register(client, run_records.log_night(client, NIGHT))
    seal(client, version, waits=True)
    packages.read_seal(client, "toy", version)
    assert versions.read_version(client, "toy", version).unsealed is None
    intent = {"champion": version, "previous": None, aliases.EXPECTED: None}
    client.set_registered_model_tag("toy", versions.JOURNAL, json.dumps(intent))
    client.set_model_version_tag("toy", version, seals.PROMOTED, "mine")
    aliases.finish_change(client, "toy")
    champion = versions.read_champion(client, "toy")
    assert champion is not None
    assert champion.unsealed
    assert f"Version {version} of toy is not loaded as the champion" in champion.unsealed
    with pytest.raises(RegistryError, match="no night and no person"):
        packages.read_twin(client, champion, TRUSTED)
    with pytest.raises(RegistryError, match="no night and no person"):
        check_unaltered(champion, tmp_path)
    with pytest.raises(RegistryError, match="no night and no person"):
        serving._fetch("toy", version, tmp_path / "package")
    assert command.main(["--model", "toy"]) == 1
    client.delete_registered_model_alias("toy", versions.CHAMPION)
    aliases.promote(client, "toy", version)
    champion = versions.read_champion(client, "toy")
    assert champion is not None
    assert champion.unsealed is None
    assert command.main(["--model", "toy"]) == 0


def test_a_file_that_others_name_in_the_registry_is_not_run(
    client: MlflowClient, sealed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a person approves a model's first version, its file is the one that its night named."""
    monkeypatch.setattr(predict, "announce", lambda *_: None)
    named = tmp_path / "named.py"
    named.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    note = {"against": None, "why": "better", "model": str(named)}
    client.set_model_version_tag("toy", sealed, waiting.WAITING, json.dumps(note))
    approve.publish_after_approval("toy", sealed)
    assert not (tmp_path / "ran").exists()
    assert waiting.read_waited(client, "toy", sealed).model == "toy"
    waiting.begin_waiting(client, "toy", sealed, against=None, why="", named=str(named))
    assert waiting.read_waited(client, "toy", sealed).model == str(named)


def test_a_version_altered_while_it_is_checked_is_not_sealed(client: MlflowClient) -> None:
    version = register(client, run_records.log_night(client, NIGHT))
    client.set_model_version_tag("toy", version, "spec_file", "mine.py")
    with pytest.raises(RegistryError, match="altered while it was checked"):
        seal(client, version)
    assert seals.SEAL not in client.get_model_version("toy", version).tags


def test_the_key_is_its_owners_and_what_was_there_before_it_is_adopted_once(
    client: MlflowClient, sealed: str, home: Path, capsys: Any
) -> None:
    key = home / "seal.key"
    assert key.stat().st_mode & 0o777 == 0o600
    first = key.read_text()
    assert len(first) == 64
    key.unlink()  # a state directory of an earlier release has none
    client.delete_model_version_tag("toy", sealed, seals.SEAL)
    open_registry()
    assert key.read_text() != first
    assert versions.read_version(client, "toy", sealed).unsealed is None
    client.delete_model_version_tag("toy", sealed, seals.SEAL)
    open_registry()
    assert "it has no seal" in (versions.read_version(client, "toy", sealed).unsealed or "")
    assert command.main(["--model", "toy"]) == 1
    assert command.main(["--model", "toy", "--version", "9"]) == 1
    assert command.main(["--model", "toy", "--version", sealed]) == 0
    assert f"version {sealed}: sealed champion" in capsys.readouterr().out


def test_machines_that_share_a_registry_share_a_key(
    client: MlflowClient, sealed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTLY_SEAL_KEY", "k" * 32)
    assert "another key" in (versions.read_version(client, "toy", sealed).unsealed or "")
    open_registry()
    assert versions.read_version(client, "toy", sealed).unsealed, "nothing is adopted unasked"
    assert command.main(["--model", "toy", "--version", sealed]) == 0
    monkeypatch.setenv("NIGHTLY_SEAL_KEY", "short-secret")
    with pytest.raises(settings.SettingsError) as error:
        versions.read_version(client, "toy", sealed)
    assert "short-secret" not in str(error.value)
    assert "32 characters" in str(error.value)
