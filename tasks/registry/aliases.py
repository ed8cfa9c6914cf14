"""Moves of the aliases champion and previous, and refusals, under a journal.

The journal is a tag of the registered model, or, where machines share their state, a record that
only the holder of the model's lease can write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from tasks import settings
from tasks.errors import RegistryError
from tasks.registry import seals
from tasks.registry.champion_alias import ChampionMovedError, move_champion
from tasks.registry.client import read_registered
from tasks.registry.holds import HELD_UNTIL, how_withdrawn
from tasks.registry.versions import (
    CHAMPION,
    JOURNAL,
    KNOWN_UNTIL,
    PREVIOUS,
    PUT_BACK,
    RETIRED,
    find_by_number,
    read_alias,
    registered_models,
    version_by_alias,
)
from tasks.registry.waiting import DECIDED, Decision
from tasks.spec.fleet import fleet_of
from tasks.store import changes
from tasks.store.leases import check_now

if TYPE_CHECKING:
    from mlflow import MlflowClient


EXPECTED = "expected"
"""Of a change in the journal: the champion that it replaces; absent in older ones."""
WHATEVER = "whatever it is"
"""To promote a version whatever the champion is."""


@dataclass(frozen=True)
class Ended:
    """How an interrupted change of champion ended.

    Attributes:
        champion: The champion now; None where no version of it is left.
        told: What was done, a sentence.
    """

    champion: str | None
    told: str


def promote(
    client: MlflowClient,
    model: str,
    version: str,
    judged_against: str | None = WHATEVER,
    decision: Decision | None = None,
) -> None:
    """Make exactly this version the champion; the one before it becomes ``previous``.

    The intended change is written to the journal first: killed at any instant, ``finish_change``
    completes it. The same holds when a response was lost and the step is retried.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        version: The version that becomes the champion.
        judged_against: The champion it was compared with, None for none: that must still be the
            champion.
        decision: The approval that ends its wait, where a person was asked.

    Raises:
        ChampionMovedError: Where another version is the champion by now; nothing was changed.
        RegistryError: Where there is no such version; nothing was changed.
    """
    finish_change(client, model)
    made = _must_exist(client, model, version)
    replaced = read_alias(client, model, CHAMPION)
    if replaced == version:
        _sign_promotion(client, made)
        return
    if judged_against not in (WHATEVER, replaced):
        raise ChampionMovedError(model, judged_against, replaced)
    _sign_promotion(client, made)
    intent = {"champion": version, "previous": replaced, "replaced": replaced}
    if decision:
        intent[DECIDED] = decision.to_json()
    _change(client, model, {**intent, EXPECTED: replaced})


def refuse(
    client: MlflowClient, model: str, version: str, decision: Decision, held_until: date | None
) -> None:
    """Withdraw a version that waits for a person, under the journal; the champion stays.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        version: The version.
        decision: The refusal.
        held_until: Last night that must not promote its recipe and code, if any.

    Raises:
        RegistryError: Where there is no such version; nothing was changed.
    """
    finish_change(client, model)
    _must_exist(client, model, version)
    stays = read_alias(client, model, CHAMPION)
    intent: dict[str, str | None] = {"refused": version, EXPECTED: stays, "why": decision.why}
    intent[DECIDED] = decision.to_json()
    if held_until:
        intent[HELD_UNTIL] = held_until.isoformat()
    _change(client, model, intent)


def roll_back(
    client: MlflowClient, model: str, version: str, why: str, held_until: date | None = None
) -> str | None:
    """Make an earlier version the champion again and mark the version it replaces.

    ``previous`` becomes the version it had replaced, or none where that has been removed. A version
    that had been withdrawn is so no more, and where it is the newer of the two its withdrawal is
    undone: the other is not marked. An interrupted rollback of the same version is completed.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        version: The version to go back to.
        why: Kept on the version it takes over from.
        held_until: Last night that must not promote the recipe and code of that version, if any.

    Returns:
        The version that was champion before it and is withdrawn now, if any.

    Raises:
        ChampionMovedError: Where another run has changed the champion meanwhile.
        RegistryError: Where there is no such version; nothing was changed.
    """
    begun = _read_change(client, model)
    same = begun.get("rolled_back") and begun["champion"] == version
    finish_change(client, model)
    target = _must_exist(client, model, version)
    if same:
        return begun["rolled_back"]
    _sign_promotion(client, target)
    now = version_by_alias(client, model, CHAMPION)
    replaced = find_by_number(client, model, target.tags.get("replaced"))
    champion = str(now.version) if now else None
    previous = str(replaced.version) if replaced else None
    withdrawn = _why_withdrawn(target.tags)
    undone = withdrawn and int(champion or 0) < int(version)
    rejected = None if undone else champion
    intent = {"champion": version, "previous": previous, "rolled_back": rejected, "why": why}
    intent[EXPECTED] = champion
    if held_until and rejected:
        intent[HELD_UNTIL] = held_until.isoformat()
    if withdrawn:
        intent[PUT_BACK] = f"{why} (it was {withdrawn})"
    _change(client, model, intent)
    return rejected


def give_up(client: MlflowClient, model: str, why: str, known_until: date | None) -> str:
    """Leave the model without a champion, so that the next night starts anew.

    The version is marked first and keeps its files. Killed between, the same call ends it.

    Args:
        client: From ``open_registry``.
        model: Registered model.
        why: Kept on the version.
        known_until: Last night whose challenger is held to the version's known figures, if any.

    Returns:
        The version that was champion.

    Raises:
        RegistryError: Where there is no champion; nothing was changed.
    """
    finish_change(client, model)
    now = version_by_alias(client, model, CHAMPION)
    if now is None:
        raise RegistryError(f"{model} has no champion to retire; nothing was changed.")
    version = str(now.version)
    check_now()
    if known_until:
        client.set_model_version_tag(model, version, KNOWN_UNTIL, known_until.isoformat())
    client.set_model_version_tag(model, version, RETIRED, why)
    client.delete_registered_model_alias(model, CHAMPION)
    return version


def unfinished_rollback(client: MlflowClient, model: str) -> str | None:
    """The version that an interrupted rollback was going back to, where it still exists."""
    begun = _read_change(client, model)
    if not begun.get("rolled_back"):
        return None
    return begun["champion"] if find_by_number(client, model, begun["champion"]) else None


def finish_change(client: MlflowClient, model: str) -> Ended | None:
    """Complete an interrupted promotion or rollback.

    It passed every check before it was written to the journal, so it is completed, not undone. Only
    where the version that was to be champion has been deleted since, it is undone: the champion is
    the one before the change, or, where that is gone too, what else of the change is left.

    Returns:
        How it ended, or None where nothing was interrupted.
    """
    begun = _read_change(client, model)
    if not begun:
        return None
    if refused := begun.get("refused"):
        _apply_refusal(client, model, begun)
        stays = version_by_alias(client, model, CHAMPION)
        told = f"The refusal of version {refused} of {model} was cut off and is ended."
        return Ended(str(stays.version) if stays else None, told)
    if find_by_number(client, model, begun["champion"]):
        try:
            _apply(client, model, begun)
        except ChampionMovedError as moved:
            now = f"version {moved.champion} is" if moved.champion else "there is no"
            told = f"A change of champion was cut off, and since then {now} champion: it is void."
            return Ended(moved.champion, told)
        told = f"is ended: version {begun['champion']} of {model} is the champion."
        return Ended(begun["champion"], f"A change of champion was cut off and {told}")
    stays = _undo(client, model, begun)
    said = f"version {stays} is the champion" if stays else "and there is no champion"
    told = f"which was to be the champion, is gone: the change is undone, {said}."
    return Ended(
        stays,
        f"A change of champion was cut off, and version {begun['champion']} of {model}, {told}",
    )


def finish_changes(client: MlflowClient, fleet: str) -> list[Ended]:
    """Complete every interrupted change of a model and, of a fleet, of its partitions.

    Returns:
        How each ended.
    """
    begun = {model.name for model in registered_models(client) if JOURNAL in model.tags}
    if settings.state_url():
        begun.update(changes.open_models())
    own = sorted(name for name in begun if fleet_of(name) == fleet)
    return [ended for name in own if (ended := finish_change(client, name))]


def _sign_promotion(client: MlflowClient, version: Any) -> None:
    """Before the journal is written: what that says is done, whoever has written it."""
    if seals.is_waiting(version):
        check_now()
        seal = seals.promotion_seal(version)
        client.set_model_version_tag(version.name, version.version, seals.PROMOTED, seal)


def _must_exist(client: MlflowClient, model: str, version: str) -> Any:
    found = find_by_number(client, model, version)
    if found is None:
        raise RegistryError(f"There is no version {version} of {model}; nothing was changed.")
    return found


def _read_change(client: MlflowClient, model: str) -> dict[str, str | None]:
    """The intended change of an interrupted promotion or rollback; empty where there is none."""
    if settings.state_url() and (recorded := changes.open_change(model)):
        return dict(json.loads(recorded))
    intent = read_registered(client, model).tags.get(JOURNAL)
    return dict(json.loads(intent)) if intent else {}


def _change(client: MlflowClient, model: str, intent: Mapping[str, str | None]) -> None:
    from mlflow.exceptions import MlflowException

    begun: Mapping[str, str | None] = intent
    if settings.state_url():
        begun = json.loads(changes.begin_change(model, json.dumps(intent)))
    else:
        try:
            client.set_registered_model_tag(model, JOURNAL, json.dumps(intent))
        except MlflowException:
            begun = _read_change(client, model)
            if not begun:
                raise
    if begun != intent:  # another run has written its own at the same moment
        raise ChampionMovedError(model, intent[EXPECTED], begun.get("champion"))
    (_apply_refusal if intent.get("refused") else _apply)(client, model, intent)


def _apply_refusal(client: MlflowClient, model: str, intent: Mapping[str, str | None]) -> None:
    """Each step can be repeated; the last one closes the journal."""
    check_now()
    refused = intent["refused"] or ""
    if find_by_number(client, model, refused):
        _withdraw(client, model, refused, intent)
        client.set_model_version_tag(model, refused, DECIDED, intent[DECIDED])
    _end_change(client, model)


def _withdraw(
    client: MlflowClient, model: str, version: str, intent: Mapping[str, str | None]
) -> None:
    client.set_model_version_tag(model, version, "rolled_back", intent["why"])
    if held_until := intent.get(HELD_UNTIL):
        client.set_model_version_tag(model, version, HELD_UNTIL, held_until)


def _apply(client: MlflowClient, model: str, intent: Mapping[str, str | None]) -> None:
    """Each step can be repeated; the last one closes the journal.

    Of the versions named only the champion has to exist. Where another run has changed the champion
    since the change was begun, nothing else is changed.

    Raises:
        ChampionMovedError: Then.
    """
    champion = intent["champion"] or ""
    rejected, replaced = intent.get("rolled_back"), intent.get("replaced")
    if EXPECTED in intent:
        try:
            move_champion(client, model, champion, intent[EXPECTED])
        except ChampionMovedError:
            if _read_change(client, model) == intent:
                _end_change(client, model)
            raise
    else:  # begun by an earlier version of this code
        check_now()
        client.set_registered_model_alias(model, CHAMPION, champion)
    if find_by_number(client, model, rejected):
        _withdraw(client, model, rejected or "", intent)
    if why := intent.get(PUT_BACK):
        client.set_model_version_tag(model, champion, PUT_BACK, why)
        _end_withdrawal(client, model, champion)
    if decision := intent.get(DECIDED):
        client.set_model_version_tag(model, champion, DECIDED, decision)
    if replaced:
        client.set_model_version_tag(model, champion, "replaced", replaced)
    _close(client, model, intent["previous"])


def _why_withdrawn(tags: Mapping[str, str]) -> str:
    marks = {"rolled_back": how_withdrawn(tags), RETIRED: "retired"}
    return "; ".join(f"{how}: {tags[mark]}" for mark, how in marks.items() if mark in tags)


def _end_withdrawal(client: MlflowClient, model: str, version: str) -> None:
    found = find_by_number(client, model, version)
    for mark in {"rolled_back", HELD_UNTIL, RETIRED, KNOWN_UNTIL} & set(found.tags):
        client.delete_model_version_tag(model, version, mark)


def _undo(client: MlflowClient, model: str, intent: Mapping[str, str | None]) -> str | None:
    """Every step may be done again, as in ``_apply``; gives the champion that stays."""
    check_now()
    before = (intent.get("rolled_back"), intent["previous"])
    there = [found for each in before if (found := find_by_number(client, model, each))]
    stays = version_by_alias(client, model, CHAMPION) or next(iter(there), None)
    if stays is None:
        _close(client, model, None)
        return None
    champion = str(stays.version)
    marks = ("rolled_back", HELD_UNTIL) if champion == intent.get("rolled_back") else ()
    for mark in marks:
        if mark in stays.tags:
            client.delete_model_version_tag(model, champion, mark)
    client.set_registered_model_alias(model, CHAMPION, champion)
    _close(client, model, stays.tags.get("replaced"))
    return champion


def _close(client: MlflowClient, model: str, previous: str | None) -> None:
    check_now()
    if not (previous and _point_at(client, model, previous)) and read_alias(
        client, model, PREVIOUS
    ):
        client.delete_registered_model_alias(model, PREVIOUS)
    _end_change(client, model)


def _point_at(client: MlflowClient, model: str, previous: str) -> bool:
    """Make a version the previous one; False where there is none of that number any more."""
    from mlflow.exceptions import MlflowException

    try:
        client.set_registered_model_alias(model, PREVIOUS, previous)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return True


def _end_change(client: MlflowClient, model: str) -> None:
    """Close the journal: the record, and the tag of a change begun before there were records."""
    if settings.state_url():
        changes.close_change(model)
    client.delete_registered_model_tag(model, JOURNAL)
