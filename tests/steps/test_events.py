"""Prefect hears what is announced."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from tasks.steps.events import announce


def test_prefect_hears_the_model_the_date_and_the_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[dict[str, Any]] = []
    monkeypatch.setattr("prefect.events.emit_event", lambda **event: heard.append(event))
    announce("toy", date(2026, 11, 22), {"nightly.night.kept": "It was kept."})
    (event,) = heard
    assert event["event"] == "nightly.night.kept"
    assert event["resource"] == {
        "prefect.resource.id": "nightly.model.toy",
        "prefect.resource.name": "toy",
    }
    assert event["payload"] == {"text": "It was kept.", "as_of": "2026-11-22"}
