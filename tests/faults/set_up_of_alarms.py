"""The alarms' set-up, of which one request to Prefect's server fails, and what was lost by it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from unittest.mock import patch

import yaml
from prefect.client.orchestration import get_client
from prefect.events.schemas.automations import Automation, AutomationCore
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from deployments import alarms
from tests.faults.proxy import Fault, Proxy

NAMES = sorted(one["name"] for one in yaml.safe_load(alarms.FILE.read_text()))


def ours() -> list[Automation]:
    """Our automations on the server that is in use."""
    with get_client(sync_client=True) as client:
        return [one for one in client.read_automations() if alarms.OURS in one.tags]


def set_up() -> tuple[int, str]:
    """Exit code of the command, and what it says of errors."""
    said = StringIO()
    with patch.object(alarms, "LOADING", 0.0), redirect_stdout(StringIO()), redirect_stderr(said):
        return alarms.main([]), said.getvalue()


def leave_half() -> None:
    """Half of the automations are missing, the others are old, and there is one too many."""
    if not ours():
        assert set_up() == (0, "")
    with get_client(sync_client=True) as client:
        for number, one in enumerate(ours()):
            if number % 2:
                old = one.model_dump(exclude={"id", "owner_resource"}) | {"description": "old"}
                client.update_automation(one.id, AutomationCore(**old))
            else:
                client.delete_automation(one.id)
        more = one.model_dump(exclude={"id", "owner_resource"}) | {"name": "of last year"}
        client.create_automation(AutomationCore(**more))


def lost_at(proxy: Proxy, fault: Fault) -> Iterator[str]:
    """What was lost where this fault met the set-up of what was left half.

    The server in use must be behind the proxy.
    """
    leave_half()
    api = f"{proxy.address}/api"
    settings = {PREFECT_API_URL: api, PREFECT_CLIENT_MAX_RETRIES: 0}
    with proxy.spoiled(fault), temporary_settings(settings):
        code, said = set_up()
    line = (
        rf"nightly: ({api} answers \d+\..*|No Prefect server answers at .*|"
        rf"The Prefect server at {api} gives an answer that is not Prefect's .*)\n"
    )
    unread = fault.what == "babble" and (code, said) == (0, "")  # nobody reads what a write answers
    if not unread and (code != 1 or not re.fullmatch(line, said)):
        yield f"it ended with {code}: {said!r}"
    while proxy.away or time.monotonic() < proxy.busy_until:
        time.sleep(0.2)
    code, said = set_up()
    if code or said:
        yield f"the next one ended with {code}: {said!r}"
    found = ours()
    if (names := sorted(one.name for one in found)) != NAMES:
        yield f"found {names}"
    if "old" in {one.description for one in found}:
        yield "one is still old"
