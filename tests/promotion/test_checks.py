import json
import re

import pytest
from prefect.client.schemas.objects import StateType

from tasks.promotion.checks import Status, Verdict
from tasks.steps.report import end_night
from tests.nights import PROJECT


def test_a_verdict_is_its_name_on_disk_and_comes_back() -> None:
    for status in Status:
        text = json.dumps({"verdict": Verdict(status, ("why",)).status})
        assert text == f'{{"verdict": "{status.name}"}}'
        assert Status(json.loads(text)["verdict"]) is status


def test_an_unknown_verdict_is_refused() -> None:
    with pytest.raises(ValueError, match="PROMTED"):
        Status("PROMTED")


@pytest.mark.parametrize(
    ("verdict", "kind"),
    [
        ("PROMOTED", StateType.COMPLETED),
        ("KEPT", StateType.COMPLETED),
        ("WAITING", StateType.COMPLETED),
        ("SHADOW", StateType.COMPLETED),
        ("HELD", StateType.CANCELLED),
        ("REJECTED", StateType.FAILED),
    ],
)
def test_the_flows_last_state_is_named_as_the_verdict(verdict: str, kind: StateType) -> None:
    state = end_night({"verdict": verdict, "reasons": ["why"]})
    assert (state.name, state.type, type(state.name)) == (verdict, kind, str)
    assert state.message == "why"


def test_code_names_a_verdict_by_the_enum() -> None:
    """A text that is spelled wrong is never equal, and nothing says so."""
    texts = "|".join(f'"{status}"' for status in Status)
    spelled = [
        f"{file.relative_to(PROJECT)}: {line.strip()}"
        for room in ("tasks", "flows")
        for file in sorted((PROJECT / room).rglob("*.py"))
        if file != PROJECT / "tasks" / "promotion" / "checks.py"
        for line in file.read_text().splitlines()
        if re.search(texts, line)
    ]
    assert spelled == []
