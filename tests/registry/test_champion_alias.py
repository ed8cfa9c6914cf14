"""Two homes, one registry: the alias moves only from the version that was judged against."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from threading import Barrier, Thread

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tasks.promotion.checks import Status, Verdict
from tasks.promotion.gate import overtaken
from tasks.registry import champion_alias
from tasks.registry.aliases import finish_change, promote, roll_back
from tasks.registry.champion_alias import ChampionMovedError, champion_now, move_champion
from tasks.registry.client import open_registry
from tasks.registry.versions import JOURNAL, Champion
from tasks.steps.release import promote_version
from tasks.steps.state import Incumbent, Judged, Night
from tests.registry.test_versions import TAGS, bare_version

pytestmark = [
    pytest.mark.filterwarnings("ignore:Operation with range"),  # MLflow with pandas 3.1
    pytest.mark.filterwarnings("ignore:.*Any type hint"),  # MLflow's own types
]


CHAMPION = Champion(
    version="1",
    run_id="",
    candidate="tree",
    digest="d",
    as_of=date(2026, 2, 8),
    twin_learned_through=date(2026, 2, 1),
    twin_sha256="",
    files_sha256="",
    trusted=(),
    spec_module=("toy", "toy.py"),
    lookback=7,
)


@pytest.fixture(params=["sqlite", "postgresql"])
def client(
    request: pytest.FixtureRequest, registry_home: Path, monkeypatch: pytest.MonkeyPatch
) -> MlflowClient:
    """A registry that two homes share."""
    uri = f"sqlite:///{registry_home / 'mlflow.db'}"
    if request.param == "postgresql":
        uri = request.getfixturevalue("postgres")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    return open_registry()


def made(client: MlflowClient, count: int) -> list[str]:
    """So many versions, the first one champion."""
    found = [bare_version(client, **TAGS | {"night": f"night-{n}"}) for n in range(count)]
    promote(client, "toy", found[0], None)
    return found


def aliases(client: MlflowClient) -> dict[str, str]:
    registered = client.get_registered_model("toy")
    assert JOURNAL not in registered.tags
    return {name: str(version) for name, version in registered.aliases.items()}


def test_only_the_version_that_was_judged_against_is_replaced(client: MlflowClient) -> None:
    first, second, third, fourth = made(client, 4)
    promote(client, "toy", second, first)
    assert champion_now("toy") == second
    for against in (first, None):  # judged before the other home promoted
        with pytest.raises(ChampionMovedError, match=f"is version {second}") as moved:
            promote(client, "toy", third, against)
        assert moved.value.champion == second
    assert aliases(client) == {"champion": second, "previous": first}
    promote(client, "toy", second, first)  # a step that is done again
    promote(client, "toy", fourth, second)
    assert aliases(client) == {"champion": fourth, "previous": second}

    for expected in (second, None):  # another home has moved it since
        with pytest.raises(ChampionMovedError, match=f"is version {fourth}"):
            move_champion(client, "toy", third, expected)
    assert aliases(client) == {"champion": fourth, "previous": second}

    contenders = [bare_version(client, **TAGS | {"night": f"home-{n}"}) for n in range(3)]
    won: list[str] = []
    together = Barrier(len(contenders))

    def of_one_home(version: str) -> None:
        own = MlflowClient()
        together.wait()
        for _ in range(5):  # a step is tried again, as here where both write the same row at once
            try:
                promote(own, "toy", version, fourth)
                won.append(version)
            except ChampionMovedError:
                pass
            except MlflowException:
                continue
            return

    homes = [Thread(target=of_one_home, args=(version,)) for version in contenders]
    for home in homes:
        home.start()
    for home in homes:
        home.join()
    finish_change(client, "toy")
    assert len(won) == 1
    assert aliases(client)["champion"] == won[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_night_of_one_home_is_kept_where_the_other_home_was_first(
    client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two state directories have no common lock; each step opens the registry anew."""
    first, mine, theirs = made(client, 3)
    champion = replace(CHAMPION, version=first)
    judged = Judged(
        Verdict(Status.PROMOTED, ("It is better.",), ()),
        "tree",
        {},
        Incumbent(champion),
        None,
        {},
        {},
        0.0,
    )
    night = Night("toy", "toy", date(2026, 2, 9), {}, "key")
    monkeypatch.setenv("NIGHTLY_HOME", str(tmp_path / "other"))
    other = promote_version.fn(night, theirs, judged)
    monkeypatch.setenv("NIGHTLY_HOME", str(tmp_path / "own"))
    own = promote_version.fn(night, mine, judged)
    assert other.verdict.status is Status.PROMOTED
    assert own.verdict.status is Status.KEPT
    assert f"Version {mine} is not promoted" in own.verdict.reasons[0]
    assert f"now version {theirs} is" in own.verdict.reasons[0]
    assert aliases(client) == {"champion": theirs, "previous": first}
    again = replace(judged, incumbent=Incumbent(replace(champion, version=theirs)))
    assert promote_version.fn(night, mine, again).verdict.status is Status.PROMOTED
    assert aliases(client) == {"champion": mine, "previous": theirs}


@pytest.fixture
def local(registry_home: Path) -> MlflowClient:
    assert registry_home.is_dir()
    return open_registry()


def test_a_server_is_asked_right_before_and_right_after(
    local: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = made(local, 3)
    monkeypatch.setattr(champion_alias, "_database", lambda _: None)
    promote(local, "toy", second, first)
    assert aliases(local)["champion"] == second
    real = MlflowClient.set_registered_model_alias

    def overtaken_at_once(client: MlflowClient, model: str, alias: str, version: str) -> None:
        real(client, model, alias, version)
        real(client, model, alias, first)

    monkeypatch.setattr(MlflowClient, "set_registered_model_alias", overtaken_at_once)
    with pytest.raises(ChampionMovedError, match=f"is version {first}"):
        promote(local, "toy", third, second)
    assert aliases(local)["champion"] == first


def test_a_change_that_another_home_has_overtaken_is_void(local: MlflowClient) -> None:
    first, second, third = made(local, 3)
    promote(local, "toy", second, first)
    intent = {"champion": third, "previous": first, "replaced": first, "expected": first}
    local.set_registered_model_tag("toy", JOURNAL, json.dumps(intent))  # killed, and late
    ended = finish_change(local, "toy")
    assert ended is not None
    assert ended.champion == second
    assert f"since then version {second} is champion: it is void" in ended.told
    assert aliases(local) == {"champion": second, "previous": first}
    assert roll_back(local, "toy", first, "late") == second
    assert aliases(local) == {"champion": first}


def test_the_night_says_so() -> None:
    verdict = Verdict(Status.PROMOTED, ("It is better.",), ())
    found = overtaken(verdict, "7", "3", "5")
    assert found.status is Status.KEPT
    assert found.reasons[0] == (
        "Version 7 is not promoted: when it was judged, version 3 was the champion, and now "
        "version 5 is, by another run on the same registry. Run the night again to judge it anew."
    )
    assert "no version was the champion" in overtaken(verdict, "7", None, "5").reasons[0]
