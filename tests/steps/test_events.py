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


def test_a_text_from_data_calls_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[dict[str, Any]] = []
    monkeypatch.setattr("prefect.events.emit_event", lambda **event: heard.append(event))
    text = "first value '<!channel> <http://e|bank>\x1b[2J' at https://u:pass@host" + "x" * 269_000
    announce("toy", None, {"nightly.night.rejected": text})
    said = heard[0]["payload"]["text"]
    assert not {"<", ">", "\x1b"} & set(said)
    assert "pass" not in said
    assert len(said) < 2_100
