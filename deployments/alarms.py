"""The alarms: ``python deployments/alarms.py`` installs automations.yaml on the Prefect server.

Run it again after any change: unchanged automations are left alone.
"""

from __future__ import annotations

from tasks.cli import environment

if __name__ == "__main__":
    environment.set_defaults()

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any, Literal, NamedTuple, TypeVar, cast, get_args
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import yaml
from prefect.blocks.core import Block
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.actions import ActionTypes
from prefect.events.filters import AutomationFilter, AutomationFilterTags
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger
from prefect.events.schemas.events import Event
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL
from prefect.types import SecretDict
from pydantic import BaseModel, ValidationError

from tasks import settings
from tasks.cli import prefect_failures
from tasks.errors import WrongInputError
from tasks.shown import hide, shown
from tasks.spec import SpecError
from tasks.spec.loading import load_spec

FILE = settings.PROJECT / "deployments" / "automations.yaml"
SCHEDULES = settings.PROJECT / "prefect.yaml"
OURS = "nightly-alarms"
"""Tag of our automations, and name of the block that posts to the webhook."""
LOADING = 1.0
"""Seconds after which the server applies a stored automation."""
ACTIONS: dict[str, type[BaseModel]] = {
    kind.model_fields["type"].default: kind for kind in get_args(ActionTypes)
}

Read = TypeVar("Read", bound=BaseModel)


class AlarmsError(WrongInputError, ValueError):
    """The alarms cannot be installed: a wrong file, a missing setting or block."""


class Change(NamedTuple):
    """A change to one automation; ``id`` is the server's, where it exists."""

    word: Literal["created", "updated", "unchanged", "removed"]
    alarm: AutomationCore
    id: UUID | None


def alarms_parser() -> argparse.ArgumentParser:
    """The options of ``deployments/alarms.py``."""
    parser = argparse.ArgumentParser(
        prog="deployments/alarms.py",
        description="Install the alarms of deployments/automations.yaml on the Prefect server.",
        epilog="Messages go to NIGHTLY_WEBHOOK_URL, or to NIGHTLY_ALARM_BLOCK=type/name. "
        "Exit code: 0 installed; 2 wrong setting or file; 1 failure.",
    )
    parser.add_argument("--test", action="store_true", help="send one test message")
    return parser


def read_automations(text: str, block: UUID, ui: str) -> list[AutomationCore]:
    """The automations of a YAML text, as Prefect's own model reads them.

    Args:
        text: Content of the file.
        block: Id of the notification block that sends.
        ui: Address of the Prefect UI, for links.

    Raises:
        AlarmsError: Names the wrong entry; also for a key that Prefect would drop silently.
    """
    try:
        entries = yaml.safe_load(text.replace("PREFECT_UI_URL", ui))
    except yaml.YAMLError as error:
        raise AlarmsError(f"{FILE.name} is not YAML: {error}") from error
    if not isinstance(entries, list):
        raise AlarmsError(f"{FILE.name}: expected a list of automations.")
    read = [_read_automation(entry, block, n) for n, entry in enumerate(entries, 1)]
    names = [one.name for one in read]
    for name in names:
        if names.count(name) > 1:
            raise AlarmsError(
                f"{FILE.name}: {name!r} is there twice; expected each name once. Rename one of "
                "them."
            )
    return read


def _read_automation(entry: Any, block: UUID, number: int) -> AutomationCore:
    where = f"{FILE.name}, entry {number}"
    if not isinstance(entry, dict):
        raise AlarmsError(f"{where}: expected name, description, trigger and actions.")
    where = f"{FILE.name}, {entry.get('name', f'entry {number}')!r}"
    if not isinstance(entry.get("actions"), list) or not entry["actions"]:
        raise AlarmsError(
            f"{where}: found no actions; expected 'actions' to be a list of at least one."
        )
    actions = [_read_action(action, block, where) for action in entry["actions"]]
    trigger = _read(EventTrigger, entry.get("trigger"), where)
    complete = entry | {"trigger": trigger, "actions": actions, "tags": [OURS]}
    read = _read(AutomationCore, complete, where)
    # all is set, so that an update leaves nothing as it was; the owner alone cannot be updated
    return AutomationCore(**read.model_dump(exclude={"owner_resource"}))


def _read_action(action: Any, block: UUID, where: str) -> BaseModel:
    named = action.get("type") if isinstance(action, dict) else action
    if named not in ACTIONS:
        raise AlarmsError(f"{where}: found the action {named!r}; expected one that Prefect knows.")
    sends = {"block_document_id": block} if named == "send-notification" else {}
    return _read(ACTIONS[named], action | sends, where)


def _read(kind: type[Read], found: Any, where: str) -> Read:
    if not isinstance(found, dict):
        raise AlarmsError(f"{where}: {kind.__name__}: found {found!r}, expected keys and values.")
    unknown = sorted(set(found) - set(kind.model_fields))
    if unknown:
        raise AlarmsError(f"{where}: {kind.__name__} has no {', '.join(unknown)}.")
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join([kind.__name__, *map(str, fault["loc"])])
        raise AlarmsError(f"{where}: {place}: {fault['msg']}") from error
    except TypeError as error:  # Prefect compares a wrong `within` before it is checked
        raise AlarmsError(f"{where}: {kind.__name__}: {error}") from error


def plan_changes(found: Sequence[Automation], wanted: Iterable[AutomationCore]) -> list[Change]:
    """The changes from the server's automations to the wanted ones, among those with our tag."""
    left = [one for one in found if OURS in one.tags]
    changes: list[Change] = []
    for one in wanted:
        old = next((old for old in left if old.name == one.name), None)
        if old is None:
            changes.append(Change("created", one, None))
            continue
        left.remove(old)
        same = old.model_dump(exclude={"id"}) == one.model_dump()
        changes.append(Change("unchanged" if same else "updated", one, old.id))
    return changes + [Change("removed", old, old.id) for old in left]


def apply_changes(client: SyncPrefectClient, changes: Iterable[Change]) -> None:
    """Apply the changes on the server.

    Raises:
        AlarmsError: Where the server refuses an automation, such as one with a wrong template.
    """
    for word, alarm, number in changes:
        try:
            if word == "created":
                client.create_automation(alarm)
            elif word == "updated" and number:
                client.update_automation(number, alarm)
            elif word == "removed" and number:
                client.delete_automation(number)
        except PrefectHTTPStatusError as error:
            if error.response.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
                raise
            why = error.response.json().get("exception_detail")
            raise AlarmsError(
                f"{FILE.name}, {alarm.name!r}: the server refuses it: {why}"
            ) from error


def save_webhook(url: str) -> tuple[UUID, str]:
    """Save the block that posts {"text": ...} to the webhook; returns its id and host."""
    block = CustomWebhookNotificationBlock(
        name=OURS,
        url="{{url}}",
        json_data={"text": "{{subject}}\n{{body}}"},
        headers=None,
        cookies=None,
        secrets=SecretDict({"url": url}),
    )
    return cast("UUID", block.save(OURS, overwrite=True)), urlsplit(url).hostname or ""


def find_block(client: SyncPrefectClient, kind: str, name: str) -> tuple[UUID, str]:
    """The id of a notification block, and its name for people.

    Raises:
        AlarmsError: Where the block does not exist or cannot notify.
    """
    try:
        found = client.read_block_document_by_name(name, kind, include_secrets=False)
    except ObjectNotFound:
        raise AlarmsError(
            f"NIGHTLY_ALARM_BLOCK: the Prefect server has no block {kind}/{name}. `prefect block "
            "ls` lists its blocks."
        ) from None
    if not found.block_schema or "notify" not in found.block_schema.capabilities:
        raise AlarmsError(
            f"NIGHTLY_ALARM_BLOCK: {kind}/{name} is not a notification block. Name a block that "
            "can send notifications."
        )
    return found.id, f"{kind}/{name}"


def scheduled_models(text: str) -> list[str]:
    """Names of the models that the deployments of a prefect.yaml schedule; not where it is paused.

    Raises:
        AlarmsError: Where the text is not a valid prefect.yaml.
        SpecError: Where a model does not exist.
    """
    try:
        deployments = yaml.safe_load(text)["deployments"]
        scheduled = [
            one["parameters"]["config"]["model"]
            for one in deployments
            if any(each.get("active", True) for each in one.get("schedules", ()))
            and not one.get("paused")
        ]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        words = " ".join(str(error).split())
        raise AlarmsError(
            f"{SCHEDULES.name}: found {type(error).__name__}: {words}; expected a list "
            "'deployments', each with parameters.config.model."
        ) from error
    return [load_spec(model).name for model in dict.fromkeys(scheduled)]


def paused_models(deployments: Iterable[DeploymentResponse]) -> set[str]:
    """Names of the models of which every schedule of their nights is paused on the server.

    Args:
        deployments: Those of the server.
    """
    running, paused = set[str](), set[str]()
    for one in deployments:
        config = (one.parameters or {}).get("config") or {}
        if one.schedules and "model" in config and not config.get("look"):
            on = not one.paused and any(each.active for each in one.schedules)
            with suppress(SpecError):  # of another project on the same server
                (running if on else paused).add(load_spec(config["model"]).name)
    return paused - running


def start_watch(client: SyncPrefectClient, models: Iterable[str], today: date) -> None:
    """Emit an event for each model, so that a first night that never runs is noticed too."""
    events = [
        Event.model_validate(
            {
                "event": "nightly.watch.started",
                "resource": {
                    "prefect.resource.id": f"nightly.model.{model}",
                    "prefect.resource.name": model,
                },
                "payload": {
                    "text": "alarms were installed; no night has reported since.",
                    "as_of": today.isoformat(),
                },
            }
        )
        for model in models
    ]
    client.request("POST", "/events", json=[event.model_dump(mode="json") for event in events])


def send_test(client: SyncPrefectClient, kind: str, name: str) -> None:
    """Send one test message from this process; alarms are sent by the server.

    Raises:
        AlarmsError: Where it is not delivered; the secret address is not shown.
    """
    document = client.read_block_document_by_name(name, kind)
    try:
        block: Any = Block.get_block_class_from_schema(cast("Any", document.block_schema))
        sender = block.model_validate(document.data)
        with sender.raise_on_failure():
            sender.notify("This is a test: alarms arrive here.", subject="nightly: test")
    except httpx.HTTPStatusError as error:
        answer = error.response.status_code
        raise AlarmsError(
            f"The test message was not delivered: the webhook answers {answer}. Check "
            "NIGHTLY_WEBHOOK_URL."
        ) from None
    except Exception as error:
        raise AlarmsError(
            f"The test message was not delivered: {type(error).__name__}. Check "
            "NIGHTLY_WEBHOOK_URL or the block, and the network."
        ) from None


def put_in_place(*, test: bool) -> None:
    """Create, update and remove automations until the server has those of the file, and print it.

    Raises:
        AlarmsError, SettingsError, SpecError: Names the wrong setting, entry or model.
        httpx.HTTPError, RuntimeError: Where the server's answer is not that of Prefect.
    """
    webhook, block = settings.webhook_url(), settings.alarm_block()
    if not PREFECT_API_URL.value():
        raise AlarmsError(
            "PREFECT_API_URL is not set. Set it to the address of the Prefect server, such as "
            "http://127.0.0.1:4200/api."
        )
    if bool(webhook) == bool(block):
        raise AlarmsError(
            "No destination of the alarms is set. Set one of the two: NIGHTLY_WEBHOOK_URL (Slack "
            'or any address that takes {"text": "..."}), or NIGHTLY_ALARM_BLOCK=type/name (a '
            "notification block of the Prefect server: e-mail, Teams, PagerDuty)."
        )
    text = FILE.read_text(encoding="utf-8")
    ui = str(PREFECT_UI_URL.value())
    read_automations(text, UUID(int=0), ui)  # a mistake is found before anything is changed
    models = scheduled_models(SCHEDULES.read_text(encoding="utf-8"))
    with get_client(sync_client=True) as client:
        if webhook:
            sender, goal = save_webhook(webhook)
        else:
            assert block
            sender, goal = find_block(client, *block)
        tags = AutomationFilter(tags=AutomationFilterTags(all_=[OURS]))
        found = client.read_automations(automations=tags)
        changes = plan_changes(found, read_automations(text, sender, ui))
        apply_changes(client, changes)
        if any(change.word in ("created", "updated") for change in changes):
            time.sleep(LOADING)
        paused = paused_models(client.read_deployments())
        models = [model for model in models if model not in paused]
        start_watch(client, models, datetime.now(UTC).date())
        for change in changes:
            print(f"{change.word:<10}{change.alarm.name}")
        if test:
            webhook_block = (CustomWebhookNotificationBlock.get_block_type_slug(), OURS)
            send_test(client, *(block or webhook_block))
        left = f" (paused: {', '.join(sorted(paused))})" if paused else ""
        print(f"Watching {', '.join(models) or 'no model'}{left}; messages go to {goal}.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    asked = alarms_parser().parse_args(arguments)
    try:
        put_in_place(test=asked.test)
    except (AlarmsError, settings.SettingsError, SpecError) as error:
        return _fail(str(error), 2)
    except PrefectHTTPStatusError as error:
        code = error.response.status_code
        hint = " Check PREFECT_API_AUTH_STRING." if code == httpx.codes.UNAUTHORIZED else ""
        return _fail(f"{hide(str(PREFECT_API_URL.value()))} answers {code}.{hint}", 1)
    except (json.JSONDecodeError, ValidationError) as error:
        return _fail(hide(prefect_failures.in_words(error)), 1)
    except (httpx.HTTPError, RuntimeError):
        return _fail(
            f"No Prefect server answers at {hide(str(PREFECT_API_URL.value()))}. Start it, or "
            "correct PREFECT_API_URL.",
            1,
        )
    return 0


def _fail(message: str, code: int) -> int:
    print(f"nightly: {shown(message)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
