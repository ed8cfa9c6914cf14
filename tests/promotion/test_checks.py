import json
import re

import pytest
from prefect.client.schemas.objects import StateType

from tasks.promotion.checks import Status, Verdict
from tasks.steps.ending import outcome_of
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
        ("HELD", StateType.COMPLETED),
        ("REJECTED", StateType.FAILED),
    ],
)
def test_the_flows_last_state_has_prefects_name_and_begins_with_the_verdict(
    verdict: str, kind: StateType
) -> None:
    """Prefect's pages find runs by its own names of states."""
    report = {"model": "toy", "as_of": "2026-11-22", "verdict": verdict, "reasons": ["why"]}
    state = end_night(report)
    assert (state.name, state.type) == (kind.value.capitalize(), kind)
    assert state.message == f"{verdict}. why"
    assert outcome_of(state) == verdict


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
