"""When a model is retrained, read from prefect.yaml; no object is made of it."""

from __future__ import annotations

import pytest

from tasks.preflight.schedules import schedules_of

YAML = """
deployments:
  - name: retrain-toy
    entrypoint: flows/retrain.py:retrain
    parameters: { config: { model: toy } }
    schedules: [{ cron: "0 3 * * *", timezone: Europe/Berlin }]
  - name: look-toy
    entrypoint: flows/retrain.py:retrain
    parameters: { config: { model: toy, look: true } }
    schedules: [{ cron: "40 * * * *", timezone: Europe/Berlin }]
  - name: monitor
    entrypoint: flows/monitor.py:monitor
    parameters: { config: { model: toy } }
"""


def test_the_schedule_is_read_and_no_object_is_made_of_it() -> None:
    assert schedules_of(YAML, "toy") == ["retrain-toy: 0 3 * * * Europe/Berlin"]
    assert schedules_of(YAML, "other") == []
    for text in ("deployments: !!python/object/apply:os.system ['true']", "[]", "a: b", ": :"):
        with pytest.raises(ValueError, match=r"Error: "):
            schedules_of(text, "toy")
