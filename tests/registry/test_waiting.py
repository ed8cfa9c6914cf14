"""A version waits until one decision ends it, whatever cuts the decision off."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tasks.registry import aliases, holds, versions, waiting
from tasks.registry.client import open_registry
from tasks.registry.versions import JOURNAL
from tests.registry.test_aliases import promoted
from tests.registry.test_versions import TAGS, bare_version

pytestmark = [
    pytest.mark.filterwarnings("ignore:Operation with range"),  # MLflow with pandas 3.1
    pytest.mark.filterwarnings("ignore:.*Any type hint"),  # MLflow's own types
]
YES = waiting.Decision("APPROVED", "Ada", "the gain is real", "2026-02-09")
NO = waiting.Decision("REFUSED", "Ada", "a leak", "2026-02-09")


@pytest.fixture
def client(registry_home: Path) -> MlflowClient:
    assert registry_home.is_dir()
    return open_registry()


def let_wait(client: MlflowClient, number: int, against: str | None) -> str:
    version = bare_version(client, **TAGS | {"night": f"night-{number}", "shipped_key": "key"})
    waiting.begin_waiting(client, "toy", version, against=against, why="30% better", named="toy.py")
    return version


def waiting_now(client: MlflowClient) -> list[str]:
    return [one.version for one in waiting.read_waiting(client, "toy")]


def test_a_newer_one_takes_the_place_of_an_older(client: MlflowClient) -> None:
    (champion,) = promoted(client, 1)
    old, new = let_wait(client, 2, champion), let_wait(client, 3, champion)
    (closed,) = waiting.supersede(client, "toy", new, "waits in its place", "2026-02-09")
    assert (closed.version, closed.against, closed.model) == (old, champion, "toy.py")
    assert waiting_now(client) == [new]
    assert waiting.read_decisions(client, "toy")[old].told() == (
        f"superseded by version {new} on 2026-02-09: waits in its place"
    )
    assert waiting.supersede(client, "toy", new, "waits in its place", "2026-02-09") == []
    waiting.begin_waiting(client, "toy", old, against=champion, why="again", named="toy.py")
    assert waiting_now(client) == [new, old]


def test_retention_keeps_what_waits_and_nothing_that_was_decided(client: MlflowClient) -> None:
    (champion,) = promoted(client, 1)
    waits = let_wait(client, 2, champion)
    promoted(client, 4, first=3)
    assert waits not in versions.retire(client, "toy", keep=2)
    waiting.supersede(client, "toy", "6", "became the champion", "2026-02-09")
    assert waits in versions.retire(client, "toy", keep=2)


def test_an_approval_is_a_promotion_with_a_name_to_it(client: MlflowClient) -> None:
    (champion,) = promoted(client, 1)
    version = let_wait(client, 2, champion)
    aliases.promote(client, "toy", version, champion, YES)
    assert versions.read_alias(client, "toy", "champion") == version
    assert versions.read_alias(client, "toy", "previous") == champion
    assert waiting_now(client) == []
    assert waiting.read_decisions(client, "toy") == {version: YES}
    aliases.roll_back(client, "toy", champion, "complaints")
    (told,) = versions.read_rolled_back(client, "toy").values()
    assert told.endswith("was rolled back: complaints")


def test_what_was_refused_is_withdrawn_and_held(client: MlflowClient) -> None:
    from datetime import date

    (champion,) = promoted(client, 1)
    version = let_wait(client, 2, champion)
    aliases.refuse(client, "toy", version, NO, date(2026, 2, 15))
    assert versions.read_alias(client, "toy", "champion") == champion
    assert (waiting_now(client), waiting.read_decisions(client, "toy")) == ([], {version: NO})
    (hold,) = holds.read_holds(client, "toy")
    assert (hold.version, hold.how, hold.why, hold.until) == (
        version, "refused", "a leak", date(2026, 2, 15)
    )  # fmt: skip
    assert versions.read_rolled_back(client, "toy") == {
        "key": f"Version {version}, made from the same code and the same data, was refused: a leak"
    }


class Killed(BaseException):
    """As SIGKILL: nothing after it runs."""


WRITES = ("set_registered_model_tag", "set_model_version_tag", "set_registered_model_alias",
          "delete_registered_model_tag", "delete_registered_model_alias")  # fmt: skip


@pytest.mark.parametrize("decision", [YES, NO], ids=["approved", "refused"])
def test_a_decision_killed_at_any_write_is_ended_by_the_next_run(
    client: MlflowClient, decision: waiting.Decision, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after each write in turn; what comes next finds the decision made, or not begun."""
    (champion,) = promoted(client, 1)
    approved = decision is YES
    for allowed in range(12):
        version = let_wait(client, 10 + allowed, champion)
        left = [allowed]

        def counted(write: Any, left: list[int] = left) -> Any:
            def one(*args: Any, **kwargs: Any) -> Any:
                if not left[0]:
                    raise Killed
                left[0] -= 1
                return write(*args, **kwargs)

            return one

        whole = True
        with monkeypatch.context() as patch:
            for name in WRITES:
                patch.setattr(client, name, counted(getattr(client, name)))
            try:
                if approved:
                    aliases.promote(client, "toy", version, champion, decision)
                else:
                    aliases.refuse(client, "toy", version, decision, None)
            except Killed:
                whole = False
        aliases.finish_change(client, "toy")
        assert JOURNAL not in client.get_registered_model("toy").tags
        begun = allowed > 0
        now = versions.read_alias(client, "toy", "champion")
        assert now == (version if approved and begun else champion)
        assert (version in waiting_now(client)) is not begun
        assert waiting.read_decisions(client, "toy").get(version) == (decision if begun else None)
        assert (version in versions.read_withdrawn(client, "toy")) is (begun and not approved)
        champion = str(now)
        if whole:
            return
    raise AssertionError("the decision never came to its end")
