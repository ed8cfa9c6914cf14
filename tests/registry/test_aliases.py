"""The aliases move as a whole or not at all, also where retention has taken a version."""

from __future__ import annotations

import json
import random
from datetime import date, timedelta
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tasks.errors import RegistryError
from tasks.registry import aliases, anchors, versions
from tasks.registry.aliases import finish_change, give_up, promote, roll_back, unfinished_rollback
from tasks.registry.client import open_registry
from tasks.registry.versions import JOURNAL
from tasks.registry.waiting import Decision
from tasks.store import changes, leases, state_database
from tests.registry.test_versions import TAGS, bare_version

pytestmark = [
    pytest.mark.filterwarnings("ignore:Operation with range"),  # MLflow with pandas 3.1
    pytest.mark.filterwarnings("ignore:.*Any type hint"),  # MLflow's own types
]


@pytest.fixture
def client(registry_home: Path) -> MlflowClient:
    assert registry_home.is_dir()
    return open_registry()


def promoted(client: MlflowClient, count: int, first: int = 1) -> list[str]:
    """So many versions, each promoted on its night."""
    made = []
    for number in range(first, first + count):
        made.append(bare_version(client, **TAGS | {"night": f"night-{number}", "twin_sha256": "t"}))
        promote(client, "toy", made[-1])
    return made


def state(client: MlflowClient) -> tuple[str | None, str | None]:
    """Champion and previous; a journal that is open is a fault."""
    assert JOURNAL not in client.get_registered_model("toy").tags
    return (
        versions.read_alias(client, "toy", "champion"),
        versions.read_alias(client, "toy", "previous"),
    )


def test_back_to_a_version_whose_predecessor_is_gone(client: MlflowClient) -> None:
    made = promoted(client, 6)
    assert versions.retire(client, "toy", keep=4) == [made[0]]
    assert roll_back(client, "toy", made[1], "late") == made[5]
    assert state(client) == (made[1], None)
    assert client.get_model_version("toy", made[5]).tags["rolled_back"] == "late"
    (again,) = promoted(client, 1, first=7)
    assert state(client) == (again, made[1])
    assert roll_back(client, "toy", made[1], "late again") == again
    assert state(client) == (made[1], None)


def test_a_champion_that_cannot_be_asked_is_given_up_and_a_new_one_starts(
    client: MlflowClient,
) -> None:
    (made,) = promoted(client, 1)
    until = date(2026, 2, 10)
    assert give_up(client, "toy", "its library moved", until) == made
    assert state(client) == (None, None)
    assert client.get_model_version("toy", made).tags["retired"] == "its library moved"
    assert versions.read_withdrawn(client, "toy") == {made: "its library moved"}
    assert versions.read_rolled_back(client, "toy") == {}
    found = versions.read_retired(client, "toy", until)
    assert found is not None
    assert found.version == made
    assert versions.read_retired(client, "toy", until + timedelta(days=1)) is None
    with pytest.raises(RegistryError, match="toy has no champion to retire"):
        give_up(client, "toy", "again", until)
    (again,) = promoted(client, 1, first=2)
    assert state(client) == (again, None)
    give_up(client, "toy", "no good either", None)
    assert roll_back(client, "toy", made, "it runs again") is None
    assert state(client) == (made, None)


def test_two_are_kept_and_a_person_goes_back_twice(client: MlflowClient) -> None:
    made = promoted(client, 5)
    versions.retire(client, "toy", keep=2)
    roll_back(client, "toy", made[3], "late")
    versions.retire(client, "toy", keep=2)
    roll_back(client, "toy", made[2], "late")
    assert state(client) == (made[2], None)
    versions.retire(client, "toy", keep=2)
    (again,) = promoted(client, 1, first=6)
    assert state(client) == (again, made[2])


def test_the_line_of_champions_is_kept_as_far_as_versions_are(client: MlflowClient) -> None:
    """However many versions came since, a person can go back step by step."""
    made = promoted(client, 5)
    for number in range(6, 11):
        bare_version(client, **TAGS | {"night": f"night-{number}"})  # registered, not promoted
    versions.retire(client, "toy", keep=4)
    for target in reversed(made[:4]):
        assert versions.read_alias(client, "toy", "previous") == target
        roll_back(client, "toy", target, "late")
        versions.retire(client, "toy", keep=4)
    assert state(client) == (made[0], None)


@pytest.mark.parametrize("change", ["rollback", "promotion"])
def test_what_a_change_needs_is_looked_at_before_it_is_begun(
    change: str, client: MlflowClient
) -> None:
    made = promoted(client, 3)
    before = state(client)
    client.delete_model_version("toy", made[0])
    with pytest.raises(RegistryError, match=f"There is no version {made[0]} of toy"):
        if change == "rollback":
            roll_back(client, "toy", made[0], "late")
        else:
            promote(client, "toy", made[0])
    assert state(client) == before
    assert "rolled_back" not in client.get_model_version("toy", made[2]).tags


def wedge(client: MlflowClient, **intent: str | None) -> None:
    """A journal as a process that was killed leaves it."""
    client.set_registered_model_tag("toy", JOURNAL, json.dumps(intent))


def test_a_rollback_wedged_on_its_predecessor_is_ended(client: MlflowClient) -> None:
    """As an earlier night has left it: the champion moved, the alias of the one before did not."""
    made = promoted(client, 4)
    client.delete_model_version("toy", made[0])
    client.set_model_version_tag("toy", made[3], "rolled_back", "late")
    client.set_registered_model_alias("toy", "champion", made[1])
    wedge(client, champion=made[1], previous=made[0], rolled_back=made[3], why="late")
    assert unfinished_rollback(client, "toy") == made[1]
    ended = finish_change(client, "toy")
    assert ended is not None
    assert ended.champion == made[1]
    assert ended.told == (
        f"A change of champion was cut off and is ended: version {made[1]} of toy is the champion."
    )
    assert state(client) == (made[1], None)
    assert finish_change(client, "toy") is None


@pytest.mark.parametrize("moved", [False, True])
def test_a_rollback_to_a_version_that_is_gone_is_undone(client: MlflowClient, moved: bool) -> None:
    made = promoted(client, 4)
    client.set_model_version_tag("toy", made[3], "rolled_back", "late")
    if moved:
        client.set_registered_model_alias("toy", "champion", made[1])
    wedge(client, champion=made[1], previous=made[0], rolled_back=made[3], why="late")
    client.delete_model_version("toy", made[1])
    assert unfinished_rollback(client, "toy") is None
    ended = finish_change(client, "toy")
    assert ended is not None
    assert ended.champion == made[3]
    assert ended.told == (
        f"A change of champion was cut off, and version {made[1]} of toy, which was to be the "
        f"champion, is gone: the change is undone, version {made[3]} is the champion."
    )
    assert state(client) == (made[3], made[2])
    assert "rolled_back" not in client.get_model_version("toy", made[3]).tags


@pytest.mark.parametrize("moved", [False, True])
def test_a_promotion_of_a_version_that_is_gone_is_undone(client: MlflowClient, moved: bool) -> None:
    made = promoted(client, 3)
    new = bare_version(client, **TAGS | {"night": "night-9"})
    if moved:
        client.set_registered_model_alias("toy", "champion", new)
    wedge(client, champion=new, previous=made[2], replaced=made[2])
    client.delete_model_version("toy", new)
    (next_,) = promoted(client, 1, first=10)
    assert state(client) == (next_, made[2])
    assert client.get_model_version("toy", next_).tags["replaced"] == made[2]


def test_a_change_of_which_no_version_is_left_is_ended(client: MlflowClient) -> None:
    made = promoted(client, 2)
    wedge(client, champion=made[0], previous=None, rolled_back=made[1], why="late")
    for version in made:
        client.delete_model_version("toy", version)
    ended = finish_change(client, "toy")
    assert ended is not None
    assert ended.champion is None
    assert ended.told.endswith("the change is undone, and there is no champion.")
    assert state(client) == (None, None)
    (new,) = promoted(client, 1, first=3)
    assert state(client) == (new, None)


def test_versions_that_a_change_names_are_not_retired(client: MlflowClient) -> None:
    made = promoted(client, 6)
    wedge(client, champion=made[0], previous=None, rolled_back=made[5], why="late")
    assert made[0] not in versions.retire(client, "toy", keep=2)
    ended = finish_change(client, "toy")
    assert ended is not None
    assert ended.champion == made[0]


@pytest.mark.parametrize("seed", range(2))
def test_no_order_of_changes_locks_a_model(client: MlflowClient, seed: int) -> None:
    """After each step the champion is a version that exists, and what was asked is so."""
    chance = random.Random(seed)
    promoted(client, 3)
    for number in range(4, 18):
        there = sorted(int(v.version) for v in client.search_model_versions("name = 'toy'"))
        champion = versions.read_alias(client, "toy", "champion")
        step = chance.choice(["promote", "back", "any", "retire", "delete"])
        if step == "promote":
            promoted(client, 1, first=number)
        elif step == "back" and (previous := versions.read_alias(client, "toy", "previous")):
            roll_back(client, "toy", previous, "late")
            assert state(client)[0] == previous
        elif step == "any":
            target = str(chance.choice([v for v in there if str(v) != champion] or [0]))
            if target != "0":
                roll_back(client, "toy", target, "late")
                assert state(client)[0] == target
        elif step == "retire":
            versions.retire(client, "toy", keep=2)
        elif step == "delete":  # a person, in the pages of MLflow
            client.delete_model_version("toy", str(chance.choice(there[:-1] or there)))
            if versions.read_alias(client, "toy", "champion") is None:
                promoted(client, 1, first=number)
        now, before = state(client)
        names = {str(v.version) for v in client.search_model_versions("name = 'toy'")}
        assert now in names
        assert before is None or before in names


def test_the_anchors_are_kept_and_read_back(client: MlflowClient) -> None:
    assert anchors.read_anchor(client, "toy") is None
    made = promoted(client, 6)
    anchor = anchors.Anchor(made[1], date(2026, 2, 8), date(2026, 2, 9), 0.004, date(2026, 2, 10))
    anchors.write_anchor(client, "toy", anchor)
    assert anchors.read_anchor(client, "toy") == anchor
    yearly = anchors.Anchor(made[0], date(2026, 2, 1), date(2026, 2, 1))
    assert anchors.read_anchor(client, "toy", anchors.YEARLY) is None
    anchors.write_anchor(client, "toy", yearly, anchors.YEARLY)
    assert anchors.read_anchor(client, "toy", anchors.YEARLY) == yearly
    assert anchors.read_anchor(client, "toy") == anchor
    assert versions.retire(client, "toy", keep=2) == [made[2]]
    assert client.get_model_version("toy", made[1]).version
    with pytest.raises(RegistryError, match="no version 3 of toy any more"):
        versions.read_version(client, "toy", made[2])


def test_who_has_lost_the_lease_moves_nothing(
    client: MlflowClient, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine B took the lease while A stood still; each is a process of its own elsewhere."""
    first, second = promoted(client, 2)
    third = bare_version(client, **TAGS | {"night": "night-3", "twin_sha256": "t"})
    monkeypatch.setenv("NIGHTLY_STATE_URL", postgres)
    monkeypatch.setattr(leases, "_renew", lambda *_: None)
    refusal = Decision("REFUSED", "Ada", "odd", "2026-02-01")
    run_out = "UPDATE nightly_leases SET expires = clock_timestamp()"
    with leases.lease("night-toy", "a") as of_a:
        with monkeypatch.context() as dies:  # right after the change was recorded
            dies.setattr(aliases, "move_champion", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                promote(client, "toy", third, second)
        assert json.loads(changes.open_change("toy") or "")["champion"] == third
        state_database.run(lambda c: c.exec_driver_sql(run_out).rowcount)
        for late in (
            open_registry,
            lambda: promote(client, "toy", third, second),
            lambda: roll_back(client, "toy", first, "late"),
            lambda: aliases.refuse(client, "toy", third, refusal, None),
            lambda: give_up(client, "toy", "late", None),
        ):
            with pytest.raises(leases.LeaseLostError, match="Nothing was changed"):
                late()
            assert state(client) == (second, first)
        leases._held.remove(of_a)
        with leases.lease("night-toy", "b"):
            ended = finish_change(client, "toy")
            assert ended is not None
            assert ended.champion == third
            assert state(client) == (third, second)
            assert finish_change(client, "toy") is None
            assert roll_back(client, "toy", second, "worse") == third
            assert state(client) == (second, first)
        leases._held.insert(0, of_a)
        intent = {"champion": third, "previous": second, "replaced": second, "expected": second}
        with pytest.raises(leases.LeaseLostError):  # it wakes up after it had recorded its change
            aliases._apply(client, "toy", intent)
        assert state(client) == (second, first)
