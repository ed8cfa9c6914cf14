"""The alarms: what is in the file is on the server, and each one reaches the person it is for."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import Automation
from prefect.events.schemas.events import Event
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_API_URL,
    temporary_settings,
)
from prefect.states import Completed, Crashed, Failed, Running, State

from deployments import alarms
from tests.faults import set_up_of_alarms
from tests.faults.proxy import Fault, What, passed_on
from tests.nights import PROJECT
from tests.servers import free_port, make_prefect_database

TEXT = alarms.FILE.read_text()
ENTRIES: dict[str, dict[str, Any]] = {one["name"]: one for one in yaml.safe_load(TEXT)}
SILENCE, HEARTBEAT = "nightly: no night in 26 hours", "nightly: heartbeat lost"
NOBODY, UI = UUID(int=0), "http://localhost:4200"
COMMAND = [sys.executable, "-W", "ignore", str(PROJECT / "deployments" / "alarms.py")]
SECRET, PASSWORD = "T000-B000-hook", "nightly:pass"
SILENT = "no night in 26 hours\nNeither promoted nor kept for 26 hours."


# --- the file ---------------------------------------------------------------------------------


def test_the_file_is_valid_to_the_server_too() -> None:
    """The server's model also checks the templates."""
    from prefect.server.events.schemas.automations import AutomationCore

    read = alarms.read_automations(TEXT, NOBODY, UI)
    for one in read:
        assert AutomationCore.model_validate(one.model_dump(mode="json"))
        assert one.description
        assert one.enabled
    assert [one.name for one in read] == list(ENTRIES)


def test_every_event_of_the_contract_is_heard_by_its_alarm() -> None:
    heard = {
        event: name
        for name, one in ENTRIES.items()
        if one["trigger"]["posture"] == "Reactive"
        for event in one["trigger"]["expect"]
    }
    assert heard == {
        "prefect.flow-run.Failed": "nightly: failed or rejected",
        "prefect.flow-run.TimedOut": "nightly: failed or rejected",
        "prefect.flow-run.Crashed": "nightly: crashed",
        "nightly.night.held-again": "nightly: held twice",
        "nightly.night.waiting": "nightly: a version waits for you",
        "nightly.version.approved": "nightly: a person has decided",
        "nightly.version.refused": "nightly: a person has decided",
        "nightly.champion.old": "nightly: champion too old",
        "nightly.champion.rolled-back": "nightly: rolled back or reverted",
        "nightly.champion.not-reverted": "nightly: rolled back or reverted",
        "nightly.predictions.refused": "nightly: predictions refused",
        "nightly.coverage.off": "nightly: prediction intervals off their level",
    }


def test_silence_is_26_hours_and_a_lost_heartbeat_three_of_those_of_the_work_pool() -> None:
    assert ENTRIES[SILENCE]["trigger"]["within"] == 26 * 3600
    pool = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["definitions"]["work_pool"]
    frequency = int(pool["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"])
    assert ENTRIES[HEARTBEAT]["trigger"]["within"] == 3 * frequency


ENDS = ("Completed", "Failed", "Crashed", "Cancelled", "TimedOut", "Paused", "Suspended")


@pytest.mark.parametrize("name", [*ENDS, "AwaitingRetry", "PROMOTED"])  # as of earlier releases
def test_a_run_that_ends_in_any_way_is_no_lost_heartbeat(name: str) -> None:
    from prefect.server.events.schemas.automations import EventTrigger

    trigger = EventTrigger.model_validate(ENTRIES[HEARTBEAT]["trigger"])
    assert trigger.expects(f"prefect.flow-run.{name}")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("expect: [nightly.champion.old]", "expcet: [x]", "too old': EventTrigger has no expcet"),
        ("within: 180", "within: soon", "heartbeat lost': EventTrigger: '<' not supported"),
        ("within: 180", "within: 3", "greater than or equal to 10 seconds"),
        (
            "actions: [*state]",
            "actions: [say]",
            "crashed': found the action 'say'; expected one that Prefect knows",
        ),
        ("actions: [*state]", "actions: []", "crashed': found no actions; expected"),
        ("state: CRASHED", "state: GONE", "heartbeat lost': ChangeFlowRunState.state: Input"),
        ("type: change-flow-run-state", "type: change", "found the action 'change'"),
        ('subject: "{{ event.resource.name }}: no', 'subjct: "no', "SendNotification has no subjc"),
        ("nightly: champion too old", "nightly: held twice", "'nightly: held twice' is there twi"),
        ("  description: Two nights", "  descr: Two nights", "held twice': AutomationCore has no"),
        ("- name: ", "  name: ", r"expected a list|is not YAML"),
        ("posture: Proactive", "posture: [", "automations.yaml is not YAML"),
    ],
)
def test_a_mistake_in_the_file_is_named(old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(alarms.AlarmsError, match=message) as caught:
        alarms.read_automations(TEXT.replace(old, new), NOBODY, UI)
    assert "automations.yaml" in str(caught.value)


def test_only_ours_are_touched() -> None:
    first, second, *_ = alarms.read_automations(TEXT, NOBODY, UI)

    def stored(alarm: Any, **changes: Any) -> Automation:
        return Automation(**(alarm.model_dump() | {"id": uuid4()} | changes))

    theirs = stored(first, tags=["nightly"])
    same, changed = stored(first), stored(second, enabled=False)
    twice, gone = stored(first), stored(first, name="of last year")
    changes = alarms.plan_changes([theirs, same, changed, twice, gone], [first, second])
    assert [(change.word, change.id) for change in changes] == [
        ("unchanged", same.id),
        ("updated", changed.id),
        ("removed", twice.id),
        ("removed", gone.id),
    ]
    assert [change.word for change in alarms.plan_changes([theirs], [first])] == ["created"]


def test_the_scheduled_models_are_watched() -> None:
    assert alarms.scheduled_models(alarms.SCHEDULES.read_text()) == ["groceries", "flights"]


@pytest.mark.parametrize(
    "pause",
    [{"paused": True}, {"schedules": []}, {"schedules": [{"cron": "0 3 * * *", "active": False}]}],
)
def test_a_paused_schedule_is_not_watched(pause: dict[str, Any]) -> None:
    entries = yaml.safe_load(alarms.SCHEDULES.read_text())["deployments"]
    quiet = [e | pause if "groceries" in str(e.get("parameters")) else e for e in entries]
    assert alarms.scheduled_models(yaml.safe_dump({"deployments": quiet})) == ["flights"]


def test_what_is_paused_on_the_server_is_not_watched() -> None:
    def deployment(model: str, paused: bool = False, active: bool = True, **more: Any) -> Any:
        schedules = [SimpleNamespace(active=active)]
        config = {"model": model, **more}
        return SimpleNamespace(parameters={"config": config}, paused=paused, schedules=schedules)

    found = [
        deployment("groceries", active=False),
        deployment("groceries", look=True),
        deployment("flights", paused=True),
        deployment("flights"),
        deployment("gone", paused=True),
    ]
    assert alarms.paused_models(found) == {"groceries"}


@pytest.mark.parametrize(
    "text",
    [
        "deployments: !!python/object/apply:os.mkdir [made]",
        "[]",
        "deployments: [{schedules: [{}]}]",
    ],
)
def test_no_object_is_made_of_a_schedule(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(alarms.AlarmsError, match=r"prefect.yaml: found \w+: .*; expected a list"):
        alarms.scheduled_models(text)
    assert not (tmp_path / "made").exists()


# --- wrong settings ---------------------------------------------------------------------------


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    def use(**named: str) -> None:
        for name in ("NIGHTLY_WEBHOOK_URL", "NIGHTLY_ALARM_BLOCK"):
            monkeypatch.delenv(name, raising=False)
        for name, value in named.items():
            monkeypatch.setenv(name, value)

    return use


HOOK = f"https://hooks.example.com/{SECRET}"


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({}, "NIGHTLY_WEBHOOK_URL (Slack"),
        ({"NIGHTLY_WEBHOOK_URL": ""}, "NIGHTLY_ALARM_BLOCK=type/name"),
        ({"NIGHTLY_WEBHOOK_URL": HOOK, "NIGHTLY_ALARM_BLOCK": "a/b"}, "one of the two"),
        ({"NIGHTLY_WEBHOOK_URL": SECRET}, "NIGHTLY_WEBHOOK_URL: expected an address"),
        ({"NIGHTLY_ALARM_BLOCK": "ops"}, "NIGHTLY_ALARM_BLOCK: found 'ops', expected type/name"),
    ],
)
def test_wrong_settings_are_one_message(
    named: dict[str, str],
    message: str,
    settings_of: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings_of(**named)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert alarms.main([]) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert SECRET not in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_without_a_server_named_it_says_so(
    settings_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings_of(NIGHTLY_WEBHOOK_URL=HOOK)
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert alarms.main([]) == 2
    assert "PREFECT_API_URL is not set" in capsys.readouterr().err


def test_a_server_that_does_not_answer_is_one_message(
    settings_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings_of(NIGHTLY_WEBHOOK_URL=HOOK)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert alarms.main([]) == 1
    said = capsys.readouterr()
    assert (
        said.err
        == "nightly: No Prefect server answers at http://127.0.0.1:9/api. Start it, or correct "
        "PREFECT_API_URL.\n"
    )
    assert said.out == ""


# --- a real server and a real receiver --------------------------------------------------------


class Receiver:
    """A webhook: an address, and the texts that were posted to it."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.answer = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                assert list(body) == ["text"]
                receiver.texts.append(body["text"])
                self.send_response(receiver.answer)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/{SECRET}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def wait(self, text: str, seconds: float = 300) -> str:
        """The text that begins so, once it has arrived."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for found in self.texts:
                if found.startswith(text):
                    return found
            time.sleep(0.1)
        raise AssertionError(f"{text!r} did not arrive; what did: {self.texts}")


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real server with a password, as it should be; the environment of a client of it."""
    port = free_port()
    home = tmp_path_factory.mktemp("prefect")
    make_prefect_database(home / "prefect.db")
    api = f"http://127.0.0.1:{port}/api"
    environment = os.environ | {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S",
        "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
        "PREFECT_API_AUTH_STRING": PASSWORD,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(1200):
            assert process.poll() is None, (home / "server.log").read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"{api}/health", timeout=1).close()
                break
            time.sleep(0.5)
        with temporary_settings({PREFECT_API_URL: api, PREFECT_API_AUTH_STRING: PASSWORD}):
            yield environment | {"PREFECT_API_URL": api, "LOG": str(home / "server.log")}
    finally:
        process.terminate()
        process.wait()


def told(
    event: str, model: str, text: str, run: UUID | None = None, as_of: str = "2026-11-22"
) -> Event:
    """An event as the flows emit it; one that is about no night has an empty ``as_of``."""
    of_run = {"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "run"}
    return Event.model_validate(
        {
            "event": f"nightly.{event}",
            "resource": {
                "prefect.resource.id": f"nightly.model.{model}",
                "prefect.resource.name": model,
            },
            "related": [of_run] if run else [],
            "payload": {"text": text, "as_of": as_of},
        }
    )


def heartbeat(run: UUID) -> Event:
    """An event as Prefect's engine emits it."""
    tag = {"prefect.resource.id": "prefect.tag.nightly", "prefect.resource.role": "tag"}
    return Event.model_validate(
        {
            "event": "prefect.flow-run.heartbeat",
            "resource": {"prefect.resource.id": f"prefect.flow-run.{run}"},
            "related": [tag],
        }
    )


def emit(*events: Event) -> None:
    with get_client(sync_client=True) as client:
        client.request("POST", "/events", json=[event.model_dump(mode="json") for event in events])


def start_run(name: str, *tags: str) -> UUID:
    """A run that is Running, with the tag that deployments give, or others."""
    from flows.rollback import rollback

    with get_client(sync_client=True) as client:
        made = client.create_flow_run(rollback, name=name, tags=tags or ["nightly"])
        client.set_flow_run_state(made.id, Running())
    return made.id


def start_deployment(name: str, run: str) -> UUID:
    """A run of a deployment with the tag ``nightly``, as the scheduler makes it."""
    from flows.rollback import rollback

    with get_client(sync_client=True) as client:
        flow = client.create_flow(rollback)
        deployment = client.create_deployment(flow, name, tags=["nightly"])
        return client.create_flow_run_from_deployment(deployment, name=run).id


def end_run(run: UUID, state: State[Any]) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run, state)


def on_server() -> list[Automation]:
    with get_client(sync_client=True) as client:
        return client.read_automations()


def test_the_command_puts_them_in_place_and_again_does_nothing(
    server: dict[str, str],
    receiver: Receiver,
    settings_of: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = alarms.read_automations(TEXT, NOBODY, UI)[0]
    theirs = first.model_copy(update={"tags": [], "enabled": False})
    ours = theirs.model_copy(update={"name": "of last year", "tags": [alarms.OURS]})
    with get_client(sync_client=True) as client:
        kept, _ = client.create_automation(theirs), client.create_automation(ours)

    settings_of(NIGHTLY_WEBHOOK_URL=receiver.url)
    assert alarms.main([]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines == [*(f"created   {name}" for name in ENTRIES), "removed   of last year"]
    assert last == "Watching groceries, flights; messages go to 127.0.0.1."
    before = {one.id for one in on_server()}
    assert kept in before
    assert len(before) == len(ENTRIES) + 1

    named = server | {"NIGHTLY_WEBHOOK_URL": receiver.url}
    again = subprocess.run([*COMMAND, "--test"], env=named, capture_output=True, text=True)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.splitlines() == [*(f"unchanged {name}" for name in ENTRIES), last]
    assert {one.id for one in on_server()} == before
    assert receiver.texts == ["nightly: test\nThis is a test: alarms arrive here."]
    receiver.texts.clear()


@pytest.mark.long
@pytest.mark.parametrize(
    ("what", "number"), [("fail", 3), ("babble", 5), ("lose", 12), ("cut", 20)]
)
def test_a_request_of_the_set_up_that_fails_leaves_nothing_twice(
    server: dict[str, str], receiver: Receiver, settings_of: Any, what: What, number: int
) -> None:
    settings_of(NIGHTLY_WEBHOOK_URL=receiver.url)
    fault = Fault(".", what, 1, after=number - 1)
    with passed_on(urlsplit(server["PREFECT_API_URL"]).port or 0) as proxy:
        assert not [*set_up_of_alarms.lost_at(proxy, fault)]
    assert fault.met >= number


def test_a_deadline_outlives_an_outage_of_the_server(server: dict[str, str]) -> None:
    """Prefect's default is a minute; then a silence that an outage covered is never told."""
    with get_client(sync_client=True) as client:
        settings = client.request("GET", "/admin/settings").json()
    assert settings["server"]["events"]["expired_bucket_buffer"] in (604800.0, "P7D")


def test_a_wrong_password_is_one_message(
    server: dict[str, str], settings_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings_of(NIGHTLY_WEBHOOK_URL=HOOK)
    with temporary_settings({PREFECT_API_AUTH_STRING: "nightly:wrong"}):
        assert alarms.main([]) == 1
    api = server["PREFECT_API_URL"]
    assert (
        capsys.readouterr().err == f"nightly: {api} answers 401. Check PREFECT_API_AUTH_STRING.\n"
    )


def test_the_address_is_nowhere_but_in_the_secrets_of_the_block(server: dict[str, str]) -> None:
    with get_client(sync_client=True) as client:
        shown, known = (
            client.read_block_document_by_name(alarms.OURS, "custom-webhook", include_secrets=yes)
            for yes in (False, True)
        )
    assert SECRET not in json.dumps(shown.data)
    assert SECRET in known.data.pop("secrets")["url"]
    assert SECRET not in json.dumps(known.data)


def test_a_block_of_ones_own(
    server: dict[str, str], settings_of: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from prefect.blocks.system import Secret

    Secret(value="x").save("no-notifier")  # type: ignore[unused-coroutine]
    for block, message in [
        ("slack-webhook/ops", "the Prefect server has no block slack-webhook/ops"),
        ("secret/no-notifier", "secret/no-notifier is not a notification block"),
    ]:
        settings_of(NIGHTLY_ALARM_BLOCK=block)
        assert alarms.main([]) == 2
        assert message in capsys.readouterr().err
    settings_of(NIGHTLY_ALARM_BLOCK=f"custom-webhook/{alarms.OURS}")
    assert alarms.main([]) == 0
    assert capsys.readouterr().out.endswith(f"messages go to custom-webhook/{alarms.OURS}.\n")


def test_a_webhook_that_refuses_is_one_message_without_its_address(
    server: dict[str, str],
    receiver: Receiver,
    settings_of: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings_of(NIGHTLY_WEBHOOK_URL=receiver.url)
    receiver.answer = 404
    assert alarms.main(["--test"]) == 2
    receiver.answer = 200
    receiver.texts.clear()
    said = capsys.readouterr()
    assert "nightly: The test message was not delivered: the webhook answers 404." in said.err
    assert SECRET not in said.out + said.err


@pytest.fixture(scope="module")
def quick(server: dict[str, str], receiver: Receiver, tmp_path_factory: Any) -> Iterator[Receiver]:
    """The command on the same automations, with 26 hours and three heartbeats made short."""
    text = TEXT.replace("within: 93600", "within: 20").replace("within: 180", "within: 24")
    place: Path = tmp_path_factory.mktemp("quick") / "automations.yaml"
    place.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alarms, "FILE", place)
        patch.setenv("NIGHTLY_WEBHOOK_URL", receiver.url)
        patch.delenv("NIGHTLY_ALARM_BLOCK", raising=False)
        assert alarms.main([]) == 0
    changed = {one.name: one for one in on_server() if alarms.OURS in one.tags}
    assert changed[SILENCE].trigger.within == timedelta(seconds=20)
    assert changed[HEARTBEAT].trigger.within == timedelta(seconds=24)
    yield receiver


@pytest.mark.long
def test_each_event_reaches_the_receiver(server: dict[str, str], quick: Receiver) -> None:
    failed = start_run("groceries · 2026-11-21")
    end_run(failed, Failed(message="Flow run encountered an exception: OSError: disk full"))
    rejected = start_run("groceries · 2026-11-22 · REJECTED")
    end_run(rejected, Failed(message="REJECTED. 40 % of the rows were wrong."))
    end_run(start_run("groceries · 2026-11-23"), Failed(name="TimedOut", message="Over 6 hours."))
    end_run(start_run("flights · 2026-11-22"), Crashed(message="The process ended with -9."))
    unnamed = start_deployment("retrain-groceries", "amber-fox")
    end_run(unnamed, Failed(message=""))
    end_run(start_run("not ours", "other"), Failed(message="Of another project."))
    end_run(start_run("kept"), Completed(message="KEPT. The champion stays."))
    emit(
        told("night.held-again", "groceries", "No fresh day since 2026-11-20.", failed),
        told("champion.old", "groceries", "Version 3 is 12 days old; 10 are allowed."),
        told("champion.rolled-back", "flights", "Version 2 is the champion again.", as_of=""),
        told("champion.not-reverted", "flights", "Version 3 should go back, but 2 is unfit."),
        told("predictions.refused", "groceries", "All 49,380 are the same."),
        told("coverage.off", "groceries", "groceries: prediction intervals held 61.0%."),
        told("night.waiting", "flights", "Version 4 waits for a person."),
        told("version.approved", "flights", "Version 4 is the champion."),
        told("version.refused", "groceries", "Version 5 was refused: it forgets the newest shop."),
    )
    runs = f"{server['PREFECT_API_URL'].removesuffix('/api')}/runs/flow-run"
    expected = [
        "groceries · 2026-11-21: Failed\n"
        f"Flow run encountered an exception: OSError: disk full\n{runs}/{failed}",
        "groceries · 2026-11-22 · REJECTED: Failed\n"
        f"REJECTED. 40 % of the rows were wrong.\n{runs}/{rejected}",
        "groceries · 2026-11-23: TimedOut\nOver 6 hours.\n",
        "flights · 2026-11-22: Crashed\nThe process ended with -9.\n",
        f"amber-fox: Failed\nIt left no message.\nDeployment retrain-groceries\n{runs}/{unnamed}",
        "groceries · 2026-11-22: held twice in a row\n"
        f"No fresh day since 2026-11-20.\n{runs}/{failed}",
        "groceries · 2026-11-22: the champion is too old\n"
        "Version 3 is 12 days old; 10 are allowed.",
        "flights: rolled back\nVersion 2 is the champion again.",
        "flights · 2026-11-22: not reverted\nVersion 3 should go back, but 2 is unfit.",
        "groceries · 2026-11-22: the app keeps old predictions\nAll 49,380 are the same.",
        "groceries · 2026-11-22: prediction intervals are off\n"
        "groceries: prediction intervals held 61.0%.",
        "flights · 2026-11-22: a version waits for you\nVersion 4 waits for a person.",
        "flights · 2026-11-22: version approved\nVersion 4 is the champion.",
        "groceries · 2026-11-22: version refused\n"
        "Version 5 was refused: it forgets the newest shop.",
    ]
    for text in expected:
        quick.wait(text)
    others = [text for text in quick.texts if SILENT not in text]
    assert len(others) == len(expected), others


@pytest.mark.long
def test_silence_reaches_the_receiver_once_and_speech_does_not(
    server: dict[str, str], quick: Receiver
) -> None:
    """Groceries and flights have been silent since the command watches them."""
    before = {text for text in quick.texts if SILENT not in text}
    lost, ended, alive = start_run("lost · 2026-11-22"), start_run("ended"), start_run("alive")
    begun = time.monotonic()
    emit(
        told("night.promoted", "spoken", "version 1 is the champion."),
        told("night.promoted", "held", "version 1 is the champion."),
        *map(heartbeat, (lost, ended, alive)),
    )
    end_run(ended, Completed(message="ROLLED BACK. Version 2 is the champion."))
    silent = f"held: {SILENT} The last that was heard, for 2026-11-22: no fresh day."
    while time.monotonic() - begun < 30 or silent not in "\n".join(quick.texts):
        assert time.monotonic() - begun < 300, "being held sets the clock back"
        emit(
            told("night.kept", "spoken", "the champion stays."),
            told("night.held", "held", "no fresh day."),
            heartbeat(alive),
        )
        time.sleep(1)
    assert not [text for text in quick.texts if text.startswith("spoken")]
    end_run(alive, Completed(message="SUPERSEDED. The night was missed."))
    for model, last in (
        ("groceries", ": alarms were installed; no night has reported since."),
        ("flights", ", for 2026-11-22: Version 4 waits for a person."),
    ):
        assert quick.wait(f"{model}: {SILENT}").endswith(last)
    quick.wait("lost · 2026-11-22: Crashed\nNo heartbeat for 3 minutes: ")
    quick.wait(f"spoken: {SILENT} The last that was heard, for 2026-11-22: the champion stays.")
    time.sleep(1)
    heads = [text.split(":")[0] for text in quick.texts if text not in before]
    once = sorted(head for head in heads if head != "held")  # its clock began anew after the alarm
    assert once == ["flights", "groceries", "lost · 2026-11-22", "spoken"]
    with get_client(sync_client=True) as client:
        states = [client.read_flow_run(run).state for run in (lost, ended, alive)]
    assert [state and state.name for state in states] == ["Crashed", "Completed", "Completed"]


def test_no_log_of_the_server_has_the_address(server: dict[str, str], quick: Receiver) -> None:
    assert SECRET not in Path(server["LOG"]).read_text()
